package push

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// standing is how far a user has read a room, and what is unread. It is guarded by its reader's mu.
type standing struct {
	// joined begins the present stay.
	joined int64
	// unthreaded and threads ("" is the main timeline) are how far the user has read.
	unthreaded int64
	threads    map[matrix.EventID]int64
	// reads counts the receipts.
	reads int
	name  string

	// groups are the unread events up to based, as the database has them.
	groups []store.UnreadGroup
	based  int64
	gone   int
	// dirty: groups are not right any more, because the user has read a part of them.
	dirty bool

	// The count, up to a position of the room's facts, and what it was made from.
	unread  Unread
	upTo    int64
	made    *roomView
	rules   *program
	counted bool
}

// read moves a receipt.
func (st *standing) read(key string, position int64) {
	_, name, _ := strings.Cut(key, "|")
	root := matrix.EventID(name)
	if name == threadMain {
		root = ""
	}
	if name == "" {
		if position <= st.unthreaded {
			return
		}
		st.unthreaded = position
	} else {
		if position <= st.threads[root] {
			return
		}
		if st.threads == nil {
			st.threads = make(map[matrix.EventID]int64)
		}
		st.threads[root] = position
	}
	st.reads++
	st.counted = false
	// What has been read of the groups is dropped; if only a part of one was, all are read from the database again.
	kept := make([]store.UnreadGroup, 0, len(st.groups))
	for _, g := range st.groups {
		if st.after(g.Thread) < st.based {
			kept = append(kept, g)
			st.dirty = st.dirty || name == "" || g.Thread == root
		}
	}
	st.groups = kept
}

// threadMain is the thread id of receipts for what is in no thread.
const threadMain = "main"

// after is the position after which events of a thread are unread.
func (st *standing) after(root matrix.EventID) int64 {
	return max(st.joined, st.unthreaded, st.threads[root])
}

// load reads the standings that are missing, and the groups of those that are stale.
func (c *counts) load(ctx context.Context, u *reader, missing, stale []int64, views map[int64]*roomView) error {
	u.mu.Lock()
	epoch := u.epoch
	needsName := u.versions[len(u.versions)-1].needsName
	u.mu.Unlock()
	if len(missing) > 0 {
		made, err := c.standings(ctx, u.id, missing, needsName)
		if err != nil {
			return err
		}
		u.mu.Lock()
		if u.epoch == epoch {
			for nid, st := range made {
				if u.rooms[nid] == nil {
					u.rooms[nid] = st
				}
			}
		}
		u.mu.Unlock()
		// Receipts that came while they were read: once more, now that the observer knows the room.
		return c.reread(ctx, u, missing)
	}
	return c.loadGroups(ctx, u, stale, views)
}

// standings reads since when the user is in the rooms.
func (c *counts) standings(ctx context.Context, user matrix.UserID, rooms []int64, needsName bool) (map[int64]*standing, error) {
	list, err := c.cfg.Store.ListStandings(ctx, user, rooms)
	if err != nil {
		return nil, fmt.Errorf("load memberships: %w", err)
	}
	made := make(map[int64]*standing, len(rooms))
	for _, nid := range rooms {
		made[nid] = &standing{based: -1}
	}
	for _, s := range list {
		made[s.RoomNID].joined = s.Joined
	}
	if needsName {
		names, err := displayNames(ctx, c.cfg.Store, user, rooms)
		if err != nil {
			return nil, err
		}
		for nid, name := range names {
			made[nid].name = name
		}
	}
	return made, nil
}

// displayNames are what the user is called in the rooms.
func displayNames(ctx context.Context, st *store.Store, user matrix.UserID, rooms []int64) (map[int64]string, error) {
	keys := make([]store.KeyAt, len(rooms))
	for i, nid := range rooms {
		keys[i] = store.KeyAt{RoomNID: nid, Type: typeMember, Key: string(user), At: store.CurrentState}
	}
	events, err := st.ListStateAt(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("load display names: %w", err)
	}
	names := make(map[int64]string)
	for i := range events {
		names[events[i].RoomNID] = gjson.GetBytes(events[i].JSON, "content.displayname").String()
	}
	return names, nil
}

// reread takes the receipts of the rooms from the database. Receipts only move forward, so it does not matter who comes first.
func (c *counts) reread(ctx context.Context, u *reader, rooms []int64) error {
	list, err := c.cfg.Store.ListReadUpTo(ctx, u.id, rooms)
	if err != nil {
		return fmt.Errorf("load receipts: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range list {
		if st := u.rooms[r.RoomNID]; st != nil {
			st.read(r.Key, r.Position)
		}
	}
	return nil
}

// loadGroups reads the unread events that lie before the facts in memory.
func (c *counts) loadGroups(ctx context.Context, u *reader, rooms []int64, views map[int64]*roomView) error {
	var windows []store.UnreadWindow
	var gone []matrix.EventID
	before := make(map[int64]standing)
	u.mu.Lock()
	for _, nid := range rooms {
		st, v := u.rooms[nid], views[nid]
		if st == nil {
			continue
		}
		before[nid] = *st
		w := store.UnreadWindow{Window: store.Window{RoomNID: nid, After: max(st.joined, st.unthreaded), UpTo: v.floor}}
		for root, position := range st.threads {
			w.Threads, w.Read = append(w.Threads, root), append(w.Read, position)
		}
		windows = append(windows, w)
		gone = append(gone, v.redacted...)
	}
	ignored := make([]matrix.UserID, 0, len(u.ignored))
	for id := range u.ignored {
		ignored = append(ignored, id)
	}
	epoch := u.epoch
	u.mu.Unlock()
	groups, err := c.cfg.Store.ListUnread(ctx, u.id, windows, ignored, gone, limits.UnreadScan)
	if err != nil {
		return fmt.Errorf("count unread events: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.epoch != epoch {
		return nil
	}
	for nid, was := range before {
		st, v := u.rooms[nid], views[nid]
		if st == nil {
			continue
		}
		// A receipt that came meanwhile may have read a part of them.
		st.groups, st.based, st.gone, st.dirty, st.counted = nil, v.floor, v.gone, st.reads != was.reads, false
		for _, g := range groups {
			if g.RoomNID == nid {
				st.groups = append(st.groups, g)
			}
		}
	}
	return nil
}
