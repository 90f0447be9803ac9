package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/invites"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	// entryIdle is how long a user is remembered who does not ask.
	entryIdle  = 5 * time.Minute
	sweepEvery = time.Minute
	// loadPatience bounds the load of a user, which several requests may wait for.
	loadPatience = 10 * time.Second
	// maxStrangers bounds the users that are loaded at a time because their presence or their devices changed.
	maxStrangers = 4
)

const (
	typeMember   = "m.room.member"
	ignoredUsers = invites.TypeIgnoredUsers

	memberJoin   = "join"
	memberInvite = "invite"
	memberKnock  = "knock"
	memberLeave  = "leave"
	memberBan    = "ban"
)

// hub knows whom each entry of the journal concerns.
type hub struct {
	store   *store.Store
	journal *journal.Journal
	clock   matrix.Clock
	members *memberCache

	// position is the last entry that was observed.
	position atomic.Int64
	// stranger is the last presence or change of devices of a user whose rooms were not known: who asks for what lies before has to
	// look.
	stranger  atomic.Int64
	strangers chan struct{}
	loads     stdsync.WaitGroup

	mu stdsync.RWMutex
	// closed: no load is begun any more that nobody waits for.
	closed bool
	users  map[matrix.UserID]*user
	rooms  map[int64]*watchedRoom
	swept  time.Time

	// The observer's own.
	touchedRooms map[int64]int64
	woken        []*user
	toWake       []*poll
}

// user is what the hub remembers of a user. Fields without a lock of their own are guarded by hub.mu.
type user struct {
	id    matrix.UserID
	ready chan struct{} // closed when loaded, or err is set
	err   error
	// loaded is false while member events gather in rooms that the load has not brought yet.
	loaded bool
	// forgotten: entries were missed since this was loaded. Who still holds it has to ask the hub again.
	forgotten atomic.Bool
	// rooms has all memberships, also those that ended; memberAt is the position of the newest.
	rooms    map[int64]membership
	memberAt int64
	// ignored is replaced as a whole, never changed.
	ignored map[matrix.UserID]struct{}
	// invites says whose invites the user is told of. settingsAt are the positions that it and ignored were read from.
	invites    invites.Policy
	settingsAt map[string]int64
	polls      []*poll

	// touched is the last position that concerns the user.
	touched atomic.Int64
	// used is when a request last asked for the user, in seconds since the epoch.
	used atomic.Int64

	devices deviceMemories
	keys    deviceKeyCounts

	toDevice toDeviceMemory
	sliding  slidingMemory
}

// membership is a user's present membership of a room.
type membership struct {
	room     matrix.RoomID
	value    string
	sender   matrix.UserID
	position int64
}

// watchedRoom is a room that a remembered user is joined to.
type watchedRoom struct {
	joined map[*user]struct{}
	// summary is nil until it is read, and again when an event, the last one at summaryAt, may have changed it.
	summary   *summary
	summaryAt int64
	typing    typists
	activity  activity
}

func newHub(st *store.Store, j *journal.Journal, clock matrix.Clock, members *memberCache) *hub {
	h := &hub{
		store: st, journal: j, clock: clock, members: members,
		strangers:    make(chan struct{}, maxStrangers),
		users:        make(map[matrix.UserID]*user),
		rooms:        make(map[int64]*watchedRoom),
		touchedRooms: make(map[int64]int64),
		swept:        clock.Now(),
	}
	h.position.Store(j.Head())
	return h
}

// now is the last position that everything here is up to date with.
func (h *hub) now() int64 { return max(h.position.Load(), h.journal.Head()) }

// quiet reports whether nothing after since, up to the value of now read before the call, concerns the user.
func (h *hub) quiet(u *user, since int64) bool {
	return u.touched.Load() <= since && h.stranger.Load() <= since && !u.forgotten.Load()
}

// observe is the journal's observer.
func (h *hub) observe(entries []journal.Entry, lost bool) {
	if lost {
		h.forget()
	}
	if len(entries) == 0 {
		return
	}
	h.mu.Lock()
	clear(h.touchedRooms)
	h.woken, h.toWake = h.woken[:0], h.toWake[:0]
	for i := range entries {
		if e := entries[i].Event; e != nil {
			h.observeEvent(e)
		} else {
			h.observeUpdate(entries[i].Update)
		}
	}
	for nid, position := range h.touchedRooms {
		if r := h.rooms[nid]; r != nil {
			for u := range r.joined {
				h.touch(u, position)
			}
		}
	}
	for _, u := range h.woken {
		h.toWake = append(h.toWake, u.polls...)
	}
	h.position.Store(entries[len(entries)-1].Position)
	h.mu.Unlock()
	for i, p := range h.toWake {
		p.wake()
		h.toWake[i] = nil
	}
}

// touch is called with mu held.
func (h *hub) touch(u *user, position int64) {
	if u.touched.Load() < position {
		u.touched.Store(position)
	}
	if len(u.polls) > 0 {
		h.woken = append(h.woken, u)
	}
}

func (h *hub) observeEvent(e *store.Event) {
	h.touchedRooms[e.RoomNID] = e.Position
	if r := h.rooms[e.RoomNID]; r != nil {
		r.activity.observe(e)
	}
	switch e.Type {
	case "m.room.redaction":
		h.members.redact(e)
		if r := h.rooms[e.RoomNID]; r != nil {
			r.summary, r.summaryAt = nil, e.Position // it may have been the name
		}
	case "m.room.name", "m.room.canonical_alias":
		if r := h.rooms[e.RoomNID]; r != nil && e.StateKey != nil {
			r.summary, r.summaryAt = nil, e.Position
		}
	case typeMember:
		if e.StateKey == nil {
			return
		}
		if r := h.rooms[e.RoomNID]; r != nil {
			r.summary, r.summaryAt = nil, e.Position
		}
		h.members.observe(e)
		if u := h.users[matrix.UserID(*e.StateKey)]; u != nil {
			h.setMembership(u, e.RoomNID, membership{
				room: e.RoomID, value: membershipName(gjson.GetBytes(e.JSON, "content.membership").String()),
				sender: e.Sender, position: e.Position,
			})
			h.touch(u, e.Position)
		}
	}
}

// membershipName returns the constant, so that the event's bytes are not kept alive.
func membershipName(s string) string {
	for _, name := range [...]string{memberJoin, memberInvite, memberKnock, memberBan} {
		if s == name {
			return name
		}
	}
	return memberLeave
}

// setMembership is called with mu held. What is older than what is known changes nothing.
func (h *hub) setMembership(u *user, nid int64, m membership) {
	old, known := u.rooms[nid]
	if known && old.position >= m.position {
		return
	}
	u.rooms[nid] = m
	delete(u.sliding.former, nid)
	u.memberAt = max(u.memberAt, m.position)
	switch {
	case m.value == memberJoin:
		h.watch(u, nid)
	case known && old.value == memberJoin:
		h.unwatch(u, nid)
	}
}

// setSetting takes over account data about ignored users and invites. It is called with mu held. What is older than what is known changes
// nothing.
func (u *user) setSetting(up *store.Update) {
	if u.settingsAt[up.Key] >= up.Position {
		return
	}
	if u.settingsAt == nil {
		u.settingsAt = make(map[string]int64, len(invites.Types))
	}
	u.settingsAt[up.Key] = up.Position
	u.invites = u.invites.With(up.Key, up.Body)
	if up.Key == ignoredUsers {
		u.ignored = parseIgnored(u.id, up.Body)
	}
}

func (h *hub) watch(u *user, nid int64) {
	r := h.rooms[nid]
	if r == nil {
		r = &watchedRoom{joined: make(map[*user]struct{})}
		h.rooms[nid] = r
	}
	r.joined[u] = struct{}{}
}

func (h *hub) unwatch(u *user, nid int64) {
	if r := h.rooms[nid]; r != nil {
		delete(r.joined, u)
		if len(r.joined) == 0 {
			delete(h.rooms, nid)
		}
	}
}

func (h *hub) observeUpdate(up *store.Update) {
	owner := h.users[up.UserID]
	switch up.Kind {
	case store.KindAccountData:
		if owner != nil {
			if up.RoomNID == 0 && slices.Contains(invites.Types, up.Key) {
				owner.setSetting(up)
			}
			owner.sliding.observe(up)
			h.touch(owner, up.Position)
		}
	case store.KindReceipt:
		if !isPrivate(up) {
			h.touchedRooms[up.RoomNID] = up.Position
		} else if owner != nil {
			h.touch(owner, up.Position)
		}
	case store.KindThreadSubscription:
		if owner != nil {
			h.touch(owner, up.Position)
		}
	case store.KindTyping:
		h.touchedRooms[up.RoomNID] = up.Position
		if r := h.rooms[up.RoomNID]; r != nil {
			r.typing.observe(up)
		}
	case store.KindPresence:
		h.observeShared(owner, up)
	case store.KindDeviceList:
		h.observeDeviceList(owner, up)
	case store.KindKeyCount:
		h.observeKeyCount(owner, up)
	case store.KindToDevice:
		if owner != nil {
			h.observeToDevice(owner, up)
		}
	case store.KindOrganisation:
		h.lockOut(up.Body)
	case store.KindSession:
		// Who was logged out must not be told anything more: the next request will be refused.
		if owner != nil {
			for _, p := range owner.polls {
				if up.Key == "" || up.Key == string(p.device) {
					p.end()
				}
			}
		}
	}
}

// lockOut ends the polls of an organisation's people: their next requests will be refused. It is called with mu held.
func (h *hub) lockOut(body []byte) {
	var change store.OrganisationChange
	if json.Unmarshal(body, &change) != nil || len(change.LockedOut) == 0 {
		return
	}
	for id, u := range h.users {
		if slices.Contains(change.LockedOut, id.Domain()) {
			for _, p := range u.polls {
				p.end()
			}
		}
	}
}

// observeShared touches those who share a room with the user. When the user's rooms are not known here, they are loaded; until
// then nobody is sure that nothing new is there.
func (h *hub) observeShared(owner *user, up *store.Update) {
	if owner != nil && owner.loaded {
		h.touch(owner, up.Position)
		for nid, m := range owner.rooms {
			if m.value == memberJoin {
				h.touchedRooms[nid] = up.Position
			}
		}
		owner.used.Store(h.clock.Now().Unix())
		return
	}
	h.stranger.Store(up.Position)
	if h.closed {
		return
	}
	select {
	case h.strangers <- struct{}{}:
	default:
		return // others will find out when they are woken by something else
	}
	position := up.Position
	id := up.UserID
	h.loads.Go(func() {
		defer func() { <-h.strangers }()
		if u, err := h.user(context.Background(), id); err == nil {
			h.wakeNeighbours(u, position)
		}
	})
}

// wakeNeighbours wakes everyone who shares a room with u.
func (h *hub) wakeNeighbours(u *user, position int64) {
	var polls []*poll
	h.mu.RLock()
	seen := make(map[*user]struct{})
	for nid, m := range u.rooms {
		if r := h.rooms[nid]; m.value == memberJoin && r != nil {
			for other := range r.joined {
				if _, again := seen[other]; !again {
					seen[other] = struct{}{}
					polls = append(polls, other.polls...)
				}
			}
		}
	}
	h.mu.RUnlock()
	for _, p := range polls {
		p.wake()
	}
}

// close waits for what runs in the background.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.loads.Wait()
}

// forget drops everything: entries were missed.
func (h *hub) forget() {
	h.mu.Lock()
	var polls []*poll
	for _, u := range h.users {
		u.forgotten.Store(true)
		polls = append(polls, u.polls...)
	}
	h.users = make(map[matrix.UserID]*user)
	h.rooms = make(map[int64]*watchedRoom)
	h.members.clear()
	// Who reads the new position finds that what it holds is forgotten, and who is loaded from now on has nothing from before it.
	h.position.Store(max(h.journal.Head(), h.journal.LostUpTo()))
	h.mu.Unlock()
	for _, p := range polls {
		p.wake()
	}
}

// user returns what is remembered of a user, loading it if need be.
func (h *hub) user(ctx context.Context, id matrix.UserID) (*user, error) {
	for {
		now := h.clock.Now()
		h.mu.RLock()
		u := h.users[id]
		sweep := now.Sub(h.swept) > sweepEvery
		h.mu.RUnlock()
		if sweep {
			h.sweep(now)
		}
		if u == nil {
			if u = h.begin(ctx, id); u == nil {
				continue
			}
		}
		u.used.Store(now.Unix())
		select {
		case <-u.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if u.err == nil {
			return u, nil
		}
		if !errors.Is(u.err, errForgotten) {
			return nil, u.err
		}
	}
}

// errForgotten says that the journal lost entries since the load began.
var errForgotten = errors.New("sync: what was loaded is out of date")

// begin starts the load of a user, or returns nil when somebody else has.
func (h *hub) begin(ctx context.Context, id matrix.UserID) *user {
	h.mu.Lock()
	if h.users[id] != nil {
		h.mu.Unlock()
		return nil
	}
	u := &user{id: id, ready: make(chan struct{}), rooms: make(map[int64]membership), invites: invites.Of(id)}
	h.users[id] = u
	h.mu.Unlock()
	// The load is for everyone who waits, so it does not end with this request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadPatience)
	defer cancel()
	u.err = h.load(ctx, u)
	close(u.ready)
	return u
}

// load reads the user's memberships. Member events that are observed meanwhile are newer and stay.
func (h *hub) load(ctx context.Context, u *user) error {
	list, err := h.store.ListMemberships(ctx, u.id)
	var settings []store.Update
	if err == nil {
		settings, err = h.store.ListGlobalAccountData(ctx, []matrix.UserID{u.id}, invites.Types)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users[u.id] != u {
		return errForgotten
	}
	if err != nil {
		h.drop(u)
		return fmt.Errorf("load the rooms of %s: %w", u.id, err)
	}
	for _, m := range list {
		h.setMembership(u, m.RoomNID, membership{
			room: m.RoomID, value: membershipName(m.Membership), sender: m.Sender, position: m.Position,
		})
	}
	for i := range settings {
		u.setSetting(&settings[i])
	}
	u.touched.Store(h.now())
	u.toDevice.floor = h.now()
	u.loaded = true
	return nil
}

// drop is called with mu held.
func (h *hub) drop(u *user) {
	for nid, m := range u.rooms {
		if m.value == memberJoin {
			h.unwatch(u, nid)
		}
	}
	delete(h.users, u.id)
}

// sweep drops the users who have not asked for a while.
func (h *hub) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.swept) <= sweepEvery {
		return
	}
	h.swept = now
	for _, u := range h.users {
		if u.loaded && len(u.polls) == 0 && now.Unix()-u.used.Load() > int64(entryIdle/time.Second) {
			h.drop(u)
		}
	}
}

// share reports whether two users are joined to one room. It is called with mu held for reading.
func share(a, b *user) bool {
	if len(a.rooms) > len(b.rooms) {
		a, b = b, a
	}
	for nid, m := range a.rooms {
		if m.value == memberJoin && b.rooms[nid].value == memberJoin {
			return true
		}
	}
	return false
}

// parseIgnored reads a user's m.ignored_user_list. Nobody can be deaf to themselves. The result is not nil.
//
// Spec: client-server v1.19 §ignoring-users
func parseIgnored(user matrix.UserID, body []byte) map[matrix.UserID]struct{} {
	ignored := make(map[matrix.UserID]struct{})
	gjson.GetBytes(body, "ignored_users").ForEach(func(id, _ gjson.Result) bool {
		ignored[matrix.UserID(id.String())] = struct{}{}
		return true
	})
	delete(ignored, user)
	return ignored
}
