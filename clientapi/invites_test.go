package clientapi_test

import (
	"testing"
)

func (c *client) account(typ string, content object) {
	c.p.t.Helper()
	c.ok("PUT", "/user/"+esc(c.user)+"/account_data/"+typ, content)
}

func TestInvitesAreBlockedWhereTheUserSaysSo(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bob, carol := one.client("alice"), one.client("bob"), two.client("carol")
	id := alice.create(object{})
	invite := object{"user_id": carol.user}
	byState := room(id) + "/state/m.room.member/" + esc(carol.user)
	blocked := func() {
		t.Helper()
		alice.refused(403, "M_INVITE_BLOCKED", "POST", room(id)+"/invite", invite)
		alice.refused(403, "M_INVITE_BLOCKED", "PUT", byState, object{"membership": "invite"})
		alice.refused(403, "M_INVITE_BLOCKED", "POST", "/createRoom", object{"invite": []string{bob.user, carol.user}})
		alice.refused(403, "M_INVITE_BLOCKED", "POST", "/createRoom", object{"initial_state": []object{
			{"type": "m.room.member", "state_key": carol.user, "content": object{"membership": "invite"}}}})
		if got := alice.state(id, "m.room.member", carol.user); got != nil {
			t.Errorf("the invite was made: %v", got)
		}
	}
	for _, typ := range []string{"m.invite_permission_config", "org.matrix.msc4380.invite_permission_config"} {
		carol.account(typ, object{"default_action": "block"})
		blocked()
		carol.account(typ, object{})
	}
	const filter = "org.matrix.msc4155.invite_permission_config"
	carol.account(filter, object{"allowed_users": []string{bob.user}, "blocked_servers": []string{"*"}})
	blocked()
	before := len(alice.ok("GET", "/joined_rooms", nil)["joined_rooms"].([]any))
	if before != 1 {
		t.Errorf("%d rooms after refused ones", before)
	}
	bob.create(object{"invite": []string{carol.user}})
	// Who is not in the room is not told what its members may do.
	bob.refused(403, "M_FORBIDDEN", "POST", room(id)+"/invite", invite)
	// An ignored inviter is not told either.
	carol.account(filter, object{"ignored_users": []string{alice.user}})
	alice.ok("POST", room(id)+"/invite", invite)
	if got := alice.state(id, "m.room.member", carol.user).text("membership"); got != "invite" {
		t.Errorf("membership: %q", got)
	}
	carol.account("m.ignored_user_list", object{"ignored_users": object{alice.user: object{}}})
	alice.create(object{"invite": []string{carol.user}})
	carol.join(id) // nothing keeps carol from going where she was asked to
}
