// Package housekeeping removes what nobody needs any more: transaction ids after their time, interrupted sign-ins, typing of
// processes that died. One process of the deployment does it at a time, under a lease; a process that dies leaves the rest to the
// next one.
//
// Each task removes a bounded number of rows at a time, so that no transaction becomes long.
package housekeeping

import (
	"context"
	"log/slog"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// TransactionsKept is for how long the same transaction id makes the same event.
const TransactionsKept = 31 * 24 * time.Hour

// eventDeletionsKept is for how long it is known who had an event deleted: receipts are made within seconds, and name it.
const eventDeletionsKept = 7 * 24 * time.Hour

const (
	interval   = 10 * time.Minute
	leaseRetry = 30 * time.Second
	atOnce     = 5000
	leaseName  = "housekeeping"
)

// Task removes at most limit rows, and says how many it removed.
type Task struct {
	Name string
	Run  func(ctx context.Context, now time.Time, limit int) (removed int64, err error)
}

// Tasks are those of the store.
func Tasks(s *store.Store) []Task {
	return []Task{
		{"walks through spaces", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteSpaceWalksBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"OpenID tokens", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteOpenIDTokensBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"delayed events", func(ctx context.Context, _ time.Time, limit int) (int64, error) {
			return s.DeleteFinalisedDelayedEvents(ctx, limits.DelayedKept, limits.DelayedKeptPerUser, limit)
		}},
		{"transactions", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteTransactionsBefore(ctx, matrix.TimestampOf(now.Add(-TransactionsKept)), limit)
		}},
		{"interactive sessions", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteInteractiveSessionsBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"registration nonces", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteRegistrationNoncesBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"sliding sync connections", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteSlidingStatesBefore(ctx, matrix.TimestampOf(now.Add(-limits.SlidingUnused)), limit)
		}},
		{"codes that were sent to addresses", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteValidationsBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"tokens of the identity service", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteIdentityTokensBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"login tokens", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteLoginTokensBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"interrupted sign-ins with a provider", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteSSOLoginsBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"sticky events", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteStickyEventsBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"one-time keys that were given away", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteClaimedKeysBefore(ctx, matrix.TimestampOf(now.Add(-limits.ClaimedKeys)), limit)
		}},
		{"counts of keys of devices that are gone", func(ctx context.Context, _ time.Time, limit int) (int64, error) {
			return s.DeleteOrphanedKeyCounts(ctx, limit)
		}},
		{"previews of pages", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteURLPreviewsBefore(ctx, matrix.TimestampOf(now), limit)
		}},
		{"notes of events that administrators deleted", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteEventDeletionsBefore(ctx, matrix.TimestampOf(now.Add(-eventDeletionsKept)), limit)
		}},
		{"what the SFU of meetings has said", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteRTCWebhooksBefore(ctx, matrix.TimestampOf(now.Add(-2*limits.SFUWebhookAge)), limit)
		}},
		{"who was in calls that are over", func(ctx context.Context, now time.Time, limit int) (int64, error) {
			return s.DeleteRTCParticipantsBefore(ctx, matrix.TimestampOf(now.Add(-limits.CallKept)), limit)
		}},
		{"messages to devices that are gone", func(ctx context.Context, _ time.Time, limit int) (int64, error) {
			return s.DeleteOrphanedToDevice(ctx, limit)
		}},
		{"what people are found by, after an upgrade", func(ctx context.Context, _ time.Time, limit int) (int64, error) {
			return s.PutDuePersonKeys(ctx, limit)
		}},
	}
}

// Run does the tasks again and again until ctx ends.
func Run(ctx context.Context, s *store.Store, clock matrix.Clock, log *slog.Logger, tasks []Task) {
	for ctx.Err() == nil {
		lease, ok, err := s.TryLease(ctx, leaseName)
		if err == nil && ok {
			runUnder(ctx, lease, clock, log, tasks)
			lease.Release()
		}
		wake.Pause(ctx, leaseRetry)
	}
}

func runUnder(ctx context.Context, lease *store.Lease, clock matrix.Clock, log *slog.Logger, tasks []Task) {
	for ctx.Err() == nil {
		for _, t := range tasks {
			if err := Do(ctx, t, clock.Now()); err != nil && ctx.Err() == nil {
				log.Warn("housekeeping", "task", t.Name, "error", err)
			}
		}
		wake.Pause(ctx, interval)
		if lease.Check(ctx) != nil {
			return
		}
	}
}

// Do runs one task until there is nothing left to remove.
func Do(ctx context.Context, t Task, now time.Time) error {
	for {
		removed, err := t.Run(ctx, now, atOnce)
		if err != nil || removed < atOnce {
			return err
		}
	}
}
