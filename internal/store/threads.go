package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// ThreadQuery asks for a page of a room's threads, those with the latest replies first.
type ThreadQuery struct {
	RoomNID int64
	// UpTo is the highest position that the latest reply may have.
	UpTo  int64
	Limit int
	// Participant, unless empty, wrote the root or a reply.
	Participant matrix.UserID
	Ignored     []matrix.UserID
	Sight       Sight
}

// Thread is the root of a thread with the position of its latest reply.
type Thread struct {
	Root   Event
	Latest int64
}

// ListThreads returns a page of a room's threads whose root may be seen. Replies by ignored users, and those that may not be seen,
// count for nothing; who neither ignores anybody nor is kept from anything is answered from the index of the latest replies.
func (s *Store) ListThreads(ctx context.Context, q ThreadQuery) ([]Thread, error) {
	threads := `SELECT root_event_id, latest FROM threads WHERE room_nid = $1 AND latest <= $2`
	if len(q.Ignored) > 0 || q.Sight != nil {
		threads = `SELECT th.root_event_id, newest.position AS latest
			FROM threads th CROSS JOIN LATERAL (
				SELECT r.position FROM relations r
				WHERE r.room_nid = th.room_nid AND r.relates_to = th.root_event_id AND r.rel_type = 'm.thread'
					AND r.sender <> ALL ($5::text[]) AND ($6::text IS NULL OR $6::text::int8multirange @> r.position)
				ORDER BY r.position DESC LIMIT 1
			) newest
			WHERE th.room_nid = $1 AND newest.position <= $2`
	}
	rows, err := s.query(ctx, `
		SELECT th.latest, `+eventColumns+`
		FROM (`+threads+`) th
		JOIN events ON events.event_id = th.root_event_id AND events.room_nid = $1
		JOIN rooms ON rooms.room_nid = events.room_nid
		WHERE events.state_key IS NULL
			AND ($4 = '' OR events.sender = $4 OR EXISTS (
				SELECT FROM relations r
				WHERE r.room_nid = $1 AND r.relates_to = th.root_event_id AND r.rel_type = 'm.thread' AND r.sender = $4))
			AND cardinality($5::text[]) >= 0 AND ($6::text IS NULL OR $6::text::int8multirange @> events.position)
		ORDER BY th.latest DESC LIMIT $3`,
		q.RoomNID, q.UpTo, q.Limit, string(q.Participant), stringArray(q.Ignored), q.Sight.multirange())
	return scanAll(rows, err, func(rows *sql.Rows) (Thread, error) {
		var t Thread
		e, err := scanEventAfter(rows, &t.Latest)
		t.Root = e
		return t, err
	})
}

// ThreadSubscription is the last thing that a user said of a thread.
type ThreadSubscription struct {
	RoomID matrix.RoomID
	Root   matrix.EventID
	// Body is the update's (KindThreadSubscription).
	Body     []byte
	Position int64
}

// ListThreadSubscriptions returns what a user said of threads with after < position <= upTo, newest first, at most limit.
func (s *Store) ListThreadSubscriptions(ctx context.Context, user matrix.UserID, after, upTo int64, limit int) ([]ThreadSubscription, error) {
	rows, err := s.query(ctx, `
		SELECT rooms.room_id, u.key, u.body, u.position
		FROM updates u JOIN rooms USING (room_nid)
		WHERE u.user_id = $1 AND u.kind = $2 AND u.position > $3 AND u.position <= $4
		ORDER BY u.position DESC LIMIT $5`, string(user), KindThreadSubscription, after, upTo, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (ThreadSubscription, error) {
		var t ThreadSubscription
		err := rows.Scan(&t.RoomID, &t.Root, &t.Body, &t.Position)
		return t, err
	})
}

// GetThreadReply returns the position of an event that is a reply in a thread, or ErrNotFound.
func (s *Store) GetThreadReply(ctx context.Context, room int64, root, reply matrix.EventID) (int64, error) {
	var position int64
	err := s.queryRow(ctx, `
		SELECT r.position FROM events JOIN relations r USING (position)
		WHERE events.event_id = $3 AND r.room_nid = $1 AND r.relates_to = $2 AND r.rel_type = 'm.thread'`,
		room, string(root), string(reply)).Scan(&position)
	return position, err
}
