package invitations

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// noInvitation is said of an invitation that is none of the requester's business, be there one or not.
func noInvitation() *matrix.Error { return matrix.NotFound("there is no such invitation") }

// Visible returns an invitation that the requester has made, or that is to a room that the requester is in; mine says which.
func (s *Server) Visible(ctx context.Context, who *httpapi.Requester, id string) (i store.Invitation, mine bool, err error) {
	if err := mayLook(who); err != nil {
		return i, false, err
	}
	i, err = s.cfg.Store.GetInvitation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return i, false, noInvitation()
	}
	if err != nil {
		return i, false, fmt.Errorf("look up an invitation: %w", err)
	}
	if i.Inviter == who.User {
		return i, true, nil
	}
	_, err = s.joinedRoom(ctx, who.User, i.RoomID)
	if isRefusal(err) {
		return i, false, noInvitation()
	}
	return i, false, err
}

// mayLook keeps guests out.
func mayLook(who *httpapi.Requester) error {
	if who.Guest {
		return matrix.Forbidden("guests may not do this")
	}
	return nil
}

// Withdraw revokes an invitation in the name of the requester: its inviter, or somebody in the room who may remove people.
func (s *Server) Withdraw(ctx context.Context, who *httpapi.Requester, id string) error {
	i, mine, err := s.Visible(ctx, who, id)
	if err != nil {
		return err
	}
	if err := who.MayAct(); err != nil {
		return err
	}
	if !mine {
		room, err := s.cfg.Rooms.Room(ctx, i.RoomID)
		if err != nil {
			return err
		}
		rules, err := s.cfg.Rooms.Rules(ctx, room)
		if err != nil {
			return err
		}
		if rules.UserLevel(who.User) < rules.Levels.Kick {
			return matrix.Forbidden("revoking others' invitations needs power level %d", rules.Levels.Kick)
		}
	}
	return s.end(ctx, who, &i, store.InvitationRevoked)
}

// Revoke ends an invitation, how being one of the store's words for it: revoked, or member. It asks nobody whether that may be.
func (s *Server) Revoke(ctx context.Context, id, how string) error {
	i, err := s.cfg.Store.GetInvitation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return noInvitation()
	}
	if err != nil {
		return fmt.Errorf("look up an invitation: %w", err)
	}
	return s.end(ctx, nil, &i, how)
}

// end ends an invitation: nobody gets in by it any more, on any process, from the commit on. Then the room is told; if that fails the worker
// makes up for it. Ending what has ended is no mistake.
func (s *Server) end(ctx context.Context, who *httpapi.Requester, i *store.Invitation, how string) error {
	var text *outbox.InvitationText
	if how == store.InvitationRevoked && i.Meeting != nil && i.Medium == outbox.Email {
		t, err := s.text(ctx, i, secret{})
		if err != nil {
			return err
		}
		text, t.Link = t, ""
		t.Meeting.Sequence++
	}
	ended, known := false, i.Delivery == string(outbox.Sent) || i.Delivery == string(outbox.Delivered) || text != nil && text.Meeting.Sequence > 1
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		now, ok, err := tx.EndInvitation(ctx, i.ID, how, how == store.InvitationRevoked)
		if ended = ok; err != nil || !ok {
			return err
		}
		*i = now
		if err := s.cfg.Cancel(ctx, tx, i.ID); err != nil {
			return fmt.Errorf("take back messages: %w", err)
		}
		if err := s.cancelMeeting(ctx, tx, i, known, text); err != nil {
			return err
		}
		if how != store.InvitationRevoked {
			return nil
		}
		return s.audit(ctx, tx, who, "invitation.revoke", i)
	})
	if err != nil || !ended {
		return err
	}
	if how == store.InvitationRevoked && s.cfg.Revoked != nil {
		s.cfg.Revoked(context.WithoutCancel(ctx), i.ID)
	}
	if err := s.settle(context.WithoutCancel(ctx), i); err != nil {
		s.cfg.Log.Warn("tell a room that an invitation has ended", "room", string(i.RoomID), "error", err)
	}
	return nil
}

// cancelMeeting takes a meeting out of the guest's calendar, if that has it, or what it was before: known says so already, and the invitation is
// told of its message only later. If the outbox does not take the message the invitation ends all the same.
func (s *Server) cancelMeeting(ctx context.Context, tx *store.Tx, i *store.Invitation, known bool, text *outbox.InvitationText) error {
	if text == nil {
		return nil
	}
	if !known {
		if gone, err := tx.HasOutboxGone(ctx, i.ID); err != nil || !gone {
			return err
		}
	}
	_, err := s.cfg.Enqueue(ctx, tx, Draft{
		Organisation: i.OrganisationID, Kind: outbox.Cancellation, Medium: i.Medium, Address: i.Address, Sender: i.Inviter, InvitationID: i.ID,
		Language: i.Language, ExpiresTS: text.Meeting.EndTS, Invitation: text,
	})
	if isRefusal(err) {
		return nil
	}
	return err
}

// settle tells the room that nobody gets in by an invitation any more, and notes that it was told.
func (s *Server) settle(ctx context.Context, i *store.Invitation) error {
	if err := s.cfg.Rooms.WithdrawThirdParty(ctx, i.RoomID, i.Inviter, i.ID); err != nil {
		return err
	}
	if err := s.tellRoom(ctx, i); err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.SettleInvitation(ctx, i.ID, s.now())
		return err
	})
}

// Resend gives an invitation another link, which holds as long as the first one did, and sends it, or returns it if there is no address. The link
// from before is dead.
func (s *Server) Resend(ctx context.Context, who *httpapi.Requester, id string) (Invited, error) {
	i, mine, err := s.Visible(ctx, who, id)
	if err != nil {
		return Invited{}, err
	}
	if err := who.MayAct(); err != nil {
		return Invited{}, err
	}
	if !mine {
		return Invited{}, matrix.Forbidden("only the inviter may send an invitation again")
	}
	if err := s.count(ctx, who); err != nil {
		return Invited{}, err
	}
	room, err := s.roomToInvite(ctx, who, i.RoomID)
	if err != nil {
		return Invited{}, err
	}
	policy, err := s.policyFor(ctx, who, room.OrganisationID)
	if err != nil {
		return Invited{}, err
	}
	if err := policy.admits(who, i.Medium, i.Address); err != nil {
		return Invited{}, err
	}
	status, err := s.Standing(ctx, i)
	if err != nil {
		return Invited{}, err
	}
	if status != Open && status != Early {
		return Invited{}, refused(status)
	}
	return s.renew(ctx, who, policy, i)
}

// renew sends an invitation that holds again, with another link.
func (s *Server) renew(ctx context.Context, who *httpapi.Requester, policy *Policy, i store.Invitation) (Invited, error) {
	now := s.now()
	expires := now + min(i.ExpiresTS-i.CreatedTS, matrix.Timestamp(*policy.LinkLifetimeMax))
	if i.Meeting != nil {
		expires = max(i.ExpiresTS, now+1)
	}
	opens := newSecret()
	i.ExpiresTS, i.Sequence = expires, i.Sequence+1
	text, err := s.text(ctx, &i, opens)
	if err != nil {
		return Invited{}, err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		renewed, ok, err := tx.RenewInvitation(ctx, i.ID, opens.hash(), expires, now)
		if err != nil {
			return err
		}
		if !ok {
			return refused(Expired)
		}
		if err := s.cfg.Cancel(ctx, tx, i.ID); err != nil {
			return fmt.Errorf("take back messages: %w", err)
		}
		if err := s.enqueue(ctx, tx, &renewed, text, true); err != nil {
			return err
		}
		i = renewed
		return s.audit(ctx, tx, who, "invitation.resend", &renewed)
	})
	if err != nil {
		return Invited{}, err
	}
	s.Changed(ctx, i.ID)
	return s.invited(i, opens), nil
}
