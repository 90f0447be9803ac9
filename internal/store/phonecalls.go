package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Calls of phones. Their leases go by the database's clock, everything else by that of the server's processes.

// PhoneCall is a call of a phone into a room, or out of it.
type PhoneCall struct {
	ID             string
	OrganisationID int64
	RoomNID        int64
	// RoomID is filled by reading.
	RoomID matrix.RoomID
	// Reference is what the bridge calls it, if not by its id.
	Reference string
	// Direction is in or out.
	Direction string
	Trunk     string
	// Number is the other end's, E.164 with a plus, or empty.
	Number string
	Name   string
	// UserID is the ghost. Identity is what the SFU knows it by, from when it may be in the room until it is not any more; DeviceID is empty before it has come in,
	// or waits.
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	Identity string
	// RequestedBy is who had the number called, or whose PIN it was.
	RequestedBy  matrix.UserID
	InvitationID string
	Language     string
	State, Cause string
	// SecondsAllowed is 0 for no bound.
	SecondsAllowed int
	Lease          string
	HangupTS       matrix.Timestamp
	CreatedTS      matrix.Timestamp
	AnsweredTS     matrix.Timestamp
	EndedTS        matrix.Timestamp
	Cost           int64
}

const callColumns = `c.call_id, c.reference, c.organisation_id, c.room_nid, r.room_id, c.direction, c.trunk, c.number, c.name, c.user_id, c.device_id, c.identity,
	c.requested_by, coalesce(c.invitation_id, ''), c.language, c.state, c.cause, c.seconds_allowed, coalesce(c.lease, ''), coalesce(c.hangup_ts, 0),
	c.created_ts, coalesce(c.answered_ts, 0), coalesce(c.ended_ts, 0), c.cost`

// callsOn are the states of calls that are not over.
const callsOn = `('queued', 'dialling', 'ringing', 'waiting', 'answered')`

func scanCall(scan func(...any) error) (PhoneCall, error) {
	var c PhoneCall
	err := scan(&c.ID, &c.Reference, &c.OrganisationID, &c.RoomNID, &c.RoomID, &c.Direction, &c.Trunk, &c.Number, &c.Name, &c.UserID, &c.DeviceID, &c.Identity,
		&c.RequestedBy, &c.InvitationID, &c.Language, &c.State, &c.Cause, &c.SecondsAllowed, &c.Lease, &c.HangupTS, &c.CreatedTS, &c.AnsweredTS, &c.EndedTS, &c.Cost)
	return c, err
}

func scanCalls(rows *sql.Rows) (PhoneCall, error) { return scanCall(rows.Scan) }

// PhoneChannel is notified when bridges have something to do.
const PhoneChannel = "roomline_phones"

// InsertPhoneCall stores a call. One that a bridge has already (Lease) is its own for leaseFor.
func (tx *Tx) InsertPhoneCall(ctx context.Context, c PhoneCall, leaseFor time.Duration) error {
	_, err := tx.exec(ctx, `
		WITH told AS (SELECT pg_notify($21, ''))
		INSERT INTO phone_calls (call_id, organisation_id, room_nid, direction, trunk, number, name, user_id, device_id, identity, requested_by, invitation_id,
			language, state, seconds_allowed, lease, lease_ts, created_ts, answered_ts, cost, reference)
		SELECT $1::text, $2::bigint, $3::bigint, $4::text, $5::text, $6::text, $7::text, $8::text, $9::text, $10::text, $11::text, nullif($12::text, ''),
			$13::text, $14::text, $15::int, nullif($16::text, ''), CASE WHEN $16 = '' THEN NULL ELSE `+dbNowUp+` + $17::bigint END, $18::bigint,
			nullif($19::bigint, 0), $20::bigint, $22::text FROM told`,
		c.ID, c.OrganisationID, c.RoomNID, c.Direction, c.Trunk, c.Number, c.Name, string(c.UserID), string(c.DeviceID), c.Identity, string(c.RequestedBy),
		c.InvitationID, c.Language, c.State, c.SecondsAllowed, c.Lease, leaseFor.Milliseconds(), int64(c.CreatedTS), int64(c.AnsweredTS), c.Cost, PhoneChannel, c.Reference)
	return err
}

// GetPhoneCall returns a call, or ErrNotFound.
func (s *Store) GetPhoneCall(ctx context.Context, id string) (PhoneCall, error) {
	return scanCall(s.queryRow(ctx, `SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid) WHERE c.call_id = $1`, id).Scan)
}

// LockPhoneCall returns a call and keeps everybody else from changing it until the transaction ends.
func (tx *Tx) LockPhoneCall(ctx context.Context, id string) (PhoneCall, error) {
	return scanCall(tx.queryRow(ctx, `SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid) WHERE c.call_id = $1 FOR UPDATE OF c`, id).Scan)
}

// PutPhoneCall stores what of a call changes while it is on, and wakes bridges up.
func (tx *Tx) PutPhoneCall(ctx context.Context, c PhoneCall) error {
	_, err := tx.exec(ctx, `
		WITH told AS (SELECT pg_notify($10, ''))
		UPDATE phone_calls SET state = $2, cause = $3, user_id = $4, device_id = $5, identity = $6, hangup_ts = nullif($7::bigint, 0),
			answered_ts = nullif($8::bigint, 0), ended_ts = nullif($9::bigint, 0), cost = $11,
			lease_ts = CASE WHEN $2 IN ('ended', 'failed') THEN NULL ELSE lease_ts END
		FROM told WHERE call_id = $1`,
		c.ID, c.State, c.Cause, string(c.UserID), string(c.DeviceID), c.Identity, int64(c.HangupTS), int64(c.AnsweredTS), int64(c.EndedTS), PhoneChannel, c.Cost)
	return err
}

// PutPhoneGhostGone notes that a call's ghost has left the room.
func (s *Store) PutPhoneGhostGone(ctx context.Context, id string) error {
	_, err := s.exec(ctx, `UPDATE phone_calls SET identity = '', device_id = '' WHERE call_id = $1 AND state IN ('ended', 'failed')`, id)
	return err
}

// RenewPhoneCalls lets a bridge have its calls for longer. What is over, or another one's, stays so.
func (s *Store) RenewPhoneCalls(ctx context.Context, bridge string, ids []string, leaseFor time.Duration) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.execOnce(ctx, `
		UPDATE phone_calls SET lease_ts = `+dbNowUp+` + $3
		WHERE call_id = ANY (ARRAY (
			SELECT call_id FROM phone_calls WHERE call_id = ANY ($1) AND lease = $2 AND state IN `+callsOn+` ORDER BY call_id FOR UPDATE))`,
		pq.Array(ids), bridge, leaseFor.Milliseconds())
	return err
}

// ListPhoneCallsOf returns a bridge's calls that are on.
func (s *Store) ListPhoneCallsOf(ctx context.Context, bridge string) ([]PhoneCall, error) {
	rows, err := s.query(ctx, `SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid) WHERE c.state IN `+callsOn+` AND c.lease = $1`, bridge)
	return scanAll(rows, err, scanCalls)
}

// ListKnownPhoneCalls returns those of the ids that are calls, over or not.
func (s *Store) ListKnownPhoneCalls(ctx context.Context, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := s.query(ctx, `SELECT call_id FROM phone_calls WHERE call_id = ANY ($1)`, pq.Array(ids))
	return scanAll(rows, err, func(rows *sql.Rows) (id string, err error) {
		err = rows.Scan(&id)
		return id, err
	})
}

// LeasePhoneCalls gives calls that are to be made over the trunks to a bridge, at most limit: each once.
func (s *Store) LeasePhoneCalls(ctx context.Context, bridge string, trunks []string, since matrix.Timestamp, limit int, leaseFor time.Duration) ([]PhoneCall, error) {
	var list []PhoneCall
	err := s.Write(ctx, func(tx *Tx) error {
		rows, err := tx.query(ctx, `
			UPDATE phone_calls c SET state = 'dialling', lease = $1, lease_ts = `+dbNowUp+` + $5 FROM rooms r
			WHERE r.room_nid = c.room_nid AND c.call_id = ANY (ARRAY (
				SELECT call_id FROM phone_calls
				WHERE state = 'queued' AND trunk = ANY ($2) AND hangup_ts IS NULL AND created_ts > $3
				ORDER BY created_ts, call_id LIMIT $4 FOR UPDATE SKIP LOCKED))
			RETURNING `+callColumns, bridge, pq.Array(nonNil(trunks)), int64(since), limit, leaseFor.Milliseconds())
		list, err = scanAll(rows, err, scanCalls)
		return err
	})
	return list, err
}

// HangUpPhones has those calls hung up that have lost what they stand on, and notes why. It says how many.
func (s *Store) HangUpPhones(ctx context.Context, now, waitingSince matrix.Timestamp) (int64, error) {
	return s.exec(ctx, `
		WITH lost AS (
			SELECT c.call_id, CASE
				WHEN EXISTS (SELECT FROM organisations o WHERE o.organisation_id IN (c.organisation_id, r.organisation_id) AND o.state <> 'active')
					OR u.locked OR u.suspended OR u.deactivated_ts IS NOT NULL THEN 'suspended'
				WHEN i.ended = 'revoked' THEN 'revoked'
				WHEN c.device_id <> '' AND m.membership IN ('leave', 'ban') THEN CASE c.state WHEN 'waiting' THEN 'denied' ELSE 'removed' END
				WHEN c.direction = 'in' AND own.membership IN ('leave', 'ban') THEN 'removed'
				WHEN EXISTS (SELECT FROM room_state s WHERE s.room_nid = c.room_nid AND s.type = 'm.room.encryption' AND s.state_key = ''
					AND s.until = 9223372036854775807) THEN 'encrypted'
				WHEN c.state = 'waiting' AND c.answered_ts < $2 THEN 'denied'
				WHEN c.seconds_allowed > 0 AND c.answered_ts + c.seconds_allowed * 1000::bigint <= $1 THEN 'time'
			END AS why
			FROM phone_calls c JOIN rooms r USING (room_nid)
			LEFT JOIN invitations i ON i.invitation_id = c.invitation_id
			LEFT JOIN memberships m ON m.room_nid = c.room_nid AND m.user_id = c.user_id
			LEFT JOIN users u ON u.user_id = c.requested_by
			LEFT JOIN memberships own ON own.room_nid = c.room_nid AND own.user_id = c.requested_by
			WHERE c.state IN `+callsOn+` AND c.hangup_ts IS NULL
		), told AS (SELECT count(pg_notify($3, '')) FROM lost WHERE why IS NOT NULL)
		UPDATE phone_calls c SET hangup_ts = $1, cause = lost.why FROM lost, told
		WHERE c.call_id = lost.call_id AND lost.why IS NOT NULL AND c.hangup_ts IS NULL`, int64(now), int64(waitingSince), PhoneChannel)
}

// ListPhonesAdmitted returns calls whose ghosts wait, and were let in.
func (s *Store) ListPhonesAdmitted(ctx context.Context, limit int) ([]PhoneCall, error) {
	rows, err := s.query(ctx, `
		SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid) JOIN memberships m ON m.room_nid = c.room_nid AND m.user_id = c.user_id
		WHERE c.state = 'waiting' AND c.device_id <> '' AND c.hangup_ts IS NULL AND m.membership IN ('invite', 'join') LIMIT $1`, limit)
	return scanAll(rows, err, scanCalls)
}

// ListPhoneCallsIn returns the calls that are on in a room.
func (s *Store) ListPhoneCallsIn(ctx context.Context, room int64) ([]PhoneCall, error) {
	rows, err := s.query(ctx, `
		SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid) WHERE c.room_nid = $1 AND c.state IN `+callsOn+` ORDER BY c.created_ts`, room)
	return scanAll(rows, err, scanCalls)
}

// HangUpPhoneOf has the calls of a ghost in a room hung up, but for one.
func (tx *Tx) HangUpPhoneOf(ctx context.Context, room int64, user matrix.UserID, but, cause string, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE phone_calls SET hangup_ts = $5, cause = $4
		WHERE room_nid = $1 AND user_id = $2 AND call_id <> $3 AND state IN `+callsOn+` AND hangup_ts IS NULL`, room, string(user), but, cause, int64(now))
	return err
}

// ListLostPhoneCalls returns calls that nobody has any more, at most limit: their bridge does not ask, or none took them in time.
func (s *Store) ListLostPhoneCalls(ctx context.Context, queuedBefore matrix.Timestamp, limit int) ([]PhoneCall, error) {
	rows, err := s.query(ctx, `
		SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid)
		WHERE c.state IN `+callsOn+` AND (c.lease_ts < `+dbNowDown+` OR c.state = 'queued' AND (c.created_ts <= $1 OR c.hangup_ts IS NOT NULL))
		ORDER BY c.lease_ts LIMIT $2`, int64(queuedBefore), limit)
	return scanAll(rows, err, scanCalls)
}

// PhoneCallLapsed reports whether the bridge of a call has not asked for it in time.
func (tx *Tx) PhoneCallLapsed(ctx context.Context, id string) (bool, error) {
	var lapsed bool
	err := tx.queryRow(ctx, `SELECT coalesce(lease_ts < `+dbNowDown+`, false) FROM phone_calls WHERE call_id = $1`, id).Scan(&lapsed)
	return lapsed, err
}

// ListPhoneGhostsLeft returns calls that are over and whose ghosts are in the room, perhaps, at most limit.
func (s *Store) ListPhoneGhostsLeft(ctx context.Context, limit int) ([]PhoneCall, error) {
	rows, err := s.query(ctx, `
		SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid)
		WHERE c.identity <> '' AND c.state IN ('ended', 'failed') ORDER BY c.ended_ts LIMIT $1`, limit)
	return scanAll(rows, err, scanCalls)
}

// HasPhoneCallOn reports whether a ghost has another call in the room that is on.
func (s *Store) HasPhoneCallOn(ctx context.Context, room int64, user matrix.UserID, but string) (bool, error) {
	var on bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM phone_calls WHERE room_nid = $1 AND user_id = $2 AND call_id <> $3 AND identity <> '' AND state IN `+callsOn+`)`,
		room, string(user), but).Scan(&on)
	return on, err
}

// GetPhoneGhost returns the ghost that came into a room before for an invitation, for a user's PIN, or for a number that was called; or ErrNotFound.
func (tx *Tx) GetPhoneGhost(ctx context.Context, room int64, invitation string, user matrix.UserID, number string) (matrix.UserID, error) {
	var ghost matrix.UserID
	err := tx.queryRow(ctx, `
		SELECT c.user_id FROM phone_calls c JOIN users u USING (user_id)
		WHERE c.room_nid = $1 AND c.user_id <> '' AND u.deactivated_ts IS NULL AND CASE
			WHEN $2 <> '' THEN c.invitation_id = $2
			WHEN $3 <> '' THEN c.direction = 'in' AND c.requested_by = $3 AND c.invitation_id IS NULL
			ELSE c.direction = 'out' AND c.number = $4 AND c.invitation_id IS NULL END
		ORDER BY c.created_ts DESC LIMIT 1`, room, invitation, string(user), number).Scan(&ghost)
	return ghost, err
}

// PhoneRecording is whether what a ghost says is recorded.
type PhoneRecording struct {
	// State is the recording's that is on in the room, Answer what the ghost said to it; empty if there is none.
	State, Answer string
}

// ListPhoneRecordings returns what is recorded of calls, by call.
func (s *Store) ListPhoneRecordings(ctx context.Context, calls []string) (map[string]PhoneRecording, error) {
	rows, err := s.query(ctx, `
		SELECT c.call_id, x.state, coalesce(a.answer, '')
		FROM phone_calls c JOIN recordings x ON x.room_nid = c.room_nid AND x.state IN ('asking', 'recording')
		LEFT JOIN recording_consents a ON a.recording_id = x.recording_id AND a.user_id = c.user_id
		WHERE c.call_id = ANY ($1)`, pq.Array(nonNil(calls)))
	found := map[string]PhoneRecording{}
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var id string
		var r PhoneRecording
		err := rows.Scan(&id, &r.State, &r.Answer)
		found[id] = r
		return struct{}{}, err
	})
	return found, err
}

// PhoneCallFilter narrows a list of calls; what is empty does not.
type PhoneCallFilter struct {
	OrganisationID int64
	// Before is the created_ts that calls have to be older than.
	Before      matrix.Timestamp
	Direction   string
	State       string
	RequestedBy string
}

// ListPhoneCalls returns the calls of an organisation, the newest first, at most limit.
func (s *Store) ListPhoneCalls(ctx context.Context, f PhoneCallFilter, limit int) ([]PhoneCall, error) {
	rows, err := s.query(ctx, `
		SELECT `+callColumns+` FROM phone_calls c JOIN rooms r USING (room_nid)
		WHERE c.organisation_id = $1 AND ($2 = 0 OR c.created_ts < $2) AND ($3 = '' OR c.direction = $3) AND ($4 = '' OR c.state = $4)
		  AND ($5 = '' OR c.requested_by = $5)
		ORDER BY c.created_ts DESC, c.call_id LIMIT $6`, f.OrganisationID, int64(f.Before), f.Direction, f.State, f.RequestedBy, limit)
	return scanAll(rows, err, scanCalls)
}

// DeletePhoneCallsBefore removes calls that ended before, at most limit.
func (s *Store) DeletePhoneCallsBefore(ctx context.Context, before matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM phone_calls WHERE call_id IN (
			SELECT call_id FROM phone_calls WHERE state IN ('ended', 'failed') AND identity = '' AND created_ts < $1 LIMIT $2)`, int64(before), limit)
}

// ListPhoneGhostsOver returns ghosts that have no call any more, at most limit: their accounts can be closed.
func (s *Store) ListPhoneGhostsOver(ctx context.Context, before matrix.Timestamp, limit int) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT u.user_id FROM users u
		WHERE u.user_id >= '@phone_' AND u.user_id < '@phone`+"`"+`' AND u.machine AND u.deactivated_ts IS NULL AND u.created_ts < $1
		  AND NOT EXISTS (SELECT FROM phone_calls c WHERE c.user_id = u.user_id AND c.user_id <> '') LIMIT $2`, int64(before), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (id matrix.UserID, err error) {
		err = rows.Scan(&id)
		return id, err
	})
}
