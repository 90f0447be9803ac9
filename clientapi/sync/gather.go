package sync

import (
	"cmp"
	"slices"

	"github.com/roomline/roomline/clientapi/push"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// gather fixes the position that the answer is for, with the user's memberships at it, and takes what happened since from the ring
// if it is there.
func (b *build) gather() error {
	h := b.s.hub
	for {
		b.now = max(h.now(), b.since)
		entries, err := b.ringEntries()
		if err != nil {
			return err
		}
		h.mu.RLock()
		if b.e.forgotten.Load() {
			h.mu.RUnlock()
			return errForgotten
		}
		newest := b.e.memberAt
		if newest <= b.now {
			b.ignored, b.policy = b.e.ignored, b.e.invites
			b.take(entries)
			h.mu.RUnlock()
			b.sortGathered()
			return nil
		}
		h.mu.RUnlock()
		// The memberships are ahead of the position: they changed a moment ago, or were loaded from a database that is ahead.
		if err := b.s.cfg.Journal.WaitFor(b.ctx, newest); err != nil {
			return err
		}
	}
}

// ringEntries returns the entries of the window, and sets ring if they are all.
func (b *build) ringEntries() ([]journal.Entry, error) {
	b.ring = false
	if b.first() || b.s.noRing {
		return nil, nil
	}
	// The hub is told of entries a moment before the ring has them.
	if err := b.s.cfg.Journal.WaitFor(b.ctx, b.now); err != nil {
		return nil, err
	}
	entries, ok := b.s.cfg.Journal.Entries(b.since, b.now)
	b.ring = ok
	return entries, nil
}

// take copies what concerns the user. It is called with hub.mu held for reading.
func (b *build) take(entries []journal.Entry) {
	b.memberships, b.events, b.updates, b.recount = nil, nil, nil, false
	if !b.ring {
		b.memberships = make([]roomMembership, 0, len(b.e.rooms))
		for nid, m := range b.e.rooms {
			b.memberships = append(b.memberships, roomMembership{nid, m})
		}
		return
	}
	b.events = make(map[int64][]*store.Event)
	concerned := make(map[int64]struct{})
	for i := range entries {
		if e := entries[i].Event; e != nil {
			if m, ok := b.e.rooms[e.RoomNID]; ok && (m.value == memberJoin || m.position > b.since) {
				b.events[e.RoomNID] = append(b.events[e.RoomNID], e)
				concerned[e.RoomNID] = struct{}{}
			}
			continue
		}
		if up := entries[i].Update; b.concerns(up) {
			b.updates = append(b.updates, up)
			b.recount = b.recount || changesCounts(up)
			concerned[up.RoomNID] = struct{}{}
		}
	}
	if b.r.fullState || b.recount {
		for nid := range b.e.rooms {
			concerned[nid] = struct{}{}
		}
	}
	for nid := range concerned {
		if m, ok := b.e.rooms[nid]; ok {
			b.memberships = append(b.memberships, roomMembership{nid, m})
		}
	}
}

// changesCounts reports whether an update of the user changes the counts of all rooms.
func changesCounts(up *store.Update) bool {
	return up.Kind == store.KindAccountData && up.RoomNID == 0 && slices.Contains(countSettings, up.Key)
}

// countSettings are the types of account data that change the counts of all rooms.
var countSettings = []string{push.TypeRules, ignoredUsers}

// isReading reports whether an update is a receipt of the user.
func isReading(up *store.Update, user matrix.UserID) bool {
	return up.Kind == store.KindReceipt && up.UserID == user
}

// concerns reports whether the user may learn of an update. Presence is judged later, because it may need other users' rooms.
func (b *build) concerns(up *store.Update) bool {
	switch up.Kind {
	case store.KindAccountData:
		return up.UserID == b.e.id
	case store.KindReceipt:
		return (up.UserID == b.e.id || !isPrivate(up)) && b.e.rooms[up.RoomNID].value == memberJoin
	case store.KindTyping:
		return b.e.rooms[up.RoomNID].value == memberJoin
	case store.KindPresence:
		return true
	}
	return false
}

// sortGathered brings memberships in the order of their rooms, and keeps of each update the last.
func (b *build) sortGathered() {
	slices.SortFunc(b.memberships, func(x, y roomMembership) int { return cmp.Compare(x.nid, y.nid) })
	b.updates = lastOfEach(b.updates)
}

// updateKey is what an update is the last one for.
type updateKey struct {
	kind store.Kind
	room int64
	user string
	key  string
}

// lastOfEach keeps the last update of each key, in the order of positions, as the database does.
func lastOfEach(list []*store.Update) []*store.Update {
	if len(list) < 2 {
		return list
	}
	last := make(map[updateKey]int64, len(list))
	for _, up := range list {
		last[updateKey{up.Kind, up.RoomNID, string(up.UserID), up.Key}] = up.Position
	}
	return slices.DeleteFunc(list, func(up *store.Update) bool {
		return last[updateKey{up.Kind, up.RoomNID, string(up.UserID), up.Key}] != up.Position
	})
}

// pointers makes a list of what a query returned.
func pointers[T any](list []T) []*T {
	all := make([]*T, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	return all
}
