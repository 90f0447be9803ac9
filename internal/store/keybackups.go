package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// KeyBackup is a version of a user's backup of room keys, without the keys.
type KeyBackup struct {
	UserID    matrix.UserID
	Version   int64
	Algorithm string
	AuthData  []byte
	ETag      int64
	Keys      int64
	Bytes     int64
}

// BackedUpKey is a session's key in a backup.
type BackedUpKey struct {
	RoomID            matrix.RoomID
	SessionID         string
	FirstMessageIndex int64
	ForwardedCount    int64
	IsVerified        bool
	SessionData       []byte
}

// KeyRange names keys of a backup: all, those of a room, or one.
type KeyRange struct {
	RoomID    matrix.RoomID // empty: all rooms
	SessionID string        // empty: all sessions
}

const keyBackupColumns = `user_id, version, algorithm, auth_data, etag, keys, bytes`

func scanKeyBackup(scan func(...any) error) (KeyBackup, error) {
	var b KeyBackup
	err := scan(&b.UserID, &b.Version, &b.Algorithm, &b.AuthData, &b.ETag, &b.Keys, &b.Bytes)
	return b, err
}

// GetKeyBackup returns a version of the user's backup, 0 for the latest, or ErrNotFound.
func (s *Store) GetKeyBackup(ctx context.Context, user matrix.UserID, version int64) (KeyBackup, error) {
	return getKeyBackup(ctx, s, user, version, "")
}

// LockKeyBackup is GetKeyBackup that keeps everybody else from changing the backup.
func (tx *Tx) LockKeyBackup(ctx context.Context, user matrix.UserID, version int64) (KeyBackup, error) {
	return getKeyBackup(ctx, tx, user, version, "FOR UPDATE")
}

func getKeyBackup(ctx context.Context, q querier, user matrix.UserID, version int64, lock string) (KeyBackup, error) {
	return scanKeyBackup(q.queryRow(ctx, `
		SELECT `+keyBackupColumns+` FROM key_backups
		WHERE user_id = $1 AND (version = $2 OR $2 = 0) AND NOT deleted
		ORDER BY version DESC LIMIT 1 `+lock, string(user), version).Scan)
}

// GetLastKeyBackupVersion returns the last version number that the user was given, of a backup that may be deleted by now; 0
// if there was none.
func (s *Store) GetLastKeyBackupVersion(ctx context.Context, user matrix.UserID) (int64, error) {
	var version int64
	err := s.queryRow(ctx, `SELECT coalesce(max(version), 0) FROM key_backups WHERE user_id = $1`, string(user)).Scan(&version)
	return version, err
}

// CountKeyBackups counts the user's versions, and the keys and bytes of all of them.
func (tx *Tx) CountKeyBackups(ctx context.Context, user matrix.UserID) (versions, keys, bytes int64, err error) {
	err = tx.queryRow(ctx, `
		SELECT count(*), coalesce(sum(keys), 0)::bigint, coalesce(sum(bytes), 0)::bigint
		FROM key_backups WHERE user_id = $1 AND NOT deleted`, string(user)).Scan(&versions, &keys, &bytes)
	return versions, keys, bytes, err
}

// InsertKeyBackup makes the next version of the user's backup, and returns its number. The caller has locked the user.
func (tx *Tx) InsertKeyBackup(ctx context.Context, b KeyBackup) (int64, error) {
	var version int64
	err := tx.queryRow(ctx, `
		INSERT INTO key_backups (user_id, version, algorithm, auth_data, etag, keys, bytes)
		SELECT $1, coalesce(max(version), 0) + 1, $2, $3, 0, 0, 0 FROM key_backups WHERE user_id = $1
		RETURNING version`, string(b.UserID), b.Algorithm, b.AuthData).Scan(&version)
	if err != nil {
		return 0, err
	}
	// Only the last number has to be remembered of what was deleted.
	_, err = tx.exec(ctx, `DELETE FROM key_backups WHERE user_id = $1 AND deleted`, string(b.UserID))
	return version, err
}

// PutKeyBackupAuthData replaces a version's auth_data.
func (tx *Tx) PutKeyBackupAuthData(ctx context.Context, user matrix.UserID, version int64, authData []byte) error {
	_, err := tx.exec(ctx, `UPDATE key_backups SET auth_data = $3 WHERE user_id = $1 AND version = $2`, string(user), version, authData)
	return err
}

// DeleteKeyBackup removes a version with its keys. The row of the last version stays, empty.
func (tx *Tx) DeleteKeyBackup(ctx context.Context, user matrix.UserID, version int64) error {
	_, err := tx.exec(ctx, `DELETE FROM key_backup_sessions WHERE user_id = $1 AND version = $2`, string(user), version)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `
		UPDATE key_backups SET deleted = true, auth_data = '', keys = 0, bytes = 0 WHERE user_id = $1 AND version = $2`,
		string(user), version)
	return err
}

// PutBackedUpKeys stores keys in a backup that the caller has locked, and returns the backup as it is then. Of two keys for one session
// the better one stays.
//
// Spec: client-server v1.19 §server-side-key-backups
func (tx *Tx) PutBackedUpKeys(ctx context.Context, b KeyBackup, keys []BackedUpKey) (KeyBackup, error) {
	n := len(keys)
	rooms, sessions, data := make([]string, n), make([]string, n), make(pq.ByteaArray, n)
	first, forwarded, verified := make([]int64, n), make([]int64, n), make([]bool, n)
	for i, k := range keys {
		rooms[i], sessions[i], data[i] = string(k.RoomID), k.SessionID, k.SessionData
		first[i], forwarded[i], verified[i] = k.FirstMessageIndex, k.ForwardedCount, k.IsVerified
	}
	var stored, added, bytes int64
	err := tx.queryRow(ctx, `
		WITH x AS (
			SELECT * FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[], $8::bytea[])
				AS x (room_id, session_id, first, forwarded, verified, data)
		), old AS (
			SELECT s.room_id, s.session_id, octet_length(s.session_data) AS size
			FROM x JOIN key_backup_sessions s
				ON s.user_id = $1 AND s.version = $2 AND s.room_id = x.room_id AND s.session_id = x.session_id
		), stored AS (
			INSERT INTO key_backup_sessions AS s
				(user_id, version, room_id, session_id, first_message_index, forwarded_count, is_verified, session_data)
			SELECT $1, $2, room_id, session_id, first, forwarded, verified, data FROM x
			ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE
			SET first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,
			    is_verified = excluded.is_verified, session_data = excluded.session_data
			WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
				< (NOT s.is_verified, s.first_message_index, s.forwarded_count)
			RETURNING s.room_id, s.session_id, octet_length(s.session_data) AS size
		)
		SELECT count(*), count(*) FILTER (WHERE old.size IS NULL), coalesce(sum(stored.size - coalesce(old.size, 0)), 0)::bigint
		FROM stored LEFT JOIN old USING (room_id, session_id)`,
		string(b.UserID), b.Version, pq.Array(rooms), pq.Array(sessions), pq.Array(first), pq.Array(forwarded), pq.Array(verified),
		data).Scan(&stored, &added, &bytes)
	if err != nil || stored == 0 {
		return b, err
	}
	return tx.changeKeyBackup(ctx, b, added, bytes)
}

// DeleteBackedUpKeys removes keys of a backup that the caller has locked, and returns the backup as it is then.
func (tx *Tx) DeleteBackedUpKeys(ctx context.Context, b KeyBackup, r KeyRange) (KeyBackup, error) {
	var deleted, bytes int64
	err := tx.queryRow(ctx, `
		WITH gone AS (
			DELETE FROM key_backup_sessions
			WHERE user_id = $1 AND version = $2 AND ($3 = '' OR room_id = $3) AND ($4 = '' OR session_id = $4)
			RETURNING octet_length(session_data) AS size
		)
		SELECT count(*), coalesce(sum(size), 0)::bigint FROM gone`,
		string(b.UserID), b.Version, string(r.RoomID), r.SessionID).Scan(&deleted, &bytes)
	if err != nil || deleted == 0 {
		return b, err
	}
	return tx.changeKeyBackup(ctx, b, -deleted, -bytes)
}

// changeKeyBackup notes that keys were stored or deleted.
func (tx *Tx) changeKeyBackup(ctx context.Context, b KeyBackup, keys, bytes int64) (KeyBackup, error) {
	b.ETag, b.Keys, b.Bytes = b.ETag+1, b.Keys+keys, b.Bytes+bytes
	_, err := tx.exec(ctx, `UPDATE key_backups SET etag = $3, keys = $4, bytes = $5 WHERE user_id = $1 AND version = $2`,
		string(b.UserID), b.Version, b.ETag, b.Keys, b.Bytes)
	return b, err
}

// ListBackedUpKeys returns keys of a backup, by room and session: those after the given one, at most limit.
func (s *Store) ListBackedUpKeys(ctx context.Context, user matrix.UserID, version int64, r KeyRange, after BackedUpKey, limit int) (
	[]BackedUpKey, error) {
	rows, err := s.query(ctx, `
		SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data
		FROM key_backup_sessions
		WHERE user_id = $1 AND version = $2 AND ($3 = '' OR room_id = $3) AND ($4 = '' OR session_id = $4)
			AND (room_id, session_id) > ($5, $6)
		ORDER BY room_id, session_id LIMIT $7`,
		string(user), version, string(r.RoomID), r.SessionID, string(after.RoomID), after.SessionID, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (BackedUpKey, error) {
		var k BackedUpKey
		err := rows.Scan(&k.RoomID, &k.SessionID, &k.FirstMessageIndex, &k.ForwardedCount, &k.IsVerified, &k.SessionData)
		return k, err
	})
}
