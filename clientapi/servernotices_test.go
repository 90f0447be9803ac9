package clientapi_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/internal/matrix"
)

const noticePath = "/_synapse/admin/v1/send_server_notice"

func (c *client) notice(to *client, text string) string {
	c.p.t.Helper()
	return c.p.want(200, "", "POST", noticePath, c.token, object{"user_id": to.user, "content": object{"msgtype": "m.text", "body": text}}).text("event_id")
}

// invitedTo lists the rooms that the user is invited to, as the database has it.
func (c *client) invitedTo() []string {
	c.p.t.Helper()
	rooms := []string{}
	list, err := c.p.store.ListMemberships(c.p.t.Context(), matrix.UserID(c.user))
	must(c.p.t, err)
	for _, m := range list {
		if m.Membership == "invite" {
			rooms = append(rooms, string(m.RoomID))
		}
	}
	return rooms
}

func TestServerNotices(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	rooms := d.configure
	d.configure = func(cfg *clientapi.Config) {
		rooms(cfg)
		cfg.ServerNotices = clientapi.ServerNoticesConfig{DisplayName: "The server", AvatarURL: "mxc://one.test/s", RoomName: "Notices"}
	}
	one, two := d.process(), d.process()
	admin, alice, other := one.admin("admin"), two.client("alice"), one.client("other")
	alice.account("m.invite_permission_config", object{"default_action": "block"}) // does not hold for the server

	// Two at once, on two processes, are two notices in one room.
	var wg sync.WaitGroup
	events := make([]string, 4)
	for i := range events {
		wg.Go(func() {
			events[i] = admin.at([]*process{one, two}[i%2]).notice(alice, fmt.Sprint("notice ", i))
		})
	}
	wg.Wait()
	invites := alice.invitedTo()
	if len(invites) != 1 {
		t.Fatalf("invited to %v", invites)
	}
	id := invites[0]
	alice.refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", "POST", room(id)+"/leave", object{})
	alice.refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", "PUT", room(id)+"/state/m.room.member/"+esc(alice.user), object{"membership": "leave"})
	alice.join(id)
	for i, event := range events {
		e := alice.event(id, event)
		if e["type"] != "m.room.message" || e["sender"] != "@_server:one.test" || e.inner("content")["body"] != fmt.Sprint("notice ", i) {
			t.Errorf("notice: %v", e)
		}
	}
	if got := alice.state(id, "m.room.name", "").text("name"); got != "Notices" {
		t.Errorf("the room is called %q", got)
	}
	if tags := alice.ok("GET", "/user/"+esc(alice.user)+"/rooms/"+esc(id)+"/tags", nil).inner("tags"); tags["m.server_notice"] == nil {
		t.Errorf("tags: %v", tags)
	}
	alice.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/send/m.room.message/x", object{"body": "x"})
	alice.refused(403, "M_FORBIDDEN", "POST", room(id)+"/invite", object{"user_id": other.user})

	// Who was there may leave, and is asked into the same room again.
	alice.leave(id)
	admin.notice(alice, "come back")
	same(t, "after leaving", alice.invitedTo(), []string{id})

	once := func(admin *client) string {
		return one.want(200, "", "PUT", noticePath+"/txn1", admin.token, object{
			"user_id": alice.user, "type": "org.example", "state_key": "k", "content": object{"a": 1}}).text("event_id")
	}
	if first, second := once(admin), once(admin.at(two)); first != second || first == "" {
		t.Errorf("a repeated notice is %s, not %s", second, first)
	}
	// Nobody finds the sender, or is it.
	same(t, "people", alice.people("server"), []string{})
	two.want(403, "M_FORBIDDEN", "POST", "/_matrix/client/v3/login", "", loginBody("_server", "", nil))

	body := object{"user_id": alice.user, "content": object{}}
	one.want(403, "M_FORBIDDEN", "POST", noticePath, other.token, body)
	one.want(403, "M_FORBIDDEN", "POST", noticePath, other.token, nil)
	one.want(403, "M_FORBIDDEN", "PUT", noticePath+"/x", other.token, body)
	stranger := d.otherOrganisation(one, "stranger")
	for _, bad := range []struct {
		status int
		code   string
		body   any
	}{
		{400, "M_MISSING_PARAM", nil}, {400, "M_MISSING_PARAM", object{"user_id": alice.user}}, {400, "M_MISSING_PARAM", object{"content": object{}}},
		{400, "M_INVALID_PARAM", object{"user_id": "alice", "content": object{}}}, {400, "M_BAD_JSON", object{"user_id": alice.user, "content": "x"}},
		{400, "M_BAD_JSON", object{"user_id": 1, "content": object{}}}, {404, "M_NOT_FOUND", object{"user_id": "@nobody:one.test", "content": object{}}},
		{404, "M_NOT_FOUND", object{"user_id": stranger.user, "content": object{}}}, {404, "M_NOT_FOUND", object{"user_id": "@_server:one.test", "content": object{}}},
		{400, "M_INVALID_PARAM", object{"user_id": alice.user, "type": "m.room.create", "content": object{}}},
	} {
		one.want(bad.status, bad.code, "POST", noticePath, admin.token, bad.body)
	}
}
