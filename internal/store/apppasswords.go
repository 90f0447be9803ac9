package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// AppPassword lets a program in that speaks nothing of ours. SecretHash is the SHA-256 of the password.
type AppPassword struct {
	ID         int64
	UserID     matrix.UserID
	Name       string
	SecretHash []byte
	CreatedTS  matrix.Timestamp
	// LastUsedTS is 0 for one that was never used.
	LastUsedTS matrix.Timestamp
	LastUsedIP string
}

const appPasswordColumns = `app_password_id, user_id, name, secret_hash, created_ts, coalesce(last_used_ts, 0), coalesce(last_used_ip, '')`

func scanAppPassword(scan func(...any) error) (AppPassword, error) {
	var p AppPassword
	err := scan(&p.ID, &p.UserID, &p.Name, &p.SecretHash, &p.CreatedTS, &p.LastUsedTS, &p.LastUsedIP)
	return p, err
}

// InsertAppPassword stores a new app password and returns its id. It reports false when the user has as many as most.
func (tx *Tx) InsertAppPassword(ctx context.Context, p AppPassword, most int) (id int64, ok bool, err error) {
	// Whoever makes one waits for others who do, so that they can't pass the bound together.
	if _, err := tx.LockUser(ctx, p.UserID); err != nil {
		return 0, false, err
	}
	var n int
	if err := tx.queryRow(ctx, `SELECT count(*) FROM app_passwords WHERE user_id = $1`, string(p.UserID)).Scan(&n); err != nil || n >= most {
		return 0, false, err
	}
	err = tx.queryRow(ctx, `
		INSERT INTO app_passwords (user_id, name, secret_hash, created_ts) VALUES ($1, $2, $3, $4) RETURNING app_password_id`,
		string(p.UserID), p.Name, p.SecretHash, int64(p.CreatedTS)).Scan(&id)
	return id, err == nil, err
}

// GetAppPassword returns the app password with this hash, or ErrNotFound.
func (s *Store) GetAppPassword(ctx context.Context, hash []byte) (AppPassword, error) {
	return scanAppPassword(s.queryRow(ctx, `SELECT `+appPasswordColumns+` FROM app_passwords WHERE secret_hash = $1`, hash).Scan)
}

// ListAppPasswords returns a user's app passwords, the oldest first.
func (s *Store) ListAppPasswords(ctx context.Context, user matrix.UserID) ([]AppPassword, error) {
	rows, err := s.query(ctx, `SELECT `+appPasswordColumns+` FROM app_passwords WHERE user_id = $1 ORDER BY app_password_id`, string(user))
	return scanAll(rows, err, func(rows *sql.Rows) (AppPassword, error) { return scanAppPassword(rows.Scan) })
}

// PutAppPasswordUse notes when and from where an app password was used.
func (s *Store) PutAppPasswordUse(ctx context.Context, id int64, now matrix.Timestamp, ip string) error {
	_, err := s.exec(ctx, `UPDATE app_passwords SET last_used_ts = $2, last_used_ip = $3 WHERE app_password_id = $1`, id, int64(now), ip)
	return err
}

// DeleteAppPassword ends an app password of a user's. It reports whether there was one.
func (s *Store) DeleteAppPassword(ctx context.Context, user matrix.UserID, id int64) (bool, error) {
	n, err := s.execOnce(ctx, `DELETE FROM app_passwords WHERE user_id = $1 AND app_password_id = $2`, string(user), id)
	return n == 1, err
}

// DeleteAppPasswords ends all app passwords of a user, and the links that would make more.
func (tx *Tx) DeleteAppPasswords(ctx context.Context, user matrix.UserID) error {
	for _, statement := range []string{
		`DELETE FROM app_passwords WHERE user_id = $1`,
		`DELETE FROM phone_profile_links WHERE user_id = $1`,
	} {
		if _, err := tx.exec(ctx, statement, string(user)); err != nil {
			return err
		}
	}
	return nil
}

// PhoneProfileLink gives a phone its profile, once. LinkHash is the SHA-256 of its random part.
type PhoneProfileLink struct {
	LinkHash  []byte
	UserID    matrix.UserID
	Name      string
	ExpiresTS matrix.Timestamp
}

// PutPhoneProfileLink stores a link in place of the user's earlier ones.
func (s *Store) PutPhoneProfileLink(ctx context.Context, l PhoneProfileLink) error {
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(ctx, `DELETE FROM phone_profile_links WHERE user_id = $1`, string(l.UserID)); err != nil {
			return err
		}
		_, err := tx.exec(ctx, `INSERT INTO phone_profile_links (link_hash, user_id, name, expires_ts) VALUES ($1, $2, $3, $4)`,
			l.LinkHash, string(l.UserID), l.Name, int64(l.ExpiresTS))
		return err
	})
}

// TakePhoneProfileLink uses a link up and returns it; ErrNotFound when there is none.
func (tx *Tx) TakePhoneProfileLink(ctx context.Context, hash []byte, now matrix.Timestamp) (PhoneProfileLink, error) {
	l := PhoneProfileLink{LinkHash: hash}
	err := tx.queryRow(ctx, `
		DELETE FROM phone_profile_links WHERE link_hash = $1 AND expires_ts > $2 RETURNING user_id, name, expires_ts`,
		hash, int64(now)).Scan(&l.UserID, &l.Name, &l.ExpiresTS)
	return l, err
}

// DeletePhoneProfileLinksBefore forgets links that ended before ts, at most limit.
func (s *Store) DeletePhoneProfileLinksBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM phone_profile_links WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM phone_profile_links WHERE expires_ts < $1 LIMIT $2))`, int64(ts), limit)
}
