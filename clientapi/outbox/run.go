package outbox

import (
	"context"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

const (
	// swept is how often is looked for messages that are over, and for invitations that were not told: processes may have died.
	swept  = 5 * time.Second
	atOnce = 50
)

// Run wakes bridges up that wait, tells invitations how far their messages have come, and ends what was never sent, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { s.listen(ctx) })
	parts.Go(func() { s.sweep(ctx) })
	parts.Go(func() { s.pauseAsked(ctx) })
	<-ctx.Done()
	s.Stop()
	parts.Wait()
	return nil
}

// Stop answers bridges that wait, so that the process can end.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

func (s *Server) stopped() <-chan struct{} { return s.stop }

// listen turns notifications of all processes into wake-ups.
func (s *Server) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.cfg.Store.Listen(ctx, store.OutboxChannel, s.bell.Ring); err != nil {
			wake.Pause(ctx, time.Second)
		}
	}
}

func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(swept)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := s.tell(ctx); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Error("invitations are not told what became of their messages", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-s.changed:
		case <-tick.C:
			if n, err := s.cfg.Store.ExpireOutbox(ctx, s.now(), limits.OutcomesAtOnce); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
				s.cfg.Log.Error("messages whose time is over are not ended", "error", err)
			} else if n > 0 {
				s.cfg.Log.Warn("messages were not sent in time", "count", n)
			}
		}
	}
}

// tell tells invitations how far their messages have come. A process that dies meanwhile leaves it to another one.
func (s *Server) tell(ctx context.Context) error {
	if some, err := s.cfg.Store.HasUntold(ctx); err != nil || !some {
		return err
	}
	for {
		told := 0
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			list, err := tx.LockUntold(ctx, atOnce)
			if err != nil || len(list) == 0 {
				return err
			}
			var ids []int64
			for i := range list {
				if s.tellOne(ctx, &list[i]) {
					ids = append(ids, list[i].ID)
				}
			}
			told = len(ids)
			return tx.PutTold(ctx, ids)
		})
		if err != nil || told < atOnce {
			return err
		}
	}
}

// tellOne reports false when it has to be tried again.
func (s *Server) tellOne(ctx context.Context, m *store.OutboxMessage) bool {
	if s.cfg.Changed == nil {
		return true
	}
	err := s.cfg.Changed(ctx, m.InvitationID, outbox.State(m.State))
	if _, refused := matrix.AsError(err); err == nil || refused {
		return true
	}
	if ctx.Err() == nil {
		s.cfg.Log.Warn("an invitation is not told what became of its message", "invitation", m.InvitationID, "error", err)
	}
	return false
}

// pauseAsked stops the sending of organisations whose invitations are not used.
func (s *Server) pauseAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case organisation := <-s.paused:
			now := s.now()
			err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
				stopped, err := tx.PauseOutbox(ctx, organisation, now)
				if err != nil || !stopped {
					return err
				}
				return tx.AppendAudit(ctx, store.AuditEntry{
					OrganisationID: organisation, TS: now, Actor: "server", Action: "messages.pause", Target: outbox.Msisdn,
				})
			})
			if err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("the short messages of an organisation are not paused", "organisation", organisation, "error", err)
			}
		}
	}
}

// Tasks are what has to be removed now and then.
func Tasks(s *store.Store) []housekeeping.Task {
	return []housekeeping.Task{
		{Name: "messages that are over", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteOutboxBefore(ctx, matrix.TimestampOf(now.Add(-limits.MessagesKept)), limit)
		}},
		{Name: "what was spent on messages", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteSpendingBefore(ctx, matrix.TimestampOf(now.Add(-limits.SpendingKept)), limit)
		}},
	}
}
