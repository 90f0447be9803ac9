package guests

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
)

// PagePath is where the page is. What a link has after it, behind a #, no server is sent.
const PagePath = "/i"

// pageHeaders are of every file. The page loads its own files and nothing else, is part of no other page, and speaks to this server and to
// where meetings are.
func pageHeaders(sfu []string) map[string]string {
	connect := strings.Join(append([]string{"'self'"}, sfu...), " ")
	return map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; " +
			"media-src 'self' blob:; font-src 'self'; manifest-src 'self'; connect-src " + connect + "; worker-src 'self' blob:; " +
			"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		"Referrer-Policy":            "no-referrer",
		"X-Robots-Tag":               "noindex, nofollow",
		"X-Content-Type-Options":     "nosniff",
		"Permissions-Policy":         "camera=(self), display-capture=(self), fullscreen=(self), geolocation=(), microphone=(self), picture-in-picture=(self)",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Vary":                       "Accept-Encoding",
	}
}

// connections are what a policy has to allow for an SFU: signalling goes over a WebSocket, and where that fails the page asks over HTTP why.
func connections(address string) ([]string, error) {
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || strings.ContainsAny(u.Host, "; ,'\"") {
		return nil, fmt.Errorf("%q is no address of an SFU", address)
	}
	if u.Scheme == "https" || u.Scheme == "wss" {
		return []string{"wss://" + u.Host, "https://" + u.Host}, nil
	}
	return []string{"ws://" + u.Host, "http://" + u.Host}, nil
}

// page is the files of the page.
type page struct {
	files   map[string]*file
	headers map[string]string
}

// file is a file in the encodings that it is in: "br", "gzip", or "" for none.
type file struct {
	contentType string
	bytes       map[string][]byte
}

// encodings are by what a file's name ends with.
var encodings = map[string]string{".br": "br", ".gz": "gzip"}

// loadPage reads all files of a page. A file may be there compressed, beside the plain one or in its place.
func loadPage(from fs.FS) (*page, error) {
	p := &page{files: make(map[string]*file), headers: pageHeaders(nil)}
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		encoding := encodings[path.Ext(name)]
		if encoding != "" {
			name = strings.TrimSuffix(name, path.Ext(name))
		}
		f := p.files[name]
		if f == nil {
			f = &file{contentType: contentType(name), bytes: make(map[string][]byte)}
			p.files[name] = f
		}
		f.bytes[encoding] = content
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the files of the page: %w", err)
	}
	for name, f := range p.files {
		if f.bytes[""] == nil && f.bytes["gzip"] == nil {
			return nil, fmt.Errorf("the page's file %s is there in an encoding only that not everybody reads", name)
		}
	}
	return p, nil
}

// contentType is by the file's name alone: what machines know differs.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".wasm":
		return "application/wasm"
	case ".json", ".map":
		return "application/json"
	case ".webmanifest":
		return "application/manifest+json"
	case ".woff2":
		return "font/woff2"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

func (s *Server) pageRoutes() []httpapi.Route {
	var routes []httpapi.Route
	for _, p := range []string{PagePath, PagePath + "/{$}", PagePath + "/{file}", PagePath + "/{folder}/{file}"} {
		routes = append(routes, httpapi.Route{Method: get, Path: p, Limit: ratelimit.Read, Handle: s.getPage})
	}
	return routes
}

// getPage serves the page and its files.
func (s *Server) getPage(_ context.Context, c *httpapi.Call) (any, error) {
	name := path.Join(c.Path("folder"), c.Path("file"))
	if name == "" {
		name = "index.html"
	}
	var f *file
	if s.page != nil {
		f = s.page.files[name]
	}
	if f == nil && name == "index.html" {
		return httpapi.Status{Code: http.StatusServiceUnavailable, Body: httpapi.Content{
			Type: "text/plain; charset=utf-8", Bytes: []byte("The page was not built: run make build.\n")}}, nil
	}
	if f == nil {
		return nil, matrix.NotFound("there is no such file")
	}
	h := c.W.Header()
	for key, value := range s.page.headers {
		h.Set(key, value)
	}
	// Names in assets/ have a hash of what is in the file.
	if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-store")
	}
	return f.answer(c)
}

// answer picks the encoding that the client reads.
func (f *file) answer(c *httpapi.Call) (any, error) {
	h := c.W.Header()
	accepted := c.Request.Header.Get("Accept-Encoding")
	for _, encoding := range []string{"br", "gzip"} {
		if content := f.bytes[encoding]; content != nil && accepts(accepted, encoding) {
			h.Set("Content-Encoding", encoding)
			return httpapi.Content{Type: f.contentType, Bytes: content}, nil
		}
	}
	content, err := f.plain()
	if err != nil {
		return nil, err
	}
	return httpapi.Content{Type: f.contentType, Bytes: content}, nil
}

// largestFile bounds what a file of ours unpacks to.
const largestFile = 64 << 20

func (f *file) plain() ([]byte, error) {
	if content := f.bytes[""]; content != nil {
		return content, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(f.bytes["gzip"]))
	if err != nil {
		return nil, fmt.Errorf("unpack a file of the page: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(r, largestFile+1))
	if err == nil && len(content) > largestFile {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("unpack a file of the page: %w", err)
	}
	return content, nil
}

// accepts reports whether an Accept-Encoding header names the encoding and does not refuse it.
//
// Spec: RFC 9110 §12.5.3
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		q, weighed := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !weighed || err == nil && weight > 0
	}
	return false
}
