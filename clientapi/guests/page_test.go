package guests

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/roomline/roomline/internal/httpapi"
)

func packed(t *testing.T, text string) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func serve(t *testing.T, files fstest.MapFS) http.Handler {
	t.Helper()
	p, err := loadPage(files)
	if err != nil {
		t.Fatal(err)
	}
	return httpapi.New(httpapi.Config{}, (&Server{page: p}).pageRoutes())
}

func fetch(h http.Handler, path, encodings string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if encodings != "" {
		r.Header.Set("Accept-Encoding", encodings)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestThePageIsServed(t *testing.T) {
	t.Parallel()
	h := serve(t, fstest.MapFS{
		".gitkeep":             {},
		"index.html.gz":        packed(t, "<html>"),
		"index.html.br":        {Data: []byte("brotli html")},
		"assets/a-1234.js.gz":  packed(t, "script"),
		"assets/a-1234.js.br":  {Data: []byte("brotli script")},
		"assets/c-1234.wasm":   {Data: []byte("wasm")},
		"assets/.hidden":       {Data: []byte("hidden")},
		"manifest.webmanifest": {Data: []byte("{}")},
	})
	for _, c := range []struct {
		path, accepted, encoding, kind, body, caching string
	}{
		{"/i", "gzip, br", "br", "text/html; charset=utf-8", "brotli html", "no-store"},
		{"/i?loginToken=x", "br;q=0, gzip;q=0.5", "gzip", "text/html; charset=utf-8", "", "no-store"},
		{"/i/", "", "", "text/html; charset=utf-8", "<html>", "no-store"},
		{"/i/index.html", "br;q=0.0", "", "text/html; charset=utf-8", "<html>", "no-store"},
		{"/i/assets/a-1234.js", "gzip, deflate, br", "br", "text/javascript; charset=utf-8", "brotli script", "public, max-age=31536000, immutable"},
		{"/i/assets/a-1234.js", "identity", "", "text/javascript; charset=utf-8", "script", "public, max-age=31536000, immutable"},
		{"/i/assets/c-1234.wasm", "br", "", "application/wasm", "wasm", "public, max-age=31536000, immutable"},
		{"/i/manifest.webmanifest", "", "", "application/manifest+json", "{}", "no-store"},
	} {
		w := fetch(h, c.path, c.accepted)
		header := w.Header()
		if w.Code != 200 || header.Get("Content-Encoding") != c.encoding || header.Get("Content-Type") != c.kind || c.body != "" && w.Body.String() != c.body ||
			header.Get("Cache-Control") != c.caching || header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s with %q: %d %v %.40q", c.path, c.accepted, w.Code, header, w.Body)
		}
		csp := header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: the policy has no %s: %s", c.path, part, csp)
			}
		}
		if strings.Contains(csp, "unsafe-inline") || strings.Contains(csp, "http") || header.Get("Referrer-Policy") != "no-referrer" ||
			!strings.HasPrefix(header.Get("X-Robots-Tag"), "noindex") || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", c.path, header)
		}
	}
	for _, path := range []string{"/i/none.js", "/i/assets/", "/i/assets/.hidden", "/i/.gitkeep", "/i/assets/../index.html", "/i/..%2findex.html", "/i/index.html.gz", "/i/a/b/c"} {
		if w := fetch(h, path, "br"); w.Code != 404 {
			t.Errorf("%s: %d %.40q", path, w.Code, w.Body)
		}
	}
}

func TestAPageThatWasNotBuiltSaysSo(t *testing.T) {
	t.Parallel()
	w := fetch(serve(t, fstest.MapFS{".gitkeep": {}}), "/i", "")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "make build") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, err := loadPage(fstest.MapFS{"a.js.br": {Data: []byte("x")}}); err == nil {
		t.Error("a file that only some can read is taken")
	}
}

func TestThePageMaySpeakToTheSFU(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"":                               "connect-src 'self'; ",
		"wss://sfu.example.org":          "connect-src 'self' wss://sfu.example.org https://sfu.example.org; ",
		"https://chat.example.org/a":     "connect-src 'self' wss://chat.example.org https://chat.example.org; ",
		"http://127.0.0.1:7880":          "connect-src 'self' ws://127.0.0.1:7880 http://127.0.0.1:7880; ",
		"wss://sfu.example.org:8443/x/y": "connect-src 'self' wss://sfu.example.org:8443 https://sfu.example.org:8443; ",
	} {
		allowed, err := connections(address)
		if policy := pageHeaders(allowed)["Content-Security-Policy"]; err != nil || !strings.Contains(policy, want) {
			t.Errorf("%s: %v %s", address, err, policy)
		}
	}
	for _, address := range []string{"sfu.example.org", "wss://a;script-src *", "wss://"} {
		if allowed, err := connections(address); err == nil {
			t.Errorf("%s is taken: %v", address, allowed)
		}
	}
}
