package mediaapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/mediaapi/blob"
)

const (
	sweeperLease = "media sweeper"
	leaseRetry   = 5 * time.Second
	// sweepEvery is how often the sweeper looks without being told: what happened on other processes.
	sweepEvery = 2 * time.Second
	// tidyEvery is how often it looks for what has become too old.
	tidyEvery = time.Minute
	// sweepBatch bounds what is done at once.
	sweepBatch = 1000
)

// observe wakes the sweeper for a redaction or a changed profile.
func (s *Server) observe(entries []journal.Entry, _ bool) {
	for i := range entries {
		e, u := entries[i].Event, entries[i].Update
		if e != nil && e.Type == "m.room.redaction" || u != nil && u.Kind == store.KindProfile {
			s.wakeSweeper()
			return
		}
	}
}

// runSweeper removes what nobody needs any more, while this process has the lease, until ctx ends.
func (s *Server) runSweeper(ctx context.Context) {
	for ctx.Err() == nil {
		lease, ok, err := s.cfg.Store.TryLease(ctx, sweeperLease)
		if err == nil && ok {
			s.sweepUnder(ctx, lease)
			lease.Release()
		}
		wake.Pause(ctx, leaseRetry)
	}
}

func (s *Server) sweepUnder(ctx context.Context, lease *store.Lease) {
	var tidied time.Time
	for ctx.Err() == nil && lease.Check(ctx) == nil {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("media: sweeping", "error", err)
		}
		if now := s.cfg.Clock.Now(); now.Sub(tidied) >= tidyEvery {
			tidied = now
			if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("media: tidying", "error", err)
			}
		}
		wake.PauseUntil(ctx, s.swept, sweepEvery)
	}
}

// sweep carries out what was decided: media whose last link went is deleted, bytes that nobody needs are removed, and what was deleted is
// receipted. Each step may be repeated after a crash.
func (s *Server) sweep(ctx context.Context) error {
	if some, err := s.cfg.Store.HasMediaToSweep(ctx); err != nil || !some {
		return err
	}
	for {
		n, err := s.cfg.Store.DeleteUnlinkedMedia(ctx, s.now(), sweepBatch, unlinkRules)
		if err != nil {
			return fmt.Errorf("delete what hangs on nothing: %w", err)
		}
		if n < sweepBatch {
			break
		}
	}
	if err := s.removeObjects(ctx); err != nil {
		return err
	}
	return s.signReceipts(ctx)
}

// removeObjects removes the bytes of objects that are gone.
func (s *Server) removeObjects(ctx context.Context) error {
	_, err := removeGone(ctx, s.cfg.Store, s.cfg.Blobs)
	return err
}

func removeGone(ctx context.Context, st *store.Store, blobs blob.Store) (n int, err error) {
	for ctx.Err() == nil {
		stored, unfinished, err := st.ListGoneObjects(ctx, sweepBatch)
		if err != nil {
			return n, fmt.Errorf("list objects to be removed: %w", err)
		}
		keys := slices.Concat(stored, unfinished)
		if len(keys) == 0 {
			return n, nil
		}
		if err := blobs.DeleteStored(ctx, stored...); err != nil {
			return n, fmt.Errorf("remove objects: %w", err)
		}
		if err := blobs.Delete(ctx, unfinished...); err != nil {
			return n, fmt.Errorf("remove what was not finished: %w", err)
		}
		if err := st.DeleteObjects(ctx, keys); err != nil {
			return n, fmt.Errorf("forget objects: %w", err)
		}
		n += len(keys)
	}
	return n, ctx.Err()
}

// tidy deletes what has become too old: uploads that nobody finished, media that nobody sent, and what the rules of retention say.
func (s *Server) tidy(ctx context.Context) error {
	now := s.now()
	if _, err := s.cfg.Store.AbortObjectsBefore(ctx, now.Add(-limits.UploadTime-time.Minute), now, sweepBatch); err != nil {
		return fmt.Errorf("give up interrupted uploads: %w", err)
	}
	for {
		n, err := s.cfg.Store.DeleteExpiredMedia(ctx, now, sweepBatch, ruleUnused)
		if err != nil {
			return fmt.Errorf("delete what was never sent: %w", err)
		}
		if n < sweepBatch {
			break
		}
	}
	return s.retain(ctx)
}

// retain deletes what is older than the organisations keep it.
func (s *Server) retain(ctx context.Context) error {
	orgs, err := s.cfg.Store.ListOrganisations(ctx)
	if err != nil {
		return fmt.Errorf("list organisations: %w", err)
	}
	for _, org := range orgs {
		r, err := s.rulesOf(ctx, org)
		if err != nil {
			return err
		}
		for kind, age := range r.retention {
			if age <= 0 {
				continue
			}
			filter := store.MediaFilter{
				OrganisationID: org, Kinds: []string{kind}, Before: s.now().Add(-age), KeepProfiles: true, KeepProtected: true, KeepHeld: true,
			}
			if _, err := s.deleteBy(ctx, filter, store.Deleting{Rule: ruleRetention, At: s.now()}); err != nil {
				return err
			}
		}
	}
	return nil
}
