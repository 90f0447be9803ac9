package tests

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

const submitToken = "/_roomline/client/v1/submitToken"

func requestToken(kind, medium string) string {
	return hstest.Path(append(strings.Split(kind, "/"), medium, "requestToken")...)
}

// wants asks for a code to an e-mail address.
func wants(email, secret string) map[string]any {
	return map[string]any{"email": email, "client_secret": secret, "send_attempt": 1}
}

// nobody is who has no token.
func nobody(d *hstest.Deployment) *hstest.User { return d.Session(&hstest.User{}) }

func password(u *hstest.User) map[string]any {
	return map[string]any{"type": "m.login.password", "password": u.Password, "identifier": map[string]any{"type": "m.id.user", "user": u.ID}}
}

// adds has somebody add an e-mail address.
func adds(t *testing.T, m *mailbox, u *hstest.User, email string) {
	t.Helper()
	secret := "secret-of-" + strings.Trim(strings.Split(u.ID, ":")[0], "@")
	sid := u.MustDo(t, http.MethodPost, requestToken("account/3pid", "email"), wants(email, secret)).Get("sid").String()
	u.MustDo(t, http.MethodPost, submitToken, map[string]any{"sid": sid, "client_secret": secret, "token": m.last(t, email).Code})
	u.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "add"), map[string]any{"sid": sid, "client_secret": secret, "auth": password(u)})
}

// signsIn reports whether somebody can sign in with an identifier.
func signsIn(t *testing.T, d *hstest.Deployment, identifier map[string]any, password string) bool {
	t.Helper()
	r, err := d.Do(t.Context(), 0, "", http.MethodPost, hstest.Path("login"), map[string]any{
		"type": "m.login.password", "identifier": identifier, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status == http.StatusOK
}

func thirdParty(medium, address string) map[string]any {
	return map[string]any{"type": "m.id.thirdparty", "medium": medium, "address": address}
}

func TestAnAddressIsAddedWithACodeAndThePassword(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{Processes: 2})
	alice, bob := d.User(t, "alice"), d.User(t, "bob").On(1)
	add := hstest.Path("account", "3pid", "add")
	if !alice.MustDo(t, http.MethodGet, hstest.Path("capabilities"), nil).Get(`capabilities.m\.3pid_changes.enabled`).Bool() {
		t.Error("the capability is missing")
	}

	// As clients do: without a token, and with another process each time.
	d.Secret("a-client-secret-0", "a client's secret")
	elsewhere := wants("Alice@Example.com", "a-client-secret-0")
	elsewhere["id_server"], elsewhere["id_access_token"] = "elsewhere.test", "x" // which is ignored
	asked := nobody(d).MustDo(t, http.MethodPost, requestToken("account/3pid", "email"), elsewhere)
	sid := asked.Get("sid").String()
	if asked.Get("submit_url").String() != d.BaseURL(0)+submitToken {
		t.Errorf("submit_url is %s", asked.Get("submit_url"))
	}
	again := nobody(d).On(1).MustDo(t, http.MethodPost, requestToken("account/3pid", "email"), wants("alice@example.com", "a-client-secret-0"))
	if again.Get("sid").String() != sid || m.count(t, "alice@example.com") != 1 {
		t.Errorf("the same attempt: %s, and %d messages", again, m.count(t, "alice@example.com"))
	}
	creds := map[string]any{"sid": sid, "client_secret": "a-client-secret-0", "auth": password(alice)}
	alice.MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, add, creds)
	code := m.last(t, "alice@example.com").Code
	submit := map[string]any{"sid": sid, "client_secret": "a-client-secret-0", "token": code}
	if got := nobody(d).On(1).MustDo(t, http.MethodPost, submitToken, submit); !got.Get("success").Bool() {
		t.Errorf("submitToken: %s", got)
	}
	delete(creds, "auth")
	if r := alice.MustFail(t, 401, "", http.MethodPost, add, creds); r.Get("flows.0.stages.0").String() != "m.login.password" {
		t.Errorf("without the password: %s", r)
	}
	creds["auth"] = map[string]any{"type": "m.login.password", "password": "wrong", "identifier": map[string]any{"type": "m.id.user", "user": alice.ID}}
	alice.MustFail(t, 401, "M_FORBIDDEN", http.MethodPost, add, creds)
	creds["auth"] = password(alice)
	alice.On(1).MustDo(t, http.MethodPost, add, creds)
	// A validation is good once.
	alice.MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, add, creds)

	list := alice.MustDo(t, http.MethodGet, hstest.Path("account", "3pid"), nil).Get("threepids")
	if list.Get("#").Int() != 1 || list.Get("0.medium").String() != "email" || list.Get("0.address").String() != "alice@example.com" ||
		list.Get("0.validated_at").Int() == 0 || list.Get("0.added_at").Int() == 0 {
		t.Errorf("the addresses of alice are %s", list)
	}
	if !signsIn(t, d, thirdParty("email", "Alice@example.com"), alice.Password) {
		t.Error("the address does not sign in")
	}
	if !finds(t, bob, "alice@example.com", alice.ID) {
		t.Error("a colleague does not find the address")
	}

	removed := alice.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "delete"), map[string]any{"medium": "email", "address": "ALICE@example.com"})
	if removed.Get("id_server_unbind_result").String() != "success" {
		t.Errorf("delete: %s", removed)
	}
	alice.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "delete"), map[string]any{"medium": "email", "address": "alice@example.com"})
	if n := alice.MustDo(t, http.MethodGet, hstest.Path("account", "3pid"), nil).Get("threepids.#").Int(); n != 0 {
		t.Errorf("%d addresses are left", n)
	}
	if signsIn(t, d, thirdParty("email", "alice@example.com"), alice.Password) || finds(t, bob, "alice@example.com", alice.ID) {
		t.Error("the address is still good")
	}
}

// allowSMS lets the operator's organisation send short messages to Belgium.
func allowSMS(t *testing.T, d *hstest.Deployment) {
	t.Helper()
	d.Operator(t).MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/messages", map[string]any{"countries": []string{"BE"}})
}

func TestAPhoneNumberIsAddedWithSixDigits(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{})
	allowSMS(t, d)
	alice := d.User(t, "alice")
	path := requestToken("account/3pid", "msisdn")
	request := map[string]any{"country": "BE", "phone_number": "0470 12 34 56", "client_secret": "s", "send_attempt": 1}
	for key, wrong := range map[string]any{"country": "XX", "phone_number": "112", "client_secret": "a b", "send_attempt": -1} {
		bad := map[string]any{key: wrong}
		for k, v := range request {
			if k != key {
				bad[k] = v
			}
		}
		alice.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, path, bad)
		delete(bad, key)
		alice.MustFail(t, 400, "M_MISSING_PARAM", http.MethodPost, path, bad)
	}
	// A number of a kind that nothing is sent to.
	alice.MustFail(t, 403, "M_THREEPID_DENIED", http.MethodPost, path, map[string]any{
		"country": "GB", "phone_number": "07400 123456", "client_secret": "s", "send_attempt": 1})
	sid := alice.MustDo(t, http.MethodPost, path, request).Get("sid").String()
	text := m.last(t, "32470123456")
	if len(text.Code) != 6 || strings.Trim(text.Code, "0123456789") != "" || text.Host != "127.0.0.1" || text.Link != "" {
		t.Fatalf("the message has %+v", text)
	}
	wrong := "000000"
	if text.Code == wrong {
		wrong = "000001"
	}
	creds := map[string]any{"sid": sid, "client_secret": "s", "token": wrong}
	for range 5 {
		alice.MustFail(t, 400, "M_TOKEN_INCORRECT", http.MethodPost, submitToken, creds)
	}
	creds["token"] = text.Code
	alice.MustFail(t, 400, "M_SESSION_EXPIRED", http.MethodPost, submitToken, creds)
	// Nothing is sent to a number twice in a minute; another number goes on.
	request["phone_number"], request["client_secret"] = "0470 12 34 57", "t"
	sid = alice.MustDo(t, http.MethodPost, path, request).Get("sid").String()
	alice.MustDo(t, http.MethodPost, submitToken, map[string]any{"sid": sid, "client_secret": "t", "token": m.last(t, "32470123457").Code})
	alice.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "add"), map[string]any{"sid": sid, "client_secret": "t", "auth": password(alice)})
	if !signsIn(t, d, map[string]any{"type": "m.id.phone", "country": "BE", "phone": "0470123457"}, alice.Password) {
		t.Error("the number does not sign in")
	}
}

// open opens a page.
func open(t *testing.T, d *hstest.Deployment, method, path, language, body string) hstest.Response {
	t.Helper()
	r, err := nobody(d).Request(t.Context(), method, path, http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept-Language": {language}, "Accept": {"text/html"}}, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAMailsLinkAsksForAButton(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["oidc"] = map[string]any{"redirect_urls": []string{"https://app.example.com/chat"}}
	}})
	alice := d.User(t, "alice")
	request := wants("alice@example.com", "s")
	request["next_link"] = "https://app.example.com/chat/done"
	r, err := alice.Request(t.Context(), http.MethodPost, requestToken("account/3pid", "email"), http.Header{
		"Content-Type": {"application/json"}, "Accept-Language": {"nl-BE,nl;q=0.9"}}, strings.NewReader(
		`{"email":"alice@example.com","client_secret":"s","send_attempt":1,"next_link":"https://app.example.com/chat/done"}`))
	if err != nil || r.Status != 200 {
		t.Fatal(r, err)
	}
	sid := r.JSON().Get("sid").String()
	link := m.last(t, "alice@example.com").Link
	path, ok := strings.CutPrefix(link, d.BaseURL(0))
	if !ok || !strings.HasPrefix(path, submitToken+"?") {
		t.Fatalf("the link is %s", link)
	}
	d.Secret(path, "a link")
	add := map[string]any{"sid": sid, "client_secret": "s", "auth": password(alice)}
	// Whoever opens it, and how often: nothing happens.
	for range 20 {
		page := open(t, d, http.MethodGet, path, "", "")
		if page.Status != 200 || !strings.Contains(string(page.Body), "Bevestigen") || !strings.Contains(string(page.Body), `lang="nl"`) {
			t.Fatalf("the page is %s", page)
		}
		policy := page.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "form-action 'self' https://app.example.com") ||
			page.Header.Get("Referrer-Policy") != "no-referrer" || page.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("headers: %v", page.Header)
		}
	}
	alice.MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, hstest.Path("account", "3pid", "add"), add)
	query, _ := url.ParseQuery(path[strings.Index(path, "?")+1:])
	wrong := url.Values{"sid": {query.Get("sid")}, "token": {"AAAAAAAA"}, "lang": {"fr"}}
	if page := open(t, d, http.MethodPost, submitToken, "", wrong.Encode()); page.Status != 400 || !strings.Contains(string(page.Body), "plus valable") {
		t.Errorf("a wrong code: %s", page)
	}
	done := open(t, d, http.MethodPost, submitToken, "", query.Encode())
	if done.Status != 303 || done.Header.Get("Location") != "https://app.example.com/chat/done" {
		t.Errorf("the button: %s %v", done, done.Header)
	}
	alice.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "add"), add)
	for _, language := range []string{"en", "fr-BE", "de"} {
		gone := open(t, d, http.MethodGet, strings.ReplaceAll(path, "lang=nl", ""), language, "")
		if gone.Status != 404 || !strings.Contains(string(gone.Body), `lang="`+language[:2]+`"`) {
			t.Errorf("a used link in %s: %s", language, gone)
		}
	}
	// Markup in the address of the page stays text.
	if page := open(t, d, http.MethodGet, submitToken+"?sid=%3Cscript%3E&token=%3Cscript%3E&client_secret=%22%3E", "", ""); strings.Contains(string(page.Body), "<script>") {
		t.Errorf("markup: %s", page)
	}
}

func TestNobodyLearnsWhoseAnAddressIs(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{})
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	other := d.Organisation(t, "Mill", "mill.test").User(t, "carl")
	adds(t, m, alice, "alice@example.com")
	before := m.count(t, "alice@example.com")
	// A colleague may see it, and is told.
	bob.MustFail(t, 400, "M_THREEPID_IN_USE", http.MethodPost, requestToken("account/3pid", "email"), wants("alice@example.com", "b"))
	alice.MustFail(t, 400, "M_THREEPID_IN_USE", http.MethodPost, requestToken("account/3pid", "email"), wants("alice@example.com", "a"))
	// Who says nothing of themselves is not.
	for i, path := range []string{requestToken("account/3pid", "email"), requestToken("register", "email")} {
		taken := nobody(d).MustDo(t, http.MethodPost, path, wants("alice@example.com", "c"))
		free := nobody(d).MustDo(t, http.MethodPost, path, wants(fmt.Sprintf("free%d@example.com", i), "c"))
		if keys(taken) != keys(free) || len(taken.Get("sid").String()) != len(free.Get("sid").String()) {
			t.Errorf("%s: %s for an address that is taken, %s for a free one", path, taken, free)
		}
		if m.count(t, fmt.Sprintf("free%d@example.com", i)) != 1 {
			t.Errorf("%s: no code for a free address", path)
		}
	}
	if n := m.count(t, "alice@example.com"); n != before {
		t.Errorf("%d mails to an address that is taken", n-before)
	}
	// In another organisation it is an address like any other.
	other.MustDo(t, http.MethodPost, requestToken("account/3pid", "email"), wants("alice@example.com", "d"))
	adds(t, m, other, "alice@example.com")
	// Of two who validate the same address one gets it; the other has proved it, and is told.
	var sids []string
	for _, u := range []*hstest.User{alice, bob} {
		sids = append(sids, u.MustDo(t, http.MethodPost, requestToken("account/3pid", "email"), wants("both@example.com", "e")).Get("sid").String())
		u.MustDo(t, http.MethodPost, submitToken, map[string]any{"sid": sids[len(sids)-1], "client_secret": "e", "token": m.last(t, "both@example.com").Code})
	}
	if sids[0] == sids[1] {
		t.Error("two users share a validation")
	}
	add := hstest.Path("account", "3pid", "add")
	bob.MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, add, map[string]any{"sid": sids[0], "client_secret": "e", "auth": password(bob)})
	alice.MustDo(t, http.MethodPost, add, map[string]any{"sid": sids[0], "client_secret": "e", "auth": password(alice)})
	bob.MustFail(t, 400, "M_THREEPID_IN_USE", http.MethodPost, add, map[string]any{"sid": sids[1], "client_secret": "e", "auth": password(bob)})
}

// keys are the names in an answer.
func keys(object gjson.Result) string {
	var names []string
	object.ForEach(func(key, _ gjson.Result) bool {
		names = append(names, key.String())
		return true
	})
	return strings.Join(names, " ")
}

func TestAPasswordIsResetByMail(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{Processes: 2})
	alice := d.User(t, "alice")
	second := alice.NewSession(t)
	adds(t, m, alice, "alice@example.com")
	path, change := requestToken("account/password", "email"), hstest.Path("account", "password")
	known := nobody(d).MustDo(t, http.MethodPost, path, wants("alice@example.com", "s"))
	unknown := nobody(d).MustDo(t, http.MethodPost, path, wants("nobody@example.com", "s"))
	if keys(known) != keys(unknown) || len(known.Get("sid").String()) != len(unknown.Get("sid").String()) {
		t.Errorf("%s for an account, %s for none", known, unknown)
	}
	if m.count(t, "nobody@example.com") != 0 {
		t.Error("a mail to who has no account")
	}
	stage := func(sid string) map[string]any {
		return map[string]any{"type": "m.login.email.identity", "threepid_creds": map[string]any{"sid": sid, "client_secret": "s"}}
	}
	reset := map[string]any{"new_password": "a wholly new password", "logout_devices": false}
	d.Secret("a wholly new password", "a password")
	begun := nobody(d).MustFail(t, 401, "", http.MethodPost, change, reset)
	if begun.Get("flows.#.stages").Raw != `[["m.login.email.identity"],["m.login.msisdn"]]` {
		t.Errorf("flows: %s", begun)
	}
	sid := known.Get("sid").String()
	auth := stage(sid)
	auth["session"] = begun.Get("session").String()
	reset["auth"] = auth
	// The client asks again and again while the person looks for the mail.
	for process := range 2 {
		if r := nobody(d).On(process).MustFail(t, 401, "M_UNAUTHORIZED", http.MethodPost, change, reset); !r.Get("flows").Exists() {
			t.Errorf("pending: %s", r)
		}
	}
	code := m.last(t, "alice@example.com")
	if code.Purpose != "password" {
		t.Errorf("the code is for %s", code.Purpose)
	}
	nobody(d).On(1).MustDo(t, http.MethodPost, submitToken, map[string]any{"sid": sid, "client_secret": "s", "token": code.Code})
	// Not for another purpose, not with another secret, not with the other stage.
	alice.MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, hstest.Path("account", "3pid", "add"),
		map[string]any{"sid": sid, "client_secret": "s", "auth": password(alice)})
	wrong := stage(sid)
	wrong["type"] = "m.login.msisdn"
	nobody(d).MustFail(t, 401, "M_THREEPID_AUTH_FAILED", http.MethodPost, change, map[string]any{"new_password": "x1x2x3x4x5x6", "auth": wrong})
	guessed := stage(sid)
	guessed["threepid_creds"] = map[string]any{"sid": sid, "client_secret": "t"}
	nobody(d).MustFail(t, 401, "M_THREEPID_AUTH_FAILED", http.MethodPost, change, map[string]any{"new_password": "x1x2x3x4x5x6", "auth": guessed})
	nobody(d).MustFail(t, 401, "M_THREEPID_AUTH_FAILED", http.MethodPost, change, map[string]any{"new_password": "x1x2x3x4x5x6", "auth": stage(unknown.Get("sid").String() + "x")})

	nobody(d).On(1).MustDo(t, http.MethodPost, change, reset)
	for _, u := range []*hstest.User{alice, second} {
		for process := range 2 {
			hstest.Eventually(t, "the end of a session", func() bool {
				r, err := u.On(process).Do(t.Context(), http.MethodGet, hstest.Path("account", "whoami"), nil)
				return err == nil && r.Status == 401 && r.ErrCode() == "M_UNKNOWN_TOKEN"
			})
		}
	}
	if signsIn(t, d, map[string]any{"type": "m.id.user", "user": alice.ID}, alice.Password) || !signsIn(t, d, thirdParty("email", "alice@example.com"), "a wholly new password") {
		t.Error("the password is not the new one")
	}
	// Once.
	delete(auth, "session")
	nobody(d).MustFail(t, 401, "M_THREEPID_AUTH_FAILED", http.MethodPost, change, reset)
}

func TestAPasswordIsResetOnlyWhereThereIsOne(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{})
	admin := d.Operator(t)
	path := requestToken("account/password", "email")
	var first gjson.Result
	for name, change := range map[string]func(*hstest.User){
		"locked": func(u *hstest.User) {
			admin.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/lock/"+url.PathEscape(u.ID), map[string]any{"locked": true})
		},
		"suspended": func(u *hstest.User) {
			admin.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+url.PathEscape(u.ID), map[string]any{"suspended": true})
		},
		"closed": func(u *hstest.User) {
			u.MustDo(t, http.MethodPost, hstest.Path("account", "deactivate"), map[string]any{"auth": password(u)})
		},
		"guest": func(u *hstest.User) { m.exec(t, `UPDATE users SET guest = true WHERE user_id = $1`, u.ID) },
		"sso":   func(u *hstest.User) { m.exec(t, `UPDATE users SET password_hash = NULL WHERE user_id = $1`, u.ID) },
	} {
		u := d.User(t, name)
		adds(t, m, u, name+"@example.com")
		change(u)
		before := m.count(t, name+"@example.com")
		answer := nobody(d).MustDo(t, http.MethodPost, path, wants(name+"@example.com", "s"))
		if first.Exists() && keys(answer) != keys(first) {
			t.Errorf("%s: %s", name, answer)
		}
		first = answer
		if m.count(t, name+"@example.com") != before {
			t.Errorf("%s: a code was sent", name)
		}
	}
	// What happens between the code and the new password counts.
	u := d.User(t, "moved")
	adds(t, m, u, "moved@example.com")
	sid := nobody(d).MustDo(t, http.MethodPost, path, wants("moved@example.com", "s")).Get("sid").String()
	u.MustDo(t, http.MethodPost, submitToken, map[string]any{"sid": sid, "client_secret": "s", "token": m.last(t, "moved@example.com").Code})
	u.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "delete"), map[string]any{"medium": "email", "address": "moved@example.com"})
	nobody(d).MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, hstest.Path("account", "password"), map[string]any{
		"new_password": "x1x2x3x4x5x6", "auth": map[string]any{"type": "m.login.email.identity", "threepid_creds": map[string]any{"sid": sid, "client_secret": "s"}}})
	u.MustDo(t, http.MethodGet, hstest.Path("account", "whoami"), nil)
}

// exec changes what no request changes.
func (m *mailbox) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := m.db.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}

func TestAnAccountIsMadeWithAnAddress(t *testing.T) {
	t.Parallel()
	for mode, stage := range map[string]map[string]any{
		"open":  {"type": "m.login.dummy"},
		"token": {"type": "m.login.registration_token", "token": "welcome"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d, m := withMail(t, hstest.Options{Processes: 2, Configure: func(_ int, c map[string]any) {
				c["registration"] = map[string]any{"mode": mode, "shared_secret": hstest.SharedSecret}
			}})
			if mode == "token" {
				d.Operator(t).MustDo(t, http.MethodPost, "/_synapse/admin/v1/registration_tokens/new", map[string]any{"token": "welcome"})
			}
			sid := nobody(d).MustDo(t, http.MethodPost, requestToken("register", "email"), wants("new@example.com", "s")).Get("sid").String()
			nobody(d).MustDo(t, http.MethodPost, submitToken, map[string]any{"sid": sid, "client_secret": "s", "token": m.last(t, "new@example.com").Code})
			request := map[string]any{"username": "new", "password": "correct horse new"}
			d.Secret("correct horse new", "a password")
			begun := nobody(d).MustFail(t, 401, "", http.MethodPost, hstest.Path("register"), map[string]any{})
			if begun.Get("flows.1.stages.0").String() != "m.login.email.identity" || begun.Get("flows.1.stages.1").String() != stage["type"] {
				t.Fatalf("flows: %s", begun)
			}
			session := begun.Get("session").String()
			request["auth"] = map[string]any{"type": "m.login.email.identity", "session": session, "threepid_creds": map[string]any{"sid": sid, "client_secret": "s"}}
			nobody(d).On(1).MustFail(t, 401, "", http.MethodPost, hstest.Path("register"), request)
			stage["session"] = session
			request["auth"] = stage
			made := nobody(d).MustDo(t, http.MethodPost, hstest.Path("register"), request)
			d.Secret(made.Get("access_token").String(), "an access token")
			if !signsIn(t, d, thirdParty("email", "new@example.com"), "correct horse new") {
				t.Error("the address does not sign in")
			}
			// The validation is used up: no second account has it.
			request["username"] = "newer"
			delete(stage, "session")
			request["auth"] = map[string]any{"type": "m.login.email.identity", "threepid_creds": map[string]any{"sid": sid, "client_secret": "s"}}
			nobody(d).MustFail(t, 401, "M_THREEPID_AUTH_FAILED", http.MethodPost, hstest.Path("register"), request)
		})
	}
	d, _ := withMail(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["registration"] = map[string]any{"mode": "off", "shared_secret": hstest.SharedSecret}
	}})
	nobody(d).MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, requestToken("register", "email"), wants("new@example.com", "s"))
}

func TestWhoMayChangeAddresses(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{})
	alice, owner := d.User(t, "alice"), d.Operator(t)
	const policy = "/_roomline/admin/v1/policies/accounts"
	email, remove := requestToken("account/3pid", "email"), hstest.Path("account", "3pid", "delete")
	may := func(u *hstest.User) bool {
		return u.MustDo(t, http.MethodGet, hstest.Path("capabilities"), nil).Get(`capabilities.m\.3pid_changes.enabled`).Bool()
	}
	owner.MustDo(t, http.MethodPut, policy, map[string]any{"threepid_changes": false})
	alice.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, email, wants("alice@example.com", "s"))
	alice.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, remove, map[string]any{"medium": "email", "address": "alice@example.com"})
	alice.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, hstest.Path("account", "3pid", "add"), map[string]any{"sid": "x", "client_secret": "s"})
	if may(alice) {
		t.Error("the capability says otherwise")
	}
	owner.MustDo(t, http.MethodPut, policy, map[string]any{})
	if !may(alice) {
		t.Error("the capability does not come back")
	}
	// Of whom a directory takes care, it says what the addresses are.
	m.exec(t, `INSERT INTO scim_users (user_id, organisation_id, user_name, modified_ts, resource) VALUES ($1, 1, 'alice', 0, '{}')`, alice.ID)
	if may(alice) {
		t.Error("a directory's person may change the addresses")
	}
	alice.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, email, wants("alice@example.com", "s"))
	owner.MustDo(t, http.MethodPut, policy, map[string]any{"threepid_changes": true})
	if !may(alice) {
		t.Error("the organisation's decision does not hold")
	}
	adds(t, m, alice, "alice@example.com")

	owner.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+url.PathEscape(alice.ID), map[string]any{"suspended": true})
	alice.MustFail(t, 403, "M_USER_SUSPENDED", http.MethodPost, email, wants("other@example.com", "s"))
	alice.MustFail(t, 403, "M_USER_SUSPENDED", http.MethodPost, remove, map[string]any{"medium": "email", "address": "alice@example.com"})
	alice.MustDo(t, http.MethodGet, hstest.Path("account", "3pid"), nil)
	guest := d.User(t, "visitor")
	m.exec(t, `UPDATE users SET guest = true WHERE user_id = $1`, guest.ID)
	guest = guest.NewSession(t)
	for _, path := range []string{email, remove, hstest.Path("account", "3pid", "add"), hstest.Path("account", "3pid", "bind"), hstest.Path("account", "3pid", "unbind"), hstest.Path("account", "3pid")} {
		guest.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", http.MethodPost, path, wants("visitor@example.com", "s"))
	}
	locked := d.User(t, "lock")
	owner.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/lock/"+url.PathEscape(locked.ID), map[string]any{"locked": true})
	locked.MustFail(t, 401, "M_USER_LOCKED", http.MethodPost, email, wants("lock@example.com", "s"))
}

// TestSecretsAreNotInTheDatabase looks for what was typed in a dump of all tables that might hold it.
func TestSecretsAreNotInTheDatabase(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{})
	alice := d.User(t, "alice")
	const secret = "canary-client-secret"
	d.Secret(secret, "a client's secret")
	sid := alice.MustDo(t, http.MethodPost, requestToken("account/3pid", "email"), wants("alice@example.com", secret)).Get("sid").String()
	code := m.last(t, "alice@example.com").Code
	alice.MustDo(t, http.MethodPost, submitToken, map[string]any{"sid": sid, "client_secret": secret, "token": code})
	alice.MustFail(t, 401, "M_FORBIDDEN", http.MethodPost, hstest.Path("account", "3pid", "add"), map[string]any{"sid": sid, "client_secret": secret,
		"auth": map[string]any{"type": "m.login.password", "password": "canary-password", "identifier": map[string]any{"type": "m.id.user", "user": alice.ID}}})
	for _, table := range []string{"validations", "uia_sessions", "outbox", "audit_log"} {
		var dump string
		if err := m.db.QueryRow(`SELECT coalesce(string_agg(t::text, ' '), '') FROM ` + table + ` t`).Scan(&dump); err != nil {
			t.Fatal(err)
		}
		for _, canary := range []string{secret, code, "canary-password"} {
			if strings.Contains(dump, canary) || strings.Contains(dump, fmt.Sprintf("%x", canary)) {
				t.Errorf("table %s has %s", table, canary)
			}
		}
	}
}
