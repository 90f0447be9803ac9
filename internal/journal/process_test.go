package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// process is a journal with a pool of connections of its own, as a process of a deployment has them.
type process struct {
	*Journal
	db   *store.Store
	stop func()
}

var testLog = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))

// startProcess runs a journal on the database at dsn until the test ends or stop is called.
func startProcess(t testing.TB, dsn string, change ...func(*Config)) *process {
	t.Helper()
	p := newProcess(t, dsn, change...)
	p.run(t)
	return p
}

func newProcess(t testing.TB, dsn string, change ...func(*Config)) *process {
	t.Helper()
	db, err := store.Open(t.Context(), dsn, store.Options{AllowUnsafeSettings: true})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	cfg := Config{Store: db, Log: testLog, Clock: matrix.SystemClock{}, ServerName: "example.org", ProcessID: uuid()}
	for _, c := range change {
		c(&cfg)
	}
	j, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("new journal: %v", err)
	}
	return &process{Journal: j, db: db}
}

func (p *process) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	p.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(p.stop)
}

func uuid() string {
	b := make([]byte, 16)
	rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// patience bounds what a test waits for; it is no measurement.
const patience = time.Minute

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// room is a room and the head that its only writer knows.
type room struct {
	nid  int64
	id   matrix.RoomID
	head matrix.EventID
	n    int
}

// newRoom begins a room with one event.
func newRoom(t testing.TB, p *process) *room {
	t.Helper()
	nid, err := p.db.NextRoomNID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &room{nid: nid, id: matrix.RoomID(fmt.Sprintf("!room%d", nid)), head: "$nothing"}
	u := r.message()
	u.Create = &store.NewRoom{RoomID: r.id, Version: "12", OrganisationID: 1}
	result, err := p.Append(t.Context(), u)
	if err != nil || result.Outcome != store.OutcomeStored {
		t.Fatalf("begin a room: %v %v", result, err)
	}
	r.head = u.Events[0].EventID
	return r
}

// message is a unit with one event on the room's head.
func (r *room) message() store.Unit {
	r.n++
	return r.unit(matrix.EventID(fmt.Sprintf("$event-%d-%d", r.nid, r.n)))
}

func (r *room) unit(id matrix.EventID) store.Unit {
	return store.Unit{RoomNID: r.nid, RoomID: r.id, Head: r.head, Events: []store.NewEvent{{
		EventID: id, Type: "m.room.message", Sender: "@alice:example.org", OriginServerTS: 1, Depth: int64(r.n), JSON: []byte(`{}`),
	}}}
}

// send appends a message and moves the head.
func (r *room) send(ctx context.Context, p *process) (store.Result, error) {
	u := r.message()
	result, err := p.Append(ctx, u)
	if err == nil && isStored(result) {
		r.head = u.Events[0].EventID
	}
	return result, err
}

// isStored reports whether a unit is in the database: if an attempt took too long, the next one finds it there already.
func isStored(r store.Result) bool {
	return r.Outcome == store.OutcomeStored || r.Outcome == store.OutcomeAlready
}

// update is an update whose key nobody else writes.
func update(key string) store.Update {
	return store.Update{Kind: store.KindAccountData, UserID: "@alice:example.org", Key: key, Body: []byte(`{}`)}
}

// reader follows a journal from its head, as a sync does that is asked again with each token.
type reader struct {
	j     *Journal
	start int64
	head  atomic.Int64
	lost  atomic.Bool

	mu   sync.Mutex
	seen []Entry
}

func follow(t testing.TB, p *process) *reader {
	t.Helper()
	r := &reader{j: p.Journal, start: p.Head()}
	r.head.Store(r.start)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

func (r *reader) run(ctx context.Context) {
	for {
		after := r.head.Load()
		head, err := r.j.Wait(ctx, after)
		if err != nil {
			return
		}
		entries, ok := r.j.Entries(after, head)
		if !ok {
			r.lost.Store(true)
		}
		r.mu.Lock()
		r.seen = append(r.seen, entries...)
		r.mu.Unlock()
		r.head.Store(head)
	}
}

// reach waits until the reader has seen position.
func (r *reader) reach(t testing.TB, position int64) {
	t.Helper()
	waitFor(t, func() bool { return r.head.Load() >= position })
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// audit compares what a reader has seen with what the database holds, and reports what the reader missed, saw twice, out
// of order, or invented.
func (r *reader) audit(ctx context.Context, db *store.Store) ([]string, error) {
	upTo := r.head.Load()
	events, updates, err := db.ListJournal(ctx, r.start, upTo)
	if err != nil {
		return nil, err
	}
	stored := merge(events, updates)
	r.mu.Lock()
	defer r.mu.Unlock()
	var faults []string
	if r.lost.Load() {
		faults = append(faults, "the ring did not go back to where the reader was")
	}
	have := make(map[int64]Entry, len(stored))
	for _, e := range stored {
		have[e.Position] = e
	}
	last := r.start
	seen := make(map[int64]bool, len(r.seen))
	for _, e := range r.seen {
		if e.Position <= last {
			faults = append(faults, fmt.Sprintf("position %d came after %d", e.Position, last))
		}
		last = e.Position
		seen[e.Position] = true
		if in, ok := have[e.Position]; !ok || describe(in) != describe(e) {
			faults = append(faults, fmt.Sprintf("position %d was seen as %s, and is stored as %s", e.Position, describe(e), describe(in)))
		}
	}
	for _, e := range stored {
		if !seen[e.Position] {
			faults = append(faults, fmt.Sprintf("position %d was passed and never seen", e.Position))
		}
	}
	return faults, nil
}

func describe(e Entry) string {
	switch {
	case e.Event != nil:
		return string(e.Event.EventID)
	case e.Update != nil:
		return e.Update.Key
	}
	return "nothing"
}

// mustAgree fails the test if a reader has seen anything but what is stored.
func mustAgree(t *testing.T, db *store.Store, readers ...*reader) {
	t.Helper()
	for i, r := range readers {
		faults, err := r.audit(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if len(faults) > 0 {
			t.Errorf("reader %d: %d faults, the first: %s", i, len(faults), faults[0])
		}
	}
	first := positions(readers[0])
	for i, r := range readers[1:] {
		if r.start == readers[0].start && !slices.Equal(first, positions(r)) && r.head.Load() == readers[0].head.Load() {
			t.Errorf("readers 0 and %d saw different orders", i+1)
		}
	}
}

func positions(r *reader) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]int64, len(r.seen))
	for i, e := range r.seen {
		list[i] = e.Position
	}
	return list
}

// openSQL is a connection that no code of ours stands before.
func openSQL(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db := storetest.DB(t, dsn)
	return db
}

func dsn(t testing.TB) string { return storetest.DSN(t) }
