package sync

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/roomline/roomline/clientapi/invites"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// slide makes one answer of sliding sync.
type slide struct {
	s    *Server
	ctx  context.Context
	r    *slidingRequest
	e    *user
	base *connection
	// since is the position up to which the client was told, -1 for nothing; now the one that the answer is for.
	since, now int64
	ignored    map[matrix.UserID]struct{}
	policy     invites.Policy
	direct     map[matrix.RoomID]bool
	// ring: what happened between the two is in events and updates, and the database need not be asked for it.
	ring    bool
	events  map[int64][]*store.Event
	updates []*store.Update
	// threadNews: a thread subscription is among what happened.
	threadNews bool
	// toDeviceAfter is up to where the device has been sent its messages, -1 for nowhere.
	toDeviceAfter int64

	all    []*listedRoom // the user's rooms
	looked bool
	former map[int64]bool
	found  map[int64]*slidingRoom // those that match a rule
	rooms  []*slidingRoom         // the same, in the order of activity
	counts []byte                 // of the lists, written

	readings   readings
	unread     map[int64]Unread
	extensions extensionAnswers
	// next is the position after the answer.
	next slidingPos
}

// slidingRoom is a room that matches a rule.
type slidingRoom struct {
	*listedRoom
	lists      []string
	subscribed bool
	want       *combined

	// told is the position up to which the client knows the room, 0 if it does not.
	told int64
	// say: the answer has the room.
	say bool
	// full: as a member or a former one; else what is shown to those who are invited.
	full bool
	// fresh: the client knows nothing of the room, or nothing of use.
	fresh bool
	// longer: the client wants a longer timeline than it had; expanded: so it gets events from before what it has.
	longer, expanded bool
	// added are the parts of required_state that are new, known those that are not.
	added, known *combined
	visible      *roomserver.Visibility // nil where the user was a member all along

	upTo, stateUpTo int64
	events          []*store.Event // the timeline, oldest first
	limited         bool
	previous        int64 // prev_batch
	live            int   // num_live

	changes      []*store.Event // of the state, since told
	state        []*store.Event // required_state
	name, avatar *store.Event   // nil where they are not told
	summary      *summary
	heroes       []*store.Event
	stripped     []*store.Event
	shown        []string // members whose events were sent because the timeline shows them
	bump         int64
	dm           bool
}

// run returns the answer, or nil if there is nothing in it and the client can wait.
func (b *slide) run() (any, error) {
	var err error
	if b.direct, err = b.s.hub.direct(b.ctx, b.e); err != nil {
		return nil, err
	}
	err = inOrder(b.gather, b.findRooms, b.decide, b.loadTimelines, b.loadRequired, b.findRead, b.dropSilent,
		b.loadMembers, b.loadStripped, b.loadStamps, b.loadCounts, b.loadExtensions)
	if err != nil {
		return nil, err
	}
	rooms, missed := b.sent()
	b.next = slidingPos{
		position: b.now, version: b.base.version, told: b.extensions.told, config: b.r.hash, bind: bindOf(b.r.conn),
	}
	b.s.hub.keepCounts(b.e, b.r.hash, slidingCounts{b.now, b.counts})
	if !b.r.initial && !b.tells() {
		if missed {
			// The position stays, so that nothing has to be remembered for an answer that tells nothing.
			b.next.position = b.since
		}
		return nil, nil
	}
	if rooms != nil {
		c, err := b.s.remember(b.ctx, b.r.conn, b.base, rooms)
		if err != nil {
			return nil, err
		}
		b.next.version = c.version
	}
	body, err := b.write()
	if err != nil {
		return nil, err
	}
	return httpapi.Raw(body), nil
}

// tells reports whether there is anything in the answer.
func (b *slide) tells() bool {
	return b.extensions.tell || slices.ContainsFunc(b.rooms, func(rm *slidingRoom) bool { return rm.say })
}

// decide finds out which rooms are to be told of, and from where on.
func (b *slide) decide() error {
	for _, rm := range b.rooms {
		b.compare(rm)
	}
	visible, err := b.loadVisibilities()
	if err != nil {
		return err
	}
	for _, rm := range b.rooms {
		if rm.full {
			b.stay(rm, visible[rm.nid])
		}
	}
	return nil
}

// compare finds what is new of a room by what is in memory.
func (b *slide) compare(rm *slidingRoom) {
	rm.full = rm.value == memberJoin || rm.ended()
	rm.dm = b.direct[rm.room]
	rm.upTo = b.now
	if rm.value != memberJoin {
		rm.upTo = rm.position
	}
	rm.stateUpTo = rm.upTo
	if rm.sent != nil {
		if rm.told = rm.sent.at; rm.told == 0 {
			rm.told = b.since
		}
		if rm.ended() && !rm.sent.full && rm.position <= rm.told {
			rm.full = false // the client was told that the invitation came to nothing
		}
	}
	rm.fresh = rm.sent == nil || rm.sent.full != rm.full
	if !rm.full {
		rm.say = rm.fresh || rm.position > rm.told
		return
	}
	if !rm.fresh {
		rm.longer = rm.want.limit > rm.sent.limit && rm.sent.from > 0
		if !slices.Equal(rm.want.hashes, rm.sent.config) {
			rm.known, rm.added = rm.want.split(rm.sent.config)
		}
	}
	rm.say = rm.fresh || rm.activity > rm.told || rm.dm != rm.sent.dm
}

// loadVisibilities reads what the user may see of those rooms in which the user was not simply a member all along.
func (b *slide) loadVisibilities() (map[int64]*roomserver.Visibility, error) {
	var nids []int64
	for _, rm := range b.rooms {
		changed := rm.fresh || rm.longer || rm.position > rm.told
		if rm.full && (changed || rm.ended() && len(rm.addedParts()) > 0) {
			nids = append(nids, rm.nid)
		}
	}
	visible, err := b.s.cfg.Rooms.Visibilities(b.ctx, nids, b.e.id)
	if err != nil {
		return nil, fmt.Errorf("choose rooms: %w", err)
	}
	return visible, nil
}

func (rm *slidingRoom) addedParts() []*required {
	if rm.added == nil {
		return nil
	}
	return rm.added.parts
}

// stay finds out whether the user was in the room all the time since the client was told of it.
func (b *slide) stay(rm *slidingRoom, v *roomserver.Visibility) {
	rm.visible = v
	if v == nil {
		return
	}
	stays := v.Stays()
	if len(stays) == 0 {
		// The user was only invited or knocked, or was banned from outside: there is only the end of it to tell.
		rm.full = false
		rm.fresh = rm.fresh && (rm.sent == nil || rm.sent.full)
		rm.longer, rm.added = false, nil
		rm.say = rm.sent == nil || rm.position > rm.told
		return
	}
	last := stays[len(stays)-1]
	if last.Since > rm.told {
		rm.fresh, rm.say = true, true
	}
	if rm.ended() {
		rm.stateUpTo = min(last.Until, rm.position)
	} else if !rm.fresh && !rm.longer && last.Since <= rm.told {
		rm.visible = nil // a change of the profile
	}
}

// dropSilent takes out rooms in which something happened that the client need not know.
func (b *slide) dropSilent() error {
	for _, rm := range b.rooms {
		if rm.full && !rm.fresh {
			rm.say = len(rm.events) > 0 || rm.limited || rm.expanded || len(rm.changes) > 0 || len(rm.state) > 0 || rm.dm != rm.sent.dm ||
				b.readings.changed(rm.listedRoom, rm.told)
		}
	}
	return nil
}

// loadStamps finds the rooms' bump stamps.
//
// Spec: MSC4186, RoomResult, bump_stamp
func (b *slide) loadStamps() error {
	var nids []int64
	for _, rm := range b.rooms {
		rm.bump = rm.position
		if rm.say && rm.value == memberJoin {
			nids = append(nids, rm.nid)
		}
	}
	stamps, err := b.s.hub.bumpStamps(b.ctx, nids)
	for nid, at := range stamps {
		b.found[nid].bump = at
	}
	return err
}

// sent returns what the state has to say after the answer, nil if it says that already. missed reports whether something
// happened in a room that the answer is not about, so that the room is not live any more.
func (b *slide) sent() (rooms map[int64]*sentRoom, missed bool) {
	set := func(nid int64, s *sentRoom) {
		if old := b.base.rooms[nid]; old != nil && old.same(s) {
			return
		}
		if rooms == nil {
			rooms = maps.Clone(b.base.rooms)
		}
		rooms[nid] = s
	}
	for _, rm := range b.rooms {
		if s := b.sentNow(rm); s != nil {
			set(rm.nid, s)
		}
	}
	for _, m := range b.all {
		if m.sent == nil || m.sent.at != 0 || b.found[m.nid] != nil {
			continue
		}
		if max(m.activity, m.position) > b.since || b.extensions.missed(b, m) || b.readings.changed(m, b.since) {
			s := *m.sent
			s.at = b.since
			set(m.nid, &s)
			missed = true
		}
	}
	return rooms, missed || b.extensions.lost
}

// sentNow is what the client knows of a room after the answer.
func (b *slide) sentNow(rm *slidingRoom) *sentRoom {
	told := b.toldOf(rm)
	if !rm.say {
		if rm.sent == nil {
			return nil
		}
		// Nothing happened: what was told up to an earlier position holds now.
		s := *rm.sent
		s.at, s.told = 0, told
		if len(rm.addedParts()) > 0 {
			s.config = rm.want.hashes
		}
		if rm.longer {
			s.limit = rm.want.limit
		}
		return &s
	}
	s := &sentRoom{full: rm.full, dm: rm.dm, told: told}
	if !rm.full {
		return s
	}
	s.limit, s.config = rm.want.limit, rm.want.hashes
	start := int64(math.MaxInt64)
	if len(rm.events) > 0 {
		start = rm.events[0].Position
	}
	switch {
	case rm.limited:
		s.from = min(start, rm.upTo+1)
	case !rm.fresh && !rm.expanded:
		s.limit, s.from = max(s.limit, rm.sent.limit), rm.sent.from
	}
	s.members = rm.shown
	if !rm.fresh {
		if s.members = rm.sent.members; len(rm.shown) > 0 {
			s.members = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(s.members), rm.shown...))))
		}
	}
	if len(s.members) > limits.SlidingMembers {
		s.members = rm.shown[:min(len(rm.shown), limits.SlidingMembers)]
	}
	return s
}
