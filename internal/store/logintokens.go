package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// LoginToken signs a device of a user in, once.
type LoginToken struct {
	// Hash is the SHA-256 of the token.
	Hash   []byte
	UserID matrix.UserID
	// SessionID is the session that asked for the token, with which it ends; 0 for none.
	SessionID int64
	ExpiresTS matrix.Timestamp
}

// PutLoginToken stores a login token.
func (s *Store) PutLoginToken(ctx context.Context, t LoginToken) error {
	_, err := s.exec(ctx, `
		INSERT INTO login_tokens (token_hash, user_id, session_id, expires_ts) VALUES ($1, $2, nullif($3::bigint, 0), $4)
		ON CONFLICT DO NOTHING`, t.Hash, string(t.UserID), t.SessionID, int64(t.ExpiresTS))
	return err
}

// TakeLoginToken uses a login token up and returns it, or ErrNotFound when it does not exist, has expired or was used.
func (s *Store) TakeLoginToken(ctx context.Context, hash []byte, now matrix.Timestamp) (LoginToken, error) {
	t := LoginToken{Hash: hash}
	err := s.Write(ctx, func(tx *Tx) error {
		return tx.queryRow(ctx, `
			DELETE FROM login_tokens t WHERE token_hash = $1 AND expires_ts > $2
				AND NOT EXISTS (SELECT FROM sessions s WHERE s.session_id = t.session_id AND s.revoked_ts IS NOT NULL)
			RETURNING user_id, coalesce(session_id, 0), expires_ts`, hash, int64(now)).
			Scan(&t.UserID, &t.SessionID, &t.ExpiresTS)
	})
	return t, err
}

// DeleteLoginTokensBefore forgets unused login tokens that ended before ts, at most limit.
func (s *Store) DeleteLoginTokensBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM login_tokens WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM login_tokens WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}
