// Package scan asks a clamd whether a file is infected, over its INSTREAM command: a zero-terminated command, then the file in chunks,
// each after its length in four bytes, and a chunk of no length; the daemon answers with one line, perhaps before it has seen all.
//
// A file is clean only if the daemon has said so. Everything else is a signature or an error.
package scan

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/limits"
)

// ErrTooLarge says that a file is larger than the daemon takes (its StreamMaxLength).
var ErrTooLarge = errors.New("the file is larger than the virus scanner takes")

// Clamd is a daemon.
type Clamd struct {
	// Address is "unix:/path" or "host:port".
	Address string
	// Timeout is how long the daemon may take to accept a connection or a chunk, and then for its answer. Zero is limits.ScanAnswer.
	Timeout time.Duration
}

// unavailable says that the daemon could not be asked, or did not answer.
type unavailable struct{ err error }

func (u *unavailable) Error() string     { return "the virus scanner is not available: " + u.err.Error() }
func (u *unavailable) Unwrap() error     { return u.err }
func (u *unavailable) Unavailable() bool { return true }

const (
	chunkSize = 64 << 10
	// maxAnswer bounds the daemon's line.
	maxAnswer = 4 << 10
)

// Scan returns the name of what was found in the file that r yields, or "" if it is clean. An error of r is in the chain of the error.
// The time that r takes does not count against the daemon.
func (c Clamd) Scan(ctx context.Context, r io.Reader) (signature string, err error) {
	if c.Timeout == 0 {
		c.Timeout = limits.ScanAnswer
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return "", c.wrap(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	// The answer is read from the beginning: a daemon that has enough answers and closes, and what was sent to it after that would make
	// the connection forget an answer that nobody has taken.
	answered := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(conn, maxAnswer)).ReadString(0)
		answered <- answer{line, err}
	}()
	sendErr := c.send(conn, r)
	var failed *readError
	if errors.As(sendErr, &failed) {
		return "", failed
	}
	if err := conn.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		sendErr = errors.Join(sendErr, err)
	}
	a := <-answered
	if a.err != nil {
		if sendErr != nil {
			a.err = sendErr
		}
		return "", c.wrap(ctx, a.err)
	}
	return parse(strings.TrimSuffix(a.line, "\x00"))
}

type answer struct {
	line string
	err  error
}

func (c Clamd) dial(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: c.Timeout}
	if path, ok := strings.CutPrefix(c.Address, "unix:"); ok {
		return dialer.DialContext(ctx, "unix", path)
	}
	return dialer.DialContext(ctx, "tcp", c.Address)
}

// readError is an error of the file, not of the daemon.
type readError struct{ err error }

func (e *readError) Error() string { return "read what is to be scanned: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// send sends the command and the file. A daemon that stops listening has something to say, which Scan reads.
func (c Clamd) send(conn net.Conn, r io.Reader) error {
	write := func(p []byte) error {
		if err := conn.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
			return err
		}
		_, err := conn.Write(p)
		return err
	}
	if err := write([]byte("zINSTREAM\x00")); err != nil {
		return err
	}
	chunk := make([]byte, 4+chunkSize)
	for {
		n, readErr := r.Read(chunk[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(chunk, uint32(n))
			if err := write(chunk[:4+n]); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			return write([]byte{0, 0, 0, 0})
		}
		if readErr != nil {
			return &readError{readErr}
		}
	}
}

// parse reads "stream: OK", "stream: <signature> FOUND", or an error.
func parse(line string) (signature string, err error) {
	result, ok := strings.CutPrefix(line, "stream: ")
	if ok && result == "OK" {
		return "", nil
	}
	if name, found := strings.CutSuffix(result, " FOUND"); ok && found && name != "" {
		return name, nil
	}
	if strings.Contains(line, "size limit exceeded") {
		return "", ErrTooLarge
	}
	return "", &unavailable{fmt.Errorf("it says %q", bytes.TrimSpace([]byte(line)))}
}

// wrap tells a daemon that does not answer from a caller who does not wait any more.
func (c Clamd) wrap(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &unavailable{err}
}
