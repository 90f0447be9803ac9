package main

import (
	"context"
	"errors"

	"github.com/roomline/roomline/clientapi/identity"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// newVerifier is what sends codes to addresses.
func (a *app) newVerifier(sealKey [32]byte) (*verify.Verifier, error) {
	return verify.New(verify.Config{
		Store: a.store, Clock: a.clock, Log: a.log, Limiter: a.limiter, Key: derivedKey(sealKey, "codes for addresses"),
		BaseURL: a.cfg.PublicBaseURL, Allowed: a.cfg.OIDC.RedirectURLs, Sends: a.outbox.Sends, Enqueue: a.enqueueCode,
	})
}

// enqueueCode has a code sent.
func (a *app) enqueueCode(ctx context.Context, tx *store.Tx, m verify.Message) error {
	_, err := a.outbox.Enqueue(ctx, tx, outbox.Draft{
		Organisation: m.Organisation, Kind: message.Code, Medium: m.Medium, Address: m.Address, Sender: m.Sender, Language: m.Language,
		ExpiresTS: m.ExpiresTS, Code: &m.Code,
	})
	return err
}

// newIdentity is the identity service.
func (a *app) newIdentity(sealKey [32]byte) (*identity.Server, error) {
	return identity.New(identity.Config{
		Store: a.store, Clock: a.clock, Verifier: a.verifier, Key: identityKey(sealKey), ServerName: matrix.ServerName(a.cfg.ServerName),
		PepperKey: derivedKey(sealKey, "pepper of lookups"), BaseURL: a.cfg.PublicBaseURL, MayChangeThreePIDs: a.people.MayChangeThreePIDs,
		Invite: a.inviteAddress, Inviter: a.inviter,
	})
}

// inviteAddress asks an address into a room as POST /rooms/{roomId}/invite does.
func (a *app) inviteAddress(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, medium, address string) (identity.Invited, error) {
	made, err := a.invitations.Invite(ctx, who, room, invitations.Request{Medium: medium, Address: address})
	if err != nil {
		return identity.Invited{}, err
	}
	return identity.Invited{Token: made.Invitation.ID, DisplayName: invitations.Mask(medium, address), User: made.User}, nil
}

// inviter is who sent an invitation that is open.
func (a *app) inviter(ctx context.Context, token string) (matrix.UserID, bool, error) {
	i, err := a.store.GetInvitation(ctx, token)
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	status, err := a.invitations.Standing(ctx, i)
	return i.Inviter, status == invitations.Open, err
}
