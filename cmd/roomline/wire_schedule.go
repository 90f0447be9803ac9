package main

import (
	"context"

	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/meetings/schedule"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// newSchedule makes what arranges meetings.
func (a *app) newSchedule(sealKey [32]byte) (*schedule.Server, error) {
	return schedule.New(schedule.Config{
		Store: a.store, Rooms: a.rooms, Invitations: a.invitations, Meetings: a.meetings, Clock: a.clock, Log: a.log,
		ServerName: matrix.ServerName(a.cfg.ServerName), Key: derivedKey(sealKey, "links of meetings"), RoomVersion: a.cfg.DefaultRoomVersion, BaseURL: a.cfg.PublicBaseURL,
		// The client API is made later.
		MayInvite: func(ctx context.Context, who *httpapi.Requester, users []matrix.UserID) error {
			return a.client.MayInvite(ctx, who, users)
		},
		SetLobby: a.moderation.SetLobby, End: a.meetings.EndRoom,
	})
}

// meetingsPolicy is what organisations decide about meetings.
func (a *app) meetingsPolicy() admin.Policy {
	p := admin.PolicyOf(schedule.PolicyName, "Whether there are meetings, who arranges them, how large and long they are, who waits in the lobby, and whether they are recorded.",
		schedule.ParsePolicy, schedule.DefaultPolicy())
	p.Decided = a.meetings.PolicyDecided
	return p
}
