package roomserver

import (
	"context"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// Txn is a client's transaction: the same one makes the same event, on whichever process and however often it is sent.
type Txn struct {
	Device matrix.DeviceID
	// Scope names the endpoint and the variable parts of its path.
	Scope string
	ID    string
}

// draft is an event before it has a place in the room.
type draft struct {
	Type     string
	StateKey *string
	Sender   matrix.UserID
	// Content is canonical JSON.
	Content []byte
	// Redacts is the event that this one removes; it was loaded before, because its remains are stored with it.
	Redacts *target
	// Attached is media that the client says hangs on the event.
	Attached []matrix.ContentURI
	// Timestamp is zero for now.
	Timestamp matrix.Timestamp
	// Sticky is for how long the event is sticky, 0 for not at all.
	Sticky time.Duration
}

// compose decides, from the room's state, which events to append. It may run several times. It asks for state through
// the view; when the view did not have it, what compose returns is ignored and it runs again. No drafts: nothing is to be done.
type compose func(v *view) ([]draft, error)

// maxAttempts bounds how often a unit is built again because the head has moved; after lockAfter attempts the room is locked in
// the database while the unit is built, so that busier processes can't starve this one.
const (
	maxAttempts = 12
	lockAfter   = 3
)

// append is the one door: it appends the events that compose decides on to a room, all or none, and returns the id of the
// last, or "" when there was nothing to do. A refusal by the room's rules is M_FORBIDDEN.
func (s *Server) append(ctx context.Context, room Info, txn *Txn, decide compose) (matrix.EventID, error) {
	t := s.tips.get(room)
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		if attempt > lockAfter {
			return s.appendLocked(ctx, t, txn, decide)
		}
		built, err := s.prepare(ctx, t, txn, decide)
		if _, refused := matrix.AsError(err); refused || err == nil && built == nil {
			if stale, err := s.verify(ctx, t, txn, decide); err != nil || !stale {
				return "", err
			}
			continue
		}
		if err != nil {
			return "", err
		}
		result, err := built.pending.Wait(ctx)
		if err != nil {
			t.abandon(built.generation)
			return "", err
		}
		switch result.Outcome {
		case store.OutcomeStored, store.OutcomeAlready:
			return built.last, nil
		case store.OutcomeTxn:
			t.abandon(built.generation)
			return result.EventID, nil
		case store.OutcomeMoved:
			t.abandon(built.generation)
		default:
			return "", fmt.Errorf("append to %s: unknown outcome %q", room.ID, result.Outcome)
		}
	}
	return "", matrix.Unavailable(time.Second)
}

// verify looks at a refusal again, or at the finding that nothing is to be done, with the room as the database has it: this process
// may not have heard yet of what another one did. stale says that there is something to append after all; the tip has
// been emptied then. A stale tip that allowed too much needs no such look: the journal compares heads.
func (s *Server) verify(ctx context.Context, t *tip, txn *Txn, decide compose) (stale bool, err error) {
	row, err := s.cfg.Store.GetRoom(ctx, t.room.ID)
	if err != nil {
		return false, fmt.Errorf("load head of %s: %w", t.room.ID, err)
	}
	now := &tip{room: t.room}
	now.reset()
	now.fill(row)
	unit, err := s.buildLoading(ctx, now, txn, decide)
	if err != nil || unit == nil {
		return false, err
	}
	t.mu.Lock()
	t.reset()
	t.mu.Unlock()
	return true, nil
}

// abandon empties the tip after a unit that was built on it did not get in.
func (t *tip) abandon(generation int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.generation == generation {
		t.reset()
	}
}

// prepare builds a unit on the tip and enqueues it. The tip's lock orders the units of a room; it is not held while the
// database is asked.
func (s *Server) prepare(ctx context.Context, t *tip, txn *Txn, decide compose) (*enqueued, error) {
	for {
		t.mu.Lock()
		if !t.loaded {
			t.mu.Unlock()
			if err := s.loadHead(ctx, t); err != nil {
				return nil, err
			}
			continue
		}
		generation := t.generation
		unit, missing, err := s.build(t, txn, decide)
		if err == nil && len(missing) == 0 && unit != nil {
			e, err := s.enqueue(t, unit)
			t.mu.Unlock()
			return e, err
		}
		t.mu.Unlock()
		if err != nil || len(missing) == 0 {
			return nil, err
		}
		if err := s.loadState(ctx, t, generation, missing); err != nil {
			return nil, err
		}
	}
}

// enqueued is a unit on its way, built on a tip that was loaded for the generation-th time.
type enqueued struct {
	pending    pendingUnit
	generation int
	last       matrix.EventID
}

// pendingUnit is what journal.Enqueue returns.
type pendingUnit interface {
	Wait(ctx context.Context) (store.Result, error)
}

// enqueue hands the unit to the journal and moves the tip over it. The tip's lock is held.
func (s *Server) enqueue(t *tip, u *store.Unit) (*enqueued, error) {
	pending, err := s.cfg.Journal.Enqueue(*u)
	if err != nil {
		return nil, err
	}
	for i := range u.Events {
		e := &u.Events[i]
		t.pending = append(t.pending, e.EventID)
		t.apply(e.EventID, e.Type, e.StateKey, e.Depth, e.JSON)
	}
	return &enqueued{pending: pending, generation: t.generation, last: t.head}, nil
}

// maxLocked bounds how many rooms are locked at a time: each holds a connection while it reads through another, and there
// must be some left to read through.
const maxLocked = 4

// appendLocked is append under the lock of the room's row.
func (s *Server) appendLocked(ctx context.Context, t *tip, txn *Txn, decide compose) (matrix.EventID, error) {
	select {
	case s.locked <- struct{}{}:
		defer func() { <-s.locked }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	var id matrix.EventID
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		id = ""
		row, err := tx.LockRoom(ctx, t.room.NID)
		if err != nil {
			return nil, err
		}
		own := &tip{room: t.room}
		own.reset()
		own.fill(row)
		unit, err := s.buildLoading(ctx, own, txn, decide)
		if err != nil || unit == nil {
			return nil, err
		}
		result, err := tx.Append(ctx, s.now(), *unit)
		switch {
		case err != nil:
			return nil, err
		case result.Outcome == store.OutcomeTxn:
			id = result.EventID
		case result.Outcome == store.OutcomeStored || result.Outcome == store.OutcomeAlready:
			id = unit.Events[len(unit.Events)-1].EventID
		default:
			return nil, fmt.Errorf("append to locked room %s: outcome %q", t.room.ID, result.Outcome)
		}
		return nil, nil
	})
	t.mu.Lock()
	t.reset()
	t.mu.Unlock()
	if err != nil {
		return "", err
	}
	return id, s.cfg.Journal.CatchUp(ctx)
}

// buildLoading builds a unit on a tip that nobody else uses, loading what is missing.
func (s *Server) buildLoading(ctx context.Context, t *tip, txn *Txn, decide compose) (*store.Unit, error) {
	for {
		unit, missing, err := s.build(t, txn, decide)
		if err != nil || len(missing) == 0 {
			return unit, err
		}
		if err := s.loadState(ctx, t, t.generation, missing); err != nil {
			return nil, err
		}
	}
}

// loadHead fills an empty tip from the database.
func (s *Server) loadHead(ctx context.Context, t *tip) error {
	row, err := s.cfg.Store.GetRoom(ctx, t.room.ID)
	if err != nil {
		return fmt.Errorf("load head of %s: %w", t.room.ID, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded && len(t.pending) == 0 {
		t.reset()
		t.fill(row)
	}
	return nil
}

// loadState reads state into the tip. What another process stored meanwhile may be newer than the tip's head; then the unit
// that is built on it comes back as moved.
func (s *Server) loadState(ctx context.Context, t *tip, generation int, keys []event.StateKey) error {
	wanted := make([]store.StateKey, len(keys))
	for i, k := range keys {
		wanted[i] = store.StateKey{Type: k.Type, Key: k.Key}
	}
	events, err := s.cfg.Store.ListStateEventsFor(ctx, t.room.NID, store.CurrentState, wanted)
	if err != nil {
		return fmt.Errorf("load state of %s: %w", t.room.ID, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.generation != generation {
		return nil
	}
	for _, k := range keys {
		if _, ok := t.state[k]; !ok {
			t.state[k] = nil
		}
	}
	for i := range events {
		e := &events[i]
		key := event.StateKey{Type: e.Type, Key: *e.StateKey}
		if t.state[key] == nil {
			t.state[key] = &stateEvent{id: e.EventID, json: e.JSON}
		}
	}
	return nil
}
