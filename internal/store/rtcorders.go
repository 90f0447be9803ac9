package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// RTCAction is what the SFU is to be told.
type RTCAction string

// Actions.
const (
	// RTCCheck looks whether somebody may be in a room of the SFU, and with which rights.
	RTCCheck RTCAction = "check"
	// RTCRemove puts somebody out whatever is allowed now. RTCEnd ends the room for all.
	RTCRemove RTCAction = "remove"
	RTCEnd    RTCAction = "end"
)

// RTCOrder is what the SFU has still to be told.
type RTCOrder struct {
	ID              int64
	Alias, Identity string
	Action          RTCAction
	// SID is the call that is meant, or the person's stay in it, as the SFU calls it; empty while that is not known.
	SID       string
	Attempts  int
	CreatedTS matrix.Timestamp
}

// RTCWhom says whose entitlement may have changed.
type RTCWhom struct {
	// Members are people in rooms: the n-th of one in the n-th of the other.
	MemberRooms []int64
	Members     []matrix.UserID
	// Rooms are all who are in a room, Users all calls of a user, Organisations all calls of its people and in its rooms.
	Rooms         []int64
	Users         []matrix.UserID
	Organisations []int64
}

// Nobody reports whether nothing is said of anybody.
func (w RTCWhom) Nobody() bool {
	return len(w.Members) == 0 && len(w.Rooms) == 0 && len(w.Users) == 0 && len(w.Organisations) == 0
}

// onceMore makes an order count for a change that is committed with it: one that waits already is locked, so that nobody takes it before
// the change can be seen. One that was taken is another order. If they mean different stays, the one that is on is meant.
const onceMore = `
	ON CONFLICT (alias, identity, action) WHERE attempts = 0 DO UPDATE SET next_ts = least(rtc_orders.next_ts, excluded.next_ts),
		sid = CASE WHEN rtc_orders.sid = excluded.sid THEN excluded.sid ELSE '' END`

// InsertRTCChecks orders to look at those in calls of whom w speaks: who is there, or has a token that lets in. It says how many there are.
func (s *Store) InsertRTCChecks(ctx context.Context, w RTCWhom, now matrix.Timestamp) (int64, error) {
	return insertRTCChecks(ctx, s, w, now)
}

// InsertRTCChecks orders to look at those in calls of whom w speaks: who is there, or has a token that lets in. It says how many there are.
func (tx *Tx) InsertRTCChecks(ctx context.Context, w RTCWhom, now matrix.Timestamp) (int64, error) {
	return insertRTCChecks(ctx, tx, w, now)
}

func insertRTCChecks(ctx context.Context, q querier, w RTCWhom, now matrix.Timestamp) (int64, error) {
	if w.Nobody() {
		return 0, nil
	}
	return q.exec(ctx, `
		WITH whom AS MATERIALIZED (
			SELECT p.alias, p.identity, p.joined_ts, p.left_ts, p.token_expires_ts
			FROM unnest($1::bigint[], $2::text[]) AS m (room_nid, user_id)
			JOIN rtc_participants p ON p.user_id = m.user_id JOIN rtc_rooms c ON c.alias = p.alias AND c.room_nid = m.room_nid
			UNION
			SELECT p.alias, p.identity, p.joined_ts, p.left_ts, p.token_expires_ts
			FROM rtc_rooms c JOIN rtc_participants p ON p.alias = c.alias WHERE c.room_nid = ANY ($3)
			UNION
			SELECT p.alias, p.identity, p.joined_ts, p.left_ts, p.token_expires_ts
			FROM rtc_participants p WHERE p.user_id = ANY ($4)
			UNION
			SELECT p.alias, p.identity, p.joined_ts, p.left_ts, p.token_expires_ts
			FROM rtc_participants p JOIN rtc_rooms c ON c.alias = p.alias JOIN rooms r ON r.room_nid = c.room_nid
			LEFT JOIN users u ON u.user_id = p.user_id
			WHERE cardinality($5::bigint[]) > 0 AND (r.organisation_id = ANY ($5) OR u.organisation_id = ANY ($5))
		)
		INSERT INTO rtc_orders (alias, identity, action, next_ts, created_ts)
		SELECT alias, identity, 'check', $6, $6 FROM whom
		WHERE left_ts IS NULL AND (joined_ts IS NOT NULL OR token_expires_ts > $6) ORDER BY alias, identity`+onceMore,
		pq.Array(w.MemberRooms), stringArray(w.Members), pq.Array(w.Rooms), stringArray(w.Users), pq.Array(w.Organisations), int64(now))
}

// PutRTCCallOver ends a call: it orders the SFU to end the one that is on when it is asked first. Why tokens are revoked as well: the SFU may begin
// anew before it has obeyed, and then knows nothing of the call but the tokens that people come back with.
func (s *Store) PutRTCCallOver(ctx context.Context, alias string, now matrix.Timestamp) error {
	return s.Write(ctx, func(tx *Tx) error {
		// The room is locked: tokens are given before, or after.
		if _, err := tx.exec(ctx, `UPDATE rtc_rooms SET started_ts = NULL, ends_ts = NULL WHERE alias = $1`, alias); err != nil {
			return err
		}
		_, err := tx.exec(ctx, `
			UPDATE rtc_participants SET revoked = true, rights = '', token_expires_ts = least(token_expires_ts, $2) WHERE alias = $1`,
			alias, int64(now))
		if err != nil {
			return err
		}
		return tx.InsertRTCStayOrder(ctx, RTCStay{Alias: alias}, RTCEnd, now)
	})
}

// IsRTCEnding reports whether the SFU has still to be told that a call ends.
func (tx *Tx) IsRTCEnding(ctx context.Context, alias string) (bool, error) {
	var ending bool
	err := tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM rtc_orders WHERE alias = $1 AND action = 'end')`, alias).Scan(&ending)
	return ending, err
}

// InsertRTCStayOrder orders something about a stay, and no other one of the same person.
func (tx *Tx) InsertRTCStayOrder(ctx context.Context, stay RTCStay, action RTCAction, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		INSERT INTO rtc_orders (alias, identity, sid, action, next_ts, created_ts) VALUES ($1, $2, $3, $4, $5, $5)`+onceMore,
		stay.Alias, stay.Identity, stay.SID, string(action), int64(now))
	return err
}

// PutRTCOrderSID notes which call or stay an order means, and returns it: whoever asked the SFU first has said so. ErrNotFound: somebody else has
// carried the order out.
func (s *Store) PutRTCOrderSID(ctx context.Context, id int64, sid string) (means string, err error) {
	err = s.queryRow(ctx, `UPDATE rtc_orders SET sid = coalesce(nullif(sid, ''), $2) WHERE order_id = $1 RETURNING sid`, id, sid).Scan(&means)
	return means, err
}

// TakeRTCOrders returns orders whose time has come, the oldest first, at most limit, and puts them off until again: who takes one either removes it
// or dies.
func (s *Store) TakeRTCOrders(ctx context.Context, now matrix.Timestamp, again time.Duration, limit int) ([]RTCOrder, error) {
	rows, err := s.query(ctx, `
		UPDATE rtc_orders SET next_ts = $1::bigint + $2::bigint, attempts = attempts + 1
		WHERE order_id = ANY (ARRAY (
			SELECT order_id FROM rtc_orders WHERE next_ts <= $1 ORDER BY next_ts, order_id LIMIT $3 FOR UPDATE SKIP LOCKED))
		RETURNING order_id, alias, identity, action, sid, attempts, created_ts`, int64(now), again.Milliseconds(), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (RTCOrder, error) {
		var o RTCOrder
		err := rows.Scan(&o.ID, &o.Alias, &o.Identity, &o.Action, &o.SID, &o.Attempts, &o.CreatedTS)
		return o, err
	})
}

// DeleteRTCOrders removes orders that are done.
func (s *Store) DeleteRTCOrders(ctx context.Context, ids []int64) error {
	_, err := s.exec(ctx, `DELETE FROM rtc_orders WHERE order_id = ANY ($1)`, pq.Array(ids))
	return err
}

// PutOffRTCOrder says when an order that could not be done is tried again.
func (s *Store) PutOffRTCOrder(ctx context.Context, id int64, next matrix.Timestamp) error {
	_, err := s.exec(ctx, `UPDATE rtc_orders SET next_ts = $2 WHERE order_id = $1`, id, int64(next))
	return err
}

// CountRTC counts the orders that wait, those who are in calls, and the calls.
func (s *Store) CountRTC(ctx context.Context) (orders, participants, calls int, err error) {
	err = s.queryRow(ctx, `
		SELECT (SELECT count(*) FROM rtc_orders), (SELECT count(*) FROM rtc_participants WHERE joined_ts IS NOT NULL AND left_ts IS NULL),
			(SELECT count(*) FROM rtc_rooms WHERE started_ts IS NOT NULL)`).Scan(&orders, &participants, &calls)
	return orders, participants, calls, err
}

// GetRTCParticipant returns somebody of a room of the SFU, or ErrNotFound.
func (s *Store) GetRTCParticipant(ctx context.Context, alias, identity string) (RTCParticipant, error) {
	return scanRTCParticipant(s.queryRow(ctx, `
		SELECT `+rtcParticipantColumns+` FROM rtc_participants p WHERE p.alias = $1 AND p.identity = $2`, alias, identity).Scan)
}

// ListRTCParticipants returns everybody of a room of the SFU who is there or may come.
func (s *Store) ListRTCParticipants(ctx context.Context, alias string) ([]RTCParticipant, error) {
	rows, err := s.query(ctx, `
		SELECT `+rtcParticipantColumns+` FROM rtc_participants p WHERE p.alias = $1 ORDER BY p.identity`, alias)
	return scanAll(rows, err, func(rows *sql.Rows) (RTCParticipant, error) { return scanRTCParticipant(rows.Scan) })
}

// PutRTCRights notes what the SFU was told of somebody, unless p is another stay by now.
func (s *Store) PutRTCRights(ctx context.Context, p RTCParticipant, rights []byte) error {
	_, err := s.exec(ctx, `UPDATE rtc_participants SET rights = $4 WHERE alias = $1 AND identity = $2 AND sid = $3`,
		p.Alias, p.Identity, p.SID, rights)
	return err
}

// ListRTCOn returns the rooms of the SFU where somebody is by what is known, or may come: a token or an announcement is not older than
// since says.
func (s *Store) ListRTCOn(ctx context.Context, since matrix.Timestamp) ([]RTCRoom, error) {
	rows, err := s.query(ctx, `
		SELECT `+rtcRoomColumns+` FROM rtc_rooms c
		WHERE c.started_ts IS NOT NULL OR c.alias IN (
			SELECT p.alias FROM rtc_participants p WHERE p.joined_ts IS NOT NULL AND p.left_ts IS NULL
			UNION ALL
			SELECT p.alias FROM rtc_participants p WHERE (p.joined_ts IS NULL OR p.left_ts IS NOT NULL) AND p.token_expires_ts > $1)
		ORDER BY c.alias`, int64(since))
	return scanAll(rows, err, func(rows *sql.Rows) (RTCRoom, error) { return scanRTCRoom(rows.Scan) })
}
