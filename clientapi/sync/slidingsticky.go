package sync

import (
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The extension for sticky events: those of the rooms that the client looks at which stand in no timeline of the answer.
//
// Differs: since and limit are not looked at. The connection knows what was told of each room, and a client that begins a new one is told of
// what is still sticky once more, of at most limits.SyncSticky events in a room, as in /sync.
//
// Spec: MSC4354; MSC4480

// stickyExtension is the name that clients know the extension by.
const stickyExtension = "org.matrix.msc4354.sticky_events"

// loadSlidingSticky finds the sticky events that are new to the client.
func (b *slide) loadSlidingSticky() error {
	x := &b.extensions
	now := matrix.TimestampOf(b.s.cfg.Clock.Now())
	recent := b.noteSticky(now)
	x.sticky = make(map[int64][]*store.Event)
	var windows []store.Window
	for _, rm := range b.rooms {
		if x.covered[rm.nid]&toldSticky == 0 {
			continue
		}
		if at := rm.toldAt(toldSticky); b.ring && at > 0 && at == b.since {
			x.sticky[rm.nid] = recent[rm.nid]
		} else {
			windows = append(windows, store.Window{RoomNID: rm.nid, After: max(at, 0), UpTo: b.now})
		}
	}
	found, err := b.s.stickyEvents(b.ctx, windows, now)
	if err != nil {
		return err
	}
	for nid, list := range found {
		x.sticky[nid] = list
	}
	for nid, list := range x.sticky {
		if list = stickyBeside(list, b.found[nid].events, b.ignored); len(list) > 0 {
			x.sticky[nid] = list
		} else {
			delete(x.sticky, nid)
		}
	}
	return nil
}

// noteSticky finds the sticky events among what just happened, and notes the rooms that have news of that kind: of one that the
// extension does not cover any more they have to be told later.
func (b *slide) noteSticky(now matrix.Timestamp) map[int64][]*store.Event {
	x := &b.extensions
	on := b.r.extensions.Sticky.on()
	if !on && x.told&toldSticky == 0 {
		return nil
	}
	recent := make(map[int64][]*store.Event)
	for nid, events := range b.events {
		if list := stickyOf(events, b.now, now); len(list) > 0 {
			recent[nid] = list
			x.news[nid] |= toldSticky
		}
	}
	// Once on, a connection keeps an eye on them.
	x.told |= toldSticky
	return recent
}

// sticky writes what the extension tells.
func (w *slidingWriter) sticky() {
	w.text(`"next_batch":"` + journal.Token(w.b.now) + `","rooms":{`)
	eachRoom(w, w.b.extensions.sticky, func(rm *slidingRoom, list []*store.Event) {
		w.text(`{"events":[`)
		for i, e := range list {
			w.comma(i == 0)
			w.event(rm, e, false)
		}
		w.text(`]}`)
	})
	w.text(`}}`)
}
