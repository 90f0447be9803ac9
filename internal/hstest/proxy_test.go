package hstest

import (
	"database/sql"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/store/storetest"
)

func openThrough(t *testing.T, p *Proxy) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE TABLE things (n int)`); err != nil {
		t.Fatal(err)
	}
	return db
}

// insert tries once: a sql.DB would try a broken connection's statement again by itself.
func insert(t *testing.T, db *sql.DB) error {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), `INSERT INTO things VALUES (1)`)
	return err
}

// count asks, past one connection that the proxy may have dropped.
func count(t *testing.T, db *sql.DB) int {
	t.Helper()
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM things`).Scan(&n); err != nil {
		if err = db.QueryRow(`SELECT count(*) FROM things`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestProxyLosesRequestsAndAnswers(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, storetest.EmptyDSN(t))
	db := openThrough(t, p)
	if count(t, db) != 0 {
		t.Fatal("the table is not empty")
	}
	p.LoseNextRequest()
	if err := insert(t, db); err == nil || count(t, db) != 0 {
		t.Errorf("a lost request: got %v and %d rows, want an error and none", err, count(t, db))
	}
	p.LoseNextAnswer()
	if err := insert(t, db); err == nil || count(t, db) != 1 {
		t.Errorf("a lost answer: got %v and %d rows, want an error and one", err, count(t, db))
	}
	p.Cut()
	if err := db.Ping(); err == nil {
		t.Error("the database answers through a proxy that is cut")
	}
	p.Restore()
	if n := count(t, db); n != 1 {
		t.Errorf("got %d rows after the cut, want one", n)
	}
}

func TestProxyDropsNotifications(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, storetest.EmptyDSN(t))
	db := openThrough(t, p)
	l := pq.NewListener(p.DSN(), time.Second, time.Second, nil)
	defer l.Close()
	if err := l.Listen("news"); err != nil {
		t.Fatal(err)
	}
	notify := func() {
		if _, err := db.Exec(`SELECT pg_notify('news', '')`); err != nil {
			t.Fatal(err)
		}
	}
	notify()
	select {
	case <-l.Notify:
	case <-time.After(syncPatience):
		t.Fatal("a notification does not pass")
	}
	p.DropNotifications()
	notify()
	select {
	case <-l.Notify:
		t.Error("a notification passes though they are dropped")
	case <-time.After(300 * time.Millisecond):
	}
}
