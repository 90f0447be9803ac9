package main

import (
	"context"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/clientapi/meetings/schedule"
	"github.com/roomline/roomline/internal/fedclient"
	"github.com/roomline/roomline/internal/sfu"
)

// newMeetings makes the part that lets people into calls.
func (a *app) newMeetings(sealKey [32]byte) (*meetings.Server, error) {
	var err error
	if a.mediaServer, err = a.newSFU(sealKey); err != nil {
		return nil, err
	}
	if a.mediaServer != nil {
		a.sfu = a.mediaServer.sfu
	}
	return meetings.New(meetings.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, Key: derivedKey(sealKey, "rooms of the SFU"),
		SFU: a.sfu, BaseURL: a.cfg.PublicBaseURL, IsLocal: a.keys.IsLocal, Others: fedclient.New(fedclient.Config{HTTP: a.outbound, Sign: a.keys.SignJSON, Clock: a.clock}),
		// Recordings are made later.
		OnEgress:    func(ctx context.Context, e sfu.Egress) error { return a.recording.Written(ctx, e) },
		SendDelayed: func(ctx context.Context, delayID string) error { return a.client.SendDelayedEvent(ctx, delayID) },
		OnPhone:     a.phoneCame,
		Metrics:     a.metrics,
		Limits: func(ctx context.Context, org int64) (meetings.Limits, error) {
			return schedule.LimitsOf(ctx, a.store, org)
		},
	})
}
