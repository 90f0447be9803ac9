package clientapi_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestAliasesLeadToTheirRooms(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	id := alice.create(object{"preset": "public_chat"})
	other := bob.create(object{})
	path := func(name string) string { return "/directory/room/" + esc("#"+name+":one.test") }

	bob.refused(403, "M_FORBIDDEN", "PUT", path("a"), object{"room_id": id})
	alice.ok("PUT", path("a"), object{"room_id": id})
	alice.ok("PUT", path("ünïcode / slash"), object{"room_id": id})
	alice.refused(409, "M_UNKNOWN", "PUT", path("a"), object{"room_id": id})
	bob.refused(409, "M_UNKNOWN", "PUT", path("a"), object{"room_id": other})
	alice.refused(400, "M_INVALID_PARAM", "PUT", "/directory/room/"+esc("#a:elsewhere.test"), object{"room_id": id})
	alice.ok("PUT", "/directory/room/"+esc("#a:two.test"), object{"room_id": id}) // the same organisation's
	theirs := d.otherOrganisation(p, "dora")
	their := theirs.create(object{})
	theirs.refused(400, "M_INVALID_PARAM", "PUT", "/directory/room/"+esc("#b:two.test"), object{"room_id": their})

	theirs.refused(404, "M_NOT_FOUND", "GET", path("a"), nil)
	theirs.refused(404, "M_NOT_FOUND", "POST", "/join/"+esc("#a:one.test"), object{})
	theirs.refused(404, "M_NOT_FOUND", "DELETE", path("a"), nil)
	(&client{p: p}).refused(401, "M_MISSING_TOKEN", "GET", path("a"), nil)
	for _, name := range []string{"a", "ünïcode / slash"} {
		got := carol.ok("GET", path(name), nil) // anybody of the organisation may ask
		if got.text("room_id") != id || fmt.Sprint(got["servers"]) != "[one.test]" {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := bob.ok("POST", "/join/"+esc("#a:one.test")+"?server_name=one.test", object{}).text("room_id"); got != id {
		t.Errorf("joined %s", got)
	}
	if got := len(bob.ok("GET", room(id)+"/aliases", nil)["aliases"].([]any)); got != 3 {
		t.Errorf("%d aliases; want 3", got)
	}
	carol.refused(403, "M_FORBIDDEN", "GET", room(id)+"/aliases", nil)
	alice.set(id, "m.room.history_visibility", "", object{"history_visibility": "world_readable"})
	carol.ok("GET", room(id)+"/aliases", nil)

	alice.set(id, "m.room.canonical_alias", "", object{"alias": "#a:one.test", "alt_aliases": []string{"#a:one.test", "#a:two.test"}, "org.example": 1})
	bob.refused(403, "M_FORBIDDEN", "DELETE", path("a"), nil)
	carol.refused(403, "M_FORBIDDEN", "DELETE", path("a"), nil)
	alice.ok("DELETE", path("a"), nil)
	alice.refused(404, "M_NOT_FOUND", "GET", path("a"), nil)
	if got := alice.state(id, "m.room.canonical_alias", ""); fmt.Sprint(got) != "map[alt_aliases:[#a:two.test] org.example:1]" {
		t.Errorf("canonical alias after the deletion: %v", got)
	}
	// What is in the event already is not looked at again, what is new is.
	alice.ok("DELETE", "/directory/room/"+esc("#a:two.test"), nil)
	alice.set(id, "m.room.canonical_alias", "", object{"alias": "#ünïcode / slash:one.test"})
	alice.refused(400, "M_BAD_ALIAS", "PUT", room(id)+"/state/m.room.canonical_alias", object{"alias": "#a:one.test"})

	// Its creator may delete an alias from outside of the room; the room's event stays.
	bob.ok("PUT", path("bobs"), object{"room_id": id})
	alice.set(id, "m.room.canonical_alias", "", object{"alias": "#bobs:one.test"})
	bob.leave(id)
	bob.ok("DELETE", path("bobs"), nil)
	if got := alice.state(id, "m.room.canonical_alias", "").text("alias"); got != "#bobs:one.test" {
		t.Errorf("canonical alias %q was changed by who may not", got)
	}
	// Who may change the canonical alias may delete what others made.
	bob.join(id)
	bob.ok("PUT", path("bobs"), object{"room_id": id})
	alice.ok("DELETE", path("bobs"), nil)
}

func TestOneOfManyGetsTheAlias(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice := one.client("alice")
	var rooms []string
	for range 8 {
		rooms = append(rooms, alice.create(object{}))
	}
	var won atomic.Int64
	var winner atomic.Value
	var wg sync.WaitGroup
	for i, id := range rooms {
		c := alice
		if i%2 == 1 {
			c = alice.at(two)
		}
		wg.Go(func() {
			if status, _ := c.do("PUT", "/directory/room/"+esc("#race:one.test"), object{"room_id": id}); status == 200 {
				won.Add(1)
				winner.Store(id)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d requests got the alias", won.Load())
	}
	if got := alice.at(two).ok("GET", "/directory/room/"+esc("#race:one.test"), nil).text("room_id"); got != winner.Load() {
		t.Errorf("the alias leads to %s; want %s", got, winner.Load())
	}
}
