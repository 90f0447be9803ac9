package scan

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// harmless is so much that no scanner finds anything in.
func harmless(size int64) io.Reader { return io.LimitReader(zeros{}, size) }

func wantUnavailable(t *testing.T, what string, signature string, err error) {
	t.Helper()
	var u interface{ Unavailable() bool }
	if signature != "" || !errors.As(err, &u) || !u.Unavailable() {
		t.Errorf("%s: got %q, error %v, want one that says that the scanner is not available", what, signature, err)
	}
}

func addresses(d *hstest.ClamdDaemon) map[string]Clamd {
	return map[string]Clamd{"unix": {Address: d.Unix, Timeout: time.Minute}, "tcp": {Address: d.TCP, Timeout: time.Minute}}
}

func TestFilesAreJudged(t *testing.T) {
	t.Parallel()
	d := hstest.Clamd(t)
	broken := errors.New("broken")
	for name, c := range addresses(d) {
		for what, tc := range map[string]struct {
			r         io.Reader
			signature string
			err       error
		}{
			"EICAR":                      {strings.NewReader(hstest.EICAR()), hstest.ClamdSignature, nil},
			"EICAR byte by byte":         {iotest.OneByteReader(strings.NewReader(hstest.EICAR())), hstest.ClamdSignature, nil},
			"EICAR behind a megabyte":    {io.MultiReader(harmless(1<<20), strings.NewReader(hstest.EICAR())), hstest.ClamdSignature, nil},
			"text":                       {strings.NewReader("Shall we meet at noon?"), "", nil},
			"nothing":                    {strings.NewReader(""), "", nil},
			"a megabyte":                 {harmless(1 << 20), "", nil},
			"as much as it takes":        {harmless(hstest.ClamdStreamMax), "", nil},
			"one byte more":              {harmless(hstest.ClamdStreamMax + 1), "", ErrTooLarge},
			"much more":                  {harmless(64 << 20), "", ErrTooLarge},
			"EICAR behind what it takes": {io.MultiReader(harmless(hstest.ClamdStreamMax), strings.NewReader(hstest.EICAR())), "", ErrTooLarge},
			"a file that breaks":         {io.MultiReader(harmless(1000), iotest.ErrReader(broken)), "", broken},
		} {
			signature, err := c.Scan(t.Context(), tc.r)
			if signature != tc.signature || !errors.Is(err, tc.err) {
				t.Errorf("%s, %s: got %q, error %v, want %q, error %v", name, what, signature, err, tc.signature, tc.err)
			}
			var u interface{ Unavailable() bool }
			if errors.As(err, &u) {
				t.Errorf("%s, %s: the scanner is blamed: %v", name, what, err)
			}
		}
	}
}

func TestDaemonThatIsAway(t *testing.T) {
	t.Parallel()
	d := hstest.Clamd(t)
	d.Kill9(t)
	all := addresses(d)
	all["no socket"] = Clamd{Address: "unix:" + filepath.Join(t.TempDir(), "nothing")}
	for name, c := range all {
		signature, err := c.Scan(t.Context(), strings.NewReader("text"))
		wantUnavailable(t, name, signature, err)
	}
	d.Restart(t)
	for name, c := range addresses(d) {
		if signature, err := c.Scan(t.Context(), strings.NewReader(hstest.EICAR())); signature != hstest.ClamdSignature || err != nil {
			t.Errorf("%s, after the restart: got %q, error %v", name, signature, err)
		}
	}
}

// does calls f once, when it is read.
type does struct{ f func() }

func (d *does) Read([]byte) (int, error) {
	if d.f != nil {
		d.f()
	}
	d.f = nil
	return 0, io.EOF
}

func TestDaemonKilledDuringScan(t *testing.T) {
	t.Parallel()
	d := hstest.Clamd(t)
	for name, c := range addresses(d) {
		r := io.MultiReader(harmless(1<<20), &does{func() { d.Kill9(t) }}, harmless(1000), strings.NewReader(hstest.EICAR()))
		signature, err := c.Scan(t.Context(), r)
		wantUnavailable(t, name, signature, err)
		d.Restart(t)
	}
}

func TestDaemonThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	d := hstest.Clamd(t)
	for name, c := range addresses(d) {
		c.Timeout = time.Second
		for what, size := range map[string]int64{"a small file": 1000, "a file that fills the socket": 64 << 20} {
			r := io.MultiReader(harmless(1000), &does{func() { d.Pause(t) }}, harmless(size))
			signature, err := c.Scan(t.Context(), r)
			wantUnavailable(t, name+", "+what, signature, err)
			d.Resume(t)
		}
		// A file that is slow is no daemon that is: it waits for its next chunk for longer than we for its answer.
		// On a busy machine the daemon may be slow as well: then it is given more time, and the file takes still more.
		for ; ; c.Timeout *= 2 {
			slow := io.MultiReader(harmless(1000), &does{func() { time.Sleep(c.Timeout * 6 / 5) }}, strings.NewReader(hstest.EICAR()))
			signature, err := c.Scan(t.Context(), slow)
			if signature == hstest.ClamdSignature && err == nil {
				break
			}
			if c.Timeout > 20*time.Second {
				t.Errorf("%s, a slow file: got %q, error %v", name, signature, err)
				break
			}
		}
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	t.Parallel()
	d := hstest.Clamd(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(harmless(1000), &does{func() { d.Pause(t); cancel() }}, harmless(1000))
	if _, err := (Clamd{Address: d.Unix}).Scan(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
	d.Resume(t)
}

// What is not understood is never clean.
func TestStrangeAnswersAreNoVerdict(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"\x00", "OK\x00", "stream: \x00", "stream: FOUND\x00", "stream:  FOUND\x00", "UNKNOWN COMMAND\x00", "stream: OK", "stream: OK and more\x00",
		"stream: Can't allocate memory ERROR\x00", strings.Repeat("x", 1<<20)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err == nil {
				io.WriteString(conn, line)
				conn.Close()
			}
		}()
		signature, err := Clamd{Address: l.Addr().String()}.Scan(t.Context(), strings.NewReader("text"))
		wantUnavailable(t, line[:min(len(line), 20)], signature, err)
		l.Close()
	}
}
