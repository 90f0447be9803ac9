package meetings

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
)

// TestElementCall runs calls.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people see are kept; they are thrown
// away otherwise.
func TestElementCall(t *testing.T) { runCalls(t, "calls.mjs", "alice", "bob", "carol", "dave", "eve") }

// TestElementCallAndTheGuestPage runs together.mjs.
func TestElementCallAndTheGuestPage(t *testing.T) { runCalls(t, "together.mjs", "alice") }

// runCalls runs tests of calls in Node.js beside a server and a LiveKit.
func runCalls(t *testing.T, script string, names ...string) {
	node, chromium := program(t, "node", "nodejs npm"), program(t, "chromium", "chromium")
	installNodeModules(t, "matrix-widget-api")
	live := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Configure: func(process int, c map[string]any) {
		hstest.WithLiveKit(live)(process, c)
		c["public_base_url"] = "http://" + c["listeners"].([]any)[0].(map[string]any)["address"].(string)
	}})
	live.WebhookTo(t, dep.BaseURL(0)+"/_roomline/livekit/webhook")
	type account struct {
		ID       string `json:"id"`
		User     string `json:"user"`
		Password string `json:"password"`
		Token    string `json:"token"`
		Device   string `json:"device"`
	}
	var accounts []account
	for _, name := range names {
		u := dep.User(t, name)
		accounts = append(accounts, account{ID: u.ID, User: name, Password: u.Password, Token: u.AccessToken, Device: u.DeviceID})
	}
	text, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	control := whatLiveKitSees(t, live)
	pictures := os.Getenv("ROOMLINE_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+node+" --test --test-reporter=spec "+script+" > "+pictures+"/node.log 2>&1")
	cmd.Env = append(os.Environ(), "ROOMLINE_URL="+dep.BaseURL(0), "ROOMLINE_ACCOUNTS="+string(text), "CONTROL_URL="+control,
		"SCREENSHOTS="+pictures, "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s:\n%s", script, out)
}

// whatLiveKitSees serves, below /livekit, who is in a call and what they send, past the server under test.
func whatLiveKitSees(t *testing.T, live *hstest.LiveKitServer) string {
	t.Helper()
	c, err := sfu.New(sfu.Config{URL: live.URL, Keys: []sfu.Key{{Key: live.Key, Secret: live.Secret}}, HTTP: &http.Client{}, Clock: matrix.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := map[string][]string{}
		rooms, err := c.Rooms(r.Context())
		for _, room := range rooms {
			var people []sfu.Participant
			if people, err = c.Participants(r.Context(), room.Alias); err != nil {
				break
			}
			for _, p := range people {
				sources := []string{}
				for _, track := range p.Tracks {
					sources = append(sources, string(track.Source))
				}
				seen[p.Identity] = sources
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(seen); err != nil {
			t.Log(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
