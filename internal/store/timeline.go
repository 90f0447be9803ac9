package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// PreviousState is the state event that another one replaced.
type PreviousState struct {
	// ReplacedAt is the position of the event that replaced it.
	ReplacedAt    int64
	EventPosition int64
	EventID       matrix.EventID
	JSON          []byte
}

const listPreviousStates = `
	SELECT s.until, s.event_position, s.event_id, events.json
	FROM unnest($1::bigint[], $2::bigint[]) AS wanted (room, position)
	JOIN room_state s ON s.room_nid = wanted.room AND s.until = wanted.position
	JOIN events ON events.position = s.event_position`

// ListPreviousStates returns what the state events at the given positions replaced; rooms[i] is the room of positions[i]. Events that
// replaced nothing have no entry.
func (s *Store) ListPreviousStates(ctx context.Context, rooms, positions []int64) ([]PreviousState, error) {
	rows, err := ask(ctx, s.listPreviousStates, pq.Array(rooms), pq.Array(positions))
	return scanAll(rows, err, func(rows *sql.Rows) (PreviousState, error) {
		var p PreviousState
		err := rows.Scan(&p.ReplacedAt, &p.EventPosition, &p.EventID, &p.JSON)
		return p, err
	})
}

// ListRedactions returns the events with the given ids, whichever their rooms: the ids come from Event.RedactedBy.
func (s *Store) ListRedactions(ctx context.Context, ids []matrix.EventID) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+` FROM events JOIN rooms USING (room_nid) WHERE event_id = ANY ($1)`, stringArray(ids))
	return scanAll(rows, err, scanEvent)
}

// ListMemberEvents returns the member events that are a room's state at a position, with one of the memberships, or all if none
// is given; oldest first.
func (s *Store) ListMemberEvents(ctx context.Context, room, position int64, memberships []string) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM room_state s JOIN events ON events.position = s.event_position JOIN rooms ON rooms.room_nid = s.room_nid
		WHERE s.room_nid = $1 AND s.type = 'm.room.member' AND s.until > $2 AND s.since <= $2
			AND ($3::text[] IS NULL OR s.membership = ANY ($3))
		ORDER BY s.since`, room, position, pq.Array(memberships))
	return scanAll(rows, err, scanEvent)
}

// GetEventNear returns the room's first event at or after ts, or the last one at or before it, as far as it may be seen; or
// ErrNotFound. Of several with the same time it is the one nearest to the others on that side.
func (s *Store) GetEventNear(ctx context.Context, room int64, ts matrix.Timestamp, forwards bool, sight Sight) (Event, error) {
	side := `origin_server_ts <= $2 ORDER BY origin_server_ts DESC, position DESC`
	if forwards {
		side = `origin_server_ts >= $2 ORDER BY origin_server_ts, position`
	}
	sights := sight.multirange()
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM (
			SELECT position FROM events
			WHERE room_nid = $1 AND ($3::text IS NULL OR $3::text::int8multirange @> position) AND `+side+` LIMIT 1
		) near
		JOIN events USING (position) JOIN rooms USING (room_nid)`, room, int64(ts), sights)
	return one(scanAll(rows, err, scanEvent))
}
