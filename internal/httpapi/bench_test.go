package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

// nothing is an http.ResponseWriter that costs nothing.
type nothing struct{ h http.Header }

func (n *nothing) Header() http.Header         { return n.h }
func (n *nothing) Write(p []byte) (int, error) { return len(p), nil }
func (n *nothing) WriteHeader(int)             {}

// BenchmarkSyncRequest is our share of an incremental /sync with nothing new; BenchmarkBareEcho is the yardstick.
func BenchmarkSyncRequest(b *testing.B) {
	h := New(Config{Auth: people}, roomRoutes, []Route{{Method: "GET", Path: "/_matrix/client/v3/sync", Auth: AccessToken,
		Handle: func(_ context.Context, c *Call) (any, error) {
			if _, err := c.QueryInt("timeout", 0, 0, 1000); err != nil {
				return nil, err
			}
			return Raw(`{"next_batch":"` + c.Query("since") + `"}`), nil
		}}})
	r := httptest.NewRequest("GET", "/_matrix/client/v3/sync?filter=0&timeout=0&since=s1234", nil)
	r.Header.Set("Authorization", "Bearer alice")
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&nothing{make(http.Header, 8)}, r)
	}
}

func BenchmarkBareEcho(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"next_batch": r.URL.Query().Get("since")})
	})
	r := httptest.NewRequest("GET", "/echo?since=s1234", nil)
	b.ReportAllocs()
	for b.Loop() {
		mux.ServeHTTP(&nothing{make(http.Header, 8)}, r)
	}
}

func BenchmarkRouteWithFourVariables(b *testing.B) {
	h := New(Config{}, roomRoutes)
	r := httptest.NewRequest("GET", "/v3/rooms/!a%2Fb:hs1/state/m.room.member/@alice:hs1", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&nothing{make(http.Header, 8)}, r)
	}
}
