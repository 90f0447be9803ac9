package tests

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

const asToken, hsToken = "as-token-of-the-test", "hs-token-of-the-test"

// bridge is an application service that knows one network. status is what it answers a ping with.
func bridge(t *testing.T, status *atomic.Int64) string {
	t.Helper()
	answer := func(w http.ResponseWriter, status int, body any) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}
	fields := map[string]any{"network": "x"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+hsToken || strings.Contains(r.URL.RawQuery, "token") {
			t.Errorf("%s came with %q and the query %q", r.URL.Path, r.Header.Get("Authorization"), r.URL.RawQuery)
		}
		switch path, q := r.URL.Path, r.URL.Query(); {
		case path == "/base/_matrix/app/v1/ping":
			body, _ := io.ReadAll(r.Body)
			answer(w, int(status.Load()), json.RawMessage(body))
		case path == "/base/_matrix/app/v1/thirdparty/protocol/irc":
			answer(w, 200, map[string]any{
				"user_fields": []string{"nick"}, "location_fields": []string{"channel"}, "icon": "mxc://x/y", "field_types": map[string]any{},
				"instances": []any{map[string]any{"desc": "X", "network_id": "x", "fields": fields}, map[string]any{"desc": "broken"}},
			})
		case path == "/base/_matrix/app/v1/thirdparty/location/irc" && q.Get("channel") == "#x", path == "/base/_matrix/app/v1/thirdparty/location" && q.Get("alias") == "#_irc_x:hs.test":
			answer(w, 200, []any{map[string]any{"alias": "#_irc_x:hs.test", "protocol": "irc", "fields": fields}, "nonsense", map[string]any{"alias": 1}})
		case path == "/base/_matrix/app/v1/thirdparty/user/irc" && q.Get("nick") == "x", path == "/base/_matrix/app/v1/thirdparty/user" && q.Get("userid") == "@_irc_x:hs.test":
			answer(w, 200, []any{map[string]any{"userid": "@_irc_x:hs.test", "protocol": "irc", "fields": fields}})
		default:
			answer(w, 404, map[string]any{"errcode": "M_NOT_FOUND"})
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/base"
}

func TestApplicationServiceActsAndIsAsked(t *testing.T) {
	t.Parallel()
	var pong atomic.Int64
	pong.Store(200)
	file := filepath.Join(t.TempDir(), "irc.yaml")
	registration := "{id: irc, url: '" + bridge(t, &pong) + "', as_token: " + asToken + ", hs_token: " + hsToken +
		`, sender_localpart: _irc_bot, protocols: [irc], namespaces: {users: [{exclusive: true, regex: '@_irc_.*'}, {exclusive: true, regex: '@irc_.*'}]}}`
	if err := os.WriteFile(file, []byte(registration), 0o600); err != nil {
		t.Fatal(err)
	}
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, config map[string]any) {
		config["appservices"] = map[string]any{"registrations": []string{file}}
	}})
	dep.Secret(asToken, "an as_token")
	dep.Secret(hsToken, "an hs_token")
	// as asks with the as_token on a process.
	as := func(process int, method, path string, body any, status int, code string) hstest.Response {
		t.Helper()
		r, err := dep.Do(t.Context(), process, asToken, method, path, body)
		if err != nil || r.Status != status || r.ErrCode() != code {
			t.Fatalf("%s %s: %s %v, want %d %s", method, path, r, err, status, code)
		}
		return r
	}
	alice := dep.User(t, "alice")
	whoami, register, login := hstest.Path("account", "whoami"), hstest.Path("register"), hstest.Path("login")
	on := "?user_id=" + url.QueryEscape("@_irc_x:hs.test")

	if got := as(0, "GET", whoami, nil, 200, "").JSON().Get("user_id").String(); got != "@_irc_bot:hs.test" {
		t.Errorf("the application service is %s", got)
	}
	as(0, "GET", whoami+on, nil, 403, "M_FORBIDDEN") // not registered yet
	account := map[string]any{"type": "m.login.application_service", "username": "_irc_x", "device_id": "BRIDGE"}
	as(0, "POST", register, account, 200, "")
	as(1, "POST", register, account, 400, "M_USER_IN_USE")
	as(1, "POST", register, map[string]any{"type": "m.login.application_service", "username": "someone"}, 400, "M_EXCLUSIVE")
	as(1, "POST", register, map[string]any{"type": "m.login.application_service"}, 400, "M_MISSING_PARAM")
	if got := as(1, "GET", whoami+on, nil, 200, "").JSON().Get("user_id").String(); got != "@_irc_x:hs.test" {
		t.Errorf("masquerading as %s", got)
	}
	if got := as(1, "GET", whoami+on+"&device_id=BRIDGE", nil, 200, "").JSON().Get("device_id").String(); got != "BRIDGE" {
		t.Errorf("with the device %s", got)
	}
	as(1, "GET", whoami+on+"&device_id=OTHER", nil, 400, "M_UNKNOWN_DEVICE")
	as(1, "GET", whoami+"?user_id="+url.QueryEscape(alice.ID), nil, 403, "M_EXCLUSIVE")
	as(1, "GET", whoami+"?user_id=x", nil, 400, "M_INVALID_PARAM")
	as(1, "POST", login, map[string]any{"type": "m.login.application_service", "identifier": map[string]any{"type": "m.id.user", "user": "_irc_x"}}, 200, "")
	as(1, "POST", login, map[string]any{"type": "m.login.application_service", "identifier": map[string]any{"type": "m.id.user", "user": "alice"}}, 400, "M_EXCLUSIVE")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	as(0, "POST", hstest.Path("rooms", room, "join")+on, map[string]any{}, 200, "")
	send := hstest.Path("rooms", room, "send", "m.room.message", "t") + on
	first := as(0, "PUT", send, map[string]any{"body": "x"}, 200, "").JSON().Get("event_id").String()
	if again := as(1, "PUT", send, map[string]any{"body": "x"}, 200, "").JSON().Get("event_id").String(); again != first {
		t.Errorf("the same transaction made %s and %s", first, again)
	}
	// Nobody else gets such a name, nor acts as an application service.
	for username, code := range map[string]string{"irc_y": "M_EXCLUSIVE", "_irc_y": "M_INVALID_USERNAME"} {
		alice.MustFail(t, 400, code, "POST", register, map[string]any{"username": username, "password": "correct horse x", "auth": map[string]any{"type": "m.login.dummy"}})
	}
	alice.MustFail(t, 401, "M_UNKNOWN_TOKEN", "POST", register, account)
	alice.MustFail(t, 401, "M_UNKNOWN_TOKEN", "POST", login, map[string]any{"type": "m.login.application_service", "user": "_irc_x"})
	if r, err := dep.Do(t.Context(), 0, "", "POST", register, account); err != nil || r.Status != 401 || r.ErrCode() != "M_MISSING_TOKEN" {
		t.Errorf("without a token: %s %v", r, err)
	}

	// What it knows of its network.
	lookup := func(path string) hstest.Response {
		t.Helper()
		r, err := alice.On(1).Do(t.Context(), "GET", "/_matrix/client/v3/thirdparty/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, got := range []string{lookup("protocols").JSON().Get("irc").Raw, lookup("protocol/irc").JSON().Raw} {
		if !strings.Contains(got, `"instance_id":"irc|x"`) || strings.Contains(got, "broken") || !strings.Contains(got, `"user_fields":["nick"]`) {
			t.Errorf("protocol: %s", got)
		}
	}
	for path, want := range map[string]string{
		"location/irc?channel=%23x": "#_irc_x:hs.test", "location?alias=%23_irc_x:hs.test": "#_irc_x:hs.test",
		"user/irc?nick=x": "@_irc_x:hs.test", "user?userid=@_irc_x:hs.test": "@_irc_x:hs.test",
	} {
		// The organisation's own directory has the user, too.
		list := slices.DeleteFunc(lookup(path).JSON().Array(), func(r gjson.Result) bool { return r.Get("protocol").String() == "roomline" })
		if len(list) != 1 || !strings.Contains(list[0].Raw, want) {
			t.Errorf("%s: %v", path, list)
		}
	}
	for path, code := range map[string]string{
		"protocol/none": "M_NOT_FOUND", "location/none": "M_NOT_FOUND", "user/none": "M_NOT_FOUND", "location/irc?channel=y": "M_NOT_FOUND",
		"user/irc": "M_NOT_FOUND", "user?userid=@_irc_y:hs.test": "M_NOT_FOUND", "location": "M_INVALID_PARAM", "user": "M_INVALID_PARAM", "user?userid=x": "M_INVALID_PARAM",
	} {
		if r := lookup(path); r.ErrCode() != code {
			t.Errorf("%s: %s", path, r)
		}
	}

	// Ping.
	const ping = "/_matrix/client/v1/appservice/irc/ping"
	if got := as(0, "POST", ping, map[string]any{"transaction_id": "t"}, 200, "").JSON().Get("duration_ms"); !got.Exists() {
		t.Error("no duration")
	}
	pong.Store(418)
	bad := as(0, "POST", ping, map[string]any{"transaction_id": "t"}, 502, "M_BAD_STATUS").JSON()
	if bad.Get("status").Int() != 418 || !strings.Contains(bad.Get("body").String(), `"transaction_id":"t"`) {
		t.Errorf("a bad status: %s", bad.Raw)
	}
	as(0, "POST", "/_matrix/client/v1/appservice/other/ping", map[string]any{}, 403, "M_FORBIDDEN")
	as(0, "POST", ping, map[string]any{"transaction_id": 7}, 400, "M_BAD_JSON")
	alice.MustFail(t, 403, "M_FORBIDDEN", "POST", ping, map[string]any{})
}

func TestPingOfAnApplicationServiceThatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url, code string
		status    int
	}{
		"no URL":          {"null", "M_URL_NOT_SET", 400},
		"nobody listens":  {"'http://127.0.0.1:1'", "M_CONNECTION_FAILED", 502},
		"a private place": {"'http://10.0.0.1'", "M_CONNECTION_FAILED", 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "as.yaml")
			text := "{id: as, url: " + c.url + ", as_token: " + asToken + ", hs_token: " + hsToken + ", sender_localpart: bot, namespaces: {}}"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			dep := hstest.Start(t, hstest.Options{Configure: func(_ int, config map[string]any) {
				config["appservices"] = map[string]any{"registrations": []string{file}}
			}})
			r, err := dep.Do(t.Context(), 0, asToken, "POST", "/_matrix/client/v1/appservice/as/ping", map[string]any{})
			if err != nil || r.Status != c.status || r.ErrCode() != c.code {
				t.Errorf("ping: %s %v", r, err)
			}
		})
	}
}
