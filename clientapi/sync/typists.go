package sync

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// typists are who was last heard of typing in a room.
type typists struct {
	// complete: what was said before this process began to listen is in it.
	complete bool
	byUser   map[matrix.UserID]typist
}

type typist struct {
	position int64
	until    matrix.Timestamp
}

// maxTypists bounds what is remembered of one room: beyond it those who have ceased to type are dropped.
const maxTypists = 200

// observe is called with hub.mu held. What is older than what is known changes nothing.
func (t *typists) observe(up *store.Update) {
	if have, ok := t.byUser[up.UserID]; ok && have.position >= up.Position {
		return
	}
	if t.byUser == nil {
		t.byUser = make(map[matrix.UserID]typist)
	}
	if len(t.byUser) >= maxTypists && t.complete {
		for id, have := range t.byUser {
			if have.until == 0 {
				delete(t.byUser, id)
			}
		}
	}
	t.byUser[up.UserID] = typist{up.Position, typingUntil(up)}
}

func typingUntil(up *store.Update) matrix.Timestamp {
	return matrix.Timestamp(gjson.GetBytes(up.Body, "until").Int())
}

// now lists those who still type, sorted.
func (t *typists) now(now matrix.Timestamp) []string {
	var users []string
	for id, have := range t.byUser {
		if have.until > now {
			users = append(users, string(id))
		}
	}
	slices.Sort(users)
	return users
}

// typing returns who types in the rooms now.
func (s *Server) typing(ctx context.Context, nids []int64) (map[int64][]string, error) {
	var missing []int64
	s.hub.mu.RLock()
	for _, nid := range nids {
		if r := s.hub.rooms[nid]; r == nil || !r.typing.complete {
			missing = append(missing, nid)
		}
	}
	s.hub.mu.RUnlock()
	var read []store.Update
	if len(missing) > 0 {
		var err error
		read, err = once(ctx, s, "typing", missing, func(ctx context.Context) ([]store.Update, error) {
			return s.cfg.Store.ListRoomUpdates(ctx, missing, store.KindTyping, 0, store.CurrentState)
		})
		if err != nil {
			return nil, fmt.Errorf("load typing: %w", err)
		}
	}
	return s.hub.typingNow(nids, missing, read), nil
}

// typingNow lists who types in the rooms, after what was read of those that were missing has been remembered.
func (h *hub) typingNow(nids, missing []int64, read []store.Update) map[int64][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	unwatched := make(map[int64]*typists)
	of := func(nid int64) *typists {
		if r := h.rooms[nid]; r != nil {
			return &r.typing
		}
		if unwatched[nid] == nil {
			unwatched[nid] = new(typists)
		}
		return unwatched[nid]
	}
	for i := range read {
		of(read[i].RoomNID).observe(&read[i])
	}
	for _, nid := range missing {
		of(nid).complete = true
	}
	now := matrix.TimestampOf(h.clock.Now())
	all := make(map[int64][]string, len(nids))
	for _, nid := range nids {
		all[nid] = of(nid).now(now)
	}
	return all
}
