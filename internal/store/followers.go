package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

// leases are those that this process holds, as advisory locks of one session. Why one for all: a session that only holds a lock is a
// connection that nobody else can use. Why beside the pool: the server would stand still when there are as many leases as connections.
type leases struct {
	db   *sql.DB
	mu   sync.Mutex // the connection does one thing at a time
	conn *sql.Conn  // nil before the first lease, and when the connection was lost
	held map[string]*Lease
}

// Lease is the right to be the only process that does a named piece of work, for as long as the process's session lives.
type Lease struct {
	name string
	of   *leases
}

// errLeaseLost says that the session was lost.
var errLeaseLost = &unavailable{errors.New("the session that held the lease was lost")}

// TryLease takes the lease called name; ok is false while somebody holds it, in this process or in another one.
func (s *Store) TryLease(ctx context.Context, name string) (lease *Lease, ok bool, err error) {
	l := &s.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] != nil {
		return nil, false, nil
	}
	if l.conn == nil {
		if l.conn, err = l.db.Conn(ctx); err != nil {
			return nil, false, wrap(err)
		}
		l.held = make(map[string]*Lease)
	}
	err = l.run(ctx, func(ctx context.Context) error {
		return l.conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, leaseKey(name)).Scan(&ok)
	})
	if err != nil || !ok {
		return nil, false, err
	}
	lease = &Lease{name: name, of: l}
	l.held[name] = lease
	return lease, true, nil
}

// leasePatience bounds what is done on the leases' connection: they all wait for it.
const leasePatience = 10 * time.Second

// run does something on the connection, and gives the connection up with all leases if it fails. It is not cancelled with ctx, which would
// close the connection that others' leases need, but ends at ctx's deadline.
func (l *leases) run(ctx context.Context, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	until := time.Now().Add(leasePatience)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	bounded, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	err := f(bounded)
	if err != nil {
		l.lose()
	}
	return wrap(err)
}

// lose ends the session. The database frees its locks.
func (l *leases) lose() {
	if l.conn != nil {
		// A connection that still held a lock must not be used again.
		l.conn.Raw(func(any) error { return driver.ErrBadConn })
		l.conn.Close()
	}
	l.conn, l.held = nil, nil
}

func (l *leases) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose()
	return l.db.Close()
}

// leaseKey is the advisory lock that stands for name.
func leaseKey(name string) int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "roomline lease %s", name)
	return int64(h.Sum64())
}

// run does something on the connection that holds the lease.
func (l *Lease) run(ctx context.Context, f func(context.Context, *sql.Conn) error) error {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.of.held[l.name] != l {
		return errLeaseLost
	}
	return l.of.run(ctx, func(ctx context.Context) error { return f(ctx, l.of.conn) })
}

// Release gives the lease to whoever wants it next.
func (l *Lease) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	// If it fails, the session is given up, and the lease with it.
	_ = l.run(ctx, func(ctx context.Context, conn *sql.Conn) error {
		delete(l.of.held, l.name)
		_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, leaseKey(l.name))
		return err
	})
}

// Check fails when the session is gone, and the lease with it.
func (l *Lease) Check(ctx context.Context) error {
	return l.run(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, `SELECT 1`)
		return err
	})
}

// Position returns how far the follower has come; a new follower begins at start.
func (l *Lease) Position(ctx context.Context, start int64) (position int64, err error) {
	err = l.run(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, `INSERT INTO followers (name, position) VALUES ($1, $2) ON CONFLICT DO NOTHING`, l.name, start); err != nil {
			return err
		}
		return conn.QueryRowContext(ctx, `SELECT position FROM followers WHERE name = $1`, l.name).Scan(&position)
	})
	return position, err
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
	return l.run(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, `
			WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
			UPDATE followers SET position = $2 FROM quick WHERE name = $1`, l.name, position)
		return err
	})
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
