package preview

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/outbound"
)

// endless writes a piece again and again until nobody listens, and counts what it wrote.
func endless(s *site, path string, header http.Header, first string, piece []byte, pause time.Duration) *atomic.Int64 {
	written := new(atomic.Int64)
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		if _, err := io.WriteString(w, first); err != nil {
			return
		}
		for r.Context().Err() == nil && written.Load() < 20<<20 {
			n, err := w.Write(piece)
			if written.Add(int64(n)); err != nil {
				return
			}
			if pause > 0 {
				w.(http.Flusher).Flush()
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
				}
			}
		}
	})
	return written
}

// SEC-62: pages without end, without speed, and with more in them than it seems.
func TestEndlessAnswersAreCutOff(t *testing.T) {
	s := newSite(t)
	within := func(d time.Duration) *Fetcher {
		return newFetcher(func(c *Config, _ *outbound.Config) { c.Timeout = d })
	}
	hasty, unhurried := within(2*time.Second), within(time.Minute)
	spaces := bytes.Repeat([]byte(" "), 10<<20)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(spaces)
	z.Close()
	var start bytes.Buffer // the bytes after it still could belong to the picture
	z = gzip.NewWriter(&start)
	_, _ = io.WriteString(z, picture(9, 9)[:40])
	z.Close()
	html, zipped := http.Header{"Content-Type": {"text/html"}}, http.Header{"Content-Type": {"text/html"}, "Content-Encoding": {"gzip"}}
	drip := endless(s, "/drip", html, "<head><title>x</title>", []byte("<p>"), 10*time.Millisecond)
	flood := endless(s, "/flood", html, "", spaces[:64<<10], 0)
	endless(s, "/bomb", zipped, "", bomb.Bytes(), 0)
	endless(s, "/bomb.png", http.Header{"Content-Type": {"image/png"}, "Content-Encoding": {"gzip"}}, start.String(), bomb.Bytes(), 0)
	s.serve("/nested", "text/html", "<html><head>"+strings.Repeat("<b>", 200_000)+"<title>deep</title>"+strings.Repeat("<div>", 1_000_000))
	s.serve("/attributes", "text/html", "<meta "+strings.Repeat("a ", 400_000)+"><title>wide</title>")
	s.serve("/with-bomb", "text/html", `<title>page</title><meta property="og:image" content="/bomb.png">`)
	s.mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s.mux.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	})

	runtime.GC()
	before := peak(t)
	for path, title := range map[string]string{"/drip": "", "/flood": "-", "/bomb": "-", "/nested": "deep", "/attributes": "wide", "/with-bomb": "page", "/silent": "", "/header": "", "/bomb.png": "bomb.png"} {
		f := unhurried
		if path == "/drip" || path == "/silent" {
			f = hasty
		}
		p, err := f.Fetch(t.Context(), s.URL+path, "")
		switch got := p.Properties["og:title"]; {
		case title == "":
			mustBeNothing(t, path, err)
		case err != nil, title != "-" && got != title, p.Image != nil:
			t.Errorf("%s: %v %v", path, p.Properties, err)
		}
	}
	if more := peak(t) - before; more > 50<<10 {
		t.Errorf("%d MiB more than before", more>>10)
	}
	if flood.Load() > 10<<20 || drip.Load() > 1<<20 {
		t.Errorf("%d and %d bytes were sent", flood.Load(), drip.Load())
	}
}

// peak is the largest resident size since it was asked for last, in KiB.
func peak(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatalf("set the peak of memory back: %v", err)
	}
	return kib
}

func TestOnlySomePreviewsAreFetchedAtOneTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var running, most atomic.Int32
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		w.Header().Set("Content-Type", "text/html")
	})
	f := newFetcher(nil)
	var all sync.WaitGroup
	for range 3 * limits.PreviewParallel {
		all.Go(func() {
			if _, err := f.Fetch(t.Context(), s.URL, ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() > limits.PreviewParallel {
		t.Errorf("%d at one time", most.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Fetch(ctx, s.URL, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
