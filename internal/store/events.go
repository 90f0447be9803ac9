package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Event is an event of a room as it is stored.
type Event struct {
	Position       int64
	RoomNID        int64
	RoomID         matrix.RoomID
	EventID        matrix.EventID
	Type           string
	StateKey       *string
	Sender         matrix.UserID
	OriginServerTS matrix.Timestamp
	Depth          int64
	// RedactedBy is the event that removed this one's content, or empty.
	RedactedBy matrix.EventID
	// TxnDevice and TxnID name the transaction of a device of ours that made the event, or are empty.
	TxnDevice matrix.DeviceID
	TxnID     string
	// JSON is the signed event; after a redaction, what is left of it.
	JSON []byte
	// Childless: no event related to this one when it was read. Only pages of a room say so.
	Childless bool
}

// eventColumns need events joined with rooms.
const eventColumns = `events.position, events.room_nid, rooms.room_id, events.event_id, events.type, events.state_key,
	events.sender, events.origin_server_ts, events.depth, coalesce(events.redacted_by, ''),
	coalesce(events.txn_device_id, ''), coalesce(events.txn_id, ''), events.json`

func scanEvent(rows *sql.Rows) (Event, error) { return scanEventAfter(rows) }

// scanEventAfter reads an event behind other columns.
func scanEventAfter(rows *sql.Rows, first ...any) (Event, error) { return eventScanner(first...)(rows) }

// eventScanner returns a function that reads events behind other columns. It reads all rows into the same places: new ones for each of thousands
// are a good part of the work.
func eventScanner(first ...any) func(*sql.Rows) (Event, error) {
	var e Event
	var key sql.NullString
	// Plain types, which database/sql fills without reflection.
	columns := append(first, &e.Position, &e.RoomNID, (*string)(&e.RoomID), (*string)(&e.EventID), &e.Type, &key, (*string)(&e.Sender),
		(*int64)(&e.OriginServerTS), &e.Depth, (*string)(&e.RedactedBy), (*string)(&e.TxnDevice), &e.TxnID, &e.JSON)
	return func(rows *sql.Rows) (Event, error) {
		err := rows.Scan(columns...)
		e.StateKey = nil
		if key.Valid {
			stateKey := key.String
			e.StateKey = &stateKey
		}
		return e, err
	}
}

func one[T any](list []T, err error) (T, error) {
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return list[0], nil
}

// GetEvent returns an event of the room, or ErrNotFound; an event of another room is not found.
func (s *Store) GetEvent(ctx context.Context, room int64, id matrix.EventID) (Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+` FROM events JOIN rooms USING (room_nid) WHERE event_id = $1 AND room_nid = $2`,
		string(id), room)
	return one(scanAll(rows, err, scanEvent))
}

// GetEventByID returns an event of whichever room, or ErrNotFound.
func (s *Store) GetEventByID(ctx context.Context, id matrix.EventID) (Event, error) {
	rows, err := s.query(ctx, `SELECT `+eventColumns+` FROM events JOIN rooms USING (room_nid) WHERE event_id = $1`, string(id))
	return one(scanAll(rows, err, scanEvent))
}

// ListEventsIn returns the events of the rooms with after < position <= upTo, oldest first, at most limit.
func (s *Store) ListEventsIn(ctx context.Context, rooms []int64, after, upTo int64, limit int) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+` FROM events JOIN rooms USING (room_nid)
		WHERE room_nid = ANY ($1) AND position > $2 AND position <= $3 ORDER BY position LIMIT $4`, pq.Array(rooms), after, upTo, limit)
	return scanAll(rows, err, scanEvent)
}

// ListEventsAt returns the events at the given positions, oldest first.
func (s *Store) ListEventsAt(ctx context.Context, positions []int64) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+` FROM events JOIN rooms USING (room_nid) WHERE position = ANY ($1) ORDER BY position`,
		pq.Array(positions))
	return scanAll(rows, err, scanEvent)
}

// ListEventsByID returns the events with the given ids in the room, in no order.
func (s *Store) ListEventsByID(ctx context.Context, room int64, ids []matrix.EventID) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+` FROM events JOIN rooms USING (room_nid) WHERE event_id = ANY ($1) AND room_nid = $2`,
		stringArray(ids), room)
	return scanAll(rows, err, scanEvent)
}

// ListRoomEvents returns the room's events with after < position <= upTo, oldest first, at most limit and about limits.PageBytes. cut
// says that there would have been more but for the bytes.
func (s *Store) ListRoomEvents(ctx context.Context, room, after, upTo int64, limit int) (events []Event, cut bool, err error) {
	return listPage(ctx, s.listEvents, room, after, upTo, limit)
}

// ListRoomEventsBack is ListRoomEvents, newest first.
func (s *Store) ListRoomEventsBack(ctx context.Context, room, after, upTo int64, limit int) (events []Event, cut bool, err error) {
	return listPage(ctx, s.listEventsBack, room, after, upTo, limit)
}

// Why no EXISTS: for that the planner may read all relations there are.
const (
	listEvents = `
		SELECT (SELECT true FROM relations r WHERE r.room_nid = $1 AND r.relates_to = events.event_id LIMIT 1) IS NULL, ` + eventColumns + `
		FROM events JOIN rooms USING (room_nid)
		WHERE room_nid = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4`
	listEventsBack = `
		SELECT (SELECT true FROM relations r WHERE r.room_nid = $1 AND r.relates_to = events.event_id LIMIT 1) IS NULL, ` + eventColumns + `
		FROM events JOIN rooms USING (room_nid)
		WHERE room_nid = $1 AND position > $2 AND position <= $3 ORDER BY position DESC LIMIT $4`
)

// listPage reads events until there are no more, or they would fill too much memory.
func listPage(ctx context.Context, statement *sql.Stmt, room, after, upTo int64, limit int) (events []Event, cut bool, _ error) {
	rows, err := ask(ctx, statement, room, after, upTo, limit)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	events = make([]Event, 0, min(limit, pageRows))
	var childless bool
	scan := eventScanner(&childless)
	for size := 0; rows.Next(); {
		if size >= limits.PageBytes {
			return events, true, nil
		}
		e, err := scan(rows)
		if err != nil {
			return nil, false, wrap(err)
		}
		e.Childless = childless
		size += len(e.JSON)
		events = append(events, e)
	}
	return events, false, wrap(rows.Err())
}

// pageRows is for how many events a page has room from the start.
const pageRows = 128

// ListTimelines returns for each room its newest events with after < position <= upTo, at most limit a room, newest first
// within a room.
func (s *Store) ListTimelines(ctx context.Context, rooms []int64, after, upTo int64, limit int) ([]Event, error) {
	rows, err := s.query(ctx, `
		SELECT `+eventColumns+`
		FROM unnest($1::bigint[]) AS wanted (nid)
		CROSS JOIN LATERAL (
			SELECT position, room_nid, event_id, type, state_key, sender, origin_server_ts, depth, redacted_by,
			       txn_device_id, txn_id, json
			FROM events WHERE events.room_nid = wanted.nid AND position > $2 AND position <= $3
			ORDER BY position DESC LIMIT $4
		) events
		JOIN rooms ON rooms.room_nid = wanted.nid`, pq.Array(rooms), after, upTo, limit)
	return scanAll(rows, err, scanEvent)
}

// GetTransaction returns the event that a device's transaction made, or ErrNotFound.
func (s *Store) GetTransaction(ctx context.Context, user matrix.UserID, device matrix.DeviceID, scope, id string) (matrix.EventID, error) {
	var event matrix.EventID
	err := s.queryRow(ctx, `
		SELECT event_id FROM transactions WHERE user_id = $1 AND device_id = $2 AND scope = $3 AND txn_id = $4`,
		string(user), string(device), scope, id).Scan(&event)
	return event, err
}
