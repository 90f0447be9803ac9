package meetings

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
)

// ROOMLINE_SCREENSHOTS is where pictures of what people see are kept.

// TestInABrowser is what needs a browser, one after the other beside the other tests.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	t.Run("Element Call", elementCall)
	t.Run("Element Call and the guest page", elementCallAndTheGuestPage)
}

// elementCall runs calls.mjs, which says what is tested, with a LiveKit beside the server.
func elementCall(t *testing.T) {
	live := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Configure: func(process int, c map[string]any) {
		hstest.WithLiveKit(live)(process, c)
		c["public_base_url"] = "http://" + c["listeners"].([]any)[0].(map[string]any)["address"].(string)
	}})
	live.WebhookTo(t, dep.BaseURL(0)+"/_roomline/livekit/webhook")
	runCalls(t, dep, "calls.mjs", whatLiveKitSees(t, live), "alice", "bob", "carol", "dave", "eve")
}

// elementCallAndTheGuestPage runs together.mjs, with the LiveKit that the server runs itself.
func elementCallAndTheGuestPage(t *testing.T) {
	dep, _, _ := embedded(t)
	runCalls(t, dep, "together.mjs", "", "alice")
}

// runCalls runs tests of calls in Node.js.
func runCalls(t *testing.T, dep *hstest.Deployment, script, control string, names ...string) {
	t.Helper()
	hstest.NodeModules(t, ".", "matrix-widget-api")
	hstest.RunScript(t, ".", script, hstest.NodeTests, []string{"ROOMLINE_URL=" + dep.BaseURL(0), hstest.AccountsOf(t, dep, names...), "CONTROL_URL=" + control})
}

// whatLiveKitSees serves, below /livekit, who is in a call and what they send, past the server under test.
func whatLiveKitSees(t *testing.T, live *hstest.LiveKitServer) string {
	t.Helper()
	c, err := sfu.New(sfu.Config{URL: live.URL, Keys: []sfu.Key{{Key: live.Key, Secret: live.Secret}}, HTTP: &http.Client{}, Clock: matrix.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	see := func(ctx context.Context) (map[string][]string, error) {
		seen := map[string][]string{}
		rooms, err := c.Rooms(ctx)
		if err != nil {
			return nil, err
		}
		for _, room := range rooms {
			people, err := c.Participants(ctx, room.Alias)
			if err != nil {
				return nil, err
			}
			for _, p := range people {
				sources := []string{}
				for _, track := range p.Tracks {
					sources = append(sources, string(track.Source))
				}
				seen[p.Identity] = sources
			}
		}
		return seen, nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen, err := see(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(seen)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
