package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// User is an account.
type User struct {
	UserID         matrix.UserID
	OrganisationID int64
	// PasswordHash is a PHC string, or empty for an account without a password.
	PasswordHash string
	// Role is '', 'owner', 'people' or 'auditor': see httpapi.Role.
	Role  string
	Guest bool
	// GuestRole is what kind of guest; only GetSessionByAccess fills it.
	GuestRole string
	// Machine says that an application service acts as the account, or the server itself.
	Machine bool
	// Locked says that the account is locked, or that its organisation is not active.
	Locked    bool
	Suspended bool
	// Erased says that the owner asked for erasure when deactivating.
	Erased bool
	// DeactivatedTS is 0 for an active account.
	DeactivatedTS matrix.Timestamp
	CreatedTS     matrix.Timestamp
}

// Deactivated reports whether the account was closed for good.
func (u User) Deactivated() bool { return u.DeactivatedTS != 0 }

const userColumns = `user_id, organisation_id, coalesce(password_hash, ''), role, guest, machine,
	locked OR NOT (SELECT o.state = 'active' FROM organisations o WHERE o.organisation_id = users.organisation_id),
	suspended, erased, coalesce(deactivated_ts, 0), created_ts`

func scanUser(scan func(...any) error) (User, error) {
	var u User
	err := scan(&u.UserID, &u.OrganisationID, &u.PasswordHash, &u.Role, &u.Guest, &u.Machine, &u.Locked, &u.Suspended, &u.Erased,
		&u.DeactivatedTS, &u.CreatedTS)
	return u, err
}

// GetUser returns an account, or ErrNotFound.
func (s *Store) GetUser(ctx context.Context, user matrix.UserID) (User, error) {
	return scanUser(s.queryRow(ctx, `SELECT `+userColumns+` FROM users WHERE user_id = $1`, string(user)).Scan)
}

// GetUser returns an account, or ErrNotFound.
func (tx *Tx) GetUser(ctx context.Context, user matrix.UserID) (User, error) {
	return scanUser(tx.queryRow(ctx, `SELECT `+userColumns+` FROM users WHERE user_id = $1`, string(user)).Scan)
}

// LockUser returns an account and keeps everybody else from changing it until the transaction ends.
func (tx *Tx) LockUser(ctx context.Context, user matrix.UserID) (User, error) {
	return scanUser(tx.queryRow(ctx, `SELECT `+userColumns+` FROM users WHERE user_id = $1 FOR UPDATE`, string(user)).Scan)
}

// ListExistingUsers returns those of the user ids that are accounts here, in no order.
func (s *Store) ListExistingUsers(ctx context.Context, users []matrix.UserID) ([]User, error) {
	rows, err := s.query(ctx, `SELECT `+userColumns+` FROM users WHERE user_id = ANY ($1)`, stringArray(users))
	return scanAll(rows, err, func(rows *sql.Rows) (User, error) { return scanUser(rows.Scan) })
}

// ListUsers returns the accounts of an organisation in the order of their user ids, from the one that follows after, at most limit.
func (s *Store) ListUsers(ctx context.Context, organisation int64, after matrix.UserID, limit int) ([]User, error) {
	rows, err := s.query(ctx, `
		SELECT `+userColumns+` FROM users
		WHERE organisation_id = $1 AND user_id > $2
		ORDER BY user_id LIMIT $3`, organisation, string(after), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (User, error) { return scanUser(rows.Scan) })
}

// InsertUser stores a new account. It reports false when the user id is taken.
func (tx *Tx) InsertUser(ctx context.Context, u User) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO users (user_id, organisation_id, password_hash, role, guest, machine, created_ts)
		VALUES ($1, $2, nullif($3, ''), $4, $5, $6, $7)
		ON CONFLICT DO NOTHING`,
		string(u.UserID), u.OrganisationID, u.PasswordHash, u.Role, u.Guest, u.Machine, int64(u.CreatedTS))
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.putPersonKeys(ctx, u.UserID)
}

// PutPasswordHash replaces an account's password.
func (tx *Tx) PutPasswordHash(ctx context.Context, user matrix.UserID, hash string) error {
	_, err := tx.exec(ctx, `UPDATE users SET password_hash = nullif($2, '') WHERE user_id = $1`, string(user), hash)
	return err
}

// PutRehashedPassword replaces the hash of an unchanged password, unless the password was changed meanwhile.
func (s *Store) PutRehashedPassword(ctx context.Context, user matrix.UserID, old, hash string) error {
	_, err := s.exec(ctx, `UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2`, string(user), old, hash)
	return err
}

// PutUserLocked locks or unlocks an account.
func (tx *Tx) PutUserLocked(ctx context.Context, user matrix.UserID, locked bool) error {
	_, err := tx.exec(ctx, `UPDATE users SET locked = $2 WHERE user_id = $1`, string(user), locked)
	return err
}

// PutUserSuspended suspends an account, or lets it act again.
func (tx *Tx) PutUserSuspended(ctx context.Context, user matrix.UserID, suspended bool) error {
	_, err := tx.exec(ctx, `UPDATE users SET suspended = $2 WHERE user_id = $1`, string(user), suspended)
	return err
}

// PutUserDeactivated closes an account: its password, devices, sessions, keys, addresses, profile, private contacts and delayed events are gone. The row stays, so
// that the user id can't be taken again. Media that hung on the profile hangs there no more. With erase the account data is gone as well, and
// all media of the user is to be removed.
func (tx *Tx) PutUserDeactivated(ctx context.Context, user matrix.UserID, erase bool, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE users SET password_hash = NULL, role = '', deactivated_ts = $3, erased = $2 WHERE user_id = $1`,
		string(user), erase, int64(now))
	if err != nil {
		return err
	}
	for _, statement := range []string{
		`DELETE FROM devices WHERE user_id = $1`,
		`DELETE FROM cross_signing_keys WHERE user_id = $1`,
		`DELETE FROM key_signatures WHERE signer = $1 OR user_id = $1`,
		`DELETE FROM to_device WHERE user_id = $1`,
		`DELETE FROM key_backup_sessions WHERE user_id = $1`,
		`DELETE FROM key_backups WHERE user_id = $1`,
		`DELETE FROM user_threepids WHERE user_id = $1`,
		`DELETE FROM profiles WHERE user_id = $1`,
		`DELETE FROM person_keys WHERE user_id = $1`,
		`DELETE FROM person_keys_due WHERE user_id = $1`,
		`DELETE FROM person_fields WHERE user_id = $1`,
		`DELETE FROM uia_sessions WHERE user_id = $1`,
		`DELETE FROM login_tokens WHERE user_id = $1`,
		`DELETE FROM sso_subjects WHERE user_id = $1`,
		`DELETE FROM delayed_events WHERE user_id = $1`,
		`DELETE FROM openid_tokens WHERE user_id = $1`,
		`DELETE FROM identity_tokens WHERE user_id = $1`,
		`DELETE FROM validations WHERE user_id = $1`,
		`DELETE FROM appservice_users WHERE user_id = $1`,
		`DELETE FROM app_passwords WHERE user_id = $1`,
		`DELETE FROM phone_profile_links WHERE user_id = $1`,
		// Nobody can read private contacts any more.
		`DELETE FROM address_books WHERE user_id = $1`,
		`DELETE FROM scim_users WHERE user_id = $1`,
		`DELETE FROM scim_group_members WHERE user_id = $1`,
	} {
		if _, err := tx.exec(ctx, statement, string(user)); err != nil {
			return err
		}
	}
	if err := tx.unlinkUser(ctx, user, erase, now); err != nil || !erase {
		return err
	}
	_, err = tx.exec(ctx, `DELETE FROM updates WHERE user_id = $1 AND kind = $2`, string(user), KindAccountData)
	return err
}
