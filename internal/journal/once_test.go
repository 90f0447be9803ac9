package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// REL-05: a device's transaction makes one event, on whichever processes it arrives.

// sendOnce does what the room server does with a client's transaction: it builds on the room's head as it finds it, and
// again when that has moved.
func sendOnce(ctx context.Context, p *process, id matrix.RoomID, txn string, attempt string) (matrix.EventID, error) {
	for n := range 1000 {
		row, err := p.db.GetRoom(ctx, id)
		if err != nil {
			return "", err
		}
		event := matrix.EventID(fmt.Sprintf("$%s-%s-%d", txn, attempt, n))
		u := (&room{nid: row.NID, id: id, head: row.Head}).unit(event)
		u.Txn = &store.Txn{User: "@alice:example.org", Device: "PHONE", Scope: "send " + string(id), ID: txn, EventID: event}
		result, err := p.Append(ctx, u)
		switch {
		case err != nil:
			return "", err
		case result.Outcome == store.OutcomeTxn:
			return result.EventID, nil
		case result.Outcome == store.OutcomeStored, result.Outcome == store.OutcomeAlready:
			return event, nil
		}
	}
	return "", errors.New("the head moved a thousand times")
}

func TestTransactionMakesOneEventOnTwoProcesses(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	ps := []*process{startProcess(t, database), startProcess(t, database)}
	const rooms, txns, parallel = 3, 40, 4
	ids := make([]matrix.RoomID, rooms)
	for i := range ids {
		ids[i] = newRoom(t, ps[0]).id
	}
	var mu sync.Mutex
	answers := make(map[string]map[matrix.EventID]bool)
	for txn := range txns {
		var wg sync.WaitGroup
		for _, id := range ids {
			for attempt := range parallel {
				wg.Go(func() {
					name := fmt.Sprintf("txn%d", txn)
					event, err := sendOnce(t.Context(), ps[attempt%2], id, name, fmt.Sprint(id[1:], "-", attempt))
					if err != nil {
						t.Errorf("%s %s: %v", id, name, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					key := string(id) + name
					if answers[key] == nil {
						answers[key] = make(map[matrix.EventID]bool)
					}
					answers[key][event] = true
				})
			}
		}
		wg.Wait()
	}
	for key, events := range answers {
		if len(events) != 1 {
			t.Errorf("%s was answered with %d events", key, len(events))
		}
	}
	raw := openSQL(t, database)
	var events, transactions int
	if err := raw.QueryRow(`SELECT (SELECT count(*) FROM events WHERE depth = 0), (SELECT count(*) FROM transactions)`).Scan(&events, &transactions); err != nil {
		t.Fatal(err)
	}
	if events != rooms*txns || transactions != rooms*txns {
		t.Errorf("%d events and %d transactions are stored, not %d", events, transactions, rooms*txns)
	}
}

// Two units of one transaction in one batch, the second built on the first as a quick room server does it.
func TestTransactionTwiceInOneBatch(t *testing.T) {
	t.Parallel()
	p := startProcess(t, dsn(t))
	r, other := newRoom(t, p), newRoom(t, p)
	hold := holdClock(t, p)
	txn := func(event matrix.EventID) *store.Txn {
		return &store.Txn{User: "@alice:example.org", Device: "PHONE", Scope: "send", ID: "1", EventID: event}
	}
	first := r.unit("$first")
	first.Txn = txn("$first")
	r.head = "$first"
	second := r.unit("$second")
	second.Txn = txn("$second")
	pending := enqueue(t, p, other.message(), first, second, other.unit("$bystander"))
	hold()
	outcomes := results(t, pending)
	if outcomes[1].Outcome != store.OutcomeStored {
		t.Errorf("the first: %s", outcomes[1].Outcome)
	}
	if o := outcomes[2].Outcome; o != store.OutcomeMoved && o != store.OutcomeTxn {
		t.Errorf("the second: %s", o)
	}
}

// holdClock keeps every batch from committing until the returned function is called, so that what is enqueued meanwhile
// comes into one batch.
func holdClock(t *testing.T, p *process) (release func()) {
	t.Helper()
	r := newRoom(t, p)
	raw := openSQL(t, p.db.DSN())
	tx, err := raw.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`SELECT position FROM clock FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	blocker := enqueue(t, p, r.message())
	go blocker[0].Wait(context.Background())
	waitFor(t, func() bool {
		p.queue.mu.Lock()
		defer p.queue.mu.Unlock()
		return len(p.queue.waiting) == 0
	})
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		results(t, blocker)
	}
}

func enqueue(t *testing.T, p *process, units ...store.Unit) []*Pending {
	t.Helper()
	list := make([]*Pending, len(units))
	for i, u := range units {
		var err error
		if list[i], err = p.Enqueue(u); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func results(t *testing.T, pending []*Pending) []store.Result {
	t.Helper()
	list := make([]store.Result, len(pending))
	for i, p := range pending {
		var err error
		if list[i], err = p.Wait(within(t)); err != nil {
			t.Fatalf("unit %d: %v", i, err)
		}
	}
	return list
}

func TestBrokenChainIsMoved(t *testing.T) {
	t.Parallel()
	p := startProcess(t, dsn(t))
	r, other := newRoom(t, p), newRoom(t, p)
	hold := holdClock(t, p)
	good := r.message()
	r.head = good.Events[0].EventID
	next := r.message()
	r.head = "$elsewhere"
	broken := r.message()
	r.head = broken.Events[0].EventID
	onBroken := r.message()
	pending := enqueue(t, p, good, other.message(), next, broken, onBroken)
	hold()
	want := []store.Outcome{store.OutcomeStored, store.OutcomeStored, store.OutcomeStored, store.OutcomeMoved, store.OutcomeMoved}
	for i, got := range results(t, pending) {
		if got.Outcome != want[i] {
			t.Errorf("unit %d: %s, not %s", i, got.Outcome, want[i])
		}
	}
	r.head = "$wrong"
	result, err := r.send(t.Context(), p)
	if err != nil || result.Outcome != store.OutcomeMoved {
		t.Errorf("a unit on a wrong head: %v %v", result, err)
	}
}

// A room id that exists under another number is no room that this unit begins.
func TestRoomBegunTwice(t *testing.T) {
	t.Parallel()
	p := startProcess(t, dsn(t))
	first := newRoom(t, p)
	nid, err := p.db.NextRoomNID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	twin := &room{nid: nid, id: first.id, head: "$nothing"}
	u := twin.message()
	u.Create = &store.NewRoom{RoomID: first.id, Version: "12", OrganisationID: 1}
	result, err := p.Append(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if result.Outcome != store.OutcomeMoved {
		t.Errorf("outcome %s", result.Outcome)
	}
}

// A unit that the database can't hold costs the others of its batch nothing.
func TestUnitThatCannotBeStoredFailsAlone(t *testing.T) {
	t.Parallel()
	p := startProcess(t, dsn(t))
	p.cfg.Log = discard
	good, bad := newRoom(t, p), newRoom(t, p)
	hold := holdClock(t, p)
	poison := bad.message()
	poison.Events[0].Type = "nul\x00"
	pending := enqueue(t, p, good.message(), poison)
	pending = append(pending, enqueue(t, p, store.Unit{Updates: []store.Update{update("a")}})...)
	hold()
	for i, want := range []bool{true, false, true} {
		result, err := pending[i].Wait(within(t))
		if (err == nil) != want || want && result.Outcome != store.OutcomeStored {
			t.Errorf("unit %d: %v %v", i, result, err)
		}
	}
}

func TestReplaceIsOptimistic(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	ps := []*process{startProcess(t, database), startProcess(t, database)}
	ctx := t.Context()
	none := update("k")
	none.Replaces = store.ReplacesNone
	if stored, err := ps[0].Replace(ctx, none, none); err != nil || !stored[0] || stored[1] {
		t.Fatalf("two firsts: %v %v", stored, err)
	}
	// Many processes count up by what they read; no step may be lost.
	const steps = 50
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for done := 0; done < steps; {
				have, err := ps[i%2].db.GetUpdate(ctx, store.KindAccountData, 0, "@alice:example.org", "k")
				if err != nil {
					t.Error(err)
					return
				}
				next := update("k")
				next.Replaces = have.Position
				next.Body = append(have.Body, '+')
				stored, err := ps[i%2].Replace(ctx, next)
				if err != nil {
					t.Error(err)
					return
				}
				if stored[0] {
					done++
				}
			}
		})
	}
	wg.Wait()
	have, err := ps[0].db.GetUpdate(ctx, store.KindAccountData, 0, "@alice:example.org", "k")
	if err != nil || len(have.Body) != len("{}")+4*steps {
		t.Errorf("%d steps are left of %d (%v)", len(have.Body)-2, 4*steps, err)
	}
}
