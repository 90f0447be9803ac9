package clientapi_test

import (
	"strings"
	"testing"
)

func TestPresenceStatus(t *testing.T) {
	t.Parallel()
	alice, bob, _ := together(t)
	status := func(c *client) string { return "/presence/" + esc(c.user) + "/status" }
	if got := bob.ok("GET", status(alice), nil); got.text("presence") != "offline" || got["last_active_ago"] != nil {
		t.Errorf("before anything was said: %v", got)
	}
	alice.ok("PUT", status(alice), object{"presence": "online", "status_msg": "in a meeting"})
	got := bob.ok("GET", status(alice), nil)
	if got.text("presence") != "online" || got.text("status_msg") != "in a meeting" || got["currently_active"] != true || got["last_active_ago"] == nil {
		t.Errorf("after a change: %v", got)
	}
	alice.ok("PUT", status(alice), object{"presence": "unavailable"})
	if got := alice.ok("GET", status(alice), nil); got.text("presence") != "unavailable" || got["status_msg"] != nil || got["currently_active"] != nil {
		t.Errorf("after another change: %v", got)
	}
	for _, busy := range []string{"busy", "org.matrix.msc3026.busy"} {
		alice.ok("PUT", status(alice), object{"presence": busy})
		if got := bob.ok("GET", status(alice), nil).text("presence"); got != busy {
			t.Errorf("busy alice is %s", got)
		}
	}
	alice.ok("PUT", status(alice), object{"presence": "offline", "status_msg": nil})
	if got := bob.ok("GET", status(alice), nil).text("presence"); got != "offline" {
		t.Errorf("after going offline: %s", got)
	}

	alice.refused(403, "M_FORBIDDEN", "PUT", status(bob), object{"presence": "online"})
	alice.refused(400, "M_MISSING_PARAM", "PUT", status(alice), object{})
	alice.refused(400, "M_INVALID_PARAM", "PUT", status(alice), object{"presence": "asleep"})
	alice.refused(400, "M_BAD_JSON", "PUT", status(alice), object{"presence": 1})
	alice.refused(400, "M_INVALID_PARAM", "PUT", status(alice), object{"presence": "online", "status_msg": strings.Repeat("x", 2000)})
	alice.refused(400, "M_INVALID_PARAM", "GET", "/presence/alice/status", nil)
}

func TestPresenceStaysInTheOrganisation(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, bob := p.client("alice"), p.client("bob")
	stranger := d.otherOrganisation(p, "stranger")
	status := "/presence/" + esc(alice.user) + "/status"
	bob.ok("GET", status, nil)
	seen := stranger.refused(403, "M_FORBIDDEN", "GET", status, nil)
	// Who is not there looks the same.
	nobody := stranger.refused(403, "M_FORBIDDEN", "GET", "/presence/"+esc("@nobody:one.test")+"/status", nil)
	if seen.text("error") != nobody.text("error") {
		t.Errorf("%q tells from %q that the user exists", seen.text("error"), nobody.text("error"))
	}
	id := alice.create(object{"preset": "public_chat"})
	stranger.refused(403, "M_FORBIDDEN", "GET", status, nil)
	// A room shows names and pictures to people of other organisations, and no presence.
	d.letIn(id, stranger)
	stranger.refused(403, "M_FORBIDDEN", "GET", status, nil)
}
