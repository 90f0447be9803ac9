package clientapi_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const getToken = "/_matrix/client/v1/login/get_token"

// loginToken asks for a token, with the password.
func (c *client) loginToken() string {
	c.p.t.Helper()
	answer := c.p.want(200, "", "POST", getToken, c.token, object{"auth": proof("", c.user, password)})
	if answer["expires_in_ms"] != 120000.0 {
		c.p.t.Errorf("the token expires in %v", answer["expires_in_ms"])
	}
	return answer.text("login_token")
}

func byToken(token string) object { return object{"type": "m.login.token", "token": token} }

const loginPath = "/_matrix/client/v3/login"

func TestLoginTokenSignsInOnce(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	one, two := d.process(), d.process()
	alice := one.client("alice")
	flows := one.want(200, "", "GET", loginPath, "", nil).list("flows")
	if len(flows) != 2 || flows[1].text("type") != "m.login.token" || flows[1]["get_login_token"] != true {
		t.Errorf("flows: %v", flows)
	}
	// The password is asked for.
	challenge := one.want(401, "", "POST", getToken, alice.token, object{})
	if challenge.text("session") == "" || challenge["login_token"] != nil {
		t.Fatalf("without a password: %v", challenge)
	}
	one.want(401, "M_FORBIDDEN", "POST", getToken, alice.token, object{"auth": proof(challenge.text("session"), alice.user, "wrong")})
	token := one.want(200, "", "POST", getToken, alice.token, object{"auth": proof(challenge.text("session"), alice.user, password)}).text("login_token")
	// And again for the next token.
	one.want(401, "M_UNAUTHORIZED", "POST", getToken, alice.token, object{"auth": proof(challenge.text("session"), alice.user, password)})

	var signedIn atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		p := []*process{one, two}[i%2]
		wg.Go(func() {
			status, answer := p.do("POST", loginPath, "", byToken(token))
			switch {
			case status == 200 && answer.text("user_id") == alice.user && answer.text("access_token") != "":
				signedIn.Add(1)
			case status != 403 || answer.text("errcode") != "M_FORBIDDEN":
				t.Errorf("login = %d %v", status, answer)
			}
		})
	}
	wg.Wait()
	if n := signedIn.Load(); n != 1 {
		t.Errorf("the token signed in %d times", n)
	}
	if !one.want(200, "", "GET", "/_matrix/client/v3/capabilities", alice.token, nil).inner("capabilities").inner("m.get_login_token")["enabled"].(bool) {
		t.Error("the capability is missing")
	}
}

func TestLoginTokenEnds(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	p := d.process()
	alice := p.client("alice")
	for _, bad := range []any{byToken(""), object{"type": "m.login.token"}} {
		p.want(400, "M_MISSING_PARAM", "POST", loginPath, "", bad)
	}
	p.want(400, "M_BAD_JSON", "POST", loginPath, "", object{"type": "m.login.token", "token": 7})
	for _, wrong := range []string{"x", alice.token, "rll_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		p.want(403, "M_FORBIDDEN", "POST", loginPath, "", byToken(wrong))
	}
	p.want(401, "M_MISSING_TOKEN", "POST", getToken, "", object{})

	late := alice.loginToken()
	d.clock.advance(3 * time.Minute)
	p.want(403, "M_FORBIDDEN", "POST", loginPath, "", byToken(late))

	// A mistake elsewhere in the request does not use the token up.
	kept := alice.loginToken()
	p.want(400, "M_INVALID_PARAM", "POST", loginPath, "", object{"type": "m.login.token", "token": kept, "device_id": "\u0001"})
	if got := p.want(200, "", "POST", loginPath, "", object{"type": "m.login.token", "token": kept, "device_id": "PHONE", "refresh_token": true}); got.text("device_id") != "PHONE" || got.text("refresh_token") == "" {
		t.Errorf("signed in: %v", got)
	}

	orphan := alice.loginToken()
	p.want(200, "", "POST", "/_matrix/client/v3/logout", alice.token, object{})
	p.want(403, "M_FORBIDDEN", "POST", loginPath, "", byToken(orphan))

	alice.token = p.login(alice.user, nil).text("access_token")
	locked := alice.loginToken()
	must(t, p.accounts.SetLocked(t.Context(), "@alice:one.test", true))
	p.want(401, "M_USER_LOCKED", "POST", loginPath, "", byToken(locked))
}

func TestLoginTokensAreLimited(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	d.limited = true
	p := d.process()
	alice := p.client("alice")
	for n := 0; ; n++ {
		status, answer := p.do("POST", getToken, alice.token, object{})
		if status == 429 && answer.text("errcode") == "M_LIMIT_EXCEEDED" {
			return
		}
		if n > 10 {
			t.Fatal("ten requests at once went through")
		}
	}
}
