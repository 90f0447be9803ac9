package clientapi_test

import (
	"slices"
	"testing"
)

func (c *client) membership(id, user string) string {
	c.p.t.Helper()
	return c.state(id, "m.room.member", user).text("membership")
}

func (c *client) joinedRooms() []string {
	c.p.t.Helper()
	list := []string{}
	for _, r := range c.ok("GET", "/joined_rooms", nil)["joined_rooms"].([]any) {
		list = append(list, r.(string))
	}
	return list
}

// TestMembershipsFollowTheRules walks through every change of membership, in rooms of the versions whose formats and rules differ.
func TestMembershipsFollowTheRules(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1", "6", "10", "11", "12"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newDeployment(t).process()
			alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
			id := alice.create(object{"room_version": version})
			r := room(id)
			step := func(c *client, status int, code, action string, target *client) {
				t.Helper()
				body := object{"reason": "because"}
				if target != nil {
					body["user_id"] = target.user
				}
				if got, answer := c.do("POST", r+"/"+action, body); got != status || code != "" && object(answer.(map[string]any)).text("errcode") != code {
					t.Fatalf("%s by %s = %d %v; want %d %s", action, c.user, got, answer, status, code)
				}
			}
			step(bob, 403, "M_FORBIDDEN", "join", nil)
			step(bob, 403, "M_FORBIDDEN", "leave", nil)
			step(carol, 403, "M_FORBIDDEN", "invite", bob)
			step(alice, 200, "", "invite", bob)
			step(alice, 200, "", "invite", bob) // was invited already
			step(bob, 200, "", "leave", nil)    // declines
			step(bob, 403, "M_FORBIDDEN", "join", nil)
			step(alice, 200, "", "invite", bob)
			step(bob, 200, "", "join", nil)
			step(bob, 200, "", "join", nil) // is in already
			step(alice, 403, "M_FORBIDDEN", "invite", bob)
			if got := alice.state(id, "m.room.member", bob.user); got.text("displayname") != "Name of bob" || got.text("reason") != "because" {
				t.Errorf("member event of bob: %v", got)
			}
			step(bob, 403, "M_FORBIDDEN", "kick", alice)
			step(bob, 403, "M_FORBIDDEN", "ban", carol)
			step(carol, 403, "M_FORBIDDEN", "kick", bob)
			step(alice, 200, "", "kick", bob)
			step(alice, 403, "M_FORBIDDEN", "kick", bob)
			if got := bob.joinedRooms(); len(got) != 0 {
				t.Errorf("bob is in %v", got)
			}
			step(alice, 200, "", "ban", bob)
			step(alice, 403, "M_FORBIDDEN", "invite", bob)
			step(bob, 403, "M_FORBIDDEN", "join", nil)
			step(bob, 403, "M_FORBIDDEN", "leave", nil)
			step(carol, 403, "M_FORBIDDEN", "unban", bob)
			step(alice, 200, "", "unban", bob)
			step(alice, 403, "M_BAD_STATE", "unban", bob)
			step(alice, 200, "", "ban", carol) // was never here
			if got := alice.membership(id, carol.user); got != "ban" {
				t.Errorf("carol: %q", got)
			}
			alice.set(id, "m.room.join_rules", "", object{"join_rule": "public"})
			step(bob, 200, "", "join", nil)
			step(bob, 400, "M_UNKNOWN", "forget", nil)
			step(bob, 200, "", "leave", nil)
			step(bob, 200, "", "leave", nil) // is out already
			step(bob, 200, "", "forget", nil)
			bob.refused(403, "M_FORBIDDEN", "GET", r+"/messages?dir=b", nil)
			alice.ok("PUT", r+"/state/m.room.member/"+esc(bob.user), object{"membership": "invite"})
			event := bob.ok("PUT", r+"/state/m.room.member/"+esc(bob.user), object{"membership": "join", "org.example": "kept", "displayname": "Bobby"}).text("event_id")
			if got := bob.event(id, event); got.text("state_key") != bob.user || got.inner("content").text("org.example") != "kept" ||
				got.inner("content").text("displayname") != "Bobby" {
				t.Errorf("join by state: %v", got)
			}
			bob.set(id, "m.room.member", bob.user, object{"membership": "join", "displayname": "Robert"})
			members := alice.ok("GET", r+"/joined_members", nil).inner("joined")
			if len(members) != 2 || members.inner(bob.user).text("display_name") != "Robert" {
				t.Errorf("joined members: %v", members)
			}
		})
	}
}

func TestKnocking(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	for version, status := range map[string]int{"6": 403, "10": 200, "11": 200, "12": 200} {
		id := alice.create(object{"room_version": version, "room_alias_name": "knock" + version, "initial_state": []object{
			{"type": "m.room.join_rules", "content": object{"join_rule": "knock"}}}})
		got, answer := bob.do("POST", "/knock/"+esc("#knock"+version+":one.test")+"?via=one.test", object{"reason": "let me in"})
		if got != status {
			t.Fatalf("version %s: knock = %d %v; want %d", version, got, answer, status)
		}
		if status != 200 {
			continue
		}
		if got := object(answer.(map[string]any)).text("room_id"); got != id {
			t.Errorf("knocked on %s; want %s", got, id)
		}
		if got := alice.state(id, "m.room.member", bob.user); got.text("membership") != "knock" || got.text("reason") != "let me in" {
			t.Errorf("member event of bob: %v", got)
		}
		bob.refused(403, "M_FORBIDDEN", "POST", room(id)+"/join", object{})
		alice.invite(id, bob)
		bob.join(id)
		bob.refused(403, "M_FORBIDDEN", "POST", "/knock/"+esc(id), object{})
		carol.ok("POST", "/knock/"+esc(id), nil)
		carol.leave(id) // takes it back
		if got := alice.membership(id, carol.user); got != "leave" {
			t.Errorf("carol: %q", got)
		}
	}
}

// TestRestrictedJoins lets members of another room in, and nobody who only claims to be one.
func TestRestrictedJoins(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	for version, rule := range map[string]string{"8": "restricted", "10": "knock_restricted", "11": "restricted", "12": "knock_restricted"} {
		lobby := alice.create(object{"preset": "public_chat"})
		id := alice.create(object{"room_version": version, "initial_state": []object{{"type": "m.room.join_rules", "content": object{
			"join_rule": rule, "allow": []object{{"type": "m.room_membership", "room_id": lobby}}}}}})
		forged := object{"membership": "join", "join_authorised_via_users_server": alice.user}
		for _, c := range []*client{bob, carol} {
			c.refused(403, "M_FORBIDDEN", "POST", room(id)+"/join", object{})
			c.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/state/m.room.member/"+esc(c.user), forged)
			c.refused(403, "M_FORBIDDEN", "POST", room(id)+"/join", forged)
		}
		bob.join(lobby)
		bob.join(id)
		if got := alice.state(id, "m.room.member", bob.user); got.text("join_authorised_via_users_server") != alice.user {
			t.Errorf("version %s: member event of bob: %v", version, got)
		}
		bob.leave(lobby)
		if got := bob.joinedRooms(); !slices.Contains(got, id) {
			t.Errorf("bob is in %v", got)
		}
		bob.set(id, "m.room.member", bob.user, object{"membership": "join", "displayname": "Robert", "join_authorised_via_users_server": alice.user})
		carol.refused(403, "M_FORBIDDEN", "POST", room(id)+"/join", object{})
		carol.join(lobby)
		carol.set(id, "m.room.member", carol.user, object{"membership": "join", "join_authorised_via_users_server": "@nobody:elsewhere.test"})
		if got := alice.state(id, "m.room.member", carol.user); got.text("join_authorised_via_users_server") != alice.user {
			t.Errorf("version %s: member event of carol: %v", version, got)
		}
		carol.leave(id)
		carol.leave(lobby)
		if rule == "knock_restricted" {
			carol.ok("POST", "/knock/"+esc(id), object{})
		}
	}
}

// TestJoinKeepsFurtherKeys joins with keys of the client's own, and with some that the client may not decide on.
func TestJoinKeepsFurtherKeys(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	id := alice.create(object{"preset": "public_chat"})
	body := object{
		"org.example.colour":               "green",
		"membership":                       "ban",
		"displayname":                      "Somebody else",
		"join_authorised_via_users_server": alice.user,
	}
	bob.ok("POST", room(id)+"/join", body)
	// A member event has no fractions.
	if status, answer := carol.do("POST", "/join/"+id, object{"org.example.part": 1.5}); status != 400 {
		t.Errorf("join with a fraction = %d %v; want 400", status, answer)
	}
	carol.ok("POST", "/join/"+id, body)
	for _, user := range []string{bob.user, carol.user} {
		got := alice.state(id, "m.room.member", user)
		if got.text("org.example.colour") != "green" {
			t.Errorf("member event of %s lacks the client's key: %v", user, got)
		}
		if got.text("membership") != "join" || got.text("displayname") == "Somebody else" || got["join_authorised_via_users_server"] != nil {
			t.Errorf("member event of %s has what the client may not decide on: %v", user, got)
		}
	}
}
