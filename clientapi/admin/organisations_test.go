package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func organisation(o *hstest.Organisation, rest string) string {
	return fmt.Sprintf("%s/organisations/%d%s", operator, o.ID, rest)
}

// at asks a process for a path under another Host.
func at(t *testing.T, d *hstest.Deployment, process int, host, path string) gjson.Result {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, d.BaseURL(process)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return gjson.ParseBytes(answer)
}

func whoami(u *hstest.User) string {
	r, err := u.Do(context.Background(), http.MethodGet, hstest.Path("account", "whoami"), nil)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(r.Status, " ", r.ErrCode())
}

func TestSuspendedOrganisationIsLockedOutOnEveryProcess(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	acme, other := d.Organisation(t, "Acme", "acme.test"), d.Organisation(t, "Other", "other.test")
	alice, bob := acme.User(t, "alice"), other.User(t, "bob")
	op := d.Operator(t)
	hstest.Eventually(t, "both know the token", func() bool { return whoami(alice) == "200 " && whoami(alice.On(1)) == "200 " })
	since := alice.On(1).MustSync(t, hstest.Sync{}).Get("next_batch").String()
	polls := make(chan string, 1)
	go func() {
		// It waits for longer than the client's patience, but for news of its own, such as presence.
		for {
			r, err := alice.On(1).Sync(context.Background(), hstest.Sync{Since: since, Timeout: 5 * time.Minute})
			if err != nil || r.Status != http.StatusOK {
				polls <- fmt.Sprint(r.Status, " ", r.ErrCode(), " ", err)
				return
			}
			since = r.JSON().Get("next_batch").String()
		}
	}()
	time.Sleep(time.Second) // by now the poll waits
	for range 2 {           // again is no mistake
		if state := op.MustDo(t, http.MethodPost, organisation(acme, "/suspend"), nil).Get("state").String(); state != "suspended" {
			t.Fatalf("state is %s", state)
		}
	}
	for process := range 2 {
		hstest.Eventually(t, "locked out", func() bool { return whoami(alice.On(process)) == "401 M_USER_LOCKED" })
		acme.Owner.On(process).MustFail(t, http.StatusUnauthorized, "M_USER_LOCKED", http.MethodGet, own+"/organisation", nil)
		if got := whoami(bob.On(process)); got != "200 " {
			t.Errorf("another organisation's user: %s", got)
		}
	}
	if got := <-polls; got != "401 M_USER_LOCKED <nil>" {
		t.Errorf("the long poll ended with %s", got)
	}
	nobody := *alice
	nobody.AccessToken = ""
	nobody.MustFail(t, http.StatusUnauthorized, "M_USER_LOCKED", http.MethodPost, hstest.Path("login"), map[string]any{
		"type": "m.login.password", "password": alice.Password, "identifier": map[string]any{"type": "m.id.user", "user": alice.ID},
	})
	op.MustDo(t, http.MethodPost, organisation(acme, "/resume"), nil)
	for process := range 2 {
		hstest.Eventually(t, "let in again", func() bool { return whoami(alice.On(process)) == "200 " })
	}
	op.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, operator+"/organisations/1/suspend", nil)
	op.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodDelete, operator+"/organisations/1", nil)
}

func TestDomainsAreServedByEveryProcess(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	acme := d.Organisation(t, "Acme", "acme.test")
	op := d.Operator(t)
	added := op.MustDo(t, http.MethodPost, organisation(acme, "/domains"), map[string]any{
		"domain": "more.acme.test", "base_url": "https://matrix.acme.test", "federation_server": "fed.acme.test:443",
	})
	for process := range 2 {
		for host, want := range map[string]string{"acme.test": "acme.test", "more.acme.test": "more.acme.test", "MORE.acme.test:8448": "more.acme.test", "x.test": "hs.test"} {
			hstest.Eventually(t, "keys of "+host, func() bool {
				keys := at(t, d, process, host, "/_matrix/key/v2/server")
				return keys.Get("server_name").String() == want && len(keys.Get("signatures").Get(gjson.Escape(want)).Map()) == 1
			})
		}
		keys := at(t, d, process, "more.acme.test", "/_matrix/key/v2/server")
		if keys.Get("verify_keys").Get(added.Get("key_id").String()).Raw == "" {
			t.Errorf("%s is not among %s", added.Get("key_id"), keys)
		}
		if got := at(t, d, process, "more.acme.test", "/.well-known/matrix/client").Get(`m\.homeserver.base_url`).String(); got != "https://matrix.acme.test" {
			t.Errorf("base_url is %q", got)
		}
		if got := at(t, d, process, "more.acme.test:443", "/.well-known/matrix/server").Get(`m\.server`).String(); got != "fed.acme.test:443" {
			t.Errorf("m.server is %q", got)
		}
		if got := at(t, d, process, "acme.test", "/.well-known/matrix/server").Get("errcode").String(); got != "M_NOT_FOUND" {
			t.Errorf("m.server of the other domain: %q", got)
		}
	}
	help := map[string]any{"support_page": "https://acme.test/help", "contacts": []any{map[string]any{"role": "m.role.admin", "matrix_id": acme.Owner.ID}}}
	acme.Owner.MustDo(t, http.MethodPut, own+"/domains/more.acme.test/support", help)
	if got := at(t, d, 1, "more.acme.test", "/.well-known/matrix/support").Get("contacts.0.matrix_id").String(); got != acme.Owner.ID {
		t.Errorf("support contact is %q", got)
	}
	if n := len(acme.Owner.MustDo(t, http.MethodGet, own+"/domains", nil).Get("domains").Array()); n != 2 {
		t.Errorf("%d domains", n)
	}
	// What belongs to others is as what is not there.
	for _, domain := range []string{"hs.test", "nowhere.test"} {
		acme.Owner.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPut, own+"/domains/"+domain+"/support", help)
	}
	for bad, code := range map[string]string{
		`{"domain":"acme.test"}`: "M_INVALID_PARAM", `{"domain":"Up.test"}`: "M_INVALID_PARAM", `{"domain":"a b"}`: "M_INVALID_PARAM", `{}`: "M_INVALID_PARAM",
		`{"domain":"z.test","base_url":"ftp://x"}`: "M_INVALID_PARAM", `{"domain":"z.test","federation_server":"a b"}`: "M_INVALID_PARAM",
		`{"domain":"z.test","contacts":[{"role":"x"}]}`: "M_INVALID_PARAM", `{"domain":1}`: "M_BAD_JSON", `x`: "M_NOT_JSON",
	} {
		op.MustFail(t, http.StatusBadRequest, code, http.MethodPost, organisation(acme, "/domains"), []byte(bad))
	}
	op.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPost, operator+"/organisations/999/domains", map[string]any{"domain": "y.test"})
}

func TestOrganisationsAreCheckedAndBounded(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	op := d.Operator(t)
	owner := `,"owner":{"localpart":"o","password":"a good password"}}`
	for bad, code := range map[string]string{
		`{"domain":"x.test"` + owner:                                                  "M_MISSING_PARAM",
		`{"name":"X","domain":""` + owner:                                             "M_INVALID_PARAM",
		`{"name":"X","domain":"hs.test"` + owner:                                      "M_INVALID_PARAM",
		`{"name":"X","domain":"x.test","default_region":"at"` + owner:                 "M_INVALID_PARAM",
		`{"name":"X","domain":"x.test","default_region":"AUT"` + owner:                "M_INVALID_PARAM",
		`{"name":"X","domain":"x.test","max_people":-1` + owner:                       "M_INVALID_PARAM",
		`{"name":"X","domain":"x.test"}`:                                              "M_MISSING_PARAM",
		`{"name":"X","domain":"x.test","owner":{"localpart":"ü"}}`:                    "M_INVALID_USERNAME",
		`{"name":"X","domain":"x.test","owner":{"localpart":"o","password":"short"}}`: "M_WEAK_PASSWORD",
		`{"name":"` + strings.Repeat("x", 300) + `","domain":"x.test"` + owner:        "M_INVALID_PARAM",
		`[]`: "M_BAD_JSON",
	} {
		op.MustFail(t, http.StatusBadRequest, code, http.MethodPost, operator+"/organisations", []byte(bad))
	}
	// Nothing of what was refused is left.
	if n := len(op.MustDo(t, http.MethodGet, operator+"/organisations", nil).Get("organisations").Array()); n != 1 {
		t.Errorf("%d organisations", n)
	}
	for _, id := range []string{"999", "0", "-1", "x", "99999999999999999999"} {
		op.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, operator+"/organisations/"+id, nil)
		op.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPost, operator+"/organisations/"+id+"/suspend", nil)
		op.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, operator+"/organisations/"+id, nil)
	}
	made := op.MustDo(t, http.MethodPost, operator+"/organisations", map[string]any{
		"name": "Small", "domain": "small.test", "default_region": "AT", "max_people": 2, "owner": map[string]any{"localpart": "Boss"}})
	if made.Get("owner.user_id").String() != "@boss:small.test" || len(made.Get("owner.password").String()) != 19 {
		t.Fatalf("made %s", made)
	}
	d.Secret(made.Get("owner.password").String(), "a made-up password")
	path := fmt.Sprint(operator, "/organisations/", made.Get("organisation_id"))
	code, _ := d.Command(t, 0, "user", "create", "@second:small.test")
	if more, output := d.Command(t, 0, "user", "create", "@third:small.test"); code != 0 || more == 0 || !strings.Contains(output, "as many accounts") {
		t.Errorf("the second account: %d; the third: %d, %s", code, more, output)
	}
	changed := op.MustDo(t, http.MethodPut, path, map[string]any{"max_people": 0})
	if changed.Get("max_people").Int() != 0 || changed.Get("name").String() != "Small" || changed.Get("default_region").String() != "AT" {
		t.Errorf("changed to %s", changed)
	}
	if code, output := d.Command(t, 0, "user", "create", "@third:small.test"); code != 0 {
		t.Errorf("without a bound: %s", output)
	}
	op.MustFail(t, http.StatusBadRequest, "M_MISSING_PARAM", http.MethodPut, path, map[string]any{"name": ""})
}

func TestRolesAreGivenAndTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	acme, other := d.Organisation(t, "Acme", "acme.test"), d.Organisation(t, "Other", "other.test")
	alice, bob := acme.User(t, "alice"), acme.User(t, "bob")
	role := func(user string) string { return own + "/roles/" + url.PathEscape(user) }
	lock := func(user string) string { return "/_matrix/client/v1/admin/lock/" + url.PathEscape(user) }
	for _, user := range []string{acme.Owner.ID} {
		acme.Owner.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodDelete, role(user), nil)
		acme.Owner.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, role(user), map[string]any{"role": "people"})
	}
	acme.Owner.MustDo(t, http.MethodPut, role(alice.ID), map[string]any{"role": "people"})
	hstest.Eventually(t, "alice manages people", func() bool {
		r, err := alice.On(1).Do(t.Context(), http.MethodPut, lock(bob.ID), map[string]any{"locked": false})
		return err == nil && r.Status == http.StatusOK
	})
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, lock(acme.Owner.ID), map[string]any{"locked": true})
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, role(alice.ID), map[string]any{"role": "owner"})
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, own+"/roles", nil)
	acme.Owner.MustDo(t, http.MethodPut, role(bob.ID), map[string]any{"role": "auditor"})
	hstest.Eventually(t, "bob reads", func() bool {
		r, err := bob.On(1).Do(t.Context(), http.MethodGet, own+"/roles", nil)
		return err == nil && r.Status == http.StatusOK && len(r.JSON().Get("roles").Array()) == 3
	})
	bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, lock(alice.ID), map[string]any{"locked": true})
	bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, own+"/organisation", map[string]any{"name": "x"})
	for _, user := range []string{other.Owner.ID, "@nobody:acme.test", "@nobody:elsewhere.test"} {
		acme.Owner.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPut, role(user), map[string]any{"role": "owner"})
		acme.Owner.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, role(user), nil)
	}
	for body, code := range map[string]string{`{"role":"king"}`: "M_INVALID_PARAM", `{}`: "M_MISSING_PARAM", `{"role":null}`: "M_MISSING_PARAM", `{"role":1}`: "M_BAD_JSON"} {
		acme.Owner.MustFail(t, http.StatusBadRequest, code, http.MethodPut, role(alice.ID), []byte(body))
	}
	// The operator helps an organisation whose owner is lost. The last owner cannot leave by closing the account either.
	d.Operator(t).MustDo(t, http.MethodPut, organisation(acme, "/roles/"+url.PathEscape(bob.ID)), map[string]any{"role": "owner"})
	acme.Owner.MustDo(t, http.MethodDelete, role(acme.Owner.ID), nil)
	hstest.Eventually(t, "the former owner is none", func() bool {
		r, err := acme.Owner.On(1).Do(t.Context(), http.MethodGet, own+"/organisation", nil)
		return err == nil && r.Status == http.StatusForbidden
	})
	d.Operator(t).MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodDelete, organisation(acme, "/roles/"+url.PathEscape(bob.ID)), nil)
}

func TestDeletedOrganisationIsRemovedAcrossACrash(t *testing.T) {
	t.Parallel()
	shared := t.TempDir() // of the files: whichever process has the sweeper removes them
	d := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, c map[string]any) { c["data_dir"] = shared }})
	acme := d.Organisation(t, "Acme", "acme.test")
	alice, bob := acme.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	uri := alice.MustUpload(t, "text/plain", "", []byte("a file of acme"))
	alice.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.file", "body": "f", "url": uri})
	const said = "something that acme said"
	for i := range 30 {
		alice.MustSendText(t, room, fmt.Sprint(said, i))
	}
	db := storetest.DB(t, d.DSN)
	count := func(query string, args ...any) (n int) {
		if err := db.QueryRow(query, args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const content = `SELECT count(*) FROM events WHERE position(convert_to('something that acme said', 'UTF8') IN json) > 0`
	if n := count(content); n != 30 {
		t.Fatalf("%d messages before", n)
	}
	op := d.Operator(t)
	op.On(1).MustDo(t, http.MethodDelete, organisation(acme, ""), nil)
	d.Kill9(t, 0)
	d.Restart(t, 0)
	for process := range 2 {
		hstest.Eventually(t, "locked out", func() bool { return strings.HasPrefix(whoami(alice.On(process)), "401 ") })
	}
	hstest.Eventually(t, "removed", func() bool {
		return op.MustDo(t, http.MethodGet, organisation(acme, ""), nil).Get("removed_ts").Int() > 0
	})
	for what, query := range map[string]string{
		"messages": content,
		"accounts": fmt.Sprintf(`SELECT count(*) FROM users WHERE organisation_id = %d AND (deactivated_ts IS NULL OR password_hash IS NOT NULL OR role <> '')`, acme.ID),
		"sessions": `SELECT count(*) FROM devices WHERE user_id LIKE '%:acme.test'`,
		"profiles": `SELECT count(*) FROM profiles WHERE user_id LIKE '%:acme.test'`,
		"media":    fmt.Sprintf(`SELECT count(*) FROM media WHERE organisation_id = %d`, acme.ID),
		"objects":  fmt.Sprintf(`SELECT count(*) FROM media_objects WHERE organisation_id = %d`, acme.ID),
		"members":  `SELECT count(*) FROM memberships WHERE user_id LIKE '%:acme.test' AND membership IN ('join', 'invite', 'knock')`,
	} {
		if n := count(query); n != 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
	// Others go on, and nobody gets the names.
	if got := whoami(bob); got != "200 " {
		t.Errorf("another organisation's user: %s", got)
	}
	op.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, organisation(acme, "/resume"), nil)
	op.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, organisation(acme, "/domains"), map[string]any{"domain": "again.test"})
	op.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPost, operator+"/organisations", map[string]any{
		"name": "New", "domain": "acme.test", "owner": map[string]any{"localpart": "owner"}})
	if code, _ := d.Command(t, 0, "user", "create", "@new:acme.test"); code == 0 {
		t.Error("an account was made in a deleted organisation")
	}
}
