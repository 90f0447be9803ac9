package sync

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/store"
)

// stateKey is what an event is state for.
type stateKey struct{ typ, key string }

func keyOf(e *store.Event) stateKey { return stateKey{e.Type, *e.StateKey} }

// wantsMembers reports whether the filter lets member events of state through.
func (b *build) wantsMembers() bool {
	f := b.r.filter.Room.State.EventFilter
	f.Senders, f.NotSenders = nil, nil
	return f.Match(typeMember, "")
}

// lazy reports whether only those member events are sent that the client needs to show the timelines.
func (b *build) lazy() bool { return b.r.filter.Room.State.LazyLoadMembers }

// loadState finds what the client has to be told of the rooms' states.
//
// Spec: client-server v1.19 §syncing: state leads to the start of the timeline, state_after to its end.
func (b *build) loadState() error {
	var whole, delta []store.StateWindow
	for _, rm := range b.rooms {
		w := store.StateWindow{RoomNID: rm.nid, After: max(rm.stateAfter, 0), Start: rm.start(), UpTo: rm.stateUpTo}
		switch {
		case rm.stranger:
		case w.After == 0:
			whole = append(whole, w)
		case b.inRing(rm):
			rm.changes = changesIn(b.events[rm.nid], w)
		default:
			delta = append(delta, w)
		}
	}
	notMembers := b.lazy() || !b.wantsMembers()
	for _, part := range []struct {
		windows    []store.StateWindow
		notMembers bool
	}{{whole, notMembers}, {delta, false}} {
		list, err := b.s.cfg.Store.ListStateWindows(b.ctx, part.windows, b.r.stateAfter(), part.notMembers)
		if err != nil {
			return fmt.Errorf("load state: %w", err)
		}
		b.setChanges(list)
	}
	for _, rm := range b.rooms {
		rm.state = b.toldState(rm)
	}
	return nil
}

func (b *build) setChanges(list []store.StateChange) {
	if len(list) == 0 {
		return
	}
	rooms := make(map[int64]*room, len(b.rooms))
	for _, rm := range b.rooms {
		rooms[rm.nid] = rm
	}
	for i := range list {
		rm := rooms[list[i].RoomNID]
		rm.changes = append(rm.changes, &list[i])
	}
}

// changesIn finds in a window's events what ListStateWindows finds in the database.
//
// What holds for it to be so: an event with a state key becomes state at its own position.
func changesIn(events []*store.Event, w store.StateWindow) []*store.StateChange {
	var changes []*store.StateChange
	atStart, atEnd := make(map[stateKey]*store.StateChange), make(map[stateKey]*store.StateChange)
	for _, e := range events {
		if e.StateKey == nil || e.Position > w.UpTo {
			continue
		}
		c := &store.StateChange{Event: *e}
		if e.Position < w.Start {
			atStart[keyOf(e)] = c
		}
		atEnd[keyOf(e)] = c
	}
	for _, c := range atStart {
		c.AtStart = true
		changes = append(changes, c)
	}
	for _, c := range atEnd {
		c.AtEnd = true
		if !c.AtStart {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(x, y *store.StateChange) int { return cmp.Compare(x.Position, y.Position) })
	return changes
}

// toldState chooses from the changes those that lead the client to the state at the start of the timeline, and to the state at
// its end together with the timeline. A change that the filter keeps out of the timeline is told with the state.
func (b *build) toldState(rm *room) []*store.Event {
	after := b.r.stateAfter()
	inTimeline := make(map[int64]struct{}, len(rm.events))
	for _, e := range rm.events {
		inTimeline[e.Position] = struct{}{}
	}
	told := make(map[stateKey]struct{})
	var state []*store.Event
	for _, c := range rm.changes {
		_, shown := inTimeline[c.Position]
		if c.AtEnd && (after || !shown) {
			told[keyOf(&c.Event)] = struct{}{}
			if b.r.filter.Room.State.Match(&c.Event) {
				state = append(state, &c.Event)
			}
		}
	}
	if after {
		return b.withLastMembership(rm, state)
	}
	for _, c := range rm.changes {
		if _, done := told[keyOf(&c.Event)]; !done && c.AtStart && !c.AtEnd && b.r.filter.Room.State.Match(&c.Event) {
			state = append(state, &c.Event)
		}
	}
	sortEvents(state)
	return state
}

// withLastMembership tells who was kicked and later banned the end of it in state_after, too: the state of the room ends for the
// user with the kick.
func (b *build) withLastMembership(rm *room, state []*store.Event) []*store.Event {
	if !rm.left || len(rm.events) == 0 {
		return state
	}
	last := rm.events[len(rm.events)-1]
	if (last.Position <= rm.stateUpTo && !rm.stranger) || !isMember(last, string(b.e.id)) || !b.r.filter.Room.State.Match(last) {
		return state
	}
	state = slices.DeleteFunc(state, func(e *store.Event) bool { return isMember(e, string(b.e.id)) })
	return append(state, last)
}

func sortEvents(events []*store.Event) {
	slices.SortFunc(events, func(x, y *store.Event) int { return cmp.Compare(x.Position, y.Position) })
}
