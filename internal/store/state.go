package store

import (
	"context"
	"database/sql"
	"math"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// CurrentState is the position to ask for the present state of a room.
const CurrentState int64 = math.MaxInt64 - 1

// StateEntry says which event is a room's state for a type and state key.
type StateEntry struct {
	RoomNID       int64
	Type          string
	StateKey      string
	Since         int64
	EventPosition int64
	EventID       matrix.EventID
	// Membership is content.membership of m.room.member, else empty.
	Membership string
}

const stateColumns = `s.room_nid, s.type, s.state_key, s.since, s.event_position, s.event_id, coalesce(s.membership, '')`

func scanState(rows *sql.Rows) (StateEntry, error) {
	var e StateEntry
	err := rows.Scan(&e.RoomNID, &e.Type, &e.StateKey, &e.Since, &e.EventPosition, &e.EventID, &e.Membership)
	return e, err
}

// ListState returns the whole state of a room at a position: after the event at that position.
func (s *Store) ListState(ctx context.Context, room, position int64) ([]StateEntry, error) {
	rows, err := s.query(ctx, `
		SELECT `+stateColumns+` FROM room_state s
		WHERE s.room_nid = $1 AND s.until > $2 AND s.since <= $2`, room, position)
	return scanAll(rows, err, scanState)
}

// StateKey is a type and a state key.
type StateKey struct {
	Type string
	Key  string
}

// ListStateKeys returns those of the keys that a room has state for at a position.
func (s *Store) ListStateKeys(ctx context.Context, room, position int64, keys []StateKey) ([]StateEntry, error) {
	types, stateKeys := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		types[i], stateKeys[i] = k.Type, k.Key
	}
	rows, err := s.query(ctx, `
		SELECT `+stateColumns+`
		FROM unnest($3::text[], $4::text[]) AS wanted (type, key)
		CROSS JOIN LATERAL (
			SELECT room_nid, type, state_key, since, until, event_position, event_id, membership FROM room_state
			WHERE room_nid = $1 AND type = wanted.type AND state_key = wanted.key AND since <= $2
			ORDER BY since DESC LIMIT 1
		) s
		WHERE s.until > $2`, room, position, pq.Array(types), pq.Array(stateKeys))
	return scanAll(rows, err, scanState)
}

// ListStateEvents returns the events that are the state of a room at a position. Without types all; with types only those;
// notMembers leaves m.room.member out.
func (s *Store) ListStateEvents(ctx context.Context, room, position int64, types []string, notMembers bool) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM room_state s JOIN events ON events.position = s.event_position JOIN rooms ON rooms.room_nid = s.room_nid
		WHERE s.room_nid = $1 AND s.until > $2 AND s.since <= $2
			AND ($3::text[] IS NULL OR s.type = ANY ($3)) AND NOT ($4 AND s.type = 'm.room.member')
		ORDER BY s.since`, room, position, pq.Array(types), notMembers)
	return scanAll(rows, err, scanEvent)
}

// ListStateEventsFor returns the state events of a room at a position for the given keys.
func (s *Store) ListStateEventsFor(ctx context.Context, room, position int64, keys []StateKey) ([]Event, error) {
	entries, err := s.ListStateKeys(ctx, room, position, keys)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	positions := make([]int64, len(entries))
	for i, e := range entries {
		positions[i] = e.EventPosition
	}
	return s.ListEventsAt(ctx, positions)
}

// GetStateEvent returns the state event of a room at a position for one key, or ErrNotFound.
func (s *Store) GetStateEvent(ctx context.Context, room, position int64, typ, key string) (Event, error) {
	return one(s.ListStateEventsFor(ctx, room, position, []StateKey{{typ, key}}))
}

// ListStateChanges returns the events that changed the state of a room with after < position <= upTo and are still its state
// at upTo.
func (s *Store) ListStateChanges(ctx context.Context, room, after, upTo int64) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM room_state s JOIN events ON events.position = s.event_position JOIN rooms ON rooms.room_nid = s.room_nid
		WHERE s.room_nid = $1 AND s.since > $2 AND s.since <= $3 AND s.until > $3
		ORDER BY s.since`, room, after, upTo)
	return scanAll(rows, err, scanEvent)
}

// ListBans returns the member events of those who are banned from a room, in the order of user ids, from the one that follows after, at most
// limit.
func (s *Store) ListBans(ctx context.Context, room int64, after matrix.UserID, limit int) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM memberships m
		JOIN events ON events.position = m.position
		JOIN rooms ON rooms.room_nid = m.room_nid
		WHERE m.room_nid = $1 AND m.membership = 'ban' AND m.user_id > $2
		ORDER BY m.user_id LIMIT $3`, room, string(after), limit)
	return scanAll(rows, err, scanEvent)
}

// ListMembersAt returns the membership entries of a room at a position, with one of the memberships, or all if none is given.
func (s *Store) ListMembersAt(ctx context.Context, room, position int64, memberships []string) ([]StateEntry, error) {
	rows, err := s.query(ctx, `
		SELECT `+stateColumns+` FROM room_state s
		WHERE s.room_nid = $1 AND s.type = 'm.room.member' AND s.until > $2 AND s.since <= $2
			AND ($3::text[] IS NULL OR s.membership = ANY ($3))`, room, position, pq.Array(memberships))
	return scanAll(rows, err, scanState)
}
