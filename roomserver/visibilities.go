package roomserver

import (
	"context"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
)

// Visibilities is Visibility for many rooms at once, in one query.
//
// Spec: client-server v1.19 §room-history-visibility
func (s *Server) Visibilities(ctx context.Context, nids []int64, user matrix.UserID) (map[int64]*Visibility, error) {
	all := make(map[int64]*Visibility, len(nids))
	if len(nids) == 0 {
		return all, nil
	}
	spans, err := s.cfg.Store.ListVisibilityHistories(ctx, nids, user)
	if err != nil {
		return nil, fmt.Errorf("load history visibilities: %w", err)
	}
	for _, nid := range nids {
		all[nid] = &Visibility{}
	}
	for _, sp := range spans {
		v := all[sp.RoomNID]
		if sp.Type == spec.MRoomMember {
			v.members = append(v.members, span{sp.Since, sp.Until, sp.Membership})
		} else {
			v.history = append(v.history, span{sp.Since, sp.Until, gjson.GetBytes(sp.JSON, "content.history_visibility").String()})
		}
	}
	return all, nil
}

// Stay is a time in which a user was a member of a room: after the event at Since up to and including that at Until, with which the
// user left. Until is the largest number while the user is there.
type Stay struct {
	Since, Until int64
}

// Stays returns when the user was a member of the room, oldest first. Changes of the profile do not end a stay.
func (v *Visibility) Stays() []Stay {
	var stays []Stay
	for _, m := range v.members {
		if m.value != spec.Join {
			continue
		}
		if n := len(stays); n > 0 && stays[n-1].Until == m.since {
			stays[n-1].Until = m.until
			continue
		}
		stays = append(stays, Stay{m.since, m.until})
	}
	return stays
}

// Before is the user's membership that the event at position ended, and the position of the event that had brought it: leave and 0
// when there was none.
func (v *Visibility) Before(position int64) (membership string, since int64) {
	for _, m := range v.members {
		if m.until == position {
			return m.value, m.since
		}
	}
	return spec.Leave, 0
}
