package roomserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// mayGrow refuses a state event that would make the room larger than a room may be. What is there already may still change, and whoever
// is in the room may still leave.
//
// Counting is dear in a large room: while a room is far from its bounds it may grow by a part of what is left before it is counted again.
func (s *Server) mayGrow(ctx context.Context, room Info, typ, key string) error {
	members := typ == spec.MRoomMember
	bound := limits.RoomState
	if members {
		bound = limits.RoomMembers
	}
	t := s.tips.get(room)
	if t.spend(members, 1) {
		return nil
	}
	n, err := s.cfg.Store.CountRoomEntries(ctx, room.NID, members, bound)
	if err != nil {
		return fmt.Errorf("count what %s holds: %w", room.ID, err)
	}
	if n < bound {
		t.spend(members, -(bound-n)/limits.RoomSizeStep)
		return nil
	}
	if there, err := s.hasEntry(ctx, room, typ, key); there || err != nil {
		return err
	}
	if members {
		return matrix.Forbidden("the room is full: it may have %d members", bound)
	}
	return matrix.Forbidden("the room may have no more than %d state events", bound)
}

// hasEntry reports whether the state event would replace one that counts.
func (s *Server) hasEntry(ctx context.Context, room Info, typ, key string) (bool, error) {
	var err error
	membership := ""
	if typ == spec.MRoomMember {
		var m store.Membership
		m, err = s.cfg.Store.GetMembership(ctx, room.NID, matrix.UserID(key))
		membership = m.Membership
	} else {
		_, err = s.cfg.Store.GetStateEvent(ctx, room.NID, store.CurrentState, typ, key)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("look up state of %s: %w", room.ID, err)
	}
	return err == nil && membership != spec.Leave, nil
}

// spend takes n of what the room may grow by before it has to be counted, and reports whether there was as much. Other than the rest of
// the tip it stays when the tip is emptied.
func (t *tip) spend(members bool, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := &t.freeState
	if members {
		free = &t.freeMembers
	}
	if *free < n {
		return false
	}
	*free -= n
	return true
}
