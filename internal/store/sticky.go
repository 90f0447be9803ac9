package store

import (
	"context"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// ListStickyEvents returns the rooms' events with after < position <= upTo that are still sticky at now, oldest first, at
// most limit.
func (s *Store) ListStickyEvents(ctx context.Context, rooms []int64, after, upTo int64, now matrix.Timestamp, limit int) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM sticky_events s JOIN events ON events.position = s.position JOIN rooms ON rooms.room_nid = s.room_nid
		WHERE s.room_nid = ANY ($1) AND s.position > $2 AND s.position <= $3 AND s.sticky_until > $4
		ORDER BY s.position LIMIT $5`, pq.Array(rooms), after, upTo, int64(now), limit)
	return scanAll(rows, err, scanEvent)
}

// DeleteStickyEventsBefore forgets that events were sticky until before ts, at most limit, and says how many. The events stay.
func (s *Store) DeleteStickyEventsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM sticky_events WHERE position = ANY (ARRAY (
			SELECT position FROM sticky_events WHERE sticky_until < $1 LIMIT $2))`, int64(ts), limit)
}
