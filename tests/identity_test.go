package tests

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/strictjson"
)

const identityAPI = "/_matrix/identity/v2"

// identity is a user as the identity service knows it.
func identity(t *testing.T, d *hstest.Deployment, u *hstest.User) *hstest.User {
	t.Helper()
	openID := u.MustDo(t, http.MethodPost, hstest.Path("user", u.ID, "openid", "request_token"), map[string]any{})
	token := u.MustDo(t, http.MethodPost, identityAPI+"/account/register", []byte(openID.Raw)).Get("token").String()
	d.Secret(token, "a token of the identity service")
	return d.Session(&hstest.User{ID: u.ID, AccessToken: token})
}

// hashes are addresses as a lookup asks for them.
func hashed(pepper string, addresses ...string) []string {
	var list []string
	for _, a := range addresses {
		sum := sha256.Sum256([]byte(a + " " + pepper))
		list = append(list, base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	return list
}

// lookUp returns the users of addresses ("address medium"), by hashes and in plain text, which have to agree.
func lookUp(t *testing.T, who *hstest.User, addresses ...string) map[string]string {
	t.Helper()
	pepper := who.MustDo(t, http.MethodGet, identityAPI+"/hash_details", nil).Get("lookup_pepper").String()
	sums := hashed(pepper, addresses...)
	byHash := who.MustDo(t, http.MethodPost, identityAPI+"/lookup", map[string]any{"algorithm": "sha256", "pepper": pepper, "addresses": sums}).Get("mappings").Map()
	plain := who.MustDo(t, http.MethodPost, identityAPI+"/lookup", map[string]any{"algorithm": "none", "pepper": pepper, "addresses": addresses}).Get("mappings").Map()
	found := map[string]string{}
	for i, a := range addresses {
		if byHash[sums[i]].String() != plain[a].String() {
			t.Errorf("%s is %q by hash and %q in plain text", a, byHash[sums[i]], plain[a])
		}
		if u := plain[a].String(); u != "" {
			found[a] = u
		}
	}
	if len(byHash) != len(found) || len(plain) != len(found) {
		t.Errorf("more is told than was asked for: %v %v", byHash, plain)
	}
	return found
}

func TestTokensOfTheIdentityService(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{Processes: 2})
	alice := d.User(t, "alice")
	who := identity(t, d, alice)
	account := identityAPI + "/account"
	if got := who.On(1).MustDo(t, http.MethodGet, account, nil).Get("user_id").String(); got != alice.ID {
		t.Errorf("the token is %s's", got)
	}
	if r := nobody(d).MustDo(t, http.MethodGet, account+"?access_token="+who.AccessToken, nil); r.Get("user_id").String() != alice.ID {
		t.Errorf("by the query: %s", r)
	}
	// Each is good at its own place.
	who.MustFail(t, 401, "M_UNKNOWN_TOKEN", http.MethodGet, hstest.Path("account", "whoami"), nil)
	alice.MustFail(t, 401, "M_UNAUTHORIZED", http.MethodGet, account, nil)
	nobody(d).MustFail(t, 401, "M_UNAUTHORIZED", http.MethodGet, account, nil)
	who.On(1).MustDo(t, http.MethodPost, account+"/logout", nil)
	for process := range 2 {
		who.On(process).MustFail(t, 401, "M_UNAUTHORIZED", http.MethodGet, account, nil)
	}
	who.MustFail(t, 401, "M_UNAUTHORIZED", http.MethodPost, account+"/logout", nil)

	register := account + "/register"
	openID := alice.MustDo(t, http.MethodPost, hstest.Path("user", alice.ID, "openid", "request_token"), map[string]any{}).Get("access_token").String()
	for _, bad := range []map[string]any{
		{"access_token": openID, "matrix_server_name": "elsewhere.test", "token_type": "Bearer", "expires_in": 3600},
		{"access_token": openID + "x", "matrix_server_name": d.ServerName, "token_type": "Bearer", "expires_in": 3600},
		{"access_token": alice.AccessToken, "matrix_server_name": d.ServerName, "token_type": "Bearer", "expires_in": 3600},
	} {
		nobody(d).MustFail(t, 401, "M_UNAUTHORIZED", http.MethodPost, register, bad)
	}
	nobody(d).MustFail(t, 400, "M_MISSING_PARAM", http.MethodPost, register, map[string]any{"access_token": openID})

	// A token is its owner's, and ends with what the owner may.
	who = identity(t, d, alice)
	d.Operator(t).MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+url.PathEscape(alice.ID), map[string]any{"suspended": true})
	who.MustDo(t, http.MethodGet, account, nil)
	who.MustFail(t, 403, "M_USER_SUSPENDED", http.MethodPost, identityAPI+"/validate/email/requestToken", wants("a@example.com", "s"))
	d.Operator(t).MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+url.PathEscape(alice.ID), map[string]any{"suspended": false})
	d.Operator(t).MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/lock/"+url.PathEscape(alice.ID), map[string]any{"locked": true})
	who.MustFail(t, 401, "M_USER_LOCKED", http.MethodGet, account, nil)
	d.Operator(t).MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/lock/"+url.PathEscape(alice.ID), map[string]any{"locked": false})
	alice.MustDo(t, http.MethodPost, hstest.Path("account", "password"), map[string]any{"new_password": "another password 1", "auth": password(alice)})
	who.MustFail(t, 401, "M_UNAUTHORIZED", http.MethodGet, account, nil)

	// Guests take part in calls with OpenID tokens, and find nobody.
	guest := d.User(t, "visitor")
	m.exec(t, `UPDATE users SET guest = true WHERE user_id = $1`, guest.ID)
	guest = guest.NewSession(t)
	openIDOfGuest := guest.MustDo(t, http.MethodPost, hstest.Path("user", guest.ID, "openid", "request_token"), map[string]any{})
	nobody(d).MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", http.MethodPost, register, []byte(openIDOfGuest.Raw))
}

func TestAddressesAreFoundByWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{Processes: 2})
	allowSMS(t, d)
	bakery, mill := d.Organisation(t, "Bakery", "bakery.test"), d.Organisation(t, "Mill", "mill.test")
	anna, bert := bakery.User(t, "anna"), bakery.User(t, "bert")
	carl := mill.User(t, "carl")
	adds(t, m, anna, "anna@example.com")
	m.exec(t, `INSERT INTO user_threepids (organisation_id, medium, address, user_id, added_ts, validated_ts) VALUES ($1, 'msisdn', '32470123456', $2, 1, 1)`, bakery.ID, anna.ID)
	const mail, phone = "anna@example.com email", "32470123456 msisdn"
	asBert, asCarl := identity(t, d, bert), identity(t, d, carl)
	expect := func(who *hstest.User, want map[string]string) {
		t.Helper()
		for process := range 2 {
			if got := lookUp(t, who.On(process), mail, phone, "nobody@example.com email", "Anna@example.com email", "anna@example.com msisdn"); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("process %d: found %v, want %v", process, got, want)
			}
		}
	}
	all := map[string]string{mail: anna.ID, phone: anna.ID}
	expect(asBert, all)
	expect(asCarl, map[string]string{})

	id := bakery.Owner.MustDo(t, http.MethodPost, links, map[string]any{"domain": "mill.test", "gives": map[string]any{"name": true, "email": true}}).Get("link_id").Int()
	mill.Owner.MustDo(t, http.MethodPost, linkPath(id, "accept"), map[string]any{"gives": map[string]any{"name": true}})
	expect(asCarl, map[string]string{mail: anna.ID})
	bakery.Owner.MustDo(t, http.MethodPut, linkPath(id, "gives"), map[string]any{"gives": map[string]any{"name": true, "phone": true}})
	expect(asCarl, map[string]string{phone: anna.ID})
	bakery.Owner.MustDo(t, http.MethodPost, linkPath(id, "revoke"), map[string]any{})
	expect(asCarl, map[string]string{})

	// What changes holds for the next lookup, whichever process is asked.
	anna.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "delete"), map[string]any{"medium": "email", "address": "anna@example.com"})
	expect(asBert, map[string]string{phone: anna.ID})
	adds(t, m, bert, "anna@example.com")
	expect(asBert, map[string]string{mail: bert.ID, phone: anna.ID})
	bakery.Owner.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/lock/"+url.PathEscape(anna.ID), map[string]any{"locked": true})
	expect(asBert, map[string]string{mail: bert.ID})
}

func TestLookupsAreChecked(t *testing.T) {
	t.Parallel()
	d, _ := withMail(t, hstest.Options{})
	who := identity(t, d, d.User(t, "alice"))
	details := who.MustDo(t, http.MethodGet, identityAPI+"/hash_details", nil)
	pepper := details.Get("lookup_pepper").String()
	if details.Get("algorithms").Raw != `["sha256","none"]` || pepper == "" {
		t.Errorf("hash_details: %s", details)
	}
	path := identityAPI + "/lookup"
	who.MustFail(t, 400, "M_INVALID_PEPPER", http.MethodPost, path, map[string]any{"algorithm": "sha256", "pepper": "salt", "addresses": []string{}})
	who.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, path, map[string]any{"algorithm": "md5", "pepper": pepper, "addresses": []string{}})
	who.MustFail(t, 400, "M_MISSING_PARAM", http.MethodPost, path, map[string]any{"algorithm": "sha256", "pepper": pepper})
	who.MustFail(t, 400, "M_BAD_JSON", http.MethodPost, path, map[string]any{"algorithm": "sha256", "pepper": pepper, "addresses": []int{1}})
	who.MustFail(t, 413, "M_TOO_LARGE", http.MethodPost, path, map[string]any{"algorithm": "sha256", "pepper": pepper, "addresses": make([]string, 1001)})
	odd := []string{"", " ", "x", "a email", " email", strings.Repeat("A", 43), strings.Repeat("A", 44), "ä email", strings.Repeat("x", 4000) + " email"}
	for _, algorithm := range []string{"sha256", "none"} {
		if r := who.MustDo(t, http.MethodPost, path, map[string]any{"algorithm": algorithm, "pepper": pepper, "addresses": odd}); r.Get("mappings").Raw != "{}" {
			t.Errorf("%s: %s", algorithm, r)
		}
	}
}

// signedBy checks a signature of the identity service.
func signedBy(t *testing.T, d *hstest.Deployment, object gjson.Result) bool {
	t.Helper()
	key, err := base64.RawStdEncoding.DecodeString(nobody(d).MustDo(t, http.MethodGet, identityAPI+"/pubkey/ed25519:0", nil).Get("public_key").String())
	if err != nil {
		t.Fatal(err)
	}
	return hasSignature(t, object, d.ServerName, key)
}

func hasSignature(t *testing.T, object gjson.Result, server string, key ed25519.PublicKey) bool {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(object.Raw), &fields); err != nil {
		t.Fatal(err)
	}
	signature, err := base64.RawStdEncoding.DecodeString(object.Get("signatures").Get(gjson.Escape(server)).Get("ed25519:0").String())
	if err != nil {
		t.Fatal(err)
	}
	delete(fields, "signatures")
	raw, err := json.Marshal(fields)
	if err == nil {
		raw, err = strictjson.CanonicalLax(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.Verify(key, raw, signature)
}

func TestTheIdentityServiceValidatesAndBinds(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{Processes: 2})
	allowSMS(t, d)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	who, other := identity(t, d, alice), identity(t, d, bob).On(1)
	adds(t, m, alice, "alice@example.com")
	email := identityAPI + "/validate/email"
	who.MustFail(t, 400, "M_INVALID_EMAIL", http.MethodPost, email+"/requestToken", wants("alice", "s"))
	who.MustFail(t, 400, "M_MISSING_PARAM", http.MethodPost, email+"/requestToken", map[string]any{"email": "a@example.com"})
	who.MustFail(t, 400, "M_INVALID_ADDRESS", http.MethodPost, identityAPI+"/validate/msisdn/requestToken",
		map[string]any{"country": "BE", "phone_number": "112", "client_secret": "s", "send_attempt": 1})

	for _, odd := range []any{"x", "", 1.5, true, -1, "1e3"} {
		r, err := who.Do(t.Context(), http.MethodPost, email+"/requestToken", map[string]any{"email": "odd@example.com", "client_secret": "s", "send_attempt": odd})
		if err != nil || r.Status != 400 {
			t.Errorf("send_attempt %v: %s", odd, r)
		}
	}

	begin := func(address string) (sid string) {
		return who.MustDo(t, http.MethodPost, email+"/requestToken", wants(address, "s")).Get("sid").String()
	}
	sid := begin("alice@example.com")
	query := identityAPI + "/3pid/getValidated3pid?client_secret=s&sid=" + sid
	who.MustFail(t, 400, "M_SESSION_NOT_VALIDATED", http.MethodGet, query, nil)
	who.MustFail(t, 404, "M_NO_VALID_SESSION", http.MethodGet, query+"x", nil)
	other.MustFail(t, 404, "M_NO_VALID_SESSION", http.MethodGet, query, nil)
	who.MustFail(t, 400, "M_SESSION_NOT_VALIDATED", http.MethodPost, identityAPI+"/3pid/bind", map[string]any{"sid": sid, "client_secret": "s", "mxid": alice.ID})
	code := m.last(t, "alice@example.com").Code
	get := email + "/submitToken?" + url.Values{"sid": {sid}, "client_secret": {"s"}, "token": {code}}.Encode()
	if page := open(t, d, http.MethodGet, get, "fr", ""); page.Status != 200 || !strings.Contains(string(page.Body), "Confirmer") {
		t.Errorf("the page: %s", page)
	}
	who.MustFail(t, 400, "M_SESSION_NOT_VALIDATED", http.MethodGet, query, nil)
	who.MustFail(t, 400, "M_TOKEN_INCORRECT", http.MethodPost, email+"/submitToken", map[string]any{"sid": sid, "client_secret": "s", "token": "x"})
	if r := who.On(1).MustDo(t, http.MethodPost, email+"/submitToken", map[string]any{"sid": sid, "client_secret": "s", "token": code}); !r.Get("success").Bool() {
		t.Errorf("submitToken: %s", r)
	}
	if r := who.MustDo(t, http.MethodGet, query, nil); r.Get("medium").String() != "email" || r.Get("address").String() != "alice@example.com" || r.Get("validated_at").Int() == 0 {
		t.Errorf("getValidated3pid: %s", r)
	}
	// It is for binding, and not for what opens the account.
	alice.MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, hstest.Path("account", "3pid", "add"), map[string]any{"sid": sid, "client_secret": "s", "auth": password(alice)})

	who.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, identityAPI+"/3pid/bind", map[string]any{"sid": sid, "client_secret": "s", "mxid": bob.ID})
	bound := who.MustDo(t, http.MethodPost, identityAPI+"/3pid/bind", map[string]any{"sid": sid, "client_secret": "s", "mxid": alice.ID})
	if bound.Get("mxid").String() != alice.ID || bound.Get("address").String() != "alice@example.com" || bound.Get("not_after").Int() <= bound.Get("not_before").Int() || !signedBy(t, d, bound) {
		t.Errorf("bind: %s", bound)
	}
	// An address that the account does not have would become one that opens it.
	evil := begin("evil@example.com")
	who.MustDo(t, http.MethodPost, email+"/submitToken", map[string]any{"sid": evil, "client_secret": "s", "token": m.last(t, "evil@example.com").Code})
	who.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, identityAPI+"/3pid/bind", map[string]any{"sid": evil, "client_secret": "s", "mxid": alice.ID})
	bind := map[string]any{"sid": evil, "client_secret": "s", "id_server": d.ServerName, "id_access_token": who.AccessToken}
	alice.MustFail(t, 401, "", http.MethodPost, hstest.Path("account", "3pid", "bind"), bind)
	bind["id_server"] = "elsewhere.test"
	alice.MustFail(t, 400, "M_SERVER_NOT_TRUSTED", http.MethodPost, hstest.Path("account", "3pid", "bind"), bind)
	bind["id_server"] = strings.TrimPrefix(d.BaseURL(0), "http://")
	bob.MustFail(t, 403, "M_THREEPID_AUTH_FAILED", http.MethodPost, hstest.Path("account", "3pid", "bind"), bind)
	bind["auth"] = password(alice)
	alice.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "bind"), bind)
	if found := lookUp(t, other, "evil@example.com email"); found["evil@example.com email"] != alice.ID {
		t.Errorf("after bind: %v", found)
	}
	// What the account has is bound without a password, also in the older form.
	alice.MustDo(t, http.MethodPost, hstest.Path("account", "3pid"), map[string]any{"three_pid_creds": map[string]any{
		"sid": sid, "client_secret": "s", "id_server": d.ServerName, "id_access_token": who.AccessToken}})
	for address, want := range map[string]string{"evil@example.com": "no-support", "none@example.com": "success"} {
		r := alice.MustDo(t, http.MethodPost, hstest.Path("account", "3pid", "unbind"), map[string]any{"medium": "email", "address": address})
		if r.Get("id_server_unbind_result").String() != want {
			t.Errorf("unbind %s: %s", address, r)
		}
	}

	// Taking an address back takes the address.
	unbind := func(sid, address string) map[string]any {
		return map[string]any{"sid": sid, "client_secret": "s", "mxid": alice.ID, "threepid": map[string]any{"medium": "email", "address": address}}
	}
	next := begin("evil@example.com")
	who.MustFail(t, 400, "M_SESSION_NOT_VALIDATED", http.MethodPost, identityAPI+"/3pid/unbind", unbind(next, "evil@example.com"))
	who.MustDo(t, http.MethodPost, email+"/submitToken", map[string]any{"sid": next, "client_secret": "s", "token": m.last(t, "evil@example.com").Code})
	who.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, identityAPI+"/3pid/unbind", unbind(next, "alice@example.com"))
	who.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, identityAPI+"/3pid/unbind", unbind("", "evil@example.com"))
	other.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, identityAPI+"/3pid/unbind", unbind(next, "evil@example.com"))
	who.MustDo(t, http.MethodPost, identityAPI+"/3pid/unbind", unbind(next, "evil@example.com"))
	if found := lookUp(t, other, "evil@example.com email", "alice@example.com email"); len(found) != 1 {
		t.Errorf("after unbind: %v", found)
	}

	sms := map[string]any{"country": "BE", "phone_number": "0470 12 34 56", "client_secret": "s", "send_attempt": 1}
	sid = who.MustDo(t, http.MethodPost, identityAPI+"/validate/msisdn/requestToken", sms).Get("sid").String()
	submit := map[string]any{"sid": sid, "client_secret": "s", "token": m.last(t, "32470123456").Code}
	who.MustDo(t, http.MethodPost, identityAPI+"/validate/msisdn/submitToken", submit)
	if r := who.MustDo(t, http.MethodGet, identityAPI+"/3pid/getValidated3pid?client_secret=s&sid="+sid, nil); r.Get("address").String() != "32470123456" {
		t.Errorf("getValidated3pid: %s", r)
	}
}

func TestTheIdentityServiceSaysWhatItIs(t *testing.T) {
	t.Parallel()
	d, _ := withMail(t, hstest.Options{})
	who := nobody(d)
	if r := who.MustDo(t, http.MethodGet, "/.well-known/matrix/client", nil); r.Get(`m\.identity_server.base_url`).String() != d.BaseURL(0) {
		t.Errorf("well-known: %s", r)
	}
	if r := who.MustDo(t, http.MethodGet, identityAPI, nil); r.Raw != "{}" {
		t.Errorf("ping: %s", r)
	}
	if r := who.MustDo(t, http.MethodGet, "/_matrix/identity/versions", nil); !strings.Contains(r.Get("versions").Raw, `"v1.19"`) {
		t.Errorf("versions: %s", r)
	}
	key := who.MustDo(t, http.MethodGet, identityAPI+"/pubkey/ed25519:0", nil).Get("public_key").String()
	who.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, identityAPI+"/pubkey/ed25519:1", nil)
	raw, err := base64.RawStdEncoding.DecodeString(key)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		t.Fatalf("the key is %q", key)
	}
	for given, valid := range map[string]bool{
		key: true, base64.RawURLEncoding.EncodeToString(raw): true, key + "=": true, key[1:]: false, base64.RawStdEncoding.EncodeToString(make([]byte, 32)): false,
	} {
		if r := who.MustDo(t, http.MethodGet, identityAPI+"/pubkey/isvalid?public_key="+url.QueryEscape(given), nil); r.Get("valid").Bool() != valid {
			t.Errorf("isvalid %s: %s", given, r)
		}
	}
	if r := who.MustDo(t, http.MethodGet, identityAPI+"/pubkey/ephemeral/isvalid?public_key="+url.QueryEscape(key), nil); r.Get("valid").Bool() || !r.Get("valid").Exists() {
		t.Errorf("ephemeral/isvalid: %s", r)
	}
	who.MustFail(t, 400, "M_MISSING_PARAM", http.MethodGet, identityAPI+"/pubkey/isvalid", nil)
	if r := who.MustDo(t, http.MethodGet, identityAPI+"/terms", nil); r.Get("policies").Raw != "{}" {
		t.Errorf("terms: %s", r)
	}
	alice := identity(t, d, d.User(t, "alice"))
	alice.MustDo(t, http.MethodPost, identityAPI+"/terms", map[string]any{"user_accepts": []string{}})
	alice.MustFail(t, 400, "M_MISSING_PARAM", http.MethodPost, identityAPI+"/terms", map[string]any{})

	// Without an address of its own the server announces none, and nothing is announced that the operator does not want to be.
	silent, _ := withMail(t, hstest.Options{Configure: func(_ int, c map[string]any) { c["identity_server"] = map[string]any{"announce": false} }})
	if r := nobody(silent).MustDo(t, http.MethodGet, "/.well-known/matrix/client", nil); r.Get(`m\.identity_server`).Exists() {
		t.Errorf("well-known: %s", r)
	}
}

// TestLookupsAmongManyAddresses measures nothing that it fails for: it prints how long a lookup takes where there are 100,000 addresses.
func TestLookupsAmongManyAddresses(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{})
	alice := d.User(t, "alice")
	n := times(5_000, 100_000)
	m.exec(t, `INSERT INTO users (user_id, organisation_id, created_ts) SELECT '@many' || i || ':hs.test', 1, 1 FROM generate_series(1, $1::int) i`, n)
	m.exec(t, `INSERT INTO user_threepids (organisation_id, medium, address, user_id, added_ts, validated_ts)
		SELECT 1, 'email', 'many' || i || '@example.com', '@many' || i || ':hs.test', 1, 1 FROM generate_series(1, $1::int) i`, n)
	m.exec(t, `ANALYZE users; ANALYZE user_threepids; ANALYZE directory_changes`)
	who := identity(t, d, alice)
	pepper := who.MustDo(t, http.MethodGet, identityAPI+"/hash_details", nil).Get("lookup_pepper").String()
	var asked []string
	for i := range 1000 {
		asked = append(asked, fmt.Sprintf("many%d@example.com email", (i+1)*n/1000), fmt.Sprintf("few%d@example.com email", i))
	}
	sums := hashed(pepper, asked...)
	for i, what := range []string{"first", "second", "third", "after a change", "after a start"} {
		switch i {
		case 4:
			d.Stop(t, 0)
			d.Restart(t, 0)
		case 3:
			m.exec(t, `UPDATE user_threepids SET address = 'few0@example.com' WHERE address = 'many' || $1::text || '@example.com'`, n)
		}
		began := time.Now()
		r := who.MustDo(t, http.MethodPost, identityAPI+"/lookup", map[string]any{"algorithm": "sha256", "pepper": pepper, "addresses": sums[:1000]})
		t.Logf("%s lookup of 1,000 hashes among %d addresses: %s", what, n, time.Since(began).Round(time.Millisecond/10))
		if got := len(r.Get("mappings").Map()); got != 500+min(i/3, 1) {
			t.Errorf("found %d", got)
		}
	}
}

func TestTheIdentityServiceStoresInvitations(t *testing.T) {
	t.Parallel()
	d, m := withMail(t, hstest.Options{Processes: 2})
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	who := identity(t, d, alice)
	adds(t, m, bob, "bob@example.com")
	room := alice.MustCreateRoom(t, map[string]any{"name": "Project"})
	const path = identityAPI + "/store-invite"
	ask := func(change string, value any) map[string]any {
		r := map[string]any{"medium": "email", "address": "Anna@Example.com", "room_id": room, "sender": alice.ID, "room_name": "not read"}
		if change != "" {
			r[change] = value
		}
		return r
	}
	who.MustFail(t, 400, "M_UNRECOGNIZED", http.MethodPost, path, ask("medium", "pigeon"))
	who.MustFail(t, 400, "M_INVALID_ADDRESS", http.MethodPost, path, ask("address", "anna"))
	who.MustFail(t, 400, "M_MISSING_PARAM", http.MethodPost, path, ask("sender", ""))
	who.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, path, ask("sender", bob.ID))
	if r := who.MustFail(t, 400, "M_THREEPID_IN_USE", http.MethodPost, path, ask("address", "bob@example.com")); r.Get("mxid").String() != bob.ID {
		t.Errorf("an address of an account: %s", r)
	}
	// Only who may invite into the room.
	r, err := identity(t, d, bob).Do(t.Context(), http.MethodPost, path, map[string]any{"medium": "email", "address": "anna@example.com", "room_id": room, "sender": bob.ID})
	if err != nil || r.Status != 403 && r.Status != 404 {
		t.Errorf("somebody who is not in the room: %s", r)
	}
	if m.count(t, "anna@example.com") != 0 {
		t.Fatal("something was sent")
	}
	stored := who.On(1).MustDo(t, http.MethodPost, path, ask("", nil))
	token := stored.Get("token").String()
	event := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.third_party_invite", token), nil)
	key := stored.Get("public_keys.0")
	if token == "" || stored.Get("display_name").String() == "" || event.Get("public_key").String() != key.Get("public_key").String() || m.count(t, "anna@example.com") != 1 {
		t.Fatalf("stored %s, the room has %s, %d messages", stored, event, m.count(t, "anna@example.com"))
	}
	if strings.Contains(strings.ToLower(event.Raw+stored.Get("display_name").String()), "anna@example.com") {
		t.Error("the room has the address")
	}
	validity, ok := strings.CutPrefix(key.Get("key_validity_url").String(), d.BaseURL(0))
	if !ok {
		validity, _ = strings.CutPrefix(key.Get("key_validity_url").String(), d.BaseURL(1))
	}
	if r := nobody(d).MustDo(t, http.MethodGet, validity+"?public_key="+url.QueryEscape(key.Get("public_key").String()), nil); !r.Get("valid").Bool() {
		t.Errorf("the key of the invitation: %s", r)
	}

	// Signing with a key of the client's own.
	seed := sha256.Sum256([]byte("a client's key"))
	sign := func(token, mxid string) map[string]any {
		return map[string]any{"token": token, "mxid": mxid, "private_key": base64.RawStdEncoding.EncodeToString(seed[:])}
	}
	const signing = identityAPI + "/sign-ed25519"
	signed := who.MustDo(t, http.MethodPost, signing, sign(token, alice.ID))
	if signed.Get("mxid").String() != alice.ID || signed.Get("sender").String() != alice.ID || signed.Get("token").String() != token ||
		!hasSignature(t, signed, d.ServerName, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)) {
		t.Errorf("signed: %s", signed)
	}
	if signedBy(t, d, signed) {
		t.Error("the service's own key signs what clients say")
	}
	who.MustFail(t, 404, "M_UNRECOGNIZED", http.MethodPost, signing, sign("nothing", alice.ID))
	who.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, signing, sign(token, bob.ID))
	who.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, signing, map[string]any{"token": token, "mxid": alice.ID, "private_key": "AAAA"})
}
