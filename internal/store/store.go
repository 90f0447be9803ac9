// Package store is all SQL of Roomline: the PostgreSQL schema (migrations, readable in schema.sql) and one file per table
// family with the statements that read and write it.
//
// Single reads are methods of Store. What has to happen together happens in a function handed to Read or Write, whose Tx has
// the methods that write. The one exception is the journal's batch (journal.go): events and updates are stored by one SQL
// function in one round trip, because every commit of the server goes through it.
//
// A statement outside a transaction may run twice: when a connection ends after the statement was sent, database/sql sends it again on
// another one, and nobody knows whether only the answer was lost. So a lone statement (exec, query and queryRow of a Store) has to
// come to the same when it runs twice, with its result: ON CONFLICT DO NOTHING, an UPDATE to a value, a DELETE whose count nobody
// asks for. What says whether it was this call that did something, what counts up, and what would be there twice uses
// execOnce, scanOnce or Write. In a transaction nothing is sent again; the caller is told that the database was not available.
//
// Positions are given out by the clock row inside the transaction that stores what they stand for. No other code may take
// one, and nothing that a client can learn through sync is stored without one.
//
// The wall between organisations stands here a second time, for the day on which a handler forgets to look (migrations/0026_wall.sql): keys
// carry the organisation's number, so that no row refers to one of another organisation; a trigger lets nobody become a member of another
// organisation's room without an invite; and what shows a room to people who are not in it (aliases, history that the world may read) asks
// is_inside and may_know_room in the statement itself. Why not row-level security: a policy would have to be told on each connection of the
// pool who asks, which is a round trip more for every statement, breaks behind a pooler that shares sessions, and does not hold
// for what processes keep in memory, as the journal's ring and the heads of rooms, through which most reads go. Keys and the trigger cost
// something only where members and accounts change; sending a message does not meet them.
//
// Start reading at migrations/0001_initial.sql, then journal.go, then events.go.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// ErrNotFound says that the row asked for does not exist.
var ErrNotFound = errors.New("store: not found")

// Store is the database. It is safe for concurrent use.
type Store struct {
	db     *sql.DB
	dsn    string
	leases leases
	// The statements that are asked most are planned once for each connection: that takes longer than answering them. Those that read many
	// events are, too: the driver is sent the bytes of a prepared statement's results as they are, and those of others in hexadecimal.
	getMedia, listEvents, listEventsBack, listVisibility, listWindows, listStateAt, listPreviousStates *sql.Stmt
	getRTCFacts, takeRTCFacts, putRTCParticipants                                                      *sql.Stmt
	listStateWindows                                                                                   map[stateWindows]*sql.Stmt
}

// Options of a Store. The zero value is right for production.
type Options struct {
	// MaxConns bounds the connections of this process, 16 if zero. The journal takes two more for itself, and leases one.
	MaxConns int
	// AllowUnsafeSettings lets Open accept fsync=off and full_page_writes=off. Tests only: with them an acknowledged
	// event may be lost.
	AllowUnsafeSettings bool
	// ServerName is checked against the one that the deployment's other processes run with, unless empty.
	ServerName string
}

// Open connects to the database at dsn, refuses a server whose settings could lose acknowledged writes or a schema that is
// newer than this program, and brings an older schema up to date. Processes may open the same database at the same time.
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	dsn, err := withParameters(dsn)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	connector, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	connector.Dialer(dialer{patience: longestAnswer})
	db := sql.OpenDB(connector)
	max := opts.MaxConns
	if max == 0 {
		max = 16
	}
	db.SetMaxOpenConns(max)
	db.SetMaxIdleConns(max)
	db.SetConnMaxIdleTime(5 * time.Minute)
	s := &Store{db: db, dsn: dsn, leases: leases{db: sql.OpenDB(connector)}}
	if err := s.prepare(ctx, opts); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context, opts Options) error {
	if err := s.checkSettings(ctx, opts); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.prepareStatements(ctx); err != nil {
		return fmt.Errorf("prepare a statement: %w", wrap(err))
	}
	if opts.ServerName == "" {
		return nil
	}
	return s.claimServerName(ctx, opts.ServerName)
}

func (s *Store) prepareStatements(ctx context.Context) (err error) {
	for statement, query := range map[**sql.Stmt]string{
		&s.getMedia: getMedia, &s.listEvents: listEvents, &s.listEventsBack: listEventsBack, &s.listVisibility: listVisibility,
		&s.listWindows: listWindows, &s.listStateAt: listStateAt, &s.listPreviousStates: listPreviousStates,
		&s.getRTCFacts: getRTCFacts, &s.takeRTCFacts: takeRTCFacts, &s.putRTCParticipants: putRTCParticipants,
	} {
		if *statement, err = s.db.PrepareContext(ctx, query); err != nil {
			return err
		}
	}
	s.listStateWindows = make(map[stateWindows]*sql.Stmt)
	for _, w := range []stateWindows{{}, {whole: true}, {notMembers: true}, {whole: true, notMembers: true}} {
		if s.listStateWindows[w], err = s.db.PrepareContext(ctx, w.query()); err != nil {
			return err
		}
	}
	return nil
}

// Close closes all connections.
func (s *Store) Close() error { return errors.Join(s.leases.close(), s.db.Close()) }

// DSN is the connection string with the parameters that the store needs, for connections outside the pool.
func (s *Store) DSN() string { return s.dsn }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return wrap(s.db.PingContext(ctx))
}

func (s *Store) checkSettings(ctx context.Context, opts Options) error {
	var fsync, fullPageWrites, synchronousCommit, encoding string
	err := s.queryRow(ctx, `
		SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
		       current_setting('server_encoding')`).
		Scan(&fsync, &fullPageWrites, &synchronousCommit, &encoding)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s; create it with ENCODING 'UTF8'", encoding)
	}
	if opts.AllowUnsafeSettings {
		return nil
	}
	for name, value := range map[string]string{"fsync": fsync, "full_page_writes": fullPageWrites, "synchronous_commit": synchronousCommit} {
		if value == "off" {
			return fmt.Errorf("PostgreSQL runs with %s=off, which loses acknowledged messages when the machine stops; set it to on", name)
		}
	}
	return nil
}

// migrationPatience is how long a statement of a migration may take: some read whole tables.
const migrationPatience = 24 * time.Hour

// migrations are run on connections of their own, which have the patience for it.
func (s *Store) migrations() (*sql.DB, *goose.Provider, error) {
	dsn, err := withParameter(s.dsn, "statement_timeout", fmt.Sprint(migrationPatience.Milliseconds()))
	if err != nil {
		return nil, nil, err
	}
	connector, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, nil, err
	}
	connector.Dialer(dialer{patience: migrationPatience})
	db := sql.OpenDB(connector)
	provider, err := newProvider(db)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, provider, nil
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
}

func (s *Store) migrate(ctx context.Context) error {
	db, provider, err := s.migrations()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	defer db.Close()
	// The common start finds a finished schema, and need not wait for the lock of the migrations.
	var current sql.NullInt64
	err = s.queryRow(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&current)
	var missing *pq.Error
	if err != nil && !(errors.As(err, &missing) && missing.Code == "42P01") {
		return fmt.Errorf("read schema version: %w", err)
	}
	sources := provider.ListSources()
	newest := sources[len(sources)-1].Version
	if current.Valid && current.Int64 > newest {
		return fmt.Errorf("the database's schema has version %d, this program knows versions up to %d; run a newer roomline", current.Int64, newest)
	}
	if current.Valid && current.Int64 == newest {
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// claimServerName makes serverName the deployment's, or refuses when it already has another one.
func (s *Store) claimServerName(ctx context.Context, serverName string) error {
	if _, err := s.exec(ctx, `INSERT INTO deployment (server_name) VALUES ($1) ON CONFLICT DO NOTHING`, serverName); err != nil {
		return fmt.Errorf("claim the server name: %w", err)
	}
	var have string
	if err := s.queryRow(ctx, `SELECT server_name FROM deployment`).Scan(&have); err != nil {
		return fmt.Errorf("read the server name: %w", err)
	}
	if have != serverName {
		return fmt.Errorf("this database belongs to the server name %q; this process is configured with %q", have, serverName)
	}
	return nil
}
