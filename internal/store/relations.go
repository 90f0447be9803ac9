package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Span is positions from First to Last, both included.
type Span struct {
	First, Last int64
}

// Sight is the part of a room's history that somebody may see, in ascending order. nil is all of it.
type Sight []Span

// multirange is the sight as PostgreSQL reads it, null for everything.
func (s Sight) multirange() sql.NullString {
	if s == nil {
		return sql.NullString{}
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, span := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "[%d,%d]", span.First, min(span.Last, CurrentState-1)) // the end is stored as the next integer
	}
	b.WriteByte('}')
	return sql.NullString{String: b.String(), Valid: true}
}

// Parent is an event whose children are to be aggregated.
type Parent struct {
	RoomNID int64
	EventID matrix.EventID
	Sender  matrix.UserID
	Type    string
	// Edits: the event may have been edited. Thread: it may be the root of a thread.
	Edits, Thread bool
	// Sight is what the viewer may see of the room.
	Sight Sight
}

// Aggregation is what is known of the children of the Parent at Index.
type Aggregation struct {
	Index int
	// Edit is the position of the most recent valid edit, or 0.
	Edit int64
	// Latest is the position of the latest reply of the thread, or 0. Replies counts them. Participated: the viewer wrote in it.
	Latest       int64
	Replies      int64
	Participated bool
	// References are the events that refer to this one, oldest first.
	References []matrix.EventID
	// LatestEdit and LatestReferences are the same of the latest reply.
	LatestEdit       int64
	LatestReferences []matrix.EventID
}

// latestEdit finds the most recent edit of an event; its arguments are columns with the event's room, id, sender, type, and what may be
// seen of the room.
//
// Spec: client-server v1.19 §server-side-aggregation-of-mreplace-relationships: the largest origin_server_ts, then the largest event_id
func latestEdit(room, id, sender, typ, sight string) string {
	return `SELECT r.position FROM relations r
		WHERE r.room_nid = ` + room + ` AND r.relates_to = ` + id + ` AND r.rel_type = 'm.replace'
			AND r.sender = ` + sender + ` AND r.type = ` + typ + ` AND (` + sight + ` IS NULL OR ` + sight + ` @> r.position)
		ORDER BY r.origin_server_ts DESC, r.event_id DESC LIMIT 1`
}

// references lists the newest references to an event, oldest first, at most $7.
func references(room, id, sight string) string {
	return `SELECT array_agg(x.event_id ORDER BY x.position) FROM (
			SELECT r.event_id, r.position FROM relations r
			WHERE r.room_nid = ` + room + ` AND r.relates_to = ` + id + ` AND r.rel_type = 'm.reference'
				AND r.sender <> ALL ($6::text[]) AND (` + sight + ` IS NULL OR ` + sight + ` @> r.position)
			ORDER BY r.position DESC LIMIT $7) x`
}

var aggregationQuery = `
	SELECT p.ord - 1, coalesce(edit.position, 0), coalesce(t.position, 0),
	       CASE WHEN t.position IS NULL THEN 0 WHEN p.sight IS NOT NULL THEN (
	                SELECT count(*) FROM relations r
	                WHERE r.room_nid = p.room AND r.relates_to = p.id AND r.rel_type = 'm.thread'
	                    AND r.sender <> ALL ($6::text[]) AND p.sight @> r.position)
	            ELSE coalesce((SELECT replies FROM threads WHERE room_nid = p.room AND root_event_id = p.id), 0) - (
	                SELECT count(*) FROM relations r
	                WHERE r.room_nid = p.room AND r.relates_to = p.id AND r.rel_type = 'm.thread' AND r.sender = ANY ($6::text[]))
	            END,
	       t.position IS NOT NULL AND (p.sender = $5 OR EXISTS (
	           SELECT FROM relations r
	           WHERE r.room_nid = p.room AND r.relates_to = p.id AND r.rel_type = 'm.thread' AND r.sender = $5)),
	       (` + references("p.room", "p.id", "p.sight") + `),
	       coalesce((` + latestEdit("p.room", "t.event_id", "t.sender", "t.type", "p.sight") + `), 0),
	       CASE WHEN t.position IS NOT NULL THEN (` + references("p.room", "t.event_id", "p.sight") + `) END
	FROM (
		SELECT ord, room, id, sender, edits_of, thread, sight::int8multirange AS sight
		FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $8::boolean[], $9::text[])
			WITH ORDINALITY AS x (room, id, sender, edits_of, thread, sight, ord)
		WHERE EXISTS (SELECT FROM relations r WHERE r.room_nid = room AND r.relates_to = id)
	) p
	LEFT JOIN LATERAL (` + latestEdit("p.room", "p.id", "p.sender", "p.edits_of", "p.sight") + `) edit ON true
	LEFT JOIN LATERAL (
		SELECT r.position, r.event_id, r.sender, r.type FROM relations r
		WHERE p.thread AND r.room_nid = p.room AND r.relates_to = p.id AND r.rel_type = 'm.thread'
			AND r.sender <> ALL ($6::text[]) AND (p.sight IS NULL OR p.sight @> r.position)
		ORDER BY r.position DESC LIMIT 1
	) t ON true`

// ListAggregations returns what is known of the parents' children, as viewer sees it: without those of ignored users, and of
// references the newest ones. Parents without children have no entry.
func (s *Store) ListAggregations(ctx context.Context, parents []Parent, viewer matrix.UserID, ignored []matrix.UserID, references int) ([]Aggregation, error) {
	rooms, ids, senders := make([]int64, len(parents)), make([]string, len(parents)), make([]string, len(parents))
	edits, sights, threads := make([]sql.NullString, len(parents)), make([]sql.NullString, len(parents)), make([]bool, len(parents))
	for i := range parents {
		p := &parents[i]
		rooms[i], ids[i], senders[i] = p.RoomNID, string(p.EventID), string(p.Sender)
		edits[i] = sql.NullString{String: p.Type, Valid: p.Edits}
		threads[i], sights[i] = p.Thread, p.Sight.multirange()
	}
	rows, err := s.query(ctx, aggregationQuery, pq.Array(rooms), pq.Array(ids), pq.Array(senders), pq.Array(edits), string(viewer),
		stringArray(ignored), references, pq.Array(threads), pq.Array(sights))
	return scanAll(rows, err, func(rows *sql.Rows) (Aggregation, error) {
		var a Aggregation
		var refs, latestRefs []string
		err := rows.Scan(&a.Index, &a.Edit, &a.Latest, &a.Replies, &a.Participated, pq.Array(&refs), &a.LatestEdit, pq.Array(&latestRefs))
		a.References, a.LatestReferences = eventIDs(refs), eventIDs(latestRefs)
		return a, err
	})
}

func eventIDs(list []string) []matrix.EventID {
	ids := make([]matrix.EventID, len(list))
	for i, id := range list {
		ids[i] = matrix.EventID(id)
	}
	return ids
}

// RelationQuery asks for a page of an event's children.
type RelationQuery struct {
	RoomNID int64
	Parent  matrix.EventID
	// RelType and EventType are empty for all.
	RelType, EventType string
	// Depth is how many steps away from the parent the children may be.
	Depth int
	// After < position <= UpTo, newest first unless Forwards, at most Limit.
	After, UpTo int64
	Forwards    bool
	Limit       int
	Ignored     []matrix.UserID
	Sight       Sight
}

// ListRelations returns a page of an event's children, and how deep it went for it. What lies behind an event that doesn't fit the
// query, or that may not be seen, is not found.
func (s *Store) ListRelations(ctx context.Context, q RelationQuery) ([]Event, error) {
	order := "DESC"
	if q.Forwards {
		order = "ASC"
	}
	const fits = ` AND ($3 = '' OR r.rel_type = $3) AND ($4 = '' OR r.type = $4) AND r.sender <> ALL ($5::text[])
				AND ($6::text IS NULL OR $6::text::int8multirange @> r.position) `
	children := `SELECT r.position FROM relations r WHERE r.room_nid = $1 AND r.relates_to = $2` + fits + `AND r.position > $7 AND r.position <= $8`
	args := []any{q.RoomNID, string(q.Parent), q.RelType, q.EventType, stringArray(q.Ignored), q.Sight.multirange(), q.After, q.UpTo, q.Limit}
	with := ""
	if q.Depth > 1 {
		// A page is cut out of the whole tree: a child's child may be anywhere.
		with = `WITH RECURSIVE tree AS (
			SELECT r.position, r.event_id, 1 AS depth FROM relations r WHERE r.room_nid = $1 AND r.relates_to = $2` + fits + `
			UNION
			SELECT r.position, r.event_id, tree.depth + 1 FROM tree JOIN relations r ON r.room_nid = $1 AND r.relates_to = tree.event_id
			WHERE tree.depth < $10` + fits + `) `
		children = `SELECT tree.position FROM tree WHERE tree.position > $7 AND tree.position <= $8 GROUP BY 1`
		args = append(args, q.Depth)
	}
	rows, err := s.query(ctx, with+`
		SELECT `+eventColumns+`
		FROM (`+children+` ORDER BY 1 `+order+` LIMIT $9) page
		JOIN events ON events.position = page.position JOIN rooms ON rooms.room_nid = events.room_nid
		ORDER BY events.position `+order, args...)
	return scanAll(rows, err, scanEvent)
}

// IsChild reports whether an event of the room relates to another one with a rel_type.
func (s *Store) IsChild(ctx context.Context, room int64, id matrix.EventID) (bool, error) {
	var child bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM events JOIN relations USING (position) WHERE events.event_id = $1 AND events.room_nid = $2)`,
		string(id), room).Scan(&child)
	return child, err
}

// HasAnnotated reports whether the user has annotated an event with the same type and key.
func (s *Store) HasAnnotated(ctx context.Context, room int64, id matrix.EventID, user matrix.UserID, eventType, key string) (bool, error) {
	var has bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM relations WHERE room_nid = $1 AND relates_to = $2 AND rel_type = 'm.annotation'
			AND sender = $3 AND type = $4 AND key = $5)`, room, string(id), string(user), eventType, key).Scan(&has)
	return has, err
}
