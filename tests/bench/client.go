package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
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
	buffer  []byte // of files
	moved   string // the Location of the last answer that had one
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
	reused := c.conn != nil
	if err := c.dial(); err != nil {
		return nil, err
	}
	answer, err := c.exchange(method, target, body)
	if reused && errors.Is(err, io.EOF) {
		// The server was restarted since the last request.
		c.close()
		if err := c.dial(); err != nil {
			return nil, err
		}
		answer, err = c.exchange(method, target, body)
	}
	return answer, c.check(err)
}

// upload posts a file and returns the body of the answer.
func (c *client) upload(target string, r io.Reader, size int64) ([]byte, error) {
	if err := c.dial(); err != nil {
		return nil, err
	}
	c.head("POST", target)
	c.length("application/octet-stream", size)
	_, err := c.conn.Write(append(c.out, "\r\n"...))
	if err == nil {
		// Without its ReadFrom, the connection is written to with a buffer that is as large as the one of the other direction.
		_, err = io.CopyBuffer(struct{ io.Writer }{c.conn}, r, c.large())
	}
	var answer []byte
	if err == nil {
		answer, err = c.read()
	}
	return answer, c.check(err)
}

// download gets a file, and says how long it is.
func (c *client) download(target string) (int64, error) {
	if err := c.dial(); err != nil {
		return 0, err
	}
	c.head("GET", target)
	_, err := c.conn.Write(append(c.out, "\r\n"...))
	if err != nil {
		return 0, c.check(err)
	}
	status, length, _, err := c.readHead()
	if err == nil && status != 200 {
		err = fmt.Errorf("a download is answered with %d", status)
	}
	var n int64
	if err == nil {
		n, err = discard(io.LimitReader(c.in, int64(length)), c.large())
	}
	return n, c.check(err)
}

// location asks for something, and says where it is instead.
func (c *client) location(target string) (*url.URL, error) {
	if err := c.dial(); err != nil {
		return nil, err
	}
	c.head("GET", target)
	c.moved = ""
	if _, err := c.conn.Write(append(c.out, "\r\n"...)); err != nil {
		return nil, c.check(err)
	}
	status, length, _, err := c.readHead()
	if err == nil {
		c.body = c.body[:0]
		err = c.readBytes(length)
	}
	if err == nil && status != 307 {
		err = fmt.Errorf("a redirect is answered with %d", status)
	}
	if err != nil {
		return nil, c.check(err)
	}
	return url.Parse(c.moved)
}

// discard reads to the end, with a buffer.
func discard(r io.Reader, buffer []byte) (n int64, err error) {
	for err == nil {
		var m int
		m, err = r.Read(buffer)
		n += int64(m)
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// large is a buffer for files.
func (c *client) large() []byte {
	if c.buffer == nil {
		c.buffer = make([]byte, fileBuffer)
	}
	return c.buffer
}

// fileBuffer is the size of the buffers with which files are read and written, on both sides of a comparison.
const fileBuffer = 64 << 10

func (c *client) dial() error {
	if c.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", c.address, 10*time.Second)
	if err != nil {
		return err
	}
	c.conn = conn
	if c.in == nil {
		c.in = bufio.NewReaderSize(conn, 4<<10)
	} else {
		c.in.Reset(conn)
	}
	return nil
}

// check closes the connection after an error that is no answer.
func (c *client) check(err error) error {
	var status errStatus
	if err != nil && !errors.As(err, &status) {
		c.close()
	}
	return err
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *client) exchange(method, target string, body []byte) ([]byte, error) {
	c.head(method, target)
	if body != nil {
		c.length("application/json", int64(len(body)))
	}
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	return c.read()
}

// head begins a request.
func (c *client) head(method, target string) {
	c.out = append(c.out[:0], method...)
	c.out = append(c.out, ' ')
	c.out = append(c.out, target...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.address...)
	c.out = append(c.out, "\r\n"...)
	if c.token != "" {
		c.out = append(c.out, "Authorization: Bearer "...)
		c.out = append(c.out, c.token...)
		c.out = append(c.out, "\r\n"...)
	}
}

// length says what the body is.
func (c *client) length(contentType string, n int64) {
	c.out = append(c.out, "Content-Type: "...)
	c.out = append(c.out, contentType...)
	c.out = append(c.out, "\r\nContent-Length: "...)
	c.out = strconv.AppendInt(c.out, n, 10)
	c.out = append(c.out, "\r\n"...)
}

// read reads an answer, with a Content-Length or in chunks.
func (c *client) read() ([]byte, error) {
	status, length, chunked, err := c.readHead()
	if err != nil {
		return nil, err
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

// readHead reads an answer up to its body.
func (c *client) readHead() (status, length int, chunked bool, err error) {
	line, err := c.line()
	if err != nil {
		return 0, 0, false, err
	}
	if len(line) < 12 {
		return 0, 0, false, fmt.Errorf("not HTTP: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, false, fmt.Errorf("not HTTP: %q", line)
	}
	for {
		line, err := c.line()
		if err != nil || len(line) == 0 {
			return status, length, chunked, err
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, 0, false, err
			}
		case bytes.EqualFold(name, []byte("Location")):
			c.moved = string(value)
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
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
