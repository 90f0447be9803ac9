package pgcluster

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start runs a cluster in dir until the end of the test. It has default durability, as in production.
func start(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), Options{Dir: dir, Log: testLog(t), MaxConnections: 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	return c
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// directory is not t.TempDir, whose parents a dropped user may not enter.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgcluster-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "postgres")
}

func open(t *testing.T, c *Cluster) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", c.DSN(Database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func setting(t *testing.T, db *sql.DB, name string) string {
	t.Helper()
	var value string
	if err := db.QueryRowContext(t.Context(), `SELECT current_setting($1)`, name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// countWhenBack asks until the database answers.
func countWhenBack(t *testing.T, db *sql.DB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		var n int
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM kept`).Scan(&n)
		if err == nil {
			return n
		}
		if ctx.Err() != nil {
			t.Fatalf("the database did not come back: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func postmaster(t *testing.T, c *Cluster) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestDataSurvivesStopAndStart(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c := start(t, dir)
	db := open(t, c)
	for name, want := range map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
		"listen_addresses": "", "server_encoding": "UTF8", "password_encryption": "scram-sha-256",
	} {
		if got := setting(t, db, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	mustExec(t, db, `CREATE TABLE kept (n int)`)
	mustExec(t, db, `INSERT INTO kept VALUES (1), (2)`)
	db.Close()
	if err := c.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if err := c.Stop(); err != nil {
		t.Fatalf("stop again: %v", err)
	}
	if left, err := processesIn(c.data); err != nil || len(left) > 0 {
		t.Fatalf("after the stop these processes run: %v, %v", left, err)
	}
	again := start(t, dir)
	if got := countWhenBack(t, open(t, again)); got != 2 {
		t.Fatalf("after the second start there are %d rows, want 2", got)
	}
}

func TestKilledPostgresComesBackWithEverythingCommitted(t *testing.T) {
	t.Parallel()
	c := start(t, directory(t))
	db := open(t, c)
	mustExec(t, db, `CREATE TABLE kept (n int)`)
	for round := 1; round <= 2; round++ {
		mustExec(t, db, `INSERT INTO kept VALUES (1)`)
		killed := postmaster(t, c)
		if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := countWhenBack(t, db); got != round {
			t.Fatalf("round %d: %d rows", round, got)
		}
		for pid := killed; pid == killed; { // the answer may have come from a backend that had not noticed
			pid = killed
			if text, err := os.ReadFile(filepath.Join(c.data, "postmaster.pid")); err == nil {
				line, _, _ := strings.Cut(string(text), "\n")
				pid, _ = strconv.Atoi(line)
			}
		}
		countWhenBack(t, db)
	}
}

func TestSecondStartOnTheSameDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c := start(t, dir)
	_, err := Start(t.Context(), Options{Dir: dir, Log: testLog(t)})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "in use by process "+strconv.Itoa(os.Getpid())) {
		t.Fatalf("second start: %v", err)
	}
	if got := setting(t, open(t, c), "fsync"); got != "on" {
		t.Fatal("the first cluster was disturbed")
	}
	if running, err := Running(dir, Database); err != nil || running != c.DSN(Database) {
		t.Fatalf("Running: %v, %v", running, err)
	}
}

// TestMain lets the test binary be the process that is killed in TestOrphanedPostgresIsTakenOver.
func TestMain(m *testing.M) {
	dir := os.Getenv("PGCLUSTER_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	c, err := Start(context.Background(), Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("ready\n")
	<-c.Done()
}

func TestOrphanedPostgresIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	first := exec.Command(os.Args[0])
	first.Env = append(os.Environ(), "PGCLUSTER_TEST_DIR="+dir)
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 200)
	if n, _ := out.Read(said); string(said[:n]) != "ready\n" {
		t.Fatalf("the first process says %q", said[:n])
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait()
	// At once: its PostgreSQL has only just been told to stop.
	c := start(t, dir)
	if got := setting(t, open(t, c), "fsync"); got != "on" {
		t.Fatal("no answer")
	}
}

func TestStalePidFileThatNamesAnotherProcessIsIgnored(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c := start(t, dir)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	// A process of the same user, which PostgreSQL would take for its predecessor.
	other := postmaster(t, start(t, directory(t)))
	stale := strconv.Itoa(other) + "\n" + c.data + "\n1\n5432\n\n\n0 0\nready\n"
	pidFile := filepath.Join(c.data, "postmaster.pid")
	if err := os.WriteFile(pidFile, []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.owner.own(pidFile); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	if err := syscall.Kill(other, 0); err != nil {
		t.Fatalf("the other process was ended: %v", err)
	}
}

func TestInterruptedInitialisationIsDoneAgain(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o711); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "data.new")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("data.new: %v", err)
	}
}

func TestDeepDirectoryThatMayNotBeEntered(t *testing.T) {
	t.Parallel()
	// t.TempDir is closed to others; the rest of the path is longer than a socket's may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 20), "postgres")
	if err := os.Chmod(t.TempDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	c := start(t, dir)
	setting(t, open(t, c), "fsync")
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.socket); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the socket's directory is left behind: %v", err)
	}
}

func TestDataOfAVersionThatIsNotInstalled(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Dir: dir, Log: testLog(t)})
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql-8") {
		t.Fatalf("start: %v", err)
	}
}

func TestErrorsOfStatementsDoNotReachTheLog(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	c, err := Start(t.Context(), Options{Dir: directory(t), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), UnsafeFast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	db := open(t, c)
	mustExec(t, db, `CREATE TABLE kept (secret text PRIMARY KEY)`)
	mustExec(t, db, `INSERT INTO kept VALUES ('sesame')`)
	if _, err := db.Exec(`INSERT INTO kept VALUES ('sesame')`); err == nil {
		t.Fatal("the duplicate was accepted")
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "sesame") {
		t.Fatalf("the log contains a row's content:\n%s", log.String())
	}
}

func TestMissingProgramsAreNamedWithWhatToInstall(t *testing.T) {
	places := installed
	t.Cleanup(func() { installed = places })
	installed = nil
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Options{Dir: t.TempDir(), Log: testLog(t)})
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install -y postgresql") {
		t.Fatalf("start: %v", err)
	}
}
