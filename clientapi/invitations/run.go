package invitations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

const (
	// follower is the name under which one process does what is here.
	follower = "invitations"
	// lookEvery is how often it looks for what has expired and for new addresses, sweepEvery for what another process has left undone.
	lookEvery  = 2 * time.Second
	sweepEvery = time.Minute
	// usedUp is for how long the third-party invite of an invitation stays after its last use: who used it is about to be let in.
	usedUp = time.Minute
	atOnce = 200
)

// Run does, on one process of the deployment, what nobody asks for, until ctx ends: it ends invitations that members have withdrawn in the room,
// tells rooms of those that have expired, and invites accounts that have got an address which was invited.
func (s *Server) Run(ctx context.Context) error {
	s.cfg.Journal.Follow(ctx, journal.Follower{
		Name: follower, Start: s.cfg.Journal.Head(), Handle: s.follow, Rest: 100 * time.Millisecond, While: s.work,
	})
	return nil
}

// follow ends the invitations whose third-party invites somebody has emptied, or replaced by others.
func (s *Server) follow(ctx context.Context, entries []journal.Entry) error {
	for i := range entries {
		e := entries[i].Event
		if e == nil || e.StateKey == nil || e.Type != roomserver.ThirdPartyInviteType {
			continue
		}
		if err := s.withdrawn(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) withdrawn(ctx context.Context, e *store.Event) error {
	i, err := s.cfg.Store.GetInvitation(ctx, *e.StateKey)
	if err == store.ErrNotFound || err == nil && i.RoomNID != e.RoomNID {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up an invitation: %w", err)
	}
	if i.Ended != "" || i.Uses >= i.UsesAllowed || e.Sender == i.Inviter && roomserver.SignedWith(event.Content(e.JSON), s.publicKey) {
		return nil
	}
	return s.end(ctx, &httpapi.Requester{User: e.Sender}, &i, store.InvitationRevoked)
}

// work looks for work again and again.
func (s *Server) work(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var swept time.Time
	for {
		some, err := s.cfg.Store.HasInvitationWork(ctx, s.now())
		s.logged(ctx, "look for work", err)
		if some {
			s.logged(ctx, "end invitations that have expired", s.expire(ctx))
			s.logged(ctx, "look at new addresses of accounts", s.newAddresses(ctx))
		}
		if time.Since(swept) > sweepEvery {
			swept = time.Now()
			s.logged(ctx, "tell rooms of invitations that have ended", s.sweep(ctx))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) logged(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
		s.cfg.Log.Error("invitations: "+what, "error", err)
	}
}

// expire ends what has expired. What can't be settled keeps its place, and the others are not kept waiting.
func (s *Server) expire(ctx context.Context) error {
	list, err := s.cfg.Store.ListExpiredInvitations(ctx, s.now(), atOnce)
	if err != nil {
		return err
	}
	return s.settleAll(ctx, list)
}

// sweep makes up for processes that died before they had told a room.
func (s *Server) sweep(ctx context.Context) error {
	list, err := s.cfg.Store.ListUnsettledInvitations(ctx, s.now().Add(-usedUp), atOnce)
	if err != nil {
		return err
	}
	return s.settleAll(ctx, list)
}

func (s *Server) settleAll(ctx context.Context, list []store.Invitation) (failed error) {
	for i := range list {
		inv := &list[i]
		if inv.Ended == "" && inv.Uses < inv.UsesAllowed {
			if err := s.end(ctx, nil, inv, store.InvitationExpired); err != nil {
				failed = err
			}
			continue
		}
		if err := s.settle(ctx, inv); err != nil {
			failed = err
		}
	}
	return failed
}

// newAddresses looks at the addresses that accounts have got. A directory may have brought thousands.
func (s *Server) newAddresses(ctx context.Context) (failed error) {
	list, err := s.cfg.Store.ListNewThreePIDs(ctx, atOnce)
	for err == nil && failed == nil && len(list) > 0 {
		failed = s.lookAt(ctx, list)
		if len(list) < atOnce {
			break
		}
		list, err = s.cfg.Store.ListNewThreePIDs(ctx, atOnce)
	}
	return errors.Join(err, failed)
}

// lookAt looks at addresses. One that fails does not keep the others waiting, and is looked at again.
func (s *Server) lookAt(ctx context.Context, list []store.NewThreePID) (failed error) {
	for i := range list {
		if err := s.newAddress(ctx, &list[i]); err != nil {
			failed = err
			continue
		}
		if err := s.cfg.Store.DeleteNewThreePID(ctx, list[i].ID); err != nil {
			failed = err
		}
	}
	return failed
}

// newAddress makes the organisation's invitations to an address invites of the account that has it, and its guests the account's.
func (s *Server) newAddress(ctx context.Context, t *store.NewThreePID) error {
	pending, err := s.cfg.Store.ListInvitations(ctx, store.InvitationFilter{
		OrganisationID: t.OrganisationID, Medium: t.Medium, Address: t.Address, Holding: true, Now: s.now(),
	}, limits.PageMax)
	if err != nil {
		return fmt.Errorf("list the invitations to an address: %w", err)
	}
	for i := range pending {
		if err := s.toMember(ctx, &pending[i], t.UserID); err != nil {
			return err
		}
	}
	if s.cfg.LinkGuest == nil {
		return nil
	}
	return s.cfg.LinkGuest(ctx, t.UserID, t.OrganisationID, t.Medium, t.Address)
}

// toMember exchanges a third-party invite for an invite of the account. Whom the room or the account itself does not want to be invited is not,
// and the link is dead in any case.
func (s *Server) toMember(ctx context.Context, i *store.Invitation, user matrix.UserID) error {
	room, err := s.cfg.Rooms.Room(ctx, i.RoomID)
	if err != nil {
		return err
	}
	status, err := s.inRoom(ctx, room, i)
	if err != nil {
		return err
	}
	if status == Open {
		err = s.cfg.MayInvite(ctx, &httpapi.Requester{User: i.Inviter, Org: i.OrganisationID}, []matrix.UserID{user})
		if err == nil {
			var signed []byte
			if signed, err = s.sign(i.ID, user); err != nil {
				return err
			}
			err = s.cfg.Rooms.InviteBySignature(ctx, roomserver.Membership{Room: i.RoomID, Sender: i.Inviter, Target: user}, signed)
		}
		if err != nil && !isRefusal(err) {
			return err
		}
	}
	return s.end(ctx, nil, i, store.InvitationMember)
}

// Tasks are what has to be removed now and then.
func Tasks(s *store.Store) []housekeeping.Task {
	return []housekeeping.Task{{Name: "invitations that ended", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
		return s.DeleteInvitationsBefore(ctx, matrix.TimestampOf(now.Add(-limits.InvitationsKept)), limit)
	}}, {Name: "commands to the bot", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
		return s.DeleteCommandsBefore(ctx, matrix.TimestampOf(now.Add(-limits.CommandKept)), limit)
	}}}
}
