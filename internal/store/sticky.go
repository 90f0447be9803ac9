package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// ListStickyWindows returns for each window its newest events that are still sticky at now, at most limit a window, oldest first.
func (s *Store) ListStickyWindows(ctx context.Context, windows []Window, now matrix.Timestamp, limit int) ([]Event, error) {
	rooms, after, upTo := windowColumns(windows)
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (nid, after, up_to)
		CROSS JOIN LATERAL (
			SELECT position FROM sticky_events
			WHERE sticky_events.room_nid = w.nid AND position > w.after AND position <= w.up_to AND sticky_until > $4
			ORDER BY position DESC LIMIT $5
		) s
		JOIN events ON events.position = s.position
		JOIN rooms ON rooms.room_nid = w.nid
		ORDER BY events.position`, rooms, after, upTo, int64(now), limit)
	return scanAll(rows, err, scanEvent)
}

// DeleteStickyEventsBefore forgets that events were sticky until before ts, at most limit, and says how many. The events stay.
func (s *Store) DeleteStickyEventsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM sticky_events WHERE position = ANY (ARRAY (
			SELECT position FROM sticky_events WHERE sticky_until < $1 LIMIT $2))`, int64(ts), limit)
}
