package journal

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/store"
)

// REL-06: position order is commit order.

func TestNobodySeesAPositionBeforeAllLowerOnes(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	const processes, writers, sends = 3, 4, 120
	ps := make([]*process, processes)
	for i := range ps {
		ps[i] = startProcess(t, database)
	}
	readers := make([]*reader, processes)
	for i, p := range ps {
		readers[i] = follow(t, p)
	}
	var wg sync.WaitGroup
	for i, p := range ps {
		for w := range writers {
			r := newRoom(t, p)
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), uint64(w)))
				for n := range sends {
					if err := writeSomehow(t.Context(), p, r, random, fmt.Sprintf("key-%d-%d-%d", i, w, n)); err != nil {
						t.Errorf("process %d, writer %d: %v", i, w, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	head, err := ps[0].db.GetPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		r.reach(t, head)
	}
	mustAgree(t, ps[0].db, readers...)
}

// writeSomehow stores an event, an update, or an update with a transaction of its own.
func writeSomehow(ctx context.Context, p *process, r *room, random *rand.Rand, key string) error {
	switch random.IntN(4) {
	case 0:
		_, err := p.Put(ctx, update(key))
		return err
	case 1:
		return p.Write(ctx, func(tx *store.Tx) ([]store.Update, error) { return []store.Update{update(key), update(key + "b")}, nil })
	}
	result, err := r.send(ctx, p)
	if err == nil && !isStored(result) {
		err = fmt.Errorf("outcome %s", result.Outcome)
	}
	return err
}

// overtake has one process hold a transaction open that has its position already, while another one commits. It returns
// readers on three processes that have seen everything, and whether the second process had to wait for the first.
func overtake(t *testing.T, database string) (readers []*reader, waited bool) {
	a, b, c := startProcess(t, database), startProcess(t, database), startProcess(t, database)
	roomA, roomB := newRoom(t, a), newRoom(t, b)
	start, err := a.db.GetPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{a, b, c} {
		if err := p.WaitFor(within(t), start); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, follow(t, p))
	}

	appended, release, committed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		committed <- a.db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Append(t.Context(), 1, roomA.message())
			close(appended)
			<-release
			return err
		})
	}()
	<-appended
	overtaken := make(chan store.Result, 1)
	go func() {
		result, err := roomB.send(t.Context(), b)
		if err != nil {
			t.Error(err)
		}
		overtaken <- result
	}()

	raw := openSQL(t, database)
	waitFor(t, func() bool {
		if len(overtaken) > 0 {
			return true
		}
		if err := raw.QueryRow(`
			SELECT EXISTS (SELECT 1 FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%journal_append%')`).Scan(&waited); err != nil {
			t.Fatal(err)
		}
		return waited
	})
	if waited {
		for i, r := range readers {
			if r.head.Load() != start {
				t.Errorf("reader %d is at %d while the transaction that comes after %d is open", i, r.head.Load(), start)
			}
		}
	} else {
		result := <-overtaken
		for _, r := range readers {
			r.reach(t, result.Position)
		}
	}
	close(release)
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	if waited {
		<-overtaken
	}
	last, err := roomB.send(within(t), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		r.reach(t, last.Position)
	}
	return readers, waited
}

func TestOpenTransactionHoldsBackLaterPositions(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	readers, waited := overtake(t, database)
	if !waited {
		t.Error("a batch got a position while a transaction with an earlier one was open")
	}
	db := startProcess(t, database).db
	mustAgree(t, db, readers...)
	for i, r := range readers {
		if n := len(positions(r)); n != 3 {
			t.Errorf("reader %d saw %d entries, not 3", i, n)
		}
	}
}

// The proof that the audit above can fail: positions from a sequence, which are taken before the commit.
func TestAuditNoticesPositionsFromASequence(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	breakClock(t, database)
	readers, waited := overtake(t, database)
	if waited {
		t.Fatal("the broken journal still makes one transaction wait for the other")
	}
	db := startProcess(t, database).db
	for i, r := range readers {
		faults, err := r.audit(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if len(faults) == 0 {
			t.Errorf("reader %d: the audit found nothing", i)
		} else if !strings.Contains(faults[0], "never seen") {
			t.Errorf("reader %d: the audit found something else: %s", i, faults[0])
		}
	}
}

// breakClock lets positions come from a sequence instead of the clock's row.
func breakClock(t *testing.T, database string) {
	t.Helper()
	raw := openSQL(t, database)
	var function string
	if err := raw.QueryRow(`SELECT pg_get_functiondef('journal_append'::regproc)`).Scan(&function); err != nil {
		t.Fatal(err)
	}
	begin := strings.Index(function, "UPDATE clock")
	end := begin + strings.Index(function[begin:], ";")
	base := "base := base - n_events - n_updates;"
	if begin < 0 || !strings.Contains(function[end:], base) {
		t.Fatal("journal_append does not take the clock as this test expects")
	}
	function = function[:begin] + "base := nextval('broken_clock')" + strings.Replace(function[end:], base, "", 1)
	for _, statement := range []string{
		`CREATE SEQUENCE broken_clock INCREMENT 1000`,
		`DROP TABLE clock`,
		`CREATE VIEW clock AS SELECT greatest((SELECT max(position) FROM events), (SELECT max(position) FROM updates), 0) AS position`,
		function,
	} {
		if _, err := raw.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement[:20], err)
		}
	}
}
