package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// exact passes on what a reader yields, and fails if that is not as many bytes as were announced. The last bytes are held back until
// the reader has ended well: whoever counts the bytes that arrive has fewer than were announced after any error.
type exact struct {
	mu   sync.Mutex
	r    io.Reader
	want int64 // -1: any number
	n    int64
	err  error // what ended it; io.EOF if that was well
}

var errStopped = errors.New("the upload has ended")

func newExact(r io.Reader, size int64) *exact { return &exact{r: r, want: size} }

func (e *exact) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return 0, e.err
	}
	n := 0
	if e.want < 0 || e.n < e.want {
		if e.want >= 0 {
			p = p[:min(int64(len(p)), e.want-e.n)]
		}
		n, e.err = e.r.Read(p)
		e.n += int64(n)
	}
	if e.want >= 0 {
		e.checkEnd()
	}
	if e.err != nil && e.err != io.EOF {
		return 0, e.err
	}
	return n, e.err
}

// checkEnd looks for the end of the reader when all bytes are there.
func (e *exact) checkEnd() {
	if e.err == io.EOF && e.n < e.want {
		e.err = fmt.Errorf("%w: %d bytes instead of %d", ErrSize, e.n, e.want)
	}
	var more [1]byte
	for e.err == nil && e.n == e.want {
		n, err := e.r.Read(more[:])
		if e.err = err; n > 0 {
			e.err = fmt.Errorf("%w: more than %d bytes", ErrSize, e.want)
		}
	}
}

// stop ends it. When it returns nobody reads the reader, and nobody will: a transport may go on reading a request's body after it has
// returned.
func (e *exact) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = errStopped
	}
}

// failure is the reader's error, if it did not end well.
func (e *exact) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil || e.err == io.EOF || e.err == errStopped {
		return nil
	}
	return fmt.Errorf("read what is to be stored: %w", e.err)
}

// ended says whether all bytes have been passed on.
func (e *exact) ended() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err == io.EOF
}

// fill reads until p is full or the reader has ended. Unlike io.ReadFull it tells a reader that has ended from one that says
// io.ErrUnexpectedEOF.
func (e *exact) fill(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = e.Read(p[n:])
		n += m
	}
	return n, err
}

// held yields content, the last byte of it when noted has returned nil. failure is told of an error of noted.
type held struct {
	content *bytes.Reader
	noted   func() error
	failure func(error)
}

func (h *held) Read(p []byte) (int, error) {
	if left := h.content.Len(); left > 1 {
		return h.content.Read(p[:min(len(p), left-1)])
	}
	if err := h.noted(); err != nil {
		h.failure(err)
		return 0, err
	}
	return h.content.Read(p)
}

// Seek lets a request that failed be sent again.
func (h *held) Seek(offset int64, whence int) (int64, error) { return h.content.Seek(offset, whence) }
