package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// TestLeasesLeaveTheConnectionsToRequests takes more leases than the store has connections.
func TestLeasesLeaveTheConnectionsToRequests(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	one, two := storetest.Open(t, dsn), storetest.Open(t, dsn)
	ctx := t.Context()
	take := func(s *store.Store, i int) (*store.Lease, bool) {
		t.Helper()
		lease, ok, err := s.TryLease(ctx, fmt.Sprintf("lease %d", i))
		if err != nil {
			t.Fatal(err)
		}
		return lease, ok
	}
	var held []*store.Lease
	for i := range 30 {
		lease, ok := take(one, i)
		if !ok {
			t.Fatalf("lease %d was not to be had", i)
		}
		held = append(held, lease)
		if _, ok := take(one, i); ok {
			t.Fatalf("lease %d was had twice by one process", i)
		}
		if _, ok := take(two, i); ok {
			t.Fatalf("lease %d was had twice by two processes", i)
		}
	}
	if err := one.Ping(ctx); err != nil {
		t.Fatalf("no connection was left: %v", err)
	}

	// Whoever gives up waiting takes nobody else's lease away.
	late, stop := context.WithCancel(ctx)
	stop()
	if err := held[2].Check(late); err == nil {
		t.Error("something was done after its context had ended")
	}
	if err := held[3].Check(ctx); err != nil {
		t.Errorf("a lease that is held: %v", err)
	}

	held[0].Release()
	if _, ok := take(two, 0); !ok {
		t.Error("a lease that was released was not to be had")
	}
	if err := held[0].Check(ctx); err == nil {
		t.Error("a lease that was released still stands")
	}

	// The session ends: all leases are lost, and known to be.
	db := storetest.DB(t, dsn)
	if _, err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
		WHERE locktype = 'advisory' AND datname = current_database()`); err != nil {
		t.Fatal(err)
	}
	<-held[1].Lost()
	for _, lease := range held[1:] {
		if err := lease.Check(ctx); !store.IsUnavailable(err) {
			t.Errorf("a lease whose session has ended: %v", err)
		}
		lease.Release()
	}
	// The session says that it ends before it frees its locks.
	for rows(t, dsn, `SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database WHERE locktype = 'advisory' AND datname = current_database()`) != "" {
		time.Sleep(time.Millisecond)
	}
	lease, ok := take(one, 1)
	if !ok {
		t.Fatal("a lease that was lost was not to be had again")
	}
	if held[1].Check(ctx) == nil {
		t.Error("the lease that was lost stands again")
	}
	if err := lease.PutPosition(ctx, 1); err != nil {
		t.Error(err)
	}
}
