package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/lib/pq"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
)

// The index of messages for searching. A document has, besides its words, four lexemes that no word can be: r/ and its room, o/ and
// the room's organisation, b/ and c/ with the stretch of positions that it lies in. With them the index narrows a search down to
// somebody's rooms, and to the newest stretches first: of a word that stands in every third message nobody wants all.

// Kinds of documents: the key that was indexed.
const (
	SearchBody  = 1 // content.body of m.room.message
	SearchName  = 2 // content.name of m.room.name
	SearchTopic = 3 // content.topic of m.room.topic
)

// SearchDocument is what can be found of one event.
type SearchDocument struct {
	Position int64
	RoomNID  int64
	Sender   matrix.UserID
	Kind     int
	HasURL   bool
	// Edit is the position of the edit whose text this is, or 0.
	Edit int64
	// Words is a tsvector as text.
	Words string
}

// The stretches of positions: 2^14 and 2^20.
const (
	fineBits   = 14
	coarseBits = 20
)

// PutSearchDocuments stores documents, in the place of earlier ones of the same events. Encrypted rooms have none. One that was redacted in
// the meantime gets none either. The disk is not waited for: the follower saves its position afterwards, so what a crash of the database
// loses is indexed again.
func (s *Store) PutSearchDocuments(ctx context.Context, docs []SearchDocument) error {
	if len(docs) == 0 {
		return nil
	}
	n := len(docs)
	positions, rooms, edits, kinds := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	senders, words, urls := make([]string, n), make([]string, n), make([]bool, n)
	for i, d := range docs {
		positions[i], rooms[i], edits[i], kinds[i] = d.Position, d.RoomNID, d.Edit, int64(d.Kind)
		senders[i], words[i], urls[i] = string(d.Sender), d.Words, d.HasURL
	}
	_, err := s.exec(ctx, fmt.Sprintf(`
		WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
		INSERT INTO search_documents (position, room_nid, sender, kind, has_url, edit, words)
		SELECT DISTINCT ON (x.position) x.position, x.room, x.sender, x.kind, x.url, nullif(x.edit, 0),
		       x.words::tsvector || array_to_tsvector(ARRAY['r/' || x.room, 'o/' || rooms.organisation_id,
		                                                    'b/' || (x.position >> %d), 'c/' || (x.position >> %d)])
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::int[], $5::boolean[], $6::bigint[], $7::text[])
			WITH ORDINALITY AS x (position, room, sender, kind, url, edit, words, ord)
		CROSS JOIN quick
		JOIN rooms ON rooms.room_nid = x.room
		JOIN events ON events.position = x.position AND events.redacted_by IS NULL
		WHERE NOT EXISTS (
			SELECT FROM room_state s WHERE s.room_nid = x.room AND s.type = 'm.room.encryption' AND s.state_key = ''
				AND s.until = 9223372036854775807)
		ORDER BY x.position, x.ord DESC
		ON CONFLICT (position) DO UPDATE
		SET has_url = excluded.has_url, edit = excluded.edit, words = excluded.words`, fineBits, coarseBits),
		int8Array(positions), int8Array(rooms), textArray(senders), int4Array(kinds), pq.Array(urls), int8Array(edits), textArray(words))
	return err
}

// DeleteSearchDocuments removes what can be found of events, and returns the positions of those whose text was that of one of them:
// they have to be indexed again.
func (s *Store) DeleteSearchDocuments(ctx context.Context, events []matrix.EventID) ([]int64, error) {
	if len(events) == 0 {
		return nil, nil
	}
	rows, err := s.query(ctx, `
		WITH gone AS (SELECT position FROM events WHERE event_id = ANY ($1)),
		deleted AS (DELETE FROM search_documents USING gone WHERE search_documents.position = gone.position)
		SELECT d.position FROM search_documents d JOIN gone ON d.edit = gone.position`, stringArray(events))
	return scanAll(rows, err, scanPosition)
}

func scanPosition(rows *sql.Rows) (int64, error) {
	var p int64
	err := rows.Scan(&p)
	return p, err
}

// ListEdited returns the events at the positions, and those with the ids in their rooms, each with the position of its most recent valid
// edit, or 0.
func (s *Store) ListEdited(ctx context.Context, positions, rooms []int64, ids []matrix.EventID) ([]Event, []int64, error) {
	var edits []int64
	rows, err := s.query(ctx, `
		SELECT coalesce((`+latestEdit("events.room_nid", "events.event_id", "events.sender", "events.type", "NULL::int8multirange")+`), 0), `+eventColumns+`
		FROM events JOIN rooms USING (room_nid)
		WHERE events.position = ANY ($1)
			OR (events.event_id, events.room_nid) IN (SELECT * FROM unnest($3::text[], $2::bigint[]))`,
		pq.Array(positions), pq.Array(rooms), stringArray(ids))
	events, err := scanAll(rows, err, func(rows *sql.Rows) (Event, error) {
		var edit int64
		e, err := scanEventAfter(rows, &edit)
		edits = append(edits, edit)
		return e, err
	})
	return events, edits, err
}

// SearchRoom is a room that is searched, and what may be seen of it.
type SearchRoom struct {
	RoomNID        int64
	OrganisationID int64
	Sight          Sight
}

// SearchQuery asks for messages.
type SearchQuery struct {
	// Words is a tsquery as text.
	Words string
	Rooms []SearchRoom
	Kinds []int
	// Senders is nil for all.
	Senders, NotSenders []string
	HasURL              *bool
	// Before is the position that the newest message lies before.
	Before int64
	// Limit bounds how many of the newest matches are found.
	Limit int
}

// SearchMatch is a message that was found.
type SearchMatch struct {
	Position int64
	// Edit is the position of the edit that has the words, or 0.
	Edit int64
	Rank float32
}

// fewRooms is up to how many rooms the index is asked for each of them, rather than for their organisations.
const fewRooms = 24

// Common words are found by reading the newest messages one after the other, which ends as soon as there are enough; rare words by the
// index, whose answer is all messages that have them. Which it is the newest messages tell: firstRead of them are read in any case, and
// nextRead more as long as the search would be over by then.
const (
	firstRead = 1 << fineBits
	nextRead  = 4 << fineBits
)

// searchSteps are the stretches of positions for which the index is asked one after the other until enough is found, counted in fine ones;
// each is a few times as long as all before it, so that what was looked at in vain is never the larger part.
var searchSteps = []int64{16, 64, 256, 1024, 1 << 40}

// Search returns the newest matches, newest first.
func (s *Store) Search(ctx context.Context, q SearchQuery) ([]SearchMatch, error) {
	var matches []SearchMatch
	err := s.Read(ctx, func(tx *Tx) error {
		matches = nil
		// Why: the planner can't know how many messages have the words, and reads all messages when it expects many.
		if _, err := tx.exec(ctx, `SET LOCAL enable_seqscan = off; SET LOCAL jit = off`); err != nil {
			return err
		}
		var newest int64
		if err := tx.queryRow(ctx, `SELECT position FROM clock`).Scan(&newest); err != nil {
			return err
		}
		before := min(q.Before, newest+1)
		search := func(lowest int64, read bool) error {
			found, err := tx.searchStretch(ctx, &q, lowest, before, q.Limit-len(matches), read)
			matches = append(matches, found...)
			before = lowest << fineBits
			return err
		}
		top := before
		for read := int64(firstRead); before > 0; read = nextRead {
			if done := top - before; done > 0 && int64(len(matches))*(done+nextRead) < int64(q.Limit)*done {
				break
			}
			if err := search(max(before-read, 0)>>fineBits, true); err != nil || len(matches) >= q.Limit {
				return err
			}
		}
		for _, step := range searchSteps {
			if before <= 0 {
				break
			}
			if err := search(max((before-1)>>fineBits-step+1, 0), false); err != nil || len(matches) >= q.Limit {
				return err
			}
		}
		return nil
	})
	return matches, err
}

// searchStretch searches the positions before the given one, down to the beginning of a fine stretch, by reading them or by the index.
func (tx *Tx) searchStretch(ctx context.Context, q *SearchQuery, lowest, before int64, limit int, read bool) ([]SearchMatch, error) {
	var open, partial []int64 // rooms of which everything may be seen, and the others
	var sights []sql.NullString
	for _, r := range q.Rooms {
		if r.Sight == nil {
			open = append(open, r.RoomNID)
		} else {
			partial, sights = append(partial, r.RoomNID), append(sights, r.Sight.multirange())
		}
	}
	kinds := make([]int64, len(q.Kinds))
	for i, k := range q.Kinds {
		kinds[i] = int64(k)
	}
	// Why OFFSET 0 and "+ 0": each keeps the planner from the other way.
	words := q.Words
	from := `(SELECT * FROM search_documents WHERE position < $2 AND position >= $3 ORDER BY position DESC OFFSET 0) d`
	if !read {
		words = "(" + q.Words + ") & (" + q.scope() + ") & (" + stretches(lowest, (before-1)>>fineBits) + ")"
		from = `(SELECT * FROM search_documents WHERE words @@ $1::tsquery AND position + 0 < $2 AND position + 0 >= $3 OFFSET 0) d`
	}
	rows, err := tx.query(ctx, `
		WITH newest AS MATERIALIZED (
			SELECT position, edit FROM `+from+`
			WHERE words @@ $1::tsquery AND kind = ANY ($4)
				AND ($5::text[] IS NULL OR sender = ANY ($5)) AND sender <> ALL ($6::text[])
				AND ($7::boolean IS NULL OR has_url = $7)
				AND (room_nid = ANY ($8::bigint[]) OR EXISTS (
					SELECT FROM unnest($9::bigint[], $10::int8multirange[]) AS w (nid, sight)
					WHERE w.nid = room_nid AND w.sight @> position AND (edit IS NULL OR w.sight @> edit)))
			ORDER BY position DESC LIMIT $11
		)
		SELECT position, coalesce(newest.edit, 0), ts_rank(search_documents.words, $12::tsquery, 1)
		FROM newest JOIN search_documents USING (position) ORDER BY position DESC`,
		words, before, lowest<<fineBits, pq.Array(kinds), pq.Array(q.Senders), listed(q.NotSenders), q.HasURL,
		pq.Array(open), pq.Array(partial), pq.Array(sights), limit, q.Words)
	return scanAll(rows, err, func(rows *sql.Rows) (SearchMatch, error) {
		var m SearchMatch
		err := rows.Scan(&m.Position, &m.Edit, &m.Rank)
		return m, err
	})
}

// scope is the part of a tsquery that names the rooms, or where there are many the organisations that have them.
func (q *SearchQuery) scope() string {
	var names []string
	if len(q.Rooms) <= fewRooms {
		for _, r := range q.Rooms {
			names = append(names, fmt.Sprintf("'r/%d'", r.RoomNID))
		}
		return strings.Join(names, " | ")
	}
	seen := make(map[int64]bool)
	for _, r := range q.Rooms {
		if !seen[r.OrganisationID] {
			seen[r.OrganisationID] = true
			names = append(names, fmt.Sprintf("'o/%d'", r.OrganisationID))
		}
	}
	return strings.Join(names, " | ")
}

// maxStretches bounds the lexemes of stretches in a query; a search that goes on to the beginning has none.
const maxStretches = 64

// stretches is the part of a tsquery that names the stretches from one fine one to another: by the fine ones when they are few, by the coarse
// ones when those are.
func stretches(lowest, highest int64) string {
	name, first, last := "b", lowest, highest
	if last-first >= maxStretches {
		const more = coarseBits - fineBits
		name, first, last = "c", lowest>>more, highest>>more
	}
	if last-first >= maxStretches {
		first = last + 1
	}
	var names []string
	for i := first; i <= last; i++ {
		names = append(names, fmt.Sprintf("'%s/%d'", name, i))
	}
	if names == nil {
		return "!'b/-'" // every document
	}
	return strings.Join(names, " | ")
}

// ListSearchableRooms returns those of the rooms that are not encrypted, with their organisations.
func (s *Store) ListSearchableRooms(ctx context.Context, rooms []int64) ([]SearchRoom, error) {
	rows, err := s.query(ctx, `
		SELECT room_nid, organisation_id FROM rooms
		WHERE room_nid = ANY ($1) AND NOT EXISTS (
			SELECT FROM room_state s WHERE s.room_nid = rooms.room_nid AND s.type = 'm.room.encryption' AND s.state_key = ''
				AND s.until = 9223372036854775807)`, pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (SearchRoom, error) {
		var r SearchRoom
		err := rows.Scan(&r.RoomNID, &r.OrganisationID)
		return r, err
	})
}

// ContextEvent is an event just before or after the Index-th of some events.
type ContextEvent struct {
	Index int
	Event Event
}

// ListContexts returns what stands around events: of each room the last events before the position and the first ones after it, oldest
// first.
func (s *Store) ListContexts(ctx context.Context, rooms, positions []int64, before, after int) ([]ContextEvent, error) {
	rows, err := s.query(ctx, `
		SELECT w.ord - 1, `+eventColumns+`
		FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (nid, at, ord)
		CROSS JOIN LATERAL (
			(SELECT position FROM events WHERE room_nid = w.nid AND position < w.at ORDER BY position DESC LIMIT $3)
			UNION ALL
			(SELECT position FROM events WHERE room_nid = w.nid AND position > w.at ORDER BY position LIMIT $4)
		) around
		JOIN events USING (position) JOIN rooms ON rooms.room_nid = events.room_nid
		ORDER BY w.ord, events.position`, pq.Array(rooms), pq.Array(positions), before, after)
	return scanAll(rows, err, func(rows *sql.Rows) (ContextEvent, error) {
		var c ContextEvent
		var err error
		c.Event, err = scanEventAfter(rows, &c.Index)
		return c, err
	})
}

// ProfileAt is what a user's membership of a room said at a position.
type ProfileAt struct {
	At                     int64
	User                   matrix.UserID
	DisplayName, AvatarURL string
}

// ListProfilesAt returns what the member events that the keys stand for say of their users.
func (s *Store) ListProfilesAt(ctx context.Context, keys []KeyAt) ([]ProfileAt, error) {
	n := len(keys)
	rooms, at, users := make([]int64, n), make([]int64, n), make([]string, n)
	for i, k := range keys {
		rooms[i], at[i], users[i] = k.RoomNID, k.At, k.Key
	}
	rows, err := s.query(ctx, `
		SELECT w.at, w.user_id, events.json
		FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS w (nid, at, user_id)
		JOIN room_state s ON s.room_nid = w.nid AND s.type = 'm.room.member' AND s.state_key = w.user_id
			AND s.since <= w.at AND s.until > w.at
		JOIN events ON events.position = s.event_position`, pq.Array(rooms), pq.Array(at), pq.Array(users))
	return scanAll(rows, err, func(rows *sql.Rows) (ProfileAt, error) {
		var p ProfileAt
		var json []byte
		err := rows.Scan(&p.At, &p.User, &json)
		p.DisplayName = gjson.GetBytes(json, "content.displayname").String()
		p.AvatarURL = gjson.GetBytes(json, "content.avatar_url").String()
		return p, err
	})
}
