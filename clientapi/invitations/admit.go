package invitations

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

// Comer is somebody who comes by an invitation.
type Comer struct {
	User matrix.UserID
	// Profile is the user's, nil if it has to be looked up.
	Profile *roomserver.Profile
	// Judged says that Standing has just said Open.
	Judged bool
}

// Admit makes the user a member of the room of an invitation whose use has been counted (store.UseInvitation): the inviter's third-party invite
// is exchanged for an invite, and the user joins. Where the room has a lobby the user knocks instead, and waits. Asked again it does what is left.
func (s *Server) Admit(ctx context.Context, i store.Invitation, c Comer) (waiting bool, err error) {
	room, err := s.cfg.Rooms.Room(ctx, i.RoomID)
	if err != nil {
		return false, err
	}
	was := ""
	if !c.Judged {
		m, err := s.cfg.Store.GetMembership(ctx, room.NID, c.User)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("load membership of %s: %w", i.RoomID, err)
		}
		switch was = m.Membership; was {
		case "join":
			return false, nil
		case "leave", "ban":
			// Whoever was removed, or has left, needs another invitation.
			return false, refused(Used)
		case "":
			if err := s.holds(ctx, room, &i); err != nil {
				return false, err
			}
		}
	}
	if was != "invite" {
		if waiting, err = s.wait(ctx, room, c.User); err != nil {
			return false, err
		}
	}
	if waiting {
		if was == "" {
			s.redeemed(context.WithoutCancel(ctx), &i, c.User)
			s.Changed(context.WithoutCancel(ctx), i.ID)
		}
		return true, nil
	}
	if was == "knock" {
		if err := s.holds(ctx, room, &i); err != nil {
			return false, err
		}
	}
	before, err := s.enter(ctx, &i, c)
	if err == nil && (before == "" || before == "invite") {
		s.redeemed(context.WithoutCancel(ctx), &i, c.User)
	}
	return false, err
}

// wait lets the user knock if the room has a lobby.
func (s *Server) wait(ctx context.Context, room roomserver.Info, user matrix.UserID) (waiting bool, err error) {
	if s.cfg.Wait == nil {
		return false, nil
	}
	return s.cfg.Wait(ctx, room, user)
}

// holds refuses an invitation that lets nobody in any more.
func (s *Server) holds(ctx context.Context, room roomserver.Info, i *store.Invitation) error {
	status, err := s.inRoom(ctx, room, i)
	if err == nil && status != Open {
		err = refused(status)
	}
	return err
}

// enter invites by the third-party invite, joins, and says in the room how far the invitation has come.
func (s *Server) enter(ctx context.Context, i *store.Invitation, c Comer) (before string, err error) {
	signed, err := s.sign(i.ID, c.User)
	if err != nil {
		return "", err
	}
	note, err := s.noteOf(i)
	if err != nil {
		return "", err
	}
	return s.cfg.Rooms.Enter(ctx, roomserver.Entry{
		Room: i.RoomID, Inviter: i.Inviter, User: c.User, Token: i.ID, PublicKey: s.publicKey, Signed: signed, Profile: c.Profile,
		Note: func(present []byte) []byte {
			switch gjson.GetBytes(present, "state").String() {
			case store.InvitationRevoked, store.InvitationExpired, store.InvitationMember:
				return nil // it has ended since it was looked up
			}
			if bytes.Equal(present, note) {
				return nil
			}
			return note
		},
	})
}

// sign is what whoever an invitation is for shows to the room: the token and their user id, signed with the identity key.
func (s *Server) sign(token string, user matrix.UserID) (json.RawMessage, error) {
	text, err := json.Marshal(map[string]any{"mxid": user, "token": token})
	if err != nil {
		return nil, err
	}
	canonical, err := strictjson.Canonical(text)
	if err != nil {
		return nil, fmt.Errorf("sign an invitation: %w", err)
	}
	return gomatrixserverlib.SignJSON(string(s.cfg.ServerName), KeyID, s.cfg.Key, canonical)
}

// redeemed tells of somebody who has come in, or waits to be let in.
func (s *Server) redeemed(ctx context.Context, i *store.Invitation, user matrix.UserID) {
	if s.cfg.Redeemed != nil {
		s.cfg.Redeemed(ctx, *i, user)
	}
}

// RedeemEntry is what the audit log says of somebody who uses an invitation.
func (s *Server) RedeemEntry(i *store.Invitation, user matrix.UserID, ip string) (store.AuditEntry, error) {
	return s.auditEntry(i, string(user), ip, "invitation.redeem")
}

// signedRequest is third_party_signed of a join.
type signedRequest struct {
	Sender     string                       `json:"sender"`
	MXID       string                       `json:"mxid"`
	Token      string                       `json:"token"`
	Signatures map[string]map[string]string `json:"signatures"`
}

// ThirdPartySigned invites the requester, who shows what an identity service has signed: a join follows. Of a third-party invite that is one
// of this package's a use is counted. What the signature does not prove is that the requester may be in a room of the inviter's: that is for the
// links between organisations to say, as with any invite.
//
// Spec: client-server v1.19 §joining-rooms
func (s *Server) ThirdPartySigned(ctx context.Context, who *httpapi.Requester, id matrix.RoomID, raw json.RawMessage) error {
	if len(raw) > limits.ThirdPartySigned {
		return matrix.TooLarge("third_party_signed is longer than %d bytes", limits.ThirdPartySigned)
	}
	var req signedRequest
	if err := strictjson.Decode(raw, &req); err != nil {
		return matrix.BadJSON("third_party_signed must have sender, mxid, token and signatures")
	}
	sender, err := matrix.ParseUserID(req.Sender)
	switch {
	case err != nil || req.MXID == "" || req.Token == "" || len(req.Signatures) == 0:
		return matrix.BadJSON("third_party_signed must have sender, mxid, token and signatures")
	case req.MXID != string(who.User):
		return matrix.Forbidden("third_party_signed is about another user")
	case len(req.Token) > limits.StateKey:
		return noThirdPartyInvite()
	}
	if err := who.MayAct(); err != nil {
		return err
	}
	inviter, err := s.cfg.Store.GetUser(ctx, sender)
	if errors.Is(err, store.ErrNotFound) || err == nil && (inviter.Deactivated() || inviter.Locked) {
		return noThirdPartyInvite()
	}
	if err != nil {
		return fmt.Errorf("look up the inviter: %w", err)
	}
	room, err := s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return noThirdPartyInvite()
	}
	if err != nil {
		return err
	}
	err = s.cfg.MayInvite(ctx, &httpapi.Requester{User: sender, Org: inviter.OrganisationID, Guest: inviter.Guest}, []matrix.UserID{who.User})
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return noThirdPartyInvite()
	}
	if err != nil {
		return err
	}
	return s.bySignature(ctx, who, room, sender, req.Token, raw)
}

// noThirdPartyInvite is said whatever is wrong, so that nobody learns what there is.
func noThirdPartyInvite() *matrix.Error {
	return matrix.Forbidden("the room has no such third-party invite")
}

// bySignature counts the use of an invitation of ours, and invites.
func (s *Server) bySignature(ctx context.Context, who *httpapi.Requester, room roomserver.Info, sender matrix.UserID, token string, raw json.RawMessage) error {
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, who.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load membership of %s: %w", room.ID, err)
	}
	if m.Membership == "join" || m.Membership == "invite" {
		return nil
	}
	if m.Membership == "ban" {
		return noThirdPartyInvite()
	}
	i, err := s.cfg.Store.GetInvitation(ctx, token)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look up an invitation: %w", err)
	}
	if err == nil {
		if i.RoomNID != room.NID || i.Inviter != sender || !event.SignedBy(raw, []ed25519.PublicKey{s.cfg.Key.Public().(ed25519.PublicKey)}) {
			return noThirdPartyInvite()
		}
		if err := s.use(ctx, who, room, &i); err != nil {
			return err
		}
	}
	err = s.cfg.Rooms.InviteBySignature(ctx, roomserver.Membership{Room: room.ID, Sender: sender, Target: who.User}, raw)
	if err == nil && i.ID != "" {
		s.Changed(context.WithoutCancel(ctx), i.ID)
	}
	return err
}

// use counts a use of an invitation by somebody who has an account.
func (s *Server) use(ctx context.Context, who *httpapi.Requester, room roomserver.Info, i *store.Invitation) error {
	if err := s.holds(ctx, room, i); err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		used, ok, err := tx.UseInvitation(ctx, i.ID, s.now())
		if err != nil {
			return err
		}
		if !ok {
			return noThirdPartyInvite()
		}
		return s.audit(ctx, tx, who, "invitation.redeem", &used)
	})
}

// refused is what somebody is told whom an invitation lets in no more.
func refused(status Status) *matrix.Error {
	return matrix.Forbidden("this invitation lets nobody in any more").With("org.roomline.state", status)
}
