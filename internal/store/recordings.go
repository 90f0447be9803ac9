package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
)

// States of recordings.
const (
	RecordingAsking   = "asking"
	RecordingOn       = "recording"
	RecordingStopping = "stopping"
	RecordingStopped  = "stopped"
	RecordingFailed   = "failed"
)

// Recording is one that was asked for, runs, or is kept.
type Recording struct {
	ID             string
	OrganisationID int64
	// RoomNID is 0 when the room is not there any more.
	RoomNID int64
	RoomID  matrix.RoomID
	// Alias is what the SFU calls the call.
	Alias     string
	StartedBy matrix.UserID
	// Recorder is "egress", or the id of an application service.
	Recorder string
	EgressID string
	State    string
	// ObjectKey is where the file is.
	ObjectKey string
	Bytes     int64
	Problem   string
	CreatedTS matrix.Timestamp
	// The others are 0 where that has not happened.
	StartedTS, EndedTS, ExpiresTS matrix.Timestamp
}

const recordingColumns = `c.recording_id, c.organisation_id, coalesce(c.room_nid, 0), coalesce(r.room_id, ''), c.alias, c.started_by, c.recorder, c.egress_id, c.state, c.object_key,
	c.bytes, c.problem, c.created_ts, coalesce(c.started_ts, 0), coalesce(c.ended_ts, 0), coalesce(c.expires_ts, 0)`

const recordingSelect = `SELECT ` + recordingColumns + ` FROM recordings c LEFT JOIN rooms r ON r.room_nid = c.room_nid `

// recordingIsOn is the condition of the index recordings_on, for rooms that are there.
const recordingIsOn = `c.room_nid IS NOT NULL AND c.state IN ('asking', 'recording', 'stopping')`

func scanRecording(rows *sql.Rows) (Recording, error) {
	var c Recording
	err := rows.Scan(&c.ID, &c.OrganisationID, &c.RoomNID, &c.RoomID, &c.Alias, &c.StartedBy, &c.Recorder, &c.EgressID, &c.State, &c.ObjectKey,
		&c.Bytes, &c.Problem, &c.CreatedTS, &c.StartedTS, &c.EndedTS, &c.ExpiresTS)
	return c, err
}

// GetRecordingOn returns the recording of a room that is on, or ErrNotFound.
func (s *Store) GetRecordingOn(ctx context.Context, room int64) (Recording, error) {
	rows, err := s.query(ctx, recordingSelect+`WHERE c.room_nid = $1 AND `+recordingIsOn, room)
	return one(scanAll(rows, err, scanRecording))
}

// GetLastRecording returns the latest recording of a room, or ErrNotFound.
func (s *Store) GetLastRecording(ctx context.Context, room int64) (Recording, error) {
	rows, err := s.query(ctx, recordingSelect+`WHERE c.room_nid = $1 ORDER BY c.created_ts DESC, c.recording_id DESC LIMIT 1`, room)
	return one(scanAll(rows, err, scanRecording))
}

// GetRecordingOfEgress returns the recording that LiveKit makes under an id, or ErrNotFound.
func (s *Store) GetRecordingOfEgress(ctx context.Context, egress string) (Recording, error) {
	rows, err := s.query(ctx, recordingSelect+`WHERE c.egress_id = $1 AND c.egress_id <> ''`, egress)
	return one(scanAll(rows, err, scanRecording))
}

// ListRecordingsOn returns all that are on, at most limit.
func (s *Store) ListRecordingsOn(ctx context.Context, limit int) ([]Recording, error) {
	rows, err := s.query(ctx, recordingSelect+`WHERE `+recordingIsOn+` ORDER BY c.created_ts LIMIT $1`, limit)
	return scanAll(rows, err, scanRecording)
}

// HasRecordings reports whether some are on, or ended at or after a moment.
func (s *Store) HasRecordings(ctx context.Context, since matrix.Timestamp) (some bool, err error) {
	err = s.queryRow(ctx, `SELECT EXISTS (SELECT FROM recordings c WHERE `+recordingIsOn+`) OR EXISTS (SELECT FROM recordings c WHERE `+recordingHasEnded+`)`,
		int64(since)).Scan(&some)
	return some, err
}

// recordingHasEnded is the condition that a recording ended at or after $1, in a room that is there.
const recordingHasEnded = `c.room_nid IS NOT NULL AND c.state IN ('stopped', 'failed') AND c.ended_ts >= $1`

// ListRecordingsEnded returns those that ended at or after a moment, at most limit.
func (s *Store) ListRecordingsEnded(ctx context.Context, since matrix.Timestamp, limit int) ([]Recording, error) {
	rows, err := s.query(ctx, recordingSelect+`WHERE `+recordingHasEnded+` ORDER BY c.ended_ts LIMIT $2`, int64(since), limit)
	return scanAll(rows, err, scanRecording)
}

// recordingHeld is the condition that a recording is kept because its room is held, or who had it made.
var recordingHeld = `(` + fmt.Sprintf(heldRoom, "c.room_nid") + ` OR ` + fmt.Sprintf(heldUser, "c.started_by") + `)`

// ListRecordingsDue returns those whose file is to be deleted: its time is over, or the room is gone. At most limit. What is held stays.
func (s *Store) ListRecordingsDue(ctx context.Context, now matrix.Timestamp, limit int) ([]Recording, error) {
	rows, err := s.query(ctx, recordingSelect+`WHERE (c.expires_ts <= $1 OR c.room_nid IS NULL AND c.expires_ts IS NOT NULL)
			AND NOT `+recordingHeld+` ORDER BY c.expires_ts LIMIT $2`, int64(now), limit)
	return scanAll(rows, err, scanRecording)
}

// InsertRecording stores a recording that was asked for. It reports false when one is on in the room.
func (tx *Tx) InsertRecording(ctx context.Context, c Recording) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO recordings (recording_id, organisation_id, room_nid, alias, started_by, recorder, state, created_ts)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		c.ID, c.OrganisationID, c.RoomNID, c.Alias, string(c.StartedBy), c.Recorder, c.State, int64(c.CreatedTS))
	return n > 0, err
}

// MoveRecording brings a recording from a state into another one. It reports false when it is not in that state.
func (tx *Tx) MoveRecording(ctx context.Context, id, from, to string, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE recordings SET state = $3,
			started_ts = CASE WHEN $3 = 'recording' THEN $4 ELSE started_ts END,
			ended_ts = CASE WHEN $3 IN ('stopped', 'failed') THEN $4 ELSE ended_ts END
		WHERE recording_id = $1 AND state = $2`, id, from, to, int64(now))
	return n > 0, err
}

// PutRecordingEgress notes under which id LiveKit makes a recording.
func (s *Store) PutRecordingEgress(ctx context.Context, id, egress string) error {
	_, err := s.exec(ctx, `UPDATE recordings SET egress_id = $2 WHERE recording_id = $1`, id, egress)
	return err
}

// PutRecordingFile notes where the file of a recording is, how large, what went wrong, and when it is deleted; expires is 0 when there is no file.
func (tx *Tx) PutRecordingFile(ctx context.Context, id, object string, bytes int64, problem string, expires matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE recordings SET object_key = $2, bytes = $3, problem = $4, expires_ts = nullif($5::bigint, 0) WHERE recording_id = $1`,
		id, object, bytes, problem, int64(expires))
	return err
}

// PutRecordingConsent notes what somebody said to a recording; the last word counts.
func (tx *Tx) PutRecordingConsent(ctx context.Context, id string, user matrix.UserID, answer, means string, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		INSERT INTO recording_consents (recording_id, user_id, answer, means, ts) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (recording_id, user_id) DO UPDATE SET answer = excluded.answer, means = excluded.means, ts = excluded.ts`,
		id, string(user), answer, means, int64(now))
	return err
}

// ListRecordingConsents returns what people said to a recording.
func (s *Store) ListRecordingConsents(ctx context.Context, id string) (map[matrix.UserID]string, error) {
	rows, err := s.query(ctx, `SELECT user_id, answer FROM recording_consents WHERE recording_id = $1`, id)
	type said struct {
		user   matrix.UserID
		answer string
	}
	list, err := scanAll(rows, err, func(rows *sql.Rows) (said, error) {
		var a said
		err := rows.Scan(&a.user, &a.answer)
		return a, err
	})
	all := make(map[matrix.UserID]string, len(list))
	for _, a := range list {
		all[a.user] = a.answer
	}
	return all, err
}

// GetRecordingConsent returns the recording of a room that is on, and what a user said to it: "" for nothing. ErrNotFound: none is on.
func (s *Store) GetRecordingConsent(ctx context.Context, room int64, user matrix.UserID) (state, recorder, answer string, err error) {
	err = s.queryRow(ctx, `
		SELECT c.state, c.recorder, coalesce(a.answer, '') FROM recordings c
		LEFT JOIN recording_consents a ON a.recording_id = c.recording_id AND a.user_id = $2
		WHERE c.room_nid = $1 AND `+recordingIsOn, room, string(user)).Scan(&state, &recorder, &answer)
	return state, recorder, answer, err
}

// ListRecordingOrganisations returns those that have recordings which ended before a moment.
func (s *Store) ListRecordingOrganisations(ctx context.Context, before matrix.Timestamp) ([]int64, error) {
	rows, err := s.query(ctx, `SELECT DISTINCT organisation_id FROM recordings WHERE coalesce(ended_ts, created_ts) < $1`, int64(before))
	return scanAll(rows, err, func(rows *sql.Rows) (id int64, err error) {
		err = rows.Scan(&id)
		return id, err
	})
}

// DeleteRecordingsBefore removes an organisation's recordings that ended before a moment, at most limit. The time of a file of theirs is over.
func (s *Store) DeleteRecordingsBefore(ctx context.Context, org int64, before, now matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		WITH old AS (
			SELECT recording_id, object_key FROM recordings c
			WHERE organisation_id = $1 AND coalesce(ended_ts, created_ts) < $2 AND NOT (`+recordingIsOn+`)
				AND NOT `+recordingHeld+` ORDER BY created_ts LIMIT $4
		), files AS (
			UPDATE recordings c SET expires_ts = $3 FROM old WHERE c.recording_id = old.recording_id AND old.object_key <> '' AND c.expires_ts > $3
		)
		DELETE FROM recordings c USING old WHERE c.recording_id = old.recording_id AND old.object_key = ''`,
		org, int64(before), int64(now), limit)
}
