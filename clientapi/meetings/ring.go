package meetings

import (
	"context"
	"encoding/json"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// Events of ringing, by the names that clients use while these are proposals.
const (
	typeNotification = "org.matrix.msc4075.rtc.notification"
	// RingPeople makes the clients of those who are told ring, TellPeople makes them show it.
	RingPeople = "ring"
	TellPeople = "notification"
)

// Ring tells the members of a room that a call is on, in the sender's name.
//
// Spec: MSC4075, proposal
func (s *Server) Ring(ctx context.Context, room matrix.RoomID, sender matrix.UserID, kind string) error {
	raw, err := json.Marshal(map[string]any{
		// The application's fields stand at the top too, where clients of an earlier draft look for them.
		"application":       map[string]any{"type": "m.call", "notification_type": kind, "sender_ts": s.now(), "lifetime": limits.Ringing.Milliseconds()},
		"notification_type": kind, "sender_ts": s.now(), "lifetime": limits.Ringing.Milliseconds(),
		"m.mentions": map[string]any{"room": true, "user_ids": []string{}},
		"m.text":     []any{map[string]any{"body": "A meeting begins"}},
	})
	if err != nil {
		return err
	}
	content, err := strictjson.Canonical(raw)
	if err != nil {
		return err
	}
	_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: room, Sender: sender, Type: typeNotification, Content: content, Sticky: 2 * limits.Ringing})
	return err
}
