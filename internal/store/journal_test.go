package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// A message by itself goes another way than a batch, and nobody can tell.
func TestAMessageIsStoredAsInABatch(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	st := storetest.Open(t, dsn)
	c := &chronicle{t: t, st: st, room: 1}
	first := c.append(store.NewEvent{EventID: "$0"})
	conn, err := st.OpenJournal(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	message := func(id, head matrix.EventID, txn string) store.Unit {
		return store.Unit{
			RoomNID: 1, RoomID: "!r:x", Head: head, Txn: &store.Txn{User: "@a:x", Device: "D", Scope: "send", ID: txn, EventID: id},
			Events: []store.NewEvent{{EventID: id, Type: "m.room.message", Sender: "@a:x", OriginServerTS: 5, Depth: 2, JSON: []byte("{\"\\u0000ü\": 1}")}},
		}
	}
	for _, test := range []struct {
		name  string
		units []store.Unit
		want  []store.Result
	}{
		{"alone", []store.Unit{message("$1", "$0", "t1")}, []store.Result{{Outcome: store.OutcomeStored, Position: first + 1}}},
		{"sent again", []store.Unit{message("$1", "$0", "t1")}, []store.Result{{Outcome: store.OutcomeAlready, Position: first + 1}}},
		{"another head", []store.Unit{message("$2", "$0", "t2")}, []store.Result{{Outcome: store.OutcomeMoved}}},
		{"the transaction again", []store.Unit{message("$2", "$1", "t1")}, []store.Result{{Outcome: store.OutcomeTxn, EventID: "$1"}}},
		{"of two", []store.Unit{message("$3", "$1", "t3"), message("$4", "$3", "t4")}, nil},
		{"a transaction of two", []store.Unit{message("$5", "$4", "t3")}, []store.Result{{Outcome: store.OutcomeTxn, EventID: "$3"}}},
	} {
		got, err := conn.Append(7, test.units)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if test.want != nil && !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	// But for their names the rows are equal, and there are no others.
	alike := rows(t, dsn, `SELECT DISTINCT room_nid, type, state_key, sender, origin_server_ts, depth, redacted_by, txn_device_id, json
		FROM events WHERE event_id <> '$0'`)
	if n := rows(t, dsn, `SELECT count(*) FROM events WHERE event_id <> '$0'`); n != "(3)" || alike != `(1,m.room.message,,@a:x,5,2,,D,"\\x7b225c7530303030c3bc223a20317d")` {
		t.Errorf("%s events: %s", n, alike)
	}
	if got := rows(t, dsn, `SELECT txn_id, event_id FROM transactions`); got != "(t1,$1) (t3,$3) (t4,$4)" {
		t.Errorf("transactions: %s", got)
	}
	if got := rows(t, dsn, `SELECT head_event_id, extremities, depth FROM rooms WHERE room_nid = 1`); got != "($4,{$4},2)" {
		t.Errorf("the room: %s", got)
	}
}

// A batch is written as if all were as expected. When it is not, what was written is taken back, and each unit has what it would have by
// itself.
func TestABatchInWhichNotAllIsAsExpected(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	st := storetest.Open(t, dsn)
	conn, err := st.OpenJournal(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	unit := func(nid int64, head, id matrix.EventID, txn string) store.Unit {
		return store.Unit{
			RoomNID: nid, RoomID: "!r:x", Head: head, Txn: &store.Txn{User: "@a:x", Device: "D", Scope: "send", ID: txn, EventID: id},
			Events: []store.NewEvent{{EventID: id, Type: "m.room.message", Sender: "@a:x", Depth: 2, JSON: []byte("{}")}},
		}
	}
	var begin []store.Unit
	for nid, name := range map[int64]string{1: "a", 2: "b", 3: "c", 4: "d"} {
		u := unit(nid, matrix.EventID("$"+name), matrix.EventID("$"+name), "begin "+name)
		u.Create = &store.NewRoom{RoomID: matrix.RoomID("!" + name + ":x"), Version: "12", OrganisationID: 1}
		begin = append(begin, u)
	}
	if _, err := conn.Append(1, begin); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		units  []store.Unit
		want   []store.Outcome
		heads  string
		stored string
	}{
		{
			"all as expected",
			[]store.Unit{unit(3, "$c", "$c1", "c1"), unit(1, "$a", "$a1", "a1"), unit(3, "$c1", "$c2", "c2")},
			[]store.Outcome{store.OutcomeStored, store.OutcomeStored, store.OutcomeStored},
			"($a1) ($b) ($c2) ($d)", "($a1) ($c1) ($c2)",
		},
		{
			"a room has moved",
			[]store.Unit{unit(3, "$c2", "$c3", "c3"), unit(1, "$a", "$a2", "a2"), unit(2, "$b", "$b1", "b1")},
			[]store.Outcome{store.OutcomeStored, store.OutcomeMoved, store.OutcomeStored},
			"($a1) ($b1) ($c3) ($d)", "($a1) ($b1) ($c1) ($c2) ($c3)",
		},
		{
			"a transaction is known",
			[]store.Unit{unit(3, "$c3", "$c4", "c4"), unit(1, "$a1", "$a2", "a1"), unit(4, "$d", "$d1", "d1")},
			[]store.Outcome{store.OutcomeStored, store.OutcomeTxn, store.OutcomeStored},
			"($a1) ($b1) ($c4) ($d1)", "($a1) ($b1) ($c1) ($c2) ($c3) ($c4) ($d1)",
		},
		{
			"sent again, with one more",
			[]store.Unit{unit(3, "$c3", "$c4", "c4"), unit(2, "$b1", "$b2", "b2")},
			[]store.Outcome{store.OutcomeAlready, store.OutcomeStored},
			"($a1) ($b2) ($c4) ($d1)", "($a1) ($b1) ($b2) ($c1) ($c2) ($c3) ($c4) ($d1)",
		},
	} {
		results, err := conn.Append(7, test.units)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		for i, want := range test.want {
			if results[i].Outcome != want {
				t.Errorf("%s: unit %d is %q, want %q", test.name, i, results[i].Outcome, want)
			}
		}
		if got := rows(t, dsn, `SELECT head_event_id FROM rooms`); got != test.heads {
			t.Errorf("%s: heads are %s, want %s", test.name, got, test.heads)
		}
		if got := rows(t, dsn, `SELECT event_id FROM events WHERE event_id ~ '[0-9]'`); got != test.stored {
			t.Errorf("%s: events are %s, want %s", test.name, got, test.stored)
		}
		if got := rows(t, dsn, `SELECT event_id FROM transactions WHERE event_id ~ '[0-9]'`); got != test.stored {
			t.Errorf("%s: transactions are %s, want %s", test.name, got, test.stored)
		}
	}
}

// A transaction whose scope names no room is made in another room at the same time, which no head of a room can tell.
func TestAMessageWhoseTransactionIsBeingMadeElsewhere(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	st := storetest.Open(t, dsn)
	c := &chronicle{t: t, st: st, room: 1}
	c.append(store.NewEvent{EventID: "$0"})
	conn, err := st.OpenJournal(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	unit := store.Unit{
		RoomNID: 1, RoomID: "!r:x", Head: "$0", Txn: &store.Txn{User: "@a:x", Device: "D", Scope: "notice", ID: "t", EventID: "$1"},
		Events: []store.NewEvent{{EventID: "$1", Type: "m.room.message", Sender: "@a:x", Depth: 2, JSON: []byte("{}")}},
	}
	var results []store.Result
	appended := make(chan error, 1)
	execSQL(t, dsn, func(exec func(string)) {
		exec(`BEGIN`)
		exec(`INSERT INTO transactions (user_id, device_id, scope, txn_id, event_id, created_ts) VALUES ('@a:x', 'D', 'notice', 't', '$0', 1)`)
		go func() {
			var err error
			results, err = conn.Append(7, []store.Unit{unit})
			appended <- err
		}()
		for rows(t, dsn, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) != "(1)" {
			time.Sleep(time.Millisecond)
		}
		exec(`COMMIT`)
	})
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	if want := []store.Result{{Outcome: store.OutcomeTxn, EventID: "$0"}}; !slices.Equal(results, want) {
		t.Errorf("%+v, want %+v", results, want)
	}
	if got := rows(t, dsn, `SELECT head_event_id FROM rooms WHERE room_nid = 1`); got != "($0)" {
		t.Errorf("the room: %s", got)
	}
}

// execSQL gives f a connection to the database.
func execSQL(t *testing.T, dsn string, f func(exec func(statement string))) {
	t.Helper()
	db := storetest.DB(t, dsn)
	db.SetMaxOpenConns(1)
	f(func(statement string) {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	})
}
