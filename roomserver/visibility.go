package roomserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// History visibilities. Anything else counts as shared.
const (
	worldReadable = "world_readable"
	shared        = "shared"
	invited       = "invited"
	joined        = "joined"
)

// Visibility says which events of a room a user may see.
//
// Spec: client-server v1.19 §room-history-visibility
type Visibility struct {
	history []span // m.room.history_visibility
	members []span // the user's membership
}

// span is a value that held for since <= position < until.
type span struct {
	since, until int64
	value        string
}

func valueAt(spans []span, position int64) string {
	for i := len(spans) - 1; i >= 0; i-- {
		if spans[i].since <= position {
			if position < spans[i].until {
				return spans[i].value
			}
			return ""
		}
	}
	return ""
}

// Visibility returns what the user may see of the room. That the world may read counts for users of the room's organisation alone, and
// not for guests: to others the store says "shared" in its place. It reads the history of two state keys, once for all events.
func (s *Server) Visibility(ctx context.Context, nid int64, user matrix.UserID) (*Visibility, error) {
	all, err := s.Visibilities(ctx, []int64{nid}, user)
	return all[nid], err
}

// MembershipAt is the user's membership after the event at position, "leave" when there was none.
func (v *Visibility) MembershipAt(position int64) string {
	if m := valueAt(v.members, position); m != "" {
		return m
	}
	return spec.Leave
}

// EverJoined reports whether the user has ever been a member.
func (v *Visibility) EverJoined() bool {
	return v.joinedAfter(0)
}

// joinedAfter reports whether the user was a member at some time after position.
func (v *Visibility) joinedAfter(position int64) bool {
	for _, m := range v.members {
		if m.value == spec.Join && m.until > position+1 {
			return true
		}
	}
	return false
}

// CanSee reports whether the user may see the event at position. For the events that change visibility or the user's own
// membership the more generous of before and after counts; for all others the two are the same.
func (v *Visibility) CanSee(position int64) bool {
	return v.allowed(position-1) || v.allowed(position)
}

// Stranger is what somebody sees who has never had to do with the room.
func (v *Visibility) Stranger() *Visibility { return &Visibility{history: v.history} }

// allowed applies the rules to the state after position.
func (v *Visibility) allowed(position int64) bool {
	membership := v.MembershipAt(position)
	switch visibility := valueAt(v.history, position); visibility {
	case worldReadable:
		return true
	case joined:
		return membership == spec.Join
	case invited:
		return membership == spec.Join || membership == spec.Invite
	default:
		return membership == spec.Join || v.joinedAfter(position)
	}
}

// SeesAll reports whether every event with after < position <= upTo may be seen, so that nobody need look at each: the user
// was a member all along, or the room showed everything.
func (v *Visibility) SeesAll(after, upTo int64) bool {
	for _, m := range v.members {
		if m.value == spec.Join && m.since <= after && m.until > upTo {
			return true
		}
	}
	for _, h := range v.history {
		open := h.value == worldReadable || (h.value != joined && h.value != invited && v.MembershipAt(upTo) == spec.Join)
		if open && h.since <= after && h.until > upTo {
			return true
		}
	}
	return false
}

// MayRead returns up to which position the user may read the room's state and members: a member up to now
// (store.CurrentState), a former member up to the end of the membership, anybody up to now where the world may read.
// Otherwise M_FORBIDDEN, for rooms that do not exist too. The world is the room's organisation without its guests.
func (s *Server) MayRead(ctx context.Context, id matrix.RoomID, who Viewer) (Info, int64, error) {
	forbidden := matrix.Forbidden("you are not in this room")
	room, err := s.Room(ctx, id)
	if _, notFound := matrix.AsError(err); notFound {
		return Info{}, 0, forbidden
	}
	if err != nil {
		return Info{}, 0, err
	}
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, who.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Info{}, 0, fmt.Errorf("load membership: %w", err)
	}
	if err == nil && m.Membership == spec.Join {
		return room, store.CurrentState, nil
	}
	v, verr := s.Visibility(ctx, room.NID, who.User)
	if verr != nil {
		return Info{}, 0, verr
	}
	if valueAt(v.history, store.CurrentState) == worldReadable && who.Inside(room) {
		return room, store.CurrentState, nil
	}
	if err == nil && !m.Forgotten {
		for i := len(v.members) - 1; i >= 0; i-- {
			if v.members[i].value == spec.Join {
				return room, v.members[i].until, nil
			}
		}
	}
	return Info{}, 0, forbidden
}
