package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// typists knows who is typing in the whole deployment, and says stop for those who don't say so themselves.
//
// Every process learns from the journal of everybody who types, whichever process they told, and each would stop them when
// their time is over. The stop replaces the very notification that it ends (store.Update.Replaces): one process
// succeeds, and nobody who typed on is stopped. The process that was told acts first; the others wait for it a while and
// see its stop, unless it died. Each counts the time from when it learned of the typing, because clocks may differ.
type typists struct {
	store   *store.Store
	journal *journal.Journal
	clock   matrix.Clock
	log     *slog.Logger

	mu     sync.Mutex
	active map[typist]typingState
	// reload says that active may lack somebody: at the start, and when entries of the journal were missed.
	reload bool
	news   chan struct{}
}

type typist struct {
	room int64
	user matrix.UserID
}

type typingState struct {
	// end is by this process's clock.
	end      time.Time
	position int64
	// told: this process was told by the client.
	told bool
}

// typingBody is the body of store.KindTyping.
type typingBody struct {
	Until matrix.Timestamp `json:"until"`
	// For is how long that was when it was stored, in ms.
	For int64 `json:"for,omitempty"`
}

const (
	// typingTick is how exactly the end of typing is kept.
	typingTick = 250 * time.Millisecond
	// typingGrace is how long the other processes wait for the one that was told.
	typingGrace = 3 * time.Second
)

// maxTypists bounds what is read at the start; who types on says so again soon.
const maxTypists = 10_000

func newTypists(st *store.Store, j *journal.Journal, clock matrix.Clock, log *slog.Logger) *typists {
	t := &typists{
		store: st, journal: j, clock: clock, log: log,
		active: make(map[typist]typingState), reload: true, news: make(chan struct{}, 1),
	}
	j.Observe(t.observe)
	return t
}

func (t *typists) observe(entries []journal.Entry, lost bool) {
	for _, e := range entries {
		if e.Update != nil && e.Update.Kind == store.KindTyping {
			t.learn(*e.Update)
		}
	}
	if lost {
		t.mu.Lock()
		t.reload = true
		t.mu.Unlock()
		t.wake()
	}
}

func (t *typists) learn(u store.Update) {
	key := typist{u.RoomNID, u.UserID}
	var body typingBody
	if json.Unmarshal(u.Body, &body) != nil {
		body = typingBody{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.Position <= t.active[key].position {
		return
	}
	if body.Until == 0 {
		delete(t.active, key)
		return
	}
	t.active[key] = typingState{end: t.clock.Now().Add(time.Duration(body.For) * time.Millisecond), position: u.Position}
	t.wake()
}

// start says that a user types, for timeout.
func (t *typists) start(ctx context.Context, room int64, user matrix.UserID, timeout time.Duration) error {
	body, err := json.Marshal(typingBody{matrix.TimestampOf(t.clock.Now().Add(timeout)), timeout.Milliseconds()})
	if err != nil {
		return err
	}
	position, err := t.journal.Put(ctx, store.Update{Kind: store.KindTyping, RoomNID: room, UserID: user, Body: body})
	if err != nil {
		return fmt.Errorf("store typing: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if state, ok := t.active[typist{room, user}]; ok && state.position == position {
		state.told = true
		t.active[typist{room, user}] = state
	}
	return nil
}

// stop says that a user types no more, unless nobody thinks so: clients say it with every message.
func (t *typists) stop(ctx context.Context, room int64, user matrix.UserID) error {
	present, err := t.store.GetUpdate(ctx, store.KindTyping, room, user, "")
	if errors.Is(err, store.ErrNotFound) || err == nil && string(present.Body) == stopped {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read typing: %w", err)
	}
	if _, err := t.journal.Put(ctx, stopUpdate(room, user)); err != nil {
		return fmt.Errorf("store typing: %w", err)
	}
	return nil
}

// stopped is the body for who doesn't type; an index of the database knows it.
const stopped = `{"until":0}`

func stopUpdate(room int64, user matrix.UserID) store.Update {
	return store.Update{Kind: store.KindTyping, RoomNID: room, UserID: user, Body: []byte(stopped)}
}

func (t *typists) wake() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// run sleeps while nobody types.
func (t *typists) run(ctx context.Context) error {
	for {
		if err := t.load(ctx); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			t.log.Error("typing: read who is typing", "error", err)
		}
		t.stopOverdue(ctx)
		t.mu.Lock()
		idle := len(t.active) == 0 && !t.reload
		t.mu.Unlock()
		var tick <-chan time.Time
		news := t.news
		if !idle {
			tick, news = time.After(typingTick), nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-news:
		case <-tick:
		}
	}
}

// load reads who is typing from the database when the journal has not told it all.
func (t *typists) load(ctx context.Context) error {
	t.mu.Lock()
	reload := t.reload
	t.reload = false
	t.mu.Unlock()
	if !reload {
		return nil
	}
	list, err := t.store.ListTyping(ctx, maxTypists)
	if err != nil {
		t.mu.Lock()
		t.reload = true
		t.mu.Unlock()
		return err
	}
	for _, u := range list {
		t.learn(u)
	}
	return nil
}

// stopOverdue says stop for whose time is over.
func (t *typists) stopOverdue(ctx context.Context) {
	now := t.clock.Now()
	var keys []typist
	var stops []store.Update
	t.mu.Lock()
	for key, state := range t.active {
		end := state.end
		if !state.told {
			end = end.Add(typingGrace)
		}
		if !now.Before(end) {
			stop := stopUpdate(key.room, key.user)
			stop.Replaces = state.position
			keys, stops = append(keys, key), append(stops, stop)
		}
	}
	t.mu.Unlock()
	if len(stops) == 0 {
		return
	}
	stored, err := t.journal.Replace(ctx, stops...)
	if err != nil {
		if ctx.Err() == nil && !store.IsUnavailable(err) {
			t.log.Error("typing: stop", "error", err)
		}
		return
	}
	// What was replaced by somebody else will be told by the journal; it is forgotten here, lest it is tried for ever.
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, ok := range stored {
		if key := keys[i]; !ok && t.active[key].position == stops[i].Replaces {
			delete(t.active, key)
		}
	}
}
