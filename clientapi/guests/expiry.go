package guests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
)

const (
	leaseName = "guests"
	// leaseRetry is how often a process tries to become the one that ends guests, lookAgain how often that one looks who is due whom nobody has
	// told it of.
	leaseRetry = time.Second
	lookAgain  = 2 * time.Second
	// sweepEvery is how often all guests are looked at, for what the journal did not say.
	sweepEvery = 15 * time.Second
	// entering is how long a guest may take from redeeming to the room.
	entering = 10 * time.Minute
	// atOnce guests are fetched at a time, and endParallel ended.
	atOnce      = 200
	endParallel = 8
	// afterFailure a guest is tried again whom something kept here.
	afterFailure = 10 * time.Second
)

// Reasons that stand in member events.
const (
	whyExpired = "guest expired"
	whyRemoved = "guest removed"
	whyClosed  = "guests are not let in any more"
)

// noticed is what the journal said.
type noticed struct {
	// sweep: some guest may have lost what it stood on.
	sweep bool
	// rooms are those that changed who is let in.
	rooms map[int64]struct{}
}

// observe notices memberships of guests that end, rooms that let no guests in any more, and organisations that change.
func (s *Server) observe(entries []journal.Entry, lost bool) {
	var n noticed
	n.sweep = lost
	for _, e := range entries {
		switch {
		case e.Update != nil:
			n.sweep = n.sweep || e.Update.Kind == store.KindOrganisation
		case e.Event == nil || e.Event.StateKey == nil:
		case e.Event.Type == spec.MRoomMember:
			n.sweep = n.sweep || strings.HasPrefix(*e.Event.StateKey, "@"+Prefix) && isGone(e.Event)
		case e.Event.Type == spec.MRoomGuestAccess && *e.Event.StateKey == "":
			if n.rooms == nil {
				n.rooms = make(map[int64]struct{})
			}
			n.rooms[e.Event.RoomNID] = struct{}{}
		}
	}
	if !n.sweep && n.rooms == nil {
		return
	}
	s.mu.Lock()
	s.noticed.sweep = s.noticed.sweep || n.sweep
	if s.noticed.rooms == nil {
		s.noticed.rooms = make(map[int64]struct{})
	}
	maps.Copy(s.noticed.rooms, n.rooms)
	s.mu.Unlock()
	s.wake()
}

func isGone(e *store.Event) bool {
	m := gjson.GetBytes(e.JSON, "content.membership").String()
	return m == spec.Leave || m == spec.Ban
}

func (s *Server) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// take returns what was noticed, and forgets it.
func (s *Server) take() noticed {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.noticed
	s.noticed = noticed{}
	return n
}

// Run ends guests, until ctx ends: on one process, under a lease. When that process dies another one begins by looking at all.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		lease, ok, err := s.cfg.Store.TryLease(ctx, leaseName)
		if err == nil && ok {
			err = s.work(ctx, lease)
			lease.Release()
		}
		if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("end guests", "err", err)
		}
		// Who has the lease has heard the same.
		s.take()
		wake.Pause(ctx, leaseRetry)
	}
	return nil
}

// work ends guests as long as this process has the lease.
func (s *Server) work(ctx context.Context, lease *store.Lease) error {
	failed := make(map[matrix.UserID]time.Time)
	var swept time.Time
	for ctx.Err() == nil {
		n := s.take()
		if err := s.closeRooms(ctx, n.rooms); err != nil {
			return err
		}
		if n.sweep || time.Since(swept) >= sweepEvery {
			if err := s.endLost(ctx); err != nil {
				return err
			}
			if err := s.takeOut(ctx); err != nil {
				return err
			}
			swept = time.Now()
		}
		next, err := s.endDue(ctx, failed)
		if err != nil {
			return err
		}
		wait := lookAgain
		if next != 0 {
			wait = min(wait, time.Duration(next-s.now()+1)*time.Millisecond)
		}
		wake.PauseUntil(ctx, s.woken, wait)
		if err := lease.Check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// closeRooms takes the guests out of rooms that let none in any more.
//
// Differs: who has an invitation is let in whatever m.room.guest_access says. It is for guests whom nobody has invited.
//
// Spec: client-server v1.19 §guest-access
func (s *Server) closeRooms(ctx context.Context, rooms map[int64]struct{}) error {
	for nid := range rooms {
		e, err := s.cfg.Store.GetStateEvent(ctx, nid, store.CurrentState, spec.MRoomGuestAccess, "")
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("load who is let into a room: %w", err)
		}
		if gjson.GetBytes(e.JSON, "content.guest_access").String() == "can_join" {
			continue
		}
		guests, err := s.cfg.Store.ListRoomGuests(ctx, nid)
		if err != nil {
			return fmt.Errorf("list the guests of a room: %w", err)
		}
		for _, g := range guests {
			// An invitation that was made later lets in again.
			if g.CreatedTS > e.OriginServerTS {
				continue
			}
			if err := s.leave(ctx, e.RoomID, g.UserID, whyClosed); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave ends a membership; one that has ended stays so.
func (s *Server) leave(ctx context.Context, room matrix.RoomID, user matrix.UserID, why string) error {
	err := s.cfg.Rooms.Leave(ctx, roomserver.Membership{Room: room, Sender: user, Reason: why})
	if refused(err) {
		return nil
	}
	return err
}

// refused reports that a room's rules do not let something be done, rather than that it could not be done now.
func refused(err error) bool {
	e, ok := matrix.AsError(err)
	return ok && e.Status < http.StatusInternalServerError
}

// endLost ends the guests who have nothing to stand on any more.
func (s *Server) endLost(ctx context.Context) error {
	for {
		now := s.now()
		lost, err := s.cfg.Store.ListLostGuests(ctx, now, now.Add(-entering), atOnce)
		if err != nil {
			return fmt.Errorf("look for guests who have to go: %w", err)
		}
		for _, l := range lost {
			if err := s.expire(ctx, l.UserID, actor{name: "server"}, lostBecause[l.Why]); err != nil {
				return err
			}
		}
		if len(lost) < atOnce {
			return nil
		}
	}
}

// lostBecause is what the audit log says of guests who are lost.
var lostBecause = map[string]string{
	"organisation": "the organisation is suspended",
	"account":      "the account is closed",
	"invitation":   "the invitation was revoked",
	"rooms":        "the guest is in no room any more",
	"link":         "the organisations are not linked any more",
}

// takeOut takes those out of rooms who ended on the way in, where the process died that let them in (redeem.go, stays).
func (s *Server) takeOut(ctx context.Context) error {
	left, err := s.cfg.Store.ListEndedGuestsInRooms(ctx, s.now().Add(-entering), atOnce)
	if err != nil {
		return fmt.Errorf("look for guests who have ended and are in rooms: %w", err)
	}
	for _, m := range left {
		if err := s.leave(ctx, m.RoomID, m.UserID, whyExpired); err != nil {
			return fmt.Errorf("leave %s: %w", m.RoomID, err)
		}
	}
	return nil
}

// endDue finishes the guests whose time is over, and says when the next one's is, 0 for never.
func (s *Server) endDue(ctx context.Context, failed map[matrix.UserID]time.Time) (next matrix.Timestamp, err error) {
	for user, until := range failed {
		if time.Now().After(until) {
			delete(failed, user)
		}
	}
	now := s.now()
	some, next, err := s.cfg.Store.GetGuestExpiry(ctx, now, slices.Collect(maps.Keys(failed)))
	if err != nil {
		return 0, fmt.Errorf("look whether a guest's time is over: %w", err)
	}
	if !some {
		return next, nil
	}
	due, err := s.cfg.Store.ListDueGuests(ctx, now, slices.Collect(maps.Keys(failed)), atOnce)
	if err != nil {
		return 0, fmt.Errorf("look for guests whose time is over: %w", err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	free := make(chan struct{}, endParallel)
	for _, g := range due {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			if err := s.finish(ctx, g.UserID, whyExpired); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("end a guest", "user", g.UserID, "err", err)
				mu.Lock()
				failed[g.UserID] = time.Now().Add(afterFailure)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(due) == atOnce {
		next = now // there may be others
	}
	return next, ctx.Err()
}

// end ends a guest now. When it returns no process lets the guest do anything; what fails after that is done by the worker.
func (s *Server) end(ctx context.Context, user matrix.UserID, a actor, why string) error {
	if err := s.expire(ctx, user, a, why); err != nil {
		return err
	}
	if err := s.finish(ctx, user, why); err != nil {
		s.cfg.Log.Warn("end a guest", "user", user, "err", err)
		s.wake()
	}
	return nil
}

// expire makes a guest's time over, and ends the sessions.
func (s *Server) expire(ctx context.Context, user matrix.UserID, a actor, why string) error {
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		g, err := tx.LockGuest(ctx, user)
		if err != nil || !g.Active(s.now()) {
			return nil, err
		}
		return s.expireIn(ctx, tx, g, a, why)
	})
	if err != nil {
		return fmt.Errorf("end guest %s: %w", user, err)
	}
	return nil
}

// expireIn is expire in the caller's transaction, which has locked the guest.
func (s *Server) expireIn(ctx context.Context, tx *store.Tx, g store.Guest, a actor, why string) ([]store.Update, error) {
	if err := tx.PutGuestExpiry(ctx, g.UserID, s.now()); err != nil {
		return nil, err
	}
	updates, err := s.cfg.Accounts.EndSessions(ctx, tx, g.UserID, nil)
	if err != nil {
		return nil, err
	}
	return updates, s.audit(ctx, tx, g.OrganisationID, a, "guest.remove", g.UserID, map[string]any{"why": why})
}

// finish does what is left to do for a guest whose time is over: the sessions and the memberships end, the account is closed, and what the guest has
// sent goes if the organisation wants it. It may be begun anew at any time; that it is done is noted last.
func (s *Server) finish(ctx context.Context, user matrix.UserID, why string) error {
	var g store.Guest
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) (updates []store.Update, err error) {
		if g, err = tx.LockGuest(ctx, user); err != nil || g.EndedTS != 0 || g.ExpiresTS > s.now() {
			return nil, err
		}
		return s.cfg.Accounts.EndSessions(ctx, tx, user, nil)
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (g.EndedTS != 0 || g.ExpiresTS > s.now()) {
		return nil
	}
	if err != nil {
		return err
	}
	rooms, err := s.cfg.Store.ListMemberships(ctx, user)
	if err != nil {
		return fmt.Errorf("list rooms: %w", err)
	}
	for _, m := range rooms {
		if m.Membership == spec.Leave || m.Membership == spec.Ban {
			continue
		}
		if err := s.leave(ctx, m.RoomID, user, why); err != nil {
			return fmt.Errorf("leave %s: %w", m.RoomID, err)
		}
	}
	return s.close(ctx, g)
}

// close closes the account of a guest who has left.
func (s *Server) close(ctx context.Context, g store.Guest) error {
	policy, err := s.cfg.Invitations.PolicyOf(ctx, g.OrganisationID)
	if err != nil {
		return err
	}
	// What somebody has sent who has an account now is that account's.
	erase := policy.GuestData == invitations.Erase && g.LinkedTo == ""
	ended := func(ctx context.Context, tx *store.Tx) error {
		if err := tx.PutGuestEnded(ctx, g.UserID, s.now()); err != nil {
			return err
		}
		return s.audit(ctx, tx, g.OrganisationID, actor{name: "server"}, "guest.end", g.UserID, map[string]any{"erased": erase})
	}
	if erase {
		err := s.cfg.People.DeleteAs(ctx, accounts.Actor{Org: g.OrganisationID, Name: "server"}, g.UserID, accounts.Deletion{Messages: &erase, Media: &erase})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("erase: %w", err)
		}
		return s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return ended(ctx, tx) })
	}
	return s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		u, err := tx.LockUser(ctx, g.UserID)
		if err != nil {
			return nil, err
		}
		if u.Deactivated() {
			return nil, ended(ctx, tx)
		}
		if err := tx.PutUserDeactivated(ctx, g.UserID, false, s.now()); err != nil {
			return nil, err
		}
		return auth.SessionChanged(g.UserID), ended(ctx, tx)
	})
}

// Revoked ends the guests of an invitation that was revoked. Who is left out, because something fails, ends with the next look at all guests.
func (s *Server) Revoked(ctx context.Context, invitation string) {
	guests, err := s.cfg.Store.ListGuestsOfInvitation(ctx, invitation)
	for _, g := range guests {
		err = errors.Join(err, s.end(ctx, g.UserID, actor{name: "server"}, lostBecause["invitation"]))
	}
	if err != nil {
		s.cfg.Log.Warn("end the guests of an invitation that was revoked", "err", err)
	}
}
