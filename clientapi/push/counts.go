package push

import (
	"context"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	// idle is how long a room or user is remembered whom nobody asks for.
	idle       = 5 * time.Minute
	sweepEvery = time.Minute
	// maxPending bounds the events of a room that gather while nobody asks; then the room is forgotten.
	maxPending = 1000
)

// counts has the unread counts of those who ask. Fields are guarded by mu; what hangs on a user or a room has its own lock, which is never
// held while the database is asked, because the journal's observer takes it.
type counts struct {
	cfg Config

	mu    sync.RWMutex
	users map[matrix.UserID]*reader
	rooms map[int64]*room
	swept time.Time
}

func newCounts(cfg Config) *counts {
	return &counts{cfg: cfg, users: make(map[matrix.UserID]*reader), rooms: make(map[int64]*room), swept: cfg.Clock.Now()}
}

// observe is the journal's observer.
func (c *counts) observe(entries []journal.Entry, lost bool) {
	if lost {
		c.mu.Lock()
		clear(c.users)
		clear(c.rooms)
		c.mu.Unlock()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range entries {
		if e := entries[i].Event; e != nil {
			c.observeEvent(e)
		} else if up := entries[i].Update; up.Kind == store.KindReceipt || up.Kind == store.KindAccountData && up.RoomNID == 0 {
			if u := c.users[up.UserID]; u != nil {
				u.observe(up)
			}
		}
	}
}

// observeEvent is called with mu held.
func (c *counts) observeEvent(e *store.Event) {
	if e.Type == typeMember && e.StateKey != nil {
		if u := c.users[matrix.UserID(*e.StateKey)]; u != nil {
			u.observeMember(e)
		}
	}
	r := c.rooms[e.RoomNID]
	if r == nil {
		return
	}
	r.pending = append(r.pending, e)
	r.behind.Store(true)
	if len(r.pending) > maxPending {
		delete(c.rooms, e.RoomNID)
	}
}

// unread returns the counts of rooms that the user is joined to; rooms that the user is not joined to have none.
func (c *counts) unread(ctx context.Context, user matrix.UserID, rooms []int64) (map[int64]Unread, error) {
	u, views, err := c.prepare(ctx, user, rooms)
	if err != nil {
		return nil, err
	}
	// A room or membership that changes under our hands is looked at again.
	for range 5 {
		all, missing, stale := u.count(rooms, views)
		if len(missing)+len(stale) == 0 {
			return all, nil
		}
		if err := c.load(ctx, u, missing, stale, views); err != nil {
			return nil, err
		}
	}
	return nil, matrix.Unavailable(time.Second)
}

// prepare finds the user and brings the rooms up to date.
func (c *counts) prepare(ctx context.Context, user matrix.UserID, rooms []int64) (*reader, map[int64]*roomView, error) {
	now := c.cfg.Clock.Now()
	c.mu.RLock()
	u := c.users[user]
	sweep := now.Sub(c.swept) > sweepEvery
	c.mu.RUnlock()
	if sweep {
		c.sweep(now)
	}
	if u == nil {
		c.mu.Lock()
		if u = c.users[user]; u == nil {
			u = &reader{id: user, rooms: make(map[int64]*standing)}
			c.users[user] = u
		}
		c.mu.Unlock()
	}
	u.used.Store(now.Unix())
	views, err := c.views(ctx, rooms, now)
	if err != nil {
		return nil, nil, err
	}
	return u, views, c.loadReader(ctx, u)
}

// sweep forgets users and rooms that nobody has asked for.
func (c *counts) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.swept) <= sweepEvery {
		return
	}
	c.swept = now
	limit := now.Add(-idle).Unix()
	for id, u := range c.users {
		if u.used.Load() < limit {
			delete(c.users, id)
		}
	}
	for nid, r := range c.rooms {
		if r.used.Load() < limit {
			delete(c.rooms, nid)
		}
	}
}

// Unread returns what the user has not read of rooms, as this process has seen them last. Rooms that the user is not joined to
// have no entry.
func (s *Server) Unread(ctx context.Context, user matrix.UserID, rooms []int64) (map[int64]Unread, error) {
	return s.counts.unread(ctx, user, rooms)
}
