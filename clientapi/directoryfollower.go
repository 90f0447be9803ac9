package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
)

// directoryFollower is the name under which one process keeps the directories up to date.
const directoryFollower = "directory"

// roomChunk is what is told of a room to those who are not in it.
type roomChunk struct {
	RoomID           matrix.RoomID `json:"room_id"`
	Name             string        `json:"name,omitempty"`
	Topic            string        `json:"topic,omitempty"`
	CanonicalAlias   string        `json:"canonical_alias,omitempty"`
	AvatarURL        string        `json:"avatar_url,omitempty"`
	JoinRule         string        `json:"join_rule,omitempty"`
	RoomType         string        `json:"room_type,omitempty"`
	NumJoinedMembers int           `json:"num_joined_members"`
	WorldReadable    bool          `json:"world_readable"`
	GuestCanJoin     bool          `json:"guest_can_join"`
}

func chunkOf(m *roomserver.Summary) roomChunk {
	return roomChunk{
		RoomID: m.Room.ID, Name: m.Name, Topic: m.Topic, CanonicalAlias: m.CanonicalAlias, AvatarURL: m.AvatarURL,
		JoinRule: m.JoinRule, RoomType: m.Type, NumJoinedMembers: m.Joined, WorldReadable: m.WorldReadable, GuestCanJoin: m.GuestCanJoin,
	}
}

// publish puts a room into the directory.
//
// Why the row comes before what is listed of the room: an event that comes after the room was read finds the row, and the follower reads
// the room again.
func (s *Server) publish(ctx context.Context, room roomserver.Info) error {
	if _, err := s.store.InsertPublishedRoom(ctx, room.NID, room.OrganisationID); err != nil {
		return fmt.Errorf("publish %s: %w", room.ID, err)
	}
	return s.listRooms(ctx, []roomserver.Info{room})
}

// listRooms reads published rooms anew.
func (s *Server) listRooms(ctx context.Context, rooms []roomserver.Info) error {
	position, err := s.store.GetPosition(ctx)
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	summaries, err := s.rooms.Summaries(ctx, rooms)
	if err != nil {
		return err
	}
	list := make([]store.PublishedRoom, 0, len(summaries))
	for nid, m := range summaries {
		entry, err := json.Marshal(chunkOf(m))
		if err != nil {
			return fmt.Errorf("encode the entry of %s: %w", m.Room.ID, err)
		}
		list = append(list, store.PublishedRoom{
			RoomNID: nid, Position: position, Listed: m.Joined > 0, Joined: m.Joined, Type: m.Type,
			Entry: entry, Text: m.Name + " " + m.CanonicalAlias + " " + m.Topic,
		})
	}
	if err := s.store.PutPublishedRooms(ctx, list); err != nil {
		return fmt.Errorf("store what is listed of rooms: %w", err)
	}
	return nil
}

// runDirectory follows the journal until ctx ends: it reads published rooms again that have changed, and notes rooms in which users of
// several organisations meet.
func (s *Server) runDirectory(ctx context.Context) error {
	s.journal.Follow(ctx, journal.Follower{Name: directoryFollower, Handle: s.followDirectory, Rest: 200 * time.Millisecond})
	return nil
}

// directoryRest is the pause after a batch. Why: a room that fills up is read once for many joins, not once for each.
const directoryRest = 100 * time.Millisecond

func (s *Server) followDirectory(ctx context.Context, entries []journal.Entry) error {
	changed := map[int64]bool{}
	joins := map[int64]map[matrix.ServerName]bool{}
	for i := range entries {
		e := entries[i].Event
		if e == nil || e.StateKey == nil || !roomserver.ChangesSummary(e.Type) {
			continue
		}
		changed[e.RoomNID] = true
		if e.Type == typeMember && gjson.GetBytes(e.JSON, "content.membership").String() == joined {
			if joins[e.RoomNID] == nil {
				joins[e.RoomNID] = map[matrix.ServerName]bool{}
			}
			joins[e.RoomNID][matrix.UserID(*e.StateKey).Domain()] = true
		}
	}
	if len(changed) == 0 {
		return nil
	}
	if err := s.noteMixedRooms(ctx, joins); err != nil {
		return err
	}
	published, err := s.store.ListInDirectory(ctx, keysOf(changed))
	if err != nil {
		return fmt.Errorf("look rooms up in the directory: %w", err)
	}
	if len(published) > 0 {
		rooms, err := s.rooms.RoomsByNID(ctx, published)
		if err != nil {
			return err
		}
		if err := s.listRooms(ctx, rooms); err != nil {
			return err
		}
	}
	wake.Pause(ctx, directoryRest)
	return nil
}

func keysOf[K comparable, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// noteMixedRooms notes the rooms that somebody of another organisation, or of another server, has joined.
func (s *Server) noteMixedRooms(ctx context.Context, joins map[int64]map[matrix.ServerName]bool) error {
	if len(joins) == 0 {
		return nil
	}
	hosted, err := s.store.ListHostedDomains(ctx)
	if err != nil {
		return fmt.Errorf("list hosted domains: %w", err)
	}
	organisations := make(map[matrix.ServerName]int64, len(hosted))
	for _, d := range hosted {
		organisations[d.ServerName] = d.OrganisationID
	}
	rooms, err := s.store.ListRoomsByNID(ctx, keysOf(joins))
	if err != nil {
		return fmt.Errorf("load rooms: %w", err)
	}
	var mixed []int64
	for _, r := range rooms {
		for domain := range joins[r.NID] {
			if organisations[domain] != r.OrganisationID {
				mixed = append(mixed, r.NID)
				break
			}
		}
	}
	if len(mixed) == 0 {
		return nil
	}
	if err := s.store.InsertMixedRooms(ctx, mixed); err != nil {
		return fmt.Errorf("note rooms of several organisations: %w", err)
	}
	return nil
}
