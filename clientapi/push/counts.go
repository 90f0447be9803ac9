package push

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Unread is what a user has not read of a room.
type Unread struct {
	// Count is that of the main timeline.
	Count UnreadCount
	// Threads are the threads in which there is something to count.
	Threads map[matrix.EventID]UnreadCount
}

// UnreadCount is how many events notify, and how many of them are highlighted.
type UnreadCount struct {
	Notifications, Highlights int
}

// Total is the main timeline and all threads together.
func (u Unread) Total() UnreadCount {
	sum := u.Count
	for _, t := range u.Threads {
		sum.Notifications += t.Notifications
		sum.Highlights += t.Highlights
	}
	return sum
}

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

// reader is a user who asks for counts.
type reader struct {
	id   matrix.UserID
	used atomic.Int64

	mu sync.Mutex
	// loaded: versions and ignored are there.
	loaded   bool
	versions []*program // oldest first; the last holds
	ignored  map[matrix.UserID]bool
	ignores  int64 // position of ignored
	rooms    map[int64]*standing
	// epoch counts changes of membership: what was read before one is worth nothing.
	epoch int
}

// maxVersions bounds the earlier rules that are remembered for events that have not been counted.
const maxVersions = 4

// observe takes a receipt or account data of the user.
func (u *reader) observe(up *store.Update) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if up.Kind == store.KindReceipt {
		if st := u.rooms[up.RoomNID]; st != nil {
			position := gjson.GetBytes(up.Body, "position").Int()
			if position == 0 {
				delete(u.rooms, up.RoomNID)
				u.epoch++
				return
			}
			st.read(up.Key, position)
		}
		return
	}
	switch up.Key {
	case TypeRules:
		u.setRules(up.Position, up.Body)
	case typeIgnored:
		u.setIgnored(up.Position, up.Body)
	}
}

// setRules is called with mu held.
func (u *reader) setRules(position int64, body []byte) {
	if n := len(u.versions); n > 0 && u.versions[n-1].since >= position && position > 0 {
		return
	}
	p := defaultProgram
	if len(body) > 0 {
		if set, err := Parse(u.id, body); err == nil {
			p = newProgram(set, position)
		}
	}
	if len(u.versions) >= maxVersions {
		u.versions = u.versions[1:]
	}
	u.versions = append(slices.Clone(u.versions), p)
}

const typeIgnored = "m.ignored_user_list"

// setIgnored is called with mu held.
func (u *reader) setIgnored(position int64, body []byte) {
	if position < u.ignores {
		return
	}
	u.ignores = position
	u.ignored = parseIgnored(body)
	clear(u.rooms)
	u.epoch++
}

func parseIgnored(body []byte) map[matrix.UserID]bool {
	ignored := make(map[matrix.UserID]bool)
	gjson.GetBytes(body, "ignored_users").ForEach(func(id, _ gjson.Result) bool {
		ignored[matrix.UserID(id.String())] = true
		return true
	})
	return ignored
}

// observeMember takes a membership of the user. Who was in the room and still is has changed name or picture.
func (u *reader) observeMember(e *store.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.rooms[e.RoomNID]
	if st != nil && st.joined > 0 && membershipOf(e) == memberJoin {
		st.name = gjson.GetBytes(e.JSON, "content.displayname").String()
		return
	}
	delete(u.rooms, e.RoomNID)
	u.epoch++
}

// program is the rules that hold at a position. It is called with mu held.
func (u *reader) program(position int64) *program {
	for i := len(u.versions) - 1; i > 0; i-- {
		if u.versions[i].since < position {
			return u.versions[i]
		}
	}
	return u.versions[0]
}

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

// loadReader reads the user's rules.
func (c *counts) loadReader(ctx context.Context, u *reader) error {
	u.mu.Lock()
	loaded := u.loaded
	u.mu.Unlock()
	if loaded {
		return nil
	}
	var rules, ignored store.Update
	list, err := c.cfg.Store.ListGlobalAccountData(ctx, []matrix.UserID{u.id}, []string{TypeRules, typeIgnored})
	if err != nil {
		return fmt.Errorf("load push rules: %w", err)
	}
	for _, up := range list {
		if up.Key == TypeRules {
			rules = up
		} else {
			ignored = up
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.loaded {
		return nil
	}
	if n := len(u.versions); n == 0 || u.versions[n-1].since < rules.Position {
		u.versions = nil
		u.setRules(rules.Position, rules.Body)
	}
	if u.ignored == nil || ignored.Position > u.ignores {
		u.setIgnored(ignored.Position, ignored.Body)
	}
	u.loaded = true
	return nil
}

// count returns the counts as far as they can be made from memory, the rooms whose standing is missing, and those whose groups are.
func (u *reader) count(rooms []int64, views map[int64]*roomView) (all map[int64]Unread, missing, stale []int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	all = make(map[int64]Unread, len(rooms))
	for _, nid := range rooms {
		st := u.rooms[nid]
		if st == nil {
			missing = append(missing, nid)
			continue
		}
		if st.joined == 0 {
			continue // not joined
		}
		if !u.update(st, views[nid]) {
			stale = append(stale, nid)
			continue
		}
		all[nid] = st.unread
	}
	return all, missing, stale
}

// update counts the room, and reports false when the database has to be asked first. It is called with mu held.
func (u *reader) update(st *standing, v *roomView) bool {
	rules := u.versions[len(u.versions)-1]
	if st.counted && st.rules == rules && st.made == v {
		return true
	}
	if st.counted && st.rules == rules && v.follows(st.made, st.upTo) {
		// Nothing but new events: they are added.
		st.unread.Threads = cloneThreads(st.unread.Threads)
		for i := v.first(st.upTo); i < len(v.facts); i++ {
			u.add(st, v, v.facts[i], rules)
		}
	} else {
		if !u.based(st, v) {
			return false
		}
		st.unread = Unread{}
		for _, g := range st.groups {
			o := outcome{notify: g.Notify, highlight: g.Highlight}
			if !g.Own {
				m := mask(g.Mask)
				if g.Mentioned {
					m |= predefined.bits[ruleUserMention]
				}
				o, _ = rules.decide(v.id, m, nil)
			}
			st.unread.count(g.Thread, o, g.Count)
		}
		for i := v.first(max(v.floor, st.joined)); i < len(v.facts); i++ {
			u.add(st, v, v.facts[i], rules)
		}
	}
	st.upTo, st.made, st.rules, st.counted = v.upTo, v, rules, true
	return true
}

// based reports whether the groups are all that is unread before the facts in memory.
func (u *reader) based(st *standing, v *roomView) bool {
	if max(st.joined, st.unthreaded) >= v.floor {
		st.groups, st.based, st.gone, st.dirty = nil, v.floor, v.gone, false
		return true
	}
	return st.based == v.floor && st.gone == v.gone && !st.dirty
}

// add counts a fact.
func (u *reader) add(st *standing, v *roomView, f *fact, present *program) {
	if f.Sender == u.id {
		if !f.State {
			// Spec: client-server v1.19 §marking-notifications-as-read: sending an event reads what is before it, in its thread.
			st.unread.clear(f.Thread)
		}
		return
	}
	if f.Redacted || f.Position <= st.after(f.Thread) || u.ignored[f.Sender] {
		return
	}
	rules := present
	m := f.maskFor(u.id)
	if at := u.program(f.Position); at.own {
		if o, own := at.decide(v.id, m, f.subject(st.name)); own {
			st.unread.count(f.Thread, o, 1)
			return
		}
	}
	o, _ := rules.decide(v.id, m, nil)
	st.unread.count(f.Thread, o, 1)
}

func (u *Unread) count(root matrix.EventID, o outcome, n int) {
	if !o.notify {
		return
	}
	c := &u.Count
	var of UnreadCount
	if root != "" {
		of = u.Threads[root]
		c = &of
	}
	c.Notifications += n
	if o.highlight {
		c.Highlights += n
	}
	if root != "" {
		if u.Threads == nil {
			u.Threads = make(map[matrix.EventID]UnreadCount)
		}
		u.Threads[root] = of
	}
}

func (u *Unread) clear(root matrix.EventID) {
	if root == "" {
		u.Count = UnreadCount{}
	} else {
		delete(u.Threads, root)
	}
}

// cloneThreads keeps what was handed out from changing.
func cloneThreads(threads map[matrix.EventID]UnreadCount) map[matrix.EventID]UnreadCount {
	if len(threads) == 0 {
		return nil
	}
	again := make(map[matrix.EventID]UnreadCount, len(threads))
	for root, n := range threads {
		again[root] = n
	}
	return again
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
