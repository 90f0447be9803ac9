package clientapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
)

const devices = "/_matrix/client/v3/devices"

func TestDevicesAreListedAndRenamed(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.user("bob")
	token := p.login("alice", object{"device_id": "PHONE", "initial_device_display_name": "My phone"}).text("access_token")
	p.login("alice", object{"device_id": "LAP/TOP"})
	bob := p.login("bob", nil).text("access_token")
	list := p.want(200, "", "GET", devices, token, nil)["devices"].([]any)
	if len(list) != 2 || list[0].(map[string]any)["display_name"] != "My phone" || list[0].(map[string]any)["last_seen_ip"] != "127.0.0.1" {
		t.Errorf("devices are %v", list)
	}
	p.want(200, "", "PUT", devices+"/LAP%2FTOP", token, object{"display_name": "Laptop"})
	p.want(200, "", "PUT", devices+"/PHONE", token, object{})
	if d := p.want(200, "", "GET", devices+"/LAP%2FTOP", token, nil); d.text("display_name") != "Laptop" {
		t.Errorf("renamed to %v", d)
	}
	if d := p.want(200, "", "GET", devices+"/PHONE", token, nil); d.text("display_name") != "My phone" {
		t.Errorf("an empty change made %v", d)
	}
	for _, who := range []string{token, bob} {
		p.want(404, "M_NOT_FOUND", "GET", devices+"/NONE", who, nil)
		p.want(404, "M_NOT_FOUND", "PUT", devices+"/NONE", who, object{"display_name": "x"})
		p.want(404, "M_NOT_FOUND", "PUT", devices+"/NONE", who, object{})
	}
	p.want(404, "M_NOT_FOUND", "GET", devices+"/PHONE", bob, nil)
	p.want(404, "M_NOT_FOUND", "PUT", devices+"/PHONE", bob, object{"display_name": "x"})
	p.want(400, "M_INVALID_PARAM", "PUT", devices+"/PHONE", token, object{"display_name": strings.Repeat("x", 1025)})
	p.want(400, "M_BAD_JSON", "PUT", devices+"/PHONE", token, object{"display_name": 5})
}

func TestDeletingADeviceAsksForThePassword(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	one.user("alice")
	one.user("bob")
	alice := one.login("alice", nil).text("access_token")
	bob := one.login("bob", nil).text("access_token")
	phone := one.login("alice", object{"device_id": "PHONE"}).text("access_token")
	two.want(200, "", "GET", whoami, phone, nil)

	challenge := one.want(401, "", "DELETE", devices+"/PHONE", alice, nil)
	if fmt.Sprint(challenge["flows"]) != "[map[stages:[m.login.password]]]" {
		t.Fatalf("the challenge is %v", challenge)
	}
	session := challenge.text("session")
	wrong := two.want(401, "M_FORBIDDEN", "DELETE", devices+"/PHONE", alice, object{"auth": proof(session, "alice", "wrong password")})
	if wrong.text("session") != session || wrong["flows"] == nil {
		t.Errorf("a wrong password is answered %v", wrong)
	}
	// Somebody else's password proves nothing, be it right or wrong, nor does the session for another device or another user.
	for _, guess := range []string{password, "wrong password"} {
		two.want(403, "M_FORBIDDEN", "DELETE", devices+"/PHONE", alice, object{"auth": proof(session, "bob", guess)})
	}
	for _, foreign := range []object{
		two.want(401, "M_UNAUTHORIZED", "DELETE", devices+"/LAPTOP", alice, object{"auth": proof(session, "alice", password)}),
		two.want(401, "M_UNAUTHORIZED", "DELETE", devices+"/PHONE", bob, object{"auth": proof(session, "bob", password)}),
		two.want(401, "M_UNAUTHORIZED", "DELETE", devices+"/PHONE", alice, object{"auth": proof("unknown", "alice", password)}),
	} {
		if foreign.text("session") == session || foreign.text("session") == "" {
			t.Errorf("a foreign session is answered %v", foreign)
		}
	}
	one.want(200, "", "GET", whoami, phone, nil)
	two.want(200, "", "DELETE", devices+"/PHONE", alice, object{"auth": proof(session, "alice", password)})
	two.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, phone, nil)
	hstest.Eventually(t, "the other process forgets the device's token", func() bool { status, _ := one.do("GET", whoami, phone, nil); return status == 401 })
	// The session is used up. Without one, everything may be said at once; a device that is gone is deleted again.
	two.want(401, "M_UNAUTHORIZED", "DELETE", devices+"/PHONE", alice, object{"auth": proof(session, "alice", password)})
	two.want(200, "", "DELETE", devices+"/PHONE", alice, object{"auth": proof("", "alice", password)})
	two.want(200, "", "DELETE", devices+"/PHONE", alice, object{"auth": object{"type": "m.login.password", "user": "@alice:one.test", "password": password}})
}

func TestInteractiveSessionsExpire(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	p.user("alice")
	alice := p.login("alice", nil).text("access_token")
	session := p.want(401, "", "DELETE", devices+"/PHONE", alice, nil).text("session")
	if again := p.want(401, "", "DELETE", devices+"/PHONE", alice, object{"auth": object{"session": session}}); again.text("session") != session {
		t.Errorf("asking how far one has come is answered %v", again)
	}
	d.clock.advance(16 * time.Minute)
	p.want(401, "M_UNAUTHORIZED", "DELETE", devices+"/PHONE", alice, object{"auth": proof(session, "alice", password)})
}

func TestDeletingSeveralDevices(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	alice := p.login("alice", object{"device_id": "KEEP"}).text("access_token")
	a := p.login("alice", object{"device_id": "A"}).text("access_token")
	b := p.login("alice", object{"device_id": "B"}).text("access_token")
	const path = "/_matrix/client/v3/delete_devices"
	session := p.want(401, "", "POST", path, alice, object{"devices": []string{"A", "B", "NONE"}}).text("session")
	p.want(401, "M_UNAUTHORIZED", "POST", path, alice, object{"devices": []string{"A", "KEEP"}, "auth": proof(session, "alice", password)})
	p.want(200, "", "POST", path, alice, object{"devices": []string{"B", "NONE", "A"}, "auth": proof(session, "alice", password)})
	for _, token := range []string{a, b} {
		p.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, token, nil)
	}
	p.want(200, "", "GET", whoami, alice, nil)
	p.want(400, "M_MISSING_PARAM", "POST", path, alice, object{})
	p.want(400, "M_INVALID_PARAM", "POST", path, alice, object{"devices": make([]string, 201)})
	p.want(400, "M_BAD_JSON", "POST", path, alice, object{"devices": "A"})
}

func TestChangingThePassword(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	one.user("alice")
	alice := one.login("alice", nil).text("access_token")
	other := one.login("alice", nil).text("access_token")
	two.want(200, "", "GET", whoami, other, nil)
	const path, fresh = "/_matrix/client/v3/account/password", "another good one"
	one.want(401, "M_MISSING_TOKEN", "POST", path, "", object{"new_password": fresh})
	one.want(400, "M_MISSING_PARAM", "POST", path, alice, object{})
	one.want(400, "M_WEAK_PASSWORD", "POST", path, alice, object{"new_password": "short"})
	session := one.want(401, "", "POST", path, alice, object{"new_password": fresh}).text("session")
	one.want(401, "M_FORBIDDEN", "POST", path, alice, object{"new_password": fresh, "auth": proof(session, "alice", fresh)})
	two.want(200, "", "POST", path, alice, object{"new_password": fresh, "logout_devices": false, "auth": proof(session, "alice", password)})
	one.want(200, "", "GET", whoami, other, nil)
	one.want(403, "M_FORBIDDEN", "POST", "/_matrix/client/v3/login", "", loginBody("alice", password, nil))
	one.want(200, "", "POST", "/_matrix/client/v3/login", "", loginBody("alice", fresh, nil))
	one.want(200, "", "POST", path, alice, object{"new_password": password, "auth": proof("", "alice", fresh)})
	one.want(200, "", "GET", whoami, alice, nil)
	one.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, other, nil)
	hstest.Eventually(t, "the other process forgets the token", func() bool { status, _ := two.do("GET", whoami, other, nil); return status == 401 })
	if list := one.want(200, "", "GET", devices, alice, nil)["devices"].([]any); len(list) != 1 {
		t.Errorf("devices that are left: %v", list)
	}
}

func TestDeactivation(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	one.user("alice")
	one.user("bob")
	alice := one.login("alice", object{"refresh_token": true})
	bob := one.login("bob", nil).text("access_token")
	token := alice.text("access_token")
	two.want(200, "", "GET", whoami, token, nil)
	one.want(200, "", "PUT", "/_matrix/client/v3/profile/@alice:one.test/displayname", token, object{"displayname": "Alice"})
	const path = "/_matrix/client/v3/account/deactivate"
	session := one.want(401, "", "POST", path, token, object{"erase": true}).text("session")
	answer := one.want(200, "", "POST", path, token, object{"erase": true, "auth": proof(session, "alice", password)})
	if answer.text("id_server_unbind_result") != "success" || fmt.Sprint(one.left) != "[@alice:one.test]" {
		t.Errorf("answer %v, left rooms: %v", answer, one.left)
	}
	one.want(401, "M_UNKNOWN_TOKEN", "GET", whoami, token, nil)
	hstest.Eventually(t, "the other process forgets the token", func() bool { status, _ := two.do("GET", whoami, token, nil); return status == 401 })
	one.want(401, "M_UNKNOWN_TOKEN", "POST", "/_matrix/client/v3/refresh", "", object{"refresh_token": alice["refresh_token"]})
	one.want(403, "M_FORBIDDEN", "POST", "/_matrix/client/v3/login", "", loginBody("alice", password, nil))
	one.want(404, "M_NOT_FOUND", "GET", "/_matrix/client/v3/profile/@alice:one.test", bob, nil)
	user, err := one.store.GetUser(t.Context(), matrix.UserID("@alice:one.test"))
	must(t, err)
	if !user.Deactivated() || !user.Erased || user.PasswordHash != "" {
		t.Errorf("the account is %+v", user)
	}
	// The name stays taken.
	if _, err := one.accounts.CheckAvailable(t.Context(), "alice", ""); err == nil {
		t.Error("a deactivated account's name is free")
	}
}
