package store_test

import (
	"context"
	"database/sql"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

var unsafe = store.Options{AllowUnsafeSettings: true}

// refused opens dsn, which has to fail with an error that says why.
func refused(t *testing.T, dsn string, opts store.Options, why string) {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, opts)
	if err == nil {
		s.Close()
		t.Fatalf("a database was opened that should be refused: %s", why)
	}
	if !strings.Contains(err.Error(), why) {
		t.Errorf("the error does not say %q: %v", why, err)
	}
}

func with(t *testing.T, dsn, name, value string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func exec(t *testing.T, dsn, statement string) {
	t.Helper()
	db := storetest.DB(t, dsn)
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// The cluster of the tests itself runs without fsync.
func TestOpenRefusesSettingsThatLoseMessages(t *testing.T) {
	t.Parallel()
	dsn := storetest.EmptyDSN(t)
	refused(t, dsn, store.Options{}, "=off")
	s, err := store.Open(t.Context(), dsn, unsafe)
	if err != nil {
		t.Fatalf("with the tests' option: %v", err)
	}
	s.Close()
	refused(t, with(t, dsn, "synchronous_commit", "off"), store.Options{}, "=off")
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	exec(t, dsn, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
	refused(t, dsn, unsafe, "9999")
}

func TestOpenRefusesAnotherServerName(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	opts := unsafe
	opts.ServerName = "one.example"
	for range 2 {
		s, err := store.Open(t.Context(), dsn, opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	opts.ServerName = "two.example"
	refused(t, dsn, opts, "one.example")
}

func TestOpenRefusesAnotherEncoding(t *testing.T) {
	t.Parallel()
	dsn := storetest.EmptyDSN(t)
	exec(t, dsn, `CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'`)
	t.Cleanup(func() {
		db, err := sql.Open("postgres", dsn)
		if err == nil {
			db.Exec(`DROP DATABASE latin WITH (FORCE)`)
			db.Close()
		}
	})
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/latin"
	refused(t, u.String(), unsafe, "LATIN1")
}

func TestOpenDoesNotShowThePassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://user:hunter2@127.0.0.1:1/none?sslmode=disable", "postgres://user:hunter2@host:port/x", "postgres://user:hunter2@%zz/x",
	} {
		s, err := store.Open(t.Context(), dsn, unsafe)
		if err == nil {
			s.Close()
			t.Fatal("opened")
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// Many processes start at once on an empty database.
func TestOpenMigratesOnce(t *testing.T) {
	t.Parallel()
	dsn := storetest.EmptyDSN(t)
	opts := unsafe
	opts.ServerName = "one.example"
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(context.Background(), dsn, opts)
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}

// TestMigrationsTakeAsLongAsTheyTake: what reads a large table takes longer than a statement of a request may.
func TestMigrationsTakeAsLongAsTheyTake(t *testing.T) {
	t.Parallel()
	dsn := load(t, "testdata/schema-1.sql")
	exec(t, dsn, `
		CREATE TABLE patience (timeout interval);
		CREATE FUNCTION note_patience() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO patience VALUES (current_setting('statement_timeout')::interval);
		END
		$$;
		CREATE EVENT TRIGGER patience ON ddl_command_start EXECUTE FUNCTION note_patience()`)
	s, err := store.Open(t.Context(), with(t, dsn, "statement_timeout", "20000"), unsafe)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var n, short int
	row := storetest.DB(t, dsn).QueryRow(`SELECT count(*), count(*) FILTER (WHERE timeout < interval '1 hour') FROM patience`)
	if err := row.Scan(&n, &short); err != nil || n == 0 || short > 0 {
		t.Errorf("%d of %d statements have less than an hour, or %v", short, n, err)
	}
}
