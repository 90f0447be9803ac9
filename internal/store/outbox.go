package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Messages that leave for mailboxes and phones. When something may be sent, and for how long it is worth sending, goes by the clock of the
// server's processes; leases and the time since the network was given a message go by the database's, so that processes need not agree.

// OutboxMessage is a mail or a short message that is to be sent, or was.
type OutboxMessage struct {
	ID             int64
	OrganisationID int64
	// Kind, Medium and State are those of internal/outbox.
	Kind, Medium, State string
	Address             string
	// Sender is empty when nobody asked, InvitationID when it is about none.
	Sender       matrix.UserID
	InvitationID string
	// Payload is what it says, sealed; nil when it is over.
	Payload    []byte
	Attempts   int
	NextTS     matrix.Timestamp
	ExpiresTS  matrix.Timestamp
	Lease      string
	Reference  string
	Problem    string
	Cost       int64
	CreatedTS  matrix.Timestamp
	SentTS     matrix.Timestamp
	FinishedTS matrix.Timestamp
}

const outboxColumns = `message_id, organisation_id, kind, medium, state, address, sender, coalesce(invitation_id, ''), payload, attempts,
	next_ts, expires_ts, coalesce(lease, ''), coalesce(reference, ''), problem, cost, created_ts, coalesce(sent_ts, 0), coalesce(done_ts, 0)`

func scanOutbox(rows *sql.Rows) (OutboxMessage, error) {
	var m OutboxMessage
	err := rows.Scan(&m.ID, &m.OrganisationID, &m.Kind, &m.Medium, &m.State, &m.Address, &m.Sender, &m.InvitationID, &m.Payload, &m.Attempts,
		&m.NextTS, &m.ExpiresTS, &m.Lease, &m.Reference, &m.Problem, &m.Cost, &m.CreatedTS, &m.SentTS, &m.FinishedTS)
	return m, err
}

// OutboxChannel is notified when there is something to send.
const OutboxChannel = "roomline_outbox"

// Spending is what an organisation has spent on a day of UTC by one medium.
type Spending struct {
	Day      string // 2026-11-28
	Medium   string
	Messages int64
	// Cost is in millionths of the currency.
	Cost int64
}

// LockSpending returns what an organisation has spent on the day of ts by a medium, and keeps everybody else from spending more until the
// transaction ends. It is what makes the limits of an organisation hold for all processes together.
func (tx *Tx) LockSpending(ctx context.Context, organisation int64, medium string, ts matrix.Timestamp) (Spending, error) {
	s := Spending{Medium: medium}
	err := tx.queryRow(ctx, `
		INSERT INTO outbox_spending AS s (organisation_id, day, medium, messages, cost)
		VALUES ($1, (to_timestamp($3::bigint / 1000.0) AT TIME ZONE 'UTC')::date, $2, 0, 0)
		ON CONFLICT (organisation_id, day, medium) DO UPDATE SET messages = s.messages
		RETURNING to_char(day, 'YYYY-MM-DD'), messages, cost`, organisation, medium, int64(ts)).Scan(&s.Day, &s.Messages, &s.Cost)
	return s, err
}

// OutboxCounts is what was sent before, by whom and to whom, where it counts. What was cancelled does not.
type OutboxCounts struct {
	// Address counts messages of the kind from the organisation to the address in the last day, LastTS is when the last was that has not
	// failed, and Everywhere counts those of all organisations.
	Address, Everywhere int
	LastTS              matrix.Timestamp
	// Sender counts what the sender had sent in the last hour, Hour and Day what the organisation had: codes if the message is one, and
	// otherwise everything else.
	Sender, Hour, Day int
	// Domain counts mails of the organisation to the domain of the address in the last hour, Block the other numbers that differ in the last
	// three digits only.
	Domain, Block int
	// NextID is the id of the message that may be stored now.
	NextID int64
}

// CountOutbox counts for a message that is to be stored. Nobody else stores a message to the address before the transaction ends.
func (tx *Tx) CountOutbox(ctx context.Context, m OutboxMessage, domain, block string) (OutboxCounts, error) {
	var c OutboxCounts
	const hour = 3_600_000
	if _, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('outbox ' || $1 || ' ' || $2, 0))`, m.Medium, m.Address); err != nil {
		return c, err
	}
	err := tx.queryRow(ctx, `
		SELECT a.own, a.last_ts, a.everywhere, o.hour, o.day, o.sender, o.domain,
		       CASE WHEN $8 = '' THEN 0 ELSE (
		           SELECT count(DISTINCT address) FROM outbox
		           WHERE medium = $1 AND address >= $8 AND address < $8 || ':' AND length(address) = length($2) AND address <> $2
		             AND organisation_id = $3 AND created_ts > $5::bigint - $9 AND state <> 'cancelled') END,
		       nextval(pg_get_serial_sequence('outbox', 'message_id'))
		FROM (
			SELECT count(*) FILTER (WHERE organisation_id = $3) AS own, count(*) AS everywhere,
			       coalesce(max(created_ts) FILTER (WHERE organisation_id = $3 AND state <> 'failed'), 0) AS last_ts
			FROM outbox WHERE medium = $1 AND address = $2 AND kind = $4 AND created_ts > $5::bigint - 24 * $9 AND state <> 'cancelled') a, (
			SELECT count(*) AS day, count(*) FILTER (WHERE created_ts > $5::bigint - $9) AS hour,
			       count(*) FILTER (WHERE created_ts > $5::bigint - $9 AND sender = $6 AND $6 <> '' AND kind <> 'cancellation') AS sender,
			       count(*) FILTER (WHERE created_ts > $5::bigint - $9 AND $7 <> '' AND right(address, length($7) + 1) = '@' || $7) AS domain
			FROM outbox WHERE organisation_id = $3 AND medium = $1 AND (kind = 'code') = ($4 = 'code') AND created_ts > $5::bigint - 24 * $9
			  AND state <> 'cancelled') o`,
		m.Medium, m.Address, m.OrganisationID, m.Kind, int64(m.CreatedTS), string(m.Sender), domain, block, int64(hour)).Scan(
		&c.Address, &c.LastTS, &c.Everywhere, &c.Hour, &c.Day, &c.Sender, &c.Domain, &c.Block, &c.NextID)
	return c, err
}

// InsertOutbox stores a message whose id is from CountOutbox, counts what it costs, and wakes up whoever sends, when the transaction commits.
//
// Why a notification inside the transaction, which the journal avoids: the lock that it takes at the commit is held up by other notifications
// alone, and there are few of these beside what rooms write.
func (tx *Tx) InsertOutbox(ctx context.Context, m OutboxMessage) error {
	_, err := tx.exec(ctx, `
		WITH spent AS (
			UPDATE outbox_spending SET messages = messages + 1, cost = cost + $12::bigint
			WHERE organisation_id = $2::bigint AND medium = $4::text AND day = (to_timestamp($13::bigint / 1000.0) AT TIME ZONE 'UTC')::date
		), told AS (SELECT pg_notify($14, ''))
		INSERT INTO outbox (message_id, organisation_id, kind, medium, state, address, sender, invitation_id, payload, next_ts, expires_ts, cost, created_ts)
		OVERRIDING SYSTEM VALUE
		SELECT $1::bigint, $2, $3::text, $4, $5::text, $6::text, $7::text, nullif($8::text, ''), $9::bytea, $10::bigint, $11::bigint, $12, $13 FROM told`,
		m.ID, m.OrganisationID, m.Kind, m.Medium, m.State, m.Address, string(m.Sender), m.InvitationID, m.Payload, int64(m.NextTS),
		int64(m.ExpiresTS), m.Cost, int64(m.CreatedTS), OutboxChannel)
	return err
}

// refund takes back what messages were to cost; the statement before it returns them as gone (organisation_id, medium, created_ts, refund).
const refund = `, refunds AS (
		SELECT organisation_id, medium, (to_timestamp(created_ts / 1000.0) AT TIME ZONE 'UTC')::date AS day, sum(refund)::bigint AS refund
		FROM gone GROUP BY 1, 2, 3
	), repaid AS (
		UPDATE outbox_spending s SET cost = greatest(s.cost - r.refund, 0) FROM refunds r
		WHERE s.organisation_id = r.organisation_id AND s.medium = r.medium AND s.day = r.day AND r.refund <> 0
	)
	SELECT (SELECT count(*) FROM gone)`

// CancelOutbox takes back what is still to be sent about an invitation, but for messages of the kind keep. Whoever has a lease of one loses
// it. It says how many these were. What the network may have got already is wiped: nobody sends it a second time.
func (tx *Tx) CancelOutbox(ctx context.Context, invitation, keep string, now matrix.Timestamp) (int64, error) {
	var n int64
	err := tx.queryRow(ctx, `
		WITH old AS (
			SELECT message_id, cost FROM outbox WHERE invitation_id = $1 AND kind <> $2 AND state IN ('held', 'queued') ORDER BY message_id FOR UPDATE
		), gone AS (
			UPDATE outbox o SET state = 'cancelled', payload = NULL, lease = NULL, lease_ts = NULL, cost = 0, done_ts = $3 FROM old
			WHERE o.message_id = old.message_id RETURNING o.organisation_id, o.medium, o.created_ts, old.cost AS refund
		), wiped AS (
			UPDATE outbox SET payload = NULL WHERE invitation_id = $1 AND kind <> $2 AND state = 'sending'
		)`+refund, invitation, keep, int64(now)).Scan(&n)
	return n, err
}

// HasOutboxGone reports whether the network has got a message about an invitation, or may have.
func (tx *Tx) HasOutboxGone(ctx context.Context, invitation string) (gone bool, err error) {
	err = tx.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM outbox WHERE invitation_id = $1 AND (state IN ('sending', 'sent', 'delivered') OR state = 'failed' AND problem = 'not known'))`, invitation).Scan(&gone)
	return gone, err
}

// ExpireOutbox ends messages whose time is over, or that were taken back while the network may have got them, at most limit, and says how many.
// Nobody has them: who has a lease is left alone until it lapses. Of what was taken back its invitation is told nothing.
func (s *Store) ExpireOutbox(ctx context.Context, now matrix.Timestamp, limit int) (int64, error) {
	var n int64
	err := s.Write(ctx, func(tx *Tx) error {
		return tx.queryRow(ctx, `
		WITH old AS (
			SELECT message_id, cost FROM outbox
			WHERE state IN ('held', 'queued', 'sending') AND (expires_ts <= $1 OR payload IS NULL) AND (lease_ts IS NULL OR lease_ts < `+dbNowDown+`)
			ORDER BY message_id LIMIT $2 FOR UPDATE SKIP LOCKED
		), gone AS (
			UPDATE outbox o SET state = CASE WHEN o.payload IS NULL AND o.state <> 'sending' THEN 'cancelled' ELSE 'failed' END,
				told = CASE WHEN o.payload IS NULL THEN 'failed' ELSE o.told END, payload = NULL, lease = NULL, lease_ts = NULL, done_ts = $1,
				problem = CASE WHEN o.state = 'sending' THEN 'not known' WHEN o.payload IS NULL THEN o.problem ELSE 'expired' END,
				cost = CASE o.state WHEN 'sending' THEN o.cost ELSE 0 END
			FROM old WHERE o.message_id = old.message_id RETURNING o.organisation_id, o.medium, o.created_ts, old.cost - o.cost AS refund
		)`+refund, int64(now), limit).Scan(&n)
	})
	return n, err
}

// LeaseOutbox hands messages of the media out, at most limit, under the name lease, which lapses after a while. A short message that the
// network may have got is not handed out again before the window is over.
func (s *Store) LeaseOutbox(ctx context.Context, media []string, lease string, now matrix.Timestamp, limit int, leaseFor, window int64) ([]OutboxMessage, error) {
	var list []OutboxMessage
	err := s.Write(ctx, func(tx *Tx) error {
		rows, err := tx.query(ctx, `
			UPDATE outbox SET lease = $2, lease_ts = `+dbNowUp+` + $5, attempts = attempts + 1,
				state = CASE state WHEN 'held' THEN 'queued' ELSE state END
			WHERE message_id = ANY (ARRAY (
				SELECT message_id FROM outbox
				WHERE medium = ANY ($1) AND state IN ('held', 'queued', 'sending') AND next_ts <= $3 AND expires_ts > $3 AND payload IS NOT NULL
				  AND (lease_ts IS NULL OR lease_ts < `+dbNowDown+`)
				  AND (state <> 'sending' OR medium = 'email' OR sending_ts + $6 <= `+dbNowDown+`)
				ORDER BY next_ts, message_id LIMIT $4 FOR UPDATE SKIP LOCKED))
			RETURNING `+outboxColumns, pq.Array(media), lease, int64(now), limit, leaseFor, window)
		list, err = scanAll(rows, err, scanOutbox)
		return err
	})
	return list, err
}

// PutOutboxSending notes that the network is given a message now. It reports false when the lease is somebody else's, or the message was
// taken back: then it must not be sent.
func (s *Store) PutOutboxSending(ctx context.Context, id int64, lease, reference string, leaseFor int64) (bool, error) {
	n, err := s.execOnce(ctx, `
		UPDATE outbox SET state = 'sending', sending_ts = `+dbNowDown+`, lease_ts = `+dbNowUp+` + $4, reference = coalesce(nullif($3, ''), reference)
		WHERE message_id = $1 AND lease = $2 AND state IN ('queued', 'sending') AND payload IS NOT NULL`, id, lease, reference, leaseFor)
	return n > 0, err
}

// OutboxEnd is what became of a message in the end, or so far.
type OutboxEnd struct {
	State, Reference, Problem string
	// Cost is what it cost; KeepCost leaves it at what was counted for it.
	Cost     int64
	KeepCost bool
}

// PutOutboxEnd stores what became of a message that somebody has a lease of: sent, delivered or failed. The same again changes nothing. It
// reports false when the lease is not this one's.
func (tx *Tx) PutOutboxEnd(ctx context.Context, id int64, lease string, end OutboxEnd, now matrix.Timestamp) (bool, error) {
	var known, n int64
	err := tx.queryRow(ctx, `
		WITH known AS (SELECT message_id, cost, state FROM outbox WHERE message_id = $1 AND lease = $2 FOR UPDATE
		), gone AS (
			UPDATE outbox o SET state = $3, reference = coalesce(nullif($4, ''), o.reference), problem = $5, payload = NULL, lease_ts = NULL,
				cost = CASE WHEN $7 THEN o.cost ELSE $6 END, done_ts = $8, sent_ts = CASE $3 WHEN 'failed' THEN o.sent_ts ELSE coalesce(o.sent_ts, $8) END
			FROM known WHERE o.message_id = known.message_id AND known.state IN ('queued', 'sending')
			RETURNING o.organisation_id, o.medium, o.created_ts, known.cost - o.cost AS refund
		)`+refund+`, (SELECT count(*) FROM known)`,
		id, lease, end.State, end.Reference, end.Problem, end.Cost, end.KeepCost, int64(now)).Scan(&n, &known)
	return known > 0, err
}

// PutOutboxRetry gives a message back, to be taken again at nextTS. unknown: the network may have got it. It reports false when the lease is
// not this one's.
func (tx *Tx) PutOutboxRetry(ctx context.Context, id int64, lease, problem string, nextTS matrix.Timestamp, held, unknown bool) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE outbox SET state = CASE WHEN $6 THEN state WHEN $5 THEN 'held' ELSE 'queued' END, problem = $3, next_ts = $4, lease = NULL, lease_ts = NULL
		WHERE message_id = $1 AND lease = $2 AND state IN ('queued', 'sending')`, id, lease, problem, int64(nextTS), held, unknown)
	return n > 0, err
}

// PutOutboxReceipt stores what the network said later of a message that it called by a reference. It reports false when there is none.
func (tx *Tx) PutOutboxReceipt(ctx context.Context, reference, state, problem string, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE outbox SET problem = CASE WHEN state = 'delivered' THEN problem ELSE $3 END, done_ts = $4, payload = NULL, lease_ts = NULL,
			sent_ts = coalesce(sent_ts, $4), state = CASE WHEN state = 'delivered' THEN state ELSE $2 END
		WHERE message_id = (
			SELECT message_id FROM outbox WHERE reference = $1 AND state IN ('sending', 'sent', 'delivered', 'failed')
			ORDER BY message_id DESC LIMIT 1)`, reference, state, problem, int64(now))
	return n > 0, err
}

// GetOutboxForUpdate returns a message that somebody has a lease of, or ErrNotFound.
func (tx *Tx) GetOutboxForUpdate(ctx context.Context, id int64, lease string) (OutboxMessage, error) {
	rows, err := tx.query(ctx, `SELECT `+outboxColumns+` FROM outbox WHERE message_id = $1 AND lease = $2 FOR UPDATE`, id, lease)
	list, err := scanAll(rows, err, scanOutbox)
	if err != nil || len(list) == 0 {
		return OutboxMessage{}, notFoundOr(err)
	}
	return list[0], nil
}

func notFoundOr(err error) error {
	if err == nil {
		return ErrNotFound
	}
	return err
}

// HasOutboxDue reports whether LeaseOutbox would hand something out.
func (s *Store) HasOutboxDue(ctx context.Context, media []string, now matrix.Timestamp, window int64) (bool, error) {
	var due bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM outbox WHERE medium = ANY ($1) AND state IN ('held', 'queued', 'sending') AND next_ts <= $2 AND expires_ts > $2 AND payload IS NOT NULL
			  AND (lease_ts IS NULL OR lease_ts < `+dbNowDown+`) AND (state <> 'sending' OR medium = 'email' OR sending_ts + $3 <= `+dbNowDown+`))`,
		pq.Array(media), int64(now), window).Scan(&due)
	return due, err
}

// untold is the condition that a message about an invitation has come further than the invitation was told.
const untold = `invitation_id IS NOT NULL AND state IN ('sent', 'delivered', 'failed') AND told <> state`

// HasUntold reports whether there is something for LockUntold.
func (s *Store) HasUntold(ctx context.Context) (some bool, err error) {
	err = s.queryRow(ctx, `SELECT EXISTS (SELECT FROM outbox WHERE `+untold+`)`).Scan(&some)
	return some, err
}

// LockUntold locks messages about invitations that have come further than the invitation was told, at most limit, the oldest first. Others
// pass over them.
func (tx *Tx) LockUntold(ctx context.Context, limit int) ([]OutboxMessage, error) {
	rows, err := tx.query(ctx, `
		SELECT `+outboxColumns+` FROM outbox
		WHERE `+untold+` ORDER BY message_id LIMIT $1 FOR UPDATE SKIP LOCKED`, limit)
	return scanAll(rows, err, scanOutbox)
}

// PutTold notes that the invitations were told of the present states of the messages.
func (tx *Tx) PutTold(ctx context.Context, ids []int64) error {
	_, err := tx.exec(ctx, `UPDATE outbox SET told = state WHERE message_id = ANY ($1)`, pq.Array(ids))
	return err
}

// OutboxFilter chooses messages of an organisation; what is zero chooses all.
type OutboxFilter struct {
	OrganisationID       int64
	Before               int64 // ids below it
	State, Medium, Kind  string
	InvitationID, Sender string
	// Window is for how long (milliseconds) a short message that the network may have got is not sent again.
	Window int64
}

// ListOutbox returns messages, the newest first, at most limit, without what they say. NextTS of one that the network may have got is when it is
// sent again, 0 for never.
func (s *Store) ListOutbox(ctx context.Context, f OutboxFilter, limit int) ([]OutboxMessage, error) {
	rows, err := s.query(ctx, `
		SELECT `+outboxColumns+` FROM (
			SELECT message_id, organisation_id, kind, medium, state, address, sender, invitation_id, NULL::bytea AS payload, attempts,
			       CASE WHEN state <> 'sending' THEN next_ts WHEN payload IS NULL THEN 0
			            ELSE greatest(next_ts, lease_ts, CASE medium WHEN 'msisdn' THEN sending_ts + $9 END) END AS next_ts, expires_ts,
			       lease, reference, problem, cost, created_ts, sent_ts, done_ts
			FROM outbox
			WHERE organisation_id = $1 AND ($2 = 0 OR message_id < $2) AND ($3 = '' OR state = $3) AND ($4 = '' OR medium = $4) AND ($5 = '' OR kind = $5)
			  AND ($6 = '' OR invitation_id = $6) AND ($7 = '' OR sender = $7)
			ORDER BY message_id DESC LIMIT $8) o ORDER BY message_id DESC`,
		f.OrganisationID, f.Before, f.State, f.Medium, f.Kind, f.InvitationID, f.Sender, limit, f.Window)
	return scanAll(rows, err, scanOutbox)
}

// ListSpending returns what an organisation has spent on its last days, the newest first.
func (s *Store) ListSpending(ctx context.Context, organisation int64, days int) ([]Spending, error) {
	rows, err := s.query(ctx, `
		SELECT to_char(day, 'YYYY-MM-DD'), medium, messages, cost FROM outbox_spending WHERE organisation_id = $1
		ORDER BY day DESC, medium LIMIT $2`, organisation, 2*days)
	return scanAll(rows, err, func(rows *sql.Rows) (Spending, error) {
		var s Spending
		err := rows.Scan(&s.Day, &s.Medium, &s.Messages, &s.Cost)
		return s, err
	})
}

// OutboxPause says whether an organisation's invitations by short message have stopped.
type OutboxPause struct {
	// PausedTS is 0 while they go on, ResumedTS when an administrator let them go on last.
	PausedTS, ResumedTS matrix.Timestamp
}

// GetOutboxPause returns whether an organisation's sending has stopped.
func (tx *Tx) GetOutboxPause(ctx context.Context, organisation int64) (OutboxPause, error) {
	return getOutboxPause(ctx, tx, organisation)
}

// GetOutboxPause returns whether an organisation's sending has stopped.
func (s *Store) GetOutboxPause(ctx context.Context, organisation int64) (OutboxPause, error) {
	return getOutboxPause(ctx, s, organisation)
}

func getOutboxPause(ctx context.Context, q querier, organisation int64) (OutboxPause, error) {
	var p OutboxPause
	err := q.queryRow(ctx, `SELECT coalesce(paused_ts, 0), resumed_ts FROM outbox_pauses WHERE organisation_id = $1`, organisation).Scan(&p.PausedTS, &p.ResumedTS)
	if err == ErrNotFound {
		err = nil
	}
	return p, err
}

// PauseOutbox stops an organisation's invitations by short message. It reports false when they have stopped already.
func (tx *Tx) PauseOutbox(ctx context.Context, organisation int64, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO outbox_pauses AS p (organisation_id, paused_ts) VALUES ($1, $2)
		ON CONFLICT (organisation_id) DO UPDATE SET paused_ts = excluded.paused_ts WHERE p.paused_ts IS NULL`, organisation, int64(now))
	return n > 0, err
}

// ResumeOutbox lets them go on. It reports false when they had not stopped.
func (tx *Tx) ResumeOutbox(ctx context.Context, organisation int64, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE outbox_pauses SET paused_ts = NULL, resumed_ts = $2 WHERE organisation_id = $1 AND paused_ts IS NOT NULL`, organisation, int64(now))
	return n > 0, err
}

// CountRedeemed returns how many of the last short messages with invitations that were sent between two times were redeemed.
func (tx *Tx) CountRedeemed(ctx context.Context, organisation int64, after, before matrix.Timestamp, last int) (sent, redeemed int, err error) {
	err = tx.queryRow(ctx, `
		SELECT count(*), count(i.redeemed_ts) FROM (
			SELECT invitation_id FROM outbox
			WHERE organisation_id = $1 AND medium = 'msisdn' AND kind = 'invitation' AND state IN ('sending', 'sent', 'delivered')
			  AND created_ts > $2 AND created_ts <= $3 ORDER BY created_ts DESC LIMIT $4) m
		LEFT JOIN invitations i USING (invitation_id)`, organisation, int64(after), int64(before), last).Scan(&sent, &redeemed)
	return sent, redeemed, err
}

// IsRefused reports whether an address wants nothing any more.
func (tx *Tx) IsRefused(ctx context.Context, addressHash []byte) (bool, error) {
	var refused bool
	err := tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM outbox_refusals WHERE address_hash = $1)`, addressHash).Scan(&refused)
	return refused, err
}

// InsertRefusal notes that an address wants nothing any more.
func (s *Store) InsertRefusal(ctx context.Context, addressHash []byte, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `INSERT INTO outbox_refusals (address_hash, created_ts) VALUES ($1, $2) ON CONFLICT DO NOTHING`, addressHash, int64(now))
	return err
}

// DeleteRefusal lets an address be written to again. It reports false when it could be.
func (s *Store) DeleteRefusal(ctx context.Context, addressHash []byte) (bool, error) {
	n, err := s.execOnce(ctx, `DELETE FROM outbox_refusals WHERE address_hash = $1`, addressHash)
	return n > 0, err
}

// DeleteOutboxBefore forgets messages that were over before ts, at most limit.
func (s *Store) DeleteOutboxBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM outbox WHERE ctid = ANY (ARRAY (SELECT ctid FROM outbox WHERE done_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// DeleteSpendingBefore forgets what was spent before the day of ts, at most limit.
func (s *Store) DeleteSpendingBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM outbox_spending WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM outbox_spending WHERE day < (to_timestamp($1::bigint / 1000.0) AT TIME ZONE 'UTC')::date LIMIT $2))`, int64(ts), limit)
}
