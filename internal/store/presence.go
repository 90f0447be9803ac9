package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// PresenceDevice is what was last heard of a device.
type PresenceDevice struct {
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	// State is online, unavailable, busy or offline: what the device said of itself.
	State string
	// Automatic says that the device did not say it: a busy device stays busy then. It is not read back.
	Automatic bool
	// ActiveTS is when the person last did something on the device, 0 if never.
	ActiveTS matrix.Timestamp
}

const putPresenceDevices = `
	INSERT INTO presence_seen (user_id, device_id, state, active_ts)
	SELECT DISTINCT ON (x.user_id, x.device_id) x.user_id, x.device_id,
		CASE WHEN x.automatic AND p.state IN ('busy', 'org.matrix.msc3026.busy') THEN p.state ELSE x.state END, x.active_ts
	FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::boolean[]) AS x (user_id, device_id, state, active_ts, automatic)
	LEFT JOIN presence_seen p ON p.user_id = x.user_id AND p.device_id = x.device_id
	ORDER BY x.user_id, x.device_id
	ON CONFLICT (user_id, device_id) DO UPDATE
	SET state = excluded.state, active_ts = greatest(presence_seen.active_ts, excluded.active_ts), seen_at = now()`

// PutPresenceDevices notes that the devices are there now, by the database's clock.
func (s *Store) PutPresenceDevices(ctx context.Context, devices []PresenceDevice) error {
	_, err := s.exec(ctx, putPresenceDevices, presenceArguments(devices)...)
	return err
}

// PutPresenceDevices notes that the devices are there now, by the database's clock.
func (tx *Tx) PutPresenceDevices(ctx context.Context, devices []PresenceDevice) error {
	_, err := tx.exec(ctx, putPresenceDevices, presenceArguments(devices)...)
	return err
}

func presenceArguments(devices []PresenceDevice) []any {
	n := len(devices)
	users, ids, states, active, automatic := make([]string, n), make([]string, n), make([]string, n), make([]int64, n), make([]bool, n)
	for i, d := range devices {
		users[i], ids[i], states[i], active[i], automatic[i] = string(d.UserID), string(d.DeviceID), d.State, int64(d.ActiveTS), d.Automatic
	}
	return []any{pq.Array(users), pq.Array(ids), pq.Array(states), pq.Array(active), pq.Array(automatic)}
}

// ListPresenceDevices returns the users' devices that were heard of within the last goneAfter, and for those who are on the phone, in a meeting by a client or
// by phone, one without a name that is busy.
func (s *Store) ListPresenceDevices(ctx context.Context, users []matrix.UserID, goneAfter time.Duration) ([]PresenceDevice, error) {
	return listPresenceDevices(ctx, s, users, goneAfter)
}

// ListPresenceDevices returns the users' devices that were heard of within the last goneAfter.
func (tx *Tx) ListPresenceDevices(ctx context.Context, users []matrix.UserID, goneAfter time.Duration) ([]PresenceDevice, error) {
	return listPresenceDevices(ctx, tx, users, goneAfter)
}

func listPresenceDevices(ctx context.Context, q querier, users []matrix.UserID, goneAfter time.Duration) ([]PresenceDevice, error) {
	rows, err := q.query(ctx, `
		SELECT user_id, device_id, state, active_ts FROM presence_seen
		WHERE user_id = ANY ($1) AND seen_at > now() - $2 * interval '1 millisecond'
		UNION ALL
		SELECT user_id, '', 'org.matrix.msc3026.busy', 0 FROM users
		WHERE user_id = ANY ($1) AND NOT machine AND (
			EXISTS (SELECT FROM rtc_participants p WHERE p.user_id = users.user_id AND p.left_ts IS NULL
				AND (p.joined_ts IS NOT NULL OR p.token_expires_ts > `+dbNowDown+`))
			OR EXISTS (SELECT FROM phone_calls c WHERE c.requested_by = users.user_id AND c.direction = 'in' AND c.invitation_id IS NULL AND c.state = 'answered'))`,
		stringArray(users), goneAfter.Milliseconds())
	return scanAll(rows, err, func(rows *sql.Rows) (PresenceDevice, error) {
		var d PresenceDevice
		err := rows.Scan(&d.UserID, &d.DeviceID, &d.State, &d.ActiveTS)
		return d, err
	})
}

// DeletePresenceDevices forgets devices that were not heard of for goneAfter, at most limit, and returns whose they were.
// Devices that another transaction is working on are left to it.
func (tx *Tx) DeletePresenceDevices(ctx context.Context, goneAfter time.Duration, limit int) ([]matrix.UserID, error) {
	rows, err := tx.query(ctx, `
		WITH gone AS (
			DELETE FROM presence_seen
			WHERE (user_id, device_id) IN (
				SELECT user_id, device_id FROM presence_seen
				WHERE seen_at <= now() - $1 * interval '1 millisecond'
				LIMIT $2 FOR UPDATE SKIP LOCKED)
			RETURNING user_id
		)
		SELECT DISTINCT user_id FROM gone`, goneAfter.Milliseconds(), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (matrix.UserID, error) {
		var u matrix.UserID
		err := rows.Scan(&u)
		return u, err
	})
}

// ListPresence returns what is published of the users' presence, in no order.
func (s *Store) ListPresence(ctx context.Context, users []matrix.UserID) ([]Update, error) {
	return listPresence(ctx, s, users)
}

// ListPresence returns what is published of the users' presence, in no order.
func (tx *Tx) ListPresence(ctx context.Context, users []matrix.UserID) ([]Update, error) {
	return listPresence(ctx, tx, users)
}

func listPresence(ctx context.Context, q querier, users []matrix.UserID) ([]Update, error) {
	rows, err := q.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE kind = $1 AND room_nid = 0 AND user_id = ANY ($2) AND key = ''`, KindPresence, stringArray(users))
	return scanAll(rows, err, scanUpdate)
}
