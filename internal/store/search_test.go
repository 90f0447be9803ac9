package store_test

import (
	"slices"
	"testing"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// TestSearchMissesNothingHoweverFarApart has messages at distances that make a search go from reading to the index and from one size of
// stretch to the next, and then many of the newest messages in another room, so that the index is asked for rooms.
func TestSearchMissesNothingHoweverFarApart(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	c := &chronicle{t: t, st: storetest.Open(t, dsn)}
	c.room = 1
	c.append(store.NewEvent{EventID: "$create"})
	db := storetest.DB(t, dsn)
	run := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.Exec(statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	const newest = int64(3) << 30
	var positions []int64 // newest first
	for distance := int64(1); distance < newest-100; distance = distance*9/4 + 1 {
		positions = append(positions, newest-distance)
	}
	positions = append(positions, 100, 99)
	run(`INSERT INTO rooms SELECT (jsonb_populate_record(r, '{"room_nid": 2, "room_id": "!s:x"}')).* FROM rooms r`)
	run(`UPDATE clock SET position = $1`, newest)
	var docs []store.SearchDocument
	add := func(position, room int64) {
		run(`INSERT INTO events (position, room_nid, event_id, type, sender, origin_server_ts, depth, json)
			VALUES ($1, $2, '$' || $1::bigint, 'm.room.message', '@a:x', 1, 1, '{}')`, position, room)
		docs = append(docs, store.SearchDocument{Position: position, RoomNID: room, Sender: "@a:x", Kind: store.SearchBody, Words: "'word':1 'other':2"})
	}
	for _, p := range positions {
		add(p, 1)
	}
	for round := range 2 {
		if err := c.st.PutSearchDocuments(t.Context(), docs); err != nil {
			t.Fatal(err)
		}
		for from := range positions {
			for _, limit := range []int{1, 3, 100} {
				q := store.SearchQuery{
					Words: "'wor':* & 'other'", Rooms: []store.SearchRoom{{RoomNID: 1, OrganisationID: 1}}, Kinds: []int{store.SearchBody},
					Before: positions[from] + 1, Limit: limit,
				}
				matches, err := c.st.Search(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				var got []int64
				for _, m := range matches {
					got = append(got, m.Position)
				}
				if want := positions[from:min(from+limit, len(positions))]; !slices.Equal(got, want) {
					t.Fatalf("before %d, at most %d: got %v, want %v", q.Before, limit, got, want)
				}
			}
		}
		for i := int64(0); i < 1000 && round == 0; i++ {
			add(newest-100_000-i, 2)
		}
	}
}
