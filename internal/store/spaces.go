package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// ListRoomsByID returns the rooms with the given ids, in no order.
func (s *Store) ListRoomsByID(ctx context.Context, ids []matrix.RoomID) ([]Room, error) {
	rows, err := s.query(ctx, `SELECT `+roomColumns+` FROM rooms WHERE room_id = ANY ($1)`, stringArray(ids))
	return scanAll(rows, err, func(rows *sql.Rows) (Room, error) { return scanRoom(rows.Scan) })
}

// ListMembershipsOf returns a user's present memberships of the given rooms.
func (s *Store) ListMembershipsOf(ctx context.Context, user matrix.UserID, rooms []matrix.RoomID) ([]Membership, error) {
	rows, err := s.query(ctx, `
		SELECT `+membershipColumns+` FROM rooms JOIN memberships m ON m.room_nid = rooms.room_nid AND m.user_id = $1
		WHERE rooms.room_id = ANY ($2)`, string(user), stringArray(rooms))
	return scanAll(rows, err, scanMembership)
}

// ListStateOfType returns the present state events of one type of each room, oldest first, at most limit a room.
func (s *Store) ListStateOfType(ctx context.Context, rooms []int64, typ string, limit int) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM unnest($1::bigint[]) AS wanted (nid)
		CROSS JOIN LATERAL (
			SELECT event_position FROM room_state
			WHERE room_nid = wanted.nid AND type = $2 AND until = 9223372036854775807
			ORDER BY since LIMIT $3
		) s
		JOIN events ON events.position = s.event_position
		JOIN rooms ON rooms.room_nid = wanted.nid
		ORDER BY events.position`, pq.Array(rooms), typ, limit)
	return scanAll(rows, err, scanEvent)
}

// SpaceWalk is a walk through a space that goes on with the next page.
type SpaceWalk struct {
	Token   string
	UserID  matrix.UserID
	RoomNID int64
	Walk    []byte
}

// InsertSpaceWalk keeps a walk until expires. Of a user's walks the newest ones are kept, at most kept.
func (s *Store) InsertSpaceWalk(ctx context.Context, w SpaceWalk, expires matrix.Timestamp, kept int) error {
	_, err := s.exec(ctx, `
		WITH old AS (
			DELETE FROM space_walks WHERE token IN (
				SELECT token FROM space_walks WHERE user_id = $2 ORDER BY expires_ts DESC OFFSET $6)
		)
		INSERT INTO space_walks (token, user_id, room_nid, walk, expires_ts) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`,
		w.Token, string(w.UserID), w.RoomNID, w.Walk, int64(expires), kept-1)
	return err
}

// GetSpaceWalk returns a walk of the user through the room's space, or ErrNotFound.
func (s *Store) GetSpaceWalk(ctx context.Context, token string, user matrix.UserID, room int64, now matrix.Timestamp) (SpaceWalk, error) {
	w := SpaceWalk{Token: token, UserID: user, RoomNID: room}
	err := s.queryRow(ctx, `
		SELECT walk FROM space_walks WHERE token = $1 AND user_id = $2 AND room_nid = $3 AND expires_ts > $4`,
		token, string(user), room, int64(now)).Scan(&w.Walk)
	return w, err
}

// DeleteSpaceWalksBefore forgets walks that ended before ts, at most limit.
func (s *Store) DeleteSpaceWalksBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM space_walks WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM space_walks WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}
