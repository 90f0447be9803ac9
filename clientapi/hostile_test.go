package clientapi_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

// Whatever comes in: an error of the client's, in JSON, with a code.
func TestWeirdInputIsTheClientsMistake(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.configure = func(cfg *clientapi.Config) {
		cfg.Registration = clientapi.RegistrationConfig{Mode: clientapi.RegistrationOpen, SharedSecret: "secret"}
	}
	p := d.process()
	p.user("alice")
	token := p.login("alice", nil).text("access_token")
	weird := []string{`null`, `5`, `-1e400`, `9007199254740993`, `true`, `[]`, `{}`, `[[[]]]`, `{"a":{"b":null}}`, `"x\u0000y"`, `"\ud800"`, `""`, `" "`,
		`"` + strings.Repeat("x", 5000) + `"`, `"` + strings.Repeat("🦆", 500) + `"`, `"'; DROP TABLE users; --"`, `"../../etc/passwd"`, `"%00"`, `"@:"`, `"@a:b:c:d"`,
		`{"type":5}`, `{"type":"m.id.user","user":null}`, `{"type":"m.id.thirdparty","medium":"email","address":"x\u0001"}`, `{"type":"m.id.phone","country":"","phone":""}`,
		`{"type":"m.login.password","password":5}`, `{"type":"m.login.dummy","session":{}}`, `{"session":"` + strings.Repeat("s", 4000) + `"}`, strings.Repeat("[", 150) + strings.Repeat("]", 150)}
	endpoints := []struct {
		method, path string
		fields       []string
	}{
		{"POST", "/_matrix/client/v3/login", []string{"type", "identifier", "password", "device_id", "initial_device_display_name", "refresh_token", "user", "medium", "address"}},
		{"POST", "/_matrix/client/v3/refresh", []string{"refresh_token"}},
		{"POST", "/_matrix/client/v3/register", []string{"auth", "type", "username", "password", "inhibit_login", "device_id"}},
		{"POST", "/_matrix/client/v3/account/password", []string{"auth", "new_password", "logout_devices"}},
		{"POST", "/_matrix/client/v3/account/deactivate", []string{"auth", "erase"}},
		{"PUT", "/_matrix/client/v3/devices/X", []string{"display_name"}},
		{"DELETE", "/_matrix/client/v3/devices/X", []string{"auth"}},
		{"POST", "/_matrix/client/v3/delete_devices", []string{"devices", "auth"}},
		{"PUT", aliceProfile + "/displayname", []string{"displayname"}},
		{"PUT", aliceProfile + "/avatar_url", []string{"avatar_url"}},
		{"POST", "/_synapse/admin/v1/register", []string{"nonce", "username", "password", "admin", "mac", "displayname"}},
	}
	complete := map[string]string{"type": `"m.login.password"`, "identifier": `{"type":"m.id.user","user":"alice"}`, "password": `"not the password"`,
		"new_password": `"a long enough one"`, "devices": `["X"]`, "username": `"carol"`, "nonce": `"n"`, "mac": `"m"`, "auth": `{"type":"m.login.password","password":"wrong password"}`}
	for _, e := range endpoints {
		bodies := append([]string{}, weird...)
		for _, field := range e.fields {
			for _, w := range weird {
				var b strings.Builder
				fmt.Fprintf(&b, `{%q:%s`, field, w)
				for name, value := range complete {
					if name != field && strings.Contains(strings.Join(e.fields, " ")+" ", name+" ") {
						fmt.Fprintf(&b, `,%q:%s`, name, value)
					}
				}
				bodies = append(bodies, b.String()+"}")
			}
			bodies = append(bodies, fmt.Sprintf(`{%q:"a",%q:"b"}`, field, field), fmt.Sprintf(`{%q:"a"}`, strings.ToUpper(field)), fmt.Sprintf(`{%q:`, field))
		}
		for _, body := range bodies {
			status, answer := p.do(e.method, e.path, token, body)
			if status >= 500 || status >= 400 && status != 401 && answer.text("errcode") == "" {
				t.Errorf("%s %s with %.200s = %d %v", e.method, e.path, body, status, answer)
			}
		}
	}
	for _, path := range []string{
		"/_matrix/client/v3/devices/%00", "/_matrix/client/v3/devices/%ff", "/_matrix/client/v3/devices/" + strings.Repeat("x", 3000),
		"/_matrix/client/v3/profile/%40a%00:b", "/_matrix/client/v3/profile/@a:b/%ff", "/_matrix/client/v3/profile/@" + strings.Repeat("x", 300) + ":one.test",
		"/_matrix/client/v3/register/available?username=%00", "/_matrix/client/v3/register/available?username=" + strings.Repeat("x", 3000),
		"/_matrix/client/v1/register/m.login.registration_token/validity?token=%ff",
	} {
		status, answer := p.do("GET", path, token, nil)
		if status < 400 || status >= 500 || answer.text("errcode") == "" {
			t.Errorf("GET %.100s = %d %v", path, status, answer)
		}
	}
	p.want(413, "M_TOO_LARGE", "POST", "/_matrix/client/v3/login", "", `{"type":"`+strings.Repeat("x", 40_000)+`"}`)
	p.want(200, "", "GET", whoami, token, nil)
}

func TestDiscoveryDocuments(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	for _, name := range []string{"client", "server", "support", "policy_server"} {
		p.want(404, "M_NOT_FOUND", "GET", "/.well-known/matrix/"+name, "", nil)
	}
	d.configure = func(cfg *clientapi.Config) {
		cfg.WellKnown = clientapi.WellKnownConfig{BaseURL: "https://matrix.one.test", FederationServer: "fed.one.test:443",
			SupportContacts: []clientapi.SupportContact{{MatrixID: "@admin:one.test", Role: "m.role.admin"}}, SupportPage: "https://one.test/help",
			PolicyKeys: map[string]string{"ed25519": "6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s"}}
	}
	p = d.process()
	for name, want := range map[string]string{
		"client":        "map[m.homeserver:map[base_url:https://matrix.one.test]]",
		"server":        "map[m.server:fed.one.test:443]",
		"policy_server": "map[public_keys:map[ed25519:6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s]]",

		"support": "map[contacts:[map[matrix_id:@admin:one.test role:m.role.admin]] support_page:https://one.test/help]",
	} {
		if got := p.want(200, "", "GET", "/.well-known/matrix/"+name, "", nil); fmt.Sprint(got) != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	p.user("alice")
	if answer := p.login("alice", nil); fmt.Sprint(answer["well_known"]) != "map[m.homeserver:map[base_url:https://matrix.one.test]]" {
		t.Errorf("login says %v", answer)
	}
}

func TestVersionsAndCapabilities(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	token := p.login("alice", nil).text("access_token")
	versions := p.want(200, "", "GET", "/_matrix/client/versions", "a token that is dead", nil)
	if !strings.Contains(fmt.Sprint(versions["versions"]), "v1.1") {
		t.Errorf("versions: %v", versions)
	}
	for name, on := range versions["unstable_features"].(map[string]any) {
		if on != true {
			t.Errorf("feature %s is announced as %v", name, on)
		}
	}
	caps := p.want(200, "", "GET", "/_matrix/client/v3/capabilities", token, nil)["capabilities"].(map[string]any)
	rooms := caps["m.room_versions"].(map[string]any)
	if rooms["default"] != "12" || len(rooms["available"].(map[string]any)) != 12 {
		t.Errorf("room versions: %v", rooms)
	}
	if fmt.Sprint(caps["m.change_password"], caps["m.3pid_changes"], caps["m.profile_fields"]) != "map[enabled:true] map[enabled:false] map[enabled:true]" {
		t.Errorf("capabilities: %v", caps)
	}
	p.want(401, "M_MISSING_TOKEN", "GET", "/_matrix/client/v3/capabilities", "", nil)
}

func TestEveryRouteHasAKnownLimit(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	var server *clientapi.Server
	d.configure = func(cfg *clientapi.Config) {
		var err error
		server, err = clientapi.New(*cfg)
		must(t, err)
	}
	d.process()
	for _, r := range server.Routes() {
		if r.Limit != "" && !ratelimit.Known(r.Limit) {
			t.Errorf("%s %s: limit %q is in no table", r.Method, r.Path, r.Limit)
		}
	}
	if _, err := clientapi.New(clientapi.Config{}); err == nil {
		t.Error("a server can be made of nothing")
	}
}

// Whatever is on the route table: garbage is the client's mistake, and too much is refused before it is read. A new route is covered
// by being there.
func TestEveryRouteSurvivesGarbage(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, victim := p.client("alice"), p.client("victim")
	id := alice.create(object{"preset": "public_chat"})
	event := alice.say(id, "hello")
	broken := []string{`{`, `nope`, `{}{}`, `{"a":1,}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", "{\"a\":\"x\x00\"}", `{"a":"\u0000"}`,
		strings.Repeat("[", 150) + strings.Repeat("]", 150), "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"}
	odd := []string{`null`, `[]`, `"x"`, `5`, `true`, `{}`, `{"a":{"b":[null]}}`}
	for _, value := range []string{`null`, `-1`, `"x"`, `[]`, `[null]`, `{}`, `{"x":{"y":{"z":[]}}}`, `true`, `1.5`} {
		var all strings.Builder
		for _, name := range strings.Fields(`auth action body conn_id data device_id device_keys dir events extensions filter fallback_keys from identifier
			keys kind limit lists master_key messages method name new_version one_time_keys order password pos pushers pushkey reason
			required_state room_id room_subscriptions rooms score search_categories self_signing_key since sticky_duration_ms subscribed subscriptions
			timeout timeline_limit token type user user_id user_signing_key users auth_data algorithm device_data delay delay_id state_key content`) {
			fmt.Fprintf(&all, `,%q:%s`, name, value)
		}
		odd = append(odd, "{"+all.String()[1:]+"}")
	}
	path := func(template string, value string) string {
		var b strings.Builder
		for {
			before, rest, found := strings.Cut(template, "{")
			b.WriteString(before)
			if !found {
				return b.String()
			}
			name, after, _ := strings.Cut(rest, "}")
			template = after
			switch {
			case name == "$":
			case value != "":
				b.WriteString(value)
			case name == "roomId" || name == "roomIdOrAlias":
				b.WriteString(esc(id))
			case name == "userId":
				b.WriteString(esc(alice.user))
			case name == "eventId":
				b.WriteString(esc(event))
			default:
				b.WriteString("x")
			}
		}
	}
	asked := 0
	ask := func(method, target, token, body string) (int, string) {
		t.Helper()
		asked++
		var reader io.Reader
		if method != "GET" {
			reader = strings.NewReader(body)
		}
		req := httptest.NewRequest(method, target, reader)
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		p.handler.ServeHTTP(w, req)
		text := w.Body.String()
		if w.Code >= 500 && w.Code != 503 || w.Code >= 400 && w.Header().Get("Content-Type") == "application/json" &&
			!strings.Contains(text, `"errcode":"M_`) && !strings.Contains(text, `"flows":`) {
			t.Errorf("%s %.200s with %.200q = %d %.300s", method, target, body, w.Code, text)
		}
		return w.Code, text
	}
	for _, r := range p.server.Routes() {
		token := alice.token
		for _, dangerous := range []string{"logout", "/account/", "devices", "/leave", "/forget"} {
			if strings.Contains(r.Path, dangerous) {
				token = victim.token
			}
		}
		good := path(r.Path, "")
		if r.Auth == httpapi.AccessToken {
			for _, wrong := range []string{"", "x", strings.Repeat("x", 2000)} {
				if status, text := ask(r.Method, good, wrong, "{}"); status != 401 {
					t.Errorf("%s %s with token %.10q = %d %s", r.Method, good, wrong, status, text)
				}
			}
		}
		for _, value := range []string{"%00", "%FF", "%2F", "%2e%2e", "x", "@", "!", "$", "%23", "@x:", strings.Repeat("x", 300), "%F0%9F%92%A9", "-1", "99999999999999999999"} {
			if strings.Contains(r.Path, "{") {
				ask(r.Method, path(r.Path, value), token, "{}")
			}
		}
		for _, query := range []string{"limit=-1", "limit=x", "from=x&to=%00", "dir=x", "ts=x", "version=x", "at=x", "filter={", "%zz", "a=" + strings.Repeat("x", 60_000)} {
			ask(r.Method, good+"?"+query, token, "{}")
		}
		if r.Method == "GET" {
			continue
		}
		for _, body := range odd {
			ask(r.Method, good, token, body)
		}
		if r.AnyBody {
			continue
		}
		// Those that sign out have done so by now.
		if fresh := p.login("victim", nil).text("access_token"); token != alice.token {
			victim.token, token = fresh, fresh
		}
		want := 400
		if r.Auth == httpapi.AppserviceToken {
			want = 403 // a person is refused before the body is looked at
		}
		for _, body := range broken {
			if status, text := ask(r.Method, good, token, body); status != want {
				t.Errorf("%s %s with %.60q = %d %.200s; want %d", r.Method, good, body, status, text, want)
			}
		}
		limit := int(r.MaxBody)
		if limit == 0 {
			limit = limits.DefaultBody
		}
		if status, text := ask(r.Method, good, token, strings.Repeat(" ", limit+1)); status != 413 || !strings.Contains(text, "M_TOO_LARGE") {
			t.Errorf("%s %s with %d bytes = %d %.200s; want 413", r.Method, good, limit+1, status, text)
		}
	}
	p.want(200, "", "GET", whoami, alice.token, nil)
	t.Logf("%d requests", asked)
}
