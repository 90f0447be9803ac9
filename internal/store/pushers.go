package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Pusher is where a user's notifications are sent.
type Pusher struct {
	ID                int64
	UserID            matrix.UserID
	DeviceID          matrix.DeviceID
	AppID             string
	PushKey           string
	AppDisplayName    string
	DeviceDisplayName string
	ProfileTag        string
	Lang              string
	// Data is the object as the client gave it, URL the gateway that it names.
	Data              []byte
	URL               string
	Enabled           bool
	DisableBadgeCount bool
	PushKeyTS         matrix.Timestamp
	// Badge is what the gateway was told last, -1 if nothing is known.
	Badge int
	// Failures in a row; no attempt is made before RetryTS.
	Failures int
	RetryTS  matrix.Timestamp
}

const pusherColumns = `p.pusher_id, p.user_id, p.device_id, p.app_id, p.pushkey, p.app_display_name, p.device_display_name, p.profile_tag,
	p.lang, p.data, p.url, p.enabled, p.disable_badge_count, p.pushkey_ts, p.badge, p.failures, p.retry_ts`

func scanPusher(rows *sql.Rows) (Pusher, error) {
	var p Pusher
	err := rows.Scan(&p.ID, &p.UserID, &p.DeviceID, &p.AppID, &p.PushKey, &p.AppDisplayName, &p.DeviceDisplayName, &p.ProfileTag,
		&p.Lang, &p.Data, &p.URL, &p.Enabled, &p.DisableBadgeCount, &p.PushKeyTS, &p.Badge, &p.Failures, &p.RetryTS)
	return p, err
}

// ListPushers returns a user's pushers, oldest first.
func (s *Store) ListPushers(ctx context.Context, user matrix.UserID) ([]Pusher, error) {
	rows, err := s.query(ctx, `SELECT `+pusherColumns+` FROM pushers p WHERE user_id = $1 ORDER BY pusher_id`, string(user))
	return scanAll(rows, err, scanPusher)
}

// PutPusher stores a pusher; it takes the place of the user's pusher with the same app and push key. Unless others may keep theirs, the
// pushers of other users with that app and push key are removed. Nothing goes on waiting for a pusher that is not enabled, and one that is
// new or enabled again is told of nothing from before. full is true, and nothing stored, when the user has limit pushers.
func (s *Store) PutPusher(ctx context.Context, p Pusher, keepOthers bool, limit int) (full bool, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		var n int
		full = false
		err := tx.queryRow(ctx, `SELECT count(*) FROM pushers WHERE user_id = $1 AND (app_id, pushkey) <> ($2, $3)`,
			string(p.UserID), p.AppID, p.PushKey).Scan(&n)
		if err != nil || n >= limit {
			full = err == nil
			return err
		}
		if !keepOthers {
			if _, err := tx.exec(ctx, `DELETE FROM pushers WHERE app_id = $1 AND pushkey = $2 AND user_id <> $3`,
				p.AppID, p.PushKey, string(p.UserID)); err != nil {
				return err
			}
		}
		_, err = tx.exec(ctx, `
			INSERT INTO pushers (user_id, device_id, app_id, pushkey, app_display_name, device_display_name, profile_tag, lang, data, url,
			                     enabled, disable_badge_count, pushkey_ts, since)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, clock.position FROM clock
			ON CONFLICT (user_id, app_id, pushkey) DO UPDATE
			SET device_id = excluded.device_id, app_display_name = excluded.app_display_name,
			    device_display_name = excluded.device_display_name, profile_tag = excluded.profile_tag, lang = excluded.lang,
			    data = excluded.data, url = excluded.url, enabled = excluded.enabled,
			    disable_badge_count = excluded.disable_badge_count, pushkey_ts = excluded.pushkey_ts,
			    since = CASE WHEN pushers.enabled THEN pushers.since ELSE excluded.since END, failures = 0, retry_ts = 0`,
			string(p.UserID), string(p.DeviceID), p.AppID, p.PushKey, p.AppDisplayName, p.DeviceDisplayName, p.ProfileTag, p.Lang,
			p.Data, p.URL, p.Enabled, p.DisableBadgeCount, int64(p.PushKeyTS))
		if err != nil || p.Enabled {
			return err
		}
		_, err = tx.exec(ctx, `
			DELETE FROM push_queue USING pushers p
			WHERE p.pusher_id = push_queue.pusher_id AND p.user_id = $1 AND p.app_id = $2 AND p.pushkey = $3`,
			string(p.UserID), p.AppID, p.PushKey)
		return err
	})
	return full, err
}

// DeletePusher removes a user's pusher, if there is one.
func (s *Store) DeletePusher(ctx context.Context, user matrix.UserID, app, key string) error {
	_, err := s.exec(ctx, `DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3`, string(user), app, key)
	return err
}

// DeletePushersOf removes the pushers with a push key at a gateway, except those that were set after they were asked.
func (s *Store) DeletePushersOf(ctx context.Context, app, key, url string, askedTS matrix.Timestamp) error {
	_, err := s.exec(ctx, `DELETE FROM pushers WHERE app_id = $1 AND pushkey = $2 AND url = $3 AND pushkey_ts <= $4`, app, key, url, int64(askedTS))
	return err
}

// RoomPusher is a pusher of somebody who is in a room or invited.
type RoomPusher struct {
	PusherID   int64
	UserID     matrix.UserID
	Membership string
	// After is the position up to which nothing concerns the pusher: what came before it was set, or before an invite.
	After int64
}

// mayBePushed holds for the pushers p of people who may use their accounts: nobody's phone shows what its owner may not read.
const mayBePushed = `EXISTS (
	SELECT FROM users u JOIN organisations o USING (organisation_id) WHERE u.user_id = p.user_id AND NOT u.locked AND o.state = 'active')`

// ListRoomPushers returns the pushers of those who are joined or invited to the rooms.
func (s *Store) ListRoomPushers(ctx context.Context, rooms []int64) (map[int64][]RoomPusher, error) {
	rows, err := s.query(ctx, `
		SELECT m.room_nid, p.pusher_id, p.user_id, m.membership,
		       CASE WHEN m.membership = 'join' THEN p.since ELSE greatest(p.since, m.position - 1) END
		FROM memberships m JOIN pushers p ON p.user_id = m.user_id AND p.enabled
		WHERE m.room_nid = ANY ($1) AND m.membership IN ('join', 'invite') AND `+mayBePushed, pq.Array(rooms))
	all := make(map[int64][]RoomPusher)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var nid int64
		var p RoomPusher
		err := rows.Scan(&nid, &p.PusherID, &p.UserID, &p.Membership, &p.After)
		all[nid] = append(all[nid], p)
		return struct{}{}, err
	})
	return all, err
}

// ListBadgePushers returns the users' pushers that are told of the badge, and have not been told that it is 0, of each user those that
// were set before the position with the same index.
func (s *Store) ListBadgePushers(ctx context.Context, users []matrix.UserID, positions []int64) ([]int64, error) {
	rows, err := s.query(ctx, `
		SELECT p.pusher_id FROM unnest($1::text[], $2::bigint[]) AS x (user_id, position)
		JOIN pushers p ON p.user_id = x.user_id AND p.since < x.position
		WHERE p.enabled AND NOT p.disable_badge_count AND p.badge <> 0`, stringArray(users), pq.Array(positions))
	return scanAll(rows, err, func(rows *sql.Rows) (int64, error) {
		var id int64
		err := rows.Scan(&id)
		return id, err
	})
}

// PushQueued is a notification that waits for a gateway. Position 0 tells of the badge alone.
type PushQueued struct {
	PusherID int64
	Position int64
	Tweaks   []byte
	QueuedTS int64
}

func (tx *Tx) putPushQueue(ctx context.Context, queue []PushQueued) error {
	if len(queue) == 0 {
		return nil
	}
	n := len(queue)
	pushers, positions, queued, tweaks := make([]int64, n), make([]int64, n), make([]int64, n), make(pq.ByteaArray, n)
	for i, q := range queue {
		pushers[i], positions[i], queued[i], tweaks[i] = q.PusherID, q.Position, q.QueuedTS, q.Tweaks
	}
	_, err := tx.exec(ctx, `
		INSERT INTO push_queue (pusher_id, position, tweaks, queued_ts)
		SELECT x.pusher_id, x.position, x.tweaks, x.queued_ts
		FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[]) AS x (pusher_id, position, tweaks, queued_ts)
		JOIN pushers USING (pusher_id)
		ON CONFLICT (pusher_id, position) DO UPDATE SET queued_ts = excluded.queued_ts`,
		pq.Array(pushers), pq.Array(positions), tweaks, pq.Array(queued))
	return err
}

// ListDuePushers returns pushers for which something waits and whose time has come, except those given and those of the hosts given,
// at most limit.
func (s *Store) ListDuePushers(ctx context.Context, now matrix.Timestamp, except []int64, hosts []string, limit int) ([]Pusher, error) {
	rows, err := s.query(ctx, `
		SELECT `+pusherColumns+` FROM (SELECT DISTINCT pusher_id FROM push_queue) q JOIN pushers p USING (pusher_id)
		WHERE p.retry_ts <= $1 AND p.pusher_id <> ALL ($2) AND split_part(p.url, '/', 3) <> ALL ($3) AND `+mayBePushed+`
		ORDER BY p.retry_ts, p.pusher_id LIMIT $4`, int64(now), pq.Array(except), stringArray(hosts), limit)
	return scanAll(rows, err, scanPusher)
}

// ListPushQueue returns what waits for a pusher, oldest first, at most limit.
func (s *Store) ListPushQueue(ctx context.Context, pusher int64, limit int) ([]PushQueued, error) {
	rows, err := s.query(ctx, `
		SELECT pusher_id, position, tweaks, queued_ts FROM push_queue WHERE pusher_id = $1 ORDER BY position LIMIT $2`, pusher, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (PushQueued, error) {
		var q PushQueued
		err := rows.Scan(&q.PusherID, &q.Position, &q.Tweaks, &q.QueuedTS)
		return q, err
	})
}

// PutPushed notes that a notification was sent, with the badge that the gateway was told (-1: none). What was queued again
// since then stays.
func (s *Store) PutPushed(ctx context.Context, q PushQueued, badge int) error {
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(ctx, `DELETE FROM push_queue WHERE pusher_id = $1 AND position = $2 AND queued_ts <= $3`,
			q.PusherID, q.Position, q.QueuedTS); err != nil {
			return err
		}
		_, err := tx.exec(ctx, `
			UPDATE pushers SET badge = CASE WHEN $2 < 0 THEN badge ELSE $2 END, failures = 0, retry_ts = 0
			WHERE pusher_id = $1 AND (failures > 0 OR retry_ts > 0 OR $2 >= 0 AND badge <> $2)`, q.PusherID, badge)
		return err
	})
}

// PutPushFailure notes that a gateway could not be told, and when to try again. Only the newest keep notifications go on waiting.
func (s *Store) PutPushFailure(ctx context.Context, pusher int64, failures int, retry matrix.Timestamp, keep int) error {
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(ctx, `UPDATE pushers SET failures = $2, retry_ts = $3 WHERE pusher_id = $1`, pusher, failures, int64(retry)); err != nil {
			return err
		}
		_, err := tx.exec(ctx, `
			DELETE FROM push_queue WHERE pusher_id = $1 AND position > 0 AND position <= (
				SELECT position FROM push_queue WHERE pusher_id = $1 ORDER BY position DESC OFFSET $2 LIMIT 1)`, pusher, keep)
		return err
	})
}

// DeletePushQueueBefore removes notifications that were queued before a time, at most limit.
func (s *Store) DeletePushQueueBefore(ctx context.Context, before matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM push_queue WHERE ctid = ANY (ARRAY(SELECT ctid FROM push_queue WHERE queued_ts < $1 LIMIT $2))`, int64(before), limit)
}
