package journal

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest/faultproxy"
	"github.com/roomline/roomline/internal/store"
)

// REL-09: without a single notification everything arrives.

func TestEntriesArriveWithoutNotifications(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	silent := func(c *Config) { c.NoNotify = true }
	ps := []*process{startProcess(t, database, silent), startProcess(t, database, silent)}
	raw := openSQL(t, database)
	// Whoever sends one all the same fails.
	if _, err := raw.Exec(`
		CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$notified$$; END';
		DO 'BEGIN EXECUTE format($$ALTER DATABASE %I SET search_path = public, pg_catalog$$, current_database()); END'`); err != nil {
		t.Fatal(err)
	}
	readers := []*reader{follow(t, ps[0]), follow(t, ps[1])}
	var last int64
	rooms := []*room{newRoom(t, ps[0]), newRoom(t, ps[1])}
	for n := range 20 {
		result, err := rooms[n%2].send(within(t), ps[n%2])
		if err != nil {
			t.Fatal(err)
		}
		last = result.Position
	}
	for _, r := range readers {
		r.reach(t, last)
	}
	mustAgree(t, ps[0].db, readers...)
}

// REL-04: the connection is cut while a batch commits, so that nobody knows whether it did.

func TestUnknownCommitsAreStoredOnce(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	proxy := faultproxy.New(t, database, "journal_append")
	faulty, sound := startProcess(t, proxy.DSN()), startProcess(t, database)
	readers := []*reader{follow(t, faulty), follow(t, sound)}

	const writers, cuts = 4, 240
	done := make(chan struct{})
	var wg sync.WaitGroup
	var sent [writers]atomic.Int64
	total := func() (n int64) {
		for w := range sent {
			n += sent[w].Load()
		}
		return n
	}
	for w := range writers {
		r := newRoom(t, faulty)
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				u := r.message()
				if id := u.Events[0].EventID; r.n%2 == 0 {
					u.Txn = &store.Txn{User: "@alice:example.org", Device: "PHONE", Scope: "send", ID: string(id), EventID: id}
				}
				if err := insist(t.Context(), faulty, u); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				r.head = u.Events[0].EventID
				sent[w].Add(1)
			}
		})
	}
	wg.Go(func() { // what other processes store meanwhile
		r := newRoom(t, sound)
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := r.send(t.Context(), sound); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	for n := 0; proxy.Cuts() < cuts && !t.Failed(); n++ {
		before := proxy.Cuts()
		proxy.Arm(faultproxy.Cut(1 + n%3))
		waitFor(t, func() bool { return proxy.Cuts() > before || t.Failed() })
		if n%4 > 0 { // one cut in four hits the attempt that follows a cut
			stored := total()
			waitFor(t, func() bool { return total() > stored || t.Failed() })
		}
	}
	close(done)
	wg.Wait()

	raw := openSQL(t, database)
	for w := range sent {
		n := int(sent[w].Load())
		var stored, heads int
		err := raw.QueryRow(`
			SELECT count(*), count(*) FILTER (WHERE head_event_id = event_id)
			FROM events JOIN rooms USING (room_nid) WHERE event_id LIKE '$event-' || $1 || '-%'`, w+1).Scan(&stored, &heads)
		if err != nil {
			t.Fatal(err)
		}
		if stored != n+1 || heads != 1 {
			t.Errorf("writer %d was told of %d events; %d are stored, %d at the head", w, n+1, stored, heads)
		}
	}
	head, err := sound.db.GetPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		r.reach(t, head)
	}
	mustAgree(t, sound.db, readers...)
	t.Logf("%d cuts among %d events", proxy.Cuts(), total())
}

// insist appends a unit until it is known to be stored. What Append answers must be in the process's ring by then.
func insist(ctx context.Context, p *process, u store.Unit) error {
	for {
		result, err := p.Append(ctx, u)
		switch {
		case isUnavailable(err):
		case err != nil:
			return err
		case result.Outcome != store.OutcomeStored && result.Outcome != store.OutcomeAlready:
			return errors.New("outcome " + string(result.Outcome))
		case p.Head() < result.Position:
			return errors.New("answered before this process had seen what it stored")
		default:
			return nil
		}
	}
}

// The database is away: refused connections, and connections that fall silent.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*faultproxy.Proxy){"refused": (*faultproxy.Proxy).Away, "silent": (*faultproxy.Proxy).Hang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := dsn(t)
			proxy := faultproxy.New(t, database, "journal_append")
			p, other := startProcess(t, proxy.DSN()), startProcess(t, database)
			r, elsewhere := newRoom(t, p), newRoom(t, other)
			reader := follow(t, p)
			fail(proxy)
			begun := time.Now()
			u := r.message()
			result, err := p.Append(t.Context(), u)
			var says interface{ Unavailable() bool }
			if !errors.As(err, &says) || !says.Unavailable() {
				t.Fatalf("with the database away: %v %v", result, err)
			}
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("the writer had to wait for %v", took)
			}
			waitFor(t, func() bool { return !p.Fresh() })
			missed, err := elsewhere.send(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			proxy.Heal()
			if err := insist(within(t), p, u); err != nil {
				t.Errorf("after the database came back: %v", err)
			}
			reader.reach(t, missed.Position)
			waitFor(t, p.Fresh)
			head, err := other.db.GetPosition(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			reader.reach(t, head)
			mustAgree(t, other.db, reader)
		})
	}
}

// What a process had in its queue when it was told to stop is stored.
func TestStopStoresWhatWaits(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	p, auditor := startProcess(t, database), startProcess(t, database)
	r := newRoom(t, p)
	hold := holdClock(t, p)
	var pending []*Pending
	for range 600 { // more than two batches
		u := r.message()
		r.head = u.Events[0].EventID
		pending = append(pending, enqueue(t, p, u)...)
	}
	go hold()
	p.stop()
	for i, result := range results(t, pending) {
		if !isStored(result) {
			t.Fatalf("unit %d: %s", i, result.Outcome)
		}
	}
	if _, err := p.Enqueue(r.message()); !isUnavailable(err) {
		t.Errorf("a stopped journal took a unit: %v", err)
	}
	row, err := auditor.db.GetRoom(t.Context(), r.id)
	if err != nil || row.Head != r.head {
		t.Errorf("the room's head is %s, not %s (%v)", row.Head, r.head, err)
	}
}

// A process that is far behind begins again at the head, and says so.
func TestProcessFarBehindBeginsAgain(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	var mu sync.Mutex
	lost := 0
	p := newProcess(t, database)
	p.Observe(func(_ []Entry, gone bool) {
		mu.Lock()
		defer mu.Unlock()
		if gone {
			lost++
		}
	})
	raw := openSQL(t, database)
	if _, err := raw.Exec(`UPDATE clock SET position = position + 1000000`); err != nil {
		t.Fatal(err)
	}
	p.run(t)
	waitFor(t, func() bool { return p.Head() >= 1_000_000 })
	// All have been told by now.
	mu.Lock()
	defer mu.Unlock()
	if lost != 1 {
		t.Errorf("observers were told %d times that entries were missed", lost)
	}
}

func TestWriteReturnsWhenItsUpdatesAreSeen(t *testing.T) {
	t.Parallel()
	p := startProcess(t, dsn(t))
	for n := range 20 {
		key := string(rune('a' + n))
		if err := p.Write(within(t), func(*store.Tx) ([]store.Update, error) { return []store.Update{update(key)}, nil }); err != nil {
			t.Fatal(err)
		}
		entries, _ := p.Entries(0, p.Head())
		if last := entries[len(entries)-1]; last.Update.Key != key {
			t.Fatalf("after writing %s the last entry is %s", key, last.Update.Key)
		}
	}
	failed := errors.New("changed my mind")
	if err := p.Write(within(t), func(*store.Tx) ([]store.Update, error) { return []store.Update{update("never")}, failed }); !errors.Is(err, failed) {
		t.Errorf("the function's error became %v", err)
	}
	if _, err := p.db.GetUpdate(t.Context(), store.KindAccountData, 0, "@alice:example.org", "never"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a failed function stored its update (%v)", err)
	}
}
