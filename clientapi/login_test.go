package clientapi_test

import (
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func TestLoginTakesEveryIdentifier(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.user("alice")
	bob, err := p.accounts.Create(t.Context(), auth.NewAccount{Localpart: "bob", Domain: "two.test", Password: password, ThreePIDs: []store.ThreePID{
		{Medium: "email", Address: "Bob.Strauß@Example.com"}, {Medium: "msisdn", Address: "4915123456789"}}})
	must(t, err)
	if alice != "@alice:one.test" || bob != "@bob:two.test" {
		t.Fatalf("accounts are %s and %s", alice, bob)
	}
	flows := p.want(200, "", "GET", "/_matrix/client/v3/login", "", nil)
	if fmt.Sprint(flows["flows"]) != "[map[type:m.login.password] map[get_login_token:true type:m.login.token]]" {
		t.Errorf("flows are %v", flows)
	}
	for _, test := range []struct {
		body object
		want matrix.UserID
	}{
		{object{"identifier": object{"type": "m.id.user", "user": "alice"}}, alice},
		{object{"identifier": object{"type": "m.id.user", "user": "@alice:one.test"}}, alice},
		{object{"identifier": object{"type": "m.id.user", "user": "Alice"}}, alice},
		{object{"identifier": object{"type": "m.id.user", "user": "@Alice:one.test"}}, alice},
		{object{"user": "alice"}, alice},
		{object{"user": "@bob:two.test"}, bob},
		{object{"identifier": object{"type": "m.id.user", "user": "bob"}}, bob},
		{object{"identifier": object{"type": "m.id.thirdparty", "medium": "email", "address": "bob.strauss@example.COM"}}, bob},
		{object{"identifier": object{"medium": "email", "address": "bob.strauss@example.com"}}, bob},
		{object{"medium": "email", "address": "bob.strauss@example.com"}, bob},
		{object{"identifier": object{"type": "m.id.thirdparty", "medium": "msisdn", "address": "4915123456789"}}, bob},
		{object{"identifier": object{"type": "m.id.phone", "country": "DE", "phone": "0151 / 23456789"}}, bob},
	} {
		test.body["type"], test.body["password"] = "m.login.password", password
		answer := p.want(200, "", "POST", "/_matrix/client/v3/login", "", test.body)
		if answer.text("user_id") != string(test.want) || answer.text("home_server") != string(test.want.Domain()) {
			t.Errorf("%v signed in %v", test.body, answer)
		}
		me := p.want(200, "", "GET", whoami, answer.text("access_token"), nil)
		if me.text("user_id") != string(test.want) || me.text("device_id") != answer.text("device_id") || me["is_guest"] != false {
			t.Errorf("whoami says %v after %v", me, answer)
		}
	}
	if status, _ := p.do("GET", whoami+"?access_token="+p.login("alice", nil).text("access_token"), "", nil); status != 200 {
		t.Errorf("a token in the query gives %d", status)
	}
}

func TestWrongPasswordAndUnknownUserGetTheSameAnswer(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	_, err := p.accounts.Create(t.Context(), auth.NewAccount{Localpart: "nopassword"})
	must(t, err)
	closed := p.user("closed")
	must(t, p.accounts.Deactivate(t.Context(), closed, false))
	_, first := p.do("POST", "/_matrix/client/v3/login", "", loginBody("alice", "wrong password", nil))
	for _, user := range []string{"nobody", "@nobody:one.test", "@alice:elsewhere.test", "@alice:two.test", "nopassword", "closed"} {
		for _, pw := range []string{"wrong password", password, ""} {
			status, answer := p.do("POST", "/_matrix/client/v3/login", "", loginBody(user, pw, nil))
			if status != 403 || fmt.Sprint(answer) != fmt.Sprint(first) {
				t.Errorf("%s with %q: %d %v; a wrong password gives %v", user, pw, status, answer, first)
			}
		}
	}
	status, answer := p.do("POST", "/_matrix/client/v3/login", "", object{"type": "m.login.password", "password": password,
		"identifier": object{"type": "m.id.thirdparty", "medium": "email", "address": "who@example.com"}})
	if status != 403 || fmt.Sprint(answer) != fmt.Sprint(first) {
		t.Errorf("an unknown address: %d %v", status, answer)
	}
}

func TestLoginDevice(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	first := p.login("alice", object{"device_id": "PHONE", "initial_device_display_name": "My phone"})
	if first.text("device_id") != "PHONE" || first["refresh_token"] != nil || first["expires_in_ms"] != nil {
		t.Errorf("login with a device: %v", first)
	}
	second := p.login("alice", object{"device_id": "PHONE", "initial_device_display_name": "Renamed"})
	p.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, first.text("access_token"), nil)
	device := p.want(200, "", "GET", "/_matrix/client/v3/devices/PHONE", second.text("access_token"), nil)
	if device.text("display_name") != "My phone" {
		t.Errorf("a known device was renamed by a login: %v", device)
	}
	for _, bad := range []object{{"device_id": strings.Repeat("x", 256)}, {"device_id": "a\nb"}, {"initial_device_display_name": strings.Repeat("x", 2000)}} {
		p.want(400, "M_INVALID_PARAM", "POST", "/_matrix/client/v3/login", "", loginBody("alice", password, bad))
	}
}

func TestDevicesAreBounded(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.maxDevices = 3
	p := d.process()
	p.user("alice")
	var tokens []string
	for n := range 5 {
		tokens = append(tokens, p.login("alice", object{"device_id": fmt.Sprint("D", n)}).text("access_token"))
		d.clock.advance(time.Minute)
	}
	for n, token := range tokens {
		if n < 2 {
			p.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, token, nil)
		} else {
			p.want(200, "", "GET", whoami, token, nil)
		}
	}
}

// A copy of the database must not let anybody in.
func TestDatabaseHoldsNoTokenAndNoPassword(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	p.user("alice")
	a := p.login("alice", object{"refresh_token": true})
	b := p.want(200, "", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": a["refresh_token"]})
	db := storetest.DB(t, d.dsn)
	dump := dumpAll(t, db)
	if strings.Contains(dump, password) || strings.Contains(dump, hex.EncodeToString([]byte(password))) {
		t.Error("the database holds the password")
	}
	for _, secret := range []string{a.text("access_token"), a.text("refresh_token"), b.text("access_token"), b.text("refresh_token")} {
		raw, _ := base64.RawURLEncoding.DecodeString(secret[4:])
		for _, form := range []string{secret, secret[4:], hex.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret[4:])), hex.EncodeToString(raw)} {
			if form = form[:max(len(form)-10, 0)]; len(form) >= 32 && strings.Contains(dump, form) {
				t.Errorf("the database holds %s as %s", secret, form)
			}
		}
	}
	if !strings.Contains(dump, "@alice:one.test") || !strings.Contains(dump, "$argon2id$") {
		t.Error("the dump does not hold what it must hold")
	}
}

func dumpAll(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.Query(`SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`)
	must(t, err)
	var tables []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		tables = append(tables, name)
	}
	must(t, rows.Err())
	var b strings.Builder
	for _, name := range tables {
		var text sql.NullString
		must(t, db.QueryRow(`SELECT string_agg(t::text, E'\n') FROM "`+name+`" t`).Scan(&text))
		b.WriteString(text.String)
	}
	return b.String()
}

func TestLogoutReachesTheOtherProcess(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	one.user("alice")
	phone := one.login("alice", nil).text("access_token")
	laptop := one.login("alice", nil).text("access_token")
	for _, token := range []string{phone, laptop} {
		two.want(200, "", "GET", whoami, token, nil)
	}
	one.want(200, "", "POST", "/_matrix/client/v3/logout", phone, nil)
	one.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, phone, nil)
	hstest.Eventually(t, "the other process forgets the token", func() bool {
		status, answer := two.do("GET", whoami, phone, nil)
		return status == 401 && answer["soft_logout"] == false
	})
	two.want(200, "", "GET", whoami, laptop, nil)
	if devices := two.want(200, "", "GET", "/_matrix/client/v3/devices", laptop, nil)["devices"].([]any); len(devices) != 1 {
		t.Errorf("devices after the logout: %v", devices)
	}
	tablet := two.login("alice", nil).text("access_token")
	two.want(200, "", "POST", "/_matrix/client/v3/logout/all", tablet, nil)
	for _, token := range []string{laptop, tablet} {
		two.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, token, nil)
		hstest.Eventually(t, "the first process forgets", func() bool { status, _ := one.do("GET", whoami, token, nil); return status == 401 })
	}
}

func TestLockedAccountCanOnlyLogOut(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice := one.user("alice")
	token := one.login("alice", nil).text("access_token")
	two.want(200, "", "GET", whoami, token, nil)
	must(t, one.accounts.SetLocked(t.Context(), alice, true))
	locked := func(p *process) bool {
		status, answer := p.do("GET", whoami, token, nil)
		return status == 401 && answer.text("errcode") == "M_USER_LOCKED" && answer["soft_logout"] == true
	}
	if !locked(one) {
		t.Error("not locked on the process that locked")
	}
	hstest.Eventually(t, "the lock reaches the other process", func() bool { return locked(two) })
	one.want(401, "M_USER_LOCKED", "POST", "/_matrix/client/v3/login", "", loginBody("alice", password, nil))
	one.want(403, "M_FORBIDDEN", "POST", "/_matrix/client/v3/login", "", loginBody("alice", "wrong password", nil))
	must(t, one.accounts.SetLocked(t.Context(), alice, false))
	one.want(200, "", "GET", whoami, token, nil)
	must(t, one.accounts.SetLocked(t.Context(), alice, true))
	one.want(200, "", "POST", "/_matrix/client/v3/logout", token, nil)
	one.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, token, nil)
}

func TestRefreshReplacesTokensWhenTheNewOnesAreUsed(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	one, two := d.process(), d.process()
	one.user("alice")
	a := one.login("alice", object{"refresh_token": true})
	if a["expires_in_ms"] != float64(300_000) {
		t.Errorf("expires_in_ms is %v", a["expires_in_ms"])
	}
	refresh := func(p *process, token any) object {
		return p.want(200, "", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": token})
	}
	two.want(200, "", "GET", whoami, a.text("access_token"), nil)
	b := refresh(one, a["refresh_token"])
	// The answer was lost: the old tokens still work, and the exchange can be repeated.
	one.want(200, "", "GET", whoami, a.text("access_token"), nil)
	again := refresh(two, a["refresh_token"])
	if again["access_token"] != b["access_token"] || again["refresh_token"] != b["refresh_token"] {
		t.Error("the repeated refresh gives other tokens")
	}
	if me := one.want(200, "", "GET", whoami, b.text("access_token"), nil); me.text("device_id") != a.text("device_id") {
		t.Errorf("the refreshed session is of %v", me)
	}
	one.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, a.text("access_token"), nil)
	hstest.Eventually(t, "the other process forgets the replaced token", func() bool {
		status, _ := two.do("GET", whoami, a.text("access_token"), nil)
		return status == 401
	})
	// A client may also go on to refresh without having used the access token.
	c := refresh(two, b["refresh_token"])
	e := refresh(one, c["refresh_token"])
	two.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, b.text("access_token"), nil)
	two.want(200, "", "GET", whoami, e.text("access_token"), nil)
}

func TestReusedRefreshTokenEndsTheSession(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	one, two := d.process(), d.process()
	one.user("alice")
	other := one.login("alice", nil).text("access_token")
	a := one.login("alice", object{"refresh_token": true, "device_id": "PHONE"})
	b := one.want(200, "", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": a["refresh_token"]})
	two.want(200, "", "GET", whoami, b.text("access_token"), nil)
	one.want(200, "", "GET", whoami, b.text("access_token"), nil)
	answer := two.want(401, "M_UNKNOWN_TOKEN", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": a["refresh_token"]})
	if answer["soft_logout"] != true {
		t.Errorf("the reuse is answered %v", answer)
	}
	two.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, b.text("access_token"), nil)
	hstest.Eventually(t, "the session ends on the other process", func() bool {
		status, answer := one.do("GET", whoami, b.text("access_token"), nil)
		return status == 401 && answer["soft_logout"] == true
	})
	one.want(401, "M_UNKNOWN_TOKEN", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": b["refresh_token"]})
	one.want(200, "", "GET", whoami, other, nil)
	back := one.login("alice", object{"device_id": "PHONE", "refresh_token": true})
	one.want(200, "", "GET", whoami, back.text("access_token"), nil)
}

// Twenty refreshes of one token on two processes at once: one exchange, as if it had been asked for once.
func TestParallelRefreshesAgree(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	processes := []*process{d.process(), d.process()}
	processes[0].user("alice")
	token := processes[0].login("alice", object{"refresh_token": true})
	for round := range 5 {
		var wg sync.WaitGroup
		answers := make([]object, 20)
		for i := range answers {
			wg.Go(func() {
				_, answers[i] = processes[i%2].do("POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": token["refresh_token"]})
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a.text("access_token") == "" || a["access_token"] != answers[0]["access_token"] || a["refresh_token"] != answers[0]["refresh_token"] {
				t.Fatalf("round %d: %v and %v", round, a, answers[0])
			}
		}
		processes[1].want(200, "", "GET", whoami, answers[0].text("access_token"), nil)
		token = answers[0]
	}
}

func TestExpiredAccessTokenIsASoftLogout(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	p := d.process()
	p.user("alice")
	a := p.login("alice", object{"refresh_token": true})
	forever := p.login("alice", nil)
	p.want(200, "", "GET", whoami, a.text("access_token"), nil)
	d.clock.advance(6 * time.Minute)
	if answer := p.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, a.text("access_token"), nil); answer["soft_logout"] != true {
		t.Errorf("expiry is answered %v", answer)
	}
	p.want(200, "", "GET", whoami, forever.text("access_token"), nil)
	b := p.want(200, "", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": a["refresh_token"]})
	p.want(200, "", "GET", whoami, b.text("access_token"), nil)
	// The answer to a refresh is lost, and found missing after the new token would have expired.
	p.want(200, "", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": b["refresh_token"]})
	d.clock.advance(time.Hour)
	c := p.want(200, "", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": b["refresh_token"]})
	p.want(200, "", "GET", whoami, c.text("access_token"), nil)
}

func TestBadRefreshTokens(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	a := p.login("alice", object{"refresh_token": true})
	for _, token := range []string{"", "x", a.text("access_token"), strings.Repeat("r", 5000), a.text("refresh_token") + "x"} {
		p.want(401, "M_UNKNOWN_TOKEN", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": token})
	}
	p.want(400, "M_MISSING_PARAM", "POST", "/_matrix/client/v3/refresh", "", object{})
	p.want(400, "M_BAD_JSON", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": 5})
	p.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, a.text("refresh_token"), nil)
	p.want(401, "M_MISSING_TOKEN", "GET", whoami, "", nil)
}

// The hot path asks the database nothing: with the database's sessions gone behind the back of the journal, a token that is
// remembered still works.
func TestRememberedTokenCostsNoQuery(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.freshFor = time.Hour
	p := d.process()
	p.user("alice")
	token := p.login("alice", nil).text("access_token")
	p.want(200, "", "GET", whoami, token, nil)
	db := storetest.DB(t, d.dsn)
	_, err := db.Exec(`DELETE FROM sessions`)
	must(t, err)
	for range 100 {
		p.want(200, "", "GET", whoami, token, nil)
	}
	fresh := d.process()
	fresh.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, token, nil)
}

func TestDevicesAreSeenLazily(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice := p.user("alice")
	a := p.login("alice", object{"device_id": "PHONE"})
	before, err := p.store.GetDevice(t.Context(), alice, "PHONE")
	must(t, err)
	d.clock.advance(11 * time.Minute)
	for range 10 {
		p.want(200, "", "GET", whoami, a.text("access_token"), nil)
	}
	p.sessions.Flush(t.Context())
	after, err := p.store.GetDevice(t.Context(), alice, "PHONE")
	must(t, err)
	if after.LastSeenTS < before.LastSeenTS+11*60_000 || after.LastSeenIP != "127.0.0.1" {
		t.Errorf("the device was seen %+v, before %+v", after, before)
	}
	p.want(200, "", "GET", whoami, a.text("access_token"), nil)
	p.sessions.Flush(t.Context())
	if again, _ := p.store.GetDevice(t.Context(), alice, "PHONE"); again.LastSeenTS != after.LastSeenTS {
		t.Error("a device was noted twice within ten minutes")
	}
}

func TestPasswordIsRehashedAtLogin(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice := p.user("alice")
	old, err := auth.NewPasswords(auth.PasswordConfig{Params: auth.Params{MemoryKiB: 32, Passes: 1, Lanes: 1}})
	must(t, err)
	hash, err := old.Hash(t.Context(), password)
	must(t, err)
	must(t, p.store.Write(t.Context(), func(tx *store.Tx) error { return tx.PutPasswordHash(t.Context(), alice, hash) }))
	p.login("alice", nil)
	user, err := p.store.GetUser(t.Context(), alice)
	must(t, err)
	if !strings.Contains(user.PasswordHash, "m=64,") {
		t.Errorf("the hash is still %s", user.PasswordHash)
	}
	p.login("alice", nil)
}

func TestGuessesAreCountedForTheDeployment(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.limited = true
	d.clock.hold()
	processes := []*process{d.process(), d.process()}
	for _, user := range []string{"alice", "nobody"} {
		if user == "alice" {
			processes[0].user("alice")
		}
		denied := 0
		for i := range 12 {
			name := []string{user, "@" + user + ":one.test", strings.ToUpper(user)}[i%3]
			status, answer, header := processes[i%2].doHeader("POST", "/_matrix/client/v3/login", "", loginBody(name, "wrong password", nil))
			switch {
			case status == http.StatusTooManyRequests && answer.text("errcode") == "M_LIMIT_EXCEEDED" && header.Get("Retry-After") != "":
				denied++
			case status != 403:
				t.Fatalf("guess %d: %d %v", i, status, answer)
			}
		}
		if denied != 7 {
			t.Errorf("%s: %d of 12 guesses were held back, not 7", user, denied)
		}
	}
	// The right password has to wait as well, where the account was never used.
	processes[0].want(429, "M_LIMIT_EXCEEDED", "POST", "/_matrix/client/v3/login", "", loginBody("alice", password, nil))
	d.clock.advance(61 * time.Second)
	processes[1].login("alice", nil)
	// Right passwords are not counted.
	for i := range 20 {
		processes[i%2].login("alice", nil)
	}
}

// A stranger who guesses can't keep the owner out of where the owner has been before.
func TestGuessesOfStrangersDontLockTheOwnerOut(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.limited = true
	d.clock.hold()
	p := d.process()
	alice := p.user("alice")
	for range 5 {
		p.want(403, "M_FORBIDDEN", "POST", "/_matrix/client/v3/login", "", loginBody("alice", "wrong password", nil))
	}
	p.want(429, "M_LIMIT_EXCEEDED", "POST", "/_matrix/client/v3/login", "", loginBody("alice", password, nil))
	must(t, p.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.PutDevice(t.Context(), store.Device{UserID: alice, DeviceID: "HOME", CreatedTS: 1, LastSeenTS: 1, LastSeenIP: "127.0.0.1"})
	}))
	p.login("alice", nil)
}

func TestParallelGuessesCantPassTheLimit(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.limited = true
	d.clock.hold()
	processes := []*process{d.process(), d.process()}
	processes[0].user("alice")
	var wg sync.WaitGroup
	statuses := make([]int, 60)
	for i := range statuses {
		wg.Go(func() {
			statuses[i], _ = processes[i%2].do("POST", "/_matrix/client/v3/login", "", loginBody("alice", fmt.Sprint("guess number ", i), nil))
		})
	}
	wg.Wait()
	tried := 0
	for _, status := range statuses {
		if status == 403 {
			tried++
		} else if status != 429 {
			t.Errorf("a guess gave %d", status)
		}
	}
	if tried != 5 {
		t.Errorf("%d of 60 parallel guesses were tried, not 5", tried)
	}
}
