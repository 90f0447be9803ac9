package store

import (
	"context"
	"database/sql"
	"math"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// DelayedDevice is the device of the transactions that send delayed events; their transaction id is the event's delay id. No client
// can call its device so: it has a control character.
const DelayedDevice matrix.DeviceID = "\x01delayed event"

// DelayedEvent is an event that is sent later.
type DelayedEvent struct {
	DelayID string
	User    matrix.UserID
	// Device, Scope and TxnID are the request that scheduled it; TxnID is empty for a request without one.
	Device matrix.DeviceID
	Scope  string
	TxnID  string

	RoomID   matrix.RoomID
	Type     string
	StateKey *string
	Content  []byte
	// Timestamp is the event's origin_server_ts, 0 for the time when it is sent.
	Timestamp matrix.Timestamp
	// Sticky is for how long the event is sticky, 0 for not at all.
	Sticky time.Duration
	Delay  time.Duration

	// ScheduledTS is when it was scheduled or restarted last, by the database's clock.
	ScheduledTS matrix.Timestamp
	// FinalisedTS is 0 for as long as it is to be sent. After that it has an EventID if it was sent, an Error (the body of an error
	// answer) if it could not be, and neither if it was cancelled.
	FinalisedTS matrix.Timestamp
	EventID     matrix.EventID
	Error       []byte
}

// Scheduled reports whether the event is still to be sent.
func (e *DelayedEvent) Scheduled() bool { return e.FinalisedTS == 0 }

// The database's time in ms. Scheduling rounds up and firing rounds down, so that nothing is sent early.
const (
	dbNowUp   = `ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint`
	dbNowDown = `floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint`
)

const delayedColumns = `delay_id, user_id, device_id, scope, coalesce(txn_id, ''), room_id, type, state_key, content, origin_server_ts, sticky_ms,
	delay_ms, scheduled_ts, coalesce(finalised_ts, 0), coalesce(event_id, ''), error`

func scanDelayed(scan func(...any) error) (DelayedEvent, error) {
	var e DelayedEvent
	var key sql.NullString
	var sticky, delay int64
	err := scan(&e.DelayID, &e.User, &e.Device, &e.Scope, &e.TxnID, &e.RoomID, &e.Type, &key, &e.Content, &e.Timestamp, &sticky,
		&delay, &e.ScheduledTS, &e.FinalisedTS, &e.EventID, &e.Error)
	if key.Valid {
		e.StateKey = &key.String
	}
	e.Sticky, e.Delay = time.Duration(sticky)*time.Millisecond, time.Duration(delay)*time.Millisecond
	return e, err
}

func scanDelayedRow(rows *sql.Rows) (DelayedEvent, error) { return scanDelayed(rows.Scan) }

// GetDelayedEvent returns a delayed event, scheduled or not, or ErrNotFound.
func (s *Store) GetDelayedEvent(ctx context.Context, id string) (DelayedEvent, error) {
	return scanDelayed(s.queryRow(ctx, `SELECT `+delayedColumns+` FROM delayed_events WHERE delay_id = $1`, id).Scan)
}

// LockDelayedEvent returns a delayed event and keeps everybody else from sending or changing it until the transaction ends.
func (tx *Tx) LockDelayedEvent(ctx context.Context, id string) (DelayedEvent, error) {
	return scanDelayed(tx.queryRow(ctx, `SELECT `+delayedColumns+` FROM delayed_events WHERE delay_id = $1 FOR UPDATE`, id).Scan)
}

const delayedByTransaction = `SELECT delay_id FROM delayed_events WHERE user_id = $1 AND device_id = $2 AND scope = $3 AND txn_id = $4`

// GetDelayedTransaction returns the id of the delayed event that a device's transaction scheduled, or ErrNotFound.
func (s *Store) GetDelayedTransaction(ctx context.Context, user matrix.UserID, device matrix.DeviceID, scope, txn string) (string, error) {
	var id string
	err := s.queryRow(ctx, delayedByTransaction, string(user), string(device), scope, txn).Scan(&id)
	return id, err
}

// GetDelayedTransaction returns the id of the delayed event that a device's transaction scheduled, or ErrNotFound.
func (tx *Tx) GetDelayedTransaction(ctx context.Context, user matrix.UserID, device matrix.DeviceID, scope, txn string) (string, error) {
	var id string
	err := tx.queryRow(ctx, delayedByTransaction, string(user), string(device), scope, txn).Scan(&id)
	return id, err
}

// ListDelayedEvents returns the user's scheduled events, the next one first.
func (s *Store) ListDelayedEvents(ctx context.Context, user matrix.UserID, limit int) ([]DelayedEvent, error) {
	rows, err := s.query(ctx, `
		SELECT `+delayedColumns+` FROM delayed_events
		WHERE user_id = $1 AND finalised_ts IS NULL ORDER BY due_ts, delay_id LIMIT $2`, string(user), limit)
	return scanAll(rows, err, scanDelayedRow)
}

// CountDelayedEvents counts the user's scheduled events, and says how long it is until the first is due.
func (tx *Tx) CountDelayedEvents(ctx context.Context, user matrix.UserID) (count int, next time.Duration, err error) {
	var ms int64
	err = tx.queryRow(ctx, `
		SELECT count(*), coalesce(min(due_ts) - `+dbNowDown+`, 0) FROM delayed_events WHERE user_id = $1 AND finalised_ts IS NULL`,
		string(user)).Scan(&count, &ms)
	return count, max(0, time.Duration(ms)*time.Millisecond), err
}

// InsertDelayedEvent schedules an event, counting from now.
func (tx *Tx) InsertDelayedEvent(ctx context.Context, e DelayedEvent) error {
	var key sql.NullString
	if e.StateKey != nil {
		key = sql.NullString{String: *e.StateKey, Valid: true}
	}
	_, err := tx.exec(ctx, `
		INSERT INTO delayed_events (delay_id, user_id, device_id, scope, txn_id, room_id, type, state_key, content, origin_server_ts,
		                            sticky_ms, delay_ms, scheduled_ts)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, $7, $8, $9, $10, $11, $12, `+dbNowUp+`)`,
		e.DelayID, string(e.User), string(e.Device), e.Scope, e.TxnID, string(e.RoomID), e.Type, key, e.Content, int64(e.Timestamp),
		e.Sticky.Milliseconds(), e.Delay.Milliseconds())
	return err
}

// RestartDelayedEvent counts a scheduled event's delay from now on. It reports false when the event is not scheduled.
func (s *Store) RestartDelayedEvent(ctx context.Context, id string) (bool, error) {
	n, err := s.execOnce(ctx, `
		UPDATE delayed_events SET scheduled_ts = `+dbNowUp+` WHERE delay_id = $1 AND finalised_ts IS NULL`, id)
	return n == 1, err
}

// CancelDelayedEvent makes that a scheduled event is never sent. It reports false when the event is not scheduled.
func (s *Store) CancelDelayedEvent(ctx context.Context, id string) (bool, error) {
	n, err := s.execOnce(ctx, `
		UPDATE delayed_events SET finalised_ts = `+dbNowDown+` WHERE delay_id = $1 AND finalised_ts IS NULL`, id)
	return n == 1, err
}

// DueDelayedEvent is one whose time has come, with what matters of its sender.
type DueDelayedEvent struct {
	DelayedEvent
	SenderLocked, SenderSuspended bool
}

// LockDueDelayedEvents returns events whose time has come, the earliest first, and keeps everybody else from sending or changing
// them until the transaction ends. Those that somebody else has locked are left out.
func (tx *Tx) LockDueDelayedEvents(ctx context.Context, limit int) ([]DueDelayedEvent, error) {
	rows, err := tx.query(ctx, `
		SELECT `+delayedColumns+` FROM delayed_events
		WHERE finalised_ts IS NULL AND due_ts <= `+dbNowDown+` ORDER BY due_ts, delay_id LIMIT $1 FOR UPDATE SKIP LOCKED`, limit)
	events, err := scanAll(rows, err, scanDelayedRow)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	senders := make([]matrix.UserID, len(events))
	for i := range events {
		senders[i] = events[i].User
	}
	rows, err = tx.query(ctx, `SELECT `+userColumns+` FROM users WHERE user_id = ANY ($1)`, stringArray(senders))
	users, err := scanAll(rows, err, func(rows *sql.Rows) (User, error) { return scanUser(rows.Scan) })
	if err != nil {
		return nil, err
	}
	byID := make(map[matrix.UserID]User, len(users))
	for _, u := range users {
		byID[u.UserID] = u
	}
	due := make([]DueDelayedEvent, len(events))
	for i, e := range events {
		u := byID[e.User]
		due[i] = DueDelayedEvent{DelayedEvent: e, SenderLocked: u.Locked, SenderSuspended: u.Suspended}
	}
	return due, nil
}

// PutDelayedOutcomes notes that locked events were sent (EventID) or could not be (Error).
func (tx *Tx) PutDelayedOutcomes(ctx context.Context, events []DelayedEvent) error {
	ids, sent := make([]string, len(events)), make([]sql.NullString, len(events))
	failures := make(pq.ByteaArray, len(events))
	for i := range events {
		ids[i], sent[i], failures[i] = events[i].DelayID, nullString(string(events[i].EventID)), events[i].Error
	}
	_, err := tx.exec(ctx, `
		UPDATE delayed_events d SET finalised_ts = `+dbNowDown+`, event_id = x.event_id, error = x.error
		FROM unnest($1::text[], $2::text[], $3::bytea[]) AS x (delay_id, event_id, error)
		WHERE d.delay_id = x.delay_id`, pq.Array(ids), pq.Array(sent), failures)
	return err
}

// NextDelayedEvent is how long it is until the next event is due, at most atMost.
func (s *Store) NextDelayedEvent(ctx context.Context, atMost time.Duration) (time.Duration, error) {
	var ms sql.NullFloat64
	err := s.queryRow(ctx, `
		SELECT min(due_ts) - (extract(epoch FROM clock_timestamp()) * 1000)::float8 FROM delayed_events WHERE finalised_ts IS NULL`).Scan(&ms)
	if err != nil || !ms.Valid || ms.Float64 >= float64(atMost.Milliseconds()) {
		return atMost, err
	}
	return time.Duration(math.Ceil(max(0, ms.Float64) * float64(time.Millisecond))), nil
}

// DeleteFinalisedDelayedEvents forgets events that were finalised more than kept ago, and those beyond the newest perUser ones of a
// user; at most limit.
func (s *Store) DeleteFinalisedDelayedEvents(ctx context.Context, kept time.Duration, perUser, limit int) (int64, error) {
	n, err := s.exec(ctx, `
		DELETE FROM delayed_events WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM delayed_events WHERE finalised_ts < `+dbNowDown+` - $1::bigint LIMIT $2))`, kept.Milliseconds(), limit)
	if err != nil || n == int64(limit) {
		return n, err
	}
	beyond, err := s.exec(ctx, `
		DELETE FROM delayed_events WHERE delay_id = ANY (ARRAY (
			SELECT delay_id FROM (
				SELECT delay_id, row_number() OVER (PARTITION BY user_id ORDER BY finalised_ts DESC) AS n
				FROM delayed_events WHERE finalised_ts IS NOT NULL
			) numbered WHERE n > $1 LIMIT $2))`, perUser, limit-int(n))
	return n + beyond, err
}
