package sync

import (
	"fmt"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const typeRedaction = "m.room.redaction"

// loadRedacted adds to the changes the state whose content was removed since the client was told: it is the same state, but says
// something else. Redactions are looked for as far back as a timeline is.
func (b *slide) loadRedacted() error {
	var rooms, at []int64
	var ids []matrix.EventID
	add := func(rm *slidingRoom, e *store.Event) {
		if e.Type == typeRedaction && e.Position <= rm.stateUpTo {
			rooms, ids, at = append(rooms, rm.nid), append(ids, redactedBy(e)), append(at, rm.stateUpTo)
		}
	}
	var windows []store.Window
	for _, rm := range b.rooms {
		switch {
		case !rm.full || rm.fresh || !rm.say:
		case b.inRing(rm):
			for _, e := range b.events[rm.nid] {
				add(rm, e)
			}
		default:
			windows = append(windows, store.Window{RoomNID: rm.nid, After: rm.told, UpTo: rm.stateUpTo})
		}
	}
	if len(windows) > 0 {
		only := store.TimelineFilter{Types: []string{typeRedaction}}
		list, err := b.s.cfg.Store.ListWindows(b.ctx, windows, only, limits.TimelineScan, limits.TimelineScan)
		if err != nil {
			return fmt.Errorf("find redactions: %w", err)
		}
		for i := range list {
			add(b.found[list[i].RoomNID], &list[i])
		}
	}
	if len(ids) == 0 {
		return nil
	}
	list, err := b.s.cfg.Store.ListStateAmong(b.ctx, rooms, ids, at)
	if err != nil {
		return fmt.Errorf("load redacted state: %w", err)
	}
	for i := range list {
		rm := b.found[list[i].RoomNID]
		rm.changes = append(rm.changes, &list[i])
	}
	return nil
}
