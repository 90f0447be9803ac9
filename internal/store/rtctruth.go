package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// What the SFU says of who is there. Words come twice, late and in any order: a stay is known by the SFU's id for it (sid), and of two stays of
// the same identity the one that began later counts, by the SFU's clock.

// InsertRTCWebhook notes that the SFU has said something; false if it has said it before.
func (tx *Tx) InsertRTCWebhook(ctx context.Context, id string, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `INSERT INTO rtc_webhooks (event_id, ts) VALUES ($1, $2) ON CONFLICT DO NOTHING`, id, int64(now))
	return n == 1, err
}

// DeleteRTCWebhooksBefore forgets what the SFU has said before ts, at most limit.
func (s *Store) DeleteRTCWebhooksBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM rtc_webhooks WHERE event_id = ANY (ARRAY (SELECT event_id FROM rtc_webhooks WHERE ts < $1 LIMIT $2))`, int64(ts), limit)
}

// DeleteRTCParticipantsBefore forgets those whose calls have been over since before ts, at most limit.
func (s *Store) DeleteRTCParticipantsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM rtc_participants WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM rtc_participants
			WHERE (joined_ts IS NULL OR left_ts IS NOT NULL) AND ended_ts < $1 AND token_expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// RTCStay is somebody's time in a room of the SFU.
type RTCStay struct {
	Alias, Identity, SID string
	// JoinedTS is by the SFU's clock.
	JoinedTS matrix.Timestamp
}

// PutRTCCame notes that somebody's media has come. It reports false when that changes nothing: the stay is over already, a later one is known, or
// the call was ended meanwhile. seen says that the SFU has just listed the stay, so that it can't be over. With which rights it came is not known:
// its token may be an old one.
func (tx *Tx) PutRTCCame(ctx context.Context, stay RTCStay, seen bool, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE rtc_participants SET joined_ts = $4, left_ts = NULL, ended_ts = NULL, sid = $3, rights = '{}',
			restart_ts = CASE WHEN delay_id IS NOT NULL THEN $6::bigint END
		WHERE alias = $1 AND identity = $2 AND NOT revoked AND (
			sid <> $3 AND (joined_ts IS NULL OR joined_ts <= $4)
			OR $5 AND sid = $3 AND (joined_ts IS NULL OR left_ts IS NOT NULL))`,
		stay.Alias, stay.Identity, stay.SID, int64(stay.JoinedTS), seen, int64(now))
	return n == 1, err
}

// PutRTCWent notes that somebody's media has gone. It reports false when that changes nothing: it is known, or a later stay is. The time of the
// stay counts for the room's organisation.
func (tx *Tx) PutRTCWent(ctx context.Context, stay RTCStay, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE rtc_participants SET left_ts = $5, sid = $3, joined_ts = CASE WHEN sid = $3 THEN joined_ts ELSE $4 END,
			ended_ts = NULL, restart_ts = NULL
		WHERE alias = $1 AND identity = $2 AND (
			sid = $3 AND joined_ts IS NOT NULL AND left_ts IS NULL
			OR sid <> $3 AND (joined_ts IS NULL OR joined_ts < $4))`,
		stay.Alias, stay.Identity, stay.SID, int64(stay.JoinedTS), int64(now))
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.countRTCStay(ctx, stay.Alias, time.Duration(now-stay.JoinedTS)*time.Millisecond, now)
}

// countRTCStay counts the time that somebody was in a call of a room for the room's organisation.
func (tx *Tx) countRTCStay(ctx context.Context, alias string, stayed time.Duration, now matrix.Timestamp) error {
	var org int64
	err := tx.queryRow(ctx, `SELECT r.organisation_id FROM rtc_rooms c JOIN rooms r USING (room_nid) WHERE c.alias = $1`, alias).Scan(&org)
	if err != nil || stayed < time.Second {
		return err
	}
	return tx.AddMeetingSeconds(ctx, org, now.Time(), int64(stayed/time.Second))
}

// PutRTCAllWent notes that a room of the SFU is gone that it called sid, and with it all media. It reports false when another one is known.
func (tx *Tx) PutRTCAllWent(ctx context.Context, alias, sid string, now matrix.Timestamp) (bool, error) {
	rows, err := tx.query(ctx, `
		WITH gone AS (UPDATE rtc_rooms SET started_ts = NULL, ends_ts = NULL, sid = '' WHERE alias = $1 AND sid = $2 RETURNING alias)
		UPDATE rtc_participants p SET left_ts = $3, restart_ts = NULL FROM gone
		WHERE p.alias = gone.alias AND p.joined_ts IS NOT NULL AND p.left_ts IS NULL RETURNING $3 - p.joined_ts`, alias, sid, int64(now))
	stayed, err := scanAll(rows, err, scanInt64)
	if err != nil || len(stayed) == 0 {
		return false, err
	}
	var all int64
	for _, ms := range stayed {
		all += max(ms, 0)
	}
	return true, tx.countRTCStay(ctx, alias, time.Duration(all)*time.Millisecond, now)
}

// PutRTCRoomOn notes that a call has begun, if it has not; endsTS is when it has used up its minutes, 0 for never. The room is locked.
func (tx *Tx) PutRTCRoomOn(ctx context.Context, alias, sid string, endsTS, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE rtc_rooms SET started_ts = coalesce(started_ts, $4), sid = $2,
			ends_ts = CASE WHEN started_ts IS NULL THEN nullif($3::bigint, 0) ELSE ends_ts END
		WHERE alias = $1`, alias, sid, int64(endsTS), int64(now))
	return err
}

// PutRTCRoomOff notes that a call is over, if nobody is there. The room is locked.
func (tx *Tx) PutRTCRoomOff(ctx context.Context, alias string) error {
	_, err := tx.exec(ctx, `
		UPDATE rtc_rooms SET started_ts = NULL, ends_ts = NULL, sid = ''
		WHERE alias = $1 AND started_ts IS NOT NULL
			AND NOT EXISTS (SELECT FROM rtc_participants WHERE alias = $1 AND joined_ts IS NOT NULL AND left_ts IS NULL)`, alias)
	return err
}

// GetRTCParticipant returns somebody of a room of the SFU, or ErrNotFound.
func (tx *Tx) GetRTCParticipant(ctx context.Context, alias, identity string) (RTCParticipant, error) {
	return scanRTCParticipant(tx.queryRow(ctx, `
		SELECT `+rtcParticipantColumns+` FROM rtc_participants p WHERE p.alias = $1 AND p.identity = $2`, alias, identity).Scan)
}

// PutRTCAnnounced notes that a device of ours has said in the room that it is in a call: it is to come until expires. Who is there, or on the way,
// is so already. A device that we don't know is not noted.
func (s *Store) PutRTCAnnounced(ctx context.Context, p RTCParticipant, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		INSERT INTO rtc_participants AS p (alias, identity, user_id, device_id, member_id, rights, token_expires_ts)
		SELECT $1, $2, $3, $4, $5, '{}', $6
		WHERE EXISTS (SELECT FROM devices WHERE user_id = $3 AND device_id = $4) AND EXISTS (SELECT FROM rtc_rooms WHERE alias = $1)
		ON CONFLICT (alias, identity) DO UPDATE SET
			token_expires_ts = greatest(p.token_expires_ts, excluded.token_expires_ts), joined_ts = NULL, left_ts = NULL, ended_ts = NULL
		WHERE p.ended_ts IS NOT NULL OR p.left_ts < $7`,
		p.Alias, p.Identity, string(p.UserID), string(p.DeviceID), p.MemberID, int64(p.TokenExpiresTS), int64(now))
	return err
}

// RTCPulse says what there is to do about calls.
type RTCPulse struct {
	// Orders, Due, Restarts and Ending: an order waits; a membership has to end; a delayed event has to be restarted; minutes are used up.
	Orders, Due, Restarts, Ending bool
	// On: somebody is in a call, or may come.
	On bool
}

// GetRTCPulse looks at everything at once. grace is how long a membership outlives its media, warning how long before its end a call is looked at,
// and way how long after a token somebody may still be on the way.
func (s *Store) GetRTCPulse(ctx context.Context, now matrix.Timestamp, grace, warning, way time.Duration) (RTCPulse, error) {
	var p RTCPulse
	err := s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM rtc_orders WHERE next_ts <= $1),
			EXISTS (SELECT FROM rtc_participants
				WHERE ended_ts IS NULL AND (joined_ts IS NULL OR left_ts IS NOT NULL) AND coalesce(left_ts, token_expires_ts) <= $1 - $2::bigint),
			EXISTS (SELECT FROM rtc_participants WHERE delay_id IS NOT NULL AND restart_ts <= $1),
			EXISTS (SELECT FROM rtc_rooms WHERE started_ts IS NOT NULL AND ends_ts <= $1 + $3::bigint),
			EXISTS (SELECT FROM rtc_rooms WHERE started_ts IS NOT NULL)
				OR EXISTS (SELECT FROM rtc_participants WHERE joined_ts IS NOT NULL AND left_ts IS NULL)
				OR EXISTS (SELECT FROM rtc_participants WHERE (joined_ts IS NULL OR left_ts IS NOT NULL) AND token_expires_ts > $1 - $4::bigint)`,
		int64(now), grace.Milliseconds(), warning.Milliseconds(), way.Milliseconds()).Scan(&p.Orders, &p.Due, &p.Restarts, &p.Ending, &p.On)
	return p, err
}

// ListRTCDue returns those whose call membership has to end, if there still is one: whose media went at least grace ago, or did not come while
// the token let in. Those who left first come first.
func (s *Store) ListRTCDue(ctx context.Context, now matrix.Timestamp, grace time.Duration, limit int) ([]RTCParticipant, error) {
	rows, err := s.query(ctx, `
		SELECT `+rtcParticipantColumns+` FROM rtc_participants p
		WHERE ended_ts IS NULL AND (joined_ts IS NULL OR left_ts IS NOT NULL) AND coalesce(left_ts, token_expires_ts) <= $1
		ORDER BY coalesce(left_ts, token_expires_ts) LIMIT $2`, int64(now)-grace.Milliseconds(), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (RTCParticipant, error) { return scanRTCParticipant(rows.Scan) })
}

// PutRTCEnded notes that the membership of p has ended, unless p has come back meanwhile.
func (s *Store) PutRTCEnded(ctx context.Context, p RTCParticipant, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		UPDATE rtc_participants SET ended_ts = $5, delay_id = NULL, restart_ts = NULL
		WHERE alias = $1 AND identity = $2 AND ended_ts IS NULL AND (joined_ts IS NULL OR left_ts IS NOT NULL)
			AND coalesce(left_ts, 0) = $3 AND token_expires_ts = $4`,
		p.Alias, p.Identity, int64(p.LeftTS), int64(p.TokenExpiresTS), int64(now))
	return err
}

// PutRTCDelegation hands over the delayed event that ends somebody's membership, instead of one that was handed over before. It is restarted as
// soon as the media is there. False: the participant is not known.
func (s *Store) PutRTCDelegation(ctx context.Context, alias, identity, delayID string, now matrix.Timestamp) (bool, error) {
	n, err := s.exec(ctx, `
		UPDATE rtc_participants SET delay_id = $3, restart_ts = CASE WHEN joined_ts IS NOT NULL AND left_ts IS NULL THEN $4::bigint END
		WHERE alias = $1 AND identity = $2`, alias, identity, delayID, int64(now))
	return n == 1, err
}

// ListRTCRestarts returns those who are there and whose delayed event has to be restarted.
func (s *Store) ListRTCRestarts(ctx context.Context, now matrix.Timestamp, limit int) ([]RTCParticipant, error) {
	rows, err := s.query(ctx, `
		SELECT `+rtcParticipantColumns+` FROM rtc_participants p
		WHERE p.delay_id IS NOT NULL AND p.restart_ts <= $1 ORDER BY p.restart_ts LIMIT $2`, int64(now), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (RTCParticipant, error) { return scanRTCParticipant(rows.Scan) })
}

// PutRTCRestart says when a delayed event has to be restarted next; next 0: it is none of ours any more.
func (s *Store) PutRTCRestart(ctx context.Context, p RTCParticipant, next matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		UPDATE rtc_participants SET restart_ts = nullif($4::bigint, 0), delay_id = CASE WHEN $4::bigint <> 0 THEN delay_id END
		WHERE alias = $1 AND identity = $2 AND delay_id = $3`, p.Alias, p.Identity, p.DelayID, int64(next))
	return err
}

// ListRTCEnding returns the calls that have used up their minutes by ts.
func (s *Store) ListRTCEnding(ctx context.Context, ts matrix.Timestamp) ([]RTCRoom, error) {
	rows, err := s.query(ctx, `
		SELECT `+rtcRoomColumns+` FROM rtc_rooms c WHERE c.started_ts IS NOT NULL AND c.ends_ts <= $1 ORDER BY c.ends_ts`, int64(ts))
	return scanAll(rows, err, func(rows *sql.Rows) (RTCRoom, error) { return scanRTCRoom(rows.Scan) })
}

// ListRTCMemberships returns the state events by which users say in rooms to be in calls, of any of the types: of the n-th user in the n-th room.
func (s *Store) ListRTCMemberships(ctx context.Context, rooms []int64, users []matrix.UserID, types []string) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT DISTINCT `+eventColumns+`
		FROM unnest($1::bigint[], $2::text[]) AS w (room_nid, user_id)
		JOIN room_state s ON s.room_nid = w.room_nid AND s.type = ANY ($3) AND s.until > $4 AND s.since <= $4
		JOIN events ON events.position = s.event_position AND events.sender = w.user_id
		JOIN rooms ON rooms.room_nid = s.room_nid
		ORDER BY events.position`, pq.Array(rooms), stringArray(users), pq.Array(types), CurrentState)
	return scanAll(rows, err, scanEvent)
}

// ListStickyOf returns the events of a user that are sticky in a room at now, of any of the types.
func (s *Store) ListStickyOf(ctx context.Context, room int64, user matrix.UserID, types []string, now matrix.Timestamp) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM sticky_events k JOIN events ON events.position = k.position JOIN rooms ON rooms.room_nid = k.room_nid
		WHERE k.room_nid = $1 AND k.sender = $2 AND k.sticky_until > $4 AND events.type = ANY ($3)
		ORDER BY events.position`, room, string(user), pq.Array(types), int64(now))
	return scanAll(rows, err, scanEvent)
}
