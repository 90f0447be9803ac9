package housekeeping_test

import (
	"context"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestTransactionsAreKeptForThirtyDays(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	st := storetest.New(t)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for id, age := range map[string]time.Duration{"old": 32 * 24 * time.Hour, "young": 30 * 24 * time.Hour} {
		err := st.Write(ctx, func(tx *store.Tx) error {
			room := int64(len(id))
			_, err := tx.Append(ctx, matrix.TimestampOf(now.Add(-age)), store.Unit{
				RoomNID: room, RoomID: matrix.RoomID("!" + id + ":x"), Head: matrix.EventID("$" + id),
				Create: &store.NewRoom{RoomID: matrix.RoomID("!" + id + ":x"), Version: "12", OrganisationID: 1},
				Events: []store.NewEvent{{EventID: matrix.EventID("$" + id), Type: "t", Sender: "@a:x", JSON: []byte("{}")}},
				Txn:    &store.Txn{User: "@a:x", Device: "D", Scope: "s", ID: id, EventID: matrix.EventID("$" + id)},
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, task := range housekeeping.Tasks(st) {
		if err := housekeeping.Do(ctx, task, now); err != nil {
			t.Fatalf("%s: %v", task.Name, err)
		}
	}
	if _, err := st.GetTransaction(ctx, "@a:x", "D", "s", "young"); err != nil {
		t.Errorf("a transaction of 30 days ago: %v", err)
	}
	if _, err := st.GetTransaction(ctx, "@a:x", "D", "s", "old"); err != store.ErrNotFound {
		t.Errorf("a transaction of 32 days ago: %v, want it forgotten", err)
	}
}
