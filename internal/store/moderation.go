package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// CountWaiting returns how many have knocked on a room and wait.
func (s *Store) CountWaiting(ctx context.Context, room int64) (int, error) {
	var n int
	err := s.queryRow(ctx, `SELECT count(*) FROM memberships WHERE room_nid = $1 AND membership = 'knock'`, room).Scan(&n)
	return n, err
}

// ListWaiting returns the member events of those who have knocked on a room and wait, in the order in which they came, at most limit.
func (s *Store) ListWaiting(ctx context.Context, room int64, limit int) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM memberships m JOIN events ON events.position = m.position JOIN rooms ON rooms.room_nid = m.room_nid
		WHERE m.room_nid = $1 AND m.membership = 'knock' ORDER BY m.position LIMIT $2`, room, limit)
	return scanAll(rows, err, scanEvent)
}

// beforeInvite is what a membership was before it became the present one.
const beforeInvite = `(
	SELECT s.membership FROM room_state s
	WHERE s.room_nid = m.room_nid AND s.type = 'm.room.member' AND s.state_key = m.user_id AND s.since < m.position ORDER BY s.since DESC LIMIT 1)`

// HasBeenAnswered reports whether the user has knocked on the room and was invited for it.
func (s *Store) HasBeenAnswered(ctx context.Context, room int64, user matrix.UserID) (bool, error) {
	var answered bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM memberships m WHERE m.room_nid = $1 AND m.user_id = $2 AND m.membership = 'invite' AND `+beforeInvite+` = 'knock')`,
		room, string(user)).Scan(&answered)
	return answered, err
}

// ListAnswered returns the guests who knocked on the room of their invitation and were invited for it, at most limit.
func (s *Store) ListAnswered(ctx context.Context, limit int) ([]Membership, error) {
	rows, err := s.query(ctx, `
		SELECT `+membershipColumns+`
		FROM guests g JOIN invitations i ON i.invitation_id = g.invitation_id
			JOIN memberships m ON m.user_id = g.user_id AND m.room_nid = i.room_nid JOIN rooms ON rooms.room_nid = m.room_nid
		WHERE g.ended_ts IS NULL AND m.membership = 'invite' AND `+beforeInvite+` = 'knock' LIMIT $1`, limit)
	return scanAll(rows, err, scanMembership)
}

// ListRaisedHands returns the events by which a user has raised a hand in the calls of a room: a reaction to what says that the user is in one.
func (s *Store) ListRaisedHands(ctx context.Context, room int64, user matrix.UserID, key string, now matrix.Timestamp) ([]matrix.EventID, error) {
	rows, err := s.query(ctx, `
		WITH memberships AS (
			SELECT s.event_id FROM room_state s JOIN events e ON e.position = s.event_position
			WHERE s.room_nid = $1 AND s.type = ANY ('{org.matrix.msc3401.call.member,m.rtc.member,org.matrix.msc4143.rtc.member}')
				AND s.until = 9223372036854775807 AND e.sender = $2
			UNION
			SELECT event_id FROM sticky_events WHERE room_nid = $1 AND sender = $2 AND sticky_until > $4)
		SELECT r.event_id FROM memberships m JOIN relations r ON r.room_nid = $1 AND r.relates_to = m.event_id AND r.rel_type = 'm.annotation'
		WHERE r.sender = $2 AND r.type = 'm.reaction' AND starts_with(r.key, $3)`, room, string(user), key, int64(now))
	return scanAll(rows, err, func(rows *sql.Rows) (matrix.EventID, error) {
		var id matrix.EventID
		err := rows.Scan(&id)
		return id, err
	})
}

// ListRTCPlaces returns everybody who was given a place in the calls of a room, whether they are there or not.
func (s *Store) ListRTCPlaces(ctx context.Context, room int64) ([]RTCParticipant, error) {
	rows, err := s.query(ctx, `
		SELECT `+rtcParticipantColumns+` FROM rtc_participants p JOIN rtc_rooms c ON c.alias = p.alias WHERE c.room_nid = $1`, room)
	return scanAll(rows, err, func(rows *sql.Rows) (RTCParticipant, error) { return scanRTCParticipant(rows.Scan) })
}
