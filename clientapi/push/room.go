package push

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// maxFacts bounds the facts of a room in memory; half of them stay.
const maxFacts = 128

// room has the facts of a room's recent events.
type room struct {
	nid  int64
	used atomic.Int64
	// pending are events that nobody has looked at; guarded by counts.mu. behind says that there are some.
	pending []*store.Event
	behind  atomic.Bool
	// loaded is closed when the room can be asked, or err is set.
	loaded chan struct{}
	err    error

	// turn is held by who looks at events.
	turn  sync.Mutex
	state *roomState // after view.upTo, nil until it is needed
	view  atomic.Pointer[roomView]
}

// roomView is what is known of a room at a moment. It does not change.
type roomView struct {
	id matrix.RoomID
	// floor: the facts of all later events up to upTo are here; those up to floor are in the database.
	floor, upTo int64
	facts       []*fact
	// version counts redactions of events that are here, gone those of events that are in the database: redacted.
	version, gone int
	redacted      []matrix.EventID
}

// follows reports whether v is an earlier view with events added after position, and nothing else.
func (v *roomView) follows(earlier *roomView, position int64) bool {
	return earlier != nil && v.version == earlier.version && v.gone == earlier.gone && v.floor <= position && v.upTo >= position && v.id == earlier.id
}

// first is the index of the first fact after a position.
func (v *roomView) first(position int64) int {
	if n := len(v.facts); n > 0 && v.facts[n-1].Position <= position {
		return n
	}
	return sort.Search(len(v.facts), func(i int) bool { return v.facts[i].Position > position })
}

// views brings the rooms up to date and returns what is known of them.
func (c *counts) views(ctx context.Context, nids []int64, now time.Time) (map[int64]*roomView, error) {
	views := make(map[int64]*roomView, len(nids))
	var missing []int64
	var list []*room
	c.mu.RLock()
	for _, nid := range nids {
		if r := c.rooms[nid]; r != nil {
			list = append(list, r)
		} else {
			missing = append(missing, nid)
		}
	}
	c.mu.RUnlock()
	if len(missing) > 0 {
		made, err := c.loadRooms(ctx, missing)
		if err != nil {
			return nil, err
		}
		list = append(list, made...)
	}
	for _, r := range list {
		select {
		case <-r.loaded:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if r.err != nil {
			return nil, r.err
		}
		r.used.Store(now.Unix())
		if r.behind.Load() {
			if err := c.advance(ctx, r); err != nil {
				return nil, err
			}
		}
		views[r.nid] = r.view.Load()
	}
	return views, nil
}

// loadRooms begins to remember rooms: from where the follower has come to.
func (c *counts) loadRooms(ctx context.Context, nids []int64) ([]*room, error) {
	var all, mine []*room
	var load []int64
	c.mu.Lock()
	for _, nid := range nids {
		r := c.rooms[nid]
		if r == nil {
			r = &room{nid: nid, loaded: make(chan struct{})}
			r.used.Store(c.cfg.Clock.Now().Unix())
			c.rooms[nid] = r
			mine, load = append(mine, r), append(load, nid)
		}
		all = append(all, r)
	}
	c.mu.Unlock()
	if len(mine) == 0 {
		return all, nil
	}
	// The load is for everyone who waits, so it does not end with this request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadPatience)
	defer cancel()
	err := c.fill(ctx, mine, load)
	c.mu.Lock()
	for _, r := range mine {
		if r.err = err; err != nil && c.rooms[r.nid] == r {
			delete(c.rooms, r.nid)
		}
		close(r.loaded)
	}
	c.mu.Unlock()
	return all, err
}

const loadPatience = 20 * time.Second

func (c *counts) fill(ctx context.Context, rooms []*room, nids []int64) error {
	progress, err := c.cfg.Store.GetPushProgress(ctx)
	if err != nil {
		return fmt.Errorf("read the progress of push: %w", err)
	}
	events, err := c.cfg.Store.ListEventsAfter(ctx, nids, progress)
	if err != nil {
		return fmt.Errorf("load events: %w", err)
	}
	ids, err := c.cfg.Store.ListRoomsByNID(ctx, nids)
	if err != nil {
		return fmt.Errorf("load rooms: %w", err)
	}
	byNID := make(map[int64]*room, len(rooms))
	for _, r := range rooms {
		r.view.Store(&roomView{floor: progress, upTo: progress})
		byNID[r.nid] = r
	}
	for _, row := range ids {
		byNID[row.NID].view.Store(&roomView{id: row.ID, floor: progress, upTo: progress})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range events {
		r := byNID[events[i].RoomNID]
		r.pending = append(r.pending, &events[i])
		r.behind.Store(true)
	}
	return nil
}

// advance looks at the events that are pending.
func (c *counts) advance(ctx context.Context, r *room) error {
	r.turn.Lock()
	defer r.turn.Unlock()
	for {
		c.mu.Lock()
		events := r.pending
		r.pending = nil
		// Only who finds nothing left says so: until the view is there, others have to wait for it.
		r.behind.Store(len(events) > 0)
		c.mu.Unlock()
		if len(events) == 0 {
			return nil
		}
		v := r.view.Load()
		fresh := inOrder(events, v.upTo)
		if len(fresh) == 0 {
			continue
		}
		next, err := c.look(ctx, r, v, fresh)
		if err != nil {
			r.state = nil
			c.mu.Lock()
			r.pending = append(events, r.pending...)
			c.mu.Unlock()
			return err
		}
		r.view.Store(next)
	}
}

// inOrder returns the events after a position, in order, each once: they were observed and read from the database.
func inOrder(events []*store.Event, after int64) []*store.Event {
	fresh := make([]*store.Event, 0, len(events))
	for _, e := range events {
		if e.Position > after {
			fresh = append(fresh, e)
		}
	}
	slices.SortStableFunc(fresh, func(x, y *store.Event) int { return cmp.Compare(x.Position, y.Position) })
	return slices.CompactFunc(fresh, func(x, y *store.Event) bool { return x.Position == y.Position })
}

// look makes the view after the events.
func (c *counts) look(ctx context.Context, r *room, v *roomView, events []*store.Event) (*roomView, error) {
	if r.state == nil {
		state, err := loadRoomState(ctx, c.cfg.Store, r.nid, events[0].Position-1)
		if err != nil {
			return nil, err
		}
		r.state = state
	}
	threads, err := threadsOf(ctx, c.cfg.Store, events, func(_ int64, id matrix.EventID) (thread, bool) {
		for _, f := range v.facts {
			if f.event.EventID == id {
				return thread{f.Thread, f.Hops}, true
			}
		}
		return thread{}, false
	})
	if err != nil {
		return nil, err
	}
	if err := r.state.prepare(ctx, c.cfg.Store, events); err != nil {
		return nil, err
	}
	next := *v
	next.facts = v.facts[:len(v.facts):len(v.facts)]
	for i, e := range events {
		r.state.apply(e)
		f := newFact(e, threads[i], r.state)
		next.facts = append(next.facts, f)
		next.upTo = e.Position
		if f.redacts != "" {
			next.redact(f.redacts)
		}
	}
	if len(next.facts) > maxFacts {
		return &next, c.trim(ctx, &next)
	}
	return &next, nil
}

// redact takes note of a redaction.
func (v *roomView) redact(id matrix.EventID) {
	i := slices.IndexFunc(v.facts, func(f *fact) bool { return f.event.EventID == id })
	if i < 0 {
		v.gone++
		v.redacted = append(slices.Clone(v.redacted), id)
		return
	}
	f := *v.facts[i]
	f.Redacted = true
	v.facts = slices.Clone(v.facts)
	v.facts[i] = &f
	v.version++
}

// trim gives up the facts that the database has, down to half of what may be here.
func (c *counts) trim(ctx context.Context, v *roomView) error {
	progress, err := c.cfg.Store.GetPushProgress(ctx)
	if err != nil {
		return fmt.Errorf("read the progress of push: %w", err)
	}
	n := v.first(min(progress, v.facts[len(v.facts)-maxFacts/2-1].Position))
	if n == 0 {
		return nil
	}
	v.floor = v.facts[n-1].Position
	v.facts = slices.Clone(v.facts[n:])
	if progress >= v.upTo {
		// The follower has marked them.
		v.redacted = nil
	}
	return nil
}
