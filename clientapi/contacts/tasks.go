package contacts

import (
	"context"
	"time"

	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Tasks are what has to be removed now and then.
func Tasks(s *store.Store) []housekeeping.Task {
	return []housekeeping.Task{
		{Name: "contacts that were deleted", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.ForgetDeletedContacts(ctx, matrix.TimestampOf(now.Add(-limits.ContactsDeletedKept)), limit)
		}},
		{Name: "links to profiles of phones", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeletePhoneProfileLinksBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{Name: "changes of the directory", Run: func(ctx context.Context, _ time.Time, limit int) (int64, error) {
			n, err := s.SettleDirectory(ctx, limit)
			return int64(n), err
		}},
	}
}
