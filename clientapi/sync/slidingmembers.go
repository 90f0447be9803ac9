package sync

import (
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// fetch gathers what of the rooms' states has to be read, so that it is read for all rooms at once.
type fetch struct {
	keys  []store.KeyAt
	types []store.TypeAt
	// whole are whole states, without the members in the second list.
	whole, noMembers []store.StateWindow
}

func (f *fetch) add(rm *slidingRoom, w wanted) {
	for _, k := range w.keys {
		f.keys = append(f.keys, store.KeyAt{RoomNID: rm.nid, Type: k.typ, Key: k.key, At: rm.stateUpTo})
	}
	for _, t := range w.types {
		f.types = append(f.types, store.TypeAt{RoomNID: rm.nid, Type: t, At: rm.stateUpTo})
	}
	if w.whole {
		window := store.StateWindow{RoomNID: rm.nid, Start: rm.stateUpTo + 1, UpTo: rm.stateUpTo}
		if w.noMembers {
			f.noMembers = append(f.noMembers, window)
		} else {
			f.whole = append(f.whole, window)
		}
	}
}

// read returns what was gathered, by room; an event may be there twice.
func (b *slide) read(f *fetch) (map[int64][]*store.Event, error) {
	all := make(map[int64][]*store.Event)
	add := func(list []store.Event, err error) error {
		for i := range list {
			all[list[i].RoomNID] = append(all[list[i].RoomNID], &list[i])
		}
		return err
	}
	if err := add(b.s.cfg.Store.ListStateAt(b.ctx, f.keys)); err != nil {
		return nil, err
	}
	if err := add(b.s.cfg.Store.ListStateTypesAt(b.ctx, f.types)); err != nil {
		return nil, err
	}
	for i, windows := range [][]store.StateWindow{f.whole, f.noMembers} {
		list, err := b.s.cfg.Store.ListStateWindows(b.ctx, windows, true, i == 1)
		if err != nil {
			return nil, err
		}
		for k := range list {
			all[list[k].RoomNID] = append(all[list[k].RoomNID], &list[k].Event)
		}
	}
	return all, nil
}

// cardKeys are read of each room that is new to the client, whatever required_state says.
var cardKeys = []stateKey{{"m.room.name", ""}, {"m.room.avatar", ""}}

// loadRequired finds what is told of the rooms' states: of fresh rooms what required_state asks for, of others what changed,
// and what a longer required_state adds.
func (b *slide) loadRequired() error {
	if err := inOrder(b.loadChanges, b.loadRedacted); err != nil {
		return err
	}
	var f fetch
	for _, rm := range b.rooms {
		switch {
		case !rm.full:
		case rm.fresh:
			w := rm.want.read
			w.keys = append(slices.Clip(w.keys), cardKeys...)
			f.add(rm, w)
		case len(rm.addedParts()) > 0:
			f.add(rm, rm.added.read)
		}
	}
	read, err := b.read(&f)
	if err != nil {
		return fmt.Errorf("load required state: %w", err)
	}
	for _, rm := range b.rooms {
		if rm.full && (rm.fresh || rm.say || rm.added != nil) {
			b.setState(rm, read[rm.nid])
		}
	}
	return nil
}

// setState chooses what is told of what was read and what changed.
func (b *slide) setState(rm *slidingRoom, read []*store.Event) {
	seen := make(map[stateKey]bool)
	tell := func(e *store.Event, required bool) {
		if seen[keyOf(e)] {
			return
		}
		seen[keyOf(e)] = true
		if required {
			rm.state = append(rm.state, e)
		}
	}
	for _, e := range rm.changes {
		// Of the members who are loaded lazily all changes are told, unless there may be a great many.
		lazily := e.Type == typeMember && rm.want.lazy && (!rm.limited || !rm.fresh && slices.Contains(rm.sent.members, *e.StateKey))
		tell(e, lazily || rm.want.matches(e.Type, *e.StateKey))
		b.setCard(rm, e)
	}
	for _, e := range read {
		if rm.fresh {
			tell(e, rm.want.matches(e.Type, *e.StateKey))
			b.setCard(rm, e)
		} else {
			tell(e, rm.added.matches(e.Type, *e.StateKey) && !rm.known.matches(e.Type, *e.StateKey))
		}
	}
}

// setCard notes the room's name or avatar if e is that.
func (b *slide) setCard(rm *slidingRoom, e *store.Event) {
	switch keyOf(e) {
	case cardKeys[0]:
		rm.name = e
	case cardKeys[1]:
		rm.avatar = e
	}
}

// loadChanges finds what changed in the states of rooms that the client knows.
func (b *slide) loadChanges() error {
	var all, noMembers []store.StateWindow
	for _, rm := range b.rooms {
		w := store.StateWindow{RoomNID: rm.nid, After: rm.told, Start: rm.stateUpTo + 1, UpTo: rm.stateUpTo}
		switch {
		case !rm.full || rm.fresh || !rm.say:
		case b.inRing(rm):
			for _, c := range changesIn(b.events[rm.nid], w) {
				if c.AtEnd {
					rm.changes = append(rm.changes, &c.Event)
				}
			}
		case rm.limited && rm.want.read.noMembers:
			noMembers = append(noMembers, w)
		default:
			all = append(all, w)
		}
	}
	for i, windows := range [][]store.StateWindow{all, noMembers} {
		list, err := b.s.cfg.Store.ListStateWindows(b.ctx, windows, true, i == 1)
		if err != nil {
			return fmt.Errorf("load state: %w", err)
		}
		for k := range list {
			rm := b.found[list[k].RoomNID]
			rm.changes = append(rm.changes, &list[k].Event)
		}
	}
	return nil
}

// loadMembers adds the member events that a lazy-loading client needs, and what the room is called by.
//
// Spec: MSC4186 §lazy-loaded-memberships
func (b *slide) loadMembers() error {
	if err := b.loadSummaries(); err != nil {
		return err
	}
	type member struct {
		rm   *slidingRoom
		hero bool
	}
	asked := make(map[memberKey][]member)
	var missing []store.KeyAt
	give := func(m member, e *store.Event) {
		switch {
		case m.hero:
			m.rm.heroes = append(m.rm.heroes, e)
		case m.rm.fresh || e.Position > m.rm.told || !slices.Contains(m.rm.sent.members, *e.StateKey):
			m.rm.state = append(m.rm.state, e)
		}
	}
	ask := func(m member, id string) {
		key := memberKey{m.rm.nid, matrix.UserID(id)}
		if e := b.s.members.get(key); e != nil && e.Position <= m.rm.stateUpTo {
			give(m, e)
			return
		}
		if len(asked[key]) == 0 {
			missing = append(missing, store.KeyAt{RoomNID: m.rm.nid, Type: typeMember, Key: id, At: m.rm.stateUpTo})
		}
		asked[key] = append(asked[key], m)
	}
	for _, rm := range b.rooms {
		if !rm.full || !rm.say {
			continue
		}
		for _, id := range b.neededMembers(rm) {
			ask(member{rm, false}, id)
		}
		if rm.summary != nil && rm.summary.unnamed {
			for _, id := range rm.summary.othersThan(b.e.id) {
				ask(member{rm, true}, string(id))
			}
		}
	}
	if len(missing) > 0 {
		before := b.s.members.version()
		list, err := b.s.cfg.Store.ListStateAt(b.ctx, missing)
		if err != nil {
			return fmt.Errorf("load members: %w", err)
		}
		for i := range list {
			e := &list[i]
			for _, m := range asked[memberKey{e.RoomNID, matrix.UserID(*e.StateKey)}] {
				give(m, e)
			}
			if rm := b.found[e.RoomNID]; rm.value == memberJoin && e.Position <= rm.told {
				// It did not change since the client was told, so it is the present one: the cache may have it.
				b.s.members.add(e, before)
			}
		}
	}
	for _, rm := range b.rooms {
		sortEvents(rm.state)
		sortEvents(rm.heroes)
	}
	return nil
}

// neededMembers are the users whose member events the timeline needs. The client has those that it was sent before; after a
// gap they may have changed.
func (b *slide) neededMembers(rm *slidingRoom) []string {
	var need []string
	seen := make(map[string]bool)
	for _, e := range rm.state {
		if e.Type == typeMember {
			seen[*e.StateKey] = true
		}
	}
	known := func(id string) bool {
		if rm.fresh {
			return false
		}
		_, found := slices.BinarySearch(rm.sent.members, id)
		return found
	}
	shows := func(id string) {
		if rm.want.matches(typeMember, id) && !(rm.added != nil && rm.added.matches(typeMember, id)) {
			return // it is sent anyway
		}
		if !known(id) && !slices.Contains(rm.shown, id) {
			rm.shown = append(rm.shown, id)
		}
		if !seen[id] && !known(id) {
			seen[id] = true
			need = append(need, id)
		}
	}
	for _, e := range rm.events {
		if !rm.want.lazy {
			break
		}
		shows(string(e.Sender))
		if e.Type == typeMember && e.StateKey != nil {
			shows(*e.StateKey)
		}
	}
	if rm.limited && !rm.fresh && rm.want.read.noMembers {
		recheck := slices.Clone(rm.sent.members)
		for _, key := range rm.want.read.keys {
			if key.typ == typeMember {
				recheck = append(recheck, key.key)
			}
		}
		for _, id := range recheck {
			if !seen[id] {
				seen[id] = true
				need = append(need, id)
			}
		}
	}
	slices.Sort(rm.shown)
	return need
}

// loadSummaries finds how many are in the rooms, where that may have changed.
func (b *slide) loadSummaries() error {
	var nids []int64
	for _, rm := range b.rooms {
		changed := slices.ContainsFunc(rm.changes, func(e *store.Event) bool { return e.Type == typeMember || e.Type == "m.room.name" })
		if rm.say && rm.value == memberJoin && (rm.fresh || rm.limited || changed) {
			nids = append(nids, rm.nid)
		}
	}
	if len(nids) == 0 {
		return nil
	}
	slices.Sort(nids)
	summaries, err := b.s.summaries(b.ctx, nids)
	for _, nid := range nids {
		b.found[nid].summary = summaries[nid]
	}
	return err
}

// loadStripped reads what may be shown of rooms that the user is no member of: to who is invited or knocks the stripped state, of
// an invitation that came to nothing only that.
//
// Spec: client-server v1.19 §stripped-state
func (b *slide) loadStripped() error {
	var keys []store.KeyAt
	helper := &build{e: b.e}
	wanted := func(rm *slidingRoom) []stateKey {
		if rm.ended() {
			return []stateKey{memberStateKey(b.e.id)}
		}
		return helper.strippedKeys(&invitation{roomMembership: rm.roomMembership})
	}
	for _, rm := range b.rooms {
		if rm.say && !rm.full {
			for _, k := range wanted(rm) {
				keys = append(keys, store.KeyAt{RoomNID: rm.nid, Type: k.typ, Key: k.key, At: rm.position})
			}
		}
	}
	list, err := b.s.cfg.Store.ListStateAt(b.ctx, keys)
	if err != nil {
		return fmt.Errorf("load invitations: %w", err)
	}
	for i := range list {
		rm := b.found[list[i].RoomNID]
		rm.stripped = append(rm.stripped, &list[i])
	}
	for _, rm := range b.rooms {
		order := wanted(rm)
		slices.SortFunc(rm.stripped, func(x, y *store.Event) int {
			return slices.Index(order, keyOf(x)) - slices.Index(order, keyOf(y))
		})
	}
	return nil
}
