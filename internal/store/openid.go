package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// OpenIDToken proves to a service who a user is. It ends with the session that asked for it.
type OpenIDToken struct {
	// Hash is the SHA-256 of the token.
	Hash   []byte
	UserID matrix.UserID
	// SessionID is 0 for a user of an application service.
	SessionID int64
	ExpiresTS matrix.Timestamp
}

// InsertOpenIDToken remembers a token that proves to a service who the user is.
func (s *Store) InsertOpenIDToken(ctx context.Context, t OpenIDToken) error {
	_, err := s.exec(ctx, `
		INSERT INTO openid_tokens (token_hash, user_id, session_id, expires_ts) VALUES ($1, $2, nullif($3::bigint, 0), $4)
		ON CONFLICT DO NOTHING`,
		t.Hash, string(t.UserID), t.SessionID, int64(t.ExpiresTS))
	return err
}

// GetOpenIDUser returns whom an OpenID token belongs to at the moment now, or ErrNotFound.
func (s *Store) GetOpenIDUser(ctx context.Context, hash []byte, now matrix.Timestamp) (matrix.UserID, error) {
	var user matrix.UserID
	err := s.queryRow(ctx, `
		SELECT t.user_id FROM openid_tokens t JOIN users u ON u.user_id = t.user_id LEFT JOIN sessions s ON s.session_id = t.session_id
		WHERE t.token_hash = $1 AND t.expires_ts > $2 AND u.deactivated_ts IS NULL AND NOT u.locked AND s.revoked_ts IS NULL`,
		hash, int64(now)).Scan(&user)
	return user, err
}

// DeleteOpenIDTokensBefore forgets OpenID tokens that ended before ts, at most limit.
func (s *Store) DeleteOpenIDTokensBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM openid_tokens WHERE token_hash = ANY (ARRAY (
			SELECT token_hash FROM openid_tokens WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}
