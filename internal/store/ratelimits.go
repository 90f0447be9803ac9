package store

import (
	"context"
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

// PutBackIntoBucket returns what a request has spent that turned out not to count.
func (s *Store) PutBackIntoBucket(ctx context.Context, b Bucket) error {
	_, err := s.exec(ctx, `UPDATE rate_limits SET busy_until = busy_until - $3 WHERE class = $1 AND key = $2`, b.Class, b.Key, b.Interval)
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
