package roomserver

import (
	"container/list"
	"sync"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// tip is a room as the next event will find it: the head, and as much of the state as was needed so far. It includes events
// that are on their way into the journal. When the journal says that the head was another one, the tip is emptied and
// loaded again.
type tip struct {
	room Info

	mu     sync.Mutex
	loaded bool
	// head is the last event, on its way or stored.
	head        matrix.EventID
	extremities []matrix.EventID
	depth       int64
	// state holds what was needed so far; a nil entry says that the room has no such state.
	state map[event.StateKey]*stateEvent
	// complete says that state holds all there is: the tip of a room that is being made.
	complete bool
	// rules are the power levels parsed from the two events of rulesOf.
	rules   *event.Rules
	rulesOf [2]*stateEvent
	// pending are the events on their way, oldest first.
	pending []matrix.EventID
	// generation counts how often the tip was emptied, so that a result that comes late does not empty it again.
	generation int
	// freeMembers and freeState are by how much the room may grow before it has to be counted.
	freeMembers, freeState int

	element *list.Element
}

// stateEvent is an event that is part of the room's state.
type stateEvent struct {
	id   matrix.EventID
	json []byte
	pdu  gomatrixserverlib.PDU
}

// reset empties the tip.
func (t *tip) reset() {
	t.loaded = false
	t.head, t.extremities, t.depth = "", nil, 0
	t.state = make(map[event.StateKey]*stateEvent)
	t.pending = nil
	t.generation++
}

// fill takes the room's row as the head.
func (t *tip) fill(row store.Room) {
	t.loaded = true
	t.head, t.extremities, t.depth = row.Head, row.Extremities, row.Depth
}

// apply moves the head over an event.
func (t *tip) apply(id matrix.EventID, typ string, stateKey *string, depth int64, json []byte) {
	t.head, t.depth = id, depth
	t.extremities = []matrix.EventID{id}
	if stateKey != nil {
		t.state[event.StateKey{Type: typ, Key: *stateKey}] = &stateEvent{id: id, json: json}
	}
}

// forget drops what is remembered of a state event whose content was removed.
func (t *tip) forget(id matrix.EventID) {
	for key, e := range t.state {
		if e != nil && e.id == id {
			delete(t.state, key)
		}
	}
}

// seen is told of the room's events as they are stored.
func (t *tip) seen(e *store.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded {
		return
	}
	if e.Type == spec.MRoomRedaction {
		t.forget(redactsOf(e.JSON))
	}
	switch {
	case len(t.pending) > 0 && t.pending[0] == e.EventID:
		t.pending = t.pending[1:]
	case len(t.pending) == 0 && continues(e, t.extremities):
		t.apply(e.EventID, e.Type, e.StateKey, e.Depth, e.JSON)
	case len(t.pending) == 0 && e.EventID != t.head:
		t.reset()
	}
	// An event of another process while ours are on their way: ours will come back as moved.
}

// continues reports whether e was built on exactly the extremities.
func continues(e *store.Event, extremities []matrix.EventID) bool {
	prev := prevEventsOf(e.JSON)
	if len(prev) != len(extremities) {
		return false
	}
	for i := range prev {
		if prev[i] != extremities[i] {
			return false
		}
	}
	return true
}

// maxTips bounds the rooms that are kept in memory.
const maxTips = 20_000

// tips are the rooms in memory, the least recently used going first.
type tips struct {
	mu   sync.Mutex
	byID map[int64]*tip
	lru  *list.List
}

func newTips() *tips {
	return &tips{byID: make(map[int64]*tip), lru: list.New()}
}

// get returns the tip of a room, empty if it was not in memory.
func (ts *tips) get(room Info) *tip {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t, ok := ts.byID[room.NID]; ok {
		ts.lru.MoveToFront(t.element)
		return t
	}
	t := &tip{room: room, state: make(map[event.StateKey]*stateEvent)}
	t.element = ts.lru.PushFront(t)
	ts.byID[room.NID] = t
	for ts.lru.Len() > maxTips {
		oldest := ts.lru.Remove(ts.lru.Back()).(*tip)
		delete(ts.byID, oldest.room.NID)
	}
	return t
}

// observe keeps the rooms in memory up to date with what all processes store.
func (ts *tips) observe(entries []journal.Entry, lost bool) {
	if lost {
		ts.mu.Lock()
		all := make([]*tip, 0, len(ts.byID))
		for _, t := range ts.byID {
			all = append(all, t)
		}
		ts.mu.Unlock()
		for _, t := range all {
			t.mu.Lock()
			t.reset()
			t.mu.Unlock()
		}
		return
	}
	for _, e := range entries {
		if e.Event == nil {
			continue
		}
		ts.mu.Lock()
		t := ts.byID[e.Event.RoomNID]
		ts.mu.Unlock()
		if t != nil {
			t.seen(e.Event)
		}
	}
}
