package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/roomline/roomline/internal/matrix"
)

// Kinds of meetings.
const (
	MeetingInstant   = "instant"
	MeetingScheduled = "scheduled"
	MeetingPersonal  = "personal"
)

// Meeting is a meeting that was arranged, began at once, or is somebody's own room.
type Meeting struct {
	ID             string
	OrganisationID int64
	RoomNID        int64
	RoomID         matrix.RoomID
	Organiser      matrix.UserID
	Kind           string
	Title          string
	// StartTS and EndTS are the first time, 0 for a personal room.
	StartTS, EndTS matrix.Timestamp
	Timezone       string
	Recurrence     string
	// UID and Sequence are iCalendar's.
	UID      string
	Sequence int
	// NextStartTS and NextEndTS are the next time, or the one that is on; 0 when there is none any more.
	NextStartTS, NextEndTS matrix.Timestamp
	CreatedTS              matrix.Timestamp
	CancelledTS            matrix.Timestamp
	RemindedTS             matrix.Timestamp
	// Exceptions is JSON, see outbox.Exception.
	Exceptions []byte
	// LinkID is the invitation of the meeting's link, or empty.
	LinkID         string
	LinkGeneration int
	// DueTS is when something is to be done about it, 0 for never.
	DueTS matrix.Timestamp
}

// Ended reports whether there is no time left, for a meeting that has times.
func (m *Meeting) Ended() bool { return m.Kind != MeetingPersonal && m.NextEndTS == 0 }

const meetingColumns = `m.meeting_id, m.organisation_id, m.room_nid, r.room_id, m.organiser, m.kind, m.title, m.start_ts, m.end_ts, m.timezone, m.recurrence,
	m.uid, m.sequence, coalesce(m.next_start_ts, 0), coalesce(m.next_end_ts, 0), m.created_ts, coalesce(m.cancelled_ts, 0), coalesce(m.reminded_ts, 0),
	m.exceptions, coalesce(m.link_id, ''), m.link_generation, coalesce(m.due_ts, 0)`

const meetingSelect = `SELECT ` + meetingColumns + ` FROM meetings m JOIN rooms r USING (room_nid) `

func scanMeeting(scan func(...any) error) (Meeting, error) {
	var m Meeting
	err := scan(&m.ID, &m.OrganisationID, &m.RoomNID, &m.RoomID, &m.Organiser, &m.Kind, &m.Title, &m.StartTS, &m.EndTS, &m.Timezone, &m.Recurrence,
		&m.UID, &m.Sequence, &m.NextStartTS, &m.NextEndTS, &m.CreatedTS, &m.CancelledTS, &m.RemindedTS,
		&m.Exceptions, &m.LinkID, &m.LinkGeneration, &m.DueTS)
	return m, err
}

func scanMeetingRow(rows *sql.Rows) (Meeting, error) { return scanMeeting(rows.Scan) }

// GetMeeting returns a meeting, or ErrNotFound.
func (s *Store) GetMeeting(ctx context.Context, id string) (Meeting, error) {
	return scanMeeting(s.queryRow(ctx, meetingSelect+`WHERE m.meeting_id = $1`, id).Scan)
}

// LockMeeting returns a meeting and keeps everybody else from changing it until the transaction ends; or ErrNotFound.
func (tx *Tx) LockMeeting(ctx context.Context, id string) (Meeting, error) {
	return scanMeeting(tx.queryRow(ctx, meetingSelect+`WHERE m.meeting_id = $1 FOR UPDATE OF m`, id).Scan)
}

// GetMeetingOfRoom returns the meeting that a room is for, or that is on in it; or ErrNotFound.
func (s *Store) GetMeetingOfRoom(ctx context.Context, room int64) (Meeting, error) {
	return scanMeeting(s.queryRow(ctx, meetingSelect+`
		WHERE m.room_nid = $1 AND m.cancelled_ts IS NULL AND (m.kind = 'personal' OR m.next_end_ts IS NOT NULL)
		ORDER BY m.kind = 'instant', m.created_ts DESC LIMIT 1`, room).Scan)
}

// GetPersonalMeeting returns the meeting that is somebody's own, or ErrNotFound.
func (s *Store) GetPersonalMeeting(ctx context.Context, user matrix.UserID) (Meeting, error) {
	return scanMeeting(s.queryRow(ctx, meetingSelect+`WHERE m.organiser = $1 AND m.kind = 'personal' AND m.cancelled_ts IS NULL`, string(user)).Scan)
}

// InsertMeeting stores a meeting. False: its organiser has a personal room already, and nothing was stored.
func (tx *Tx) InsertMeeting(ctx context.Context, m Meeting) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO meetings (meeting_id, organisation_id, room_nid, organiser, kind, title, start_ts, end_ts, timezone, recurrence, uid, sequence,
			next_start_ts, next_end_ts, created_ts, due_ts, link_generation)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, nullif($13::bigint, 0), nullif($14::bigint, 0), $15, nullif($16::bigint, 0), $17)
		ON CONFLICT (organiser) WHERE kind = 'personal' AND cancelled_ts IS NULL DO NOTHING`,
		m.ID, m.OrganisationID, m.RoomNID, string(m.Organiser), m.Kind, m.Title, int64(m.StartTS), int64(m.EndTS), m.Timezone, m.Recurrence, m.UID, m.Sequence,
		int64(m.NextStartTS), int64(m.NextEndTS), int64(m.CreatedTS), int64(m.DueTS), m.LinkGeneration)
	return n > 0, err
}

// PutMeeting stores what may change of a meeting, which the transaction has locked.
func (tx *Tx) PutMeeting(ctx context.Context, m Meeting) error {
	_, err := tx.exec(ctx, `
		UPDATE meetings SET organiser = $2, title = $3, start_ts = $4, end_ts = $5, timezone = $6, recurrence = $7, sequence = $8,
			next_start_ts = nullif($9::bigint, 0), next_end_ts = nullif($10::bigint, 0), cancelled_ts = nullif($11::bigint, 0),
			reminded_ts = nullif($12::bigint, 0), exceptions = $13, link_id = nullif($14, ''), link_generation = $15, due_ts = nullif($16::bigint, 0)
		WHERE meeting_id = $1`,
		m.ID, string(m.Organiser), m.Title, int64(m.StartTS), int64(m.EndTS), m.Timezone, m.Recurrence, m.Sequence,
		int64(m.NextStartTS), int64(m.NextEndTS), int64(m.CancelledTS), int64(m.RemindedTS), m.Exceptions, m.LinkID, m.LinkGeneration, int64(m.DueTS))
	return err
}

// ClaimMeeting returns a meeting about which something is to be done, and keeps others from it until another moment; or ErrNotFound.
func (s *Store) ClaimMeeting(ctx context.Context, now, until matrix.Timestamp) (Meeting, error) {
	return scanOnce(ctx, s, scanMeeting, `
		UPDATE meetings m SET due_ts = $2 FROM rooms r
		WHERE r.room_nid = m.room_nid AND m.meeting_id = (
			SELECT meeting_id FROM meetings WHERE due_ts <= $1 ORDER BY due_ts LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING `+meetingColumns, int64(now), int64(until))
}

// DeletePastMeetings removes meetings that began in a room for want of another, and were over before ts, at most limit. Those that were arranged stay.
func (s *Store) DeletePastMeetings(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM meetings WHERE meeting_id = ANY (ARRAY (
			SELECT meeting_id FROM meetings WHERE kind = 'instant' AND next_end_ts IS NULL AND created_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// CountMeetingsAhead counts the meetings of an organiser that are still to come.
func (tx *Tx) CountMeetingsAhead(ctx context.Context, organiser matrix.UserID) (n int, err error) {
	err = tx.queryRow(ctx, `SELECT count(*) FROM meetings WHERE organiser = $1 AND cancelled_ts IS NULL AND next_end_ts IS NOT NULL`, string(organiser)).Scan(&n)
	return n, err
}

// MeetingFilter chooses meetings; what is zero chooses all.
type MeetingFilter struct {
	OrganisationID int64
	Organiser      matrix.UserID
	// Visible is somebody who is in the rooms, or asked into them.
	Visible matrix.UserID
	RoomNID int64
	// Upcoming chooses those that are on or to come, Past those that are over or cancelled.
	Upcoming, Past bool
	// AfterTS and AfterID are the place of the last meeting of the page before.
	AfterTS matrix.Timestamp
	AfterID string
}

// ListMeetings returns meetings, at most limit: those that are to come in their order, others from the newest one on.
func (s *Store) ListMeetings(ctx context.Context, f MeetingFilter, limit int) ([]Meeting, error) {
	place, order := `(m.created_ts, m.meeting_id) < ($7::bigint, $8)`, `m.created_ts DESC, m.meeting_id DESC`
	if f.Upcoming {
		place, order = `(m.next_start_ts, m.meeting_id) > ($7::bigint, $8)`, `m.next_start_ts, m.meeting_id`
	}
	over := `(m.cancelled_ts IS NOT NULL OR m.kind <> 'personal' AND m.next_end_ts IS NULL)`
	rows, err := s.query(ctx, meetingSelect+`
		WHERE ($1::bigint = 0 OR m.organisation_id = $1) AND ($2 = '' OR m.organiser = $2)
			AND ($3 = '' OR m.room_nid IN (SELECT room_nid FROM memberships WHERE user_id = $3 AND membership IN ('join', 'invite')))
			AND ($4::bigint = 0 OR m.room_nid = $4) AND (NOT $5 OR m.next_start_ts IS NOT NULL AND NOT `+over+`) AND (NOT $6 OR `+over+`)
			AND ($7::bigint = 0 OR `+place+`)
		ORDER BY `+order+` LIMIT $9`,
		f.OrganisationID, string(f.Organiser), string(f.Visible), f.RoomNID, f.Upcoming, f.Past, int64(f.AfterTS), f.AfterID, limit)
	return scanAll(rows, err, scanMeetingRow)
}

// ListForsakenMeetings returns meetings whose organiser is not in the room any more, or has no account, at most limit; of one organiser, if there is one.
func (s *Store) ListForsakenMeetings(ctx context.Context, organiser matrix.UserID, limit int) ([]Meeting, error) {
	rows, err := s.query(ctx, meetingSelect+`JOIN users u ON u.user_id = m.organiser
		LEFT JOIN memberships o ON o.user_id = m.organiser AND o.room_nid = m.room_nid
		WHERE m.cancelled_ts IS NULL AND (m.kind = 'personal' OR m.kind = 'scheduled' AND m.next_end_ts IS NOT NULL)
			AND (u.deactivated_ts IS NOT NULL OR coalesce(o.membership, '') <> 'join') AND ($1 = '' OR m.organiser = $1)
		ORDER BY m.meeting_id LIMIT $2`, string(organiser), limit)
	return scanAll(rows, err, scanMeetingRow)
}

// MeetingInvitee is somebody who was asked to a meeting.
type MeetingInvitee struct {
	ID        string
	MeetingID string
	// UserID, or else Medium and Address.
	UserID          matrix.UserID
	Medium, Address string
	Name, Language  string
	// Role is attendee, presenter or moderator.
	Role         string
	InvitationID string
	CreatedTS    matrix.Timestamp
	Answer       string
	AnswerTS     matrix.Timestamp
	RemovedTS    matrix.Timestamp
}

const inviteeColumns = `invitee_id, meeting_id, coalesce(user_id, ''), medium, address, name, language, role, coalesce(invitation_id, ''), created_ts, answer,
	coalesce(answer_ts, 0), coalesce(removed_ts, 0)`

func scanInvitee(scan func(...any) error) (MeetingInvitee, error) {
	var i MeetingInvitee
	err := scan(&i.ID, &i.MeetingID, &i.UserID, &i.Medium, &i.Address, &i.Name, &i.Language, &i.Role, &i.InvitationID, &i.CreatedTS, &i.Answer,
		&i.AnswerTS, &i.RemovedTS)
	return i, err
}

// InsertMeetingInvitee stores an invitee.
func (tx *Tx) InsertMeetingInvitee(ctx context.Context, i MeetingInvitee) error {
	_, err := tx.exec(ctx, `
		INSERT INTO meeting_invitees (invitee_id, meeting_id, user_id, medium, address, name, language, role, created_ts)
		VALUES ($1, $2, nullif($3, ''), $4, $5, $6, $7, $8, $9)`,
		i.ID, i.MeetingID, string(i.UserID), i.Medium, i.Address, i.Name, i.Language, i.Role, int64(i.CreatedTS))
	return err
}

// PutInviteeInvitation notes by which invitation an invitee was asked; with a user, that the address is that of an account, which was invited.
func (tx *Tx) PutInviteeInvitation(ctx context.Context, invitee, invitation string, user matrix.UserID) error {
	_, err := tx.exec(ctx, `
		UPDATE meeting_invitees SET invitation_id = nullif($2, ''), user_id = coalesce(nullif($3, ''), user_id),
			medium = CASE WHEN $3 = '' THEN medium ELSE '' END, address = CASE WHEN $3 = '' THEN address ELSE '' END
		WHERE invitee_id = $1`, invitee, invitation, string(user))
	return err
}

// RemoveMeetingInvitee notes that somebody is not asked any more. False: had been removed before.
func (tx *Tx) RemoveMeetingInvitee(ctx context.Context, invitee string, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE meeting_invitees SET removed_ts = $2 WHERE invitee_id = $1 AND removed_ts IS NULL`, invitee, int64(now))
	return n > 0, err
}

// PutMeetingAnswer notes what an invitee says.
func (tx *Tx) PutMeetingAnswer(ctx context.Context, invitee, answer string, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `UPDATE meeting_invitees SET answer = $2, answer_ts = $3 WHERE invitee_id = $1`, invitee, answer, int64(now))
	return err
}

// ListMeetingInvitees returns who was asked to a meeting, in the order in which they were; those who were removed too.
func (s *Store) ListMeetingInvitees(ctx context.Context, meeting string) ([]MeetingInvitee, error) {
	rows, err := s.query(ctx, `SELECT `+inviteeColumns+` FROM meeting_invitees WHERE meeting_id = $1 ORDER BY created_ts, invitee_id`, meeting)
	return scanAll(rows, err, func(rows *sql.Rows) (MeetingInvitee, error) { return scanInvitee(rows.Scan) })
}

// CountMeetingInvitees counts who was asked to a meeting and not removed.
func (tx *Tx) CountMeetingInvitees(ctx context.Context, meeting string) (n int, err error) {
	err = tx.queryRow(ctx, `SELECT count(*) FROM meeting_invitees WHERE meeting_id = $1 AND removed_ts IS NULL`, meeting).Scan(&n)
	return n, err
}

// GetInviteeOf returns the invitee that somebody is in a meeting: by the user id, or as a guest by the invitation; or ErrNotFound.
func (s *Store) GetInviteeOf(ctx context.Context, meeting string, user matrix.UserID) (MeetingInvitee, error) {
	return scanInvitee(s.queryRow(ctx, `
		SELECT `+inviteeColumns+` FROM meeting_invitees
		WHERE meeting_id = $1 AND removed_ts IS NULL AND (user_id = $2 OR invitation_id = (SELECT invitation_id FROM guests WHERE user_id = $2))
		ORDER BY created_ts LIMIT 1`, meeting, string(user)).Scan)
}

// GetInviteeByInvitation returns the invitee who was asked by an invitation, or ErrNotFound.
func (s *Store) GetInviteeByInvitation(ctx context.Context, invitation string) (MeetingInvitee, error) {
	return scanInvitee(s.queryRow(ctx, `SELECT `+inviteeColumns+` FROM meeting_invitees WHERE invitation_id = $1 LIMIT 1`, invitation).Scan)
}

// invitationsOfMeeting are the ids of the invitations to the meeting $1.
const invitationsOfMeeting = `SELECT invitation_id FROM meeting_invitees WHERE meeting_id = $1 AND invitation_id IS NOT NULL
	UNION SELECT link_id FROM meetings WHERE meeting_id = $1 AND link_id IS NOT NULL`

// PutMeetingOpens lets the links of a meeting open at a moment, and hold until another one at least.
func (tx *Tx) PutMeetingOpens(ctx context.Context, meeting string, opens, expires matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE invitations SET opens_ts = $2, expires_ts = greatest(expires_ts, $3)
		WHERE invitation_id IN (`+invitationsOfMeeting+`) AND ended = '' AND ended_ts IS NULL`, meeting, int64(opens), int64(expires))
	return err
}

// ListMeetingInvitations returns the invitations to a meeting that have not ended.
func (s *Store) ListMeetingInvitations(ctx context.Context, meeting string) ([]Invitation, error) {
	rows, err := s.query(ctx, invitationSelect+`WHERE i.invitation_id IN (`+invitationsOfMeeting+`) AND i.ended = '' ORDER BY i.created_ts, i.invitation_id`, meeting)
	return scanAll(rows, err, scanInvitationRow)
}

// ListAllMeetingInvitations returns the invitations to a meeting, those that have ended too.
func (s *Store) ListAllMeetingInvitations(ctx context.Context, meeting string) ([]Invitation, error) {
	rows, err := s.query(ctx, invitationSelect+`WHERE i.invitation_id IN (`+invitationsOfMeeting+`)`, meeting)
	return scanAll(rows, err, scanInvitationRow)
}

// ListMeetingAnswers returns what somebody has answered to meetings, by the meeting.
func (s *Store) ListMeetingAnswers(ctx context.Context, meetings []string, user matrix.UserID) (map[string]string, error) {
	answers := map[string]string{}
	rows, err := s.query(ctx, `
		SELECT meeting_id, answer FROM meeting_invitees
		WHERE meeting_id = ANY ($1) AND removed_ts IS NULL AND answer <> ''
			AND (user_id = $2 OR invitation_id = (SELECT invitation_id FROM guests WHERE user_id = $2))`, textArray(meetings), string(user))
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var meeting, answer string
		err := rows.Scan(&meeting, &answer)
		answers[meeting] = answer
		return struct{}{}, err
	})
	return answers, err
}

// RescheduleInvitation gives an invitation to a meeting another time and another secret. It is sent for what was used, too. False: it has ended.
func (tx *Tx) RescheduleInvitation(ctx context.Context, i Invitation, now matrix.Timestamp) (Invitation, bool, error) {
	rows, err := tx.query(ctx, `
		UPDATE invitations i SET secret_hash = $2, meeting = $3, opens_ts = $4, expires_ts = $5, guest_lifetime = $6, opened_ts = CASE WHEN i.uses > 0 THEN i.opened_ts END,
			delivery = '', delivery_ts = NULL
		FROM rooms r WHERE r.room_nid = i.room_nid AND i.invitation_id = $1 AND i.ended = '' AND (i.uses > 0 OR i.expires_ts > $7)
		RETURNING `+invitationColumns, i.ID, i.SecretHash, i.Meeting, int64(i.OpensTS), int64(i.ExpiresTS), i.GuestLifetime, int64(now))
	list, err := scanAll(rows, err, scanInvitationRow)
	if err != nil || len(list) == 0 {
		return Invitation{}, false, err
	}
	return list[0], true, nil
}

// ProlongGuests lets the guests of an invitation, who have not gone, stay until a moment.
func (tx *Tx) ProlongGuests(ctx context.Context, invitation string, until, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `UPDATE guests SET expires_ts = $2 WHERE invitation_id = $1 AND ended_ts IS NULL AND expires_ts > $3 AND expires_ts < $2`,
		invitation, int64(until), int64(now))
	return err
}

// AddMeetingSeconds counts how long somebody was in a meeting of an organisation.
func (tx *Tx) AddMeetingSeconds(ctx context.Context, org int64, day time.Time, seconds int64) error {
	_, err := tx.exec(ctx, `
		INSERT INTO rtc_spending AS s (organisation_id, day, seconds) VALUES ($1, $2::date, $3)
		ON CONFLICT (organisation_id, day) DO UPDATE SET seconds = s.seconds + excluded.seconds`, org, day.UTC().Format(time.DateOnly), seconds)
	return err
}

// MeetingFigures is what an organisation's meetings come to.
type MeetingFigures struct {
	// On counts the rooms in which somebody is in a call now, Participants those who are.
	On, Participants int
	// SecondsThisMonth is how long people were in calls since a day, together.
	SecondsThisMonth int64
	// Upcoming counts meetings that are to come.
	Upcoming int
}

// GetMeetingFigures returns what an organisation's meetings come to since a day.
func (s *Store) GetMeetingFigures(ctx context.Context, org int64, since time.Time) (f MeetingFigures, err error) {
	err = s.queryRow(ctx, `
		WITH here AS (
			SELECT p.alias FROM rtc_participants p JOIN rtc_rooms c USING (alias) JOIN rooms r USING (room_nid)
			WHERE p.joined_ts IS NOT NULL AND p.left_ts IS NULL AND r.organisation_id = $1)
		SELECT (SELECT count(DISTINCT alias) FROM here), (SELECT count(*) FROM here),
			(SELECT coalesce(sum(seconds), 0) FROM rtc_spending WHERE organisation_id = $1 AND day >= $2::date),
			(SELECT count(*) FROM meetings WHERE organisation_id = $1 AND cancelled_ts IS NULL AND next_end_ts IS NOT NULL)`,
		org, since.UTC().Format(time.DateOnly)).Scan(&f.On, &f.Participants, &f.SecondsThisMonth, &f.Upcoming)
	return f, err
}

// IsMeetingOn reports whether somebody is in a call of a room, by the SFU's word.
func (tx *Tx) IsMeetingOn(ctx context.Context, room int64) (bool, error) {
	var on bool
	err := tx.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM rtc_participants p JOIN rtc_rooms USING (alias) WHERE room_nid = $1 AND p.joined_ts IS NOT NULL AND p.left_ts IS NULL)`, room).Scan(&on)
	return on, err
}
