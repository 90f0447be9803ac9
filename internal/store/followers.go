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
	db      *sql.DB
	mu      sync.Mutex // the connection does one thing at a time
	session *session   // nil before the first lease, and when the connection was lost
}

// session is a connection and the leases that it holds.
type session struct {
	conn *sql.Conn
	held map[string]*Lease
	// answered is when the database last did something on the connection. lost is closed when the connection is given up.
	answered time.Time
	lost     chan struct{}
}

// Lease is the right to be the only process that does a named piece of work, for as long as the process's session lives.
type Lease struct {
	name    string
	of      *leases
	session *session
}

// ErrLeaseLost says that the session was lost.
var ErrLeaseLost error = &unavailable{errors.New("the session that held the lease was lost")}

// TryLease takes the lease called name; ok is false while somebody holds it, in this process or in another one.
func (s *Store) TryLease(ctx context.Context, name string) (lease *Lease, ok bool, err error) {
	l := &s.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		conn, err := l.db.Conn(ctx)
		if err != nil {
			return nil, false, wrap(err)
		}
		l.session = &session{conn: conn, held: make(map[string]*Lease), lost: make(chan struct{})}
		go l.watch(l.session)
	}
	if l.session.held[name] != nil {
		return nil, false, nil
	}
	lease = &Lease{name: name, of: l, session: l.session}
	err = l.run(ctx, func(ctx context.Context, conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, leaseKey(name)).Scan(&ok)
	})
	if err != nil || !ok {
		return nil, false, err
	}
	lease.session.held[name] = lease
	return lease, true, nil
}

const (
	// leasePatience bounds what is done on the leases' connection: they all wait for it.
	leasePatience = 10 * time.Second
	// leaseCheck is how often the session is asked whether it lives.
	leaseCheck = 2 * time.Second
)

// watch asks for all who hold leases of a session, until it is given up.
func (l *leases) watch(s *session) {
	tick := time.NewTicker(leaseCheck)
	defer tick.Stop()
	for {
		select {
		case <-s.lost:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		if l.session == s {
			// If it fails, the session is given up, and who has a lease of it is told.
			_ = l.run(context.Background(), isThere)
		}
		l.mu.Unlock()
	}
}

func isThere(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT 1`)
	return err
}

// run does something on the connection, and gives the connection up with all leases if it fails. It is not cancelled with ctx, which would
// close the connection that others' leases need, but ends at ctx's deadline.
func (l *leases) run(ctx context.Context, f func(context.Context, *sql.Conn) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	until := time.Now().Add(leasePatience)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	bounded, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	err := f(bounded, l.session.conn)
	if err != nil {
		l.lose()
		return wrap(err)
	}
	l.session.answered = time.Now()
	return nil
}

// lose ends the session. The database frees its locks.
func (l *leases) lose() {
	if l.session == nil {
		return
	}
	// A connection that still held a lock must not be used again.
	l.session.conn.Raw(func(any) error { return driver.ErrBadConn })
	l.session.conn.Close()
	close(l.session.lost)
	l.session = nil
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
	if !l.stands() {
		return ErrLeaseLost
	}
	return l.of.run(ctx, f)
}

func (l *Lease) stands() bool { return l.of.session == l.session && l.session.held[l.name] == l }

// Release gives the lease to whoever wants it next.
func (l *Lease) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	// If it fails, the session is given up, and the lease with it.
	_ = l.run(ctx, func(ctx context.Context, conn *sql.Conn) error {
		delete(l.session.held, l.name)
		_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, leaseKey(l.name))
		return err
	})
}

// Lost is closed when the session is known to be gone, and the lease with it: leaseCheck after it went at the latest.
func (l *Lease) Lost() <-chan struct{} { return l.session.lost }

// Check fails when the lease is lost. What the session said a moment ago is believed; a process that was stopped for longer asks.
func (l *Lease) Check(ctx context.Context) error {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !l.stands():
		return ErrLeaseLost
	case time.Since(l.session.answered) < 2*leaseCheck:
		return nil
	}
	return l.of.run(ctx, isThere)
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
