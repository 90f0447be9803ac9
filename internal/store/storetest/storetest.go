// Package storetest gives each test a database of its own on a real PostgreSQL.
//
// The server is the one that ROOMLINE_TEST_DATABASE_URL names (make test starts one for all packages), or else a private
// cluster of this test binary, which disappears with it. Either runs without fsync, which only tests may.
//
// A test's database is a copy of a migrated template, made once for each schema (SchemaHash) and shared by all test binaries
// on the server. It is dropped when the test ends.
//
// Start reading at New.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/pgcluster"
	"github.com/roomline/roomline/internal/store"
)

// Env names the variable with the URL of a PostgreSQL server for tests. Its user must be allowed to make databases.
const Env = "ROOMLINE_TEST_DATABASE_URL"

// New returns a Store on a fresh, migrated database of its own. Both end with the test.
func New(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, DSN(t))
}

// Open returns another Store on the database at dsn, as a second process would have it. It ends with the test.
func Open(t testing.TB, dsn string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, store.Options{MaxConns: 8, AllowUnsafeSettings: true})
	if err != nil {
		t.Fatalf("open the test database: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// DSN returns the connection string of a fresh, migrated database, dropped when the test ends.
func DSN(t testing.TB) string {
	t.Helper()
	s := theServer(t)
	s.once.Do(func() { s.template, s.templateErr = s.makeTemplate() })
	if s.templateErr != nil {
		t.Fatalf("make the template of test databases: %v", s.templateErr)
	}
	return s.create(t, s.template)
}

// EmptyDSN returns the connection string of a fresh database without any schema, dropped when the test ends.
func EmptyDSN(t testing.TB) string {
	t.Helper()
	return theServer(t).create(t, "template0")
}

// server is the PostgreSQL server that this test binary uses.
type server struct {
	url   *url.URL
	admin *sql.DB
	// strategy has a database's files copied: that is less work than to copy it page by page, which is the default.
	strategy string

	once        sync.Once
	template    string
	templateErr error
}

var shared = sync.OnceValues(connect)

func theServer(t testing.TB) *server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	return s
}

// allowUnsafe is the variable that lets a server process run without fsync; processes that a test starts inherit it.
const allowUnsafe = "ROOMLINE_ALLOW_UNSAFE_DATABASE"

func connect() (*server, error) {
	if err := os.Setenv(allowUnsafe, "1"); err != nil {
		return nil, err
	}
	dsn := os.Getenv(Env)
	if dsn == "" {
		var err error
		if dsn, err = startCluster(); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return nil, errors.New(Env + " is not a postgres:// URL")
	}
	admin, err := sql.Open("postgres", u.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Env, err)
	}
	admin.SetMaxOpenConns(2)
	s := &server{url: u, admin: admin}
	var version int
	if err := admin.QueryRow(`SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if version >= 150000 { // before that there is no other way
		s.strategy = ` STRATEGY file_copy`
	}
	return s, nil
}

// startCluster starts a private cluster that lives as long as this test binary.
func startCluster() (string, error) {
	dir, err := os.MkdirTemp("", "roomline-storetest-")
	if err != nil {
		return "", err
	}
	// A test binary has no last moment in which it could tidy up. The kernel stops PostgreSQL when we end, and a shell
	// that waits for us removes the directory.
	sweep := exec.Command("/bin/sh", "-c", `cat; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$0"; sleep 0.3; [ -e "$0" ] || exit; done`, dir)
	if _, err := sweep.StdinPipe(); err != nil { // closed by the kernel when we end
		return "", err
	}
	if err := sweep.Start(); err != nil {
		return "", err
	}
	go sweep.Wait()
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", err
	}
	c, err := pgcluster.Start(context.Background(), pgcluster.Options{
		Dir:            dir,
		Log:            slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		MaxConnections: 500,
		UnsafeFast:     true,
	})
	if err != nil {
		return "", err
	}
	return c.DSN("postgres"), nil
}

func (s *server) dsn(database string) string {
	u := *s.url
	u.Path = "/" + database
	return u.String()
}

// makeTemplate returns the name of the migrated database, which it makes if no other test binary has made it before.
func (s *server) makeTemplate() (string, error) {
	hash, err := store.SchemaHash()
	if err != nil {
		return "", err
	}
	name := "roomline_template_" + hash
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	conn, err := s.admin.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(hashtextextended($1, 0))`, name); err != nil {
		return "", fmt.Errorf("lock %s: %w", name, err)
	}
	defer conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(hashtextextended($1, 0))`, name)
	var exists bool
	if err := conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&exists); err != nil {
		return "", err
	}
	if exists {
		return name, nil
	}
	unfinished := pq.QuoteIdentifier(name + "_new")
	for _, statement := range []string{`DROP DATABASE IF EXISTS ` + unfinished + ` WITH (FORCE)`, `CREATE DATABASE ` + unfinished + ` TEMPLATE template0`} {
		if err := retryWhileInUse(ctx, conn, statement); err != nil {
			return "", fmt.Errorf("%s: %w", statement, err)
		}
	}
	migrated, err := store.Open(ctx, s.dsn(name+"_new"), store.Options{AllowUnsafeSettings: true})
	if err != nil {
		return "", err
	}
	if err := migrated.Close(); err != nil {
		return "", err
	}
	// The name is given last: who sees it sees a whole template.
	return name, retryWhileInUse(ctx, conn, `ALTER DATABASE `+unfinished+` RENAME TO `+pq.QuoteIdentifier(name))
}

// retryWhileInUse repeats a statement that PostgreSQL refuses while a session on the database has not quite ended. Even one that ends them all
// gives them a few seconds only, which a busy machine may not have.
func retryWhileInUse(ctx context.Context, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statement string) error {
	for {
		_, err := db.ExecContext(ctx, statement)
		inUse, ok := errors.AsType[*pq.Error](err)
		if !ok || inUse.Code != "55006" || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// create makes a database as a copy of template and drops it when the test ends.
func (s *server) create(t testing.TB, template string) string {
	t.Helper()
	name := "roomline_test_" + strings.ToLower(rand.Text())
	if _, err := s.admin.ExecContext(t.Context(), `CREATE DATABASE `+pq.QuoteIdentifier(name)+` TEMPLATE `+pq.QuoteIdentifier(template)+s.strategy); err != nil {
		t.Fatalf("make a test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := retryWhileInUse(ctx, s.admin, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	return s.dsn(name)
}

// DB opens a database for a test that looks at its rows, or changes them behind the server's back, and closes it with the test.
func DB(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
