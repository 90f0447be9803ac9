package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// GetRoomMembership returns a room's number and the user's present membership of it. A room that does not exist and a room
// that the user never had to do with are both ErrNotFound.
func (s *Store) GetRoomMembership(ctx context.Context, room matrix.RoomID, user matrix.UserID) (nid int64, membership string, err error) {
	err = s.queryRow(ctx, `
		SELECT m.room_nid, m.membership FROM rooms JOIN memberships m USING (room_nid)
		WHERE rooms.room_id = $1 AND m.user_id = $2`, string(room), string(user)).Scan(&nid, &membership)
	return nid, membership, err
}

// MarkerTarget is what has to be known to move a user's read marker to an event.
type MarkerTarget struct {
	RoomNID    int64
	Membership string
	// EventPosition and EventJSON are of the event that the marker shall stand at; 0 and nil if the room does not have it.
	EventPosition int64
	EventJSON     []byte
	// MarkerPosition is the journal's position of the marker's present value, 0 if it has none.
	MarkerPosition int64
	// MarkedPosition is the position of the event that the marker stands at, 0 if there is none.
	MarkedPosition int64
}

// GetMarkerTarget reads, in one round trip, the event and the present place of the marker: the update of the given kind and
// key, whose body names its event in event_id. A room that the user never had to do with is ErrNotFound.
func (s *Store) GetMarkerTarget(ctx context.Context, room matrix.RoomID, user matrix.UserID, kind Kind, key string, event matrix.EventID) (MarkerTarget, error) {
	var t MarkerTarget
	var position, marker, marked sql.NullInt64
	err := s.queryRow(ctx, `
		SELECT m.room_nid, m.membership, e.position, e.json, u.position, at.position
		FROM rooms
		JOIN memberships m ON m.room_nid = rooms.room_nid AND m.user_id = $2
		LEFT JOIN events e ON e.event_id = $3 AND e.room_nid = rooms.room_nid
		LEFT JOIN updates u ON u.kind = $4 AND u.room_nid = rooms.room_nid AND u.user_id = $2 AND u.key = $5 AND u.body <> ''
		LEFT JOIN events at ON at.event_id = convert_from(u.body, 'UTF8')::json ->> 'event_id' AND at.room_nid = rooms.room_nid
		WHERE rooms.room_id = $1`, string(room), string(user), string(event), kind, key).
		Scan(&t.RoomNID, &t.Membership, &position, &t.EventJSON, &marker, &marked)
	t.EventPosition, t.MarkerPosition, t.MarkedPosition = position.Int64, marker.Int64, marked.Int64
	return t, err
}
