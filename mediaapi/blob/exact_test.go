package blob

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// Whoever reads from an exact has fewer bytes than were announced after any error, and so has a server.
func TestLastBytesAreHeldBack(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	const text = "these are twenty-six bytes"
	for name, tc := range map[string]struct {
		r    io.Reader
		want error
	}{
		"right":                       {strings.NewReader(text), nil},
		"right, with io.EOF":          {iotest.DataErrReader(strings.NewReader(text)), nil},
		"right, byte by byte":         {iotest.OneByteReader(strings.NewReader(text)), nil},
		"too long":                    {strings.NewReader(text + "!"), ErrSize},
		"too short":                   {strings.NewReader(text[1:]), ErrSize},
		"fails after the last byte":   {io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), broken},
		"fails with the last byte":    {&failsWithLast{strings.NewReader(text), int64(len(text)), broken}, broken},
		"fails before the last byte":  {io.MultiReader(strings.NewReader(text[1:]), iotest.ErrReader(broken)), broken},
		"torn off with the last byte": {&failsWithLast{strings.NewReader(text), int64(len(text)), io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF},
	} {
		for _, buffer := range []int{1, 5, len(text), 100} {
			e := newExact(tc.r, int64(len(text)))
			var got bytes.Buffer
			_, err := io.CopyBuffer(struct{ io.Writer }{&got}, e, make([]byte, buffer))
			if !errors.Is(err, tc.want) || !errors.Is(e.failure(), tc.want) {
				t.Errorf("%s: got error %v, failure %v, want %v", name, err, e.failure(), tc.want)
			}
			if whole := got.String() == text; whole != (tc.want == nil) {
				t.Errorf("%s: %q was passed on", name, got.String())
			}
			if seeker, ok := tc.r.(io.Seeker); !ok {
				break
			} else if _, err := seeker.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStoppedReaderIsNotRead(t *testing.T) {
	t.Parallel()
	r := strings.NewReader("something")
	e := newExact(r, 9)
	if _, err := e.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	e.stop()
	n, err := e.Read(make([]byte, 4))
	if n != 0 || err == nil || r.Len() != 5 {
		t.Errorf("after stop: read %d bytes, error %v, %d are left", n, err, r.Len())
	}
	if e.ended() || e.failure() != nil {
		t.Errorf("a stopped reader: ended %t, failure %v", e.ended(), e.failure())
	}
}
