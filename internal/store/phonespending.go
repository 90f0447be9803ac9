package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// PhoneSpending is what an organisation's calls out were on a day of UTC.
type PhoneSpending struct {
	Day     string // 2026-11-28
	Seconds int64
	// Cost is in millionths of the currency.
	Cost int64
}

// LockPhoneSpending returns what was spent on the day of ts, and keeps everybody else from spending more until the transaction ends.
func (tx *Tx) LockPhoneSpending(ctx context.Context, organisation int64, ts matrix.Timestamp) (PhoneSpending, error) {
	var p PhoneSpending
	err := tx.queryRow(ctx, `
		INSERT INTO phone_spending AS s (organisation_id, day) VALUES ($1, (to_timestamp($2::bigint / 1000.0) AT TIME ZONE 'UTC')::date)
		ON CONFLICT (organisation_id, day) DO UPDATE SET seconds = s.seconds
		RETURNING to_char(day, 'YYYY-MM-DD'), seconds, cost`, organisation, int64(ts)).Scan(&p.Day, &p.Seconds, &p.Cost)
	return p, err
}

// AddPhoneSpending adds to what was spent on the day of ts; less than nothing gives back.
func (tx *Tx) AddPhoneSpending(ctx context.Context, organisation int64, ts matrix.Timestamp, seconds, cost int64) error {
	_, err := tx.exec(ctx, `
		UPDATE phone_spending SET seconds = greatest(seconds + $3, 0), cost = greatest(cost + $4, 0)
		WHERE organisation_id = $1 AND day = (to_timestamp($2::bigint / 1000.0) AT TIME ZONE 'UTC')::date`, organisation, int64(ts), seconds, cost)
	return err
}

// ListPhoneSpending returns the last days on which something was spent, the newest first.
func (s *Store) ListPhoneSpending(ctx context.Context, organisation int64, limit int) ([]PhoneSpending, error) {
	rows, err := s.query(ctx, `
		SELECT to_char(day, 'YYYY-MM-DD'), seconds, cost FROM phone_spending WHERE organisation_id = $1 ORDER BY day DESC LIMIT $2`, organisation, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (p PhoneSpending, err error) {
		err = rows.Scan(&p.Day, &p.Seconds, &p.Cost)
		return p, err
	})
}

// PhoneCounts is what was called before, where it counts.
type PhoneCounts struct {
	// On and OnIn are the organisation's calls out and in that are on.
	On, OnIn int
	// Member counts what the member had called in the last hour, Number how often the number was called in the last day for anybody, Block the other numbers
	// that differ in the last three digits only in the last hour for the organisation.
	Member, Number, Block int
	// Same is whether the number is being called into the same room already.
	Same bool
}

// CountPhoneCalls counts for a call out that is to be stored. Nobody else stores one to the number before the transaction ends.
func (tx *Tx) CountPhoneCalls(ctx context.Context, c PhoneCall) (PhoneCounts, error) {
	var n PhoneCounts
	const hour = 3_600_000
	if _, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('phone number ' || $1, 0))`, c.Number); err != nil {
		return n, err
	}
	err := tx.queryRow(ctx, `
		SELECT (SELECT count(*) FROM phone_calls WHERE organisation_id = $1 AND direction = 'out' AND state IN `+callsOn+`),
		       (SELECT count(*) FROM phone_calls WHERE organisation_id = $1 AND direction = 'in' AND state IN `+callsOn+`),
		       (SELECT count(*) FROM phone_calls WHERE organisation_id = $1 AND direction = 'out' AND requested_by = $2 AND created_ts > $4::bigint - $5),
		       (SELECT count(*) FROM phone_calls WHERE direction = 'out' AND number = $3 AND created_ts > $4::bigint - 24 * $5),
		       (SELECT count(DISTINCT number) FROM phone_calls
		        WHERE direction = 'out' AND number >= $6 AND number < $6 || ':' AND length(number) = length($3) AND number <> $3
		          AND organisation_id = $1 AND created_ts > $4::bigint - $5),
		       EXISTS (SELECT FROM phone_calls WHERE room_nid = $7 AND direction = 'out' AND number = $3 AND state IN `+callsOn+`)`,
		c.OrganisationID, string(c.RequestedBy), c.Number, int64(c.CreatedTS), int64(hour), c.Number[:max(len(c.Number)-3, 0)], c.RoomNID).Scan(
		&n.On, &n.OnIn, &n.Member, &n.Number, &n.Block, &n.Same)
	return n, err
}

// CountPhoneCallsIn is how many calls into an organisation's meetings are on.
func (tx *Tx) CountPhoneCallsIn(ctx context.Context, organisation int64) (int, error) {
	var n int
	err := tx.queryRow(ctx, `SELECT count(*) FROM phone_calls WHERE organisation_id = $1 AND direction = 'in' AND state IN `+callsOn, organisation).Scan(&n)
	return n, err
}

// DeletePhoneSpendingBefore removes what was spent on days before, at most limit.
func (s *Store) DeletePhoneSpendingBefore(ctx context.Context, before matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM phone_spending WHERE (organisation_id, day) IN (
			SELECT organisation_id, day FROM phone_spending WHERE day < (to_timestamp($1::bigint / 1000.0) AT TIME ZONE 'UTC')::date LIMIT $2)`, int64(before), limit)
}
