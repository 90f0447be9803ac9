package blob

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// plainGets is a transport whose GET requests over plain HTTP are sent, and their answers read, by whoever asks. net/http's own has
// two goroutines for each connection, and what they hand over costs a busy machine a good part of what an object of 1 MiB costs.
type plainGets struct {
	other *http.Transport // for all else
	dial  dialFunc
	stall time.Duration

	mu   sync.Mutex
	idle map[string][]*getConn // by address, the last used is the last
}

func newPlainGets(other *http.Transport, dial dialFunc, stall time.Duration) *plainGets {
	return &plainGets{other: other, dial: dial, stall: stall, idle: map[string][]*getConn{}}
}

// getConn is a connection with at most one request under way.
type getConn struct {
	net.Conn
	address string
	in      *bufio.Reader
	out     *bufio.Writer
	// header is how much of an answer may still come before its body.
	header int
	// heard says that something came since the request was sent.
	heard bool
	// lowWater is from how many bytes on the kernel wakes a reader.
	lowWater int
	expiry   *time.Timer
}

const (
	idleConns = 64
	idleFor   = time.Minute
	// longestHeader bounds the header of an answer.
	longestHeader = 64 << 10
	getBuffer     = 4 << 10
)

var errHeader = errors.New("the header of an answer is too long")

func (c *getConn) Read(p []byte) (int, error) {
	if c.header <= 0 {
		return 0, errHeader
	}
	n, err := c.Conn.Read(p)
	c.header -= n
	c.heard = c.heard || n > 0
	return n, err
}

// RoundTrip implements http.RoundTripper.
func (t *plainGets) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || r.URL.Scheme != "http" || r.Body != nil && r.Body != http.NoBody {
		return t.other.RoundTrip(r)
	}
	if proxy, err := t.other.Proxy(r); proxy != nil || err != nil {
		return t.other.RoundTrip(r)
	}
	for {
		c, reused, err := t.take(r)
		if err != nil {
			return nil, err
		}
		answer, err := t.exchange(c, r)
		if err == nil {
			return answer, nil
		}
		c.Close()
		if ctxErr := r.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		// The server may have closed a connection that nobody used. Then it has closed the others, too.
		if !reused || c.heard || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		t.forget(c.address)
	}
}

// take is a connection for a request.
func (t *plainGets) take(r *http.Request) (c *getConn, reused bool, err error) {
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	t.mu.Lock()
	for free := t.idle[address]; len(free) > 0; free = t.idle[address] {
		c, t.idle[address] = free[len(free)-1], free[:len(free)-1]
		if c.expiry.Stop() {
			t.mu.Unlock()
			return c, true, nil
		}
	}
	t.mu.Unlock()
	conn, err := t.dial(r.Context(), "tcp", address)
	if err != nil {
		return nil, false, err
	}
	c = &getConn{Conn: conn, address: address, lowWater: 1}
	c.in, c.out = bufio.NewReaderSize(c, getBuffer), bufio.NewWriterSize(conn, getBuffer)
	return c, false, nil
}

// exchange sends a request and reads the header of its answer.
func (t *plainGets) exchange(c *getConn, r *http.Request) (*http.Response, error) {
	c.header, c.heard = longestHeader, false
	if err := c.SetDeadline(time.Now().Add(t.stall)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(r.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	answer, err := c.ask(r)
	if err == nil {
		// A cancellation may have come before this line, or comes after it.
		err = errors.Join(c.SetDeadline(time.Time{}), r.Context().Err())
	}
	if err != nil {
		stop()
		return nil, err
	}
	c.header = int(^uint(0) >> 1)
	answer.Body = &getBody{
		transport: t, conn: c, inner: answer.Body, ctx: r.Context(), stop: stop, left: answer.ContentLength, reusable: !answer.Close,
	}
	return answer, nil
}

func (c *getConn) ask(r *http.Request) (*http.Response, error) {
	err := r.Write(c.out)
	if err == nil {
		err = c.out.Flush()
	}
	for err == nil {
		var answer *http.Response
		if answer, err = http.ReadResponse(c.in, r); err == nil && answer.StatusCode >= http.StatusOK {
			return answer, nil
		}
	}
	return nil, err
}

// release keeps a connection for the next request.
func (t *plainGets) release(c *getConn) {
	c.wakeAt(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle[c.address]) >= idleConns {
		c.Close()
		return
	}
	c.expiry = time.AfterFunc(idleFor, func() { t.expire(c) })
	t.idle[c.address] = append(t.idle[c.address], c)
}

// expire closes a connection that nobody has used for long.
func (t *plainGets) expire(c *getConn) {
	c.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle[c.address] = slices.DeleteFunc(t.idle[c.address], func(other *getConn) bool { return other == c })
}

// forget closes all connections that nobody uses.
func (t *plainGets) forget(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle[address] {
		c.Close()
		c.expiry.Stop()
	}
	delete(t.idle, address)
}

// getBody is the body of an answer. Its connection is used again when all of it was read.
type getBody struct {
	transport *plainGets
	conn      *getConn
	inner     io.Reader
	ctx       context.Context
	stop      func() bool
	left      int64 // -1 if nobody knows
	reusable  bool
	over      bool
}

func (b *getBody) Read(p []byte) (int, error) {
	if b.over {
		return 0, io.EOF
	}
	if err := b.ctx.Err(); err != nil {
		b.end(false)
		return 0, err
	}
	if waits := b.left - int64(b.conn.in.Buffered()); b.left > 0 && waits > 0 {
		b.conn.wakeAt(int(min(waits, int64(len(p)))))
	}
	n, err := b.inner.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err == io.EOF {
		b.end(b.reusable)
	} else if err != nil {
		b.end(false)
		if ctxErr := b.ctx.Err(); ctxErr != nil {
			err = ctxErr
		}
	}
	return n, err
}

// end is the end of reading.
func (b *getBody) end(reusable bool) {
	b.over = true
	if b.stop() && reusable && b.conn.in.Buffered() == 0 {
		b.transport.release(b.conn)
		return
	}
	b.conn.Close()
}

// Close ends reading. What has come already is not waited for, so that a connection is kept if nothing else is missing.
func (b *getBody) Close() error {
	if !b.over && b.left >= 0 && b.left <= int64(b.conn.in.Buffered()) {
		_, _ = io.Copy(io.Discard, b)
	}
	if !b.over {
		b.end(false)
	}
	return nil
}
