package sync

import (
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
)

// loadTimelines finds the newest events of each room that is told of.
func (b *slide) loadTimelines() error {
	windows := make(map[int][]store.Window)
	for _, rm := range b.rooms {
		rm.previous = rm.upTo
		switch {
		case !rm.full || !rm.say && !rm.longer:
		case b.inRing(rm):
			b.setTimeline(rm, b.fromRing(rm), 0)
		default:
			w := store.Window{RoomNID: rm.nid, After: rm.told, UpTo: rm.upTo}
			if rm.fresh || rm.longer {
				w.After = 0
			}
			windows[rm.want.limit] = append(windows[rm.want.limit], w)
		}
	}
	for limit, list := range windows {
		if err := b.timelinesFromStore(list, limit); err != nil {
			return err
		}
	}
	return nil
}

// inRing reports whether what happened in the room since the client was told is in events.
func (b *slide) inRing(rm *slidingRoom) bool {
	return b.ring && !rm.fresh && !rm.longer && rm.told == b.since
}

// fromRing returns the room's newest events, newest first, one more than the timeline may have if there are so many.
func (b *slide) fromRing(rm *slidingRoom) (found []*store.Event) {
	for _, e := range slices.Backward(b.events[rm.nid]) {
		_, ignored := b.ignored[e.Sender]
		if e.Position <= rm.upTo && len(found) <= rm.want.limit && (!ignored || e.StateKey != nil) {
			found = append(found, e)
		}
	}
	return found
}

// timelinesFromStore reads timelines of one length.
func (b *slide) timelinesFromStore(windows []store.Window, limit int) error {
	var query store.TimelineFilter
	for id := range b.ignored {
		query.Ignored = append(query.Ignored, string(id))
	}
	list, err := b.s.cfg.Store.ListWindows(b.ctx, windows, query, limit+1, limits.TimelineScan)
	if err != nil {
		return fmt.Errorf("load timelines: %w", err)
	}
	var floors map[int64]int64
	if len(query.Ignored) > 0 {
		if floors, err = b.s.cfg.Store.ListScanFloors(b.ctx, windows, limits.TimelineScan); err != nil {
			return fmt.Errorf("load timelines: %w", err)
		}
	}
	found := make(map[int64][]*store.Event, len(windows))
	for i := range list {
		found[list[i].RoomNID] = append(found[list[i].RoomNID], &list[i])
	}
	for _, w := range windows {
		b.setTimeline(b.found[w.RoomNID], found[w.RoomNID], floors[w.RoomNID])
	}
	return nil
}

// setTimeline makes the timeline of what was found, newest first. floor is the newest position that was not looked at, or 0.
//
// Spec: MSC4186 §changes-to-timeline_limit
func (b *slide) setTimeline(rm *slidingRoom, found []*store.Event, floor int64) {
	limit := rm.want.limit
	if rm.longer && !rm.fresh {
		last := found[:min(len(found), limit)]
		rm.expanded = slices.ContainsFunc(last, func(e *store.Event) bool { return e.Position < rm.sent.from })
		if !rm.expanded {
			found = slices.DeleteFunc(found, func(e *store.Event) bool { return e.Position <= rm.told })
			if floor <= rm.told {
				floor = 0
			}
		}
	}
	if len(found) > limit {
		rm.limited = true
		found, floor = found[:limit], 0
	}
	rm.limited = rm.limited || floor > 0
	if rm.visible != nil {
		n := len(found)
		found = slices.DeleteFunc(found, func(e *store.Event) bool {
			return !rm.visible.CanSee(e.Position) && !(rm.ended() && isMember(e, string(b.e.id)))
		})
		rm.limited = rm.limited || len(found) < n
	}
	slices.Reverse(found)
	rm.events = found
	rm.say = rm.say || rm.expanded
	switch {
	case floor > 0:
		rm.previous = floor
	case len(found) > 0:
		rm.previous = found[0].Position - 1
	}
	if b.since >= 0 {
		for _, e := range found {
			if e.Position > b.since {
				rm.live++
			}
		}
	}
}
