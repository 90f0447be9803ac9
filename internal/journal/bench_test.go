package journal

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/roomline/roomline/internal/pgcluster"
	"github.com/roomline/roomline/internal/store/storetest"
)

// cluster is a PostgreSQL with its default durability, made for this benchmark.
func cluster(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "roomline-bench-")
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	c, err := pgcluster.Start(context.Background(), pgcluster.Options{Dir: dir, Log: slog.New(slog.DiscardHandler), MaxConnections: 100})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Stop()
		os.RemoveAll(dir)
	})
	return c.DSN(pgcluster.Database)
}

// share gives each of n writers its part of b.N.
func share(b *testing.B, n int, write func(writer int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := write(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stored/s")
}

// BenchmarkAppend stores events through the journal, each writer in a room of its own. Its yardstick is BenchmarkInsertCommit.
func BenchmarkAppend(b *testing.B) {
	p := startProcess(b, cluster(b))
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			rooms := make([]*room, writers)
			for i := range rooms {
				rooms[i] = newRoom(b, p)
			}
			share(b, writers, func(w int) error {
				u := rooms[w].message()
				u.Events[0].JSON = benchJSON
				result, err := p.Append(context.Background(), u)
				if err == nil && result.Outcome != "ok" {
					err = fmt.Errorf("outcome %s", result.Outcome)
				}
				rooms[w].head = u.Events[0].EventID
				return err
			})
		})
	}
}

// BenchmarkInsertCommit is what the database does by itself: one row, one commit, on as many connections.
func BenchmarkInsertCommit(b *testing.B) {
	dsn := cluster(b)
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := storetest.DB(b, dsn)
			if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, json bytea NOT NULL)`); err != nil {
				b.Fatal(err)
			}
			statements := make([]*sql.Stmt, writers)
			for i := range statements {
				conn, err := db.Conn(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				if statements[i], err = conn.PrepareContext(context.Background(), `INSERT INTO plain (json) VALUES ($1)`); err != nil {
					b.Fatal(err)
				}
			}
			share(b, writers, func(w int) error {
				_, err := statements[w].Exec(benchJSON)
				return err
			})
		})
	}
}

// benchJSON has the size of a signed message.
var benchJSON = make([]byte, 700)
