package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// Usages of cross-signing keys, as the database has them and /keys/query names them.
const (
	UsageMaster      = "master"
	UsageSelfSigning = "self_signing"
	UsageUserSigning = "user_signing"
)

// CrossSigningKey is a public cross-signing key of a user. JSON has the owner's signatures.
type CrossSigningKey struct {
	UserID    matrix.UserID
	Usage     string
	PublicKey string
	JSON      []byte
}

func scanCrossSigningKey(rows *sql.Rows) (CrossSigningKey, error) {
	var k CrossSigningKey
	err := rows.Scan(&k.UserID, &k.Usage, &k.PublicKey, &k.JSON)
	return k, err
}

// ListCrossSigningKeys returns the users' keys, the user-signing keys among them: only their owners may be told.
func (s *Store) ListCrossSigningKeys(ctx context.Context, users []matrix.UserID) ([]CrossSigningKey, error) {
	return listCrossSigningKeys(ctx, s, users)
}

// ListCrossSigningKeys returns the users' keys, the user-signing keys among them: only their owners may be told.
func (tx *Tx) ListCrossSigningKeys(ctx context.Context, users []matrix.UserID) ([]CrossSigningKey, error) {
	return listCrossSigningKeys(ctx, tx, users)
}

func listCrossSigningKeys(ctx context.Context, q querier, users []matrix.UserID) ([]CrossSigningKey, error) {
	rows, err := q.query(ctx, `
		SELECT user_id, usage, public_key, json FROM cross_signing_keys WHERE user_id = ANY ($1) ORDER BY user_id, usage`, stringArray(users))
	return scanAll(rows, err, scanCrossSigningKey)
}

// PutCrossSigningKey stores a key in the place of the one with the same usage.
func (tx *Tx) PutCrossSigningKey(ctx context.Context, k CrossSigningKey) error {
	_, err := tx.exec(ctx, `
		INSERT INTO cross_signing_keys (user_id, usage, public_key, json) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, json = excluded.json`,
		string(k.UserID), k.Usage, k.PublicKey, k.JSON)
	return err
}

// DeleteCrossSigningKey removes a key, and what others have signed of it.
func (tx *Tx) DeleteCrossSigningKey(ctx context.Context, k CrossSigningKey) error {
	_, err := tx.exec(ctx, `DELETE FROM cross_signing_keys WHERE user_id = $1 AND usage = $2`, string(k.UserID), k.Usage)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `DELETE FROM key_signatures WHERE user_id = $1 AND key_id = $2`, string(k.UserID), k.PublicKey)
	return err
}

// ListDevicesNamed returns those of the names that are devices of the user.
func (tx *Tx) ListDevicesNamed(ctx context.Context, user matrix.UserID, names []string) ([]matrix.DeviceID, error) {
	rows, err := tx.query(ctx, `SELECT device_id FROM devices WHERE user_id = $1 AND device_id = ANY ($2)`, string(user), stringArray(names))
	return scanAll(rows, err, scanDeviceID)
}

// HasCrossSigningKey reports whether one of the user's keys is called so.
func (tx *Tx) HasCrossSigningKey(ctx context.Context, user matrix.UserID, publicKey string) (bool, error) {
	var has bool
	err := tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM cross_signing_keys WHERE user_id = $1 AND public_key = $2)`,
		string(user), publicKey).Scan(&has)
	return has, err
}

// HasPublishedKeys reports whether others know of keys of the user or of the user's devices.
func (tx *Tx) HasPublishedKeys(ctx context.Context, user matrix.UserID) (bool, error) {
	var has bool
	err := tx.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM device_keys WHERE user_id = $1) OR EXISTS (SELECT FROM cross_signing_keys WHERE user_id = $1)`,
		string(user)).Scan(&has)
	return has, err
}

// KeySignature is what a user says of another user's key.
type KeySignature struct {
	Signer matrix.UserID
	UserID matrix.UserID
	// KeyID is the public key that was signed.
	KeyID string
	// Signatures is an object of key ids and signatures, by the signer's keys.
	Signatures []byte
}

func scanKeySignature(rows *sql.Rows) (KeySignature, error) {
	var k KeySignature
	err := rows.Scan(&k.Signer, &k.UserID, &k.KeyID, &k.Signatures)
	return k, err
}

// ListKeySignatures returns what the signer has said of the users' keys.
func (s *Store) ListKeySignatures(ctx context.Context, signer matrix.UserID, users []matrix.UserID) ([]KeySignature, error) {
	rows, err := s.query(ctx, `
		SELECT signer, user_id, key_id, signatures FROM key_signatures WHERE signer = $1 AND user_id = ANY ($2)`,
		string(signer), stringArray(users))
	return scanAll(rows, err, scanKeySignature)
}

// GetKeySignature returns what the signer has said of one key, or ErrNotFound.
func (tx *Tx) GetKeySignature(ctx context.Context, signer, user matrix.UserID, keyID string) ([]byte, error) {
	var signatures []byte
	err := tx.queryRow(ctx, `SELECT signatures FROM key_signatures WHERE signer = $1 AND user_id = $2 AND key_id = $3`,
		string(signer), string(user), keyID).Scan(&signatures)
	return signatures, err
}

// PutKeySignature stores what a user says of another user's key.
func (tx *Tx) PutKeySignature(ctx context.Context, k KeySignature) error {
	_, err := tx.exec(ctx, `
		INSERT INTO key_signatures (signer, user_id, key_id, signatures) VALUES ($1, $2, $3, $4)
		ON CONFLICT (signer, user_id, key_id) DO UPDATE SET signatures = excluded.signatures`,
		string(k.Signer), string(k.UserID), k.KeyID, k.Signatures)
	return err
}
