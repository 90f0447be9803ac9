package clientapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/httpapi"
)

// admin makes an administrator and signs in.
func (p *process) admin(localpart string) *client {
	p.t.Helper()
	user, err := p.accounts.Create(p.t.Context(), auth.NewAccount{Localpart: localpart, Password: password, Role: httpapi.RoleOwner})
	must(p.t, err)
	return &client{p: p, user: string(user), token: p.login(string(user), nil).text("access_token")}
}

func adminPath(what, user string) string { return "/_matrix/client/v1/admin/" + what + "/" + esc(user) }

func TestOnlyAdministratorsOfTheOrganisationRestrictAccounts(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	root, other := p.admin("root"), p.admin("other")
	alice, stranger := p.client("alice"), d.otherOrganisation(p, "stranger")
	closed := p.user("closed")
	must(t, p.accounts.Deactivate(t.Context(), closed, false))
	for _, what := range []string{"suspend", "lock"} {
		field := what + "ed"
		if what == "suspend" {
			field = "suspended"
		}
		on := object{field: true}
		// Nobody else learns who is there.
		for _, target := range []string{alice.user, "@nobody:one.test", "@x:elsewhere.test", root.user, stranger.user} {
			p.want(403, "M_FORBIDDEN", "PUT", adminPath(what, target), alice.token, on)
			p.want(403, "M_FORBIDDEN", "GET", adminPath(what, target), alice.token, nil)
		}
		p.want(401, "M_MISSING_TOKEN", "PUT", adminPath(what, alice.user), "", on)
		for target, want := range map[string]string{
			"@nobody:one.test": "404 M_NOT_FOUND", string(closed): "404 M_NOT_FOUND", stranger.user: "404 M_NOT_FOUND",
			"@x:elsewhere.test": "400 M_INVALID_PARAM", "alice": "400 M_INVALID_PARAM", "@:": "400 M_INVALID_PARAM",
			other.user: "403 M_FORBIDDEN", root.user: "403 M_FORBIDDEN",
		} {
			status, answer := p.do("PUT", adminPath(what, target), root.token, on)
			if got := fmt.Sprint(status, " ", answer.text("errcode")); got != want {
				t.Errorf("%s of %s: %s, want %s", what, target, got, want)
			}
			if target == root.user {
				continue // may be asked for
			}
			status, answer = p.do("GET", adminPath(what, target), root.token, nil)
			if got := fmt.Sprint(status, " ", answer.text("errcode")); got != want {
				t.Errorf("GET %s of %s: %s, want %s", what, target, got, want)
			}
		}
		for _, bad := range []string{``, `{}`, `[]`, `{"` + field + `":"true"}`, `{"` + field + `":null}`, `{"` + field + `":1}`, `x`} {
			status, answer := p.do("PUT", adminPath(what, alice.user), root.token, bad)
			if status != 400 || answer.text("errcode") == "" {
				t.Errorf("%s with %s: %d %v", what, bad, status, answer)
			}
		}
		for _, state := range []bool{true, true, false, false} {
			if answer := p.want(200, "", "PUT", adminPath(what, alice.user), root.token, object{field: state}); answer[field] != state {
				t.Errorf("%s says %v", what, answer)
			}
			if answer := p.want(200, "", "GET", adminPath(what, alice.user), root.token, nil); answer[field] != state {
				t.Errorf("afterwards %s is %v", what, answer)
			}
		}
	}
	for _, who := range []struct {
		token string
		want  string
	}{{root.token, "map[lock:true suspend:true]"}, {alice.token, "<nil>"}} {
		got := object(p.want(200, "", "GET", "/_matrix/client/v3/capabilities", who.token, nil)).inner("capabilities")["m.account_moderation"]
		if fmt.Sprint(got) != who.want {
			t.Errorf("m.account_moderation is %v, want %s", got, who.want)
		}
	}
}

func TestALockReachesEveryProcess(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	root, alice := one.admin("root"), one.client("alice")
	two.want(200, "", "GET", whoami, alice.token, nil)
	one.want(200, "", "PUT", adminPath("lock", alice.user), root.token, object{"locked": true})
	if answer := one.want(401, "M_USER_LOCKED", "GET", whoami, alice.token, nil); answer["soft_logout"] != true {
		t.Errorf("a locked account is told %v", answer)
	}
	hstest.Eventually(t, "the lock reaches the other process", func() bool {
		status, answer := two.do("GET", whoami, alice.token, nil)
		return status == 401 && answer.text("errcode") == "M_USER_LOCKED" && answer["soft_logout"] == true
	})
	two.want(200, "", "PUT", adminPath("lock", alice.user), root.token, object{"locked": false})
	two.want(200, "", "GET", whoami, alice.token, nil)
}

func TestSuspendedUsersReadAndDoLittleElse(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	root, alice, bob := one.admin("root"), one.client("alice"), one.client("bob")
	id := bob.create(object{"preset": "public_chat"})
	open := bob.create(object{"preset": "public_chat"})
	invited := bob.create(object{})
	bob.invite(invited, alice)
	alice.join(id)
	mine, his := alice.say(id, "mine"), bob.say(id, "his")
	bob.set(id, "m.room.power_levels", "", object{"users": object{alice.user: 100}})
	one.want(200, "", "PUT", adminPath("suspend", alice.user), root.token, object{"suspended": true})
	far := alice.at(two)
	hstest.Eventually(t, "the suspension reaches the other process", func() bool {
		_, answer := far.do("PUT", room(id)+"/send/m.room.message/e", object{"msgtype": "m.text", "body": "x"})
		return object(answer.(map[string]any)).text("errcode") == "M_USER_SUSPENDED"
	})
	for _, c := range []*client{alice, far} {
		for _, refused := range []struct {
			method, path string
			body         any
		}{
			{"POST", room(open) + "/join", object{}},
			{"POST", "/join/" + esc(open), object{}},
			{"POST", "/knock/" + esc(open), object{}},
			{"POST", room(invited) + "/join", object{}},
			{"POST", room(id) + "/invite", object{"user_id": "@carol:one.test"}},
			{"POST", room(id) + "/kick", object{"user_id": bob.user}},
			{"POST", "/createRoom", object{}},
			{"PUT", room(id) + "/send/m.room.message/s1", object{"msgtype": "m.text", "body": "x"}},
			{"PUT", room(id) + "/send/m.room.redaction/s2", object{"redacts": his}},
			{"PUT", room(id) + "/send/m.room.redaction/s3", object{"redacts": "$none"}},
			{"PUT", room(id) + "/send/m.room.redaction/s4", object{}},
			{"PUT", room(id) + "/redact/" + esc(his) + "/s5", object{}},
			{"PUT", room("!none:one.test") + "/redact/" + esc(his) + "/s6", object{}},
			{"PUT", room(id) + "/state/m.room.topic/", object{"topic": "x"}},
			{"PUT", room(id) + "/state/m.room.member/" + esc(alice.user), object{"membership": "join", "displayname": "x"}},
			{"PUT", room(id) + "/typing/" + esc(alice.user), object{"typing": true}},
			{"PUT", "/profile/" + esc(alice.user) + "/displayname", object{"displayname": "x"}},
			{"PUT", "/profile/" + esc(alice.user) + "/avatar_url", object{"avatar_url": "mxc://one.test/x"}},
			{"DELETE", "/profile/" + esc(alice.user) + "/m.tz", nil},
			{"PUT", "/directory/room/" + esc("#x:one.test"), object{"room_id": id}},
			{"PUT", "/presence/" + esc(alice.user) + "/status", object{"presence": "online", "status_msg": "x"}},
		} {
			c.refused(403, "M_USER_SUSPENDED", refused.method, refused.path, refused.body)
		}
		c.ok("GET", room(id)+"/messages?dir=b", nil)
		c.ok("GET", "/joined_rooms", nil)
		c.ok("PUT", "/user/"+esc(alice.user)+"/account_data/m.secret_storage.default_key", object{"key": "k"})
		c.ok("POST", room(id)+"/read_markers", object{"m.fully_read": his})
		one.login("alice", nil)
	}
	c := far
	c.ok("PUT", room(id)+"/redact/"+esc(mine)+"/r1", object{})
	c.ok("POST", room(invited)+"/leave", object{})
	c.ok("POST", room(id)+"/leave", object{})
	second := one.login("alice", object{"device_id": "NEW"}).text("access_token")
	one.want(403, "M_USER_SUSPENDED", "POST", "/_matrix/client/v3/createRoom", second, object{})
	one.want(200, "", "PUT", adminPath("suspend", alice.user), root.token, object{"suspended": false})
	alice.join(open)
	one.want(200, "", "PUT", adminPath("suspend", alice.user), root.token, object{"suspended": true})
	one.want(200, "", "POST", "/_matrix/client/v3/logout", second, nil)
	answer := one.want(401, "", "POST", "/_matrix/client/v3/account/deactivate", alice.token, object{})
	one.want(200, "", "POST", "/_matrix/client/v3/account/deactivate", alice.token, object{"auth": proof(answer.text("session"), "alice", password)})
}

func TestWhoIs(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	root, alice, bob := p.admin("root"), p.client("alice"), p.client("bob")
	stranger := d.otherOrganisation(p, "stranger")
	p.login("alice", object{"device_id": "PHONE"})
	whois := func(user string) string { return "/_matrix/client/v3/admin/whois/" + esc(user) }
	for _, who := range []*client{root, alice} {
		answer := p.want(200, "", "GET", whois(alice.user), who.token, nil)
		devices := answer.inner("devices")
		if answer.text("user_id") != alice.user || len(devices) != 2 ||
			!strings.Contains(fmt.Sprint(devices["PHONE"]), "ip:127.0.0.1") || !strings.Contains(fmt.Sprint(devices["PHONE"]), "last_seen:") {
			t.Errorf("whois says %v", answer)
		}
	}
	for _, target := range []string{alice.user, root.user, "@nobody:one.test", stranger.user, "@x:elsewhere.test"} {
		p.want(403, "M_FORBIDDEN", "GET", whois(target), bob.token, nil)
	}
	p.want(404, "M_NOT_FOUND", "GET", whois(stranger.user), root.token, nil)
	p.want(404, "M_NOT_FOUND", "GET", whois("@nobody:one.test"), root.token, nil)
	p.want(400, "M_INVALID_PARAM", "GET", whois("@x:elsewhere.test"), root.token, nil)
	p.want(400, "M_INVALID_PARAM", "GET", whois("nonsense"), root.token, nil)
	p.want(401, "M_MISSING_TOKEN", "GET", whois(alice.user), "", nil)
}
