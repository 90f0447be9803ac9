package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// DeviceKeys are the identity keys of a device as everybody may see them.
type DeviceKeys struct {
	UserID      matrix.UserID
	DeviceID    matrix.DeviceID
	DisplayName string
	JSON        []byte
}

// OneTimeKey is a key to be given to one person, or a fallback key.
type OneTimeKey struct {
	UserID    matrix.UserID
	DeviceID  matrix.DeviceID
	Algorithm string
	KeyID     string
	JSON      []byte
	// Claimed: the key was given away, and JSON is the SHA-256 of what it was.
	Claimed bool
}

// KeyWanted asks for a key of a device.
type KeyWanted struct {
	UserID    matrix.UserID
	DeviceID  matrix.DeviceID
	Algorithm string
}

// KeyCount is how many keys of an algorithm wait to be claimed.
type KeyCount struct {
	Algorithm string
	Count     int
}

// KeyCounts is what a device has on offer.
type KeyCounts struct {
	// Published: the device has identity keys.
	Published bool
	OneTime   []KeyCount
	// UnusedFallback has the algorithms whose fallback key was not given out yet.
	UnusedFallback []string
	// Changed is the position of the last change, 0 if there never was one.
	Changed int64
}

// LockDevice keeps everybody else from changing a device's keys until the transaction ends. It reports false when there is no
// such device.
func (tx *Tx) LockDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (bool, error) {
	n, err := tx.exec(ctx, `SELECT FROM devices WHERE user_id = $1 AND device_id = $2 FOR NO KEY UPDATE`, string(user), string(device))
	return n == 1, err
}

// GetDeviceKeys returns a device's identity keys, or ErrNotFound.
func (tx *Tx) GetDeviceKeys(ctx context.Context, user matrix.UserID, device matrix.DeviceID) ([]byte, error) {
	var json []byte
	err := tx.queryRow(ctx, `SELECT json FROM device_keys WHERE user_id = $1 AND device_id = $2`, string(user), string(device)).Scan(&json)
	return json, err
}

// PutDeviceKeys stores a device's identity keys.
func (tx *Tx) PutDeviceKeys(ctx context.Context, user matrix.UserID, device matrix.DeviceID, json []byte) error {
	_, err := tx.exec(ctx, `
		INSERT INTO device_keys (user_id, device_id, json) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, device_id) DO UPDATE SET json = excluded.json`, string(user), string(device), json)
	return err
}

// ListDeviceKeys returns the identity keys of all devices of the users, a user's after each other. A user who exists and has none
// is there with an empty DeviceID.
func (s *Store) ListDeviceKeys(ctx context.Context, users []matrix.UserID) ([]DeviceKeys, error) {
	return listDeviceKeys(ctx, s, users)
}

// ListDeviceKeys is that of Store.
func (tx *Tx) ListDeviceKeys(ctx context.Context, users []matrix.UserID) ([]DeviceKeys, error) {
	return listDeviceKeys(ctx, tx, users)
}

// LockDeviceKeys returns the identity keys of the user's devices, and keeps everybody else from changing them until the transaction
// ends.
func (tx *Tx) LockDeviceKeys(ctx context.Context, user matrix.UserID) ([]DeviceKeys, error) {
	rows, err := tx.query(ctx, `
		SELECT k.user_id, k.device_id, coalesce(d.display_name, ''), k.json
		FROM devices d JOIN device_keys k USING (user_id, device_id)
		WHERE d.user_id = $1 ORDER BY d.device_id FOR NO KEY UPDATE OF d`, string(user))
	return scanAll(rows, err, scanDeviceKeys)
}

func scanDeviceKeys(rows *sql.Rows) (DeviceKeys, error) {
	var k DeviceKeys
	err := rows.Scan(&k.UserID, &k.DeviceID, &k.DisplayName, &k.JSON)
	return k, err
}

func listDeviceKeys(ctx context.Context, q querier, users []matrix.UserID) ([]DeviceKeys, error) {
	rows, err := q.query(ctx, `
		SELECT u.user_id, coalesce(k.device_id, ''), coalesce(d.display_name, ''), k.json
		FROM users u
		LEFT JOIN (device_keys k JOIN devices d USING (user_id, device_id)) ON k.user_id = u.user_id
		WHERE u.user_id = ANY ($1)
		ORDER BY u.user_id, k.device_id`, stringArray(users))
	return scanAll(rows, err, scanDeviceKeys)
}

// ListOneTimeKeys returns those of the device's keys that have one of the ids, keys that were given away among them.
func (tx *Tx) ListOneTimeKeys(ctx context.Context, user matrix.UserID, device matrix.DeviceID, ids []string) ([]OneTimeKey, error) {
	rows, err := tx.query(ctx, `
		SELECT user_id, device_id, algorithm, key_id, json, claimed_ts IS NOT NULL FROM one_time_keys
		WHERE user_id = $1 AND device_id = $2 AND key_id = ANY ($3)`, string(user), string(device), pq.Array(ids))
	return scanAll(rows, err, scanOneTimeKey)
}

func scanOneTimeKey(rows *sql.Rows) (OneTimeKey, error) {
	var k OneTimeKey
	err := rows.Scan(&k.UserID, &k.DeviceID, &k.Algorithm, &k.KeyID, &k.JSON, &k.Claimed)
	return k, err
}

// InsertOneTimeKeys stores new keys of a device, and drops the oldest unclaimed ones beyond keep: a client keeps the private
// halves of the newest.
func (tx *Tx) InsertOneTimeKeys(ctx context.Context, user matrix.UserID, device matrix.DeviceID, list []OneTimeKey, keep int) error {
	n := len(list)
	algorithms, ids, values := make([]string, n), make([]string, n), make(pq.ByteaArray, n)
	for i, k := range list {
		algorithms[i], ids[i], values[i] = k.Algorithm, k.KeyID, k.JSON
	}
	_, err := tx.exec(ctx, `
		INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, json)
		SELECT $1, $2, x.algorithm, x.key_id, x.json FROM unnest($3::text[], $4::text[], $5::bytea[]) AS x (algorithm, key_id, json)`,
		string(user), string(device), pq.Array(algorithms), pq.Array(ids), values)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `
		DELETE FROM one_time_keys k USING (
			SELECT algorithm, key_id FROM one_time_keys
			WHERE user_id = $1 AND device_id = $2 AND claimed_ts IS NULL ORDER BY ord DESC OFFSET $3
		) old
		WHERE k.user_id = $1 AND k.device_id = $2 AND k.algorithm = old.algorithm AND k.key_id = old.key_id`,
		string(user), string(device), keep)
	return err
}

// ListFallbackKeys returns a device's fallback keys; Claimed are those that were given out.
func (tx *Tx) ListFallbackKeys(ctx context.Context, user matrix.UserID, device matrix.DeviceID) ([]OneTimeKey, error) {
	rows, err := tx.query(ctx, `
		SELECT user_id, device_id, algorithm, key_id, json, used FROM fallback_keys WHERE user_id = $1 AND device_id = $2`,
		string(user), string(device))
	return scanAll(rows, err, scanOneTimeKey)
}

// PutFallbackKey stores an unused fallback key in the place of its algorithm's former one.
func (tx *Tx) PutFallbackKey(ctx context.Context, k OneTimeKey) error {
	_, err := tx.exec(ctx, `
		INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, json) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET key_id = excluded.key_id, json = excluded.json, used = false`,
		string(k.UserID), string(k.DeviceID), k.Algorithm, k.KeyID, k.JSON)
	return err
}

// GetKeyCounts returns what a device has on offer.
func (s *Store) GetKeyCounts(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (KeyCounts, error) {
	return getKeyCounts(ctx, s, user, device)
}

// GetKeyCounts returns what a device has on offer.
func (tx *Tx) GetKeyCounts(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (KeyCounts, error) {
	return getKeyCounts(ctx, tx, user, device)
}

func getKeyCounts(ctx context.Context, q querier, user matrix.UserID, device matrix.DeviceID) (KeyCounts, error) {
	var c KeyCounts
	var algorithms []string
	var counts []int64
	err := q.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM device_keys WHERE user_id = $1 AND device_id = $2),
		       coalesce((SELECT array_agg(algorithm ORDER BY algorithm) FROM fallback_keys
		        WHERE user_id = $1 AND device_id = $2 AND NOT used), '{}'),
		       coalesce(array_agg(k.algorithm ORDER BY k.algorithm), '{}'), coalesce(array_agg(k.n ORDER BY k.algorithm), '{}'),
		       coalesce((SELECT max(position) FROM updates WHERE kind = $3 AND room_nid = 0
		        AND (user_id = $1 AND key = $2 OR user_id = '' AND key = '')), 0)
		FROM (
			SELECT algorithm, count(*) AS n FROM one_time_keys
			WHERE user_id = $1 AND device_id = $2 AND claimed_ts IS NULL GROUP BY algorithm
		) k`, string(user), string(device), KindKeyCount).
		Scan(&c.Published, pq.Array(&c.UnusedFallback), pq.Array(&algorithms), pq.Array(&counts), &c.Changed)
	for i, algorithm := range algorithms {
		c.OneTime = append(c.OneTime, KeyCount{algorithm, int(counts[i])})
	}
	return c, err
}

// ClaimOneTimeKeys gives away one key for each that is wanted, the oldest there is. Who asks at the same moment gets another one.
// Where there is none the result has none. Every key is wanted once.
func (tx *Tx) ClaimOneTimeKeys(ctx context.Context, wanted []KeyWanted, now matrix.Timestamp) ([]OneTimeKey, error) {
	users, devices, algorithms := wantedColumns(wanted)
	rows, err := tx.query(ctx, `
		WITH picked AS MATERIALIZED (
			SELECT k.* FROM unnest($1::text[], $2::text[], $3::text[]) AS w (user_id, device_id, algorithm)
			CROSS JOIN LATERAL (
				SELECT user_id, device_id, algorithm, key_id, json FROM one_time_keys
				WHERE user_id = w.user_id AND device_id = w.device_id AND algorithm = w.algorithm AND claimed_ts IS NULL
				ORDER BY ord LIMIT 1
				FOR UPDATE SKIP LOCKED
			) k
		)
		UPDATE one_time_keys o SET claimed_ts = $4, json = sha256(o.json)
		FROM picked p
		WHERE o.user_id = p.user_id AND o.device_id = p.device_id AND o.algorithm = p.algorithm AND o.key_id = p.key_id
		RETURNING o.user_id, o.device_id, o.algorithm, o.key_id, p.json, true`, users, devices, algorithms, int64(now))
	return scanAll(rows, err, scanOneTimeKey)
}

// UseFallbackKeys returns the fallback keys of what is wanted, and marks them used. Claimed says that a key was used before.
func (tx *Tx) UseFallbackKeys(ctx context.Context, wanted []KeyWanted) ([]OneTimeKey, error) {
	users, devices, algorithms := wantedColumns(wanted)
	// The rows are locked in one order, so that two that claim keys of the same devices can't deadlock.
	rows, err := tx.query(ctx, `
		WITH found AS MATERIALIZED (
			SELECT k.user_id, k.device_id, k.algorithm, k.key_id, k.json, k.used
			FROM unnest($1::text[], $2::text[], $3::text[]) AS w (user_id, device_id, algorithm)
			JOIN fallback_keys k USING (user_id, device_id, algorithm)
			ORDER BY k.user_id, k.device_id, k.algorithm
			FOR UPDATE OF k
		), marked AS (
			UPDATE fallback_keys k SET used = true FROM found
			WHERE k.user_id = found.user_id AND k.device_id = found.device_id AND k.algorithm = found.algorithm AND NOT found.used
		)
		SELECT user_id, device_id, algorithm, key_id, json, used FROM found`, users, devices, algorithms)
	return scanAll(rows, err, scanOneTimeKey)
}

func wantedColumns(wanted []KeyWanted) (users, devices, algorithms any) {
	u, d, a := make([]string, len(wanted)), make([]string, len(wanted)), make([]string, len(wanted))
	for i, w := range wanted {
		u[i], d[i], a[i] = string(w.UserID), string(w.DeviceID), w.Algorithm
	}
	return pq.Array(u), pq.Array(d), pq.Array(a)
}

// DeleteOneTimeKeys drops the keys that a device has on offer, and marks its fallback keys used, so that the device uploads others.
// It reports false when there was nothing to drop.
func (tx *Tx) DeleteOneTimeKeys(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (bool, error) {
	dropped, err := tx.exec(ctx, `DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND claimed_ts IS NULL`,
		string(user), string(device))
	if err != nil {
		return false, err
	}
	marked, err := tx.exec(ctx, `UPDATE fallback_keys SET used = true WHERE user_id = $1 AND device_id = $2 AND NOT used`,
		string(user), string(device))
	return dropped+marked > 0, err
}

// DeleteClaimedKeysBefore forgets keys that were given away before ts, at most limit, and says how many.
func (s *Store) DeleteClaimedKeysBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM one_time_keys WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM one_time_keys WHERE claimed_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// DeleteOrphanedKeyCounts removes the notes that the counts of devices changed which are gone, at most limit, and says how many. It
// waits for nobody's locks, so that it can't be in the way of a batch that has the clock.
func (s *Store) DeleteOrphanedKeyCounts(ctx context.Context, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM updates WHERE ctid = ANY (ARRAY (
			SELECT u.ctid FROM updates u
			WHERE u.kind = $1 AND u.key <> '' AND NOT EXISTS (SELECT FROM devices d WHERE d.user_id = u.user_id AND d.device_id = u.key)
			LIMIT $2
			FOR UPDATE OF u SKIP LOCKED
		))`, KindKeyCount, limit)
}
