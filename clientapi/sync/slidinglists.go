package sync

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// listedRoom is a room of the user's, with what lists are made of.
type listedRoom struct {
	roomMembership
	// activity is the position of the last event, or of the membership where the user is no member.
	activity int64
	// sent is what the client was told of the room, or nil.
	sent *sentRoom
}

// gather fixes the position that the answer is for, with the user's rooms at it and what happened in them since.
func (b *slide) gather() error {
	h := b.s.hub
	for {
		b.now = max(h.now(), b.since)
		entries, err := b.ringEntries()
		if err != nil {
			return err
		}
		missing, newest := b.take(entries)
		switch {
		case b.e.forgotten.Load():
			return errForgotten
		case newest > b.now:
			// The memberships are ahead of the position: they changed a moment ago, or were loaded from a database that is ahead.
			err = b.s.cfg.Journal.WaitFor(b.ctx, newest)
		case len(missing) > 0 && !b.looked:
			b.looked = true // a room whose last event is still not known was left meanwhile
			err = h.loadActivity(b.ctx, missing)
		default:
			b.updates = lastOfEach(b.updates)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ringEntries returns what happened since the client was told, and sets ring if that is all.
func (b *slide) ringEntries() ([]journal.Entry, error) {
	b.ring = false
	if b.r.initial || b.s.noRing {
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

// take copies what concerns the user. missing are joined rooms whose last event is not known; newest is the position of the
// newest membership.
func (b *slide) take(entries []journal.Entry) (missing []int64, newest int64) {
	h := b.s.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	b.all = make([]*listedRoom, 0, len(b.e.rooms))
	list := make([]listedRoom, 0, len(b.e.rooms))
	for nid, m := range b.e.rooms {
		list = append(list, listedRoom{roomMembership: roomMembership{nid, m}, activity: m.position, sent: b.base.rooms[nid]})
		room := &list[len(list)-1]
		b.all = append(b.all, room)
		if m.value != memberJoin {
			continue
		}
		if r := h.rooms[nid]; r != nil && r.activity.last > 0 {
			room.activity = r.activity.last
		} else {
			missing = append(missing, nid)
		}
	}
	b.ignored, b.policy, b.threadNews = b.e.ignored, b.e.invites, false
	b.events, b.updates = make(map[int64][]*store.Event), nil
	for i := range entries {
		if e := entries[i].Event; e != nil {
			if m, ok := b.e.rooms[e.RoomNID]; ok && (m.value == memberJoin || m.position > b.since) {
				b.events[e.RoomNID] = append(b.events[e.RoomNID], e)
			}
		} else if up := entries[i].Update; b.concerns(up) {
			b.updates = append(b.updates, up)
		} else if up.Kind == store.KindThreadSubscription && up.UserID == b.e.id {
			b.threadNews = true
		}
	}
	return missing, b.e.memberAt
}

// concerns reports whether an update is of what the rooms' extensions tell.
func (b *slide) concerns(up *store.Update) bool {
	switch up.Kind {
	case store.KindAccountData:
		return up.UserID == b.e.id
	case store.KindReceipt:
		return (up.UserID == b.e.id || !isPrivate(up)) && b.e.rooms[up.RoomNID].value == memberJoin
	case store.KindTyping:
		return b.e.rooms[up.RoomNID].value == memberJoin
	}
	return false
}

// findRooms finds the rooms that match a rule, and counts the lists.
//
// Spec: MSC4186 §lists-and-subscriptions
func (b *slide) findRooms() error {
	if err := inOrder(b.endBeforeHidden, b.loadFormer); err != nil {
		return err
	}
	b.found = make(map[int64]*slidingRoom)
	if len(b.r.lists) > 0 {
		if err := b.findListed(); err != nil {
			return err
		}
	}
	if len(b.r.subscriptions) > 0 {
		for _, m := range b.all {
			if config := b.r.subscriptions[m.room]; config != nil && b.mayShow(m) {
				rm := b.room(m)
				rm.subscribed = true
				rm.want = rm.want.combine(config)
			}
		}
	}
	b.rooms = make([]*slidingRoom, 0, len(b.found))
	for _, rm := range b.found {
		b.rooms = append(b.rooms, rm)
	}
	slices.SortFunc(b.rooms, func(x, y *slidingRoom) int { return byActivity(x.listedRoom, y.listedRoom) })
	return nil
}

// byActivity sorts rooms, that in which something happened last first.
//
// Spec: MSC4186 §activity-ordering
func byActivity(x, y *listedRoom) int {
	return cmp.Or(cmp.Compare(y.activity, x.activity), cmp.Compare(y.nid, x.nid))
}

func (b *slide) room(m *listedRoom) *slidingRoom {
	rm := b.found[m.nid]
	if rm == nil {
		rm = &slidingRoom{listedRoom: m}
		b.found[m.nid] = rm
	}
	return rm
}

// ended reports whether the user is neither a member, nor invited, nor knocking.
func (m *listedRoom) ended() bool { return m.value == memberLeave || m.value == memberBan }

// loadFormer finds out in which rooms that the client does not know the user had been before it ended.
func (b *slide) loadFormer() (err error) {
	var nids []int64
	for _, m := range b.all {
		if m.ended() && m.sent == nil && (m.sender != b.e.id || b.r.subscriptions[m.room] != nil) {
			nids = append(nids, m.nid)
		}
	}
	if len(nids) > 0 {
		b.former, err = b.s.hub.former(b.ctx, b.e, nids, b.r.initial)
	}
	return err
}

// endBeforeHidden lets rooms end that the client knows and the user was put out of, before an invitation that is not told.
func (b *slide) endBeforeHidden() error {
	var hidden []*roomMembership
	var rooms []*listedRoom
	for _, m := range b.all {
		if m.sent != nil && isHidden(b.policy, &m.roomMembership) {
			hidden, rooms = append(hidden, &m.roomMembership), append(rooms, m)
		}
	}
	err := b.s.endBefore(b.ctx, b.e.id, hidden)
	for _, m := range rooms {
		m.activity = m.position
	}
	return err
}

// mayShow reports whether the user may know of the room.
func (b *slide) mayShow(m *listedRoom) bool {
	return !isHidden(b.policy, &m.roomMembership) && (!m.ended() || m.sent != nil || b.former[m.nid])
}

// isListed reports whether lists can have the room: one that the user left is only there if the client knows it.
func (b *slide) isListed(m *listedRoom) bool {
	if m.ended() && m.sent == nil && m.sender == b.e.id {
		return false
	}
	return b.mayShow(m)
}

// findListed sorts the rooms and takes those that lie in a list's ranges.
func (b *slide) findListed() error {
	rooms := make([]*listedRoom, 0, len(b.all))
	for _, m := range b.all {
		if b.isListed(m) {
			rooms = append(rooms, m)
		}
	}
	slices.SortFunc(rooms, byActivity)
	for i := range b.r.lists {
		list := &b.r.lists[i]
		filtered, err := b.filter(rooms, list.filters)
		if err != nil {
			return err
		}
		b.count(list.name, len(filtered))
		add := func(from, to int) {
			for _, m := range filtered[min(from, len(filtered)):min(to, len(filtered))] {
				rm := b.room(m)
				if n := len(rm.lists); n == 0 || rm.lists[n-1] != list.name {
					rm.lists = append(rm.lists, list.name)
					rm.want = rm.want.combine(list.config)
				}
			}
		}
		if list.all {
			add(0, len(filtered))
		}
		for _, r := range list.ranges {
			add(r[0], min(r[1], len(filtered))+1)
		}
	}
	return nil
}

// count writes a list's count.
func (b *slide) count(name string, n int) {
	b.counts = append(appendText(appendComma(b.counts, len(b.counts) == 0), name), `:{"count":`...)
	b.counts = append(strconv.AppendInt(b.counts, int64(n), 10), '}')
}

// filter returns the rooms that filters let through.
//
// Spec: MSC4186, SlidingRoomFilter
func (b *slide) filter(rooms []*listedRoom, f *slidingFilters) ([]*listedRoom, error) {
	if f == nil {
		return rooms, nil
	}
	var tests []func(m *listedRoom) bool
	if f.DM != nil {
		tests = append(tests, func(m *listedRoom) bool { return b.direct[m.room] == *f.DM })
	}
	if f.Invited != nil {
		tests = append(tests, func(m *listedRoom) bool { return (m.value == memberInvite) == *f.Invited })
	}
	if f.Encrypted != nil || f.RoomTypes != nil || len(f.NotRoomTypes) > 0 {
		nids := make([]int64, len(rooms))
		for i, m := range rooms {
			nids[i] = m.nid
		}
		kinds, err := b.s.hub.kinds(b.ctx, nids)
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(m *listedRoom) bool { return kinds[m.nid] != nil && f.matchesKind(kinds[m.nid]) })
	}
	if f.Tags != nil || len(f.NotTags) > 0 {
		tags, err := b.s.hub.tags(b.ctx, b.e)
		if err != nil {
			return nil, err
		}
		has := func(m *listedRoom, list []string) bool {
			return slices.ContainsFunc(tags[m.nid], func(tag string) bool { return slices.Contains(list, tag) })
		}
		tests = append(tests, func(m *listedRoom) bool { return (f.Tags == nil || has(m, f.Tags)) && !has(m, f.NotTags) })
	}
	if f.Spaces != nil {
		children, err := b.children(f.Spaces)
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(m *listedRoom) bool { return children[m.room] })
	}
	var filtered []*listedRoom
	for _, m := range rooms {
		if !slices.ContainsFunc(tests, func(matches func(*listedRoom) bool) bool { return !matches(m) }) {
			filtered = append(filtered, m)
		}
	}
	return filtered, nil
}

func (f *slidingFilters) matchesKind(k *roomKind) bool {
	is := func(t *string) bool { return t == nil && k.roomType == "" || t != nil && *t == k.roomType && *t != "" }
	return (f.Encrypted == nil || *f.Encrypted == k.encrypted) &&
		(f.RoomTypes == nil || slices.ContainsFunc(f.RoomTypes, is)) && !slices.ContainsFunc(f.NotRoomTypes, is)
}

// children are the rooms that belong to one of the spaces, of those that the user is in.
//
// Spec: client-server v1.19 §mspacechild: without via it is no child
func (b *slide) children(spaces []string) (map[matrix.RoomID]bool, error) {
	var queries []store.TypeAt
	for _, m := range b.all {
		if m.value == memberJoin && slices.Contains(spaces, string(m.room)) {
			queries = append(queries, store.TypeAt{RoomNID: m.nid, Type: typeSpaceChild, At: b.now})
		}
	}
	list, err := b.s.cfg.Store.ListStateTypesAt(b.ctx, queries)
	if err != nil {
		return nil, fmt.Errorf("load spaces: %w", err)
	}
	children := make(map[matrix.RoomID]bool)
	for i := range list {
		if len(gjson.GetBytes(list[i].JSON, "content.via").Array()) > 0 {
			children[matrix.RoomID(*list[i].StateKey)] = true
		}
	}
	return children, nil
}
