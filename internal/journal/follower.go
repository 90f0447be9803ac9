package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// Follower does something for each entry of the journal, at least once and in order, whatever process it runs in: it takes up
// where the last process left off. Only one process at a time runs the follower of a name.
type Follower struct {
	// Name is what the saved position and the lease are called.
	Name string
	// Start is where a follower begins that has never run.
	Start int64
	// Batch bounds the positions handed over at once, 2000 if zero.
	Batch int64
	// Handle does the work. After an error the same entries come again, after a pause. ctx ends when the lease is lost; what
	// Handle does in the moment until then another process may be doing, too.
	Handle func(ctx context.Context, entries []Entry) error
	// Rest is how long a follower that has caught up lets entries gather: a commit for every message competes with those of the
	// senders. What comes after a quiet time is handled at once.
	Rest time.Duration
	// Hurry, if given, ends a rest: somebody in this process waits for what the follower does.
	Hurry <-chan struct{}
	// Retry is how often a process tries to become the one that runs the follower, 2 s if zero: as long may nobody run it when a process dies.
	Retry time.Duration
	// While, if given, runs beside Handle for as long as this process has the lease. It has to return when ctx ends.
	While func(ctx context.Context)
}

const (
	leaseRetry      = 2 * time.Second
	savePatience    = 10 * time.Second
	followerPause   = time.Second
	defaultFollowed = 2000
)

// Follow runs f until ctx ends.
func (j *Journal) Follow(ctx context.Context, f Follower) {
	if f.Batch == 0 {
		f.Batch = defaultFollowed
	}
	if f.Retry == 0 {
		f.Retry = leaseRetry
	}
	for ctx.Err() == nil {
		lease, ok, err := j.cfg.Store.TryLease(ctx, f.Name)
		if err == nil && ok {
			err = j.followUnder(ctx, lease, f)
			lease.Release()
		}
		if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			j.cfg.Log.Error("journal: follower stopped", "follower", f.Name, "error", err)
		}
		wake.Pause(ctx, f.Retry)
	}
}

// followUnder works until the lease is lost or ctx ends.
func (j *Journal) followUnder(ctx context.Context, lease *store.Lease, f Follower) error {
	ctx, lose := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-lease.Lost():
			lose(store.ErrLeaseLost)
		case <-ctx.Done():
		}
	})
	if f.While != nil {
		watch.Go(func() { f.While(ctx) })
	}
	defer watch.Wait()
	defer lose(nil)
	err := j.work(ctx, lease, f)
	if lost := context.Cause(ctx); lost != nil && !errors.Is(lost, context.Canceled) {
		return lost
	}
	return err
}

func (j *Journal) work(ctx context.Context, lease *store.Lease, f Follower) error {
	position, err := lease.Position(ctx, f.Start)
	if err != nil {
		return err
	}
	for {
		head, err := j.Wait(ctx, position)
		if err != nil || ctx.Err() != nil {
			return nil
		}
		to := min(head, position+f.Batch)
		entries, err := j.Read(ctx, position, to)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			if err := f.Handle(ctx, entries); err != nil {
				j.cfg.Log.Warn("journal: follower will try again", "follower", f.Name, "position", position, "error", err)
				wake.Pause(ctx, followerPause)
				continue
			}
		}
		// What was done is saved even if it is time to stop: the next process need not do it again.
		saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
		err = lease.PutPosition(saving, to)
		cancel()
		if err != nil {
			return err
		}
		position = to
		if to == head && f.Rest > 0 {
			wake.PauseUntil(ctx, f.Hurry, f.Rest)
		}
	}
}

// Read returns the entries with from < position <= to, from the ring or the database.
func (j *Journal) Read(ctx context.Context, from, to int64) ([]Entry, error) {
	if entries, ok := j.Entries(from, to); ok {
		return entries, nil
	}
	events, updates, err := j.cfg.Store.ListJournal(ctx, from, to)
	return merge(events, updates), err
}
