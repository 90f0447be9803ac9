package main

import (
	"context"

	"github.com/roomline/roomline/clientapi/outbox"
	message "github.com/roomline/roomline/internal/outbox"
)

// newOutbox makes what has mails and short messages sent.
func (a *app) newOutbox(sealKey [32]byte) (*outbox.Server, error) {
	return outbox.New(outbox.Config{
		Store: a.store, Clock: a.clock, Log: a.log, SealKey: sealKey, BaseURL: a.cfg.PublicBaseURL, Limits: outbox.DefaultLimits(),
		Brand: a.branding.Brand,
		Media: []string{message.Email, message.Msisdn},
		// Invitations are made later.
		Changed: func(ctx context.Context, invitationID string, state message.State) error {
			return a.invitations.DeliveryChanged(ctx, invitationID, state)
		},
	})
}
