package store

import (
	"context"
	"net"
	"time"
)

const (
	// peerGone is how long the network may leave what we sent unconfirmed before the connection counts as dead. Without it a
	// database host that lost its power holds every waiting statement for a quarter of an hour.
	peerGone = 6 * time.Second
	// longestAnswer is how long a server that is there may take to answer: a little more than statement_timeout.
	longestAnswer = 75 * time.Second
	// receivedAtOnce is how much is read from the network at once.
	receivedAtOnce = 32 << 10
)

// dialer makes connections that end when the server is gone without a word, or does not answer for patience.
type dialer struct {
	patience time.Duration
	// dialled, if given, is told of each connection.
	dialled func(*boundedConn)
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nd := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: peerGone / 2, Interval: peerGone / 6, Count: 3},
		Control:         setUserTimeout,
	}
	c, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	b := &boundedConn{Conn: c, patience: d.patience}
	if d.dialled != nil {
		d.dialled(b)
	}
	return b, nil
}

// boundedConn waits for an answer for patience at most. The driver reads only while it waits for one.
type boundedConn struct {
	net.Conn
	patience time.Duration
	// unread is what has been received and not been read. The driver reads a few kilobytes at a time, and a large result comes quicker than that.
	unread, space []byte
	// waits: the kernel knows the patience.
	waits bool
	// dialling: the driver has set a deadline of its own, for the time until the server lets us in.
	dialling bool
}

func (c *boundedConn) SetDeadline(t time.Time) error {
	c.dialling = !t.IsZero()
	return c.Conn.SetDeadline(t)
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		if c.space == nil {
			c.space = make([]byte, receivedAtOnce)
		}
		n, err := c.receive(c.space)
		if n == 0 {
			return 0, err
		}
		// An error comes again with the next read.
		c.unread = c.space[:n]
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func (c *boundedConn) receive(p []byte) (int, error) {
	if !c.dialling && !c.waits {
		if err := c.Conn.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}
