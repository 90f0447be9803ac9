package tests

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

func TestRegistrationThroughTheAdminAPI(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	acme := dep.Organisation(t, "Acme", "acme.test")
	alice := acme.User(t, "alice")
	s := startService(t, "")
	text := "id: made\nurl: " + s.URL + "\nsender_localpart: made_bot\nrate_limited: false\nnamespaces:\n  users:\n    - regex: '^@made_.*:acme\\.test$'\n      exclusive: true\n"
	answer := acme.Owner.MustDo(t, "POST", ownServices, []byte(text))
	asToken, hsToken := answer.Get("as_token").String(), answer.Get("hs_token").String()
	dep.Secret(asToken, "an as_token")
	dep.Secret(hsToken, "an hs_token")
	s.hsToken = hsToken
	if len(asToken) < 40 || len(hsToken) < 40 || answer.Get("user_id").String() != "@made_bot:acme.test" || answer.Get("organisation_id").Int() != acme.ID {
		t.Fatalf("registered: %s", answer.Raw)
	}
	as := actor{t, dep, asToken}
	within := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it does not come to pass", what)
			}
		}
	}
	whoami := func(process int) int { return as.do(process, "", "GET", hstest.Path("account", "whoami"), nil).Status }
	within("the other process knows it", func() bool { return whoami(1) == 200 })
	for _, path := range []string{ownServices, ownServices + "/made"} {
		if got := acme.Owner.MustDo(t, "GET", path, nil).Raw; strings.Contains(got, asToken) || strings.Contains(got, hsToken) || !strings.Contains(got, `"made_bot"`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	acme.Owner.MustFail(t, 400, "M_EXCLUSIVE", "POST", ownServices, []byte(text))
	acme.Owner.MustFail(t, 400, "M_EXCLUSIVE", "POST", ownServices, []byte(strings.NewReplacer("id: made", "id: two", "made_bot", "alice").Replace(text)))
	// Nobody else gets such a name; and the owner's application service is not everybody in the namespace that it gave itself.
	register(t, dep, acme.Owner, ownServices, registrationOf("all", s, map[string]any{"hs_token": hsToken + "2",
		"namespaces": map[string]any{"users": []any{map[string]any{"exclusive": false, "regex": "@.*"}}}}))
	actor{t, dep, "as-token-of-all"}.fail(alice.ID, "GET", hstest.Path("account", "whoami"), nil, 403, "M_EXCLUSIVE")
	actor{t, dep, "as-token-of-all"}.fail("", "POST", hstest.Path("login"), map[string]any{
		"type": "m.login.application_service", "identifier": map[string]any{"type": "m.id.user", "user": "alice"}}, 400, "M_EXCLUSIVE")

	// A user that it made, signed in: both tokens end with the registration.
	account := as.must("", "POST", hstest.Path("register"), map[string]any{"type": "m.login.application_service", "username": "made_ghost", "device_id": "D"})
	ghost := actor{t, dep, account.Get("access_token").String()}
	dep.Secret(ghost.token, "an access token")
	as.must("@made_ghost:acme.test", "GET", hstest.Path("account", "whoami"), nil)
	fresh := acme.Owner.MustDo(t, "POST", ownServices+"/made/tokens", nil)
	old := as
	as.token = fresh.Get("as_token").String()
	dep.Secret(as.token, "an as_token")
	s.mu.Lock()
	s.hsToken = fresh.Get("hs_token").String()
	s.mu.Unlock()
	within("the new token is good", func() bool { return whoami(0) == 200 && whoami(1) == 200 })
	for process := range 2 {
		if r := old.do(process, "", "GET", hstest.Path("account", "whoami"), nil); r.Status != 401 {
			t.Errorf("the old token is good on process %d: %s", process, r)
		}
	}
	if r := ghost.do(1, "", "GET", hstest.Path("account", "whoami"), nil); r.Status != 200 {
		t.Errorf("the session of the user: %s", r)
	}
	acme.Owner.On(1).MustDo(t, "DELETE", ownServices+"/made", nil)
	for process := range 2 {
		if r := as.do(process, "", "GET", hstest.Path("account", "whoami"), nil); r.Status != 401 || r.ErrCode() != "M_UNKNOWN_TOKEN" {
			t.Errorf("the removed token on process %d: %s", process, r)
		}
	}
	within("the session of its user is over", func() bool { return ghost.do(0, "", "GET", hstest.Path("account", "whoami"), nil).Status == 401 })
	acme.Owner.MustFail(t, 404, "M_NOT_FOUND", "DELETE", ownServices+"/made", nil)
	// It can come again.
	acme.Owner.MustDo(t, "POST", ownServices, []byte(text))

	for _, action := range []string{"appservice.register", "appservice.tokens", "appservice.remove"} {
		if list := audited(t, dep, action); len(list) == 0 || !strings.HasPrefix(list[0], acme.Owner.ID+" made ok ") || strings.Contains(list[0], asToken) {
			t.Errorf("the audit log says of %s: %v", action, list)
		}
	}
}

// TestIDsAreTheOrganisations registers the same id in two organisations and as the operator: nobody learns of the others.
func TestIDsAreTheOrganisations(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-crm")
	s.setAsk(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	owners := []*hstest.User{dep.Organisation(t, "Acme", "acme.test").Owner, dep.Organisation(t, "Other", "other.test").Owner}
	var services []actor
	for i, owner := range owners {
		services = append(services, register(t, dep, owner, ownServices, registrationOf("crm", s, map[string]any{"as_token": "as-token-" + strconv.Itoa(i)})))
	}
	register(t, dep, dep.Operator(t), operatorServices, registrationOf("crm", s, map[string]any{"as_token": "as-token-operator"}))
	for i, owner := range owners {
		list := owner.MustDo(t, "GET", ownServices, nil)
		if got := owner.MustDo(t, "GET", ownServices+"/crm", nil); list.Get("appservices.#.id").Raw != `["crm"]` || got.Get("created_by").String() != owner.ID {
			t.Errorf("%s sees %s, %s", owner.ID, list, got)
		}
		services[i].must("", "POST", "/_matrix/client/v1/appservice/crm/ping", map[string]any{})
		text, _ := json.Marshal(registrationOf("crm", s, map[string]any{"as_token": "as-token-again", "sender_localpart": "again"}))
		owner.MustFail(t, 400, "M_EXCLUSIVE", "POST", ownServices, text)
		// A token that somebody else has says nothing of who has it.
		text, _ = json.Marshal(registrationOf("more", s, map[string]any{"as_token": "as-token-" + strconv.Itoa(1-i)}))
		if r, err := owner.Do(t.Context(), "POST", ownServices, text); err != nil || strings.Contains(string(r.Body), "crm") || r.ErrCode() != "M_EXCLUSIVE" {
			t.Errorf("a token of another organisation: %s %v", r, err)
		}
	}
	if list := dep.Operator(t).MustDo(t, "GET", operatorServices, nil).Get("appservices.#.id").Raw; !strings.Contains(list, `:crm"`) || !strings.Contains(list, `"crm"`) {
		t.Errorf("the operator sees %s", list)
	}
	owners[0].MustDo(t, "DELETE", ownServices+"/crm", nil)
	services[1].must("", "POST", "/_matrix/client/v1/appservice/crm/ping", map[string]any{})
	owners[0].MustFail(t, 404, "M_NOT_FOUND", "GET", ownServices+"/crm", nil)
	number := owners[1].MustDo(t, "GET", ownServices+"/crm", nil).Get("organisation_id").String()
	dep.Operator(t).MustDo(t, "DELETE", operatorServices+"/"+number+":crm", nil)
	owners[1].MustFail(t, 404, "M_NOT_FOUND", "GET", ownServices+"/crm", nil)
	dep.Operator(t).MustDo(t, "GET", operatorServices+"/crm", nil)
}

func TestCommandsOfApplicationServices(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-cli")
	text, err := json.Marshal(registrationOf("cli", s, nil))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cli.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := dep.Command(t, 0, "appservice", "add", file); code != 0 || !strings.Contains(out, "@_cli_bot:hs.test") {
		t.Fatalf("add: %d %s", code, out)
	}
	as := actor{t, dep, "as-token-of-cli"}
	deadline := time.Now().Add(time.Minute)
	for as.do(0, "", "GET", hstest.Path("account", "whoami"), nil).Status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("the server does not know it")
		}
	}
	if code, out := dep.Command(t, 0, "appservice", "list"); code != 0 || !strings.Contains(out, "@_cli_bot:hs.test") || !strings.Contains(out, s.URL) {
		t.Errorf("list: %d %s", code, out)
	}
	if code, out := dep.Command(t, 0, "appservice", "remove", "cli"); code != 0 {
		t.Errorf("remove: %d %s", code, out)
	}
	as.fail("", "GET", hstest.Path("account", "whoami"), nil, 401, "M_UNKNOWN_TOKEN")
	if code, _ := dep.Command(t, 0, "appservice", "remove", "cli"); code != 1 {
		t.Errorf("removed twice: %d", code)
	}
}

func TestWithAnOrganisationItsServicesEnd(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	acme := dep.Organisation(t, "Acme", "acme.test")
	s := startService(t, "hs-token-of-ended")
	as := register(t, dep, acme.Owner, ownServices, registrationOf("ended", s, nil))
	as.ghost("_ended_a")
	organisation := "/_roomline/operator/v1/organisations/" + strconv.FormatInt(acme.ID, 10)
	operator := dep.Operator(t)
	status := func() int { return as.do(1, "", "GET", hstest.Path("account", "whoami"), nil).Status }
	hstest.Eventually(t, "the service on the other process", func() bool { return status() == 200 })
	operator.MustDo(t, "POST", organisation+"/suspend", map[string]any{})
	if got := status(); got != 401 {
		t.Errorf("while the organisation is suspended: %d", got)
	}
	operator.MustDo(t, "POST", organisation+"/resume", map[string]any{})
	if got := status(); got != 200 {
		t.Errorf("afterwards: %d", got)
	}
	operator.MustDo(t, "DELETE", organisation, map[string]any{})
	hstest.Eventually(t, "the registration being removed", func() bool {
		return !strings.Contains(operator.MustDo(t, "GET", operatorServices, nil).Raw, `"ended"`)
	})
	if got := status(); got != 401 {
		t.Errorf("after the organisation is deleted: %d", got)
	}
}
