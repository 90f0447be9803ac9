package sfu

import (
	"context"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
)

// CanRecord asks whether LiveKit has an Egress that records; the error says why not.
func (c *Client) CanRecord(ctx context.Context) error {
	_, err := ask(ctx, c, auth.VideoGrant{RoomRecord: true}, c.egress.ListEgress, &livekit.ListEgressRequest{Active: true})
	return err
}
