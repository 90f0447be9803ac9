package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// PushFact is what an event means for notifications, whoever the user is.
type PushFact struct {
	RoomNID  int64
	Position int64
	Sender   matrix.UserID
	// Thread is the root of the thread that the event is in, or empty. Hops is how many relations the event is away from it.
	Thread matrix.EventID
	Hops   int
	// Mask has a bit for each predefined rule that matches.
	Mask     uint32
	State    bool
	Redacted bool
	Mentions []matrix.UserID
}

// PushOwn is what a rule that the user made did with an event.
type PushOwn struct {
	UserID            matrix.UserID
	Position          int64
	Notify, Highlight bool
	Actions           []byte
}

// PushBatch is what the follower of push found out about a part of the journal.
type PushBatch struct {
	Facts []PushFact
	// Redacted are events that were redacted.
	Redacted []matrix.EventID
	Own      []PushOwn
	Queue    []PushQueued
	// From is the position before the part, UpTo the one that it ends with.
	From, UpTo int64
}

// GetPushProgress returns the position up to which push has looked at the journal.
func (s *Store) GetPushProgress(ctx context.Context) (int64, error) {
	var p int64
	err := s.queryRow(ctx, `SELECT position FROM push_progress`).Scan(&p)
	return p, err
}

// PutPushBatch stores a batch. One that does not begin where push has come to changes nothing: it was stored before, or by another
// process meanwhile. Unless something is to be pushed the disk is not waited for: a batch that a crash of the database loses is made again.
func (s *Store) PutPushBatch(ctx context.Context, b PushBatch) error {
	return s.Write(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, `
			WITH quick AS MATERIALIZED (
				SELECT set_config('synchronous_commit', CASE WHEN $3 THEN 'off' ELSE current_setting('synchronous_commit') END, true)
			)
			UPDATE push_progress SET position = $2 FROM quick WHERE position = $1`, b.From, b.UpTo, len(b.Queue) == 0)
		if err != nil || n == 0 {
			return err
		}
		if err := tx.putPushFacts(ctx, b.Facts); err != nil {
			return err
		}
		if len(b.Redacted) > 0 {
			if _, err := tx.exec(ctx, `
				UPDATE push_facts f SET redacted = true FROM events e
				WHERE e.event_id = ANY ($1) AND f.room_nid = e.room_nid AND f.position = e.position`, stringArray(b.Redacted)); err != nil {
				return err
			}
		}
		if err := tx.putPushOwn(ctx, b.Own); err != nil {
			return err
		}
		return tx.putPushQueue(ctx, b.Queue)
	})
}

func (tx *Tx) putPushFacts(ctx context.Context, facts []PushFact) error {
	if len(facts) == 0 {
		return nil
	}
	n := len(facts)
	rooms, positions, hops, masks := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	senders, threads := make([]string, n), make([]string, n)
	states, redacted := make([]bool, n), make([]bool, n)
	var at []int64
	var mentions []string
	for i, f := range facts {
		rooms[i], positions[i], hops[i], masks[i] = f.RoomNID, f.Position, int64(f.Hops), int64(f.Mask)
		senders[i], threads[i], states[i], redacted[i] = string(f.Sender), string(f.Thread), f.State, f.Redacted
		for _, user := range f.Mentions {
			at, mentions = append(at, f.Position), append(mentions, string(user))
		}
	}
	_, err := tx.exec(ctx, `
		INSERT INTO push_facts (room_nid, position, sender, thread, hops, mask, state, redacted, mentions)
		SELECT x.room, x.position, x.sender, x.thread, x.hops, x.mask, x.state, x.redacted, m.users
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[], $8::boolean[])
			AS x (room, position, sender, thread, hops, mask, state, redacted)
		LEFT JOIN (
			SELECT position, array_agg(user_id) AS users FROM unnest($9::bigint[], $10::text[]) AS y (position, user_id) GROUP BY position
		) m ON m.position = x.position
		ON CONFLICT DO NOTHING`, // a redacted one may be there already, by a trigger
		int8Array(rooms), int8Array(positions), textArray(senders), textArray(threads), int8Array(hops), int8Array(masks),
		pq.Array(states), pq.Array(redacted), pq.Array(at), pq.Array(mentions))
	return err
}

func (tx *Tx) putPushOwn(ctx context.Context, own []PushOwn) error {
	if len(own) == 0 {
		return nil
	}
	users, positions := make([]string, len(own)), make([]int64, len(own))
	notify, highlight, actions := make([]bool, len(own)), make([]bool, len(own)), make(pq.ByteaArray, len(own))
	for i, o := range own {
		users[i], positions[i], notify[i], highlight[i], actions[i] = string(o.UserID), o.Position, o.Notify, o.Highlight, o.Actions
	}
	_, err := tx.exec(ctx, `
		INSERT INTO push_own (user_id, position, notify, highlight, actions)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::boolean[], $5::bytea[]) ON CONFLICT DO NOTHING`,
		pq.Array(users), pq.Array(positions), pq.Array(notify), pq.Array(highlight), actions)
	return err
}

// RoomThread is the thread that an event of a room is in.
type RoomThread struct {
	RoomNID int64
	EventID matrix.EventID
	Thread  matrix.EventID
	Hops    int
}

// ListPushThreads returns the threads of the events that push has looked at, or that were redacted before it did, in no order.
func (s *Store) ListPushThreads(ctx context.Context, ids []matrix.EventID) ([]RoomThread, error) {
	rows, err := s.query(ctx, `
		SELECT e.room_nid, e.event_id, f.thread, f.hops
		FROM events e JOIN push_facts f ON f.room_nid = e.room_nid AND f.position = e.position
		WHERE e.event_id = ANY ($1)`, stringArray(ids))
	return scanAll(rows, err, func(rows *sql.Rows) (RoomThread, error) {
		var t RoomThread
		err := rows.Scan(&t.RoomNID, &t.EventID, &t.Thread, &t.Hops)
		return t, err
	})
}

// ListEventsAfter returns the events of the rooms after a position, oldest first.
func (s *Store) ListEventsAfter(ctx context.Context, rooms []int64, after int64) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM unnest($1::bigint[]) AS wanted (nid)
		JOIN events ON events.room_nid = wanted.nid AND events.position > $2
		JOIN rooms ON rooms.room_nid = wanted.nid
		ORDER BY events.position`, pq.Array(rooms), after)
	return scanAll(rows, err, scanEvent)
}

// CountJoinedAt counts who is joined to a room at a position.
func (s *Store) CountJoinedAt(ctx context.Context, room, position int64) (int, error) {
	var n int
	err := s.queryRow(ctx, `
		SELECT count(*) FROM room_state
		WHERE room_nid = $1 AND type = 'm.room.member' AND membership = 'join' AND since <= $2 AND until > $2`, room, position).Scan(&n)
	return n, err
}

// Standing is since when a user is joined to a room.
type Standing struct {
	RoomNID int64
	// Joined is the position of the event that began the present stay.
	Joined int64
}

// ListStandings returns since when the user is joined to the rooms; rooms that the user is not joined to have no entry.
func (s *Store) ListStandings(ctx context.Context, user matrix.UserID, rooms []int64) ([]Standing, error) {
	rows, err := s.query(ctx, `
		SELECT m.room_nid, coalesce(
			(SELECT max(s.until) FROM room_state s
			 WHERE s.room_nid = m.room_nid AND s.type = 'm.room.member' AND s.state_key = $1 AND s.membership <> 'join'),
			(SELECT min(s.since) FROM room_state s
			 WHERE s.room_nid = m.room_nid AND s.type = 'm.room.member' AND s.state_key = $1))
		FROM memberships m WHERE m.user_id = $1 AND m.membership = 'join' AND m.room_nid = ANY ($2)`, string(user), pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (Standing, error) {
		var st Standing
		err := rows.Scan(&st.RoomNID, &st.Joined)
		return st, err
	})
}

// ReadUpTo is a place up to which a user has read.
type ReadUpTo struct {
	RoomNID int64
	// Key is the receipt's: its type, "|" and its thread.
	Key      string
	Position int64
}

// ListReadUpTo returns the places of a user's receipts in the rooms.
func (s *Store) ListReadUpTo(ctx context.Context, user matrix.UserID, rooms []int64) ([]ReadUpTo, error) {
	rows, err := s.query(ctx, `
		SELECT u.room_nid, u.key, e.position
		FROM unnest($2::bigint[]) AS wanted (nid)
		CROSS JOIN LATERAL (
			SELECT room_nid, key, convert_from(body, 'UTF8')::json ->> 'event_id' AS event_id FROM updates
			WHERE kind = 2 AND room_nid = wanted.nid AND user_id = $1 AND body <> ''
		) u
		JOIN events e ON e.event_id = u.event_id AND e.room_nid = u.room_nid`, string(user), pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (ReadUpTo, error) {
		var r ReadUpTo
		err := rows.Scan(&r.RoomNID, &r.Key, &r.Position)
		return r, err
	})
}

// UnreadWindow asks for a user's unread events of a room with After < position <= UpTo. Threads are read further, each up to the
// position with the same index in Read.
type UnreadWindow struct {
	Window
	Threads []matrix.EventID
	Read    []int64
}

// UnreadGroup is a number of unread events that are alike.
type UnreadGroup struct {
	RoomNID   int64
	Thread    matrix.EventID
	Mask      uint32
	Mentioned bool
	// Own: a rule of the user's own decided about them.
	Own, Notify, Highlight bool
	Count                  int
}

// ListUnread counts the user's unread events of the windows by what they are like. Events of the user and of ignored users do not count,
// nor what is redacted or before the user's last message in its thread, nor gone events. It looks at the newest scan events of a window.
func (s *Store) ListUnread(ctx context.Context, user matrix.UserID, windows []UnreadWindow, ignored []matrix.UserID, gone []matrix.EventID, scan int) ([]UnreadGroup, error) {
	plain := make([]Window, len(windows))
	var rooms, read []int64
	var threads []string
	for i, w := range windows {
		plain[i] = w.Window
		for n, thread := range w.Threads {
			rooms, threads, read = append(rooms, w.RoomNID), append(threads, string(thread)), append(read, w.Read[n])
		}
	}
	nids, after, upTo := windowColumns(plain)
	rows, err := s.query(ctx, `
		SELECT x.nid, x.thread, x.mask, x.mentioned, o.user_id IS NOT NULL, coalesce(o.notify, false), coalesce(o.highlight, false), count(*)
		FROM (
			SELECT w.nid, f.position, f.thread, f.mask, f.sender, f.redacted, coalesce($1 = ANY (f.mentions), false) AS mentioned,
			       max(f.position) FILTER (WHERE f.sender = $1 AND NOT f.state) OVER (PARTITION BY w.nid, f.thread) AS spoke
			FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS w (nid, after, up_to)
			CROSS JOIN LATERAL (
				SELECT position, thread, mask, sender, redacted, state, mentions FROM push_facts
				WHERE room_nid = w.nid AND position > w.after AND position <= w.up_to
				ORDER BY position DESC LIMIT $8
			) f
		) x
		LEFT JOIN unnest($5::bigint[], $6::text[], $7::bigint[]) AS r (nid, thread, position) ON r.nid = x.nid AND r.thread = x.thread
		LEFT JOIN push_own o ON o.user_id = $1 AND o.position = x.position
		WHERE x.sender <> $1 AND x.sender <> ALL ($9::text[]) AND NOT x.redacted
			AND x.position > coalesce(r.position, 0) AND x.position > coalesce(x.spoke, 0)
			AND x.position <> ALL (ARRAY(SELECT position FROM events WHERE event_id = ANY ($10::text[])))
		GROUP BY 1, 2, 3, 4, 5, 6, 7`,
		string(user), nids, after, upTo, pq.Array(rooms), pq.Array(threads), pq.Array(read), scan, stringArray(ignored), stringArray(gone))
	return scanAll(rows, err, func(rows *sql.Rows) (UnreadGroup, error) {
		var g UnreadGroup
		err := rows.Scan(&g.RoomNID, &g.Thread, &g.Mask, &g.Mentioned, &g.Own, &g.Notify, &g.Highlight, &g.Count)
		return g, err
	})
}

// UserRules is the content of a user's m.push_rules, and its position.
type UserRules struct {
	UserID   matrix.UserID
	Position int64
	Body     []byte
}

// ListRoomRules returns whose push rules are not the predefined ones among those who are joined to the rooms, without the rules.
func (s *Store) ListRoomRules(ctx context.Context, rooms []int64) (map[int64][]UserRules, error) {
	rows, err := s.query(ctx, `
		SELECT m.room_nid, u.user_id, u.position
		FROM memberships m JOIN updates u ON u.user_id = m.user_id AND u.kind = 1 AND u.room_nid = 0 AND u.key = 'm.push_rules'
		WHERE m.room_nid = ANY ($1) AND m.membership = 'join'`, pq.Array(rooms))
	all := make(map[int64][]UserRules)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var nid int64
		var r UserRules
		err := rows.Scan(&nid, &r.UserID, &r.Position)
		all[nid] = append(all[nid], r)
		return struct{}{}, err
	})
	return all, err
}

// Notification is an event that may have notified a user.
type Notification struct {
	Event
	Fact PushFact
	// Own is nil unless a rule of the user's own decided.
	Own *PushOwn
	// Mentioned: the event mentions the user.
	Mentioned bool
}

// ListNotifications returns events of others in the windows that may have notified the user, newest first, at most limit.
func (s *Store) ListNotifications(ctx context.Context, user matrix.UserID, windows []Window, limit int) ([]Notification, error) {
	nids, after, upTo := windowColumns(windows)
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`, f.thread, f.mask, coalesce($1 = ANY (f.mentions), false), o.notify, o.highlight, o.actions
		FROM (
			SELECT f.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS w (nid, after, up_to)
			CROSS JOIN LATERAL (
				SELECT room_nid, position, thread, mask, mentions FROM push_facts
				WHERE room_nid = w.nid AND position > w.after AND position <= w.up_to AND sender <> $1 AND NOT redacted
				ORDER BY position DESC LIMIT $5
			) f
			ORDER BY f.position DESC LIMIT $5
		) f
		JOIN events ON events.position = f.position
		JOIN rooms ON rooms.room_nid = f.room_nid
		LEFT JOIN push_own o ON o.user_id = $1 AND o.position = f.position
		ORDER BY f.position DESC`, string(user), nids, after, upTo, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Notification, error) {
		var n Notification
		var key sql.NullString
		var notify, highlight sql.NullBool
		var actions []byte
		e := &n.Event
		err := rows.Scan(&e.Position, &e.RoomNID, &e.RoomID, &e.EventID, &e.Type, &key, &e.Sender, &e.OriginServerTS, &e.Depth,
			&e.RedactedBy, &e.TxnDevice, &e.TxnID, &e.JSON, &n.Fact.Thread, &n.Fact.Mask, &n.Mentioned, &notify, &highlight, &actions)
		if key.Valid {
			e.StateKey = &key.String
		}
		if notify.Valid {
			n.Own = &PushOwn{UserID: user, Position: e.Position, Notify: notify.Bool, Highlight: highlight.Bool, Actions: actions}
		}
		return n, err
	})
}

// ListRulesPositions returns the positions of the users' m.push_rules; who never changed any has none.
func (s *Store) ListRulesPositions(ctx context.Context, users []matrix.UserID) ([]UserRules, error) {
	rows, err := s.query(ctx, `
		SELECT user_id, position FROM updates WHERE kind = 1 AND room_nid = 0 AND user_id = ANY ($1) AND key = 'm.push_rules'`, stringArray(users))
	return scanAll(rows, err, func(rows *sql.Rows) (UserRules, error) {
		var r UserRules
		err := rows.Scan(&r.UserID, &r.Position)
		return r, err
	})
}
