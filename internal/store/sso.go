package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// SSOLogin is a sign-in that was sent to an OpenID provider. Hashes are SHA-256.
type SSOLogin struct {
	StateHash   []byte
	BrowserHash []byte
	Provider    string
	RedirectURL string
	ExpiresTS   matrix.Timestamp
}

// PutSSOLogin stores a sign-in that begins.
func (s *Store) PutSSOLogin(ctx context.Context, l SSOLogin) error {
	_, err := s.exec(ctx, `
		INSERT INTO sso_logins (state_hash, browser_hash, provider, redirect_url, expires_ts) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, l.StateHash, l.BrowserHash, l.Provider, l.RedirectURL, int64(l.ExpiresTS))
	return err
}

// TakeSSOLogin uses a sign-in up, for the browser that began it, and returns it; ErrNotFound when there is none.
func (s *Store) TakeSSOLogin(ctx context.Context, state, browser []byte, now matrix.Timestamp) (SSOLogin, error) {
	l := SSOLogin{StateHash: state, BrowserHash: browser}
	err := s.Write(ctx, func(tx *Tx) error {
		return tx.queryRow(ctx, `
			DELETE FROM sso_logins WHERE state_hash = $1 AND browser_hash = $2 AND expires_ts > $3
			RETURNING provider, redirect_url, expires_ts`, state, browser, int64(now)).
			Scan(&l.Provider, &l.RedirectURL, &l.ExpiresTS)
	})
	return l, err
}

// DeleteSSOLoginsBefore forgets sign-ins that were not finished before ts, at most limit.
func (s *Store) DeleteSSOLoginsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM sso_logins WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM sso_logins WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// GetSSOSubject returns the account of a provider's subject, or ErrNotFound.
func (s *Store) GetSSOSubject(ctx context.Context, provider, subject string) (matrix.UserID, error) {
	var user matrix.UserID
	err := s.queryRow(ctx, `SELECT user_id FROM sso_subjects WHERE provider = $1 AND subject = $2`, provider, subject).Scan(&user)
	return user, err
}

// PutSSOSubject makes an account that of a provider's subject, unless it has one, and returns the one that it has then.
func (s *Store) PutSSOSubject(ctx context.Context, provider, subject string, user matrix.UserID, now matrix.Timestamp) (matrix.UserID, error) {
	_, err := s.exec(ctx, `
		INSERT INTO sso_subjects (provider, subject, user_id, created_ts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		provider, subject, string(user), int64(now))
	if err != nil {
		return "", err
	}
	return s.GetSSOSubject(ctx, provider, subject)
}
