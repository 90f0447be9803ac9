package phones

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

const (
	// swept is how often calls are looked at that have lost what they stand on, or whose bridge has died.
	swept  = time.Second
	atOnce = 100
)

// observe notices ghosts whose membership changes, rooms that become encrypted, and organisations that change.
func (s *Server) observe(entries []journal.Entry, lost bool) {
	for _, e := range entries {
		switch {
		case e.Update != nil:
			lost = lost || e.Update.Kind == store.KindOrganisation
		case e.Event != nil && e.Event.StateKey != nil:
			lost = lost || e.Event.Type == spec.MRoomEncryption || e.Event.Type == spec.MRoomMember && IsGhost(matrix.UserID(*e.Event.StateKey))
		}
	}
	if lost {
		signal(s.changed)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// IsGhost reports whether a user is a phone.
func IsGhost(user matrix.UserID) bool {
	local := user.Localpart()
	return len(local) > len(Prefix) && local[:len(Prefix)] == Prefix
}

// Run hands out orders, and ends calls that nobody has, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if len(s.cfg.Trunks) == 0 {
		<-ctx.Done()
		return nil
	}
	var parts sync.WaitGroup
	parts.Go(func() {
		for ctx.Err() == nil {
			if err := s.cfg.Store.Listen(ctx, store.PhoneChannel, s.bell.Ring); err != nil {
				wake.Pause(ctx, time.Second)
			}
		}
	})
	parts.Go(func() { s.sweeps(ctx) })
	parts.Go(func() { s.keepRules(ctx) })
	<-ctx.Done()
	s.Stop()
	parts.Wait()
	return nil
}

// Stop answers bridges that wait, so that the process can end.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

func (s *Server) sweeps(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Error("phones are not looked after", "error", err)
		}
		wake.PauseUntil(ctx, s.changed, swept)
	}
}

// sweep does what is due. Every process does it: whatever it does, doing it twice changes nothing.
func (s *Server) sweep(ctx context.Context) error {
	now := s.now()
	if _, err := s.cfg.Store.HangUpPhones(ctx, now, now.Add(-limits.PhoneWaiting)); err != nil {
		return err
	}
	admitted, err := s.cfg.Store.ListPhonesAdmitted(ctx, atOnce)
	if err != nil {
		return err
	}
	for i := range admitted {
		if err := s.follow(ctx, &admitted[i]); err != nil {
			return err
		}
	}
	lost, err := s.cfg.Store.ListLostPhoneCalls(ctx, now.Add(-limits.PhoneQueued), atOnce)
	if err != nil {
		return err
	}
	for _, c := range lost {
		state, cause := stateEnded, phone.CauseLost
		if c.AnsweredTS == 0 {
			state = stateFailed
		}
		if c.State == stateQueued {
			cause = phone.CauseTrunk
		}
		if err := s.end(ctx, c.ID, state, string(cause), true); err != nil {
			return err
		}
	}
	left, err := s.cfg.Store.ListPhoneGhostsLeft(ctx, atOnce)
	for _, c := range left {
		s.clean(ctx, c)
	}
	return err
}

// follow lets a ghost in whom somebody has let in.
func (s *Server) follow(ctx context.Context, call *store.PhoneCall) error {
	if err := s.cfg.Rooms.Enrol(ctx, call.RoomID, call.UserID); err != nil {
		return ignoreRefusal(err)
	}
	return s.came(ctx, call.ID, false)
}

// Tasks are what has to be removed now and then.
func (s *Server) Tasks() []housekeeping.Task {
	return []housekeeping.Task{
		{Name: "PINs of phones that are over", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.cfg.Store.DeletePhonePINs(ctx, matrix.TimestampOf(now), limit)
		}},
		{Name: "calls of phones", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.cfg.Store.DeletePhoneCallsBefore(ctx, matrix.TimestampOf(now.Add(-limits.PhoneCallsKept)), limit)
		}},
		{Name: "what was spent on calls", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.cfg.Store.DeletePhoneSpendingBefore(ctx, matrix.TimestampOf(now.Add(-limits.PhoneSpendingKept)), limit)
		}},
		{Name: "phones that call no more", Run: s.closeGhosts},
	}
}

// closeGhosts closes the accounts of ghosts that have no call any more.
func (s *Server) closeGhosts(ctx context.Context, now time.Time, limit int) (int64, error) {
	if s.cfg.CloseGhost == nil {
		return 0, nil
	}
	list, err := s.cfg.Store.ListPhoneGhostsOver(ctx, matrix.TimestampOf(now.Add(-24*time.Hour)), min(limit, atOnce))
	if err != nil {
		return 0, err
	}
	for i, ghost := range list {
		if err := s.cfg.CloseGhost(ctx, ghost); err != nil && !errors.Is(err, store.ErrNotFound) {
			return int64(i), err
		}
	}
	return int64(len(list)), nil
}
