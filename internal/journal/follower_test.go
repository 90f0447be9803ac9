package journal

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// handled is what the handlers of one follower, on several processes, were given.
type handled struct {
	mu      sync.Mutex
	running int
	// begun counts the times that a process became the one that runs the follower, on those that think that they are.
	begun, on int
	// lost is true from when a lease's connection dies until it is certain that everybody knows: so long two may work at a time.
	lost      bool
	together  bool
	positions []int64
	by        []int
	fail      int // so many calls fail
}

func (h *handled) handle(process int) func(context.Context, []Entry) error {
	return func(ctx context.Context, entries []Entry) error {
		h.mu.Lock()
		if ctx.Err() != nil {
			h.mu.Unlock()
			return ctx.Err()
		}
		h.running++
		h.together = h.together || h.running > 1 && !h.lost
		h.mu.Unlock()
		time.Sleep(time.Millisecond)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.running--
		for _, e := range entries {
			h.positions = append(h.positions, e.Position)
			h.by = append(h.by, process)
		}
		if h.fail > 0 {
			h.fail--
			return errors.New("not now")
		}
		return nil
	}
}

// while counts, as the follower's While, the processes that think that they run it.
func (h *handled) while(ctx context.Context) {
	h.mu.Lock()
	h.begun++
	h.on++
	h.together = h.together || h.on > 1 && !h.lost
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	h.on--
	h.mu.Unlock()
}

// settle waits until one process has begun to run the follower since begun was so high, and no other one thinks that it still does.
func (h *handled) settle(t *testing.T, begun int) {
	t.Helper()
	waitFor(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		settled := h.begun > begun && h.on == 1 && h.running == 0
		h.lost = h.lost && !settled
		return settled
	})
}

// last is the position and the process that came last.
func (h *handled) last() (int64, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.positions) == 0 {
		return 0, -1
	}
	return h.positions[len(h.positions)-1], h.by[len(h.by)-1]
}

func startFollower(t *testing.T, p *process, f Follower) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Follow(ctx, f)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

func TestFollowerSeesEverythingInOrderThroughLostLeases(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	ps := []*process{startProcess(t, database), startProcess(t, database)}
	h := &handled{fail: 1}
	r := newRoom(t, ps[0])
	start := ps[0].Head()
	for i, p := range ps {
		startFollower(t, p, Follower{Name: "test", Start: start, Batch: 7, Handle: h.handle(i), While: h.while})
	}
	raw := openSQL(t, database)
	many := func() {
		t.Helper()
		var last int64
		for range 30 {
			result, err := r.send(within(t), ps[0])
			if err != nil {
				t.Fatal(err)
			}
			last = result.Position
		}
		waitFor(t, func() bool { p, _ := h.last(); return p >= last })
	}
	h.settle(t, 0)
	for range 3 {
		many()
		// The lease's connection dies, and who held it does not know at once.
		h.mu.Lock()
		h.lost = true
		begun := h.begun
		h.mu.Unlock()
		if _, err := raw.Exec(`
			SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
			WHERE locktype = 'advisory' AND datname = current_database()`); err != nil {
			t.Fatal(err)
		}
		many()
		h.settle(t, begun)
	}
	last, err := r.send(within(t), ps[0])
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { p, _ := h.last(); return p >= last.Position })
	// By now the position is saved, or will be.
	waitFor(t, func() bool {
		var saved int64
		return raw.QueryRow(`SELECT position FROM followers WHERE name = 'test'`).Scan(&saved) == nil && saved >= last.Position
	})

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.together {
		t.Error("two processes handled entries at the same time")
	}
	want := make(map[int64]bool)
	events, _, err := ps[0].db.ListJournal(t.Context(), start, last.Position)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		want[e.Position] = true
	}
	highest := start
	for i, p := range h.positions {
		// Repeats are allowed, gaps are not.
		for q := highest + 1; q < p; q++ {
			if want[q] {
				t.Fatalf("call %d: position %d came before %d", i, p, q)
			}
		}
		highest = max(highest, p)
		delete(want, p)
	}
	if len(want) > 0 {
		t.Errorf("%d positions were never handled", len(want))
	}
}

func TestFollowerMovesToAnotherProcess(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	ps := []*process{startProcess(t, database), startProcess(t, database)}
	h := &handled{}
	r := newRoom(t, ps[1])
	var leaving atomic.Bool
	handle := h.handle(0)
	stop := startFollower(t, ps[0], Follower{Name: "test", Handle: func(ctx context.Context, entries []Entry) error {
		err := handle(ctx, entries)
		if leaving.Load() {
			<-ctx.Done() // it is time to stop before what was done is saved
		}
		return err
	}})
	waitFor(t, func() bool { p, by := h.last(); return p >= ps[1].Head() && by == 0 })
	startFollower(t, ps[1], Follower{Name: "test", Handle: h.handle(1)})
	leaving.Store(true)
	before, err := r.send(within(t), ps[1])
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { p, _ := h.last(); return p >= before.Position })
	stop()
	after, err := r.send(within(t), ps[1])
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { p, by := h.last(); return p >= after.Position && by == 1 })
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.IsSorted(h.positions) {
		t.Errorf("out of order: %v", h.positions)
	}
	if n := len(slices.Compact(slices.Clone(h.positions))); n != len(h.positions) {
		t.Errorf("a clean handover repeated entries: %v", h.positions)
	}
}

// A follower whose lease is gone is told so while it works.
func TestHandlerIsCancelledWhenTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	p := startProcess(t, database)
	working := make(chan struct{}, 100)
	cancelled := make(chan struct{}, 100)
	startFollower(t, p, Follower{Name: "test", Handle: func(ctx context.Context, _ []Entry) error {
		working <- struct{}{}
		<-ctx.Done()
		cancelled <- struct{}{}
		return ctx.Err()
	}})
	newRoom(t, p)
	select {
	case <-working:
	case <-time.After(patience):
		t.Fatal("the follower never began")
	}
	raw := openSQL(t, database)
	if _, err := raw.Exec(`
		SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
		WHERE locktype = 'advisory' AND datname = current_database()`); err != nil {
		t.Fatal(err)
	}
	select {
	case <-cancelled:
	case <-time.After(patience):
		t.Error("the handler works on without a lease")
	}
}
