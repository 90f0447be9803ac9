package hstest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/pgcluster"
)

// Cluster is a PostgreSQL of the test's own, with default durability, that it may stop and kill.
type Cluster struct {
	dir     string
	log     *slog.Logger
	mu      sync.Mutex
	running *pgcluster.Cluster
}

// StartCluster starts a cluster and stops it at the end of the test.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	// Not t.TempDir: its parents are closed to the user that PostgreSQL runs as, and its path is too long for a socket.
	dir, err := os.MkdirTemp("", "roomline-pg-")
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatalf("hstest: %v", err)
	}
	c := &Cluster{dir: filepath.Join(dir, "pg"), log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		c.Stop(t)
		os.RemoveAll(dir)
	})
	c.Start(t)
	return c
}

// DSN is the database for the server. It stays the same when the cluster is stopped and started.
func (c *Cluster) DSN() string { return c.running.DSN(pgcluster.Database) }

// Stop ends the cluster; open transactions are broken off.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		return
	}
	if err := c.running.Stop(); err != nil {
		t.Errorf("hstest: stop PostgreSQL: %v", err)
	}
}

// Start starts the cluster, again after a Stop.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	running, err := pgcluster.Start(ctx, pgcluster.Options{Dir: c.dir, Log: c.log})
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	c.mu.Lock()
	c.running = running
	c.mu.Unlock()
}

// Kill9 kills PostgreSQL's first process as the kernel would when memory runs out. The cluster starts it again by itself.
func (c *Cluster) Kill9(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatalf("hstest: find PostgreSQL: %v", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("hstest: find PostgreSQL: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("hstest: kill PostgreSQL: %v", err)
	}
}

// Proxy stands between a deployment and its database, and cuts connections.
type Proxy struct {
	listener net.Listener
	network  string
	target   string
	dsn      string

	down, deaf atomic.Bool
	// cutAsked and cutAnswered count the requests to the database that are still to be lost: before it gets them, or after
	// it has answered.
	cutAsked, cutAnswered atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// NewProxy starts a proxy to the database at dsn.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("hstest: the database's DSN is not a URL")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	p := &Proxy{listener: l, conns: map[net.Conn]struct{}{}, network: "tcp"}
	q := u.Query()
	host, port := u.Hostname(), u.Port()
	if h := q.Get("host"); h != "" {
		host = h
	}
	if port == "" {
		port = "5432"
	}
	p.target = net.JoinHostPort(host, port)
	if strings.HasPrefix(host, "/") {
		p.network, p.target = "unix", filepath.Join(host, ".s.PGSQL."+port)
	}
	q.Del("host")
	q.Del("port")
	u.Host, u.RawQuery = l.Addr().String(), q.Encode()
	p.dsn = u.String()
	go p.accept()
	t.Cleanup(func() {
		l.Close()
		p.dropAll()
	})
	return p
}

// DSN is the database through the proxy.
func (p *Proxy) DSN() string { return p.dsn }

// Cut drops all connections and takes no new ones, until Restore.
func (p *Proxy) Cut() {
	p.down.Store(true)
	p.dropAll()
}

// Restore takes connections again.
func (p *Proxy) Restore() { p.down.Store(false) }

// DropNotifications keeps all notifications (LISTEN) from the server from now on.
func (p *Proxy) DropNotifications() { p.deaf.Store(true) }

// LoseNextRequest drops the connection that sends the next request, before the database gets it.
func (p *Proxy) LoseNextRequest() { p.cutAsked.Add(1) }

// LoseNextAnswer drops the connection of the next request after the database has answered it.
func (p *Proxy) LoseNextAnswer() { p.cutAnswered.Add(1) }

// Losses is how many of the losses asked for are still to come.
func (p *Proxy) Losses() int64 { return p.cutAsked.Load() + p.cutAnswered.Load() }

func (p *Proxy) dropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if p.down.Load() {
		return
	}
	server, err := net.Dial(p.network, p.target)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	// It may have been cut meanwhile: then this connection was not among those that were dropped.
	cut := p.down.Load()
	p.conns[client] = struct{}{}
	p.mu.Unlock()
	if cut {
		client.Close()
	}
	defer func() {
		p.mu.Lock()
		delete(p.conns, client)
		p.mu.Unlock()
	}()
	var lose atomic.Bool // the next answer
	go func() {
		defer client.Close()
		defer server.Close()
		_ = p.passAnswers(client, server, &lose)
	}()
	_ = p.passRequests(server, client, &lose)
}

var errLost = errors.New("lost on purpose")

func (p *Proxy) passRequests(server io.Writer, client io.Reader, lose *atomic.Bool) error {
	buf := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := client.Read(buf)
		if n > 0 {
			if !first && take(&p.cutAsked) {
				return errLost
			}
			if !first && take(&p.cutAnswered) {
				lose.Store(true)
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// passAnswers copies PostgreSQL's messages, each a letter and its length, but not the notifications if they are dropped.
func (p *Proxy) passAnswers(client io.Writer, server io.Reader, lose *atomic.Bool) error {
	const notification = 'A'
	in, out := bufio.NewReaderSize(server, 64<<10), bufio.NewWriterSize(client, 64<<10)
	for {
		head, err := in.Peek(5)
		if err != nil {
			return err
		}
		if lose.Load() {
			return errLost
		}
		to := io.Writer(out)
		if head[0] == notification && p.deaf.Load() {
			to = io.Discard
		}
		if _, err := io.CopyN(to, in, 1+int64(binary.BigEndian.Uint32(head[1:]))); err != nil {
			return err
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// take lowers a counter that is above zero.
func take(n *atomic.Int64) bool {
	for {
		v := n.Load()
		if v == 0 {
			return false
		}
		if n.CompareAndSwap(v, v-1) {
			return true
		}
	}
}
