package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// GetFilter returns a user's stored filter, or ErrNotFound.
func (s *Store) GetFilter(ctx context.Context, user matrix.UserID, id string) ([]byte, error) {
	var filter []byte
	err := s.queryRow(ctx, `SELECT filter FROM filters WHERE user_id = $1 AND filter_id = $2`, string(user), id).Scan(&filter)
	return filter, err
}

// PutFilter stores a user's filter, unless the user has max others already: then it is false. The id is made of the content,
// so that a filter that is there stays as it is.
func (s *Store) PutFilter(ctx context.Context, user matrix.UserID, id string, filter []byte, max int) (bool, error) {
	var have bool
	err := s.queryRow(ctx, `
		WITH others AS (
			SELECT count(*) AS n FROM filters WHERE user_id = $1 AND filter_id <> $2
		), inserted AS (
			INSERT INTO filters (user_id, filter_id, filter)
			SELECT $1, $2, $3 FROM others WHERE n < $4
			ON CONFLICT DO NOTHING
			RETURNING 1
		)
		SELECT EXISTS (SELECT 1 FROM inserted) OR EXISTS (SELECT 1 FROM filters WHERE user_id = $1 AND filter_id = $2)`,
		string(user), id, filter, max).Scan(&have)
	return have, err
}
