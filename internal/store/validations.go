package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// Validation is a code that was sent to an address.
type Validation struct {
	SID            string
	OrganisationID int64
	Purpose        string
	Medium         string
	Address        string
	// UserID is who asked, or whose password it is about; empty when it is nobody's.
	UserID           matrix.UserID
	ClientSecretHash []byte
	SendAttempt      int64
	// CodeHash is a keyed hash of the code.
	CodeHash []byte
	NextLink string
	// Wrong is how many wrong codes were given.
	Wrong     int
	CreatedTS matrix.Timestamp
	ExpiresTS matrix.Timestamp
	// ValidatedTS is when the code was given, 0 for not yet.
	ValidatedTS matrix.Timestamp
}

const validationColumns = `sid, organisation_id, purpose, medium, address, coalesce(user_id, ''), client_secret_hash, send_attempt, code_hash,
	next_link, wrong, created_ts, expires_ts, coalesce(validated_ts, 0)`

func scanValidation(r interface{ Scan(...any) error }) (v Validation, err error) {
	err = r.Scan(&v.SID, &v.OrganisationID, &v.Purpose, &v.Medium, &v.Address, &v.UserID, &v.ClientSecretHash, &v.SendAttempt, &v.CodeHash,
		&v.NextLink, &v.Wrong, &v.CreatedTS, &v.ExpiresTS, &v.ValidatedTS)
	return v, err
}

// GetValidation returns a validation, expired or not, or ErrNotFound.
func (s *Store) GetValidation(ctx context.Context, sid string) (Validation, error) {
	return scanValidation(s.queryRow(ctx, `SELECT `+validationColumns+` FROM validations WHERE sid = $1`, sid))
}

// LockValidation is GetValidation that nobody else changes until the transaction ends.
func (tx *Tx) LockValidation(ctx context.Context, sid string) (Validation, error) {
	return scanValidation(tx.queryRow(ctx, `SELECT `+validationColumns+` FROM validations WHERE sid = $1 FOR UPDATE`, sid))
}

// FindValidation returns the validation of an address that was asked for with a secret, or ErrNotFound.
func (s *Store) FindValidation(ctx context.Context, purpose, medium, address string, secretHash []byte) (Validation, error) {
	return scanValidation(s.queryRow(ctx, `SELECT `+validationColumns+` FROM validations
		WHERE purpose = $1 AND medium = $2 AND address = $3 AND client_secret_hash = $4`, purpose, medium, address, secretHash))
}

// InsertValidation stores a validation, or locks and returns the one that there is for the same purpose, address and secret.
func (tx *Tx) InsertValidation(ctx context.Context, v Validation) (present Validation, inserted bool, err error) {
	n, err := tx.exec(ctx, `
		INSERT INTO validations (sid, organisation_id, purpose, medium, address, user_id, client_secret_hash, send_attempt, code_hash, next_link,
			created_ts, expires_ts)
		VALUES ($1, $2, $3, $4, $5, nullif($6, ''), $7, $8, $9, $10, $11, $12)
		ON CONFLICT (purpose, medium, address, client_secret_hash) DO NOTHING`,
		v.SID, v.OrganisationID, v.Purpose, v.Medium, v.Address, string(v.UserID), v.ClientSecretHash, v.SendAttempt, v.CodeHash, v.NextLink,
		int64(v.CreatedTS), int64(v.ExpiresTS))
	if err != nil || n == 1 {
		return v, n == 1, err
	}
	present, err = scanValidation(tx.queryRow(ctx, `SELECT `+validationColumns+` FROM validations
		WHERE purpose = $1 AND medium = $2 AND address = $3 AND client_secret_hash = $4 FOR UPDATE`, v.Purpose, v.Medium, v.Address, v.ClientSecretHash))
	return present, false, err
}

// PutValidationCode gives a validation another code. Wrong codes that were given stay counted.
func (tx *Tx) PutValidationCode(ctx context.Context, v Validation) error {
	_, err := tx.exec(ctx, `UPDATE validations SET code_hash = $2, send_attempt = $3, next_link = $4, expires_ts = $5 WHERE sid = $1`,
		v.SID, v.CodeHash, v.SendAttempt, v.NextLink, int64(v.ExpiresTS))
	return err
}

// PutValidationWrong counts a wrong code.
func (tx *Tx) PutValidationWrong(ctx context.Context, sid string) error {
	_, err := tx.exec(ctx, `UPDATE validations SET wrong = wrong + 1 WHERE sid = $1`, sid)
	return err
}

// PutValidated notes that the code was given, and for how long that is known.
func (tx *Tx) PutValidated(ctx context.Context, sid string, now, expires matrix.Timestamp) error {
	_, err := tx.exec(ctx, `UPDATE validations SET validated_ts = $2, expires_ts = $3 WHERE sid = $1`, sid, int64(now), int64(expires))
	return err
}

// DeleteValidation uses a validation up. It reports whether it was there.
func (tx *Tx) DeleteValidation(ctx context.Context, sid string) (bool, error) {
	n, err := tx.exec(ctx, `DELETE FROM validations WHERE sid = $1`, sid)
	return n == 1, err
}

// DeleteValidationsBefore forgets validations that ended before ts, at most limit.
func (s *Store) DeleteValidationsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM validations WHERE sid = ANY (ARRAY (SELECT sid FROM validations WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// Attempt runs f in the transaction and takes back what it did, unless keep says otherwise or when it fails. The transaction goes on either way.
func (tx *Tx) Attempt(ctx context.Context, keep bool, f func() error) error {
	if _, err := tx.exec(ctx, `SAVEPOINT attempt`); err != nil {
		return err
	}
	failed := f()
	end := `RELEASE SAVEPOINT attempt`
	if failed != nil || !keep {
		end = `ROLLBACK TO SAVEPOINT attempt`
	}
	if _, err := tx.exec(ctx, end); err != nil {
		return err
	}
	return failed
}
