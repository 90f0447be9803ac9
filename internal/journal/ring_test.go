package journal

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

var discard = slog.New(slog.DiscardHandler)

func ringEntry(position int64, size int) Entry {
	return Entry{Position: position, Event: &store.Event{
		Position: position, EventID: matrix.EventID(fmt.Sprintf("$%d", position)), JSON: make([]byte, size),
	}}
}

func TestRingGivesUpTheOldestByCountAndBySize(t *testing.T) {
	r := newRing(100, 10, 1<<20)
	for p := int64(101); p <= 125; p++ {
		r.push([]Entry{ringEntry(p, 10)}, p)
	}
	if _, ok := r.entries(114, 125); ok {
		t.Error("the ring answered from before its floor")
	}
	entries, ok := r.entries(115, 125)
	if !ok || len(entries) != 10 || entries[0].Position != 116 {
		t.Errorf("after 115: %v, %d entries", ok, len(entries))
	}
	r = newRing(0, 1000, 5000)
	for p := int64(1); p <= 100; p++ {
		r.push([]Entry{ringEntry(p, 600)}, p)
	}
	if r.bytes > 5000 {
		t.Errorf("the ring holds %d bytes of 5000", r.bytes)
	}
	if entries, ok := r.entries(r.floor, 100); !ok || len(entries) != 5 {
		t.Errorf("after the floor: %v, %d entries", ok, len(entries))
	}
	// One entry larger than the ring leaves it empty, with the right floor.
	r.push([]Entry{ringEntry(101, 10_000)}, 101)
	if _, ok := r.entries(100, 101); ok {
		t.Error("an entry that does not fit was not given up")
	}
	if entries, ok := r.entries(101, 101); !ok || len(entries) != 0 || r.bytes != 0 {
		t.Errorf("an empty ring: %v, %d entries, %d bytes", ok, len(entries), r.bytes)
	}
}

func TestRingAnswersRangesAcrossGaps(t *testing.T) {
	r := newRing(10, 100, 1<<20)
	// 12 and 14..19 stand for nothing: units that were not stored.
	r.push([]Entry{ringEntry(11, 1), ringEntry(13, 1)}, 19)
	r.push([]Entry{ringEntry(20, 1)}, 20)
	for _, test := range []struct {
		from, to int64
		want     []int64
		ok       bool
	}{
		{10, 20, []int64{11, 13, 20}, true}, {11, 13, []int64{13}, true}, {11, 12, nil, true}, {13, 19, nil, true},
		{19, 20, []int64{20}, true}, {20, 20, nil, true}, {9, 20, nil, false}, {10, 21, nil, false},
	} {
		entries, ok := r.entries(test.from, test.to)
		if ok != test.ok || len(entries) != len(test.want) {
			t.Errorf("(%d, %d]: %v, %d entries", test.from, test.to, ok, len(entries))
			continue
		}
		for i, e := range entries {
			if e.Position != test.want[i] {
				t.Errorf("(%d, %d]: entry %d is %d", test.from, test.to, i, e.Position)
			}
		}
	}
	before, changed := r.watch()
	r.reset(500)
	<-changed
	if _, ok := r.entries(before, 500); ok || r.headPosition() != 500 {
		t.Error("a ring that began again answered from before")
	}
}

func TestRingServesWhatIsLeftOfARedactedEvent(t *testing.T) {
	r := newRing(0, 100, 1<<20)
	r.push([]Entry{ringEntry(1, 100), ringEntry(2, 100)}, 2)
	before, _ := r.entries(0, 2)
	r.redact("$1", "$redaction", []byte(`{}`))
	r.redact("$1", "$second", []byte(`{"second":1}`))
	after, _ := r.entries(0, 2)
	if e := after[0].Event; string(e.JSON) != "{}" || e.RedactedBy != "$redaction" {
		t.Errorf("the ring has %s by %s", e.JSON, e.RedactedBy)
	}
	if after[1].Event.RedactedBy != "" {
		t.Error("another event was redacted")
	}
	if before[0].Event.RedactedBy != "" {
		t.Error("an entry changed under its reader")
	}
}

func TestRedactionReachesTheRingsOfAllProcesses(t *testing.T) {
	t.Parallel()
	database := dsn(t)
	ps := []*process{startProcess(t, database), startProcess(t, database)}
	r := newRoom(t, ps[0])
	readers := []*reader{follow(t, ps[0]), follow(t, ps[1])}
	secret, err := r.send(t.Context(), ps[0])
	if err != nil {
		t.Fatal(err)
	}
	target := r.head
	redaction := r.message()
	redaction.Events[0].Type = "m.room.redaction"
	redaction.Events[0].JSON = fmt.Appendf(nil, `{"content":{"redacts":%q}}`, target)
	redaction.Events[0].Redacts, redaction.Events[0].RedactedJSON = target, []byte(`{"left":1}`)
	// The other process redacts.
	result, err := ps[1].Append(within(t), redaction)
	if err != nil || result.Outcome != store.OutcomeStored {
		t.Fatalf("redact: %v %v", result, err)
	}
	for i, p := range ps {
		readers[i].reach(t, result.Position)
		entries, ok := p.Entries(secret.Position-1, secret.Position)
		if !ok || len(entries) != 1 {
			t.Fatalf("process %d: %v, %d entries", i, ok, len(entries))
		}
		if e := entries[0].Event; string(e.JSON) != `{"left":1}` || e.RedactedBy != redaction.Events[0].EventID {
			t.Errorf("process %d still serves %s", i, e.JSON)
		}
	}
}

// An event and its redaction in one batch.
func TestRedactionInTheSameBatch(t *testing.T) {
	t.Parallel()
	p := startProcess(t, dsn(t))
	r := newRoom(t, p)
	from := p.Head()
	hold := holdClock(t, p)
	secret := r.message()
	r.head = secret.Events[0].EventID
	redaction := r.message()
	redaction.Events[0].Type = "m.room.redaction"
	redaction.Events[0].Redacts, redaction.Events[0].RedactedJSON = r.head, []byte(`{"left":1}`)
	pending := enqueue(t, p, secret, redaction)
	hold()
	results(t, pending)
	entries, _ := p.Entries(from, p.Head())
	for _, e := range entries {
		if e.Event.EventID == secret.Events[0].EventID && string(e.Event.JSON) != `{"left":1}` {
			t.Errorf("the ring serves %s", e.Event.JSON)
		}
	}
	stored, err := p.db.GetEvent(t.Context(), r.nid, secret.Events[0].EventID)
	if err != nil || string(stored.JSON) != `{"left":1}` {
		t.Errorf("the database holds %s (%v)", stored.JSON, err)
	}
}
