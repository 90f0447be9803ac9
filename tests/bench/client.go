package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// client is one keep-alive HTTP/1.1 connection. It costs a fraction of net/http's client, because it shares the cores with the
// server that it measures. One goroutine uses it.
type client struct {
	address string
	token   string
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	body    []byte
}

func newClient(address, token string) *client { return &client{address: address, token: token} }

// errStatus is an answer that is not 200.
type errStatus struct {
	status int
	body   string
}

func (e errStatus) Error() string { return fmt.Sprintf("%d %s", e.status, e.body) }

// do sends a request and returns the body of its answer, which is good until the next call.
func (c *client) do(method, target string, body []byte) ([]byte, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.address, 10*time.Second)
		if err != nil {
			return nil, err
		}
		c.conn = conn
		if c.in == nil {
			c.in = bufio.NewReaderSize(conn, 4<<10)
		} else {
			c.in.Reset(conn)
		}
	}
	answer, err := c.exchange(method, target, body)
	var status errStatus
	if err != nil && !errors.As(err, &status) {
		c.close()
	}
	return answer, err
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *client) exchange(method, target string, body []byte) ([]byte, error) {
	c.out = append(c.out[:0], method...)
	c.out = append(c.out, ' ')
	c.out = append(c.out, target...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: bench\r\n"...)
	if c.token != "" {
		c.out = append(c.out, "Authorization: Bearer "...)
		c.out = append(c.out, c.token...)
		c.out = append(c.out, "\r\n"...)
	}
	if body != nil {
		c.out = append(c.out, "Content-Type: application/json\r\nContent-Length: "...)
		c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
		c.out = append(c.out, "\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	return c.read()
}

// read reads an answer, with a Content-Length or in chunks.
func (c *client) read() ([]byte, error) {
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	if len(line) < 12 {
		return nil, fmt.Errorf("not HTTP: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return nil, fmt.Errorf("not HTTP: %q", line)
	}
	length, chunked := 0, false
	for {
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	c.body = c.body[:0]
	if chunked {
		err = c.readChunks()
	} else {
		err = c.readBytes(length)
	}
	if err != nil {
		return nil, err
	}
	if status != 200 {
		return nil, errStatus{status, string(c.body)}
	}
	return c.body, nil
}

func (c *client) readChunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(line), 16, 32)
		if err != nil {
			return err
		}
		if err := c.readBytes(int(n)); err != nil {
			return err
		}
		if _, err := c.line(); err != nil || n == 0 {
			return err
		}
	}
}

func (c *client) readBytes(n int) error {
	start := len(c.body)
	if cap(c.body) < start+n {
		c.body = append(make([]byte, 0, 2*start+n), c.body...)
	}
	c.body = c.body[:start+n]
	_, err := io.ReadFull(c.in, c.body[start:])
	return err
}

// line reads a line without its end.
func (c *client) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// field is the value of the first string field of that name. The answers that the bench reads have no escapes in these.
func field(body []byte, name string) string {
	i := bytes.Index(body, []byte(`"`+name+`":"`))
	if i < 0 {
		return ""
	}
	rest := body[i+len(name)+4:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return ""
	}
	return string(rest[:end])
}
