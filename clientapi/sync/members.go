package sync

import (
	"fmt"
	stdsync "sync"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// loadMembers finds the member events that a lazy-loading client needs: those of the timeline's senders, of the heroes, and the
// user's own with a whole state. What the client has been sent before is left out.
//
// Changes of members within the window are in the state already: only what did not change is loaded lazily.
//
// Spec: client-server v1.19 §lazy-loading-room-members
func (b *build) loadMembers() error {
	if !b.lazy() || !b.wantsMembers() {
		return nil
	}
	b.members = make(map[int64][]*store.Event)
	rooms := make(map[int64]*room)
	var missing []store.KeyAt
	for _, rm := range b.rooms {
		if rm.stranger {
			continue
		}
		at := rm.start() - 1
		if b.r.stateAfter() {
			at = rm.stateUpTo
		}
		for _, id := range b.neededMembers(rm) {
			if e := b.s.members.get(memberKey{rm.nid, id}); e != nil && e.Position <= at && e.Position <= rm.after {
				b.addMember(rm, e)
				continue
			}
			rooms[rm.nid] = rm
			missing = append(missing, store.KeyAt{RoomNID: rm.nid, Type: typeMember, Key: string(id), At: at})
		}
	}
	if len(missing) == 0 {
		return nil
	}
	before := b.s.members.version()
	list, err := b.s.cfg.Store.ListStateAt(b.ctx, missing)
	if err != nil {
		return fmt.Errorf("load members: %w", err)
	}
	for i := range list {
		e := &list[i]
		rm := rooms[e.RoomNID]
		b.addMember(rm, e)
		if e.Position <= rm.after {
			// It did not change within the window, so it is the present one: the cache may have it.
			b.s.members.add(e, before)
		}
	}
	return nil
}

func (b *build) addMember(rm *room, e *store.Event) {
	if b.r.filter.Room.State.Match(e) {
		b.members[rm.nid] = append(b.members[rm.nid], e)
	}
}

// addMembers tells the members that were found with the rest of the state.
func (b *build) addMembers() error {
	if b.members == nil {
		return nil
	}
	for _, rm := range b.rooms {
		rm.state = append(rm.state, b.members[rm.nid]...)
		sortEvents(rm.state)
	}
	return nil
}

// neededMembers are the users whose member events the answer needs and does not have.
func (b *build) neededMembers(rm *room) []matrix.UserID {
	var need []matrix.UserID
	seen := make(map[matrix.UserID]struct{})
	// The state that is told who knows nothing has no members, and is being loaded now.
	if !b.first() {
		for _, e := range rm.state {
			if e.Type == typeMember {
				seen[matrix.UserID(*e.StateKey)] = struct{}{}
			}
		}
	}
	known := b.knownMembers(rm)
	add := func(id matrix.UserID) {
		if _, ok := seen[id]; ok {
			return
		}
		seen[id] = struct{}{}
		if known == nil || !known(id) {
			need = append(need, id)
		}
	}
	if rm.stateAfter <= 0 {
		add(b.e.id)
	}
	for _, e := range rm.events {
		if e.Type == typeMember && e.StateKey != nil {
			if b.r.stateAfter() {
				// Clients take no state from the timeline.
				add(matrix.UserID(*e.StateKey))
			} else if *e.StateKey == string(e.Sender) {
				seen[e.Sender] = struct{}{}
			}
		}
		add(e.Sender)
	}
	if rm.summary != nil {
		for _, id := range rm.summary.heroesFor(b.e.id) {
			add(id)
		}
	}
	return need
}

// knownMembers tells whose member events the client has been sent, or is nil when that does not count.
func (b *build) knownMembers(rm *room) func(matrix.UserID) bool {
	if b.first() || b.r.fullState || rm.fresh || b.r.filter.Room.State.IncludeRedundantMembers {
		return nil
	}
	memory := b.e.devices.of(b.r.device)
	return func(id matrix.UserID) bool { return memory.has(memberKey{rm.nid, id}, b.since) }
}

// rememberMembers notes which member events the client gets with this answer.
func (b *build) rememberMembers() {
	if !b.lazy() || b.r.device == "" {
		return
	}
	memory := b.e.devices.of(b.r.device)
	memory.mu.Lock()
	defer memory.mu.Unlock()
	if b.first() {
		clear(memory.sent)
	}
	for _, rm := range b.rooms {
		for _, list := range [][]*store.Event{rm.state, rm.events} {
			for _, e := range list {
				if e.Type == typeMember && e.StateKey != nil {
					memory.add(memberKey{rm.nid, matrix.UserID(*e.StateKey)}, b.now)
				}
			}
		}
	}
}

// maxSentMembers and maxDevices bound what is remembered of a user's devices. A client that is sent a member event again
// ignores it.
const (
	maxSentMembers = 2000
	maxDevices     = 20
)

// deviceMemories are what a user's devices have been sent.
type deviceMemories struct {
	mu   stdsync.Mutex
	byID map[matrix.DeviceID]*deviceMemory
}

func (d *deviceMemories) of(id matrix.DeviceID) *deviceMemory {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.byID[id]; m != nil {
		return m
	}
	if d.byID == nil || len(d.byID) >= maxDevices {
		d.byID = make(map[matrix.DeviceID]*deviceMemory)
	}
	m := &deviceMemory{sent: make(map[memberKey]int64)}
	d.byID[id] = m
	return m
}

// deviceMemory is the member events that a device has been sent, with the next_batch that they were sent with: only who comes
// back with that or a later token has received them.
type deviceMemory struct {
	mu   stdsync.Mutex
	sent map[memberKey]int64
}

func (d *deviceMemory) has(key memberKey, since int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.sent[key]
	return ok && at <= since
}

// add is called with mu held.
func (d *deviceMemory) add(key memberKey, next int64) {
	if at, ok := d.sent[key]; ok && at <= next {
		return
	}
	if len(d.sent) >= maxSentMembers {
		clear(d.sent)
	}
	d.sent[key] = next
}

// memberKey is a user in a room.
type memberKey struct {
	room int64
	user matrix.UserID
}

// maxCachedMembers bounds the cache of member events, times two.
const maxCachedMembers = 4000

// memberCache has present member events. The hub keeps it right.
type memberCache struct {
	events *recent[memberKey, *store.Event]
	mu     stdsync.Mutex
	// redactions counts what was redacted: what was read before may have content that is gone.
	redactions int
}

func newMemberCache() *memberCache {
	return &memberCache{events: newRecent[memberKey, *store.Event](maxCachedMembers)}
}

func (c *memberCache) get(key memberKey) *store.Event {
	e, _ := c.events.get(key)
	return e
}

func (c *memberCache) version() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.redactions
}

// add puts an event that was read after version was asked for.
func (c *memberCache) add(e *store.Event, version int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := memberKey{e.RoomNID, matrix.UserID(*e.StateKey)}
	if have, ok := c.events.get(key); c.redactions == version && !(ok && have.Position >= e.Position) {
		c.events.put(key, e)
	}
}

// observe takes a new member event.
func (c *memberCache) observe(e *store.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events.put(memberKey{e.RoomNID, matrix.UserID(*e.StateKey)}, e)
}

// redact drops the event that a redaction is about.
func (c *memberCache) redact(redaction *store.Event) {
	target := redactedBy(redaction)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.redactions++
	c.events.deleteFunc(func(e *store.Event) bool { return string(e.EventID) == string(target) })
}

// redactedBy is the event that a redaction is about.
func redactedBy(redaction *store.Event) matrix.EventID {
	if id := gjson.GetBytes(redaction.JSON, "redacts").String(); id != "" {
		return matrix.EventID(id)
	}
	return matrix.EventID(gjson.GetBytes(redaction.JSON, "content.redacts").String())
}

func (c *memberCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.redactions++
	c.events.clear()
}
