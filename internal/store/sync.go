package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Window is a part of a room's history: After < position <= UpTo.
type Window struct {
	RoomNID     int64
	After, UpTo int64
}

// TimelineFilter chooses events in a query as filter.RoomEventFilter does in memory. A nil list lets everything through.
type TimelineFilter struct {
	// Types and NotTypes may have * for any sequence of characters.
	Types, NotTypes     []string
	Senders, NotSenders []string
	ContainsURL         *bool
	// Ignored are senders whose events are left out unless they are state.
	Ignored []string
}

// all reports whether the filter lets every event through.
func (f *TimelineFilter) all() bool {
	return f.Types == nil && f.Senders == nil && len(f.NotTypes) == 0 && len(f.NotSenders) == 0 && len(f.Ignored) == 0 && f.ContainsURL == nil
}

// The rooms come first, once each, and then their events: a plan that is made for few rooms would look the room up for each event.
const listWindows = `
	SELECT ` + eventColumns + `
	FROM (
		SELECT w.*, rooms.room_id FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (room_nid, after, up_to) JOIN rooms USING (room_nid) OFFSET 0
	) rooms
	CROSS JOIN LATERAL (
		SELECT position, room_nid, event_id, type, state_key, sender, origin_server_ts, depth, redacted_by,
		       txn_device_id, txn_id, json
		FROM events WHERE events.room_nid = rooms.room_nid AND position > rooms.after AND position <= rooms.up_to
		ORDER BY position DESC LIMIT $4
	) events`

// ListWindows returns for each window its newest events that the filter lets through, at most limit a window, newest first within
// a window. It looks at no more than scan events of a window, so that a filter for rare events does not read a whole room.
func (s *Store) ListWindows(ctx context.Context, windows []Window, f TimelineFilter, limit, scan int) ([]Event, error) {
	rooms, after, upTo := windowColumns(windows)
	if f.all() {
		rows, err := ask(ctx, s.listWindows, rooms, after, upTo, limit)
		return scanAll(rows, err, eventScanner())
	}
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (nid, after, up_to)
		CROSS JOIN LATERAL (
			SELECT position, room_nid, event_id, type, state_key, sender, origin_server_ts, depth, redacted_by,
			       txn_device_id, txn_id, json
			FROM (
				SELECT position, room_nid, event_id, type, state_key, sender, origin_server_ts, depth, redacted_by,
				       txn_device_id, txn_id, json
				FROM events WHERE events.room_nid = w.nid AND position > w.after AND position <= w.up_to
				ORDER BY position DESC LIMIT $5
			) newest
			WHERE ($6::text[] IS NULL OR type LIKE ANY ($6)) AND NOT type LIKE ANY ($7::text[])
				AND ($8::text[] IS NULL OR sender = ANY ($8)) AND sender <> ALL ($9::text[])
				AND (state_key IS NOT NULL OR sender <> ALL ($10::text[]))
				AND ($11::boolean IS NULL OR $11 = (convert_from(json, 'UTF8')::json -> 'content' -> 'url' IS NOT NULL))
			ORDER BY position DESC LIMIT $4
		) events
		JOIN rooms ON rooms.room_nid = w.nid`,
		rooms, after, upTo, limit, scan, pq.Array(patterns(f.Types)), listed(patterns(f.NotTypes)), pq.Array(f.Senders),
		listed(f.NotSenders), listed(f.Ignored), f.ContainsURL)
	return scanAll(rows, err, scanEvent)
}

// ListScanFloors returns, of each window with more than scan events, the position of the newest one that lies beyond.
func (s *Store) ListScanFloors(ctx context.Context, windows []Window, scan int) (map[int64]int64, error) {
	rooms, after, upTo := windowColumns(windows)
	rows, err := s.query(ctx, `
		SELECT w.nid, e.position
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (nid, after, up_to)
		CROSS JOIN LATERAL (
			SELECT position FROM events
			WHERE events.room_nid = w.nid AND position > w.after AND position <= w.up_to
			ORDER BY position DESC OFFSET $4 LIMIT 1
		) e`, rooms, after, upTo, scan)
	floors := make(map[int64]int64)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var room, position int64
		err := rows.Scan(&room, &position)
		floors[room] = position
		return struct{}{}, err
	})
	return floors, err
}

func windowColumns(windows []Window) (rooms, after, upTo any) {
	r, a, u := make([]int64, len(windows)), make([]int64, len(windows)), make([]int64, len(windows))
	for i, w := range windows {
		r[i], a[i], u[i] = w.RoomNID, w.After, w.UpTo
	}
	return pq.Array(r), pq.Array(a), pq.Array(u)
}

var likeEscapes = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`)

// patterns turns globs into patterns of LIKE.
func patterns(globs []string) []string {
	if globs == nil {
		return nil
	}
	like := make([]string, len(globs))
	for i, g := range globs {
		like[i] = likeEscapes.Replace(g)
	}
	return like
}

// listed hands a list over so that an absent one is empty instead of null.
func listed(list []string) any {
	if list == nil {
		list = []string{}
	}
	return pq.Array(list)
}

// StateWindow asks what changed in the state of a room with After < position <= UpTo, seen from Start: the position of the
// first event of a timeline within. After 0 asks for the whole state.
type StateWindow struct {
	RoomNID            int64
	After, Start, UpTo int64
}

// StateChange is an event of a room's state within a StateWindow.
type StateChange struct {
	Event
	// AtStart: it is state just before Start. AtEnd: it is state at UpTo.
	AtStart, AtEnd bool
}

// stateWindows are the statements of ListStateWindows.
type stateWindows struct{ whole, notMembers bool }

func (w stateWindows) query() string {
	// Why "+ 0": it keeps the planner from an index that reads far too much: of a whole state most rows began long ago, of the
	// changes in a window most rows of the room are current. OFFSET 0 keeps it from reading all rooms.
	bounds := `since > rooms.after AND since <= rooms.up_to AND until + 0 >= rooms.start`
	if w.whole {
		bounds = `since + 0 <= rooms.up_to AND until >= rooms.start`
	}
	if w.notMembers {
		bounds += ` AND type <> 'm.room.member'`
	}
	return `
		SELECT s.since < rooms.start AND s.until >= rooms.start, s.until > rooms.up_to, ` + eventColumns + `
		FROM (
			SELECT w.*, rooms.room_id FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS w (room_nid, after, start, up_to)
			JOIN rooms USING (room_nid) OFFSET 0
		) rooms
		CROSS JOIN LATERAL (
			SELECT since, until, event_position FROM room_state
			WHERE room_nid = rooms.room_nid AND ` + bounds + ` AND (until > rooms.up_to OR (NOT $5 AND since < rooms.start))
			OFFSET 0
		) s
		JOIN events ON events.position = s.event_position`
}

// ListStateWindows returns the state events of the windows that are state at Start, at UpTo or both, oldest first; onlyEnd leaves those out
// that are not state at UpTo, notMembers leaves out m.room.member. All windows have After 0, or none.
func (s *Store) ListStateWindows(ctx context.Context, windows []StateWindow, onlyEnd, notMembers bool) ([]StateChange, error) {
	if len(windows) == 0 {
		return nil, nil
	}
	n := len(windows)
	rooms, after, start, upTo := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, w := range windows {
		rooms[i], after[i], start[i], upTo[i] = w.RoomNID, w.After, w.Start, w.UpTo
	}
	statement := s.listStateWindows[stateWindows{whole: after[0] == 0, notMembers: notMembers}]
	rows, err := ask(ctx, statement, pq.Array(rooms), pq.Array(after), pq.Array(start), pq.Array(upTo), onlyEnd)
	var c StateChange
	scan := eventScanner(&c.AtStart, &c.AtEnd)
	list, err := scanAll(rows, err, func(rows *sql.Rows) (_ StateChange, err error) {
		c.Event, err = scan(rows)
		return c, err
	})
	slices.SortFunc(list, func(x, y StateChange) int { return cmp.Compare(x.Position, y.Position) })
	return list, err
}

// KeyAt asks for one key of a room's state at a position.
type KeyAt struct {
	RoomNID int64
	Type    string
	Key     string
	At      int64
}

const listStateAt = `
	SELECT ` + eventColumns + `
	FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) AS wanted (nid, type, key, at)
	CROSS JOIN LATERAL (
		SELECT until, event_position FROM room_state
		WHERE room_nid = wanted.nid AND type = wanted.type AND state_key = wanted.key AND since <= wanted.at
		ORDER BY since DESC LIMIT 1
	) s
	JOIN events ON events.position = s.event_position
	JOIN rooms ON rooms.room_nid = wanted.nid
	WHERE s.until > wanted.at`

// ListStateAt returns the state events that the keys stand for, in no order; keys without state have none.
func (s *Store) ListStateAt(ctx context.Context, keys []KeyAt) ([]Event, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	n := len(keys)
	rooms, at, types, names := make([]int64, n), make([]int64, n), make([]string, n), make([]string, n)
	for i, k := range keys {
		rooms[i], at[i], types[i], names[i] = k.RoomNID, k.At, k.Type, k.Key
	}
	rows, err := ask(ctx, s.listStateAt, pq.Array(rooms), pq.Array(types), pq.Array(names), pq.Array(at))
	return scanAll(rows, err, eventScanner())
}

// RoomSpan is an entry in the history of a state key of one of several rooms.
type RoomSpan struct {
	RoomNID int64
	Type    string
	// It held for Since <= position < Until.
	Since, Until  int64
	EventPosition int64
	Membership    string
	JSON          []byte
}

// The events are looked up one by one, for which there is one plan, however few there were when it was made.
const listVisibility = `
	SELECT wanted.nid, k.type, s.since, s.until, s.event_position, coalesce(s.membership, ''),
		(SELECT json FROM events WHERE position = s.event_position)
	FROM unnest($1::bigint[]) AS wanted (nid)
	CROSS JOIN (VALUES ('m.room.history_visibility', ''), ('m.room.member', $2)) AS k (type, key)
	CROSS JOIN LATERAL (
		SELECT since, until, event_position, membership FROM room_state
		WHERE room_nid = wanted.nid AND type = k.type AND state_key = k.key
		OFFSET 0
	) s
	ORDER BY s.since`

// ListVisibilityHistories returns for each room the history of m.room.history_visibility and of the user's membership,
// oldest first.
func (s *Store) ListVisibilityHistories(ctx context.Context, rooms []int64, user matrix.UserID) ([]RoomSpan, error) {
	rows, err := ask(ctx, s.listVisibility, pq.Array(rooms), string(user))
	list, err := scanAll(rows, err, func(rows *sql.Rows) (RoomSpan, error) {
		var sp RoomSpan
		err := rows.Scan(&sp.RoomNID, &sp.Type, &sp.Since, &sp.Until, &sp.EventPosition, &sp.Membership, &sp.JSON)
		return sp, err
	})
	if err != nil {
		return nil, err
	}
	return list, s.hideFromOutside(ctx, list, user)
}

// hideFromOutside takes away what says that the world may read a room, where the user is not inside. Few rooms are such, so that
// the other statement need not ask.
func (s *Store) hideFromOutside(ctx context.Context, list []RoomSpan, user matrix.UserID) error {
	open := func(sp RoomSpan) bool {
		return sp.Type != "m.room.member" && bytes.Contains(sp.JSON, []byte("world_readable"))
	}
	if !slices.ContainsFunc(list, open) {
		return nil
	}
	inside := make(map[int64]bool)
	for i := range list {
		if !open(list[i]) {
			continue
		}
		nid := list[i].RoomNID
		if _, asked := inside[nid]; !asked {
			var is bool
			if err := s.queryRow(ctx, `SELECT is_inside($1, $2)`, nid, string(user)).Scan(&is); err != nil {
				return err
			}
			inside[nid] = is
		}
		if !inside[nid] {
			list[i].JSON = nil
		}
	}
	return nil
}

// RoomSummary is what a room without a name is called by, and how many are in it.
type RoomSummary struct {
	RoomNID         int64
	Joined, Invited int
	// Name and Alias are the events that name the room, or nil.
	Name, Alias []byte
}

// ListRoomSummaries returns the present summary of each room.
func (s *Store) ListRoomSummaries(ctx context.Context, rooms []int64) ([]RoomSummary, error) {
	rows, err := s.query(ctx, `
		SELECT w.nid, c.joined, c.invited, name.json, alias.json
		FROM unnest($1::bigint[]) AS w (nid)
		CROSS JOIN LATERAL (
			SELECT count(*) FILTER (WHERE membership = 'join') AS joined, count(*) FILTER (WHERE membership = 'invite') AS invited
			FROM memberships m WHERE m.room_nid = w.nid AND m.membership IN ('join', 'invite')
		) c
		LEFT JOIN LATERAL (
			SELECT events.json FROM room_state s JOIN events ON events.position = s.event_position
			WHERE s.room_nid = w.nid AND s.type = 'm.room.name' AND s.state_key = '' ORDER BY s.since DESC LIMIT 1
		) name ON true
		LEFT JOIN LATERAL (
			SELECT events.json FROM room_state s JOIN events ON events.position = s.event_position
			WHERE s.room_nid = w.nid AND s.type = 'm.room.canonical_alias' AND s.state_key = '' ORDER BY s.since DESC LIMIT 1
		) alias ON true`, pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (RoomSummary, error) {
		var r RoomSummary
		err := rows.Scan(&r.RoomNID, &r.Joined, &r.Invited, &r.Name, &r.Alias)
		return r, err
	})
}

// Hero is a member whom a room without a name is called by.
type Hero struct {
	RoomNID int64
	UserID  matrix.UserID
	// Gone: the member has left or was banned.
	Gone bool
}

// ListHeroes returns of each room the members who have been in it or invited for longest, at most limit, and after them as many
// who have left or were banned.
func (s *Store) ListHeroes(ctx context.Context, rooms []int64, limit int) ([]Hero, error) {
	rows, err := s.query(ctx, `
		SELECT w.nid, m.user_id, m.gone
		FROM unnest($1::bigint[]) AS w (nid)
		CROSS JOIN LATERAL (
			(SELECT user_id, false AS gone, position FROM memberships
			 WHERE room_nid = w.nid AND membership IN ('join', 'invite') ORDER BY position LIMIT $2)
			UNION ALL
			(SELECT user_id, true, position FROM memberships
			 WHERE room_nid = w.nid AND membership IN ('leave', 'ban') ORDER BY position LIMIT $2)
		) m
		ORDER BY w.nid, m.gone, m.position`, pq.Array(rooms), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Hero, error) {
		var h Hero
		err := rows.Scan(&h.RoomNID, &h.UserID, &h.Gone)
		return h, err
	})
}

// ListReceipts returns for each window the receipts that the user may know of, the user's own and the newest ones of others,
// at most limit a window, oldest first. Private ones are told to their owner only.
func (s *Store) ListReceipts(ctx context.Context, windows []Window, user matrix.UserID, limit int) ([]Update, error) {
	rooms, after, upTo := windowColumns(windows)
	rows, err := s.query(ctx, `
		SELECT u.position, u.kind, u.room_nid, u.user_id, u.key, u.body
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (nid, after, up_to)
		CROSS JOIN LATERAL (
			SELECT `+updateColumns+` FROM updates
			WHERE room_nid = w.nid AND kind = 2 AND position > w.after AND position <= w.up_to
				AND (user_id = $4 OR NOT starts_with(key, 'm.read.private'))
			ORDER BY user_id = $4 DESC, position DESC LIMIT $5
		) u
		ORDER BY u.position`, rooms, after, upTo, string(user), limit)
	return scanAll(rows, err, scanUpdate)
}

// ListAccountData returns the user's account data with after < position <= upTo, and all of it up to upTo that belongs to one
// of the rooms, oldest first.
func (s *Store) ListAccountData(ctx context.Context, user matrix.UserID, after, upTo int64, rooms []int64) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE user_id = $1 AND kind = 1 AND position <= $3 AND (position > $2 OR room_nid = ANY ($4))
		ORDER BY position`, string(user), after, upTo, pq.Array(rooms))
	return scanAll(rows, err, scanUpdate)
}

// ListSharedPresence returns the presence of the user and of those who share a room with the user, with after < position <=
// upTo, the newest ones, at most limit, oldest first.
func (s *Store) ListSharedPresence(ctx context.Context, user matrix.UserID, after, upTo int64, limit int) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM (
			SELECT `+updateColumns+` FROM updates u
			WHERE kind = 4 AND room_nid = 0 AND position > $2 AND position <= $3 AND (user_id = $1 OR EXISTS (
				SELECT 1 FROM memberships mine JOIN memberships other ON other.room_nid = mine.room_nid
				WHERE mine.user_id = $1 AND mine.membership = 'join' AND other.user_id = u.user_id AND other.membership = 'join'))
			ORDER BY position DESC LIMIT $4
		) newest ORDER BY position`, string(user), after, upTo, limit)
	return scanAll(rows, err, scanUpdate)
}

// ListPresenceInRooms returns the presence of the present members of the rooms, the newest ones, at most limit, oldest first.
func (s *Store) ListPresenceInRooms(ctx context.Context, rooms []int64, upTo int64, limit int) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM (
			SELECT `+updateColumns+` FROM updates
			WHERE kind = 4 AND room_nid = 0 AND position <= $2 AND user_id IN (
				SELECT user_id FROM memberships WHERE room_nid = ANY ($1) AND membership = 'join')
			ORDER BY position DESC LIMIT $3
		) newest ORDER BY position`, pq.Array(rooms), upTo, limit)
	return scanAll(rows, err, scanUpdate)
}
