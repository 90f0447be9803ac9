package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomline/roomline/internal/matrix"
)

// tokens is an Authenticator with fixed answers; it stands for the accounts, which tests here cannot import.
type tokens map[string]*Requester

// unavailable stands for an error of the store.
type unavailable struct{}

func (unavailable) Error() string     { return "dial unix: connection refused" }
func (unavailable) Unavailable() bool { return true }

func (t tokens) Authenticate(_ context.Context, token string) (*Requester, error) {
	if token == "database-away" {
		return nil, fmt.Errorf("look up token: %w", unavailable{})
	}
	if r := t[token]; r != nil {
		return r, nil
	}
	return nil, matrix.UnknownToken(false)
}

var people = tokens{
	"alice": {User: "@alice:hs1", Device: "PHONE", SessionID: 1},
	"irc":   {User: "@irc:hs1", Appservice: "irc"},
}

// lockedBuffer collects log lines of several requests.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// site is a running server with the given routes.
type site struct {
	*httptest.Server
	t   *testing.T
	log *lockedBuffer
	reg *prometheus.Registry
}

func newSite(t *testing.T, routes ...Route) *site {
	t.Helper()
	return newLimitedSite(t, nil, routes...)
}

func newLimitedSite(t *testing.T, l Limiter, routes ...Route) *site {
	t.Helper()
	s := &site{t: t, log: new(lockedBuffer), reg: prometheus.NewRegistry()}
	s.Server = httptest.NewServer(New(Config{
		Log:     slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Auth:    people,
		Limiter: l,
		Metrics: s.reg,
	}, routes))
	t.Cleanup(s.Close)
	return s
}

// answer is a response whose body has been read.
type answer struct {
	*http.Response
	text string
	body map[string]any
}

// send makes a request on a connection of its own, with exactly this target, and follows nothing.
func (s *site) send(method, target, body string, headers ...string) answer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: hs1\r\nConnection: close\r\n", method, target)
	if body != "" {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(body))
	}
	for _, h := range headers {
		head.WriteString(h + "\r\n")
	}
	_, _ = io.WriteString(conn, head.String()+"\r\n"+body) // the server may answer before it has read all
	return readAnswer(s.t, conn, method)
}

// wants checks status and errcode, and what holds for every answer.
func (a answer) wants(t *testing.T, status int, code matrix.ErrCode) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d: %s", a.StatusCode, status, a.text)
	}
	if got, _ := a.body["errcode"].(string); got != string(code) {
		t.Errorf("errcode %q, want %q", got, code)
	}
	if msg, _ := a.body["error"].(string); code != "" && msg == "" {
		t.Error("the error has no message")
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
		"Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
		"X-Content-Type-Options":       "nosniff",
		"Content-Type":                 "application/json",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
}

// readAnswer reads one response from the wire.
func readAnswer(t *testing.T, conn net.Conn, method string) answer {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the body of the answer: %v", err)
	}
	a := answer{Response: resp, text: string(text)}
	_ = json.Unmarshal(text, &a.body) // not every body is an object
	return a
}
