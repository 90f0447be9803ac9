package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// InsertIdentityToken remembers a token of the identity service by its SHA-256.
func (s *Store) InsertIdentityToken(ctx context.Context, hash []byte, user matrix.UserID, now, expires matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		INSERT INTO identity_tokens (token_hash, user_id, created_ts, expires_ts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		hash, string(user), int64(now), int64(expires))
	return err
}

// GetIdentityTokenOwner returns whom a token of the identity service belongs to at the moment now, or ErrNotFound: the account may be closed, and
// is returned all the same if it is locked or suspended.
func (s *Store) GetIdentityTokenOwner(ctx context.Context, hash []byte, now matrix.Timestamp) (User, error) {
	var user matrix.UserID
	err := s.queryRow(ctx, `SELECT user_id FROM identity_tokens WHERE token_hash = $1 AND expires_ts > $2`, hash, int64(now)).Scan(&user)
	if err != nil {
		return User{}, err
	}
	return s.GetUser(ctx, user)
}

// DeleteIdentityToken ends a token. It reports whether there was one.
func (s *Store) DeleteIdentityToken(ctx context.Context, hash []byte) (bool, error) {
	n, err := s.execOnce(ctx, `DELETE FROM identity_tokens WHERE token_hash = $1`, hash)
	return n == 1, err
}

// DeleteIdentityTokens ends all tokens of a user.
func (tx *Tx) DeleteIdentityTokens(ctx context.Context, user matrix.UserID) error {
	_, err := tx.exec(ctx, `DELETE FROM identity_tokens WHERE user_id = $1`, string(user))
	return err
}

// DeleteIdentityTokensBefore forgets tokens that ended before ts, at most limit.
func (s *Store) DeleteIdentityTokensBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM identity_tokens WHERE token_hash = ANY (ARRAY (
			SELECT token_hash FROM identity_tokens WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}
