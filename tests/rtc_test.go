package tests

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// userInfo asks a process whose OpenID token it is.
func userInfo(t *testing.T, dep *hstest.Deployment, process int, query string) hstest.Response {
	t.Helper()
	r, err := dep.Do(t.Context(), process, "", http.MethodGet, "/_matrix/federation/v1/openid/userinfo"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOpenIDTokenTellsWhoSomebodyIs(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(process int, config map[string]any) {
		// One process serves services without federation.
		if process == 1 {
			config["federation"] = map[string]any{"enabled": false}
		}
	}})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	path := hstest.Path("user", alice.ID, "openid", "request_token")
	answer := alice.MustDo(t, http.MethodPost, path, map[string]any{})
	token := answer.Get("access_token").String()
	dep.Secret(token, "an OpenID token")
	if answer.Get("token_type").String() != "Bearer" || answer.Get("matrix_server_name").String() != dep.ServerName || answer.Get("expires_in").Int() != 3600 {
		t.Errorf("the token came as %s", answer.Raw)
	}
	for process := range 2 {
		if r := userInfo(t, dep, process, "?access_token="+url.QueryEscape(token)); r.Status != 200 || r.JSON().Get("sub").String() != alice.ID {
			t.Errorf("userinfo at process %d: %s", process, r)
		}
	}
	// It opens nothing else, and nothing else opens this.
	if r, err := dep.Do(t.Context(), 0, token, http.MethodGet, hstest.Path("account", "whoami"), nil); err != nil || r.Status != 401 {
		t.Errorf("as an access token: %s %v", r, err)
	}
	for _, query := range []string{"?access_token=x", "?access_token=" + alice.AccessToken, "?access_token=" + strings.Repeat("x", 5000), "?access_token=" + token + "x"} {
		if r := userInfo(t, dep, 0, query); r.Status != 401 || r.ErrCode() != "M_UNKNOWN_TOKEN" {
			t.Errorf("a wrong token: %s", r)
		}
	}
	if r := userInfo(t, dep, 0, ""); r.Status != 401 || r.ErrCode() != "M_MISSING_TOKEN" {
		t.Errorf("no token: %s", r)
	}
	bob.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, path, map[string]any{})
	bob.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, hstest.Path("user", "alice", "openid", "request_token"), map[string]any{})
	bob.MustFail(t, 400, "M_NOT_JSON", http.MethodPost, hstest.Path("user", bob.ID, "openid", "request_token"), []byte("{"))

	// It ends with the session, not with another one.
	alice.NewSession(t).MustDo(t, http.MethodPost, hstest.Path("logout"), nil)
	if r := userInfo(t, dep, 0, "?access_token="+token); r.Status != 200 {
		t.Errorf("after the logout of another session: %s", r)
	}
	alice.MustDo(t, http.MethodPost, hstest.Path("logout"), nil)
	if r := userInfo(t, dep, 1, "?access_token="+token); r.Status != 401 || r.ErrCode() != "M_UNKNOWN_TOKEN" {
		t.Errorf("after the logout: %s", r)
	}
}

func TestTURNCredentials(t *testing.T) {
	t.Parallel()
	uris := []string{"turn:turn.example.org?transport=udp", "turns:turn.example.org?transport=tcp"}
	dep := hstest.Start(t, hstest.Options{Processes: 3, Configure: func(process int, config map[string]any) {
		switch process {
		case 0:
			config["turn"] = map[string]any{"uris": uris, "shared_secret": "the relay's secret", "lifetime": "20m"}
		case 1:
			config["turn"] = map[string]any{"uris": uris, "username": "everybody", "password": "the relay's password"}
		}
	}})
	dep.Secret("the relay's secret", "the relay's secret")
	path := hstest.Path("voip", "turnServer")
	alice := dep.User(t, "alice")
	got := alice.MustDo(t, http.MethodGet, path, nil)
	until, user, _ := strings.Cut(got.Get("username").String(), ":")
	ends, err := strconv.ParseInt(until, 10, 64)
	if left := ends - time.Now().Unix(); err != nil || user != alice.ID || left < 15*60 || left > 20*60 || got.Get("ttl").Int() != 20*60 || len(got.Get("uris").Array()) != 2 {
		t.Errorf("credentials: %s", got.Raw)
	}
	// As coturn computes it: echo -n "$username" | openssl dgst -binary -sha1 -hmac "$secret" | base64
	mac := hmac.New(sha1.New, []byte("the relay's secret"))
	mac.Write([]byte(got.Get("username").String()))
	if want := base64.StdEncoding.EncodeToString(mac.Sum(nil)); got.Get("password").String() != want {
		t.Errorf("the password is %s, not %s", got.Get("password"), want)
	}
	if got := alice.On(1).MustDo(t, http.MethodGet, path, nil); got.Get("username").String() != "everybody" || got.Get("password").String() != "the relay's password" || got.Get("ttl").Int() != 3600 {
		t.Errorf("static credentials: %s", got.Raw)
	}
	if got := alice.On(2).MustDo(t, http.MethodGet, path, nil); got.Raw != "{}" {
		t.Errorf("without a relay: %s", got.Raw)
	}
	if r, err := dep.Do(t.Context(), 0, "", http.MethodGet, path, nil); err != nil || r.Status != 401 || r.ErrCode() != "M_MISSING_TOKEN" {
		t.Errorf("to a stranger: %s %v", r, err)
	}
}
