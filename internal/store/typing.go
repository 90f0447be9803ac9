package store

import (
	"context"
)

// ListTyping returns who was typing when last heard of, in any room: updates of KindTyping that did not say stop.
func (s *Store) ListTyping(ctx context.Context, limit int) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE kind = 3 AND body <> '{"until":0}'
		ORDER BY position LIMIT $1`, limit)
	return scanAll(rows, err, scanUpdate)
}
