package sync

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// maxHeroes is how many members a room without a name is called by.
const maxHeroes = 5

// summary is what /sync says of a room's members.
//
// Spec: client-server v1.19 §syncing, RoomSummary
type summary struct {
	joined, invited int
	// unnamed: the room has no name, so sliding sync tells heroes; nameless: it has no canonical alias either, so /sync does.
	unnamed, nameless bool
	heroes, gone      []matrix.UserID
}

// heroesFor are the heroes as one of the members is told them: without himself. They are nil if the room has a name.
func (s *summary) heroesFor(user matrix.UserID) []matrix.UserID {
	if !s.nameless {
		return nil
	}
	return s.othersThan(user)
}

// othersThan are the members that a room is called by, without one of them.
func (s *summary) othersThan(user matrix.UserID) []matrix.UserID {
	for _, list := range [][]matrix.UserID{s.heroes, s.gone} {
		heroes := make([]matrix.UserID, 0, maxHeroes)
		for _, id := range list {
			if id != user && len(heroes) < maxHeroes {
				heroes = append(heroes, id)
			}
		}
		if len(heroes) > 0 {
			return heroes
		}
	}
	return []matrix.UserID{}
}

// loadSummaries finds the summaries of the rooms whose members or names changed.
func (b *build) loadSummaries() error {
	wanted := make(map[int64]*room)
	var nids []int64
	for _, rm := range b.rooms {
		if rm.left || !(rm.fresh || rm.all || slices.ContainsFunc(rm.changes, changesSummary)) {
			continue
		}
		wanted[rm.nid] = rm
		nids = append(nids, rm.nid)
	}
	if len(nids) == 0 {
		return nil
	}
	summaries, err := b.s.summaries(b.ctx, nids)
	if err != nil {
		return err
	}
	for nid, rm := range wanted {
		rm.summary = summaries[nid]
	}
	return nil
}

func changesSummary(c *store.StateChange) bool {
	return c.Type == typeMember || c.Type == "m.room.name" || c.Type == "m.room.canonical_alias"
}

// summaries returns the present summaries of rooms, from memory as far as it is right.
func (s *Server) summaries(ctx context.Context, nids []int64) (map[int64]*summary, error) {
	all := make(map[int64]*summary, len(nids))
	var missing []int64
	s.hub.mu.RLock()
	for _, nid := range nids {
		if r := s.hub.rooms[nid]; r != nil && r.summary != nil {
			all[nid] = r.summary
		} else {
			missing = append(missing, nid)
		}
	}
	s.hub.mu.RUnlock()
	if len(missing) == 0 {
		return all, nil
	}
	read, err := once(ctx, s, "summaries", missing, func(ctx context.Context) (map[int64]*summary, error) {
		return s.readSummaries(ctx, missing)
	})
	for nid, sum := range read {
		all[nid] = sum
	}
	return all, err
}

func (s *Server) readSummaries(ctx context.Context, nids []int64) (map[int64]*summary, error) {
	asOf := s.hub.now()
	list, err := s.cfg.Store.ListRoomSummaries(ctx, nids)
	if err != nil {
		return nil, fmt.Errorf("load summaries: %w", err)
	}
	all := make(map[int64]*summary, len(list))
	var unnamed []int64
	for _, r := range list {
		sum := &summary{joined: r.Joined, invited: r.Invited}
		if gjson.GetBytes(r.Name, "content.name").String() == "" {
			sum.unnamed = true
			sum.nameless = gjson.GetBytes(r.Alias, "content.alias").String() == ""
			unnamed = append(unnamed, r.RoomNID)
		}
		all[r.RoomNID] = sum
	}
	if len(unnamed) > 0 {
		heroes, err := s.cfg.Store.ListHeroes(ctx, unnamed, maxHeroes+1)
		if err != nil {
			return nil, fmt.Errorf("load heroes: %w", err)
		}
		for _, hero := range heroes {
			sum := all[hero.RoomNID]
			if hero.Gone {
				sum.gone = append(sum.gone, hero.UserID)
			} else {
				sum.heroes = append(sum.heroes, hero.UserID)
			}
		}
	}
	s.hub.keepSummaries(all, asOf)
	return all, nil
}

// keepSummaries remembers summaries that were read when the hub was at asOf. A room that changed since is read again.
func (h *hub) keepSummaries(all map[int64]*summary, asOf int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for nid, sum := range all {
		if r := h.rooms[nid]; r != nil && r.summaryAt <= asOf {
			r.summary = sum
		}
	}
}

// flightPatience bounds a query that several requests wait for.
const flightPatience = 20 * time.Second

// once makes one query of what many requests want to know at the same moment: an event in a room wakes all who are in it. The query
// does not end with the request that happens to make it. Long lists are hardly ever the same for two requests.
func once[T any](ctx context.Context, s *Server, what string, of []int64, read func(context.Context) (T, error)) (T, error) {
	if len(of) > 16 {
		return read(ctx)
	}
	key := []byte(what)
	for _, n := range of {
		key = binary.AppendVarint(key, n)
	}
	v, err, _ := s.flights.Do(string(key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightPatience)
		defer cancel()
		return read(ctx)
	})
	if err != nil {
		var none T
		return none, err
	}
	return v.(T), nil
}
