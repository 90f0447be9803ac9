package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// RTCRoom is a room of the SFU: a MatrixRTC slot of a room.
type RTCRoom struct {
	// Alias is what the SFU calls it.
	Alias     string
	RoomNID   int64
	SlotID    string
	CreatedTS matrix.Timestamp
	// StartedTS is 0 when nobody is there. SID is what the SFU calls the session that is on.
	StartedTS matrix.Timestamp
	SID       string
	// EndsTS is when the session has used up its minutes, 0 for never.
	EndsTS matrix.Timestamp
}

// RTCParticipant is somebody who may enter a room of the SFU, or is in it.
type RTCParticipant struct {
	Alias, Identity string
	UserID          matrix.UserID
	DeviceID        matrix.DeviceID
	// MemberID is empty for older clients.
	MemberID string
	// Rights is JSON.
	Rights         []byte
	TokenExpiresTS matrix.Timestamp
	// JoinedTS and LeftTS are 0 where that has not happened. SID is what the SFU calls this stay.
	JoinedTS, LeftTS matrix.Timestamp
	SID              string
	// Revoked says that the last token lets in no more: the call was ended after it was given.
	Revoked bool
	// DelayID is the delayed event that ends the membership, empty for none; RestartTS is when it has to be restarted.
	DelayID   string
	RestartTS matrix.Timestamp
}

// Present reports whether the media is there.
func (p RTCParticipant) Present() bool { return p.JoinedTS != 0 && p.LeftTS == 0 }

const rtcRoomColumns = `c.alias, c.room_nid, c.slot_id, c.created_ts, coalesce(c.started_ts, 0), c.sid, coalesce(c.ends_ts, 0)`

func scanRTCRoom(scan func(...any) error) (RTCRoom, error) {
	var r RTCRoom
	err := scan(&r.Alias, &r.RoomNID, &r.SlotID, &r.CreatedTS, &r.StartedTS, &r.SID, &r.EndsTS)
	return r, err
}

const rtcParticipantColumns = `p.alias, p.identity, p.user_id, p.device_id, p.member_id, p.rights, p.token_expires_ts,
	coalesce(p.joined_ts, 0), coalesce(p.left_ts, 0), p.sid, coalesce(p.delay_id, ''), coalesce(p.restart_ts, 0), p.revoked`

func scanRTCParticipant(scan func(...any) error) (RTCParticipant, error) {
	var p RTCParticipant
	err := scan(&p.Alias, &p.Identity, &p.UserID, &p.DeviceID, &p.MemberID, &p.Rights, &p.TokenExpiresTS,
		&p.JoinedTS, &p.LeftTS, &p.SID, &p.DelayID, &p.RestartTS, &p.Revoked)
	return p, err
}

// PutRTCRoom makes a slot of a room known as a room of the SFU.
func (s *Store) PutRTCRoom(ctx context.Context, r RTCRoom) error {
	_, err := s.exec(ctx, `
		INSERT INTO rtc_rooms (alias, room_nid, slot_id, created_ts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		r.Alias, r.RoomNID, r.SlotID, int64(r.CreatedTS))
	return err
}

// GetRTCRoom returns a room of the SFU, or ErrNotFound.
func (s *Store) GetRTCRoom(ctx context.Context, alias string) (RTCRoom, error) {
	return scanRTCRoom(s.queryRow(ctx, `SELECT `+rtcRoomColumns+` FROM rtc_rooms c WHERE c.alias = $1`, alias).Scan)
}

// ListRTCRoomsOf returns the rooms of the SFU of a room.
func (s *Store) ListRTCRoomsOf(ctx context.Context, room int64) ([]RTCRoom, error) {
	rows, err := s.query(ctx, `SELECT `+rtcRoomColumns+` FROM rtc_rooms c WHERE c.room_nid = $1 ORDER BY c.slot_id`, room)
	return scanAll(rows, err, func(rows *sql.Rows) (RTCRoom, error) { return scanRTCRoom(rows.Scan) })
}

// ListRTCPresent returns who is in the calls of a room, by the SFU's word, in the order in which they came.
func (s *Store) ListRTCPresent(ctx context.Context, room int64) ([]RTCParticipant, error) {
	rows, err := s.query(ctx, `
		SELECT `+rtcParticipantColumns+`
		FROM rtc_rooms c JOIN rtc_participants p ON p.alias = c.alias AND p.joined_ts IS NOT NULL AND p.left_ts IS NULL
		WHERE c.room_nid = $1 ORDER BY p.joined_ts, p.identity`, room)
	return scanAll(rows, err, func(rows *sql.Rows) (RTCParticipant, error) { return scanRTCParticipant(rows.Scan) })
}

// RTCQuestion asks what is known of a user's device and the calls of a room.
type RTCQuestion struct {
	Room   matrix.RoomID
	User   matrix.UserID
	Device matrix.DeviceID
	// Alias and Identity are empty where nobody enters.
	Alias, Identity string
}

// RTCFacts is the answer to an RTCQuestion. Everything of a room that does not exist is zero.
type RTCFacts struct {
	RoomNID        int64
	OrganisationID int64
	RoomVersion    string
	Membership     string
	// Known says that the user has an account here; the flags are the account's.
	Known, Machine, Guest, Suspended, Locked, Deactivated bool
	// GuestRole, GuestExpiresTS and GuestEndedTS are a guest's.
	GuestRole                    string
	GuestExpiresTS, GuestEndedTS matrix.Timestamp
	// SignedIn says that the device has a session.
	SignedIn bool
	// Create, Levels and Meeting are the positions of the events that say who may do what; 0 where there is none.
	Create, Levels, Meeting int64
	// InCall says that the device is in a call of the room.
	InCall bool
	// There, Started and EndsTS are of the room of the SFU. Holds says that the identity has a place in it: it is there, or has a token.
	There, Started, Holds bool
	EndsTS                matrix.Timestamp
	// Places is how many have a place in the room of the SFU, as far as they were counted.
	Places int
	// HeldUntil and HeldRights are what was noted of the identity's last token, unless the stay has ended.
	HeldUntil  matrix.Timestamp
	HeldRights []byte
}

const (
	getRTCFacts  = `SELECT * FROM rtc_facts($1, $2, $3, $4, $5, $6, $7)`
	takeRTCFacts = `SELECT * FROM rtc_take($1, $2, $3, $4, $5, $6, $7)`
)

// GetRTCFacts returns what is known for each of the questions, but for places, which are not counted.
func (s *Store) GetRTCFacts(ctx context.Context, questions []RTCQuestion, now matrix.Timestamp) ([]RTCFacts, error) {
	return rtcFacts(ctx, s.getRTCFacts, questions, 0, now)
}

// TakeRTCFacts returns what is known for each of the questions, and keeps everybody else from giving places in these rooms of the SFU until the
// transaction ends. Places are counted to no more than most.
func (tx *Tx) TakeRTCFacts(ctx context.Context, questions []RTCQuestion, most int, now matrix.Timestamp) ([]RTCFacts, error) {
	return rtcFacts(ctx, tx.tx.StmtContext(ctx, tx.store.takeRTCFacts), questions, most, now)
}

func rtcFacts(ctx context.Context, statement *sql.Stmt, questions []RTCQuestion, most int, now matrix.Timestamp) ([]RTCFacts, error) {
	columns := make([][]string, 5)
	for _, one := range questions {
		for i, v := range []string{string(one.Room), string(one.User), string(one.Device), one.Alias, one.Identity} {
			columns[i] = append(columns[i], v)
		}
	}
	rows, err := ask(ctx, statement,
		textArray(columns[0]), textArray(columns[1]), textArray(columns[2]), textArray(columns[3]), textArray(columns[4]), int64(now), int64(most))
	return scanAll(rows, err, func(rows *sql.Rows) (RTCFacts, error) {
		var f RTCFacts
		err := rows.Scan(&f.RoomNID, &f.OrganisationID, &f.RoomVersion, &f.Membership, &f.Known, &f.Machine, &f.Guest, &f.Suspended,
			&f.Locked, &f.Deactivated, &f.GuestRole, &f.GuestExpiresTS, &f.GuestEndedTS, &f.SignedIn, &f.Create, &f.Levels, &f.Meeting,
			&f.InCall, &f.Started, &f.EndsTS, &f.Holds, &f.Places, &f.HeldUntil, &f.HeldRights, &f.There)
		return f, err
	})
}

// HasJoinedOf reports whether a user of a server is in a room.
func (s *Store) HasJoinedOf(ctx context.Context, room matrix.RoomID, server matrix.ServerName) (bool, error) {
	var has bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM memberships m JOIN rooms r ON r.room_nid = m.room_nid
			WHERE r.room_id = $1 AND m.membership = 'join' AND right(m.user_id, length($2) + 1) = ':' || $2)`,
		string(room), string(server)).Scan(&has)
	return has, err
}

// LockRTCRooms keeps everybody else from giving places in the rooms of the SFU until the transaction ends. It returns those that there are.
func (tx *Tx) LockRTCRooms(ctx context.Context, aliases []string) ([]string, error) {
	rows, err := tx.query(ctx, `
		SELECT alias FROM rtc_rooms WHERE alias = ANY ($1) ORDER BY alias FOR NO KEY UPDATE`, pq.Array(aliases))
	return scanAll(rows, err, func(rows *sql.Rows) (string, error) {
		var alias string
		err := rows.Scan(&alias)
		return alias, err
	})
}

// LockCallsOf keeps everybody else from beginning calls in rooms of an organisation until the transaction ends.
func (tx *Tx) LockCallsOf(ctx context.Context, org int64) error {
	var n int64
	err := tx.queryRow(ctx, `SELECT organisation_id FROM organisations WHERE organisation_id = $1 FOR NO KEY UPDATE`, org).Scan(&n)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// CountCallsOf counts the rooms of the SFU of an organisation where somebody is, or has a token for.
func (tx *Tx) CountCallsOf(ctx context.Context, org int64, now matrix.Timestamp) (int, error) {
	var n int
	err := tx.queryRow(ctx, `
		SELECT count(*) FROM (
			SELECT c.alias FROM rtc_rooms c JOIN rooms r ON r.room_nid = c.room_nid
			WHERE c.started_ts IS NOT NULL AND r.organisation_id = $1
			UNION
			SELECT c.alias FROM rtc_participants p JOIN rtc_rooms c ON c.alias = p.alias JOIN rooms r ON r.room_nid = c.room_nid
			WHERE p.joined_ts IS NULL AND p.left_ts IS NULL AND p.token_expires_ts > $2 AND r.organisation_id = $1
		) calls`, org, int64(now)).Scan(&n)
	return n, err
}

const putRTCParticipants = `
	INSERT INTO rtc_participants (alias, identity, user_id, device_id, member_id, rights, token_expires_ts)
	SELECT alias, identity, user_id, device_id, member_id, convert_to(rights, 'UTF8'), expires
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[])
		AS new (alias, identity, user_id, device_id, member_id, rights, expires)
	ORDER BY alias, identity
	ON CONFLICT (alias, identity) DO UPDATE SET
		rights = CASE WHEN rtc_participants.joined_ts IS NOT NULL AND rtc_participants.left_ts IS NULL THEN rtc_participants.rights
			ELSE excluded.rights END,
		token_expires_ts = excluded.token_expires_ts, revoked = false,
		joined_ts = CASE WHEN rtc_participants.left_ts IS NULL THEN rtc_participants.joined_ts END, left_ts = NULL, ended_ts = NULL`

// PutRTCParticipants notes who was given a token. Who had one before keeps what is known of the stay, unless it has ended.
func (tx *Tx) PutRTCParticipants(ctx context.Context, list []RTCParticipant) error {
	columns := make([][]string, 6)
	expires := make([]int64, len(list))
	for i, p := range list {
		for c, v := range []string{p.Alias, p.Identity, string(p.UserID), string(p.DeviceID), p.MemberID, string(p.Rights)} {
			columns[c] = append(columns[c], v)
		}
		expires[i] = int64(p.TokenExpiresTS)
	}
	_, err := tx.tx.StmtContext(ctx, tx.store.putRTCParticipants).ExecContext(ctx, textArray(columns[0]), textArray(columns[1]), textArray(columns[2]),
		textArray(columns[3]), textArray(columns[4]), textArray(columns[5]), int8Array(expires))
	return wrap(err)
}
