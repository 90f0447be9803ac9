package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

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
