package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// RegistrationToken lets people register.
type RegistrationToken struct {
	Token          string
	OrganisationID int64
	// UsesAllowed is 0 for any number.
	UsesAllowed int
	Uses        int
	// ExpiresTS is 0 for never.
	ExpiresTS matrix.Timestamp
	CreatedTS matrix.Timestamp
}

// GetRegistrationToken returns a token that is good at the moment now, or ErrNotFound.
func (s *Store) GetRegistrationToken(ctx context.Context, token string, now matrix.Timestamp) (RegistrationToken, error) {
	t := RegistrationToken{Token: token}
	err := s.queryRow(ctx, `
		SELECT organisation_id, coalesce(uses_allowed, 0), uses, coalesce(expires_ts, 0), created_ts FROM registration_tokens
		WHERE token = $1 AND (uses_allowed IS NULL OR uses < uses_allowed) AND (expires_ts IS NULL OR expires_ts > $2)`,
		token, int64(now)).Scan(&t.OrganisationID, &t.UsesAllowed, &t.Uses, &t.ExpiresTS, &t.CreatedTS)
	return t, err
}

// InsertRegistrationToken stores a new token. It reports false when there is one of the same name.
func (tx *Tx) InsertRegistrationToken(ctx context.Context, t RegistrationToken) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO registration_tokens (token, organisation_id, uses_allowed, expires_ts, created_ts)
		VALUES ($1, $2, nullif($3::int, 0), nullif($4::bigint, 0), $5)
		ON CONFLICT DO NOTHING`, t.Token, t.OrganisationID, t.UsesAllowed, int64(t.ExpiresTS), int64(t.CreatedTS))
	return n == 1, err
}

// PutRegistrationTokenUse counts one use. It reports false when the token is not good any more.
func (tx *Tx) PutRegistrationTokenUse(ctx context.Context, token string, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE registration_tokens SET uses = uses + 1
		WHERE token = $1 AND (uses_allowed IS NULL OR uses < uses_allowed) AND (expires_ts IS NULL OR expires_ts > $2)`,
		token, int64(now))
	return n == 1, err
}

// InsertRegistrationNonce remembers a nonce that was given out and forgets those that expired.
func (s *Store) InsertRegistrationNonce(ctx context.Context, nonce string, now, expires matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		WITH expired AS (DELETE FROM registration_nonces WHERE expires_ts <= $3)
		INSERT INTO registration_nonces (nonce, expires_ts) VALUES ($1, $2) ON CONFLICT DO NOTHING`, nonce, int64(expires), int64(now))
	return err
}

// DeleteRegistrationNonce uses a nonce up. It reports false when it was not given out, has expired or was used.
func (s *Store) DeleteRegistrationNonce(ctx context.Context, nonce string, now matrix.Timestamp) (bool, error) {
	n, err := s.execOnce(ctx, `DELETE FROM registration_nonces WHERE nonce = $1 AND expires_ts > $2`, nonce, int64(now))
	return n == 1, err
}
