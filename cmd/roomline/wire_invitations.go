package main

import (
	"context"
	"crypto/ed25519"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/meetings/schedule"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/config"
	words "github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// identityKey signs third-party invites, and is the key of the identity service.
func identityKey(sealKey [32]byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(derivedKey(sealKey, "identity service"))
}

// newInvitations makes what asks people outside into rooms.
func (a *app) newInvitations(cfg *config.Config, sealKey [32]byte) (*invitations.Server, error) {
	return invitations.New(invitations.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, Limiter: a.limiter,
		Key: identityKey(sealKey), ServerName: matrix.ServerName(cfg.ServerName), BaseURL: cfg.PublicBaseURL,
		Enqueue: func(ctx context.Context, tx *store.Tx, d invitations.Draft) (int64, error) {
			return a.outbox.Enqueue(ctx, tx, outbox.Draft(d))
		},
		Cancel: a.outbox.Cancel, Brand: a.branding.Brand, Languages: a.branding.LanguagesOf,
		// Meetings are made later.
		Wait: func(ctx context.Context, room roomserver.Info, user matrix.UserID) (bool, error) {
			return a.moderation.Wait(ctx, room, user)
		},
		// Guests are made later.
		LinkGuest: func(ctx context.Context, user matrix.UserID, org int64, medium, address string) error {
			return a.guests.LinkGuest(ctx, user, org, medium, address)
		},
		Revoked: func(ctx context.Context, id string) { a.guests.Revoked(ctx, id) },
		Phone: func(ctx context.Context, tx *store.Tx, i *store.Invitation) ([]message.DialIn, error) {
			return a.phones.ForInvitation(ctx, tx, i)
		},
		Meetings: (*meetingCommands)(a),
		Redeemed: func(ctx context.Context, i store.Invitation, user matrix.UserID) { a.schedule.Redeemed(ctx, i, user) },
		// The client API is made later.
		MayInvite: func(ctx context.Context, who *httpapi.Requester, users []matrix.UserID) error {
			return a.client.MayInvite(ctx, who, users)
		},
	})
}

// meetingCommands does what the bot is asked for about meetings, which are made later.
type meetingCommands app

func (a *meetingCommands) commands() *schedule.Commands {
	return &schedule.Commands{Server: a.schedule, Timezone: a.cfg.Telephony.Email.Timezone, CallOut: a.phones.CallFor, Numbers: a.phones.NumbersFor}
}

func (a *meetingCommands) Now(ctx context.Context, who *httpapi.Requester, room matrix.RoomID) (invitations.CommandMeeting, []string, error) {
	return a.commands().Now(ctx, who, room)
}

func (a *meetingCommands) Arrange(ctx context.Context, who *httpapi.Requester, id string, c *words.Command) (invitations.CommandMeeting, []invitations.NotAsked, error) {
	return a.commands().Arrange(ctx, who, id, c)
}

func (a *meetingCommands) List(ctx context.Context, who *httpapi.Requester, limit int) ([]invitations.CommandMeeting, error) {
	return a.commands().List(ctx, who, limit)
}

func (a *meetingCommands) Cancel(ctx context.Context, who *httpapi.Requester, id string) error {
	return a.commands().Cancel(ctx, who, id)
}

func (a *meetingCommands) Call(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, number string) (string, error) {
	return a.commands().Call(ctx, who, room, number)
}
