package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
)

// SigningKey is a key that a hosted domain signs with, or once did.
type SigningKey struct {
	ServerName matrix.ServerName
	KeyID      string
	PublicKey  []byte
	// PrivateKeySealed is encrypted; nil for a former key.
	PrivateKeySealed []byte
	CreatedTS        matrix.Timestamp
	// ExpiredTS is 0 for the current key.
	ExpiredTS matrix.Timestamp
}

// ListSigningKeys returns all keys of the given domains, of each domain the oldest first. There are as many as rotations.
func (s *Store) ListSigningKeys(ctx context.Context, servers []matrix.ServerName) ([]SigningKey, error) {
	rows, err := s.query(ctx, `
		SELECT server_name, key_id, public_key, private_key_sealed, created_ts, coalesce(expired_ts, 0)
		FROM signing_keys WHERE server_name = ANY ($1) ORDER BY server_name, created_ts, key_id`, stringArray(servers))
	return scanAll(rows, err, func(rows *sql.Rows) (SigningKey, error) {
		var k SigningKey
		err := rows.Scan(&k.ServerName, &k.KeyID, &k.PublicKey, &k.PrivateKeySealed, &k.CreatedTS, &k.ExpiredTS)
		return k, err
	})
}

// InsertSigningKey stores a current key, unless the domain has one already.
func (s *Store) InsertSigningKey(ctx context.Context, k SigningKey) error {
	_, err := insertSigningKey(ctx, s, k)
	return err
}

// InsertSigningKey stores a current key, unless the domain has one already.
func (tx *Tx) InsertSigningKey(ctx context.Context, k SigningKey) error {
	_, err := insertSigningKey(ctx, tx, k)
	return err
}

func insertSigningKey(ctx context.Context, q querier, k SigningKey) (inserted int64, err error) {
	return q.exec(ctx, `
		INSERT INTO signing_keys (server_name, key_id, public_key, private_key_sealed, created_ts)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
		string(k.ServerName), k.KeyID, k.PublicKey, k.PrivateKeySealed, int64(k.CreatedTS))
}

// PutSigningKey makes k the current key in place of the one with the ID former, whose private half is removed. When former is not the
// current key any more, another process was faster and nothing changes.
func (s *Store) PutSigningKey(ctx context.Context, former string, formerExpiredTS matrix.Timestamp, k SigningKey) error {
	return s.Write(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, `
			UPDATE signing_keys SET expired_ts = $3, private_key_sealed = NULL
			WHERE server_name = $1 AND key_id = $2 AND expired_ts IS NULL`, string(k.ServerName), former, int64(formerExpiredTS))
		if err != nil || n == 0 {
			return err
		}
		if n, err = insertSigningKey(ctx, tx, k); err == nil && n == 0 {
			return fmt.Errorf("signing key %s of %s exists already", k.KeyID, k.ServerName)
		}
		return err
	})
}
