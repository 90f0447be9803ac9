package preview

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/limits"
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
