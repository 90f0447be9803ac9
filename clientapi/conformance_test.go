package clientapi_test

import (
	"fmt"
	"testing"
)

// Tests of what the public suites ask for and the spec leaves open or says in passing.

func TestJoinedMembersWithoutAProfileHaveNulls(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	id := alice.create(object{})
	member := object(alice.ok("GET", room(id)+"/joined_members", nil).inner("joined")).inner(alice.user)
	if avatar, there := member["avatar_url"]; !there || avatar != nil || member["display_name"] != "Name of alice" {
		t.Errorf("member: %v", member)
	}
}

func TestMembersBeforeTheRoomBeganAreThoseItBeganWith(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	alice.say(id, "hello")
	bob.join(id)
	for _, c := range []*client{alice, bob} {
		same(t, "at the beginning", c.ok("GET", room(id)+"/members?at=s0", nil).names("chunk", "state_key"), []string{alice.user})
	}
	same(t, "now", alice.ok("GET", room(id)+"/members", nil).names("chunk", "state_key"), []string{alice.user, bob.user})
}

func TestWhoHasNoPartInARoomIsToldSoFirst(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	bob.join(id)
	alice.leave(id)
	alice.refused(400, "M_MISSING_PARAM", "GET", room(id)+"/messages", nil)
	alice.ok("POST", room(id)+"/forget", nil)
	alice.refused(403, "M_FORBIDDEN", "GET", room(id)+"/messages", nil)
	alice.refused(403, "M_FORBIDDEN", "GET", room(id)+"/members?at=nonsense", nil)
	bob.refused(400, "M_INVALID_PARAM", "GET", room(id)+"/members?at=nonsense", nil)
}

func TestCreatorsHaveNoPowerLevels(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	levels := func(c *client) object { return object{"users": object{c.user: 100}} }
	for _, creator := range []*client{alice, bob} {
		alice.refused(400, "M_INVALID_PARAM", "POST", "/createRoom", object{
			"creation_content": object{"additional_creators": []string{bob.user}}, "power_level_content_override": levels(creator)})
	}
	alice.refused(400, "M_INVALID_PARAM", "POST", "/createRoom", object{
		"preset": "trusted_private_chat", "invite": []string{bob.user}, "power_level_content_override": levels(bob)})
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("@c%d:one.test", i))
	}
	alice.refused(400, "M_INVALID_PARAM", "POST", "/createRoom", object{"creation_content": object{"additional_creators": many}})
	id := alice.create(object{"preset": "public_chat", "creation_content": object{"additional_creators": []string{bob.user}}})
	for _, creator := range []*client{alice, bob} {
		alice.refused(400, "M_INVALID_PARAM", "PUT", room(id)+"/state/m.room.power_levels", levels(creator))
	}
	carol.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/state/m.room.power_levels", levels(alice))
	alice.set(id, "m.room.power_levels", "", levels(carol))
}

func TestTheFirstPathsOfTheSpecStillWork(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	id := p.want(200, "", "POST", "/_matrix/client/r0/createRoom", alice.token, object{"name": "Old"}).text("room_id")
	if got := p.want(200, "", "GET", "/_matrix/client/r0"+room(id)+"/state/m.room.name", alice.token, nil).text("name"); got != "Old" {
		t.Errorf("name: %q", got)
	}
	p.want(200, "", "GET", "/_matrix/client/r0/login", "", nil)
	p.want(404, "M_UNRECOGNIZED", "GET", "/_matrix/client/r0/unknown", alice.token, nil)
	p.want(405, "M_UNRECOGNIZED", "PUT", "/_matrix/client/r0/login", "", nil)
	p.want(404, "M_UNRECOGNIZED", "GET", "/_matrix/client/r1/login", "", nil)
	for _, prefix := range []string{"", "/client", "/client/v1", "/key", "/key/v2", "/media", "/media/v3", "/federation", "/federation/v1"} {
		p.want(404, "M_UNRECOGNIZED", "GET", "/_matrix"+prefix+"/unknown", "", nil)
	}
}
