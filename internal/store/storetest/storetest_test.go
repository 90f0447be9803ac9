package storetest

import (
	"database/sql"
	"testing"
)

func tables(t testing.TB, dsn string) (n int) {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(`SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEmptyDatabaseHasNoTables(t *testing.T) {
	t.Parallel()
	if n := tables(t, EmptyDSN(t)); n != 0 {
		t.Fatalf("%d tables", n)
	}
}

func TestTestsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	one, other := DSN(t), DSN(t)
	if n := tables(t, one); n == 0 {
		t.Fatal("the database is not migrated")
	}
	db, err := sql.Open("postgres", one)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE mine (n int)`); err != nil {
		t.Fatal(err)
	}
	if mine, theirs := tables(t, one), tables(t, other); mine != theirs+1 {
		t.Fatalf("%d tables here, %d there", mine, theirs)
	}
}

func TestDatabaseIsDroppedWithItsTest(t *testing.T) {
	var dsn string
	t.Run("inner", func(t *testing.T) { dsn = New(t).DSN() })
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Ping(); err == nil {
		t.Fatal("the database still exists")
	}
}

func BenchmarkNew(b *testing.B) {
	DSN(b)
	for b.Loop() {
		DSN(b)
	}
}
