package sync

import (
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
)

// loadTimelines finds the newest events of each room that the filter lets through and the user may see.
func (b *build) loadTimelines() error {
	f := &b.r.filter.Room.Timeline
	limit := b.r.timelineLimit()
	var windows []store.Window
	byNID := make(map[int64]*room)
	for _, rm := range b.rooms {
		rm.previous = rm.upTo
		switch {
		case !f.MatchRoom(rm.room):
		case b.inRing(rm):
			found, floor := b.timelineFromRing(rm, limit+1)
			b.setTimeline(rm, found, floor, limit)
		default:
			windows = append(windows, store.Window{RoomNID: rm.nid, After: max(rm.after, 0), UpTo: rm.upTo})
			byNID[rm.nid] = rm
		}
	}
	if len(windows) == 0 {
		return nil
	}
	return b.timelinesFromStore(windows, byNID, limit)
}

// timelineFromRing returns the newest events of the room that the filter lets through, newest first, at most limit. floor is the
// newest position that was not looked at, or 0.
func (b *build) timelineFromRing(rm *room, limit int) (found []*store.Event, floor int64) {
	f := &b.r.filter.Room.Timeline
	bounded := !b.filtersNothing()
	scanned := 0
	for _, e := range slices.Backward(b.events[rm.nid]) {
		if e.Position > rm.upTo || len(found) == limit {
			continue
		}
		if scanned++; bounded && scanned > limits.TimelineScan {
			return found, e.Position
		}
		_, ignored := b.ignored[e.Sender]
		if f.Match(e) && (!ignored || e.StateKey != nil) {
			found = append(found, e)
		}
	}
	return found, 0
}

// filtersNothing reports whether timelines have all events.
func (b *build) filtersNothing() bool {
	f := &b.r.filter.Room.Timeline
	return f.EventFilter.MatchAll() && f.ContainsURL == nil && len(b.ignored) == 0
}

func (b *build) timelinesFromStore(windows []store.Window, byNID map[int64]*room, limit int) error {
	f := &b.r.filter.Room.Timeline
	query := store.TimelineFilter{
		Types: f.Types, NotTypes: f.NotTypes, Senders: f.Senders, NotSenders: f.NotSenders, ContainsURL: f.ContainsURL,
	}
	for id := range b.ignored {
		query.Ignored = append(query.Ignored, string(id))
	}
	list, err := b.s.cfg.Store.ListWindows(b.ctx, windows, query, limit+1, limits.TimelineScan)
	if err != nil {
		return fmt.Errorf("load timelines: %w", err)
	}
	var floors map[int64]int64
	if !b.filtersNothing() {
		if floors, err = b.s.cfg.Store.ListScanFloors(b.ctx, windows, limits.TimelineScan); err != nil {
			return fmt.Errorf("load timelines: %w", err)
		}
	}
	found := make(map[int64][]*store.Event, len(windows))
	for i := range list {
		found[list[i].RoomNID] = append(found[list[i].RoomNID], &list[i])
	}
	for nid, rm := range byNID {
		b.setTimeline(rm, found[nid], floors[nid], limit)
	}
	return nil
}

// setTimeline makes the timeline of what was found, newest first.
func (b *build) setTimeline(rm *room, found []*store.Event, floor int64, limit int) {
	if len(found) > limit {
		rm.limited = true
		found, floor = found[:limit], 0
	}
	if floor > 0 {
		rm.limited = true
	}
	if rm.visible != nil {
		n, cut := len(found), false
		if found, cut = b.shown(rm, found); cut {
			floor = 0
		}
		rm.limited = rm.limited || len(found) < n
	}
	if rm.fresh && !b.first() && (rm.again || len(found) > 0 && found[len(found)-1].Position <= b.since) {
		// This timeline does not continue what the client was told before: it may have an older one of the room, and this
		// one begins in a time that the client knew nothing of.
		rm.limited = true
	}
	slices.Reverse(found)
	rm.events = found
	switch {
	case floor > 0:
		rm.previous = floor
	case len(found) > 0:
		rm.previous = found[0].Position - 1
	}
}

// shown leaves of what was found, newest first, what the user may see. It ends where a client would undo what it is told as state because
// the user may not see the event that made it: cut says so.
func (b *build) shown(rm *room, found []*store.Event) (kept []*store.Event, cut bool) {
	hidden := make(map[stateKey]bool)
	for _, e := range found {
		may := b.mayShow(rm, e)
		switch {
		case may && e.StateKey != nil && hidden[keyOf(e)] && !b.r.stateAfter():
			return kept, true
		case may:
			kept = append(kept, e)
		case e.StateKey != nil:
			hidden[keyOf(e)] = true
		}
	}
	return kept, false
}

// mayShow reports whether the user may see an event of a room. The end of an invitation is always told to the invited.
func (b *build) mayShow(rm *room, e *store.Event) bool {
	return rm.visible.CanSee(e.Position) || rm.left && isMember(e, string(b.e.id))
}

// isMember reports whether e is the membership of a user.
func isMember(e *store.Event, user string) bool {
	return e.Type == typeMember && e.StateKey != nil && *e.StateKey == user
}
