package store

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

// Lease is the right to be the only process that does a named piece of work, for as long as its connection lives.
type Lease struct {
	name string
	mu   sync.Mutex // the connection does one thing at a time
	conn *sql.Conn
}

// TryLease takes the lease called name; ok is false while another process holds it.
func (s *Store) TryLease(ctx context.Context, name string) (lease *Lease, ok bool, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, false, wrap(err)
	}
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, leaseKey(name)).Scan(&ok); err != nil || !ok {
		conn.Close()
		return nil, false, wrap(err)
	}
	return &Lease{conn: conn, name: name}, true, nil
}

// leaseKey is the advisory lock that stands for name.
func leaseKey(name string) int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "roomline lease %s", name)
	return int64(h.Sum64())
}

// Release gives the lease to whoever wants it next.
func (l *Lease) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := l.conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, leaseKey(l.name)); err != nil {
		// A connection that still held the lock must not go back to the pool.
		l.conn.Raw(func(any) error { return sql.ErrConnDone })
	}
	l.conn.Close()
}

// Check fails when the lease's connection is gone, and the lease with it.
func (l *Lease) Check(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.conn.ExecContext(ctx, `SELECT 1`)
	return wrap(err)
}

// Position returns how far the follower has come; a new follower begins at start.
func (l *Lease) Position(ctx context.Context, start int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.conn.ExecContext(ctx, `INSERT INTO followers (name, position) VALUES ($1, $2) ON CONFLICT DO NOTHING`, l.name, start); err != nil {
		return 0, wrap(err)
	}
	var p int64
	err := l.conn.QueryRowContext(ctx, `SELECT position FROM followers WHERE name = $1`, l.name).Scan(&p)
	return p, wrap(err)
}

// GetFollowerPosition returns how far a follower has come; 0 if it has never run.
func (s *Store) GetFollowerPosition(ctx context.Context, name string) (int64, error) {
	var p int64
	err := s.queryRow(ctx, `SELECT coalesce((SELECT position FROM followers WHERE name = $1), 0)`, name).Scan(&p)
	return p, err
}

// PutPosition saves how far the follower has come. It runs on the lease's own connection: who has lost the lease can't save. The disk
// is not waited for: a position that a crash of the database loses means work that is done again.
func (l *Lease) PutPosition(ctx context.Context, position int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.conn.ExecContext(ctx, `
		WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
		UPDATE followers SET position = $2 FROM quick WHERE name = $1`, l.name, position)
	return wrap(err)
}

// processGone is after how long without a sign of life a process counts as gone.
const processGone = "15 seconds"

// PutProcess is the sign of life of a process; others is how many more are alive.
func (s *Store) PutProcess(ctx context.Context, id, serverName string) (others int, err error) {
	err = s.queryRow(ctx, `
		WITH mine AS (
			INSERT INTO processes (process_id, server_name) VALUES ($1::uuid, $2)
			ON CONFLICT (process_id) DO UPDATE SET seen_at = now()
		)
		SELECT count(*) FROM processes WHERE process_id <> $1::uuid AND seen_at > now() - $3::interval`,
		id, serverName, processGone).Scan(&others)
	return others, err
}

// DeleteProcess removes a process that stops, and those that are long gone.
func (s *Store) DeleteProcess(ctx context.Context, id string) error {
	_, err := s.exec(ctx, `DELETE FROM processes WHERE process_id = $1::uuid OR seen_at < now() - interval '1 day'`, id)
	return err
}
