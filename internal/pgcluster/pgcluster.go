// Package pgcluster runs a private PostgreSQL cluster as a child process, so that a server can be started where nobody has set
// up a database. It uses the installed PostgreSQL programs and is the same engine as in production.
//
// Layout of Options.Dir:
//
//	lock       held (flock) by the process that runs the cluster; contains its process id
//	password   of the database user roomline, mode 0600
//	socket     the directory of the unix socket
//	data/      PostgreSQL's own directory
//	run/       the unix socket, unless the path is too long for one
//
// Invariants:
//   - Nobody but the user of the process (or root) reaches the database: unix socket only, directories of mode 0700, a
//     password besides.
//   - What is committed is on disk, unless a test has asked for Options.UnsafeFast.
//   - Never two servers on one directory. postmaster.pid is removed only after every process that works in the directory
//     is gone (takeover.go).
//   - PostgreSQL does not outlive this process: the kernel sends it SIGINT, on which it stops cleanly, however we end.
//   - When PostgreSQL ends by itself it is started again. The DSN stays the same.
//
// PostgreSQL refuses to run as root, so root's cluster runs as the user postgres (or nobody). That user may not be allowed to
// enter the directories above Dir, such as /root; therefore it is handed data/ as an open file, /proc/self/fd/3.
//
// Start reading at Start, then supervise.go.
package pgcluster

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lib/pq"
)

// Database is the name of the database that Start creates for the server.
const Database = "roomline"

// superuser is the database user that owns everything in the cluster.
const superuser = "roomline"

// Options of Start. Dir and Log are required.
type Options struct {
	// Dir holds everything of the cluster. It is made when it is missing.
	Dir string
	Log *slog.Logger
	// MaxConnections of the cluster, 100 if zero.
	MaxConnections int
	// UnsafeFast trades durability for speed: fsync and full_page_writes are off. Tests only.
	UnsafeFast bool
}

// Cluster is a running cluster. It is safe for concurrent use.
type Cluster struct {
	opts     Options
	bin      string // directory of the PostgreSQL programs
	owner    *owner // nil: PostgreSQL runs as our own user
	lock     *os.File
	data     string
	socket   string // directory
	password string

	removeSocket bool
	stop         chan struct{}
	done         chan struct{}
	stopErr      error
	lines        lastLines
}

// Start runs the cluster in o.Dir, making it first when there is none, and returns when it answers queries. ctx bounds the
// start only; the cluster runs until Stop.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("private PostgreSQL: %w", err)
	}
	o.Dir = dir
	if o.MaxConnections == 0 {
		o.MaxConnections = 100
	}
	c := &Cluster{opts: o, data: filepath.Join(dir, "data"), stop: make(chan struct{}), done: make(chan struct{})}
	if err := c.start(ctx); err != nil {
		c.release()
		return nil, fmt.Errorf("private PostgreSQL in %s: %w", dir, err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	// 0711: the user that PostgreSQL runs as has to pass through to the socket.
	if err := os.MkdirAll(c.opts.Dir, 0o711); err != nil {
		return err
	}
	var err error
	if c.lock, err = lockDirectory(c.opts.Dir); err != nil {
		return err
	}
	if c.bin, err = findPrograms(c.data); err != nil {
		return err
	}
	if c.owner, err = findOwner(); err != nil {
		return err
	}
	if err := c.loadPassword(); err != nil {
		return err
	}
	if err := c.makeSocketDirectory(); err != nil {
		return err
	}
	if err := c.initialise(ctx); err != nil {
		return err
	}
	first := make(chan error, 1)
	go c.supervise(first)
	if err := c.waitReady(ctx, first); err != nil {
		close(c.stop)
		<-c.done
		return err
	}
	if err := c.createDatabase(ctx); err != nil {
		close(c.stop)
		<-c.done
		return err
	}
	return nil
}

// ErrInUse says that another process runs the cluster of the directory.
var ErrInUse = errors.New("in use")

// Running returns the connection string of a database of the cluster that another process runs in dir.
func Running(dir, database string) (string, error) {
	password, err := os.ReadFile(passwordFile(dir))
	if err != nil {
		return "", fmt.Errorf("private PostgreSQL: %w", err)
	}
	socket, err := os.ReadFile(socketNote(dir))
	if err != nil {
		return "", fmt.Errorf("private PostgreSQL: %w", err)
	}
	return dsn(strings.TrimSpace(string(socket)), strings.TrimSpace(string(password)), database), nil
}

// DSN is the connection string of a database of the cluster.
func (c *Cluster) DSN(database string) string { return dsn(c.socket, c.password, database) }

func dsn(socket, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, password),
		Path:     "/" + database,
		RawQuery: url.Values{"host": {socket}, "sslmode": {"disable"}}.Encode(),
	}
	return u.String()
}

func passwordFile(dir string) string { return filepath.Join(dir, "password") }

// Stop ends the cluster cleanly: transactions are broken off, what is committed is written out. It may be called more than
// once.
func (c *Cluster) Stop() error {
	select {
	case c.stop <- struct{}{}:
	case <-c.done:
	}
	<-c.done
	return c.stopErr
}

// Done is closed when the cluster has ended.
func (c *Cluster) Done() <-chan struct{} { return c.done }

// release gives up what start has taken, as far as it has got.
func (c *Cluster) release() {
	if c.removeSocket {
		os.RemoveAll(c.socket)
	}
	if c.lock != nil {
		c.lock.Close()
		c.lock = nil
	}
}

func (c *Cluster) loadPassword() error {
	path := passwordFile(c.opts.Dir)
	text, err := os.ReadFile(path)
	if err == nil {
		c.password = strings.TrimSpace(string(text))
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.initialised() {
		return fmt.Errorf("the file %s is missing: the database cannot be opened without its password", path)
	}
	c.password = rand.Text()
	return writeFileSync(path, c.password+"\n")
}

// waitReady returns when the cluster answers, or with the reason why it does not.
func (c *Cluster) waitReady(ctx context.Context, first <-chan error) error {
	db, err := sql.Open("postgres", c.DSN("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	patience := time.NewTicker(10 * time.Second)
	defer patience.Stop()
	for {
		if db.PingContext(ctx) == nil {
			return nil
		}
		select {
		case err := <-first:
			return err
		case <-ctx.Done():
			return fmt.Errorf("it does not answer yet: %w%s", ctx.Err(), c.lines.said())
		case <-patience.C:
			c.opts.Log.Info("waiting for PostgreSQL; after a crash it reads its log first")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *Cluster) createDatabase(ctx context.Context) error {
	db, err := sql.Open("postgres", c.DSN("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	var exists bool
	if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, Database).Scan(&exists); err != nil {
		return fmt.Errorf("look for the database %s: %w", Database, err)
	}
	if exists {
		return nil
	}
	if _, err := db.ExecContext(ctx, `CREATE DATABASE `+pq.QuoteIdentifier(Database)); err != nil {
		return fmt.Errorf("create the database %s: %w", Database, err)
	}
	return nil
}
