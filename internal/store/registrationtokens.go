package store

import (
	"context"
	"database/sql"

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

const registrationTokenColumns = `token, organisation_id, coalesce(uses_allowed, 0), uses, coalesce(expires_ts, 0), created_ts`

func scanRegistrationToken(scan func(...any) error) (RegistrationToken, error) {
	var t RegistrationToken
	err := scan(&t.Token, &t.OrganisationID, &t.UsesAllowed, &t.Uses, &t.ExpiresTS, &t.CreatedTS)
	return t, err
}

// GetRegistrationTokenOf returns a token of an organisation, good or not, or ErrNotFound.
func (s *Store) GetRegistrationTokenOf(ctx context.Context, org int64, token string) (RegistrationToken, error) {
	return scanRegistrationToken(s.queryRow(ctx, `
		SELECT `+registrationTokenColumns+` FROM registration_tokens WHERE organisation_id = $1 AND token = $2`, org, token).Scan)
}

// ListRegistrationTokens returns an organisation's tokens, those that are good or are not if valid is not nil.
func (s *Store) ListRegistrationTokens(ctx context.Context, org int64, valid *bool, now matrix.Timestamp) ([]RegistrationToken, error) {
	rows, err := s.query(ctx, `
		SELECT `+registrationTokenColumns+` FROM registration_tokens
		WHERE organisation_id = $1 AND ($2::boolean IS NULL
			OR ((uses_allowed IS NULL OR uses < uses_allowed) AND (expires_ts IS NULL OR expires_ts > $3)) = $2)
		ORDER BY created_ts, token`, org, valid, int64(now))
	return scanAll(rows, err, func(rows *sql.Rows) (RegistrationToken, error) { return scanRegistrationToken(rows.Scan) })
}

// PutRegistrationToken changes how often and until when a token is good.
func (tx *Tx) PutRegistrationToken(ctx context.Context, t RegistrationToken) error {
	_, err := tx.exec(ctx, `
		UPDATE registration_tokens SET uses_allowed = nullif($3::int, 0), expires_ts = nullif($4::bigint, 0)
		WHERE organisation_id = $1 AND token = $2`, t.OrganisationID, t.Token, t.UsesAllowed, int64(t.ExpiresTS))
	return err
}

// DeleteRegistrationToken removes a token.
func (tx *Tx) DeleteRegistrationToken(ctx context.Context, org int64, token string) error {
	_, err := tx.exec(ctx, `DELETE FROM registration_tokens WHERE organisation_id = $1 AND token = $2`, org, token)
	return err
}
