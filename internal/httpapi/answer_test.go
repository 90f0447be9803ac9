package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomline/roomline/internal/matrix"
)

func TestResults(t *testing.T) {
	t.Parallel()
	type thing struct {
		A string `json:"a"`
	}
	results := map[string]any{
		"nil": nil, "pointer": (*thing)(nil), "struct": &thing{"<b>&"}, "raw": Raw(`{"raw":1}`), "noraw": Raw(nil),
		"status": Status{401, map[string]any{"flows": []int{}}}, "created": Status{201, nil}, "large": Raw(`"` + strings.Repeat("x", 100_000) + `"`),
	}
	var routes []Route
	for name, r := range results {
		routes = append(routes, Route{Method: "GET", Path: "/" + name, Handle: func(context.Context, *Call) (any, error) { return r, nil }})
	}
	routes = append(routes, Route{Method: "GET", Path: "/own", Handle: func(_ context.Context, c *Call) (any, error) {
		c.W.Header().Set("Content-Type", "text/plain")
		c.W.WriteHeader(202)
		_, err := io.WriteString(c.W, "mine")
		return nil, err
	}})
	s := newSite(t, routes...)
	for name, want := range map[string]string{
		"nil": "200 {}", "pointer": "200 {}", "struct": `200 {"a":"<b>&"}`, "raw": `200 {"raw":1}`, "noraw": "200 {}",
		"status": `401 {"flows":[]}`, "created": "201 {}", "own": "202 mine", "large": "200 " + string(results["large"].(Raw)),
	} {
		a := s.send("GET", "/"+name, "")
		if got := fmt.Sprint(a.StatusCode, " ", a.text); got != want {
			t.Errorf("%s: %.50s, want %.50s", name, got, want)
		}
		if a.ContentLength < 0 {
			t.Errorf("%s: no Content-Length", name)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	failures := map[string]error{
		"forbidden": fmt.Errorf("join: %w", matrix.Forbidden("no")),
		"fields":    matrix.UnknownToken(true),
		"version":   matrix.IncompatibleRoomVersion("no").With("room_version", "99"),
		"limit":     matrix.LimitExceeded(1500 * time.Millisecond),
		"limitmore": matrix.LimitExceeded(time.Second).With("x", "y"),
		"away":      fmt.Errorf("load room: %w", unavailable{}),
		"ours":      errors.New("pq: secret detail"),
		"timeout":   context.DeadlineExceeded,
	}
	var routes []Route
	for name, err := range failures {
		routes = append(routes, Route{Method: "GET", Path: "/v3/{which}/" + name, Auth: AccessToken, Handle: func(context.Context, *Call) (any, error) { return nil, err }})
	}
	s := newSite(t, routes...)
	for _, tt := range []struct {
		name       string
		status     int
		code       matrix.ErrCode
		retryAfter string
		text       string
		lines      int // of the log
	}{
		{"forbidden", 403, "M_FORBIDDEN", "", `{"errcode":"M_FORBIDDEN","error":"no"}`, 0},
		{"fields", 401, "M_UNKNOWN_TOKEN", "", `"soft_logout":true`, 0},
		{"version", 400, "M_INCOMPATIBLE_ROOM_VERSION", "", `"room_version":"99"`, 0},
		{"limit", 429, "M_LIMIT_EXCEEDED", "2", `"retry_after_ms":1500`, 0},
		{"limitmore", 429, "M_LIMIT_EXCEEDED", "1", `"retry_after_ms":1000`, 0},
		{"away", 503, "M_UNKNOWN", "1", `database is not reachable`, 1},
		{"ours", 500, "M_UNKNOWN", "", `internal server error`, 1},
		{"timeout", 500, "M_UNKNOWN", "", `internal server error`, 1},
	} {
		before := strings.Count(s.log.String(), "\n")
		a := s.send("GET", "/v3/hidden-path/"+tt.name+"?access_token=alice&x=hidden-query", "")
		a.wants(t, tt.status, tt.code)
		if a.Header.Get("Retry-After") != tt.retryAfter || !strings.Contains(a.text, tt.text) || strings.Contains(a.text, "secret") {
			t.Errorf("%s: Retry-After %q, %s", tt.name, a.Header.Get("Retry-After"), a.text)
		}
		if n := strings.Count(s.log.String(), "\n") - before; n != tt.lines {
			t.Errorf("%s: %d log lines, want %d", tt.name, n, tt.lines)
		}
	}
	log := s.log.String()
	for _, want := range []string{"secret detail", "/v3/{which}/ours", "method=GET", "request=", "user=@alice:hs1"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	if strings.Contains(log, "hidden") || strings.Contains(log, "token=") {
		t.Errorf("the log tells too much: %s", log)
	}
}

func TestAPanicIsA500AndTheServerLives(t *testing.T) {
	t.Parallel()
	s := newSite(t,
		Route{Method: "GET", Path: "/panic", Handle: func(context.Context, *Call) (any, error) { panic("broken") }},
		Route{Method: "GET", Path: "/late", Handle: func(_ context.Context, c *Call) (any, error) {
			_, _ = io.WriteString(c.W, "half")
			_ = http.NewResponseController(c.W).Flush()
			panic("broken late")
		}},
		Route{Method: "GET", Path: "/stream", Handle: func(_ context.Context, c *Call) (any, error) {
			_, _ = io.WriteString(c.W, strings.Repeat("half", 10_000))
			return nil, fmt.Errorf("read on: %w", unavailable{})
		}},
		Route{Method: "GET", Path: "/encode", Handle: func(context.Context, *Call) (any, error) { return make(chan int), nil }},
		Route{Method: "GET", Path: "/fine", Handle: echo()},
	)
	s.send("GET", "/panic", "").wants(t, 500, matrix.ErrUnknown)
	s.send("GET", "/encode", "").wants(t, 500, matrix.ErrUnknown)
	for _, path := range []string{"/late", "/stream"} {
		if resp, err := http.Get(s.URL + path); err == nil {
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s: half an answer looks like a whole one", path)
			}
			resp.Body.Close()
		}
	}
	s.send("GET", "/fine", "").wants(t, 200, "")
	if n := strings.Count(s.log.String(), "panic in a handler"); n != 2 || !strings.Contains(s.log.String(), "broken") {
		t.Errorf("%d panics logged: %s", n, s.log)
	}
	if got := gather(t, s.reg); !strings.Contains(got, "roomline_http_panics_total 2") {
		t.Errorf("figures:\n%s", got)
	}
}

func TestAClientThatGoesAwayMakesNoNoise(t *testing.T) {
	t.Parallel()
	entered, left := make(chan struct{}), make(chan struct{})
	s := newSite(t, Route{Method: "GET", Path: "/poll", Handle: func(ctx context.Context, _ *Call) (any, error) {
		close(entered)
		<-ctx.Done()
		defer close(left)
		return nil, fmt.Errorf("wait: %w", ctx.Err())
	}})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/poll", nil)
	go func() { <-entered; cancel() }()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Error("the request was answered")
	}
	<-left
	s.Close() // waits for the handler
	if s.log.String() != "" {
		t.Errorf("log: %s", s.log)
	}
	if !strings.Contains(gather(t, s.reg), `code:"499"`) {
		t.Errorf("the request is not counted as 499:\n%s", gather(t, s.reg))
	}
}

// gather returns the labels of the request counter as text.
func gather(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				fmt.Fprintf(&b, "%s:%q ", l.GetName(), l.GetValue())
			}
			fmt.Fprintf(&b, "%s %v\n", f.GetName(), m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return b.String()
}

func TestRequestsAreCountedByRouteAndNotByPath(t *testing.T) {
	t.Parallel()
	s := newSite(t, roomRoutes...)
	s.send("GET", "/v3/profile/@a:hs1", "")
	s.send("GET", "/v3/profile/@b:hs1", "")
	s.send("GET", "/nowhere/@c:hs1", "")
	s.send("POST", "/v3/sync", "")
	s.Close()
	got := gather(t, s.reg)
	for _, want := range []string{
		`code:"200" route:"GET /v3/profile/{userId}" roomline_http_requests_total 2`,
		`code:"404" route:"none" roomline_http_requests_total 1`,
		`code:"405" route:"none" roomline_http_requests_total 1`,
		`roomline_http_requests_in_flight 0`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(got, "hs1") {
		t.Error("a path has become a label")
	}
}

func TestTwoHandlersShareARegistry(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	for range 2 {
		h := New(Config{Metrics: reg}, []Route{{Method: "GET", Path: "/a", Handle: echo()}})
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/a", nil))
	}
	if got := gather(t, reg); !strings.Contains(got, `route:"GET /a" roomline_http_requests_total 2`) {
		t.Errorf("figures:\n%s", got)
	}
}
