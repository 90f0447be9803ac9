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

// The index of messages for searching. A document has, besides its words, lexemes that no word can be: r/ and its room, o/ and the
// room's organisation, and one for each size of stretch with the stretch of positions that it lies in. With them the index narrows a
// search down to somebody's rooms, and to the newest stretches first: of a word that stands in every third message nobody wants all.

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

// stretches are the sizes of stretches of positions, each with the first letter of its lexemes. Each is a few times the one before, so that
// a few of some size are as long as anything wanted: the index looks at every document of a list of stretches that has fewer documents
// each than the words have.
var stretches = []struct {
	letter string
	bits   int
}{{"b", 14}, {"c", 17}, {"d", 20}}

// stretchLexemes are the lexemes of the stretches of x.position, in SQL.
func stretchLexemes() string {
	lexemes := make([]string, len(stretches))
	for i, s := range stretches {
		lexemes[i] = fmt.Sprintf("'%s/' || (x.position >> %d)", s.letter, s.bits)
	}
	return strings.Join(lexemes, ", ")
}

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
	_, err := s.exec(ctx, `
		WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
		-- What is the same for all messages of a room is looked up once.
		open AS MATERIALIZED (
			SELECT rooms.room_nid, ARRAY['r/' || rooms.room_nid, 'o/' || rooms.organisation_id] AS lexemes
			FROM (SELECT DISTINCT y.room FROM unnest($2::bigint[]) AS y (room)) y JOIN rooms ON rooms.room_nid = y.room
			WHERE NOT EXISTS (
				SELECT FROM room_state s WHERE s.room_nid = y.room AND s.type = 'm.room.encryption' AND s.state_key = ''
					AND s.until = 9223372036854775807)
		)
		INSERT INTO search_documents (position, room_nid, sender, kind, has_url, edit, words)
		SELECT DISTINCT ON (x.position) x.position, x.room, x.sender, x.kind, x.url, nullif(x.edit, 0),
		       x.words::tsvector || array_to_tsvector(open.lexemes || ARRAY[`+stretchLexemes()+`])
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::int[], $5::boolean[], $6::bigint[], $7::text[])
			WITH ORDINALITY AS x (position, room, sender, kind, url, edit, words, ord)
		CROSS JOIN quick
		JOIN open ON open.room_nid = x.room
		JOIN events ON events.position = x.position AND events.redacted_by IS NULL
		ORDER BY x.position, x.ord DESC
		ON CONFLICT (position) DO UPDATE
		SET has_url = excluded.has_url, edit = excluded.edit, words = excluded.words`,
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

// Common words are found by reading the newest messages one after the other, which ends as soon as there are enough; rare words by the
// index, whose answer is all messages that have them. Which it is the newest messages tell: firstRead of them are read in any case, and
// up to longestRead if there are enough matches among those.
const (
	firstRead   = 1 << 12
	longestRead = 1 << 16
)

// The index is asked for as much as is expected to have enough, but at first for no more than firstStep, and then for stepGrowth times what
// was looked at before: the newest messages may not be like the others. What is longer than longestStep is all that is left.
const (
	firstStep   = 1 << 21
	stepGrowth  = 16
	longestStep = 1 << 26
)

// searching is a search on its way: positions from before to top were looked at.
type searching struct {
	tx          *Tx
	q           *SearchQuery
	top, before int64
	matches     []SearchMatch
	// scope is the part of a tsquery that names the rooms, once it is known.
	scope  string
	scoped bool
}

// Search returns the newest matches, newest first.
func (s *Store) Search(ctx context.Context, q SearchQuery) ([]SearchMatch, error) {
	var matches []SearchMatch
	err := s.Read(ctx, func(tx *Tx) error {
		// Why: the planner can't know how many messages have the words, and reads all messages when it expects many.
		if _, err := tx.exec(ctx, `SET LOCAL enable_seqscan = off; SET LOCAL jit = off`); err != nil {
			return err
		}
		var newest int64
		if err := tx.queryRow(ctx, `SELECT position FROM clock`).Scan(&newest); err != nil {
			return err
		}
		before := min(q.Before, newest+1)
		w := &searching{tx: tx, q: &q, top: before, before: before}
		for w.before > 0 && len(w.matches) < q.Limit {
			if err := w.step(ctx); err != nil {
				return err
			}
		}
		matches = w.matches
		return nil
	})
	return matches, err
}

// step looks at the next stretch of positions.
func (w *searching) step(ctx context.Context) error {
	seen, missing := w.top-w.before, int64(w.q.Limit-len(w.matches))
	if seen == 0 {
		return w.read(ctx, firstRead)
	}
	need := int64(1) << 40
	if found := int64(len(w.matches)); found > 0 {
		need = seen*missing/found + seen/4
	}
	if seen+need <= longestRead {
		return w.read(ctx, max(need, firstRead))
	}
	if !w.scoped {
		if err := w.choose(ctx); err != nil {
			return err
		}
	}
	return w.index(ctx, min(need, max(firstStep, stepGrowth*seen)))
}

// read looks at messages one after the other.
func (w *searching) read(ctx context.Context, length int64) error {
	lowest := max(w.before-length, 0)
	return w.search(ctx, `(SELECT * FROM search_documents WHERE position < $2 AND position >= $3 ORDER BY position DESC OFFSET 0) d
			WHERE words @@ $1::tsquery AND`, w.q.Words, lowest)
}

// index asks the index. The query names stretches only if there is much that they leave out.
func (w *searching) index(ctx context.Context, length int64) error {
	lowest := max(w.before-length, 0)
	if length > longestStep {
		lowest = 0
	}
	words := "(" + w.q.Words + ")"
	if lowest > 0 || w.before < min(w.top-w.before, longestStep) {
		var names string
		names, lowest = stretchNames(lowest, w.before)
		words += " & (" + names + ")"
	}
	if w.scope != "" {
		words += " & (" + w.scope + ")"
	}
	// Why "+ 0": it keeps the planner from reading.
	return w.search(ctx, `(SELECT * FROM search_documents WHERE words @@ $1::tsquery AND position + 0 < $2 AND position + 0 >= $3 OFFSET 0) d
			WHERE`, words, lowest)
}

// search looks at the positions before the last ones, down to lowest. Why OFFSET 0 in from: it keeps the planner from the other way.
func (w *searching) search(ctx context.Context, from, words string, lowest int64) error {
	q := w.q
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
	rows, err := w.tx.query(ctx, `
		WITH newest AS MATERIALIZED (
			SELECT position, edit, words FROM `+from+` kind = ANY ($4)
				AND ($5::text[] IS NULL OR sender = ANY ($5)) AND sender <> ALL ($6::text[])
				AND ($7::boolean IS NULL OR has_url = $7)
				AND (room_nid = ANY ($8::bigint[]) OR EXISTS (
					SELECT FROM unnest($9::bigint[], $10::int8multirange[]) AS w (nid, sight)
					WHERE w.nid = room_nid AND w.sight @> position AND (edit IS NULL OR w.sight @> edit)))
			ORDER BY position DESC LIMIT $11
		)
		SELECT position, coalesce(edit, 0), ts_rank(words, $12::tsquery, 1) FROM newest ORDER BY position DESC`,
		words, w.before, lowest, pq.Array(kinds), pq.Array(q.Senders), listed(q.NotSenders), q.HasURL,
		pq.Array(open), pq.Array(partial), pq.Array(sights), q.Limit-len(w.matches), q.Words)
	found, err := scanAll(rows, err, func(rows *sql.Rows) (SearchMatch, error) {
		var m SearchMatch
		err := rows.Scan(&m.Position, &m.Edit, &m.Rank)
		return m, err
	})
	w.matches, w.before = append(w.matches, found...), lowest
	return err
}

// The index is asked for rooms when the newest scopeSample messages say that most are in others; for each of them when there are no more
// than fewRooms, and otherwise for their organisations.
const (
	scopeSample = 1000
	fewRooms    = 24
)

// choose chooses the scope.
func (w *searching) choose(ctx context.Context) error {
	rooms := make([]int64, len(w.q.Rooms))
	for i, r := range w.q.Rooms {
		rooms[i] = r.RoomNID
	}
	var most bool
	err := w.tx.queryRow(ctx, `
		SELECT coalesce(2 * count(*) FILTER (WHERE room_nid = ANY ($1)) >= count(*), true)
		FROM (SELECT room_nid FROM search_documents WHERE position < $2 ORDER BY position DESC LIMIT $3) newest`,
		pq.Array(rooms), w.before, scopeSample).Scan(&most)
	if w.scoped = err == nil; w.scoped && !most {
		w.scope = w.q.scope()
	}
	return err
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

// fewStretches is how many lexemes of stretches a query has, unless even the longest stretches are too short for that.
const fewStretches = 4

// stretchNames is the part of a tsquery that names the stretches from one position to before another, and where the first of them begins.
func stretchNames(from, before int64) (names string, lowest int64) {
	size := stretches[len(stretches)-1]
	for _, s := range stretches {
		if (before-1)>>s.bits-from>>s.bits < fewStretches {
			size = s
			break
		}
	}
	var list []string
	for n := from >> size.bits; n <= (before-1)>>size.bits; n++ {
		list = append(list, fmt.Sprintf("'%s/%d'", size.letter, n))
	}
	return strings.Join(list, " | "), from >> size.bits << size.bits
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
