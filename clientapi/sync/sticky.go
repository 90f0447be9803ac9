package sync

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// stickyQuery asks /sync for sticky events.
const stickyQuery = "org.matrix.msc4354.sticky"

// loadSticky finds the sticky events of the joined rooms that are not in the timelines: those of the window, and of fresh rooms
// all that are still sticky, whoever could see the room when they were sent.
//
// Differs: of more than limits.SyncSticky in a room the older ones are not told later.
//
// Spec: MSC4354, current /sync
func (b *build) loadSticky() error {
	if !b.r.sticky {
		return nil
	}
	var windows []store.Window
	rooms := make(map[int64]*room)
	now := matrix.TimestampOf(b.s.cfg.Clock.Now())
	for _, rm := range b.rooms {
		switch {
		case rm.left:
		case b.inRing(rm):
			rm.sticky = stickyOf(b.events[rm.nid], rm.upTo, now)
		default:
			rooms[rm.nid] = rm
			windows = append(windows, store.Window{RoomNID: rm.nid, After: max(rm.after, 0), UpTo: rm.upTo})
		}
	}
	found, err := b.s.stickyEvents(b.ctx, windows, now)
	if err != nil {
		return err
	}
	for nid, rm := range rooms {
		rm.sticky = found[nid]
	}
	for _, rm := range b.rooms {
		rm.sticky = stickyBeside(rm.sticky, rm.events, b.ignored)
	}
	return nil
}

// stickyOf are the events of a room that are sticky at now, oldest first.
func stickyOf(events []*store.Event, upTo int64, now matrix.Timestamp) []*store.Event {
	var list []*store.Event
	for _, e := range events {
		if lasts := event.StickyFor(e.JSON); lasts > 0 && e.Position <= upTo && e.RedactedBy == "" &&
			e.OriginServerTS+matrix.Timestamp(lasts.Milliseconds()) > now {
			list = append(list, e)
		}
	}
	return list[max(0, len(list)-limits.SyncSticky):]
}

// stickyEvents returns the events of the windows that are still sticky at now, oldest first, by room.
func (s *Server) stickyEvents(ctx context.Context, windows []store.Window, now matrix.Timestamp) (map[int64][]*store.Event, error) {
	if len(windows) == 0 {
		return nil, nil
	}
	list, err := s.cfg.Store.ListStickyWindows(ctx, windows, now, limits.SyncSticky)
	if err != nil {
		return nil, fmt.Errorf("load sticky events: %w", err)
	}
	found := make(map[int64][]*store.Event)
	for i := range list {
		found[list[i].RoomNID] = append(found[list[i].RoomNID], &list[i])
	}
	return found, nil
}

// stickyBeside are those of a room's sticky events that are not in its timeline, nor sent by somebody who is ignored.
func stickyBeside(sticky, timeline []*store.Event, ignored map[matrix.UserID]struct{}) []*store.Event {
	if len(sticky) == 0 {
		return nil
	}
	told := make(map[matrix.EventID]struct{}, len(timeline))
	for _, e := range timeline {
		told[e.EventID] = struct{}{}
	}
	var beside []*store.Event
	for _, e := range sticky {
		_, isTold := told[e.EventID]
		_, isIgnored := ignored[e.Sender]
		if !isTold && !isIgnored {
			beside = append(beside, e)
		}
	}
	return beside
}

// sticky writes the sticky events of a room.
func (w *writer) sticky(rm *room) {
	if len(rm.sticky) == 0 {
		return
	}
	w.text(`,"msc4354_sticky":{"events":[`)
	for i, e := range rm.sticky {
		w.comma(i == 0)
		w.event(rm, e, false)
	}
	w.text(`]}`)
}
