package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

const (
	joinRule = "m.room.join_rules"
	callType = "org.example.call"
)

// everyRoom is a namespace of all rooms.
func everyRoom() map[string]any {
	return map[string]any{"rooms": []any{map[string]any{"exclusive": false, "regex": ".*"}}}
}

func TestServicesSeeRoomsOfTheirOrganisationOnly(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	acme, other := dep.Organisation(t, "Acme", "acme.test"), dep.Organisation(t, "Other", "other.test")
	listener, operators, everywhere := startService(t, "hs-token-of-listener"), startService(t, "hs-token-of-operators"), startService(t, "hs-token-of-everywhere")
	register(t, dep, acme.Owner, ownServices, registrationOf("listener", listener, map[string]any{"namespaces": everyRoom()}))
	register(t, dep, dep.Operator(t), ownServices, registrationOf("operators", operators, map[string]any{"namespaces": everyRoom()}))
	register(t, dep, dep.Operator(t), operatorServices, registrationOf("everywhere", everywhere, map[string]any{
		"namespaces": everyRoom(), "roomline": map[string]any{"organisation": "*"}}))
	acme.Owner.MustFail(t, 403, "M_FORBIDDEN", "POST", ownServices, registrationOf("x", listener, map[string]any{"roomline": map[string]any{"organisation": "*"}}))
	acme.Owner.MustFail(t, 400, "M_INVALID_PARAM", "POST", ownServices, registrationOf("x", listener, map[string]any{"roomline": map[string]any{"organisation": "other.test"}}))
	acme.Owner.MustFail(t, 403, "M_FORBIDDEN", "POST", ownServices, registrationOf("x", listener, map[string]any{"roomline": map[string]any{"grants": []string{"puppet"}}}))
	acme.Owner.MustFail(t, 403, "M_FORBIDDEN", "POST", operatorServices, registrationOf("x", listener, nil))
	acme.User(t, "worker").MustFail(t, 403, "M_FORBIDDEN", "POST", ownServices, registrationOf("x", listener, nil))

	alice, bob := acme.User(t, "alice"), other.User(t, "bob")
	ours := alice.MustCreateRoom(t, nil)
	first := alice.MustSendText(t, ours, "in acme")
	theirs := bob.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	secret := bob.MustSendText(t, theirs, "in other")
	listener.hasEvent(t, first)
	everywhere.hasEvent(t, first)
	everywhere.hasEvent(t, secret)

	// Once somebody of the organisation is in the room it is told of, and no longer than that.
	link := acme.Owner.MustDo(t, "POST", links, map[string]any{"domain": "other.test", "gives": everything}).Get("link_id").Int()
	other.Owner.MustDo(t, "POST", linkPath(link, "accept"), map[string]any{"gives": everything})
	bob.MustInvite(t, theirs, alice)
	alice.MustJoin(t, theirs)
	shared := bob.MustSendText(t, theirs, "with alice")
	listener.hasEvent(t, shared)
	alice.MustLeave(t, theirs)
	after := bob.MustSendText(t, theirs, "without alice")
	listener.hasEvent(t, alice.MustSendText(t, ours, "last"))
	everywhere.hasEvent(t, after)
	listener.hasNot(t, secret, "before alice joined")
	listener.hasNot(t, after, "after alice left")
	for _, id := range []string{first, secret, shared, after} {
		operators.hasNot(t, id, "the operator's own organisation")
	}

	// Another organisation's application services do not exist.
	other.Owner.MustFail(t, 404, "M_NOT_FOUND", "GET", ownServices+"/listener", nil)
	other.Owner.MustFail(t, 404, "M_NOT_FOUND", "DELETE", ownServices+"/listener", nil)
	acme.Owner.MustFail(t, 404, "M_NOT_FOUND", "DELETE", ownServices+"/operators", nil)
	if list := other.Owner.MustDo(t, "GET", ownServices, nil).Get("appservices").Array(); len(list) != 0 {
		t.Errorf("other sees %v", list)
	}
	if list := dep.Operator(t).MustDo(t, "GET", operatorServices, nil).Get("appservices").Array(); len(list) != 3 {
		t.Errorf("the operator sees %v", list)
	}
}

// TestAViewNarrowsWhatIsToldAndWhatMayBeDone has a CRM: who called whom, and nothing of what was said.
func TestAViewNarrowsWhatIsToldAndWhatMayBeDone(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	acme := dep.Organisation(t, "Acme", "acme.test")
	alice := acme.User(t, "alice")
	room, hidden := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat", "name": "Sales"}), alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	s := startService(t, "hs-token-of-crm")
	crm := register(t, dep, acme.Owner, ownServices, registrationOf("crm", s, map[string]any{
		"receive_ephemeral": true,
		"roomline": map[string]any{"view": map[string]any{
			"event_types":    []string{callType, "m.room.member", joinRule},
			"content_fields": map[string]any{callType: []string{"who", "time.begun"}, "m.room.*": []string{"membership"}},
			"rooms":          []string{room},
			"act":            []string{"read", "rooms", "send"},
			"send_types":     []string{callType},
		}},
	}))
	as := crm
	for _, r := range []string{room, hidden} {
		want := 200
		if r == hidden {
			want = 403
		}
		if got := as.do(0, "", "POST", hstest.Path("rooms", r, "join"), map[string]any{}); got.Status != want {
			t.Fatalf("join %s: %s", r, got)
		}
	}
	const said = "what nobody else may read"
	call := alice.MustSend(t, room, callType, map[string]any{"who": "bob", "said": said, "time": map[string]any{"begun": 7, "said": said}})
	message := alice.MustSendText(t, room, said)
	alice.MustDo(t, "PUT", hstest.Path("rooms", room, "typing", alice.ID), map[string]any{"typing": true, "timeout": 120000})
	alice.MustDo(t, "PUT", hstest.Path("rooms", room, "send", callType, "edit"), map[string]any{"said": said, "m.relates_to": map[string]any{"rel_type": "m.thread", "event_id": call}})
	last := alice.MustSend(t, room, callType, map[string]any{"who": "carol"})

	if e := s.hasEvent(t, call); e.Get("content").Raw != `{"time":{"begun":7},"who":"bob"}` {
		t.Errorf("the call as it was told: %s", e.Raw)
	}
	s.hasEvent(t, last)
	for _, body := range s.transactions() {
		for _, banned := range []string{said, "m.typing", "m.room.message", "displayname", `"m.room.name"`} {
			if strings.Contains(body.Raw, banned) {
				t.Errorf("told %s: %s", banned, body.Raw)
			}
		}
	}
	s.hasNot(t, message, "a message")

	// What it asks for is narrowed in the same way.
	for _, path := range []string{
		hstest.Path("rooms", room, "messages") + "?dir=b&limit=100", hstest.Path("rooms", room, "event", call), hstest.Path("rooms", room, "context", call),
		hstest.Path("rooms", room, "state"), hstest.Path("rooms", room, "members"), hstest.Path("joined_rooms"),
		hstest.Path("rooms", room, "state", joinRule, ""), hstest.Path("rooms", room, "state", "m.room.member", alice.ID),
		hstest.Path("rooms", room, "state", "m.room.member", alice.ID) + "?format=event",
		"/_matrix/client/v1/rooms/" + url.PathEscape(room) + "/threads", "/_matrix/client/v1/rooms/" + url.PathEscape(room) + "/relations/" + call,
	} {
		r := as.do(0, "", "GET", path, nil)
		if r.Status != 200 {
			t.Errorf("%s: %s", path, r)
		}
		for _, banned := range []string{said, "m.room.message", "displayname", "m.room.name", `"join_rule"`, hidden} {
			if strings.Contains(string(r.Body), banned) {
				t.Errorf("%s tells %s: %s", path, banned, r.Body)
			}
		}
	}
	if got := as.must("", "GET", hstest.Path("rooms", room, "messages")+"?dir=b", nil).Get("chunk.0.content").Raw; got != `{"who":"carol"}` {
		t.Errorf("the last call is %s", got)
	}
	if got := as.must("", "GET", hstest.Path("rooms", room, "state", "m.room.member", alice.ID), nil).Raw; got != `{"membership":"join"}` {
		t.Errorf("alice's membership is %s", got)
	}
	forbidden := func(method, path string, body any) { t.Helper(); as.fail("", method, path, body, 403, "M_FORBIDDEN") }
	as.fail("", "GET", hstest.Path("rooms", room, "event", message), nil, 404, "M_NOT_FOUND")
	as.fail("", "GET", hstest.Path("rooms", room, "state", "m.room.name", ""), nil, 404, "M_NOT_FOUND")
	forbidden("GET", hstest.Path("rooms", hidden, "messages")+"?dir=b", nil)
	forbidden("GET", hstest.Path("sync"), nil)
	forbidden("POST", "/_matrix/client/v4/sync", map[string]any{})
	forbidden("POST", hstest.Path("search"), map[string]any{"search_categories": map[string]any{"room_events": map[string]any{"search_term": "nobody"}}})
	forbidden("GET", hstest.Path("rooms", room, "joined_members"), nil)
	forbidden("GET", hstest.Path("rooms", room, "initialSync"), nil)
	forbidden("GET", hstest.Path("notifications"), nil)
	forbidden("GET", hstest.Path("events"), nil)
	forbidden("GET", hstest.Path("profile", alice.ID), nil)
	forbidden("POST", hstest.Path("user_directory", "search"), map[string]any{"search_term": "alice"})
	forbidden("GET", hstest.Path("devices"), nil)
	forbidden("PUT", hstest.Path("rooms", room, "send", "m.room.message", "t"), map[string]any{"body": "x"})
	forbidden("PUT", hstest.Path("rooms", room, "state", callType, ""), map[string]any{})
	as.must("", "PUT", hstest.Path("rooms", room, "send", callType, "t"), map[string]any{"who": "x"})
	// Neither does it get a token without a view.
	forbidden("POST", hstest.Path("register"), map[string]any{"type": "m.login.application_service", "username": "_crm_x", "inhibit_login": true})
	forbidden("POST", hstest.Path("login"), map[string]any{"type": "m.login.application_service", "user": "_crm_bot"})
	forbidden("POST", "/_matrix/client/v1/login/get_token", map[string]any{})

	for _, wrong := range []map[string]any{
		{}, {"event_type": []string{"*"}}, {"event_types": []string{"*"}, "act": []string{"everything"}}, {"event_types": []string{"*"}, "rooms": []string{"x"}},
	} {
		acme.Owner.MustFail(t, 400, "M_INVALID_PARAM", "POST", ownServices, registrationOf("wrong", s, map[string]any{"roomline": map[string]any{"view": wrong}}))
	}
}

func TestAViewMayAllowRegisteringButNoSessions(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	acme := dep.Organisation(t, "Acme", "acme.test")
	s := startService(t, "hs-token-of-maker")
	as := register(t, dep, acme.Owner, ownServices, registrationOf("maker", s, map[string]any{
		"roomline": map[string]any{"view": map[string]any{"event_types": []string{}, "act": []string{"register", "devices"}}}}))
	account := map[string]any{"type": "m.login.application_service", "username": "_maker_a"}
	as.fail("", "POST", hstest.Path("register"), account, 400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
	account["inhibit_login"] = true
	if got := as.must("", "POST", hstest.Path("register"), account); got.Get("user_id").String() != "@_maker_a:acme.test" || got.Get("access_token").Exists() {
		t.Errorf("made %s", got.Raw)
	}
	as.must("@_maker_a:acme.test", "GET", hstest.Path("devices"), nil)
}

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

// audited are the lines of the audit log about an action: actor, target, outcome and detail.
func audited(t *testing.T, dep *hstest.Deployment, action string) (lines []string) {
	t.Helper()
	db := storetest.DB(t, dep.DSN)
	rows, err := db.Query(`SELECT actor || ' ' || target || ' ' || outcome || ' ' || detail::text FROM audit_log WHERE action = $1 ORDER BY seq`, action)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestWhatServicesDoIsAuditedByTheHour(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	acme := dep.Organisation(t, "Acme", "acme.test")
	s := startService(t, "hs-token-of-counted")
	as := register(t, dep, acme.Owner, ownServices, registrationOf("counted", s, map[string]any{
		"roomline": map[string]any{"view": map[string]any{"event_types": []string{"*"}, "act": []string{"read"}}}}))
	for process := range 2 {
		for as.do(process, "", "GET", hstest.Path("joined_rooms"), nil).Status != 200 {
			time.Sleep(10 * time.Millisecond) // the other process has to learn of it
		}
		as.do(process, "", "GET", hstest.Path("sync"), nil)
	}
	db := storetest.DB(t, dep.DSN)
	// What was counted on both processes is put into hours that are over: two, if one has ended meanwhile, and then the first may be in the
	// audit log already.
	hstest.Eventually(t, "the counts of both processes", func() bool {
		reads, refused := accesses(t, audited(t, dep, "appservice.access"))
		var moreReads, moreRefused int64
		err := db.QueryRow(`SELECT coalesce(sum(requests) FILTER (WHERE class = 'read'), 0), coalesce(sum(refused), 0) FROM appservice_access`).Scan(&moreReads, &moreRefused)
		return err == nil && reads+moreReads >= 2 && refused+moreRefused == 2
	})
	if _, err := db.Exec(`UPDATE appservice_access SET hour_ts = hour_ts - 86400000`); err != nil {
		t.Fatal(err)
	}
	var lines []string
	hstest.Eventually(t, "the audit log", func() bool {
		lines = audited(t, dep, "appservice.access")
		reads, refused := accesses(t, lines)
		return reads >= 2 && refused == 2
	})
	all := strings.Join(lines, "\n")
	if !strings.Contains(all, `appservice:counted counted ok`) || !strings.Contains(all, "appservice:counted counted refused") {
		t.Errorf("the audit log says %s", all)
	}
}

// accesses adds up what the audit log says of requests. There is one line for each class and hour.
func accesses(t *testing.T, lines []string) (reads, refused int64) {
	t.Helper()
	seen := map[string]bool{}
	for _, line := range lines {
		detail := gjson.Parse(line[strings.Index(line, "{"):])
		hour := detail.Get("class").String() + detail.Get("hour_ts").String()
		if seen[hour] {
			t.Errorf("more than one line for an hour: %v", lines)
		}
		seen[hour] = true
		refused += detail.Get("refused").Int()
		if detail.Get("class").String() == "read" {
			reads += detail.Get("requests").Int()
		}
	}
	return reads, refused
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

func TestServicesAreAskedBeforeSomethingIsMissing(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-asked")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("asked", s, map[string]any{"namespaces": map[string]any{
		"users": []any{map[string]any{"exclusive": true, "regex": "@_asked_.*"}}, "aliases": []any{map[string]any{"exclusive": true, "regex": "#_asked_.*"}}}}))
	var asked []string
	s.setAsk(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		switch {
		case strings.HasSuffix(r.URL.Path, "/users/@_asked_x:hs.test"):
			as.ghost("_asked_x")
		case strings.HasSuffix(r.URL.Path, "/rooms/#_asked_x:hs.test"):
			// It looks first itself, and is not asked for that.
			as.fail("", "GET", hstest.Path("directory", "room", "#_asked_x:hs.test"), nil, 404, "M_NOT_FOUND")
			as.must("", "POST", hstest.Path("createRoom"), map[string]any{"room_alias_name": "_asked_x", "preset": "public_chat"})
		default:
			w.WriteHeader(404)
			io.WriteString(w, `{"errcode":"M_NOT_FOUND"}`)
			return
		}
		io.WriteString(w, "{}")
	})
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	alice.MustFail(t, 404, "M_NOT_FOUND", "POST", hstest.Path("rooms", room, "invite"), map[string]any{"user_id": "@_asked_y:hs.test"})
	alice.MustDo(t, "POST", hstest.Path("rooms", room, "invite"), map[string]any{"user_id": "@_asked_x:hs.test"})
	alice.MustFail(t, 404, "M_NOT_FOUND", "GET", hstest.Path("directory", "room", "#_asked_y:hs.test"), nil)
	joined := alice.MustDo(t, "POST", hstest.Path("join", "#_asked_x:hs.test"), map[string]any{}).Get("room_id").String()
	if got := alice.MustDo(t, "GET", hstest.Path("directory", "room", "#_asked_x:hs.test"), nil).Get("room_id").String(); got != joined || joined == "" {
		t.Errorf("the alias leads to %s and %s", got, joined)
	}
	if len(asked) != 4 {
		t.Errorf("asked %v", asked)
	}
	// The invitation of its user says what the room is.
	s.wait(t, "the invitation", func() bool {
		for _, e := range s.told("events") {
			if e.Get("state_key").String() == "@_asked_x:hs.test" && e.Get("content.membership").String() == "invite" {
				return len(e.Get("unsigned.invite_room_state").Array()) > 0
			}
		}
		return false
	})
	s.CloseClientConnections()
	s.Close()
	alice.MustFail(t, 408, "M_UNKNOWN", "GET", hstest.Path("directory", "room", "#_asked_z:hs.test"), nil)
}

func TestEphemeralDataIsToldToThoseWhoWantIt(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	operator := dep.Operator(t)
	services := map[string]*service{}
	for name, fields := range map[string]map[string]any{
		"new": {"receive_ephemeral": true}, "old": {"de.sorunome.msc2409.push_ephemeral": true}, "none": {},
	} {
		services[name] = startService(t, "hs-token-of-"+name)
		register(t, dep, operator, ownServices, registrationOf(name, services[name], fields))
	}
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	elsewhere := alice.MustCreateRoom(t, nil)
	for name := range services {
		actor{t, dep, "as-token-of-" + name}.must("", "POST", hstest.Path("rooms", room, "join"), map[string]any{})
	}
	event := alice.MustSendText(t, room, "read this")
	alice.On(1).MustDo(t, "PUT", hstest.Path("rooms", elsewhere, "typing", alice.ID), map[string]any{"typing": true, "timeout": 120000})
	alice.On(1).MustDo(t, "PUT", hstest.Path("rooms", room, "typing", alice.ID), map[string]any{"typing": true, "timeout": 120000})
	alice.MustDo(t, "POST", hstest.Path("rooms", room, "receipt", "m.read.private", event), map[string]any{})
	alice.MustDo(t, "POST", hstest.Path("rooms", room, "receipt", "m.read", event), map[string]any{"thread_id": "main"})
	alice.MustDo(t, "PUT", hstest.Path("presence", alice.ID, "status"), map[string]any{"presence": "online", "status_msg": "here"})
	for name, key := range map[string]string{"new": "ephemeral", "old": "de.sorunome.msc2409.ephemeral"} {
		s := services[name]
		var typing, receipt, present bool
		s.wait(t, name, func() bool {
			for _, e := range s.told(key) {
				switch e.Get("type").String() {
				case "m.typing":
					typing = typing || e.Get("content.user_ids.0").String() == alice.ID
					if e.Get("room_id").String() != room {
						t.Fatalf("typing elsewhere: %s", e.Raw)
					}
				case "m.receipt":
					receipt = receipt || e.Get("content").Get(gjson.Escape(event)+".m\\.read."+gjson.Escape(alice.ID)+".thread_id").String() == "main" && e.Get("room_id").String() == room
				case "m.presence":
					present = present || e.Get("sender").String() == alice.ID && e.Get("content.status_msg").String() == "here"
				}
			}
			return typing && receipt && present
		})
		for _, body := range s.transactions() {
			if strings.Contains(body.Raw, "m.read.private") {
				t.Errorf("%s was told a private receipt: %s", name, body.Raw)
			}
		}
	}
	for _, body := range services["none"].transactions() {
		if strings.Contains(body.Raw, "ephemeral") {
			t.Errorf("told what it does not want: %s", body.Raw)
		}
	}
}

func TestDeviceDataAndDevicesOfGhosts(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-keys")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("keys", s, map[string]any{"org.matrix.msc3202": true}))
	as.ghost("_keys_a")
	const ghost = "@_keys_a:hs.test"
	device := hstest.Path("devices", "GHOST")
	if r := as.do(0, ghost, "PUT", device, map[string]any{"display_name": "bridge"}); r.Status != 201 {
		t.Fatalf("make a device: %s", r)
	}
	if r := as.do(0, ghost, "PUT", device, map[string]any{"display_name": "bridge"}); r.Status != 200 {
		t.Fatalf("make it again: %s", r)
	}
	alice := dep.User(t, "alice")
	alice.MustFail(t, 404, "M_NOT_FOUND", "PUT", hstest.Path("devices", "NONE"), map[string]any{"display_name": "x"})
	for _, name := range []string{"device_id", "org.matrix.msc3202.device_id"} {
		if got := as.must(ghost, "GET", hstest.Path("account", "whoami")+"?"+name+"=GHOST", nil).Get("device_id").String(); got != "GHOST" {
			t.Errorf("%s: acts as %s", name, got)
		}
	}
	keys := map[string]any{
		"device_keys":   map[string]any{"user_id": ghost, "device_id": "GHOST", "algorithms": []string{}, "keys": map[string]any{"ed25519:GHOST": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "signatures": map[string]any{}},
		"one_time_keys": map[string]any{"signed_curve25519:A": map[string]any{"key": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "signatures": map[string]any{}}},
	}
	as.must(ghost, "POST", hstest.Path("keys", "upload")+"?device_id=GHOST", keys)
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	as.must(ghost, "POST", hstest.Path("rooms", room, "join"), map[string]any{})
	content := map[string]any{"x": "y"}
	alice.MustDo(t, "PUT", hstest.Path("sendToDevice", "m.test", "1"), map[string]any{"messages": map[string]any{ghost: map[string]any{"GHOST": content}}})
	s.wait(t, "a message to the device", func() bool { return len(s.told("de.sorunome.msc2409.to_device")) > 0 })
	m := s.told("de.sorunome.msc2409.to_device")[0]
	if m.Get("to_user_id").String() != ghost || m.Get("to_device_id").String() != "GHOST" || m.Get("sender").String() != alice.ID || m.Get("content.x").String() != "y" {
		t.Errorf("the message: %s", m.Raw)
	}
	counts := func(body gjson.Result) gjson.Result {
		return body.Get(`org\.matrix\.msc3202\.device_one_time_keys_count`).Get(gjson.Escape(ghost) + ".GHOST.signed_curve25519")
	}
	s.wait(t, "a count of one key", func() bool {
		for _, body := range s.transactions() {
			if counts(body).Exists() && counts(body).Int() == 1 {
				return true
			}
		}
		return false
	})
	alice.MustDo(t, "POST", hstest.Path("keys", "claim"), map[string]any{"one_time_keys": map[string]any{ghost: map[string]any{"GHOST": "signed_curve25519"}}})
	s.wait(t, "a count of none", func() bool {
		all := s.transactions()
		for _, body := range all {
			if c := counts(body); c.Exists() && c.Int() == 0 {
				return true
			}
		}
		return false
	})
	alice.MustDo(t, "POST", hstest.Path("keys", "upload"), map[string]any{"device_keys": map[string]any{
		"user_id": alice.ID, "device_id": alice.DeviceID, "algorithms": []string{}, "keys": map[string]any{"ed25519:" + alice.DeviceID: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "signatures": map[string]any{}}})
	lists := func(kind string) func() bool {
		return func() bool {
			for _, body := range s.transactions() {
				for _, u := range body.Get(`org\.matrix\.msc3202\.device_lists`).Get(kind).Array() {
					if u.String() == alice.ID {
						return true
					}
				}
			}
			return false
		}
	}
	s.wait(t, "alice's devices changed", lists("changed"))
	alice.MustLeave(t, room)
	s.wait(t, "alice is known no more", lists("left"))
	// A message is told once, and gone.
	if sync := as.must(ghost, "GET", hstest.Path("sync")+"?device_id=GHOST", nil); len(sync.Get("to_device.events").Array()) != 0 {
		t.Errorf("the message is still there: %s", sync.Get("to_device").Raw)
	}
	if n := len(s.told("de.sorunome.msc2409.to_device")); n != 1 {
		t.Errorf("%d messages to the device", n)
	}
	// Nothing has to be confirmed that has no password.
	if r := as.do(0, ghost, "DELETE", device, nil); r.Status != 200 {
		t.Errorf("delete the device: %s", r)
	}
	as.must(ghost, "POST", hstest.Path("delete_devices"), map[string]any{"devices": []string{"GHOST"}})
}

// TestANamespaceOfPeopleTakesNothingFromThem has an application service that is interested in everybody.
func TestANamespaceOfPeopleTakesNothingFromThem(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	everybody := map[string]any{
		"receive_ephemeral": true, "org.matrix.msc3202": true,
		"namespaces": map[string]any{"users": []any{map[string]any{"exclusive": false, "regex": "@.*"}}},
	}
	owners, operators := startService(t, "hs-token-of-owners"), startService(t, "hs-token-of-operators")
	acme := dep.Organisation(t, "Acme", "acme.test")
	register(t, dep, acme.Owner, ownServices, registrationOf("owners", owners, everybody))
	everybody["roomline"] = map[string]any{"organisation": "acme.test"}
	register(t, dep, dep.Operator(t), operatorServices, registrationOf("operators", operators, everybody))
	alice, bob := acme.User(t, "alice"), acme.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	event := alice.MustSendText(t, room, "x")
	bob.MustDo(t, "POST", hstest.Path("rooms", room, "receipt", "m.read.private", event), map[string]any{})
	alice.MustDo(t, "PUT", hstest.Path("sendToDevice", "m.test", "1"), map[string]any{"messages": map[string]any{bob.ID: map[string]any{"*": map[string]any{"x": "y"}}}})
	last := alice.MustSendText(t, room, "y")
	for _, s := range []*service{owners, operators} {
		s.hasEvent(t, last)
		for _, body := range s.transactions() {
			if strings.Contains(body.Raw, "m.read.private") || strings.Contains(body.Raw, "to_device") {
				t.Errorf("told what is bob's alone: %s", body.Raw)
			}
		}
	}
	if got := bob.MustSync(t, hstest.Sync{}).Get("to_device.events").Array(); len(got) != 1 {
		t.Errorf("bob's messages: %v", got)
	}
}

func TestManyMessagesToADeviceComeOnceAndInOrder(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-many")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("many", s, map[string]any{"org.matrix.msc3202": true}))
	as.ghost("_many_a")
	const ghost = "@_many_a:hs.test"
	as.must(ghost, "PUT", hstest.Path("devices", "GHOST"), map[string]any{})
	alice := dep.User(t, "alice")
	// They wait while the service is away, and are more than one transaction has.
	s.setFault(func(_ int, w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	const messages = 450
	for i := range messages {
		alice.MustDo(t, "PUT", hstest.Path("sendToDevice", "m.test", strconv.Itoa(i)), map[string]any{"messages": map[string]any{ghost: map[string]any{"GHOST": map[string]any{"n": i}}}})
	}
	s.setFault(func(n int, w http.ResponseWriter) bool {
		if n%3 == 0 {
			w.WriteHeader(500)
			return true
		}
		return false
	})
	s.setAsk(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	as.must("", "POST", "/_matrix/client/v1/appservice/many/ping", nil) // it is back
	s.wait(t, "all messages", func() bool { return len(s.told("de.sorunome.msc2409.to_device")) >= messages })
	for i, m := range s.told("de.sorunome.msc2409.to_device") {
		if m.Get("content.n").Int() != int64(i) {
			t.Fatalf("message %d is %s", i, m.Raw)
		}
	}
	if n := len(s.transactions()); n < 3 {
		t.Errorf("%d messages came in %d transactions", messages, n)
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

// TestServicesKnowOfPresenceWhatTheirOrganisationIsGiven: of people of a linked organisation as much as the link gives, and of others nothing, be they in a room together.
func TestServicesKnowOfPresenceWhatTheirOrganisationIsGiven(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	acme, other := dep.Organisation(t, "Acme", "acme.test"), dep.Organisation(t, "Other", "other.test")
	listener := startService(t, "hs-token-of-listener")
	register(t, dep, acme.Owner, ownServices, registrationOf("listener", listener, map[string]any{"namespaces": everyRoom(), "receive_ephemeral": true}))
	alice, bob := acme.User(t, "alice"), other.User(t, "bob")
	link := acme.Owner.MustDo(t, "POST", links, map[string]any{"domain": "other.test", "gives": everything}).Get("link_id").Int()
	other.Owner.MustDo(t, "POST", linkPath(link, "accept"), map[string]any{"gives": everything})
	room := bob.MustCreateRoom(t, nil)
	bob.MustInvite(t, room, alice)
	alice.MustJoin(t, room)
	status := func(u *hstest.User, presence, message string) {
		u.MustDo(t, "PUT", hstest.Path("presence", u.ID, "status"), map[string]any{"presence": presence, "status_msg": message})
	}
	// told are the words of somebody's presence that the service has heard, when it has heard those of alice.
	told := func(marker string) string {
		status(alice, "online", marker)
		listener.wait(t, marker, func() bool {
			for _, e := range listener.told("ephemeral") {
				if e.Get("sender").String() == alice.ID && e.Get("content.status_msg").String() == marker {
					return true
				}
			}
			return false
		})
		last := ""
		for _, e := range listener.told("ephemeral") {
			if e.Get("type").String() == "m.presence" && e.Get("sender").String() == bob.ID {
				last = e.Get("content.presence").String() + " " + e.Get("content.status_msg").String()
			}
		}
		return last
	}
	listener.hasEvent(t, bob.MustSendText(t, room, "we are in a room together"))
	status(bob, "busy", "on the phone")
	if got := told("one"); got != "busy on the phone" {
		t.Errorf("of a linked organisation that gives everything: %q", got)
	}
	for _, c := range []struct { // each is another one than before, or it would not be told
		gives       map[string]any
		state, want string
	}{
		{map[string]any{"presence": true}, "busy", "unavailable secret"},
		{map[string]any{"phone_presence": true}, "online", "offline "},
		{map[string]any{"name": true}, "busy", "offline "},
	} {
		other.Owner.MustDo(t, "PUT", linkPath(link, "gives"), map[string]any{"gives": c.gives})
		status(bob, c.state, "secret")
		if got := told(fmt.Sprint(c.gives)); got != c.want {
			t.Errorf("a link that gives %v: %q, want %q", c.gives, got, c.want)
		}
	}
	other.Owner.MustDo(t, "POST", linkPath(link, "revoke"), nil)
	before := told("before")
	status(bob, "online", "revoked")
	if got := told("after"); got != before {
		t.Errorf("of an organisation that is linked no more: %q", got)
	}
}
