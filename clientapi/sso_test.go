package clientapi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/sso"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/store"
)

// people is who has an account at the provider.
type people map[string]*storage.User

func (p people) GetUserByID(id string) *storage.User { return p[id] }
func (p people) ExampleClientID() string             { return "service" }
func (p people) GetUserByUsername(name string) *storage.User {
	for _, u := range p {
		if u.Username == name {
			return u
		}
	}
	return nil
}

// callbackBase is where the provider believes the server to be; the test takes the browser to whichever process it likes.
const callbackBase = "https://matrix.one.test"

// The example's clients are one table for all tests.
var registerClient sync.Once

// openIDProvider runs a provider that others have written.
func openIDProvider(t *testing.T) string {
	t.Helper()
	registerClient.Do(func() {
		storage.RegisterClients(storage.WebClient("roomline", "the client secret", callbackBase+sso.CallbackPath))
	})
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	user := func(id, email string, verified bool) *storage.User {
		return &storage.User{ID: id, Username: id, Password: "verysecure", FirstName: "First", LastName: id, Email: email, EmailVerified: verified}
	}
	everybody := people{
		"alice": user("alice", "a@example.com", true), "bert": user("bert", "Bob@Example.com", true),
		"eve": user("eve", "carol@example.com", false), "new": user("new", "new@example.com", true), "Bad Name!": user("Bad Name!", "x@example.com", true),
	}
	handler = exampleop.SetupServer(server.URL, storage.NewStorage(everybody), nil, false)
	return server.URL
}

// browser is somebody's browser. It keeps the cookies of all sites in one place.
type browser struct {
	t       *testing.T
	cookies map[string]string
}

func newBrowser(t *testing.T) *browser { return &browser{t: t, cookies: map[string]string{}} }

// open opens a page and follows nothing.
func (b *browser) open(method, target string, form url.Values) (status int, location, page string) {
	b.t.Helper()
	req, err := http.NewRequest(method, target, strings.NewReader(form.Encode()))
	must(b.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range b.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(b.t, err)
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		b.cookies[c.Name] = c.Value
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode {
			b.t.Errorf("the cookie is %v", c)
		}
	}
	raw, err := io.ReadAll(resp.Body)
	must(b.t, err)
	return resp.StatusCode, resp.Header.Get("Location"), string(raw)
}

const ssoRedirect = "/_matrix/client/v3/login/sso/redirect"

// atProvider begins a sign-in and proves to the provider who is there. It returns where the provider sends the browser then.
func (b *browser) atProvider(p *process, idp, redirectURL, name string) string {
	b.t.Helper()
	status, location, page := b.open("GET", p.url+ssoRedirect+idp+"?redirectUrl="+url.QueryEscape(redirectURL), nil)
	if status != 302 {
		b.t.Fatalf("redirect = %d %s", status, page)
	}
	asked, err := url.Parse(location)
	must(b.t, err)
	q := asked.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "" || q.Get("state") == "" ||
		!strings.Contains(q.Get("scope"), "openid") {
		b.t.Errorf("the provider is asked %v", q)
	}
	_, login, _ := b.open("GET", location, nil)
	at, err := asked.Parse(login)
	must(b.t, err)
	_, location, page = b.open("POST", at.Scheme+"://"+at.Host+"/login/username",
		url.Values{"id": {at.Query().Get("authRequestID")}, "username": {name}, "password": {"verysecure"}})
	if location == "" {
		b.t.Fatalf("the provider lets %s not in: %s", name, page)
	}
	at, err = at.Parse(location)
	must(b.t, err)
	status, location, page = b.open("GET", at.String(), nil)
	if status != 302 || !strings.HasPrefix(location, callbackBase+sso.CallbackPath+"?") {
		b.t.Fatalf("the provider sends the browser to %d %q %s", status, location, page)
	}
	return strings.TrimPrefix(location, callbackBase)
}

func newSSODeployment(t *testing.T, change func(*sso.Provider)) *deployment {
	t.Helper()
	issuer := openIDProvider(t)
	d := newDeployment(t)
	d.configure = func(cfg *clientapi.Config) {
		p := sso.Provider{ID: "op", Name: "The provider", Issuer: issuer, ClientID: "roomline", ClientSecret: "the client secret",
			Scopes: []string{"profile", "email"}, Domain: "one.test", LocalpartClaim: "preferred_username", EmailClaim: "email"}
		change(&p)
		cfg.WellKnown.BaseURL = callbackBase
		cfg.SSO = sso.Config{Providers: []sso.Provider{p}, Allowed: []string{"https://chat.one.test/app", "myapp://login"},
			HTTP: outbound.New(outbound.Config{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})}
	}
	return d
}

// tokenIn is the login token in a client's address.
func tokenIn(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	token := u.Query().Get("loginToken")
	if token == "" {
		t.Fatalf("no login token in %q", address)
	}
	return token
}

func TestSignInThroughAProvider(t *testing.T) {
	t.Parallel()
	d := newSSODeployment(t, func(*sso.Provider) {})
	one, two := d.process(), d.process()
	alice := one.user("alice")
	bob, err := one.accounts.Create(t.Context(), auth.NewAccount{Localpart: "bob", ThreePIDs: []store.ThreePID{{Medium: "email", Address: "bob@example.com"}}})
	must(t, err)
	carol, err := one.accounts.Create(t.Context(), auth.NewAccount{Localpart: "carol", ThreePIDs: []store.ThreePID{{Medium: "email", Address: "carol@example.com"}}})
	must(t, err)
	_ = carol
	flows := fmt.Sprint(one.want(200, "", "GET", "/_matrix/client/v3/login", "", nil)["flows"])
	if !strings.Contains(flows, "map[identity_providers:[map[id:op name:The provider]] type:m.login.sso]") ||
		!strings.Contains(flows, "type:m.login.token]") {
		t.Errorf("flows are %s", flows)
	}
	for name, want := range map[string]matrix.UserID{"alice": alice, "bert": bob} {
		for _, path := range []string{"", "/op"} {
			b := newBrowser(t)
			back := b.atProvider(one, path, "https://chat.one.test/app/?x=1#/start", name)
			// The answer reaches another process than the question.
			status, location, page := b.open("GET", two.url+back, nil)
			if status != 302 || !strings.HasPrefix(location, "https://chat.one.test/app/?") || !strings.Contains(location, "x=1") || !strings.HasSuffix(location, "#/start") {
				t.Fatalf("the callback gives %d %q %s", status, location, page)
			}
			token := tokenIn(t, location)
			answer := one.want(200, "", "POST", "/_matrix/client/v3/login", "", object{"type": "m.login.token", "token": token})
			if answer.text("user_id") != string(want) {
				t.Errorf("%s is signed in as %v", name, answer)
			}
			one.want(200, "", "GET", whoami, answer.text("access_token"), nil)
			two.want(403, "M_FORBIDDEN", "POST", "/_matrix/client/v3/login", "", object{"type": "m.login.token", "token": token})
			// Once, and not again.
			if status, _, page := b.open("GET", one.url+back, nil); status != 400 || !strings.Contains(page, "expired") {
				t.Errorf("a second callback gives %d %s", status, page)
			}
		}
	}
	// Who has no account gets none, and an address that is not verified is nobody's.
	for _, name := range []string{"new", "eve", "Bad Name!"} {
		b := newBrowser(t)
		status, location, page := b.open("GET", two.url+b.atProvider(one, "", "https://chat.one.test/app", name), nil)
		if status != 403 || location != "" || !strings.Contains(page, "no account for you") {
			t.Errorf("%s: %d %q %s", name, status, location, page)
		}
	}
	// A subject stays with its account; one that is locked or closed lets nobody in.
	must(t, one.accounts.SetLocked(t.Context(), alice, true))
	b := newBrowser(t)
	if status, _, page := b.open("GET", one.url+b.atProvider(one, "", "https://chat.one.test/app", "alice"), nil); status != 403 || !strings.Contains(page, "locked") {
		t.Errorf("a locked account: %d %s", status, page)
	}
}

func TestSignInIsBoundToTheBrowserThatBeganIt(t *testing.T) {
	t.Parallel()
	d := newSSODeployment(t, func(*sso.Provider) {})
	p := d.process()
	p.user("alice")
	mallory, victim := newBrowser(t), newBrowser(t)
	back := mallory.atProvider(p, "", "https://chat.one.test/app", "alice")
	victim.atProvider(p, "", "https://chat.one.test/app", "alice") // has a cookie of its own
	for what, b := range map[string]*browser{"another browser": victim, "no cookie": newBrowser(t)} {
		if status, location, _ := b.open("GET", p.url+back, nil); status != 400 || location != "" {
			t.Errorf("%s: %d %q", what, status, location)
		}
	}
	// None of this has used it up.
	u, err := url.Parse(back)
	must(t, err)
	for what, change := range map[string]func(url.Values){
		"another state": func(q url.Values) { q.Set("state", q.Get("state")+"x") }, "no state": func(q url.Values) { q.Del("state") },
	} {
		q := u.Query()
		change(q)
		if status, _, _ := mallory.open("GET", p.url+u.Path+"?"+q.Encode(), nil); status != 400 {
			t.Errorf("%s: %d", what, status)
		}
	}
	if status, location, _ := mallory.open("GET", p.url+back, nil); status != 302 || tokenIn(t, location) == "" {
		t.Errorf("the browser itself: %d %q", status, location)
	}
	// A wrong code, an error, another issuer, too late.
	for what, want := range map[string]int{"code=wrong": 502, "error=access_denied": 403, "iss=https%3A%2F%2Fevil.test&code=x": 400, "late": 400} {
		b := newBrowser(t)
		u, err := url.Parse(b.atProvider(p, "", "https://chat.one.test/app", "alice"))
		must(t, err)
		if what == "late" {
			d.clock.advance(20 * 60e9)
			what = "code=" + url.QueryEscape(u.Query().Get("code"))
		}
		status, location, page := b.open("GET", p.url+u.Path+"?state="+u.Query().Get("state")+"&"+what, nil)
		if status != want || location != "" || !strings.Contains(page, "not signed in") {
			t.Errorf("%s: %d %q %s", what, status, location, page)
		}
	}
}

func TestUnlistedClientsGetTheTokenAfterAQuestion(t *testing.T) {
	t.Parallel()
	d := newSSODeployment(t, func(*sso.Provider) {})
	p := d.process()
	p.user("alice")
	for target, listed := range map[string]bool{
		"https://chat.one.test/app": true, "https://chat.one.test/app/x": true, "myapp://login": true, "myapp://login/x": true,
		"https://chat.one.test/apple": false, "https://chat.one.test/": false, "https://chat.one.test.evil.test/app": false,
		"http://chat.one.test/app": false, "https://chat.one.test/app/../x": false, "https://chat.one.test:444/app": false, "otherapp://login": false,
		"https://evil.test/?\"><script>": false, "element:/x": false,
	} {
		b := newBrowser(t)
		status, location, page := b.open("GET", p.url+b.atProvider(p, "", target, "alice"), nil)
		if listed != (status == 302 && location != "") || listed == strings.Contains(page, "Continue") {
			t.Errorf("%s: %d %q %s", target, status, location, page)
		}
		if !listed && (!strings.Contains(page, "@alice:one.test") || !strings.Contains(page, "loginToken=") || strings.Contains(page, "<script")) {
			t.Errorf("%s: the page says %s", target, page)
		}
	}
	for _, bad := range []string{"", "javascript:alert(1)", "data:text/html,x", "/relative", "https:///x", "https://user:pw@chat.one.test/app", "%zz", "x", strings.Repeat("https://a/", 500)} {
		status, _, page := newBrowser(t).open("GET", p.url+ssoRedirect+"?redirectUrl="+url.QueryEscape(bad), nil)
		if status != 400 || !strings.Contains(page, "M_") {
			t.Errorf("%.60q: %d %s", bad, status, page)
		}
	}
	p.want(404, "M_NOT_FOUND", "GET", ssoRedirect+"/nobody?redirectUrl=https://chat.one.test/app", "", nil)
	p.want(400, "M_INVALID_PARAM", "GET", ssoRedirect+"?action=delete&redirectUrl=https://chat.one.test/app", "", nil)
	if status, location, _ := newBrowser(t).open("GET", p.url+ssoRedirect+"?action=register&redirectUrl=https://chat.one.test/app", nil); status != 302 || !strings.Contains(location, "prompt=create") {
		t.Errorf("register: %d %q", status, location)
	}
	for _, bad := range []object{{}, {"token": ""}, {"token": "x"}, {"token": strings.Repeat("x", 5000)}} {
		bad["type"] = "m.login.token"
		if status, answer := p.do("POST", "/_matrix/client/v3/login", "", bad); status != 400 && status != 403 {
			t.Errorf("%v: %d %v", bad, status, answer)
		}
	}
}

func TestProvidersMayMakeAccountsIfTheOperatorSaysSo(t *testing.T) {
	t.Parallel()
	d := newSSODeployment(t, func(p *sso.Provider) { p.Create, p.Domain = true, "two.test" })
	p := d.process()
	for range 2 {
		b := newBrowser(t)
		status, location, page := b.open("GET", p.url+b.atProvider(p, "", "https://chat.one.test/app", "new"), nil)
		if status != 302 {
			t.Fatalf("%d %s", status, page)
		}
		answer := p.want(200, "", "POST", "/_matrix/client/v3/login", "", object{"type": "m.login.token", "token": tokenIn(t, location)})
		if answer.text("user_id") != "@new:two.test" {
			t.Errorf("signed in as %v", answer)
		}
	}
	b := newBrowser(t)
	if status, _, page := b.open("GET", p.url+b.atProvider(p, "", "https://chat.one.test/app", "Bad Name!"), nil); status != 403 || !strings.Contains(page, "No account could be made") {
		t.Errorf("a name that can't be: %d %s", status, page)
	}
	// A login token is good for two minutes.
	b = newBrowser(t)
	_, location, _ := b.open("GET", p.url+b.atProvider(p, "", "https://chat.one.test/app", "new"), nil)
	d.clock.advance(3 * 60e9)
	p.want(403, "M_FORBIDDEN", "POST", "/_matrix/client/v3/login", "", object{"type": "m.login.token", "token": tokenIn(t, location)})
}

func TestWithoutProvidersThereIsNoSSO(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.want(404, "M_NOT_FOUND", "GET", ssoRedirect+"?redirectUrl=https://chat.one.test/app", "", nil)
	p.want(404, "M_NOT_FOUND", "GET", ssoRedirect+"/op?redirectUrl=https://chat.one.test/app", "", nil)
}

func TestAProviderThatIsAwayIsNoFaultOfOurs(t *testing.T) {
	t.Parallel()
	d := newSSODeployment(t, func(p *sso.Provider) { p.Issuer = "http://127.0.0.1:1" })
	p := d.process()
	p.want(503, "M_UNKNOWN", "GET", ssoRedirect+"?redirectUrl=https://chat.one.test/app", "", nil)
}
