package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"
)

// Bucket is one rate limit, in microseconds. Interval is what one request costs; Capacity is how much may be spent ahead, that
// is Interval times the burst.
type Bucket struct {
	Class    string
	Key      []byte
	Interval int64
	Capacity int64
}

// TakeFromBucket spends one request at the moment now. When the bucket is empty nothing is spent and ok is false. busyUntil is
// when the bucket will be full again.
func (s *Store) TakeFromBucket(ctx context.Context, b Bucket, now int64) (busyUntil int64, ok bool, err error) {
	// A statement that runs twice (see the package comment) takes two requests, which errs on the safe side.
	//
	// Why: one statement, so that parallel requests on all processes queue up at the row's lock. A refused request
	// updates nothing, so its busy_until comes from the second branch.
	err = s.queryRow(ctx, `
		WITH taken AS (
			INSERT INTO rate_limits AS r (class, key, busy_until) VALUES ($1, $2, $3::bigint + $4::bigint)
			ON CONFLICT (class, key) DO UPDATE SET busy_until = greatest(r.busy_until, $3::bigint) + $4::bigint
			WHERE greatest(r.busy_until, $3::bigint) + $4::bigint <= $3::bigint + $5::bigint
			RETURNING busy_until
		)
		SELECT busy_until, true FROM taken
		UNION ALL
		SELECT busy_until, false FROM rate_limits WHERE class = $1 AND key = $2 AND NOT EXISTS (SELECT 1 FROM taken)`,
		b.Class, b.Key, now, b.Interval, b.Capacity).Scan(&busyUntil, &ok)
	return busyUntil, ok, err
}

// Debt is what was taken from a bucket before the row was asked, in microseconds: Amount, spent at From or later. It is negative
// when something is given back.
type Debt struct {
	Class  string
	Key    []byte
	Amount int64
	From   int64
}

// SettleBuckets takes debts from their buckets, whether there is enough in them or not, each bucket at most once. It returns when
// each bucket will be full again, or 0 where no row was written: that of a bucket that is full at the moment now with the debt and
// without it.
func (s *Store) SettleBuckets(ctx context.Context, debts []Debt, now int64) ([]int64, error) {
	classes, keys := make([]string, len(debts)), make([][]byte, len(debts))
	amounts, froms := make([]int64, len(debts)), make([]int64, len(debts))
	for i, d := range debts {
		classes[i], keys[i], amounts[i], froms[i] = d.Class, d.Key, d.Amount, d.From
	}
	busyUntil := make([]int64, len(debts))
	// The rows are locked in one order, so that two processes that settle the same buckets can't deadlock.
	err := s.Write(ctx, func(tx *Tx) error {
		rows, err := tx.query(ctx, `
			WITH debt AS MATERIALIZED (
				SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS d (class, key, amount, began, n)
			), written AS (
				INSERT INTO rate_limits AS r (class, key, busy_until)
				SELECT class, key, began + amount FROM debt d
				WHERE began + amount > $5::bigint
					OR EXISTS (SELECT 1 FROM rate_limits x WHERE x.class = d.class AND x.key = d.key AND x.busy_until > d.began)
				ORDER BY class, key
				ON CONFLICT (class, key) DO UPDATE SET busy_until =
					greatest(r.busy_until, (SELECT began FROM debt d WHERE d.class = r.class AND d.key = r.key))
					+ (SELECT amount FROM debt d WHERE d.class = r.class AND d.key = r.key)
				RETURNING r.class, r.key, r.busy_until
			)
			SELECT d.n, w.busy_until FROM written w JOIN debt d ON d.class = w.class AND d.key = w.key`,
			pq.Array(classes), pq.Array(keys), pq.Array(amounts), pq.Array(froms), now)
		_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
			var n, until int64
			err := rows.Scan(&n, &until)
			if err == nil {
				busyUntil[n-1] = until
			}
			return struct{}{}, err
		})
		return err
	})
	return busyUntil, err
}

// CountProcesses returns how many processes of the deployment are alive.
func (s *Store) CountProcesses(ctx context.Context) (int, error) {
	var n int
	err := s.queryRow(ctx, `SELECT count(*) FROM processes WHERE seen_at > now() - $1::interval`, processGone).Scan(&n)
	return n, err
}

// PutBackIntoBucket returns what a request has spent that turned out not to count.
func (s *Store) PutBackIntoBucket(ctx context.Context, b Bucket) error {
	_, err := s.execOnce(ctx, `UPDATE rate_limits SET busy_until = busy_until - $3 WHERE class = $1 AND key = $2`, b.Class, b.Key, b.Interval)
	return err
}

// DeleteBucket makes a bucket full.
func (s *Store) DeleteBucket(ctx context.Context, class string, key []byte) error {
	_, err := s.exec(ctx, `DELETE FROM rate_limits WHERE class = $1 AND key = $2`, class, key)
	return err
}

// DeleteFullBuckets forgets the buckets that are full at the moment now, at most limit, and returns how many.
func (s *Store) DeleteFullBuckets(ctx context.Context, now int64, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM rate_limits WHERE (class, key) IN (
			SELECT class, key FROM rate_limits WHERE busy_until <= $1 ORDER BY busy_until LIMIT $2 FOR UPDATE SKIP LOCKED
		)`, now, limit)
}
