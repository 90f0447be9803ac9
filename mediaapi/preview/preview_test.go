package preview

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/roomline/roomline/internal/hstest/freeport"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
)

// In these tests 127.0.0.1 is the Internet, and everything else is as it is: 127.0.0.2 is inside.
var internet = netip.MustParsePrefix("127.0.0.1/32")

// site serves what tests put into it, and remembers the last request.
type site struct {
	*httptest.Server
	mux  *http.ServeMux
	last atomic.Pointer[http.Request]
}

func newSite(t *testing.T) *site {
	s := &site{mux: http.NewServeMux()}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.last.Store(r)
		s.mux.ServeHTTP(w, r)
	}))
	// What nobody reads any more fills little but the reader's own buffer.
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if err := c.(*net.TCPConn).SetWriteBuffer(64 << 10); err != nil {
			t.Error(err)
		}
		return ctx
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// serve answers a path with a body.
func (s *site) serve(path, contentType, body string, header ...string) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, body)
	})
}

func (s *site) redirect(path, to string, status int) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	})
}

// now is the time of all tests.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newFetcher(change func(*Config, *outbound.Config)) *Fetcher {
	cfg := Config{UserAgent: "Roomline", AcceptLanguage: "en", Now: func() time.Time { return now }, Timeout: time.Minute}
	out := outbound.Config{Allowed: []netip.Prefix{internet}, Timeout: time.Minute}
	if change != nil {
		change(&cfg, &out)
	}
	cfg.Client = outbound.New(out)
	return New(cfg)
}

func picture(width, height int) string {
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return out.String()
}

func TestPagesAreDescribed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	pic := picture(48, 24)
	s.serve("/pic.png", "application/octet-stream", pic)
	imageOf := map[string]any{"og:image:type": "image/png", "og:image:width": 48, "og:image:height": 24, "matrix:image:size": len(pic)}
	for i, tc := range []struct {
		contentType, page string
		want              map[string]any
		image             bool
	}{
		{"text/html; charset=utf-8", `<!doctype html><html><head><title>not this</title><meta property="og:title" content=" A
			 title &amp; more "><meta property="og:description" content="About ` + "\u202e" + `it"><meta property="og:type" content="article"><meta property="og:site_name"
			 content="Site"><meta property="og:url" content="https://example.com/canonical"><meta property="og:image" content="/pic.png">
			 <meta property="og:title" content="second"></head>`,
			map[string]any{"og:title": "A title & more", "og:description": "About it", "og:type": "article", "og:site_name": "Site", "og:url": "https://example.com/canonical"}, true},
		{"text/html", `<TITLE>Only a title</TITLE><meta name=description content=d><p>text`, map[string]any{"og:title": "Only a title", "og:description": "d"}, false},
		{"text/html", `<meta name="twitter:title" content="T"><meta name="twitter:description" content="D"><meta name="twitter:image:src" content="../pic.png">`,
			map[string]any{"og:title": "T", "og:description": "D"}, true},
		{"text/html", `<body><svg></svg><script>"<title>no</title>"</script><title>In the body</title>`, map[string]any{"og:title": "In the body"}, false},
		{"text/html; charset=iso-8859-1", "<title>Gr\xfc\xdfe</title>", map[string]any{"og:title": "Grüße"}, false},
		{"text/html", "<meta charset=windows-1251><title>\xcf\xf0\xe8\xe2\xe5\xf2</title>", map[string]any{"og:title": "Привет"}, false},
		{"text/html; charset=utf-16le", "<\x00t\x00i\x00t\x00l\x00e\x00>\x00h\x00i\x00", map[string]any{"og:title": "hi"}, false},
		{"", "<!doctype html><title>No type</title>", map[string]any{"og:title": "No type"}, false},
		{"text/html", "", map[string]any{}, false},
		{"text/html", `<title>x</title><meta property="og:url" content="javascript:alert(1)"><meta property=og:image content="data:image/png;base64,AAAA">`, map[string]any{"og:title": "x"}, false},
		{"text/html", "<title>" + strings.Repeat("ü", 400) + "</title>", map[string]any{"og:title": strings.Repeat("ü", limits.PreviewTitle-1) + "…"}, false},
		{"text/html", `<base href="/a/b/"><title>x</title><link rel="image_src" href="../../pic.png">`, map[string]any{"og:title": "x"}, true},
		{"text/html", `<title>x</title><meta property=og:image content="/nothing.png"><meta property=og:image:alt content=alt>`, map[string]any{"og:title": "x"}, false},
		{"text/plain", "first\nsecond", map[string]any{"og:description": "first second", "og:title": "13"}, false},
		{"video/mp4", "\x00", map[string]any{"og:type": "video.other", "og:video:type": "video/mp4", "og:title": "14"}, false},
		{"image/png", pic, map[string]any{"og:title": "15"}, true},
		{"image/svg+xml", "<svg/>", map[string]any{"og:title": "16"}, false},
		{"application/pdf", "%PDF", map[string]any{"og:title": "17"}, false},
	} {
		path := "/page/" + strconv.Itoa(i)
		s.serve(path, tc.contentType, tc.page)
		p, err := newFetcher(nil).Fetch(t.Context(), s.URL+path+"#part", "")
		if err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		if tc.want["og:url"] == nil {
			tc.want["og:url"] = s.URL + path
		}
		if tc.image {
			for name, value := range imageOf {
				tc.want[name] = value
			}
			if p.Image == nil || string(p.Image.Data) != pic || p.Image.ContentType != "image/png" || p.Image.Width != 48 || p.Image.Height != 24 {
				t.Errorf("%d: image %+v", i, p.Image)
			}
		}
		if !reflect.DeepEqual(p.Properties, tc.want) || tc.image != (p.Image != nil) {
			t.Errorf("%d:\n got %v\nwant %v", i, p.Properties, tc.want)
		}
	}
}

func TestOEmbedSaysWhatThePageDoesNot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve("/pic.png", "image/png", picture(10, 10))
	for i, tc := range []struct {
		answer string
		want   map[string]any
		image  bool
	}{
		{`{"version":"1.0","type":"video","title":"V","provider_name":"P","thumbnail_url":"/pic.png","html":"<iframe>"}`, map[string]any{"og:title": "V", "og:site_name": "P"}, true},
		{`{"version":1.0,"type":"photo","title":"V","url":"/pic.png"}`, map[string]any{"og:title": "V"}, true},
		{`{"type":"rich","author_name":"A","html":"<blockquote>Hello<br>you<script>no()</script></blockquote>"}`, map[string]any{"og:title": "A", "og:description": "Hello you"}, false},
		{`{"type":"rich","title":"a","title":"b"}`, map[string]any{"og:title": "page"}, false},
		{`{"title":` + strings.Repeat("[", 10_000), map[string]any{"og:title": "page"}, false},
		{`{"title":"` + strings.Repeat("x", limits.PreviewOEmbed) + `"}`, map[string]any{"og:title": "page"}, false},
	} {
		n := strconv.Itoa(i)
		s.serve("/page/"+n, "text/html", `<title>page</title><link rel=alternate type="application/json+oembed" href="/oembed/`+n+`?a=1&amp;b=2">`)
		s.serve("/oembed/"+n, "application/json", tc.answer)
		p, err := newFetcher(nil).Fetch(t.Context(), s.URL+"/page/"+n, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"og:title", "og:description", "og:site_name"} {
			if p.Properties[name] != tc.want[name] {
				t.Errorf("%d: %s is %v, want %v", i, name, p.Properties[name], tc.want[name])
			}
		}
		if tc.image != (p.Image != nil) {
			t.Errorf("%d: image %v", i, p.Image)
		}
	}
}

func TestExpiryAndLanguage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i, tc := range []struct {
		cacheControl string
		want         time.Duration
	}{
		{"", time.Hour}, {"max-age=7200", 2 * time.Hour}, {"public, Max-Age=1", 5 * time.Minute}, {"max-age=999999999", 24 * time.Hour}, {"no-store", 5 * time.Minute},
		{"max-age=-5", time.Hour}, {"max-age=99999999999999999999", time.Hour}, {"max-age=7200, no-cache", 5 * time.Minute},
	} {
		path := "/" + strconv.Itoa(i)
		s.serve(path, "text/html", "<title>x</title>", "Cache-Control", tc.cacheControl)
		p, err := newFetcher(nil).Fetch(t.Context(), s.URL+path, "de,fr;q=0.5")
		if err != nil || !p.Expires.Equal(now.Add(tc.want)) {
			t.Errorf("%q: %v %v", tc.cacheControl, p.Expires.Sub(now), err)
		}
	}
	if h := s.last.Load().Header; h.Get("Accept-Language") != "de,fr;q=0.5" || h.Get("User-Agent") != "Roomline" {
		t.Errorf("asked with %v", h)
	}
	for _, odd := range []string{"", "de\r\nX: y", strings.Repeat("a", 300)} {
		if _, err := newFetcher(nil).Fetch(t.Context(), s.URL+"/0", odd); err != nil || s.last.Load().Header.Get("Accept-Language") != "en" {
			t.Errorf("%q: %v, asked with %v", odd, err, s.last.Load().Header)
		}
	}
}

func TestURLsThatAreNotOfTheWebAreRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "x", "//host/", "ftp://host/", "file:///etc/passwd", "gopher://host/", "http:host", "http://", "http://:80/", "http://user@host/", "https://u:p@host/",
		"http://host:0/", "http://host:99999/", "http://host:/", "http://ho st/", "javascript:alert(1)", "http://host/\n", "http://host/" + strings.Repeat("x", limits.PreviewURL)} {
		_, err := newFetcher(nil).Fetch(t.Context(), raw, "")
		if e, ok := matrix.AsError(err); !ok || e.Status != http.StatusBadRequest {
			t.Errorf("%.40q: %v", raw, err)
		}
	}
}

// inside listens in the blocked range and counts who connects.
func inside(t *testing.T, address string) (port int, connections *atomic.Int32) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("nothing can listen on %s: %v", address, err)
	}
	connections = new(atomic.Int32)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<title>secret</title>")
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().(*net.TCPAddr).Port, connections
}

// mustBeNothing insists on the one error.
func mustBeNothing(t *testing.T, what string, err error) {
	t.Helper()
	if !reflect.DeepEqual(err, noPreview()) {
		t.Errorf("%s: %v", what, err)
	}
}

// names is a name server: it answers each name with its next list of addresses, and stays with the last.
func names(t *testing.T, hosts map[string][][]string) *net.Resolver {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			host := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
			m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
			if lists := hosts[host]; len(lists) > 0 {
				m.RCode = dnsmessage.RCodeSuccess
				if q.Type == dnsmessage.TypeA {
					for _, a := range lists[0] {
						m.Answers = append(m.Answers, dnsmessage.Resource{
							Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
							Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
						})
					}
					if len(lists) > 1 {
						hosts[host] = lists[1:]
					}
				}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = socket.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		conn, err := net.DialUDP("udp", nil, socket.LocalAddr().(*net.UDPAddr))
		return patient{conn}, err
	}}
}

// patient waits for an answer as long as it takes: a question that is asked again would get the next list.
type patient struct{ *net.UDPConn }

func (patient) SetDeadline(time.Time) error { return nil }

// SEC-60: nothing inside is connected to, however it is written, and it looks like what is not there.
func TestAddressesInsideAreNeverConnectedTo(t *testing.T) {
	t.Parallel()
	port, connections := inside(t, "127.0.0.2:0")
	if listener, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", port)); err == nil {
		listener.Close()
		inside6 := fmt.Sprintf("[::1]:%d", port)
		_, connections6 := inside(t, inside6)
		defer func() {
			if n := connections6.Load(); n > 0 {
				t.Errorf("%d connections to %s", n, inside6)
			}
		}()
	}
	s := newSite(t)
	siteURL, _ := url.Parse(s.URL)
	f := newFetcher(func(_ *Config, out *outbound.Config) {
		out.Resolver = names(t, map[string][][]string{
			"inside.test": {{"127.0.0.2"}},
			"zero.test":   {{"0.0.0.0"}},
			"rebind.test": {{"127.0.0.1"}, {"127.0.0.2"}},
			"public.test": {{"127.0.0.1"}},
		})
	})
	hosts := []string{"127.0.0.2", "2130706434", "0x7f000002", "0x7f.0.0.2", "0177.0.0.2", "017700000002", "127.2", "127.0.0.2.", "①②⑦.0.0.2", "0.0.0.0", "[::]", "[::1]",
		"[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[::127.0.0.2]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "[2001:0:7f00:2::]", "[fe80::1]", "169.254.169.254", "10.0.0.1", "240.0.0.1",
		"192.168.0.1", "100.64.0.1", "inside.test", "INSIDE.test.", "zero.test"}
	for i, host := range hosts {
		to := fmt.Sprintf("http://%s:%d/", host, port)
		_, err := f.Fetch(t.Context(), to, "")
		if e, ok := matrix.AsError(err); !ok || e.Status != http.StatusBadRequest { // some are no URLs
			mustBeNothing(t, to, err)
		}
		path := fmt.Sprintf("/to/%d", i)
		s.redirect(path, to, []int{301, 302, 303, 307, 308}[i%5])
		_, err = f.Fetch(t.Context(), s.URL+path, "")
		mustBeNothing(t, "redirect to "+to, err)
	}
	for i, to := range []string{"ftp://127.0.0.1/", "file:///etc/passwd", "http://user@127.0.0.1/", "http://127.0.0.1:0/", "", "::::"} {
		path := "/odd/" + strconv.Itoa(i)
		s.redirect(path, to, 302)
		_, err := f.Fetch(t.Context(), s.URL+path, "")
		mustBeNothing(t, "redirect to "+to, err)
	}

	// The first answer is public and is used; the next one is not.
	s.redirect("/again", fmt.Sprintf("http://rebind.test:%d/", port), 302)
	_, err := f.Fetch(t.Context(), "http://rebind.test:"+siteURL.Port()+"/again", "")
	mustBeNothing(t, "a name that changes its address", err)
	if s.last.Load().Host != "rebind.test:"+siteURL.Port() {
		t.Errorf("the public address was not asked: %v", s.last.Load().Host)
	}
	if n := connections.Load(); n > 0 {
		t.Errorf("%d connections", n)
	}

	// What is not there looks the same; what is there and public is found.
	s.serve("/here", "text/html", "<title>here</title>")
	for _, raw := range []string{"http://nowhere.test/", "http://127.0.0.1:1/", s.URL + "/missing"} {
		_, err := f.Fetch(t.Context(), raw, "")
		mustBeNothing(t, raw, err)
	}
	if p, err := f.Fetch(t.Context(), "http://public.test:"+siteURL.Port()+"/here", ""); err != nil || p.Properties["og:title"] != "here" {
		t.Errorf("%v %v", p, err)
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve("/0", "text/html", "<title>x</title>")
	for i := range 6 {
		s.redirect(fmt.Sprintf("/%d", i+1), fmt.Sprint(i), 302)
	}
	if p, err := newFetcher(nil).Fetch(t.Context(), s.URL+"/5", ""); err != nil || p.Properties["og:url"] != s.URL+"/0" {
		t.Errorf("five redirects: %v %v", p, err)
	}
	_, err := newFetcher(nil).Fetch(t.Context(), s.URL+"/6", "")
	mustBeNothing(t, "six redirects", err)
}

// SEC-61: what must not be asked is not asked for the sake of a page that may be.
func TestPagesCannotPointPastTheRules(t *testing.T) {
	t.Parallel()
	blockedPort, blocked := inside(t, "127.0.0.2:0")
	deniedAddress, err := freeport.Address() // one that no other program asks by mistake
	if err != nil {
		t.Fatal(err)
	}
	deniedPort, denied := inside(t, deniedAddress)
	s := newSite(t)
	siteURL, _ := url.Parse(s.URL)
	port, _ := strconv.ParseUint(siteURL.Port(), 10, 16)
	targets := []string{fmt.Sprintf("http://127.0.0.2:%d/", blockedPort), fmt.Sprintf("http://127.0.0.1:%d/", deniedPort)}
	for name, change := range map[string]func(*Config, *outbound.Config){
		"allow-list": func(c *Config, _ *outbound.Config) {
			c.Allowed = func(u *url.URL) bool { return u.Host == siteURL.Host }
		},
		"ports": func(c *Config, _ *outbound.Config) { c.Ports = []uint16{443, uint16(port)} },
	} {
		f := newFetcher(change)
		for i, to := range targets {
			base := "/" + url.PathEscape(name) + "/" + strconv.Itoa(i)
			s.redirect("/"+name+"/"+strconv.Itoa(i)+"/away", to, 302)
			for what, head := range map[string]string{
				"image":             `<meta property="og:image" content="` + to + `">`,
				"redirected-image":  `<meta property="og:image" content="away">`,
				"oembed":            `<link rel="alternate" type="application/json+oembed" href="` + to + `">`,
				"redirected-oembed": `<link rel="alternate" type="application/json+oembed" href="away">`,
				"base":              `<base href="` + to + `"><meta property="og:image" content="x.png">`,
				"oembed-thumbnail":  `<link rel="alternate" type="application/json+oembed" href="json">`,
			} {
				page := "/" + name + "/" + strconv.Itoa(i) + "/" + what
				s.serve(page, "text/html", head+"<title>page</title>")
				if what == "oembed-thumbnail" {
					s.serve("/"+name+"/"+strconv.Itoa(i)+"/json", "application/json", `{"type":"photo","url":"`+to+`"}`)
				}
				p, err := f.Fetch(t.Context(), s.URL+base+"/"+url.PathEscape(what), "")
				if err != nil || p.Properties["og:title"] != "page" || p.Image != nil {
					t.Errorf("%s, %s: %v %v", name, what, p, err)
				}
			}
			_, err := f.Fetch(t.Context(), s.URL+base+"/away", "")
			mustBeNothing(t, "redirect", err)
			_, err = f.Fetch(t.Context(), to, "")
			mustBeNothing(t, "page", err)
		}
	}
	if blocked.Load()+denied.Load() > 0 {
		t.Errorf("%d blocked and %d denied connections", blocked.Load(), denied.Load())
	}
	none := newFetcher(func(c *Config, _ *outbound.Config) { c.Allowed = func(*url.URL) bool { return false } })
	_, err = none.Fetch(t.Context(), s.URL, "")
	mustBeNothing(t, "an empty list", err)
	if s.last.Load().URL.Path == "/" {
		t.Error("an empty list allowed something")
	}
}

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

func FuzzReadPage(f *testing.F) {
	f.Add(`<title>x</title><meta property="og:image" content="/a">`, "https://example.com/")
	f.Add(`<link rel=alternate type=application/json+oembed href="//x"><base href=":">`, "https://example.com/")
	f.Add("<!--<title>", "http://x")
	f.Fuzz(func(t *testing.T, markup, at string) {
		p := readPage(strings.NewReader(markup))
		if u, err := url.Parse(at); err == nil {
			if link := resolve(p.base(u), p.image()); link != nil && ofTheWeb(link) != nil {
				t.Errorf("%v", link)
			}
		}
		if got := clean(textOf(markup), 10); len([]rune(got)) > 10 || strings.ContainsAny(got, "\n\x00") {
			t.Errorf("%q", got)
		}
	})
}
