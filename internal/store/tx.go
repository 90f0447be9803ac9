package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/lib/pq"
)

// Tx is a transaction.
type Tx struct {
	tx *sql.Tx
	// store has the statements that are planned once.
	store *Store
}

// querier is what a Store and a Tx have in common, so that a statement is written once for both.
type querier interface {
	exec(ctx context.Context, query string, args ...any) (int64, error)
	query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	queryRow(ctx context.Context, query string, args ...any) row
}

// row is a result of one row, whose Scan says ErrNotFound when there is none.
type row struct {
	row *sql.Row
}

// Scan copies the columns into dest.
func (r row) Scan(dest ...any) error {
	err := r.row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return wrap(err)
}

func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return affected(s.db.ExecContext(ctx, query, args...))
}

// execOnce is exec for a statement that must not run twice: see the package comment.
func (s *Store) execOnce(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		n, err = tx.exec(ctx, query, args...)
		return err
	})
	return n, err
}

// scanOnce scans the row of a lone statement that must not run twice. It is one round trip where execOnce takes three, for what is done again and again
// by the server itself: a connection of the pool that has died since it was last used is an error here.
func scanOnce[T any](ctx context.Context, s *Store, scan func(scan func(...any) error) (T, error), query string, args ...any) (result T, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return result, wrap(err)
	}
	defer conn.Close()
	return scan(row{conn.QueryRowContext(ctx, query, args...)}.Scan)
}

func (s *Store) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	return rows, wrap(err)
}

// ask is query for a statement that has been prepared.
func ask(ctx context.Context, statement *sql.Stmt, args ...any) (*sql.Rows, error) {
	rows, err := statement.QueryContext(ctx, args...)
	return rows, wrap(err)
}

func (s *Store) queryRow(ctx context.Context, query string, args ...any) row {
	return row{s.db.QueryRowContext(ctx, query, args...)}
}

func (tx *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return affected(tx.tx.ExecContext(ctx, query, args...))
}

func (tx *Tx) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := tx.tx.QueryContext(ctx, query, args...)
	return rows, wrap(err)
}

func (tx *Tx) queryRow(ctx context.Context, query string, args ...any) row {
	return row{tx.tx.QueryRowContext(ctx, query, args...)}
}

func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, wrap(err)
	}
	n, err := result.RowsAffected()
	return n, wrap(err)
}

// scanAll reads every row with scan and closes rows.
func scanAll[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, wrap(err)
		}
		all = append(all, one)
	}
	return all, wrap(rows.Err())
}

// Read runs f in a read-only transaction that sees one moment of the database.
func (s *Store) Read(ctx context.Context, f func(tx *Tx) error) error {
	return s.run(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, f)
}

// maxWriteAttempts bounds how often Write runs its function.
const maxWriteAttempts = 8

// Write runs f in a transaction and commits it. f may run several times: a serialisation failure or a deadlock is tried again.
func (s *Store) Write(ctx context.Context, f func(tx *Tx) error) error {
	return retried(ctx, func() error { return s.run(ctx, &sql.TxOptions{}, f) })
}

// retried runs f, and again after a serialisation failure or a deadlock.
func retried(ctx context.Context, f func() error) error {
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || attempt == maxWriteAttempts || !IsConflict(err) {
			return err
		}
		select {
		case <-time.After(time.Duration(attempt) * 5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) run(ctx context.Context, opts *sql.TxOptions, f func(tx *Tx) error) error {
	tx, err := s.db.BeginTx(ctx, opts)
	if err != nil {
		return wrap(err)
	}
	if err := f(&Tx{tx: tx, store: s}); err != nil {
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) {
			return errors.Join(err, wrap(rollback))
		}
		return err
	}
	return wrap(tx.Commit())
}

// unavailable is an error of the connection to the database rather than of a statement: the same request may succeed later.
type unavailable struct {
	err error
}

func (u *unavailable) Error() string     { return "the database is not available: " + u.err.Error() }
func (u *unavailable) Unwrap() error     { return u.err }
func (u *unavailable) Unavailable() bool { return true }

// IsUnavailable reports whether err says that the database could not be reached, so that nothing is known of the statement.
func IsUnavailable(err error) bool {
	var u *unavailable
	return errors.As(err, &u)
}

// wrap marks errors of the connection.
func wrap(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || IsUnavailable(err) {
		return err
	}
	var netErr net.Error
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) || errors.As(err, &netErr) {
		return &unavailable{err}
	}
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		switch {
		case pqErr.Code.Class() == "08", // connection exception
			pqErr.Code.Class() == "53", // out of connections, memory, disk
			pqErr.Code == "57P01", pqErr.Code == "57P02", pqErr.Code == "57P03", pqErr.Code == "57P05",
			pqErr.Code == "25006", // read-only: a standby
			pqErr.Code == "55P03", // lock timeout
			pqErr.Code == "58030": // I/O error
			return &unavailable{err}
		}
	}
	return err
}

// IsConflict reports whether err is a serialisation failure or a deadlock: the same transaction may succeed when tried again.
func IsConflict(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && (pqErr.Code == "40001" || pqErr.Code == "40P01")
}

// IsUniqueViolation reports whether err is a duplicate key.
func IsUniqueViolation(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && pqErr.Code == "23505"
}

// withParameters adds what every connection of ours needs: one round trip a statement, and an end to waiting for a server
// that is not there. dsn is a URL or key=value pairs.
func withParameters(dsn string) (string, error) {
	const binary = "binary_parameters" // arrays.go needs it
	defaults := [][2]string{
		{"connect_timeout", "5"},
		{"application_name", "roomline"},
		{"statement_timeout", "60000"},
	}
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		for _, d := range defaults {
			if !strings.Contains(dsn, d[0]+"=") {
				dsn += fmt.Sprintf(" %s=%s", d[0], d[1])
			}
		}
		return dsn + " " + binary + "=yes", nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		// The text of the error would show the password.
		return "", errors.New("not a valid postgres:// URL")
	}
	q := u.Query()
	q.Set(binary, "yes")
	for _, d := range defaults {
		if !q.Has(d[0]) {
			q.Set(d[0], d[1])
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// withParameter sets a parameter of a connection string that withParameters has made.
func withParameter(dsn, name, value string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " " + name + "=" + value, nil // the last one counts
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("not a valid postgres:// URL")
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String(), nil
}
