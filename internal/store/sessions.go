package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// Session is what a login made: the tokens of one device. Hashes are SHA-256 of the tokens, nil where there is no such token;
// times are 0 where there is none.
type Session struct {
	SessionID         int64
	UserID            matrix.UserID
	DeviceID          matrix.DeviceID
	CreatedTS         matrix.Timestamp
	AccessHash        []byte
	AccessExpiresTS   matrix.Timestamp
	FamilyHash        []byte
	RefreshHash       []byte
	PreviousAccess    []byte
	PreviousExpiresTS matrix.Timestamp
	PreviousRefresh   []byte
	RotationSalt      []byte
	// RevokedTS is when a replaced refresh token was used again, which ended the session.
	RevokedTS matrix.Timestamp
}

const sessionColumns = `s.session_id, s.user_id, s.device_id, s.created_ts, s.access_token_hash, coalesce(s.access_expires_ts, 0),
	s.family_hash, s.refresh_token_hash, s.previous_access_hash, coalesce(s.previous_access_expires_ts, 0), s.previous_refresh_hash,
	s.rotation_salt, coalesce(s.revoked_ts, 0)`

func (s *Session) columns() []any {
	return []any{&s.SessionID, &s.UserID, &s.DeviceID, &s.CreatedTS, &s.AccessHash, &s.AccessExpiresTS, &s.FamilyHash, &s.RefreshHash,
		&s.PreviousAccess, &s.PreviousExpiresTS, &s.PreviousRefresh, &s.RotationSalt, &s.RevokedTS}
}

// GetSessionByAccess returns the session that the hash is an access token of (the present or the previous one) and its
// account, or ErrNotFound.
func (s *Store) GetSessionByAccess(ctx context.Context, hash []byte) (Session, User, error) {
	var session Session
	var role string
	user, err := scanUser(func(dest ...any) error {
		return s.queryRow(ctx, `
			SELECT `+sessionColumns+`, u.user_id, u.organisation_id, '', u.role, u.guest, u.machine, u.locked OR o.state <> 'active',
			       u.suspended, u.erased, coalesce(u.deactivated_ts, 0), u.created_ts,
			       CASE WHEN u.guest THEN coalesce((SELECT g.role FROM guests g WHERE g.user_id = u.user_id), '') ELSE '' END
			FROM sessions s JOIN users u ON u.user_id = s.user_id JOIN organisations o ON o.organisation_id = u.organisation_id
			WHERE s.session_id = (
				SELECT session_id FROM sessions WHERE access_token_hash = $1
				UNION ALL
				SELECT session_id FROM sessions WHERE previous_access_hash = $1
				LIMIT 1
			)`, hash).Scan(append(append(session.columns(), dest...), &role)...)
	})
	user.GuestRole = role
	return session, user, err
}

// LockSessionByFamily returns the session of a refresh token's family and keeps everybody else from changing it, or ErrNotFound.
func (tx *Tx) LockSessionByFamily(ctx context.Context, family []byte) (Session, error) {
	var session Session
	err := tx.queryRow(ctx, `SELECT `+sessionColumns+` FROM sessions s WHERE s.family_hash = $1 FOR UPDATE`, family).
		Scan(session.columns()...)
	return session, err
}

// InsertSession stores the session of a login. The session that the device had before ends.
func (tx *Tx) InsertSession(ctx context.Context, s Session) (int64, error) {
	_, err := tx.exec(ctx, `DELETE FROM sessions WHERE user_id = $1 AND device_id = $2`, string(s.UserID), string(s.DeviceID))
	if err != nil {
		return 0, err
	}
	var id int64
	err = tx.queryRow(ctx, `
		INSERT INTO sessions (user_id, device_id, created_ts, access_token_hash, access_expires_ts, family_hash, refresh_token_hash)
		VALUES ($1, $2, $3, $4, nullif($5::bigint, 0), $6, $7)
		RETURNING session_id`,
		string(s.UserID), string(s.DeviceID), int64(s.CreatedTS), s.AccessHash, int64(s.AccessExpiresTS), s.FamilyHash, s.RefreshHash).Scan(&id)
	return id, err
}

// PutSessionTokens stores the tokens of a refreshed session.
func (tx *Tx) PutSessionTokens(ctx context.Context, s Session) error {
	_, err := tx.exec(ctx, `
		UPDATE sessions SET access_token_hash = $2, access_expires_ts = nullif($3::bigint, 0), refresh_token_hash = $4,
			previous_access_hash = $5, previous_access_expires_ts = nullif($6::bigint, 0), previous_refresh_hash = $7, rotation_salt = $8
		WHERE session_id = $1`,
		s.SessionID, s.AccessHash, int64(s.AccessExpiresTS), s.RefreshHash,
		s.PreviousAccess, int64(s.PreviousExpiresTS), s.PreviousRefresh, s.RotationSalt)
	return err
}

// DeletePreviousTokens ends the tokens that the last refresh replaced, because the new access token was used. It reports false
// when they had ended already, or the token was replaced meanwhile.
func (tx *Tx) DeletePreviousTokens(ctx context.Context, session int64, access []byte) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE sessions SET previous_access_hash = NULL, previous_access_expires_ts = NULL, previous_refresh_hash = NULL, rotation_salt = NULL
		WHERE session_id = $1 AND access_token_hash = $2 AND previous_refresh_hash IS NOT NULL`, session, access)
	return n == 1, err
}

// PutSessionRevoked ends a session of which a replaced refresh token was used again. The row stays until the device signs in
// again or is deleted, so that its owner is told to sign in and not that the device is unknown.
func (tx *Tx) PutSessionRevoked(ctx context.Context, session int64, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE sessions SET revoked_ts = $2, previous_access_expires_ts = NULL, previous_refresh_hash = NULL, rotation_salt = NULL
		WHERE session_id = $1`, session, int64(now))
	return err
}
