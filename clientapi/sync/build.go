package sync

import (
	"context"
	stdsync "sync"

	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/clientapi/invites"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// build makes one answer: what a client that knows everything up to since is told about everything up to now. Since is -1
// when the client knows nothing.
type build struct {
	s     *Server
	ctx   context.Context
	r     *request
	e     *user
	since int64
	// toDeviceAfter is up to where the device has been sent its messages.
	toDeviceAfter int64

	now     int64
	ignored map[matrix.UserID]struct{}
	policy  invites.Policy
	// memberships are those that the answer may be about: all, or with ring those that something happened to.
	memberships []roomMembership
	// ring: the window's entries are in rooms and updates below, and the database need not be asked for them.
	ring    bool
	events  map[int64][]*store.Event
	updates []*store.Update

	rooms   []*room
	invites []*invitation
	// members are the member events that are loaded lazily, by the rooms' numbers.
	members map[int64][]*store.Event

	// unread are the counts of the joined rooms. recount: the user's rules changed, so that all rooms' are told.
	unread      map[int64]Unread
	recount     bool
	accountData []*store.Update
	presence    []*store.Update
	// toDevice are messages for the device, all up to toDeviceReached.
	toDevice        []store.ToDeviceMessage
	toDeviceReached int64

	devicesChanged, devicesLeft []matrix.UserID
	counts                      *keyCounts
}

// roomMembership is a membership with the room that it is of.
type roomMembership struct {
	nid int64
	membership
}

// first reports whether the client knows nothing.
func (b *build) first() bool { return b.since < 0 }

// run returns the answer, or nil if there is nothing in it and nobody wants an empty one.
func (b *build) run() (any, error) {
	err := inOrder(b.gather, b.chooseRooms, b.loadRooms, b.addMembers, b.loadPresence, b.loadEncryption, b.loadToDevice)
	if err != nil {
		return nil, err
	}
	b.dropSilentRooms()
	if err := b.loadUnread(); err != nil {
		return nil, err
	}
	if b.empty() && !b.r.immediate() {
		return nil, nil
	}
	body, err := b.write()
	if err != nil {
		return nil, err
	}
	b.rememberMembers()
	return httpapi.Raw(body), nil
}

// loadRooms reads what is to be told of the rooms. Who knows nothing yet is told of all rooms, which is a lot of reading: what does
// not depend on the timelines is read beside them.
func (b *build) loadRooms() error {
	beside := []func() error{b.loadSummaries, b.loadEphemeral, b.loadAccountData, b.loadInvites}
	if !b.first() {
		return inOrder(append(append([]func() error{b.loadTimelines, b.loadState, b.loadSticky}, beside...), b.loadMembers)...)
	}
	var g errgroup.Group
	var timelines stdsync.WaitGroup
	timelines.Add(1)
	g.Go(func() error {
		err := b.loadTimelines()
		timelines.Done()
		if err != nil {
			return err
		}
		return inOrder(b.loadState, b.loadSticky)
	})
	g.Go(func() error {
		if err := inOrder(beside...); err != nil {
			return err
		}
		timelines.Wait()
		return b.loadMembers()
	})
	return g.Wait()
}

// inOrder runs the steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (b *build) empty() bool {
	return len(b.rooms) == 0 && len(b.invites) == 0 && len(b.accountData) == 0 && len(b.presence) == 0 && len(b.toDevice) == 0 &&
		len(b.devicesChanged) == 0 && len(b.devicesLeft) == 0 && b.counts.changed <= b.since
}

// dropSilentRooms leaves out rooms of which there is nothing to tell.
func (b *build) dropSilentRooms() {
	kept := b.rooms[:0]
	for _, rm := range b.rooms {
		if rm.speaks() || b.recount && !rm.left {
			kept = append(kept, rm)
		}
	}
	b.rooms = kept
}

// inRing reports whether what happened in the room's window has been taken from the ring.
func (b *build) inRing(rm *room) bool { return b.ring && !rm.fresh && !rm.stranger }
