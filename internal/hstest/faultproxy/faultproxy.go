// Package faultproxy stands between a program and its PostgreSQL, or another server, and makes the network fail, for tests.
//
// Start reading at New; NewTCP is for servers that are no PostgreSQL.
package faultproxy

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Cut is where a connection is cut.
type Cut int

const (
	// BeforeRequest: the server never gets the statement.
	BeforeRequest Cut = iota + 1
	// BeforeAnswer: the server gets the statement, and nobody its answer.
	BeforeAnswer
	// InAnswer: the answer is torn off in the middle.
	InAnswer
)

// Proxy forwards connections to a server.
type Proxy struct {
	listener     net.Listener
	network, to  string
	dsn, pattern string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	next  Cut
	cuts  int
	away  bool
	hang  chan struct{} // not nil: nothing is forwarded until it is closed
	left  int64         // bytes of answers until a connection is cut; -1: none is
}

// New starts a proxy before the server of dsn, which ends with the test. pattern is text in the statements that Arm is
// about, in the form in which they are prepared.
func New(t testing.TB, dsn, pattern string) *Proxy {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	host, port := u.Hostname(), u.Port()
	if h := q.Get("host"); h != "" {
		host = h
	}
	if p := q.Get("port"); p != "" {
		port = p
	}
	if port == "" {
		port = "5432"
	}
	p := &Proxy{network: "tcp", to: net.JoinHostPort(host, port), pattern: pattern}
	if strings.HasPrefix(host, "/") {
		p.network, p.to = "unix", host+"/.s.PGSQL."+port
	}
	p.start(t)
	q.Del("host")
	q.Del("port")
	q.Set("sslmode", "disable")
	u.Host, u.RawQuery = p.Address(), q.Encode()
	p.dsn = u.String()
	return p
}

// NewTCP starts a proxy before the server at address. Arm is not for it: CutAfter is.
func NewTCP(t testing.TB, address string) *Proxy {
	t.Helper()
	p := &Proxy{network: "tcp", to: address}
	p.start(t)
	return p
}

func (p *Proxy) start(t testing.TB) {
	t.Helper()
	var err error
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.conns, p.left = make(map[net.Conn]struct{}), -1
	go p.accept()
	t.Cleanup(func() {
		p.Heal()
		p.listener.Close()
		p.closeAll()
	})
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// CutAfter lets n more bytes of answers through, and then cuts the connection of the next one.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = n
}

// allow says how many of n bytes of an answer may pass.
func (p *Proxy) allow(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left < 0 {
		return n
	}
	p.left -= int64(n)
	if p.left < 0 {
		n += int(p.left)
		p.left = -1
	}
	return n
}

// DSN leads through the proxy.
func (p *Proxy) DSN() string { return p.dsn }

// Arm cuts the connection at the next execution of a statement with the pattern.
func (p *Proxy) Arm(at Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = at
}

// Cuts says how many connections Arm has cut.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Away refuses connections and cuts those that there are.
func (p *Proxy) Away() {
	p.mu.Lock()
	p.away = true
	p.mu.Unlock()
	p.closeAll()
}

// Hang lets nothing through any more, without a word.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hang == nil {
		p.hang = make(chan struct{})
	}
}

// Heal ends Away, Hang and CutAfter. Connections that hung are cut.
func (p *Proxy) Heal() {
	p.mu.Lock()
	hang := p.hang
	p.away, p.hang, p.left = false, nil, -1
	p.mu.Unlock()
	if hang != nil {
		p.closeAll()
		close(hang)
	}
}

func (p *Proxy) closeAll() {
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
	p.wait()
	p.mu.Lock()
	away := p.away
	p.mu.Unlock()
	if away {
		return
	}
	server, err := net.Dial(p.network, p.to)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, client)
		delete(p.conns, server)
		p.mu.Unlock()
	}()
	l := &link{proxy: p, client: client, server: server}
	go l.answers()
	l.requests()
}

// wait blocks while the proxy hangs.
func (p *Proxy) wait() {
	p.mu.Lock()
	hang := p.hang
	p.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

// take disarms the proxy and says what was armed.
func (p *Proxy) take() Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.next
	if at != 0 {
		p.cuts++
	}
	p.next = 0
	return at
}

// link is one connection.
type link struct {
	proxy          *Proxy
	client, server net.Conn

	mu  sync.Mutex
	cut Cut // waits for the next answer
}

func (l *link) requests() {
	prepared := false
	buf := make([]byte, 1<<20)
	for {
		n, err := l.client.Read(buf)
		if err != nil {
			return
		}
		l.proxy.wait()
		switch {
		case l.proxy.pattern == "":
		case bytes.Contains(buf[:n], []byte(l.proxy.pattern)):
			prepared = true // Parse and Describe; what follows on this connection is Bind and Execute
		case prepared:
			at := l.proxy.take()
			if at == BeforeRequest {
				return
			}
			if at != 0 {
				l.mu.Lock()
				l.cut = at
				l.mu.Unlock()
			}
		}
		if _, err := l.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *link) answers() {
	defer l.client.Close()
	defer l.server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buf)
		if err != nil {
			return
		}
		l.proxy.wait()
		l.mu.Lock()
		at := l.cut
		l.mu.Unlock()
		if at == InAnswer {
			l.client.Write(buf[:n/2])
		}
		if at != 0 {
			return
		}
		allowed := l.proxy.allow(n)
		if _, err := io.Copy(l.client, bytes.NewReader(buf[:allowed])); err != nil || allowed < n {
			return
		}
	}
}
