package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// GetServerNoticeRoom returns the room in which the server speaks to a user, or ErrNotFound.
func (s *Store) GetServerNoticeRoom(ctx context.Context, user matrix.UserID) (Room, error) {
	return scanRoom(s.queryRow(ctx, `
		SELECT `+roomColumns+` FROM rooms WHERE room_nid = (SELECT room_nid FROM server_notice_rooms WHERE user_id = $1)`, string(user)).Scan)
}

// InsertServerNoticeRoom makes a room the one in which the server speaks to a user; it is false when the user has one.
func (s *Store) InsertServerNoticeRoom(ctx context.Context, user matrix.UserID, room int64) (bool, error) {
	n, err := s.execOnce(ctx, `
		INSERT INTO server_notice_rooms (user_id, room_nid) VALUES ($1, $2) ON CONFLICT DO NOTHING`, string(user), room)
	return n == 1, err
}

// IsInvitedToServerNotices reports whether the room is the one in which the server speaks to the user, and the user has not joined it.
func (s *Store) IsInvitedToServerNotices(ctx context.Context, user matrix.UserID, room matrix.RoomID) (invited bool, err error) {
	err = s.queryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM server_notice_rooms n JOIN rooms ON rooms.room_nid = n.room_nid
			JOIN memberships m ON m.room_nid = n.room_nid AND m.user_id = n.user_id
			WHERE n.user_id = $1 AND rooms.room_id = $2 AND m.membership = 'invite')`, string(user), string(room)).Scan(&invited)
	return invited, err
}
