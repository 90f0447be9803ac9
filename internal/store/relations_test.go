package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// chronicle appends units to one room.
type chronicle struct {
	t     *testing.T
	st    *store.Store
	room  int64
	head  matrix.EventID
	count int
}

func (c *chronicle) append(events ...store.NewEvent) int64 {
	c.t.Helper()
	unit := store.Unit{RoomNID: c.room, RoomID: "!r:x", Head: c.head}
	if c.head == "" {
		unit.Create = &store.NewRoom{RoomID: "!r:x", Version: "12", OrganisationID: 1}
		unit.Head = events[0].EventID
	}
	for _, e := range events {
		c.count++
		e.Type, e.Depth, e.OriginServerTS = "m.room.message", int64(c.count), matrix.Timestamp(c.count)
		if e.Sender == "" {
			e.Sender = "@a:x"
		}
		if e.JSON == nil {
			e.JSON = []byte(`{}`)
		}
		unit.Events = append(unit.Events, e)
	}
	var result store.Result
	err := c.st.Write(c.t.Context(), func(tx *store.Tx) (err error) {
		result, err = tx.Append(c.t.Context(), 1, unit)
		return err
	})
	if err != nil || result.Outcome != store.OutcomeStored {
		c.t.Fatalf("append: %+v, %v", result, err)
	}
	c.head = unit.Events[len(unit.Events)-1].EventID
	return result.Position
}

// rows gives the rows of a query as text.
func rows(t *testing.T, dsn, query string) string {
	t.Helper()
	db := storetest.DB(t, dsn)
	var all sql.NullString
	if err := db.QueryRow(`SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM (` + query + `) x`).Scan(&all); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return all.String
}

func related(id matrix.EventID, typ string, to matrix.EventID) store.NewEvent {
	return store.NewEvent{EventID: id, Relation: &store.Relation{Type: typ, RelatesTo: to}}
}

func redaction(id, of matrix.EventID) store.NewEvent {
	return store.NewEvent{EventID: id, Redacts: of, RedactedJSON: []byte(`{"r":1}`)}
}

func TestJournalKeepsRelationsUntilTheirEventIsRedacted(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	c := &chronicle{t: t, st: storetest.Open(t, dsn), room: 7}
	root := c.append(store.NewEvent{EventID: "$root"})
	c.append(related("$1", "m.thread", "$root"), store.NewEvent{EventID: "$plain"}, related("$2", "m.thread", "$root"))
	edit := related("$edit", "m.replace", "$1")
	like := related("$like", "m.annotation", "$1")
	like.Relation.Key = "👍"
	c.append(edit, like)
	const relations = `SELECT event_id, position - %d, relates_to, rel_type, sender, type, coalesce(key, '-') FROM relations`
	if got, want := rows(t, dsn, fmt.Sprintf(relations, root)),
		"($1,1,$root,m.thread,@a:x,m.room.message,-) ($2,3,$root,m.thread,@a:x,m.room.message,-) "+
			"($edit,4,$1,m.replace,@a:x,m.room.message,-) ($like,5,$1,m.annotation,@a:x,m.room.message,👍)"; got != want {
		t.Errorf("relations:\n got %s\nwant %s", got, want)
	}
	threads := func() string {
		return rows(t, dsn, fmt.Sprintf(`SELECT root_event_id, latest - %d, replies FROM threads`, root))
	}
	if got, want := threads(), "($root,3,2)"; got != want {
		t.Errorf("threads: got %s, want %s", got, want)
	}
	c.append(redaction("$r2", "$2"), redaction("$re", "$edit"))
	if got, want := threads(), "($root,1,1)"; got != want {
		t.Errorf("threads after a redaction: got %s, want %s", got, want)
	}
	// The same redaction again takes nothing more away, and a redacted root keeps its children.
	c.append(redaction("$again", "$2"), redaction("$rr", "$root"))
	if got, want := threads(), "($root,1,1)"; got != want {
		t.Errorf("threads after a second redaction: got %s, want %s", got, want)
	}
	if got, want := rows(t, dsn, `SELECT event_id FROM relations`), "($1) ($like)"; got != want {
		t.Errorf("relations after redactions: got %s, want %s", got, want)
	}
	c.append(redaction("$r1", "$1"))
	if got := threads(); got != "" {
		t.Errorf("a thread without replies stays: %s", got)
	}
}

func TestStickyEventsAreListedWhileTheyAreSticky(t *testing.T) {
	t.Parallel()
	c := &chronicle{t: t, st: storetest.New(t), room: 7}
	first := c.append(store.NewEvent{EventID: "$root"}, store.NewEvent{EventID: "$short", StickyUntil: 1000}, store.NewEvent{EventID: "$plain"},
		store.NewEvent{EventID: "$long", StickyUntil: 2000}, store.NewEvent{EventID: "$gone", StickyUntil: 2000})
	c.append(redaction("$redaction", "$gone"))
	list := func(after int64, now matrix.Timestamp, limit int) string {
		t.Helper()
		events, err := c.st.ListStickyWindows(t.Context(), []store.Window{{RoomNID: 7, After: after, UpTo: 1 << 62}, {RoomNID: 8, After: after, UpTo: 1 << 62}}, now, limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range events {
			ids = append(ids, string(e.EventID))
		}
		return strings.Join(ids, " ")
	}
	for _, x := range []struct {
		after int64
		now   matrix.Timestamp
		limit int
		want  string
	}{{0, 999, 10, "$short $long"}, {0, 999, 1, "$long"}, {0, 1000, 10, "$long"}, {0, 2000, 10, ""}, {first + 1, 1, 10, "$long"}} {
		if got := list(x.after, x.now, x.limit); got != x.want {
			t.Errorf("sticky after %d at %d: got %q, want %q", x.after, x.now, got, x.want)
		}
	}
	if n, err := c.st.DeleteStickyEventsBefore(t.Context(), 1500, 10); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if got := list(0, 1, 10); got != "$long" {
		t.Errorf("after deletion: %q", got)
	}
}

// TestMigrationFindsRelationsOfOlderEvents begins with the schema of the first release and events that it knew nothing more of.
func TestMigrationFindsRelationsOfOlderEvents(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "schema-1.sql"))
	if err != nil {
		t.Fatal(err)
	}
	dsn := storetest.EmptyDSN(t)
	db := storetest.DB(t, dsn)
	if _, err := db.Exec(string(text)); err != nil {
		t.Fatal(err)
	}
	for i, content := range []string{
		`{"body":"root"}`,
		`{"m.relates_to":{"event_id":"$0","rel_type":"m.thread"}}`,
		`{"m.new_content":{},"m.relates_to":{"event_id":"$0","rel_type":"m.replace"}}`,
		`{"m.relates_to":{"event_id":"$0","rel_type":"m.replace"}}`,
		`{"m.relates_to":{"event_id":"$0","key":"k","rel_type":"m.annotation"}}`,
		`{"m.relates_to":{"event_id":"$0"}}`,
		`{"m.relates_to":{"event_id":"0","rel_type":"m.thread"}}`,
		`{"m.relates_to":{"event_id":7,"rel_type":"m.thread"}}`,
		`{"body":"\u0000","m.relates_to":{"event_id":"$0","rel_type":"m.thread"}}`,
	} {
		if _, err := db.Exec(`INSERT INTO events (position, room_nid, event_id, type, sender, origin_server_ts, depth, json)
			VALUES ($1, 1, $2, 'm', '@a:x', 5, 1, $3)`, i+1, fmt.Sprintf("$%d", i), []byte(`{"content":`+content+`}`)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := store.Open(context.Background(), dsn, store.Options{AllowUnsafeSettings: true})
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	if got, want := rows(t, dsn, `SELECT event_id, rel_type, relates_to, coalesce(key, '-') FROM relations`),
		"($1,m.thread,$0,-) ($2,m.replace,$0,-) ($4,m.annotation,$0,k)"; got != want {
		t.Errorf("relations: got %s, want %s", got, want)
	}
	if got, want := rows(t, dsn, `SELECT root_event_id, latest, replies FROM threads`), "($0,2,1)"; got != want {
		t.Errorf("threads: got %s, want %s", got, want)
	}
}
