package sync

import "fmt"

// readings is what changed the counts of unread events without an event: receipts of the user, from any device, and the user's rules.
type readings struct {
	// rooms has of each room the position of the last receipt, all that of the last change of what counts in every room.
	rooms map[int64]int64
	all   int64
}

// changed reports whether the counts of a room changed after a position without an event in it.
func (r *readings) changed(m *listedRoom, after int64) bool {
	return m.value == memberJoin && max(r.rooms[m.nid], r.all) > after
}

func (r *readings) add(room, position int64) {
	if room == 0 {
		r.all = max(r.all, position)
	} else {
		r.rooms[room] = max(r.rooms[room], position)
	}
}

// counting reports whether the answer has counts of unread events. Only the unstable form does.
//
// Spec: MSC4186 §changelog
func (b *slide) counting() bool { return !b.r.stable }

// findRead finds which counts changed without an event since the client was told of the rooms. What the ring does not have is read
// for all rooms at once.
func (b *slide) findRead() error {
	if !b.counting() {
		return nil
	}
	b.readings.rooms = make(map[int64]int64)
	for _, up := range b.updates {
		if changesCounts(up) || isReading(up, b.e.id) {
			b.readings.add(up.RoomNID, up.Position)
		}
	}
	after := b.now
	for _, m := range b.all {
		rm := b.found[m.nid]
		switch {
		case m.value != memberJoin || m.sent == nil:
		case rm != nil:
			if rm.full && !rm.fresh && !(b.ring && rm.told == b.since) {
				after = min(after, rm.told)
			}
		case m.sent.at == 0 && !b.ring:
			after = min(after, b.since)
		}
	}
	if after == b.now {
		return nil
	}
	list, err := b.s.cfg.Store.ListReadings(b.ctx, b.e.id, countSettings, after, b.now)
	if err != nil {
		return fmt.Errorf("find what was read: %w", err)
	}
	for _, p := range list {
		b.readings.add(p.RoomNID, p.Position)
	}
	return nil
}

// loadCounts counts what is unread in the rooms that are told of.
func (b *slide) loadCounts() (err error) {
	if !b.counting() {
		return nil
	}
	var rooms []roomMembership
	for _, rm := range b.rooms {
		if rm.say && rm.full {
			rooms = append(rooms, rm.roomMembership)
		}
	}
	b.unread, err = b.s.unread(b.ctx, b.e, rooms, b.now)
	return err
}

// unread writes a room's counts, of all its threads together.
func (w *slidingWriter) unread(rm *slidingRoom) {
	if w.b.counting() && rm.value == memberJoin {
		n := w.b.unread[rm.nid].Total()
		w.number("notification_count", int64(n.Notifications))
		w.number("highlight_count", int64(n.Highlights))
	}
}
