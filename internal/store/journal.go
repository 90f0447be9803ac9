package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Unit is what is stored whole or not at all: events of one room, updates, or both.
type Unit struct {
	// RoomNID, RoomID, Head and Events: the events, built one on another, the first on Head, the room's last event.
	RoomNID int64
	RoomID  matrix.RoomID
	Head    matrix.EventID
	Events  []NewEvent
	// Create is given when Events begin a room.
	Create *NewRoom
	// Txn makes the unit happen once for the device's transaction.
	Txn *Txn

	Updates []Update
	// ToDevice has a message for each of Updates (ToDeviceUnit makes such units).
	ToDevice *ToDeviceSend
}

// NewEvent is an event on its way into a room.
type NewEvent struct {
	EventID        matrix.EventID
	Type           string
	StateKey       *string
	Sender         matrix.UserID
	OriginServerTS matrix.Timestamp
	Depth          int64
	// Membership is content.membership of m.room.member, else empty.
	Membership string
	// Redacts is the event that this one removes, and RedactedJSON what is left of it.
	Redacts      matrix.EventID
	RedactedJSON []byte
	// Relation is content.m.relates_to, nil for an event that relates to none.
	Relation *Relation
	// StickyUntil is when the event stops being sticky; zero for an event that never was.
	StickyUntil matrix.Timestamp
	// Media is what the content names by mxc:// URIs, and what was attached to the event; MediaKind is what the event says it is.
	Media     []matrix.ContentURI
	MediaKind string
	JSON      []byte
}

// Relation says which event another one relates to.
type Relation struct {
	Type      string
	RelatesTo matrix.EventID
	// Key is that of an annotation, else empty.
	Key string
}

// NewRoom is a room that begins.
type NewRoom struct {
	RoomID         matrix.RoomID
	Version        string
	OrganisationID int64
}

// Txn is a client's transaction: Scope names the endpoint and its path, EventID the event that it makes.
type Txn struct {
	User    matrix.UserID
	Device  matrix.DeviceID
	Scope   string
	ID      string
	EventID matrix.EventID
}

// Outcome of a Unit.
type Outcome string

const (
	// OutcomeStored: the unit is stored, its first event or update at Position.
	OutcomeStored Outcome = "ok"
	// OutcomeAlready: the unit had been stored before, at Position; the answer to an earlier attempt was lost.
	OutcomeAlready Outcome = "done"
	// OutcomeTxn: the device's transaction had made EventID before; nothing was stored.
	OutcomeTxn Outcome = "txn"
	// OutcomeMoved: the room's head is not Head any more, or an update's value not the one it Replaces; nothing was stored.
	OutcomeMoved Outcome = "moved"
)

// Result of a Unit.
type Result struct {
	Outcome  Outcome
	Position int64
	EventID  matrix.EventID
}

// JournalConn is the connection that one process commits its batches on. It is not in the pool: it has a patience of its own.
type JournalConn struct {
	db   *sql.DB
	conn *sql.Conn
	stmt *sql.Stmt
	// message is prepared for batches of one message. It goes round database/sql, which would cost it more than the driver does.
	message driver.StmtQueryContext
	// toDevice is prepared when the first messages to devices are sent.
	toDevice *sql.Stmt
}

const appendStatement = `
	SELECT base, outcomes, known, stored_at
	FROM journal_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
	                    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41,
	                    $42, $43, $44, $45, $46, $47, $48, $49)`

// A value is quicker than a row: the database makes no table of it.
const messageStatement = `SELECT journal_append_message($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`

// OpenJournal opens the connection for batches. A server that does not answer for patience is given up.
func (s *Store) OpenJournal(patience time.Duration) (*JournalConn, error) {
	connector, err := pq.NewConnector(s.dsn)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	var conn *boundedConn
	connector.Dialer(dialer{patience: patience, dialled: func(c *boundedConn) { conn = c }})
	c := &JournalConn{db: sql.OpenDB(connector)}
	err = c.prepare()
	if err == nil {
		err = conn.waitInThread()
	}
	if err != nil {
		c.Close()
		return nil, wrap(err)
	}
	return c, nil
}

// The statements of this connection run without a context. Why: the driver would watch it from a goroutine of its own at every
// batch, and not even then give up a server that has fallen silent; the connection's patience does.

func (c *JournalConn) prepare() (err error) {
	ctx := context.Background()
	if c.conn, err = c.db.Conn(ctx); err != nil {
		return err
	}
	// Every plan of journal_append goes by keys. Planning them anew for each batch costs more than the batch.
	if _, err = c.conn.ExecContext(ctx, `SET plan_cache_mode = force_generic_plan`); err != nil {
		return err
	}
	if c.stmt, err = c.conn.PrepareContext(ctx, appendStatement); err != nil {
		return err
	}
	return c.conn.Raw(func(conn any) error {
		stmt, err := conn.(driver.Conn).Prepare(messageStatement)
		if err == nil {
			c.message = stmt.(driver.StmtQueryContext)
		}
		return err
	})
}

// Close gives the connection up; after an error of the connection it is not used again.
func (c *JournalConn) Close() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.db.Close()
}

// Append stores the units in one round trip and one commit, and says what became of each. Units of one room must stand in
// the order in which they were built on each other. Sending the same units again is safe: what was stored is found.
func (c *JournalConn) Append(now matrix.Timestamp, units []Unit) ([]Result, error) {
	ctx := context.Background()
	if len(units) == 1 && units[0].isMessage() {
		if base, stored, err := c.appendMessage(now, &units[0]); err != nil || stored {
			return []Result{{Outcome: OutcomeStored, Position: base + 1}}, err
		}
	}
	stmt, messages := c.stmt, hasToDevice(units)
	if messages {
		if c.toDevice == nil {
			var err error
			if c.toDevice, err = c.conn.PrepareContext(ctx, toDeviceStatement); err != nil {
				return nil, wrap(err)
			}
		}
		stmt = c.toDevice
	}
	return readResults(stmt.QueryRowContext(ctx, appendArguments(now, units)...), units)
}

// appendMessage is Append for a unit that is a message. It is not stored when there is something to find out about it.
func (c *JournalConn) appendMessage(now matrix.Timestamp, u *Unit) (base int64, stored bool, err error) {
	var answer [1]driver.Value
	err = c.conn.Raw(func(any) error {
		rows, err := c.message.QueryContext(context.Background(), messageArguments(now, u))
		if err != nil {
			return err
		}
		err = rows.Next(answer[:])
		// The commit comes after the row: only the end of the answer says that it succeeded.
		return errors.Join(err, rows.Close())
	})
	if err != nil {
		return 0, false, wrap(err)
	}
	base, stored = answer[0].(int64)
	return base, stored, nil
}

// Append stores one unit within the transaction.
func (tx *Tx) Append(ctx context.Context, now matrix.Timestamp, unit Unit) (Result, error) {
	units := []Unit{unit}
	statement := appendStatement
	if hasToDevice(units) {
		statement = toDeviceStatement
	}
	results, err := readResults(tx.tx.QueryRowContext(ctx, statement, appendArguments(now, units)...), units)
	if err != nil {
		return Result{}, err
	}
	return results[0], nil
}

func readResults(answer *sql.Row, units []Unit) ([]Result, error) {
	var base int64
	var outcomes, known []sql.NullString
	var storedAt pq.Int64Array
	columns := []any{&base, pq.Array(&outcomes), pq.Array(&known), &storedAt}
	if hasToDevice(units) {
		columns = append(columns, new(int64))
	}
	if err := answer.Scan(columns...); err != nil {
		return nil, wrap(err)
	}
	return resultsOf(units, base, outcomes, known, storedAt), nil
}

// resultsOf works out where each unit was stored: events have the positions after base, updates those after the events.
func resultsOf(units []Unit, base int64, outcomes, known []sql.NullString, storedAt []int64) []Result {
	event, update := base+1, base+1
	for i := range units {
		update += int64(len(units[i].Events))
	}
	results := make([]Result, len(units))
	for i := range units {
		r := Result{Outcome: OutcomeStored, Position: event}
		if len(units[i].Events) == 0 {
			r.Position = update
		}
		event += int64(len(units[i].Events))
		update += int64(len(units[i].Updates))
		if i < len(outcomes) && Outcome(outcomes[i].String) != OutcomeStored {
			r = Result{Outcome: Outcome(outcomes[i].String)}
			if i < len(known) {
				r.EventID, r.Position = matrix.EventID(known[i].String), storedAt[i]
			}
		}
		results[i] = r
	}
	return results
}

// isMessage reports whether the unit is what journal_append_message stores.
func (u *Unit) isMessage() bool {
	if len(u.Events) != 1 || len(u.Updates) > 0 || u.ToDevice != nil || u.Create != nil || u.Txn == nil {
		return false
	}
	e := &u.Events[0]
	return e.StateKey == nil && e.Membership == "" && e.Redacts == "" && e.Relation == nil && e.StickyUntil == 0 && len(e.Media) == 0 && u.Txn.EventID == e.EventID
}

func messageArguments(now matrix.Timestamp, u *Unit) []driver.NamedValue {
	e, t := &u.Events[0], u.Txn
	values := [...]driver.Value{
		u.RoomNID, string(u.Head), e.Depth, string(e.EventID), e.Type, string(e.Sender), int64(e.OriginServerTS), string(t.Device), t.ID,
		e.JSON, string(t.User), t.Scope, int64(now),
	}
	arguments := make([]driver.NamedValue, len(values))
	for i, v := range values {
		arguments[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return arguments
}

// batch is the arrays that journal_append takes.
type batch struct {
	rooms struct {
		nid, org, depth []int64
		head, last      []string
		id, version     []sql.NullString
		index           map[int64]int
	}
	events struct {
		unit, room, ts, depth         []int64
		id, typ, sender               []string
		stateKey, membership, redacts []sql.NullString
		device, txn                   []sql.NullString
		redactedJSON, json            [][]byte
	}
	txns struct {
		unit                           []int64
		user, device, scope, id, event []string
	}
	updates struct {
		unit, kind, room, replaces []int64
		user, key                  []string
		body                       [][]byte
	}
	relations struct {
		event   []int64
		typ, to []string
		key     []sql.NullString
	}
	sticky struct {
		event, until []int64
	}
	media struct {
		event            []int64
		server, id, kind []string
	}
	hasNew, hasState, hasRedactions bool
}

func appendArguments(now matrix.Timestamp, units []Unit) []any {
	var b batch
	b.rooms.index = make(map[int64]int, len(units))
	for i := range units {
		b.add(int64(i+1), &units[i])
	}
	r, e, t, u := &b.rooms, &b.events, &b.txns, &b.updates
	arguments := []any{
		int8Array(r.nid), textArray(r.head), textArray(r.last), int8Array(r.depth), nullTextArray(r.id), nullTextArray(r.version), int8Array(r.org),
		int4Array(e.unit), int8Array(e.room), textArray(e.id), textArray(e.typ), nullTextArray(e.stateKey), textArray(e.sender), int8Array(e.ts),
		int8Array(e.depth), nullTextArray(e.device), nullTextArray(e.txn), nullTextArray(e.membership), nullTextArray(e.redacts),
		byteaArray(e.redactedJSON), byteaArray(e.json),
		int4Array(t.unit), textArray(t.user), textArray(t.device), textArray(t.scope), textArray(t.id), textArray(t.event), int64(now),
		int4Array(u.unit), int2Array(u.kind), int8Array(u.room), textArray(u.user), textArray(u.key), byteaArray(u.body), int8Array(u.replaces),
		int4Array(b.relations.event), textArray(b.relations.typ), textArray(b.relations.to), nullTextArray(b.relations.key),
		int4Array(b.sticky.event), int8Array(b.sticky.until),
		int4Array(b.media.event), textArray(b.media.server), textArray(b.media.id), textArray(b.media.kind),
		len(units), b.hasNew, b.hasState, b.hasRedactions,
	}
	if hasToDevice(units) {
		return append(arguments, toDeviceArguments(now, units)...)
	}
	return arguments
}

func (b *batch) add(unit int64, u *Unit) {
	if len(u.Events) > 0 {
		b.addRoom(u)
	}
	for i := range u.Events {
		b.addEvent(unit, u, &u.Events[i])
	}
	if t := u.Txn; t != nil {
		b.txns.unit = append(b.txns.unit, unit)
		b.txns.user = append(b.txns.user, string(t.User))
		b.txns.device = append(b.txns.device, string(t.Device))
		b.txns.scope = append(b.txns.scope, t.Scope)
		b.txns.id = append(b.txns.id, t.ID)
		b.txns.event = append(b.txns.event, string(t.EventID))
	}
	for i := range u.Updates {
		up := &u.Updates[i]
		b.updates.unit = append(b.updates.unit, unit)
		b.updates.kind = append(b.updates.kind, int64(up.Kind))
		b.updates.room = append(b.updates.room, up.RoomNID)
		b.updates.user = append(b.updates.user, string(up.UserID))
		b.updates.key = append(b.updates.key, up.Key)
		b.updates.body = append(b.updates.body, notNil(up.Body))
		b.updates.replaces = append(b.updates.replaces, up.Replaces)
	}
}

// addRoom notes the head that a room's first unit was built on, and the one that its last unit makes.
func (b *batch) addRoom(u *Unit) {
	last := &u.Events[len(u.Events)-1]
	if i, ok := b.rooms.index[u.RoomNID]; ok {
		b.rooms.last[i], b.rooms.depth[i] = string(last.EventID), last.Depth
		return
	}
	b.rooms.index[u.RoomNID] = len(b.rooms.nid)
	b.rooms.nid = append(b.rooms.nid, u.RoomNID)
	b.rooms.head = append(b.rooms.head, string(u.Head))
	b.rooms.last = append(b.rooms.last, string(last.EventID))
	b.rooms.depth = append(b.rooms.depth, last.Depth)
	var id, version sql.NullString
	var org int64
	if c := u.Create; c != nil {
		id = sql.NullString{String: string(c.RoomID), Valid: true}
		version = sql.NullString{String: c.Version, Valid: true}
		org = c.OrganisationID
		b.hasNew = true
	}
	b.rooms.id, b.rooms.version, b.rooms.org = append(b.rooms.id, id), append(b.rooms.version, version), append(b.rooms.org, org)
}

func (b *batch) addEvent(unit int64, u *Unit, e *NewEvent) {
	b.events.unit = append(b.events.unit, unit)
	b.events.room = append(b.events.room, u.RoomNID)
	b.events.id = append(b.events.id, string(e.EventID))
	b.events.typ = append(b.events.typ, e.Type)
	var key sql.NullString
	if e.StateKey != nil {
		key = sql.NullString{String: *e.StateKey, Valid: true}
	}
	b.events.stateKey = append(b.events.stateKey, key)
	b.hasState = b.hasState || key.Valid
	b.hasRedactions = b.hasRedactions || e.Redacts != ""
	var device, txn sql.NullString
	if u.Txn != nil && u.Txn.EventID == e.EventID {
		device, txn = sql.NullString{String: string(u.Txn.Device), Valid: true}, sql.NullString{String: u.Txn.ID, Valid: true}
	}
	b.events.device, b.events.txn = append(b.events.device, device), append(b.events.txn, txn)
	b.events.sender = append(b.events.sender, string(e.Sender))
	b.events.ts = append(b.events.ts, int64(e.OriginServerTS))
	b.events.depth = append(b.events.depth, e.Depth)
	b.events.membership = append(b.events.membership, nullString(e.Membership))
	b.events.redacts = append(b.events.redacts, nullString(string(e.Redacts)))
	b.events.redactedJSON = append(b.events.redactedJSON, e.RedactedJSON)
	b.events.json = append(b.events.json, e.JSON)
	at := int64(len(b.events.json))
	if r := e.Relation; r != nil {
		b.relations.event = append(b.relations.event, at)
		b.relations.typ = append(b.relations.typ, r.Type)
		b.relations.to = append(b.relations.to, string(r.RelatesTo))
		b.relations.key = append(b.relations.key, nullString(r.Key))
	}
	if e.StickyUntil != 0 {
		b.sticky.event, b.sticky.until = append(b.sticky.event, at), append(b.sticky.until, int64(e.StickyUntil))
	}
	for _, m := range e.Media {
		b.media.event = append(b.media.event, at)
		b.media.server, b.media.id = append(b.media.server, string(m.Server)), append(b.media.id, m.MediaID)
		b.media.kind = append(b.media.kind, e.MediaKind)
	}
}

func nullString(s string) sql.NullString {
	return sql.NullString{String: s, Valid: s != ""}
}

// notNil keeps an empty value apart from SQL's null.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// GetPosition returns the last position given out.
func (s *Store) GetPosition(ctx context.Context) (int64, error) {
	var p int64
	err := s.queryRow(ctx, `SELECT position FROM clock`).Scan(&p)
	return p, err
}

// ListJournal returns the events and updates with after < position <= upTo in the order of their positions, with the room
// ids of the events.
func (s *Store) ListJournal(ctx context.Context, after, upTo int64) ([]Event, []Update, error) {
	var events []Event
	var updates []Update
	err := s.Read(ctx, func(tx *Tx) error {
		rows, err := tx.query(ctx, `
			SELECT `+eventColumns+` FROM events JOIN rooms USING (room_nid)
			WHERE position > $1 AND position <= $2 ORDER BY position`, after, upTo)
		events, err = scanAll(rows, err, scanEvent)
		if err != nil {
			return err
		}
		rows, err = tx.query(ctx, `
			SELECT `+updateColumns+` FROM updates WHERE position > $1 AND position <= $2 ORDER BY position`, after, upTo)
		updates, err = scanAll(rows, err, scanUpdate)
		return err
	})
	return events, updates, err
}

// Notify tells the other processes that position has been reached. It is a transaction of its own, after the commit that it
// tells of, because NOTIFY takes a lock on the whole database when it commits.
func (s *Store) Notify(ctx context.Context, channel string, position int64) error {
	_, err := s.exec(ctx, `SELECT pg_notify($1, $2)`, channel, fmt.Sprint(position))
	return err
}

// Listen calls received for each notification on channel, and once after each (re)connection, until ctx ends.
func (s *Store) Listen(ctx context.Context, channel string, received func()) error {
	l := pq.NewListener(s.dsn, 100*time.Millisecond, 2*time.Second, func(e pq.ListenerEventType, err error) {
		if e == pq.ListenerEventReconnected {
			received()
		}
	})
	defer l.Close()
	if err := l.Listen(channel); err != nil {
		return wrap(err)
	}
	ping := time.NewTicker(30 * time.Second)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.Notify:
			received()
		case <-ping.C:
			// A connection that died silently is only noticed by using it.
			go l.Ping()
		}
	}
}
