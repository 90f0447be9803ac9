package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// DeleteTransactionsBefore forgets transactions made before ts, at most limit, and says how many.
func (s *Store) DeleteTransactionsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM transactions WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM transactions WHERE created_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// DeleteInteractiveSessionsBefore forgets interrupted authentications that ended before ts, at most limit.
func (s *Store) DeleteInteractiveSessionsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM uia_sessions WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM uia_sessions WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// DeleteRegistrationNoncesBefore forgets unused nonces that ended before ts, at most limit.
func (s *Store) DeleteRegistrationNoncesBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM registration_nonces WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM registration_nonces WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}
