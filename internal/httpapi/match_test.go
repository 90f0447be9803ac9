package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// echo answers with the path values of the call.
func echo(names ...string) Handler {
	return func(_ context.Context, c *Call) (any, error) {
		values := map[string]string{"route": c.route.Path}
		for _, n := range names {
			values[n] = c.Path(n)
		}
		return values, nil
	}
}

var roomRoutes = []Route{
	{Method: "GET", Path: "/v3/sync", Handle: echo()},
	{Method: "PUT", Path: "/v3/rooms/{roomId}/send/{eventType}/{txnId}", Handle: echo("roomId", "eventType", "txnId")},
	{Method: "GET", Path: "/v3/rooms/{roomId}/state", Handle: echo("roomId")},
	{Method: "GET", Path: "/v3/rooms/{roomId}/state/{eventType}", Handle: echo("roomId", "eventType")},
	{Method: "GET", Path: "/v3/rooms/{roomId}/state/{eventType}/{$}", Handle: echo("roomId", "eventType")},
	{Method: "GET", Path: "/v3/rooms/{roomId}/state/{eventType}/{stateKey}", Handle: echo("roomId", "eventType", "stateKey")},
	{Method: "PUT", Path: "/v3/rooms/{roomId}/state/{eventType}/{stateKey}", Handle: echo("roomId", "eventType", "stateKey")},
	{Method: "GET", Path: "/v3/profile/{userId}", Handle: echo("userId")},
	{Method: "GET", Path: "/v3/profile/{userId}/displayname", Handle: echo("userId")},
	{Method: "GET", Path: "/v3/profile/{userId}/{keyName}", Handle: echo("userId", "keyName")},
	{Method: "DELETE", Path: "/v3/profile/{userId}/{keyName}", Handle: echo("userId", "keyName")},
}

func TestPathsMatchExactlyAndKeepEscapedSlashes(t *testing.T) {
	t.Parallel()
	s := newSite(t, roomRoutes...)
	tests := []struct {
		method, target string
		want           map[string]any
	}{
		{"GET", "/v3/sync?since=s1", map[string]any{"route": "/v3/sync"}},
		{"GET", "/v3/%73ync", map[string]any{"route": "/v3/sync"}},
		{"GET", "/v3/rooms/!a:hs1/state/m.room.name", map[string]any{"roomId": "!a:hs1", "eventType": "m.room.name", "route": "/v3/rooms/{roomId}/state/{eventType}"}},
		{"GET", "/v3/rooms/!a:hs1/state/m.room.name/", map[string]any{"roomId": "!a:hs1", "eventType": "m.room.name", "route": "/v3/rooms/{roomId}/state/{eventType}/{$}"}},
		{"GET", "/v3/rooms/%21a%2Fb%3Ahs1/state/x%2Fy/k%2F%2e%2E%2f", map[string]any{"roomId": "!a/b:hs1", "eventType": "x/y", "stateKey": "k/../", "route": "/v3/rooms/{roomId}/state/{eventType}/{stateKey}"}},
		{"GET", "/v3/rooms/!a:hs1/state/%2F/%2F", map[string]any{"roomId": "!a:hs1", "eventType": "/", "stateKey": "/", "route": "/v3/rooms/{roomId}/state/{eventType}/{stateKey}"}},
		{"GET", "/v3/rooms/!a:hs1/state/t/%2e%2e", map[string]any{"roomId": "!a:hs1", "eventType": "t", "stateKey": "..", "route": "/v3/rooms/{roomId}/state/{eventType}/{stateKey}"}},
		{"GET", "/v3/rooms/!a:hs1/state/t/%2541+%20", map[string]any{"roomId": "!a:hs1", "eventType": "t", "stateKey": "%41+ ", "route": "/v3/rooms/{roomId}/state/{eventType}/{stateKey}"}},
		{"GET", "/v3/profile/@a:hs1/displayname", map[string]any{"userId": "@a:hs1", "route": "/v3/profile/{userId}/displayname"}},
		{"DELETE", "/v3/profile/@a:hs1/displayname", map[string]any{"userId": "@a:hs1", "keyName": "displayname", "route": "/v3/profile/{userId}/{keyName}"}},
		{"GET", "/v3/profile/@a:hs1/m.tz", map[string]any{"userId": "@a:hs1", "keyName": "m.tz", "route": "/v3/profile/{userId}/{keyName}"}},
		{"PUT", "/v3/rooms/!a:hs1/send/m.room.message/%F0%9F%98%80", map[string]any{"roomId": "!a:hs1", "eventType": "m.room.message", "txnId": "😀", "route": "/v3/rooms/{roomId}/send/{eventType}/{txnId}"}},
	}
	for _, tt := range tests {
		a := s.send(tt.method, tt.target, "")
		a.wants(t, 200, "")
		if !maps.Equal(a.body, tt.want) {
			t.Errorf("%s %s: %v, want %v", tt.method, tt.target, a.body, tt.want)
		}
	}
}

func TestUnknownPathsAreAnsweredWithoutRedirect(t *testing.T) {
	t.Parallel()
	s := newSite(t, roomRoutes...)
	for _, target := range []string{
		"/", "/v3", "/v3/", "/v3/sync/", "/v3/sync/more", "/v3//sync", "//v3/sync", "/v3/./sync", "/v3/x/../sync", "/v3/sync/..",
		"/V3/sync", "/v3/rooms//state", "/v3/rooms/!a:hs1/state/t/k/more", "/v3/rooms/!a:hs1/state/t/k/", "/v3/rooms/!a:hs1/state/t//",
		"/v3/rooms/!a:hs1/state//", "/v3/rooms/../state", "/v3%2Fsync", "/" + strings.Repeat("a/", 5000), "/v3/rooms/" + strings.Repeat("a", limits.Path) + "/state",
	} {
		a := s.send("GET", target, "")
		a.wants(t, 404, matrix.ErrUnrecognized)
		if a.Header.Get("Location") != "" {
			t.Errorf("%.40s is redirected to %s", target, a.Header.Get("Location"))
		}
	}
}

func TestOtherMethodsOfAKnownPathAre405(t *testing.T) {
	t.Parallel()
	s := newSite(t, roomRoutes...)
	for _, tt := range []struct{ method, target, allow string }{
		{"POST", "/v3/sync", "GET, HEAD, OPTIONS"},
		{"BREW", "/v3/sync", "GET, HEAD, OPTIONS"},
		{"DELETE", "/v3/rooms/!a:hs1/state/t/k", "GET, HEAD, OPTIONS, PUT"},
		{"PUT", "/v3/profile/@a:hs1/displayname", "DELETE, GET, HEAD, OPTIONS"},
	} {
		a := s.send(tt.method, tt.target, "")
		a.wants(t, 405, matrix.ErrUnrecognized)
		if got := a.Header.Get("Allow"); got != tt.allow {
			t.Errorf("%s %s: Allow %q, want %q", tt.method, tt.target, got, tt.allow)
		}
	}
}

func TestPathValuesWithNULOrInvalidUTF8AreRefusedByName(t *testing.T) {
	t.Parallel()
	s := newSite(t, roomRoutes...)
	for target, name := range map[string]string{
		"/v3/rooms/!a%00:hs1/state":             "roomId",
		"/v3/rooms/!a:hs1/state/t/%00":          "stateKey",
		"/v3/rooms/!a:hs1/state/%ff/k":          "eventType",
		"/v3/rooms/!a:hs1/state/t/%ed%a0%80%2F": "stateKey",
	} {
		a := s.send("GET", target, "")
		a.wants(t, 400, matrix.ErrInvalidParam)
		if !strings.Contains(a.text, name) {
			t.Errorf("%s: %s does not name %s", target, a.text, name)
		}
	}
}

func TestOptionsIsAnsweredEverywhereWithoutTouchingHandlers(t *testing.T) {
	t.Parallel()
	s := newSite(t, Route{Method: "PUT", Path: "/v3/x", Auth: AccessToken, Handle: func(context.Context, *Call) (any, error) {
		t.Error("the handler was called")
		return nil, nil
	}})
	for _, target := range []string{"/v3/x", "/nowhere"} {
		a := s.send("OPTIONS", target, "")
		if a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Access-Control-Allow-Headers") == "" {
			t.Errorf("%s: %d %v", target, a.StatusCode, a.Header)
		}
	}
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, roomRoutes...)
	if a := s.send("HEAD", "/v3/sync", ""); a.StatusCode != 200 || a.text != "" {
		t.Errorf("%d %q", a.StatusCode, a.text)
	}
}

func TestWrongRouteTablesAreFoundAtTheStart(t *testing.T) {
	t.Parallel()
	h := echo()
	for name, routes := range map[string][]Route{
		"twice":             {{Method: "GET", Path: "/a/{x}", Handle: h}, {Method: "GET", Path: "/a/{y}", Handle: h}},
		"no handler":        {{Method: "GET", Path: "/a"}},
		"no slash":          {{Method: "GET", Path: "a", Handle: h}},
		"unknown method":    {{Method: "FETCH", Path: "/a", Handle: h}},
		"empty segment":     {{Method: "GET", Path: "/a//b", Handle: h}},
		"half a variable":   {{Method: "GET", Path: "/a/x{b}", Handle: h}},
		"unverified":        {{Method: "GET", Path: "/a", Auth: SignedRequest, Handle: h}},
		"no authenticator":  {{Method: "GET", Path: "/a", Auth: AccessToken, Handle: h}},
		"too many variable": {{Method: "GET", Path: "/{a}/{b}/{c}/{d}/{e}/{f}/{g}", Handle: h}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: New accepts it", name)
				}
			}()
			New(Config{}, routes)
		}()
	}
}

func FuzzRequestTarget(f *testing.F) {
	for _, seed := range []string{"/v3/sync?a=b", "/v3/rooms/%21a%2fb/state/t/", "/v3/../sync", "/%", "/v3/rooms/!a/state/%00?x=%ff"} {
		f.Add(seed)
	}
	h := New(Config{Log: slog.New(slog.DiscardHandler)}, roomRoutes)
	f.Fuzz(func(t *testing.T, target string) {
		req, err := http.NewRequest("GET", "http://hs1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if req.URL, err = req.URL.Parse(target); err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code >= 500 || w.Code >= 300 && w.Code < 400 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %d %s", target, w.Code, w.Body)
		}
	})
}
