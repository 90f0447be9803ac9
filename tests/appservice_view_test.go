package tests

import (
	"net/url"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
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
