package tests

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestServicesAreAskedBeforeSomethingIsMissing(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-asked")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("asked", s, map[string]any{"namespaces": map[string]any{
		"users": []any{map[string]any{"exclusive": true, "regex": "@_asked_.*"}}, "aliases": []any{map[string]any{"exclusive": true, "regex": "#_asked_.*"}}}}))
	var asked []string
	s.setAsk(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		switch {
		case strings.HasSuffix(r.URL.Path, "/users/@_asked_x:hs.test"):
			as.ghost("_asked_x")
		case strings.HasSuffix(r.URL.Path, "/rooms/#_asked_x:hs.test"):
			// It looks first itself, and is not asked for that.
			as.fail("", "GET", hstest.Path("directory", "room", "#_asked_x:hs.test"), nil, 404, "M_NOT_FOUND")
			as.must("", "POST", hstest.Path("createRoom"), map[string]any{"room_alias_name": "_asked_x", "preset": "public_chat"})
		default:
			w.WriteHeader(404)
			io.WriteString(w, `{"errcode":"M_NOT_FOUND"}`)
			return
		}
		io.WriteString(w, "{}")
	})
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	alice.MustFail(t, 404, "M_NOT_FOUND", "POST", hstest.Path("rooms", room, "invite"), map[string]any{"user_id": "@_asked_y:hs.test"})
	alice.MustDo(t, "POST", hstest.Path("rooms", room, "invite"), map[string]any{"user_id": "@_asked_x:hs.test"})
	alice.MustFail(t, 404, "M_NOT_FOUND", "GET", hstest.Path("directory", "room", "#_asked_y:hs.test"), nil)
	joined := alice.MustDo(t, "POST", hstest.Path("join", "#_asked_x:hs.test"), map[string]any{}).Get("room_id").String()
	if got := alice.MustDo(t, "GET", hstest.Path("directory", "room", "#_asked_x:hs.test"), nil).Get("room_id").String(); got != joined || joined == "" {
		t.Errorf("the alias leads to %s and %s", got, joined)
	}
	if len(asked) != 4 {
		t.Errorf("asked %v", asked)
	}
	// The invitation of its user says what the room is.
	s.wait(t, "the invitation", func() bool {
		for _, e := range s.told("events") {
			if e.Get("state_key").String() == "@_asked_x:hs.test" && e.Get("content.membership").String() == "invite" {
				return len(e.Get("unsigned.invite_room_state").Array()) > 0
			}
		}
		return false
	})
	s.CloseClientConnections()
	s.Close()
	alice.MustFail(t, 408, "M_UNKNOWN", "GET", hstest.Path("directory", "room", "#_asked_z:hs.test"), nil)
}
