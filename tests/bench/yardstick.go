package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// insertRate is the database's own rate of single-row INSERT+COMMIT: a table with 500 bytes a row, a prepared statement on
// each connection, as fast as it goes.
func (b *bench) insertRate(connections int, d time.Duration) (float64, error) {
	ctx := context.Background()
	_, err := b.db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS yardstick (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)`)
	if err != nil {
		return 0, err
	}
	statements := make([]*sql.Stmt, connections)
	for i := range statements {
		conn, err := b.db.Conn(ctx)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if statements[i], err = conn.PrepareContext(ctx, `INSERT INTO yardstick (body) VALUES ($1)`); err != nil {
			return 0, err
		}
		defer statements[i].Close()
	}
	row := bytes.Repeat([]byte("x"), 500)
	return rate(connections, d, func(i int) error {
		_, err := statements[i].ExecContext(ctx, row)
		return err
	})
}

// rate runs f in n goroutines, again and again for a time, and returns how often a second it ended. The first error ends it.
func rate(n int, d time.Duration, f func(i int) error) (float64, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			for time.Since(began) < d && failed.Load() == nil {
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / took.Seconds(), nil
}

// compared runs a yardstick and what is measured by turns, so that both see the same machine, and returns the rate of each.
func compared(rounds int, yardstick, measured func() (float64, error)) (yard, got float64, err error) {
	for range rounds {
		y, err := yardstick()
		if err != nil {
			return 0, 0, fmt.Errorf("yardstick: %w", err)
		}
		g, err := measured()
		if err != nil {
			return 0, 0, err
		}
		yard += y / float64(rounds)
		got += g / float64(rounds)
	}
	return yard, got, nil
}

// echoCommand as an argument makes this program the bare net/http server that answers with the JSON it was sent. It is a
// process of its own, as the server is.
const echoCommand = "serve-echo"

func serveEcho(address string) error {
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v any
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}))
}

// startEcho starts the echo process and returns its address.
func startEcho() (address string, stop func(), err error) {
	if address, err = freeport.Address(); err != nil {
		return "", nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, echoCommand, address)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(cmd); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	probe := newClient(address, "")
	defer probe.close()
	for range 500 {
		if _, err = probe.do("POST", "/", []byte(`{}`)); err == nil {
			return address, stop, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return "", nil, err
}
