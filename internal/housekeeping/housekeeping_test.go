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

// task is the one of a name.
func task(t *testing.T, st *store.Store, name string) housekeeping.Task {
	t.Helper()
	for _, one := range housekeeping.Tasks(st) {
		if one.Name == name {
			return one
		}
	}
	t.Fatalf("there is no task %q", name)
	return housekeeping.Task{}
}

func TestPreviewsGoWhenTheyExpire(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	st := storetest.New(t)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, expires := range map[string]time.Time{"old": now.Add(-time.Second), "young": now.Add(time.Second)} {
		p := store.URLPreview{OrganisationID: 1, URLHash: []byte(name), Body: []byte("{}"), ExpiresTS: matrix.TimestampOf(expires)}
		if err := st.PutURLPreview(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := housekeeping.Do(ctx, task(t, st, "previews of pages"), now); err != nil {
		t.Fatal(err)
	}
	// Asked as of before both expired: what is there is found.
	before := matrix.TimestampOf(now.Add(-time.Hour))
	if _, err := st.GetURLPreview(ctx, 1, []byte("young"), before); err != nil {
		t.Errorf("a preview that is still good: %v", err)
	}
	if _, err := st.GetURLPreview(ctx, 1, []byte("old"), before); err != store.ErrNotFound {
		t.Errorf("a preview that has expired: %v, want it removed", err)
	}
}

func TestNotesOfDeletionsAreKeptForAWeek(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dsn := storetest.DSN(t)
	st := storetest.Open(t, dsn)
	db := storetest.DB(t, dsn)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for id, age := range map[string]time.Duration{"$old": 7*24*time.Hour + time.Second, "$young": 7*24*time.Hour - time.Second} {
		_, err := db.Exec(`INSERT INTO event_deletions (event_id, deleted_by, deleted_ts) VALUES ($1, '@a:x', $2)`, id, now.Add(-age).UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := housekeeping.Do(ctx, task(t, st, "notes of events that administrators deleted"), now); err != nil {
		t.Fatal(err)
	}
	var left string
	if err := db.QueryRow(`SELECT string_agg(event_id, ' ') FROM event_deletions`).Scan(&left); err != nil || left != "$young" {
		t.Errorf("left is %q (%v), want $young", left, err)
	}
}
