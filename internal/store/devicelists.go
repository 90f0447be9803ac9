package store

import (
	"context"
	"database/sql"
	"slices"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// RoomSharing says of a user, seen by another, what has become of the rooms that both are joined to.
type RoomSharing struct {
	UserID matrix.UserID
	// Changed: the user's devices or identity keys changed.
	Changed bool
	// Signed: the other signed a key of the user's.
	Signed bool
	// Before and After: they shared a room at the beginning, and share one at the end.
	Before, After bool
}

// sharingOf is the rooms that $1 was joined to at $2, before, or at $3, after.
const sharingOf = `
	mine AS MATERIALIZED (
		SELECT m.room_nid, bool_or(s.since <= $2 AND s.until > $2) AS before, bool_or(s.since <= $3 AND s.until > $3) AS after
		FROM memberships m
		JOIN room_state s ON s.room_nid = m.room_nid AND s.type = 'm.room.member' AND s.state_key = $1 AND s.membership = 'join'
			AND s.since <= $3 AND s.until > $2
		WHERE m.user_id = $1
		GROUP BY m.room_nid
	)`

// judged says of each row of candidates (user_id, changed, signed) whether it shares a room with $1 at $2 and at $3.
const judged = `
	SELECT c.user_id, c.changed, c.signed,
	       coalesce(bool_or(mine.before AND s.since <= $2 AND s.until > $2), false),
	       coalesce(bool_or(mine.after AND s.since <= $3 AND s.until > $3), false)
	FROM candidates c
	LEFT JOIN (
		memberships m JOIN mine ON mine.room_nid = m.room_nid
		JOIN room_state s ON s.room_nid = m.room_nid AND s.type = 'm.room.member' AND s.state_key = m.user_id AND s.membership = 'join'
			AND s.since <= $3 AND s.until > $2
	) ON m.user_id = c.user_id
	GROUP BY c.user_id, c.changed, c.signed`

func scanSharing(rows *sql.Rows) (RoomSharing, error) {
	var sh RoomSharing
	err := rows.Scan(&sh.UserID, &sh.Changed, &sh.Signed, &sh.Before, &sh.After)
	return sh, err
}

// ListDeviceListChanges returns the users who may be news to the user: those whose devices changed at after < position <= upTo, and those
// with whom the user came to share a room, or ceased to, between the two. Whose changes after the first are so many that they are
// forgotten is among them.
func (s *Store) ListDeviceListChanges(ctx context.Context, user matrix.UserID, after, upTo int64) ([]RoomSharing, error) {
	rows, err := s.query(ctx, `
		WITH `+sharingOf+`, moved AS (
			-- Everybody in the rooms that the user joined, at the end, and left, at the beginning.
			SELECT s.state_key AS user_id
			FROM mine JOIN room_state s ON s.room_nid = mine.room_nid AND s.type = 'm.room.member' AND s.membership = 'join'
				AND s.since <= CASE WHEN mine.after THEN $3 ELSE $2 END AND s.until > CASE WHEN mine.after THEN $3 ELSE $2 END
			WHERE mine.before <> mine.after
			UNION
			-- In the other rooms, those whose membership changed.
			SELECT s.state_key
			FROM mine JOIN room_state s ON s.room_nid = mine.room_nid AND s.since > $2 AND s.since <= $3 AND s.type = 'm.room.member'
			WHERE mine.before AND mine.after
		), candidates AS (
			SELECT user_id, bool_or(changed) AS changed, bool_or(signed) AS signed
			FROM (
				SELECT user_id, false AS changed, false AS signed FROM moved
				UNION ALL
				SELECT CASE WHEN key = '' THEN user_id ELSE key END, key = '', key <> '' FROM (
					SELECT user_id, key FROM updates WHERE kind = 6 AND position > $2 AND position <= $3
					UNION ALL
					SELECT user_id, key FROM device_list_history WHERE position > $2 AND position <= $3
					UNION ALL
					SELECT user_id, key FROM device_list_history WHERE forgotten > 0 AND forgotten > $2 AND position > $3
				) d
				WHERE key = '' OR user_id = $1
			) c
			GROUP BY user_id
		)`+judged, string(user), after, upTo)
	return scanAll(rows, err, scanSharing)
}

// ListSharing says of each of the users whether they shared a room with the user at after, and whether they do at upTo.
func (s *Store) ListSharing(ctx context.Context, user matrix.UserID, users []matrix.UserID, after, upTo int64) ([]RoomSharing, error) {
	rows, err := s.query(ctx, `
		WITH `+sharingOf+`, candidates AS (
			SELECT DISTINCT x.user_id, false AS changed, false AS signed FROM unnest($4::text[]) AS x (user_id)
		)`+judged, string(user), after, upTo, stringArray(users))
	return scanAll(rows, err, scanSharing)
}

// MembershipAt asks for what a member event replaced.
type MembershipAt struct {
	RoomNID  int64
	UserID   matrix.UserID
	Position int64
}

// ListReplacedMemberships returns, by the position of each member event, the membership that it replaced; where it was the user's
// first there is none.
func (s *Store) ListReplacedMemberships(ctx context.Context, events []MembershipAt) (map[int64]string, error) {
	n := len(events)
	rooms, positions, users := make([]int64, n), make([]int64, n), make([]string, n)
	for i, e := range events {
		rooms[i], users[i], positions[i] = e.RoomNID, string(e.UserID), e.Position
	}
	rows, err := s.query(ctx, `
		SELECT w.position, s.membership FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS w (nid, user_id, position)
		CROSS JOIN LATERAL (
			SELECT coalesce(membership, '') AS membership FROM room_state
			WHERE room_nid = w.nid AND type = 'm.room.member' AND state_key = w.user_id AND since < w.position
			ORDER BY since DESC LIMIT 1
		) s`, pq.Array(rooms), pq.Array(users), pq.Array(positions))
	replaced := make(map[int64]string, n)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var position int64
		var membership string
		err := rows.Scan(&position, &membership)
		replaced[position] = membership
		return struct{}{}, err
	})
	return replaced, err
}

// DeviceLists is what a client is told, in order: whose devices it has to look at again, and whose no more.
//
// Spec: client-server v1.19 §e2e-extensions-to-sync
func DeviceLists(user matrix.UserID, list []RoomSharing) (changed, left []matrix.UserID) {
	for _, sh := range list {
		switch {
		case sh.UserID == user:
			if sh.Changed || sh.Signed {
				changed = append(changed, user)
			}
		case sh.Before && !sh.After:
			left = append(left, sh.UserID)
		case sh.Signed, sh.After && (sh.Changed || !sh.Before):
			changed = append(changed, sh.UserID)
		}
	}
	slices.Sort(changed)
	slices.Sort(left)
	return changed, left
}
