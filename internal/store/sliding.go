package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// SlidingConnection names a connection of sliding sync.
type SlidingConnection struct {
	User   matrix.UserID
	Device matrix.DeviceID
	ID     string
}

// SlidingState is one state of a connection.
type SlidingState struct {
	Version int64
	// Base is the version that it was made from, 0 for the first.
	Base   int64
	UsedTS matrix.Timestamp
	State  []byte
}

// GetSlidingState returns a state of a connection, or ErrNotFound.
func (s *Store) GetSlidingState(ctx context.Context, c SlidingConnection, version int64) (SlidingState, error) {
	st := SlidingState{Version: version}
	err := s.queryRow(ctx, `
		SELECT base, used_ts, state FROM sliding_states
		WHERE user_id = $1 AND device_id = $2 AND conn_id = $3 AND version = $4`,
		string(c.User), string(c.Device), c.ID, version).Scan(&st.Base, &st.UsedTS, &st.State)
	return st, err
}

// PutSlidingState stores a state of a connection, and reports false when the state that it was made from is gone. siblings are
// kept of those that were made from the same one; a device may have most connections. The commit does not wait for the disk.
func (s *Store) PutSlidingState(ctx context.Context, c SlidingConnection, st SlidingState, siblings, most int) (bool, error) {
	var stored bool
	err := s.queryRow(ctx, `SELECT sliding_put($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		string(c.User), string(c.Device), c.ID, st.Base, st.Version, int64(st.UsedTS), st.State, siblings, most).Scan(&stored)
	if IsUniqueViolation(err) {
		// The statement ran twice (see the package comment); nobody else has this version.
		return true, nil
	}
	return stored, err
}

// PutSlidingUsed notes that a connection is still used.
func (s *Store) PutSlidingUsed(ctx context.Context, c SlidingConnection, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		UPDATE sliding_states SET used_ts = $4 WHERE user_id = $1 AND device_id = $2 AND conn_id = $3 AND used_ts < $4`,
		string(c.User), string(c.Device), c.ID, int64(now))
	return err
}

// deleteSlidingStatesOf ends the connections of devices. There is no foreign key, which would lock the device's row each time a
// state is stored.
func (tx *Tx) deleteSlidingStatesOf(ctx context.Context, user matrix.UserID, devices []matrix.DeviceID) error {
	if len(devices) == 0 {
		return nil
	}
	_, err := tx.exec(ctx, `DELETE FROM sliding_states WHERE user_id = $1 AND device_id = ANY ($2)`, string(user), stringArray(devices))
	return err
}

// DeleteSlidingStatesBefore forgets connections that were not used since ts, at most limit states, and says how many.
func (s *Store) DeleteSlidingStatesBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM sliding_states WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM sliding_states WHERE used_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// RoomPosition is a position of a room.
type RoomPosition struct {
	RoomNID  int64
	Position int64
}

// ListLastPositions returns the position of the last event of each room.
func (s *Store) ListLastPositions(ctx context.Context, rooms []int64) ([]RoomPosition, error) {
	rows, err := s.query(ctx, `
		SELECT w.nid, e.position
		FROM unnest($1::bigint[]) AS w (nid)
		CROSS JOIN LATERAL (SELECT position FROM events WHERE room_nid = w.nid ORDER BY position DESC LIMIT 1) e`, pq.Array(rooms))
	return scanAll(rows, err, scanRoomPosition)
}

// ListLastOf returns of each room the position of the last event that has one of the types, among its scan newest events.
func (s *Store) ListLastOf(ctx context.Context, rooms []int64, types []string, scan int) ([]RoomPosition, error) {
	rows, err := s.query(ctx, `
		SELECT w.nid, e.position
		FROM unnest($1::bigint[]) AS w (nid)
		CROSS JOIN LATERAL (
			SELECT position FROM (
				SELECT position, type FROM events WHERE room_nid = w.nid ORDER BY position DESC LIMIT $3
			) newest
			WHERE type = ANY ($2) ORDER BY position DESC LIMIT 1
		) e`, pq.Array(rooms), pq.Array(types), scan)
	return scanAll(rows, err, scanRoomPosition)
}

func scanRoomPosition(rows *sql.Rows) (RoomPosition, error) {
	var p RoomPosition
	err := rows.Scan(&p.RoomNID, &p.Position)
	return p, err
}

// ListStateAmong returns those of the events that are state of their room at a position, in no order.
func (s *Store) ListStateAmong(ctx context.Context, rooms []int64, ids []matrix.EventID, at []int64) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS wanted (nid, id, at)
		JOIN events ON events.event_id = wanted.id AND events.room_nid = wanted.nid AND events.state_key IS NOT NULL
		JOIN room_state s ON s.room_nid = wanted.nid AND s.type = events.type AND s.state_key = events.state_key
			AND s.event_position = events.position AND s.since <= wanted.at AND s.until > wanted.at
		JOIN rooms ON rooms.room_nid = wanted.nid`, pq.Array(rooms), stringArray(ids), pq.Array(at))
	return scanAll(rows, err, scanEvent)
}

// ListReadings returns for each room the position of the user's last receipt, and for room 0 that of the last change of the user's
// global account data of the types, of what has after < position <= upTo.
func (s *Store) ListReadings(ctx context.Context, user matrix.UserID, types []string, after, upTo int64) ([]RoomPosition, error) {
	rows, err := s.query(ctx, `
		SELECT room_nid, max(position) FROM updates WHERE user_id = $1 AND kind = 2 AND position > $3 AND position <= $4 GROUP BY room_nid
		UNION ALL
		SELECT room_nid, position FROM updates
		WHERE kind = 1 AND room_nid = 0 AND user_id = $1 AND key = ANY ($2) AND position > $3 AND position <= $4`,
		string(user), pq.Array(types), after, upTo)
	return scanAll(rows, err, scanRoomPosition)
}

// RoomKind is what lists of rooms are filtered by.
type RoomKind struct {
	RoomNID   int64
	Encrypted bool
	// Create is the m.room.create event.
	Create []byte
}

// ListRoomKinds returns what kinds of rooms the rooms are at present.
func (s *Store) ListRoomKinds(ctx context.Context, rooms []int64) ([]RoomKind, error) {
	rows, err := s.query(ctx, `
		SELECT w.nid, EXISTS (
				SELECT FROM room_state WHERE room_nid = w.nid AND type = 'm.room.encryption' AND state_key = '' AND until = 9223372036854775807
			), coalesce((
				SELECT events.json FROM room_state s JOIN events ON events.position = s.event_position
				WHERE s.room_nid = w.nid AND s.type = 'm.room.create' AND s.state_key = '' LIMIT 1
			), '')
		FROM unnest($1::bigint[]) AS w (nid)`, pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (RoomKind, error) {
		var k RoomKind
		err := rows.Scan(&k.RoomNID, &k.Encrypted, &k.Create)
		return k, err
	})
}

// ListFormerRooms returns those of the rooms in which the user was joined at some time, and which the user has not forgotten.
func (s *Store) ListFormerRooms(ctx context.Context, user matrix.UserID, rooms []int64) ([]int64, error) {
	rows, err := s.query(ctx, `
		SELECT m.room_nid FROM memberships m
		WHERE m.user_id = $1 AND m.room_nid = ANY ($2) AND NOT m.forgotten AND EXISTS (
			SELECT FROM room_state s
			WHERE s.room_nid = m.room_nid AND s.type = 'm.room.member' AND s.state_key = $1 AND s.membership = 'join')`,
		string(user), pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (int64, error) {
		var nid int64
		err := rows.Scan(&nid)
		return nid, err
	})
}

// TypeAt asks for all state of one type of a room at a position.
type TypeAt struct {
	RoomNID int64
	Type    string
	At      int64
}

// ListStateTypesAt returns the state events of the types, in no order.
func (s *Store) ListStateTypesAt(ctx context.Context, wanted []TypeAt) ([]Event, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	rooms, types, at := make([]int64, len(wanted)), make([]string, len(wanted)), make([]int64, len(wanted))
	for i, w := range wanted {
		rooms[i], types[i], at[i] = w.RoomNID, w.Type, w.At
	}
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS wanted (nid, type, at)
		CROSS JOIN LATERAL (
			SELECT event_position FROM room_state
			WHERE room_nid = wanted.nid AND type = wanted.type AND since <= wanted.at AND until > wanted.at
			OFFSET 0
		) s
		JOIN events ON events.position = s.event_position
		JOIN rooms ON rooms.room_nid = wanted.nid`, pq.Array(rooms), pq.Array(types), pq.Array(at))
	return scanAll(rows, err, scanEvent)
}

// ListAccountDataOf returns the user's account data of one type in all rooms and outside, oldest first.
func (s *Store) ListAccountDataOf(ctx context.Context, user matrix.UserID, key string) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates WHERE user_id = $1 AND kind = 1 AND key = $2 ORDER BY position`, string(user), key)
	return scanAll(rows, err, scanUpdate)
}
