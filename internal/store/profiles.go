package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// ProfileField is one field of a user's profile. Value is its JSON.
type ProfileField struct {
	UserID matrix.UserID
	Key    string
	Value  []byte
}

const profileColumns = `user_id, key, value`

func scanProfileField(rows *sql.Rows) (ProfileField, error) {
	var f ProfileField
	err := rows.Scan(&f.UserID, &f.Key, &f.Value)
	return f, err
}

// GetProfileField returns the JSON of one field, or ErrNotFound.
func (s *Store) GetProfileField(ctx context.Context, user matrix.UserID, key string) ([]byte, error) {
	var value []byte
	err := s.queryRow(ctx, `SELECT value FROM profiles WHERE user_id = $1 AND key = $2`, string(user), key).Scan(&value)
	return value, err
}

// ListProfileFields returns a user's whole profile. Its size is bounded where fields are put.
func (s *Store) ListProfileFields(ctx context.Context, user matrix.UserID) ([]ProfileField, error) {
	return listProfileFields(ctx, s, user)
}

// ListProfileFields returns a user's whole profile.
func (tx *Tx) ListProfileFields(ctx context.Context, user matrix.UserID) ([]ProfileField, error) {
	return listProfileFields(ctx, tx, user)
}

func listProfileFields(ctx context.Context, q querier, user matrix.UserID) ([]ProfileField, error) {
	rows, err := q.query(ctx, `SELECT `+profileColumns+` FROM profiles WHERE user_id = $1 ORDER BY key`, string(user))
	return scanAll(rows, err, scanProfileField)
}

// ListProfiles returns the given fields of many users, for example displayname and avatar_url of a room's new members.
func (s *Store) ListProfiles(ctx context.Context, users []matrix.UserID, keys []string) ([]ProfileField, error) {
	rows, err := s.query(ctx, `
		SELECT `+profileColumns+` FROM profiles WHERE user_id = ANY ($1) AND key = ANY ($2) ORDER BY user_id, key`,
		stringArray(users), stringArray(keys))
	return scanAll(rows, err, scanProfileField)
}

// PutProfileField stores one field.
func (tx *Tx) PutProfileField(ctx context.Context, f ProfileField) error {
	_, err := tx.exec(ctx, `
		INSERT INTO profiles (user_id, key, value) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, key) DO UPDATE SET value = excluded.value`, string(f.UserID), f.Key, f.Value)
	if err != nil || f.Key != "displayname" {
		return err
	}
	return tx.putPersonKeys(ctx, f.UserID)
}

// DeleteProfileField removes one field. It reports whether there was one.
func (tx *Tx) DeleteProfileField(ctx context.Context, user matrix.UserID, key string) (bool, error) {
	n, err := tx.exec(ctx, `DELETE FROM profiles WHERE user_id = $1 AND key = $2`, string(user), key)
	if err != nil || n == 0 || key != "displayname" {
		return n == 1, err
	}
	return true, tx.putPersonKeys(ctx, user)
}
