package clientapi_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const register = "/_matrix/client/v3/register"

func withMode(t *testing.T, mode clientapi.RegistrationMode) *deployment {
	d := newDeployment(t)
	d.configure = func(cfg *clientapi.Config) { cfg.Registration.Mode = mode }
	return d
}

func TestRegistrationIsOffByDefault(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.want(403, "M_FORBIDDEN", "POST", register, "", object{})
	p.want(403, "M_FORBIDDEN", "POST", register, "", object{"username": "bob", "password": password, "auth": object{"type": "m.login.dummy"}})
	p.want(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", register+"?kind=guest", "", object{})
	p.want(403, "M_FORBIDDEN", "GET", register+"/available?username=alice", "", nil)
	p.want(403, "M_FORBIDDEN", "GET", register+"/available?username=bob", "", nil)
	p.want(403, "M_FORBIDDEN", "GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=x", "", nil)
	p.want(404, "M_UNRECOGNIZED", "GET", "/_synapse/admin/v1/register", "", nil)
	p.want(404, "M_UNRECOGNIZED", "POST", "/_synapse/admin/v1/register", "", object{})
}

func TestOpenRegistration(t *testing.T) {
	t.Parallel()
	p := withMode(t, clientapi.RegistrationOpen).process()
	challenge := p.want(401, "", "POST", register, "", object{})
	if fmt.Sprint(challenge["flows"]) != "[map[stages:[m.login.dummy]]]" || challenge.text("session") == "" || challenge["params"] == nil {
		t.Fatalf("an empty request is answered %v", challenge)
	}
	p.want(401, "", "POST", register, "", nil)
	body := object{"username": "Bob", "password": password, "device_id": "PHONE", "refresh_token": true,
		"auth": object{"type": "m.login.dummy", "session": challenge["session"]}}
	bob := p.want(200, "", "POST", register, "", body)
	if bob.text("user_id") != "@bob:one.test" || bob.text("device_id") != "PHONE" || bob.text("refresh_token") == "" || bob.text("home_server") != "one.test" {
		t.Errorf("registered %v", bob)
	}
	p.want(200, "", "GET", whoami, bob.text("access_token"), nil)
	p.login("bob", nil)
	p.want(400, "M_USER_IN_USE", "POST", register, "", body)
	p.want(400, "M_USER_IN_USE", "GET", register+"/available?username=bob", "", nil)
	if answer := p.want(200, "", "GET", register+"/available?username=carol", "", nil); answer["available"] != true {
		t.Errorf("available says %v", answer)
	}
	p.want(400, "M_MISSING_PARAM", "GET", register+"/available", "", nil)
	quiet := p.want(200, "", "POST", register, "", object{"username": "carol", "password": password, "inhibit_login": true, "auth": object{"type": "m.login.dummy"}})
	if quiet.text("user_id") != "@carol:one.test" || quiet["access_token"] != nil || quiet["device_id"] != nil {
		t.Errorf("inhibit_login is answered %v", quiet)
	}
	nameless := p.want(200, "", "POST", register, "", object{"password": password, "auth": object{"type": "m.login.dummy"}})
	if id, err := matrix.ParseUserID(nameless.text("user_id")); err != nil || len(id.Localpart()) != 12 {
		t.Errorf("a made-up user id is %v, %v", nameless, err)
	}
}

func TestRegistrationRefusesBadNamesAndPasswords(t *testing.T) {
	t.Parallel()
	p := withMode(t, clientapi.RegistrationOpen).process()
	for _, name := range []string{"", "a b", "ümlaut", "a:b", "@bob:one.test", "_bridge", strings.Repeat("a", 250), "a\u0000b", "a\nb", "🦆", "K\u212a"} {
		code := "M_INVALID_USERNAME"
		if strings.ContainsRune(name, 0) {
			code = "M_BAD_JSON"
		}
		p.want(400, code, "POST", register, "", object{"username": name, "password": password, "auth": object{"type": "m.login.dummy"}})
	}
	p.want(400, "M_WEAK_PASSWORD", "POST", register, "", object{"username": "bob", "password": "short", "auth": object{"type": "m.login.dummy"}})
	p.want(400, "M_INVALID_PARAM", "POST", register, "", object{"username": "bob", "password": strings.Repeat("x", 1025), "auth": object{"type": "m.login.dummy"}})
	p.want(400, "M_MISSING_PARAM", "POST", register, "", object{"username": "bob", "auth": object{"type": "m.login.dummy"}})
	p.want(400, "M_INVALID_PARAM", "POST", register+"?kind=robot", "", object{})
	p.want(401, "M_FORBIDDEN", "POST", register, "", object{"username": "bob", "password": password, "auth": object{"type": "m.login.password"}})
	p.want(200, "", "POST", register, "", object{"username": "bob", "password": strings.Repeat("x", 1024), "auth": object{"type": "m.login.dummy"}})
}

func TestRegistrationTokens(t *testing.T) {
	t.Parallel()
	d := withMode(t, clientapi.RegistrationToken)
	one, two := d.process(), d.process()
	must(t, one.store.Write(t.Context(), func(tx *store.Tx) error {
		for _, token := range []store.RegistrationToken{
			{Token: "once", OrganisationID: 1, UsesAllowed: 1}, {Token: "always", OrganisationID: 1},
			{Token: "short", OrganisationID: 1, ExpiresTS: matrix.TimestampOf(d.clock.Now().Add(time.Hour))},
		} {
			if _, err := tx.InsertRegistrationToken(t.Context(), token); err != nil {
				return err
			}
		}
		return nil
	}))
	valid := func(token string) any {
		return one.want(200, "", "GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token="+token, "", nil)["valid"]
	}
	if valid("once") != true || valid("short") != true || valid("other") != false || valid(strings.Repeat("x", 100)) != false {
		t.Error("the validity of tokens is wrong")
	}
	try := func(p *process, name, token, session string) (int, object) {
		return p.do("POST", register, "", object{"username": name, "password": password,
			"auth": object{"type": "m.login.registration_token", "token": token, "session": session}})
	}
	// Begun on one process, failed and finished on the other.
	challenge := one.want(401, "", "POST", register, "", object{"username": "bob", "password": password})
	if fmt.Sprint(challenge["flows"]) != "[map[stages:[m.login.registration_token]]]" {
		t.Fatalf("flows are %v", challenge)
	}
	status, answer := try(two, "bob", "wrong", challenge.text("session"))
	if status != 401 || answer.text("errcode") != "M_FORBIDDEN" || answer.text("session") != challenge.text("session") || answer["flows"] == nil {
		t.Errorf("a wrong token is answered %d %v", status, answer)
	}
	one.want(401, "M_FORBIDDEN", "POST", register, "", object{"username": "bob", "password": password, "auth": object{"type": "m.login.dummy"}})
	if status, answer := try(two, "bob", "once", challenge.text("session")); status != 200 {
		t.Fatalf("the right token is answered %d %v", status, answer)
	}
	if valid("once") != false {
		t.Error("a token for one use is valid after it")
	}
	if status, _ := try(one, "carol", "once", ""); status != 401 {
		t.Errorf("a used token is answered %d", status)
	}
	// Many at once: as many as are allowed.
	must(t, one.store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.InsertRegistrationToken(t.Context(), store.RegistrationToken{Token: "three", OrganisationID: 1, UsesAllowed: 3})
		return err
	}))
	var wg sync.WaitGroup
	statuses := make([]int, 12)
	for i := range statuses {
		wg.Go(func() { statuses[i], _ = try([]*process{one, two}[i%2], fmt.Sprint("user", i), "three", "") })
	}
	wg.Wait()
	made := 0
	for _, status := range statuses {
		if status == 200 {
			made++
		} else if status != 401 && status != 403 {
			t.Errorf("status %d", status)
		}
	}
	if made != 3 {
		t.Errorf("a token for three uses made %d accounts", made)
	}
	d.clock.advance(2 * time.Hour)
	if valid("short") != false || valid("always") != true {
		t.Error("expiry of tokens is wrong")
	}
}

func TestTwoPeopleCantRegisterOneName(t *testing.T) {
	t.Parallel()
	d := withMode(t, clientapi.RegistrationOpen)
	processes := []*process{d.process(), d.process()}
	var wg sync.WaitGroup
	statuses := make([]int, 10)
	for i := range statuses {
		wg.Go(func() {
			statuses[i], _ = processes[i%2].do("POST", register, "", object{"username": "bob", "password": password, "auth": object{"type": "m.login.dummy"}})
		})
	}
	wg.Wait()
	made := 0
	for _, status := range statuses {
		if status == 200 {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d accounts of one name: %v", made, statuses)
	}
}

func hexMAC(secret string, parts ...string) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(h.Sum(nil))
}

func TestSharedSecretRegistration(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	d.configure = func(cfg *clientapi.Config) { cfg.Registration.SharedSecret = "the secret" }
	one, two := d.process(), d.process()
	const path = "/_synapse/admin/v1/register"
	nonce := func() string { return one.want(200, "", "GET", path, "", nil).text("nonce") }
	n := nonce()
	body := object{"nonce": n, "username": "bob", "password": password, "displayname": "Bob", "mac": hexMAC("the secret", n, "bob", password, "notadmin")}
	bob := two.want(200, "", "POST", path, "", body)
	if bob.text("user_id") != "@bob:one.test" || bob.text("access_token") == "" || bob.text("device_id") == "" || bob.text("home_server") != "one.test" {
		t.Errorf("registered %v", bob)
	}
	if name := two.want(200, "", "GET", "/_matrix/client/v3/profile/@bob:one.test/displayname", bob.text("access_token"), nil); name.text("displayname") != "Bob" {
		t.Errorf("the display name is %v", name)
	}
	one.want(400, "M_UNKNOWN", "POST", path, "", body) // the nonce was used
	n = nonce()
	admin := one.want(200, "", "POST", path, "", object{"nonce": n, "username": "root", "password": password, "admin": true,
		"mac": strings.ToUpper(hexMAC("the secret", n, "root", password, "admin"))})
	user, err := one.store.GetUser(t.Context(), matrix.UserID(admin.text("user_id")))
	must(t, err)
	if user.Role != "owner" {
		t.Error("the account is not an admin's")
	}
	n = nonce()
	one.want(403, "M_FORBIDDEN", "POST", path, "", object{"nonce": n, "username": "eve", "password": password, "admin": true,
		"mac": hexMAC("the secret", n, "eve", password, "notadmin")})
	n = nonce()
	one.want(400, "M_USER_IN_USE", "POST", path, "", object{"nonce": n, "username": "bob", "password": password,
		"mac": hexMAC("the secret", n, "bob", password, "notadmin")})
	n = nonce()
	d.clock.advance(2 * time.Minute)
	one.want(400, "M_UNKNOWN", "POST", path, "", object{"nonce": n, "username": "late", "password": password,
		"mac": hexMAC("the secret", n, "late", password, "notadmin")})
	one.want(400, "M_MISSING_PARAM", "POST", path, "", object{})
}

func TestRegistrationIsLimitedByAddress(t *testing.T) {
	t.Parallel()
	d := withMode(t, clientapi.RegistrationOpen)
	d.limited = true
	d.clock.hold()
	processes := []*process{d.process(), d.process()}
	limited := 0
	for i := range 14 {
		if status, _ := processes[i%2].do("POST", register, "", object{}); status == 429 {
			limited++
		}
	}
	if limited != 4 {
		t.Errorf("%d of 14 registrations were held back, not 4", limited)
	}
}

func TestCreateAccountChecksItsAddresses(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	address := []store.ThreePID{{Medium: "email", Address: "bob@example.com"}}
	_, err := p.accounts.Create(t.Context(), auth.NewAccount{Localpart: "bob", ThreePIDs: address})
	must(t, err)
	_, err = p.accounts.Create(t.Context(), auth.NewAccount{Localpart: "carol", ThreePIDs: address})
	if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrThreepidInUse {
		t.Errorf("an address of somebody else: %v", err)
	}
	if _, err := p.store.GetUser(t.Context(), "@carol:one.test"); err == nil {
		t.Error("the account was made all the same")
	}
	if _, err := p.accounts.Create(t.Context(), auth.NewAccount{Localpart: "dave", Domain: "elsewhere.test"}); err == nil {
		t.Error("an account of a domain that is not hosted")
	}
}
