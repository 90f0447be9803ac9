package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// Deleted organisations are removed in the background: one process at a time, under a lease, a portion after the other. What is done is not
// there any more when the work begins anew after a crash, so that no position has to be kept. The rooms come first, because there
// have to be people who may redact what is in them; then the accounts; the media follows by its own sweeper. The rows of
// the organisation, its domains and closed accounts stay, so that nobody else gets the names, and so does its audit log.

const (
	removerLease  = "organisations that are deleted"
	removerRetry  = 5 * time.Second
	removerLook   = 10 * time.Second
	removerPage   = 100
	removerPeriod = time.Second
)

func (s *Server) wakeRemover() {
	select {
	case s.removable <- struct{}{}:
	default:
	}
}

// Run removes what deleted organisations had, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		lease, ok, err := s.cfg.Store.TryLease(ctx, removerLease)
		if err == nil && ok {
			s.removeUnder(ctx, lease)
			lease.Release()
		}
		wake.PauseUntil(ctx, s.removable, removerRetry)
	}
	return nil
}

// removeUnder works while this process has the lease.
func (s *Server) removeUnder(ctx context.Context, lease *store.Lease) {
	for ctx.Err() == nil && lease.Check(ctx) == nil {
		wait := removerLook
		deleted, err := s.cfg.Store.ListRemovable(ctx)
		for _, id := range deleted {
			var done bool
			if done, err = s.removeOrganisation(ctx, id); err != nil {
				err = fmt.Errorf("organisation %d: %w", id, err)
				break
			}
			if !done {
				wait = removerPeriod // its media is still being removed
			}
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("a deleted organisation was not removed; it is tried again", "error", err)
			wait = removerRetry
		}
		wake.PauseUntil(ctx, s.removable, wait)
	}
}

// removeOrganisation removes what an organisation has. It is done when nothing is left.
func (s *Server) removeOrganisation(ctx context.Context, id int64) (done bool, err error) {
	if err := s.removeRooms(ctx, id); err != nil {
		return false, err
	}
	if err := s.removeAccounts(ctx, id); err != nil {
		return false, err
	}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		n, err := tx.DeleteAppservicesOf(ctx, id)
		if err != nil || n == 0 {
			return nil, err
		}
		return []store.Update{{Kind: store.KindAppservice, Body: []byte("{}")}}, nil
	})
	if err != nil {
		return false, fmt.Errorf("remove its application services: %w", err)
	}
	if err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.DeleteOrganisationRows(ctx, id) }); err != nil {
		return false, fmt.Errorf("remove its rows: %w", err)
	}
	left, err := s.cfg.Store.HasMedia(ctx, id)
	if err != nil {
		return false, err
	}
	if left {
		return false, s.cfg.Store.DiscardMedia(ctx, id, s.now())
	}
	err = s.change(ctx, Who{Actor: "server", Operator: true}, func(tx *store.Tx) (act, []store.Update, error) {
		o, err := tx.LockOrganisation(ctx, id)
		if err != nil {
			return act{}, nil, err
		}
		o.RemovedTS = s.now()
		return act{organisation: id, action: "organisation.removed", target: o.Name}, nil, tx.PutOrganisation(ctx, o)
	})
	return err == nil, err
}

func (s *Server) removeRooms(ctx context.Context, id int64) error {
	for after := int64(0); ; {
		rooms, err := s.cfg.Store.ListOrganisationRooms(ctx, id, after, removerPage)
		if err != nil {
			return fmt.Errorf("list its rooms: %w", err)
		}
		for _, r := range rooms {
			if err := s.cfg.DeleteRoom(ctx, id, r.ID); err != nil {
				return fmt.Errorf("delete %s: %w", r.ID, err)
			}
			after = r.NID
		}
		if len(rooms) < removerPage {
			return nil
		}
	}
}

func (s *Server) removeAccounts(ctx context.Context, id int64) error {
	for before := matrix.UserID(""); ; {
		users, err := s.cfg.Store.ListOpenUsers(ctx, id, removerPage)
		if err != nil {
			return fmt.Errorf("list its accounts: %w", err)
		}
		if len(users) == 0 {
			return nil
		}
		if users[0].UserID == before {
			return fmt.Errorf("%s is still there after it was erased", before)
		}
		before = users[0].UserID
		for _, u := range users {
			if err := s.cfg.EraseAccount(ctx, u.UserID); err != nil {
				return fmt.Errorf("erase %s: %w", u.UserID, err)
			}
		}
	}
}
