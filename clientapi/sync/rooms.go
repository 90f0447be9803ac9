package sync

import (
	"fmt"
	"math"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// room is a joined or left room of an answer.
type room struct {
	roomMembership
	left bool
	// fresh: the client knows nothing of the room, or nothing of use, because the user has just joined it.
	fresh bool
	// stranger: the user never was a member within the window, only invited or knocking. All there is to tell is the end of it.
	stranger bool
	// again: the user was a member before, and left, and came back.
	again bool
	// visible is nil where the user was a member all along and may see everything.
	visible *roomserver.Visibility

	// after < position <= upTo is the timeline; stateAfter < position <= stateUpTo what the state is told of.
	after, upTo           int64
	stateAfter, stateUpTo int64

	events   []*store.Event // the timeline, oldest first
	limited  bool
	previous int64 // prev_batch

	changes []*store.StateChange // of the window, or the whole state
	state   []*store.Event       // what is told of it

	summary  *summary
	receipts []*store.Update
	// typing is told: when something changed.
	typing      bool
	typists     []string
	accountData []*store.Update
	// sticky are events that are told beside the timeline.
	sticky []*store.Event
	// read: the user has read something, so that the counts are others.
	read bool
	// all: the room is told of even if nothing happened.
	all bool
}

// speaks reports whether there is anything to tell of the room.
func (rm *room) speaks() bool {
	return rm.all || rm.fresh || rm.stranger || len(rm.events) > 0 || rm.limited || len(rm.state) > 0 || rm.summary != nil ||
		len(rm.receipts) > 0 || len(rm.sticky) > 0 || rm.read || rm.typing || len(rm.accountData) > 0
}

// start is the position of the first event of the timeline, or behind the window.
func (rm *room) start() int64 {
	if len(rm.events) > 0 && rm.events[0].Position <= rm.stateUpTo {
		return rm.events[0].Position
	}
	return rm.stateUpTo + 1
}

// chooseRooms decides which rooms the answer may be about, in which section, and from which position on.
func (b *build) chooseRooms() error {
	if err := b.endBeforeHidden(); err != nil {
		return err
	}
	visible, err := b.loadVisibilities()
	if err != nil {
		return err
	}
	for _, m := range b.memberships {
		if !b.r.filter.Room.MatchRoom(m.room) {
			continue
		}
		switch m.value {
		case memberJoin:
			b.rooms = append(b.rooms, b.joined(m, visible[m.nid]))
		case memberInvite, memberKnock:
			b.invite(m)
		default:
			if v := visible[m.nid]; v != nil {
				if rm := b.left(m, v); rm != nil {
					b.rooms = append(b.rooms, rm)
				}
			}
		}
	}
	return nil
}

func (b *build) endBeforeHidden() error {
	var hidden []*roomMembership
	for i := range b.memberships {
		if m := &b.memberships[i]; !b.first() && b.changed(m) && isHidden(b.policy, m) {
			hidden = append(hidden, m)
		}
	}
	return b.s.endBefore(b.ctx, b.e.id, hidden)
}

// changed reports whether the user's membership may have changed within the window.
func (b *build) changed(m *roomMembership) bool { return m.position > b.since }

// loadVisibilities reads what the user may see of those rooms in which the user was not simply a member all along.
func (b *build) loadVisibilities() (map[int64]*roomserver.Visibility, error) {
	if b.wantsLeft() {
		if err := b.dropForgotten(); err != nil {
			return nil, err
		}
	}
	var nids []int64
	for i := range b.memberships {
		m := &b.memberships[i]
		switch m.value {
		case memberInvite, memberKnock:
			continue
		case memberJoin:
			if !b.changed(m) {
				continue
			}
		default:
			if !b.wantsLeft() && (b.first() || !b.changed(m)) {
				continue
			}
		}
		if b.r.filter.Room.MatchRoom(m.room) {
			nids = append(nids, m.nid)
		}
	}
	visible, err := b.s.cfg.Rooms.Visibilities(b.ctx, nids, b.e.id)
	if err != nil {
		return nil, fmt.Errorf("choose rooms: %w", err)
	}
	return visible, nil
}

// wantsLeft reports whether the answer has the rooms that the user left at any time.
func (b *build) wantsLeft() bool {
	return b.r.filter.Room.IncludeLeave && (b.first() || b.r.fullState)
}

// dropForgotten takes out rooms that the user has forgotten since the user was loaded; nothing in the journal says so.
func (b *build) dropForgotten() error {
	list, err := b.s.cfg.Store.ListMemberships(b.ctx, b.e.id)
	if err != nil {
		return fmt.Errorf("load memberships: %w", err)
	}
	known := make(map[int64]struct{}, len(list))
	for _, m := range list {
		known[m.RoomNID] = struct{}{}
	}
	kept := b.memberships[:0]
	for _, m := range b.memberships {
		if _, ok := known[m.nid]; ok || m.value == memberJoin {
			kept = append(kept, m)
		}
	}
	b.memberships = kept
	return nil
}

// joined is a room that the user is in.
func (b *build) joined(m roomMembership, v *roomserver.Visibility) *room {
	rm := &room{roomMembership: m, after: b.since, upTo: b.now, stateAfter: b.since, stateUpTo: b.now, all: b.r.fullState}
	if v != nil {
		stays := v.Stays()
		if n := len(stays); n > 0 {
			rm.again = n > 1
			rm.fresh = b.first() || stays[n-1].Since > b.since
		}
	}
	if rm.fresh {
		rm.visible = v
		rm.after, rm.stateAfter = 0, 0
	}
	if b.r.fullState {
		rm.stateAfter = 0
	}
	return rm
}

// left is a room that the user has left, or was kept out of; nil if there is nothing to tell.
//
// The timeline ends with the event that ended the membership, and what became of the membership later: who was kicked and then
// banned learns of both, and of nothing between.
func (b *build) left(m roomMembership, v *roomserver.Visibility) *room {
	rm := &room{roomMembership: m, left: true, visible: v, upTo: m.position}
	stay := roomserver.Stay{Since: math.MaxInt64}
	for _, st := range v.Stays() {
		if st.Until > b.since || b.wantsLeft() {
			stay = st
		}
	}
	switch {
	case stay.Since == math.MaxInt64:
		if !b.changed(&m) || b.first() {
			return nil // what never was a membership is told once
		}
		rm.stranger = true
		rm.after = m.position - 1
		rm.stateAfter, rm.stateUpTo = m.position, m.position
		return rm
	case b.first() || stay.Since > b.since:
		rm.fresh = true
	default:
		rm.after, rm.stateAfter = b.since, b.since
	}
	rm.stateUpTo = min(stay.Until, m.position)
	if b.r.fullState {
		rm.stateAfter, rm.all = 0, true
	}
	return rm
}
