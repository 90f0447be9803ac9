package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/cmd/internal/livekit"
	"github.com/roomline/roomline/config"
)

// A server inside a test starts this program again as LiveKit, which has to be that and not the tests once more.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "livekit" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestTryingMeetingsOut asks for a way into a meeting from the first start on, with nothing set up; two servers that are tried out do not
// stand in each other's way.
func TestTryingMeetingsOut(t *testing.T) {
	for range 2 {
		r := start(t, developmentConfig(filepath.Join(t.TempDir(), "data")))
		defer r.end()
		token := r.login("alice")
		var room struct {
			ID string `json:"room_id"`
		}
		_, text := r.ask(http.MethodGet, "/_matrix/client/v3/directory/room/%23welcome:localhost", token, "")
		if err := json.Unmarshal([]byte(text), &room); err != nil || room.ID == "" {
			t.Fatalf("the example's room: %s", text)
		}
		var into struct{ URL, JWT string }
		for deadline := time.Now().Add(time.Minute); into.JWT == ""; time.Sleep(50 * time.Millisecond) {
			status, text := r.ask(http.MethodPost, "/_matrix/client/v1/rtc/livekit/get_token", token,
				fmt.Sprintf(`{"room_id":%q,"slot_id":"m.call#ROOM","member":{"id":"a","claimed_device_id":%q}}`, room.ID, r.device(token)))
			if status == http.StatusOK {
				if err := json.Unmarshal([]byte(text), &into); err != nil {
					t.Fatal(err)
				}
			} else if time.Now().After(deadline) {
				t.Fatalf("a token: %d %s", status, text)
			}
		}
		if want := strings.Replace(r.url, "http", "ws", 1) + livekitPath; into.URL != want {
			t.Errorf("clients are sent to %s, want %s", into.URL, want)
		}
		if status, text := r.get(livekitPath+"/rtc/validate?access_token="+into.JWT, ""); status != http.StatusOK {
			t.Errorf("LiveKit says %d %s", status, text)
		}
		if status, text := r.get(livekitPath+"/rtc/validate", ""); status != http.StatusUnauthorized {
			t.Errorf("without a token: %d %s", status, text)
		}
	}
}

// device is the one that a token belongs to.
func (r *running) device(token string) string {
	var who struct {
		Device string `json:"device_id"`
	}
	if _, text := r.get("/_matrix/client/v3/account/whoami", token); json.Unmarshal([]byte(text), &who) != nil {
		r.t.Fatalf("whoami: %s", text)
	}
	return who.Device
}

func TestWhereClientsReachMedia(t *testing.T) {
	for name, tc := range map[string]struct {
		listener, public, given, want string
		loopback                      bool
	}{
		"tried out":             {"127.0.0.1:8008", "http://127.0.0.1:8008", "", "127.0.0.1", true},
		"tried out by name":     {"localhost:8008", "http://localhost:8008", "", "127.0.0.1", true},
		"an address":            {"203.0.113.7:443", "https://matrix.example.org", "", "203.0.113.7", false},
		"behind a NAT":          {":443", "https://matrix.example.org", "203.0.113.7", "203.0.113.7", false},
		"given, on the machine": {":443", "https://matrix.example.org", "127.0.0.1", "127.0.0.1", true},
		// A reverse proxy on the machine passes no media on: clients need the machine's address, whatever that is here.
		"behind a proxy": {"127.0.0.1:8008", "https://matrix.example.org", "", "", false},
		"all addresses":  {":8008", "http://127.0.0.1:8008", "", "", false},
	} {
		cfg := config.Defaults()
		cfg.Listeners = []config.Listener{{Address: "127.0.0.1:9090", Serve: []config.Service{config.ServeAdmin}}, {Address: tc.listener, Serve: []config.Service{config.ServeClient}}}
		cfg.PublicBaseURL, cfg.Meetings.LiveKit.NodeIP = tc.public, tc.given
		ip, loopback, err := nodeIP(cfg)
		if err != nil && tc.want == "" {
			continue // a machine without a network
		}
		if err != nil || loopback != tc.loopback || tc.want != "" && ip != tc.want || tc.want == "" && isLoopback(ip) {
			t.Errorf("%s: %q, on the loopback %v, %v", name, ip, loopback, err)
		}
	}
}

func TestRelaysOfMeetingsAreThoseOfCalls(t *testing.T) {
	cfg := config.TURN{URIs: []string{"turn:turn.example.org?transport=udp", "turn:turn.example.org:3479?transport=tcp", "turns:turn.example.org:443?transport=tcp"}, SharedSecret: "shared"}
	want := []livekit.TURN{
		{Host: "turn.example.org", Port: 3478, Protocol: "udp", Secret: "shared"}, {Host: "turn.example.org", Port: 3479, Protocol: "tcp", Secret: "shared"},
		{Host: "turn.example.org", Port: 443, Protocol: "tls", Secret: "shared"},
	}
	if got := relays(&cfg); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	cfg = config.TURN{URIs: []string{"turns:turn.example.org"}, Username: "everybody", Password: "password"}
	if got := relays(&cfg); !slices.Equal(got, []livekit.TURN{{Host: "turn.example.org", Port: 5349, Protocol: "tls", Username: "everybody", Credential: "password"}}) {
		t.Errorf("%+v", got)
	}
}
