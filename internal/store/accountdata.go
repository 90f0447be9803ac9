package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// AccountDataUse is how much account data a user keeps, and what one key of it is at present.
type AccountDataUse struct {
	// Count and Bytes are of everything, deleted values not counted.
	Count int
	Bytes int64
	// Bytes of the value of the key asked for, -1 if it has none.
	KeyBytes int64
}

// GetAccountDataUse counts a user's account data, for the bounds on what a user may store.
func (s *Store) GetAccountDataUse(ctx context.Context, user matrix.UserID, room int64, typ string) (AccountDataUse, error) {
	var u AccountDataUse
	err := s.queryRow(ctx, `
		SELECT count(*), coalesce(sum(octet_length(body)), 0),
		       coalesce(max(octet_length(body)) FILTER (WHERE room_nid = $2 AND key = $3), -1)
		FROM updates WHERE user_id = $1 AND kind = $4 AND body <> ''`, string(user), room, typ, KindAccountData).
		Scan(&u.Count, &u.Bytes, &u.KeyBytes)
	return u, err
}

// ListGlobalAccountData returns the account data of the given types of many users.
func (s *Store) ListGlobalAccountData(ctx context.Context, users []matrix.UserID, types []string) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE kind = $1 AND room_nid = 0 AND user_id = ANY ($2) AND key = ANY ($3)`, KindAccountData, stringArray(users), stringArray(types))
	return scanAll(rows, err, scanUpdate)
}

// ListAccountDataAt returns a user's account data of one scope, oldest first, at most limit: room 0 is global.
func (s *Store) ListAccountDataAt(ctx context.Context, user matrix.UserID, room int64, limit int) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE kind = $1 AND room_nid = $2 AND user_id = $3 AND body <> ''
		ORDER BY position LIMIT $4`, KindAccountData, room, string(user), limit)
	return scanAll(rows, err, scanUpdate)
}
