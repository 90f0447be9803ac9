package clientapi_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/store/storetest"
)

// upgrade asks for a room of another version.
func (c *client) upgrade(id, version string, creators ...string) string {
	c.p.t.Helper()
	body := object{"new_version": version}
	if creators != nil {
		body["additional_creators"] = creators
	}
	return c.ok("POST", room(id)+"/upgrade", body).text("replacement_room")
}

func TestUpgradedRoomTakesOverWhatTheOldOneHad(t *testing.T) {
	t.Parallel()
	for _, versions := range [][2]string{{"1", "12"}, {"9", "11"}, {"11", "12"}, {"12", "11"}, {"12", "12"}} {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			t.Parallel()
			p := newDeployment(t).process()
			p.tidy()
			alice, bob, carol, dave := p.client("alice"), p.client("bob"), p.client("carol"), p.client("dave")
			parent := alice.create(object{"preset": "public_chat", "creation_content": object{"type": "m.space"}})
			id := alice.create(object{
				"room_version": versions[0], "preset": "public_chat", "visibility": "public", "room_alias_name": "pub", "name": "The Pub",
				"topic": "Beer", "creation_content": object{"type": "org.example.pub", "m.federate": false, "org.example": 1},
				"initial_state": []object{
					{"type": "m.room.encryption", "content": object{"algorithm": "m.megolm.v1.aes-sha2"}},
					{"type": "m.room.avatar", "content": object{"url": "mxc://one.test/a"}},
					{"type": "m.room.server_acl", "content": object{"allow": []string{"*"}}},
					{"type": "m.room.history_visibility", "content": object{"history_visibility": "invited"}},
					{"type": "m.room.guest_access", "content": object{"guest_access": "can_join"}},
					{"type": "m.space.parent", "state_key": parent, "content": object{"via": []string{"one.test"}}},
					{"type": "org.example", "content": object{"a": 1}},
				},
			})
			alice.child(parent, id, object{"order": "b", "suggested": true})
			alice.ok("PUT", "/directory/room/"+esc("#other:one.test"), object{"room_id": id})
			bob.join(id)
			carol.join(id)
			levels := alice.state(id, "m.room.power_levels", "")
			users := levels.inner("users")
			users[bob.user] = 60
			levels["ban"] = 55
			alice.set(id, "m.room.power_levels", "", levels)
			alice.ok("POST", room(id)+"/ban", object{"user_id": dave.user, "reason": "rude"})

			next := alice.upgrade(id, versions[1])
			for _, want := range []struct{ eventType, key, field, value string }{
				{"m.room.create", "", "room_version", versions[1]}, {"m.room.create", "", "type", "org.example.pub"},
				{"m.room.create", "", "m.federate", "false"}, {"m.room.create", "", "org.example", "<nil>"},
				{"m.room.encryption", "", "algorithm", "m.megolm.v1.aes-sha2"}, {"m.room.avatar", "", "url", "mxc://one.test/a"},
				{"m.room.name", "", "name", "The Pub"}, {"m.room.topic", "", "topic", "Beer"}, {"m.room.server_acl", "", "allow", "[*]"},
				{"m.room.history_visibility", "", "history_visibility", "invited"}, {"m.room.guest_access", "", "guest_access", "can_join"},
				{"m.room.join_rules", "", "join_rule", "public"}, {"m.room.canonical_alias", "", "alias", "#pub:one.test"},
				{"m.room.member", alice.user, "membership", "join"}, {"m.room.member", dave.user, "membership", "ban"},
				{"m.room.member", dave.user, "reason", "rude"}, {"m.space.parent", parent, "via", "[one.test]"},
				{"m.room.power_levels", "", "ban", "55"},
			} {
				if got := fmt.Sprint(alice.state(next, want.eventType, want.key)[want.field]); got != want.value {
					t.Errorf("%s %s is %s; want %s", want.eventType, want.field, got, want.value)
				}
			}
			for _, gone := range []struct{ eventType, key string }{{"org.example", ""}, {"m.room.member", bob.user}, {"m.room.tombstone", ""}} {
				if got := alice.state(next, gone.eventType, gone.key); got != nil {
					t.Errorf("%s %s was copied: %v", gone.eventType, gone.key, got)
				}
			}
			newUsers := alice.state(next, "m.room.power_levels", "").inner("users")
			if newUsers[bob.user] != 60.0 || (newUsers[alice.user] == nil) != (versions[1] == "12") {
				t.Errorf("users of the new room: %v", newUsers)
			}
			predecessor := alice.state(next, "m.room.create", "").inner("predecessor")
			tombstone := alice.ok("GET", room(id)+"/state/m.room.tombstone/?format=event", nil)
			if predecessor["room_id"] != id || (versions[1] == "12") != (predecessor["event_id"] == nil) ||
				versions[1] != "12" && predecessor["event_id"] != tombstone["event_id"] || tombstone.inner("content")["replacement_room"] != next {
				t.Errorf("predecessor %v, tombstone %v", predecessor, tombstone)
			}

			// The old room is quiet.
			bob.ok("GET", room(id)+"/state/m.room.tombstone/", nil)
			carol.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/send/m.room.message/x", object{"body": "x"})
			carol.refused(403, "M_FORBIDDEN", "POST", room(id)+"/invite", object{"user_id": dave.user})
			if alias := alice.state(id, "m.room.canonical_alias", ""); len(alias) != 0 {
				t.Errorf("the old room's alias: %v", alias)
			}
			for _, alias := range []string{"#pub:one.test", "#other:one.test"} {
				if got := carol.ok("GET", "/directory/room/"+esc(alias), nil).text("room_id"); got != next {
					t.Errorf("%s leads to %s", alias, got)
				}
			}
			same(t, "the directory", carol.found(object{}), []string{next})
			if link := alice.state(parent, "m.space.child", next); link["order"] != "b" || link["suggested"] != true || link["via"] == nil {
				t.Errorf("the space's link to the new room: %v", link)
			}
			if link := alice.state(parent, "m.space.child", id); len(link) != 0 {
				t.Errorf("the space's link to the old room: %v", link)
			}
			carol.join(next)
			dave.refused(403, "M_FORBIDDEN", "POST", room(next)+"/join", object{})
			if again := alice.upgrade(id, versions[1]); again != next {
				t.Errorf("the same request again made %s, not %s", again, next)
			}
		})
	}
}

func TestUpgradeKeepsCreatorsOutOfPowerLevels(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	for _, tc := range []struct {
		from     string
		levels   object
		by       *client
		creators []string
		users    object
	}{
		{"11", object{alice.user: 100, bob.user: 100}, bob, nil, object{alice.user: 100.0}},
		{"11", object{alice.user: 100, bob.user: 100, carol.user: 50}, alice, []string{bob.user, bob.user, alice.user}, object{carol.user: 50.0}},
		{"12", object{bob.user: 150, carol.user: 50}, bob, []string{carol.user}, object{}},
	} {
		id := alice.create(object{"room_version": tc.from, "preset": "public_chat"})
		bob.join(id)
		carol.join(id)
		alice.set(id, "m.room.power_levels", "", object{"users": tc.levels, "events": object{"m.room.tombstone": 100}})
		next := tc.by.upgrade(id, "12", tc.creators...)
		if got := tc.by.state(next, "m.room.power_levels", "").inner("users"); fmt.Sprint(got) != fmt.Sprint(tc.users) {
			t.Errorf("users %v; want %v", got, tc.users)
		}
		var want any
		if tc.creators != nil {
			want = tc.creators[:1]
		}
		if got := tc.by.state(next, "m.room.create", "")["additional_creators"]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("additional_creators %v; want %v", got, want)
		}
	}
	// A version without creators of that kind names those who were.
	id := alice.create(object{"preset": "public_chat", "creation_content": object{"additional_creators": []string{bob.user}}})
	next := alice.upgrade(id, "11", carol.user)
	users := alice.state(next, "m.room.power_levels", "").inner("users")
	if users[alice.user] != 150.0 || users[bob.user] != 150.0 || users[carol.user] != nil || alice.state(next, "m.room.create", "")["additional_creators"] != nil {
		t.Errorf("users %v", users)
	}
}

func TestUpgradesThatAreRefused(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	id := alice.create(object{"preset": "public_chat", "room_version": "11"})
	bob.join(id)
	path := room(id) + "/upgrade"
	for _, bad := range []struct{ code, body string }{
		{"M_MISSING_PARAM", `{}`}, {"M_NOT_JSON", ``}, {"M_BAD_JSON", `{"new_version":12}`}, {"M_UNSUPPORTED_ROOM_VERSION", `{"new_version":"99"}`},
		{"M_UNSUPPORTED_ROOM_VERSION", `{"new_version":""}`}, {"M_BAD_JSON", `{"new_version":"12","additional_creators":"@a:b"}`},
		{"M_INVALID_PARAM", `{"new_version":"12","additional_creators":["bob"]}`},
	} {
		alice.refused(400, bad.code, "POST", path, bad.body)
	}
	body := object{"new_version": "12"}
	bob.refused(403, "M_FORBIDDEN", "POST", path, body)
	carol.refused(403, "M_FORBIDDEN", "POST", path, body)
	carol.refused(403, "M_FORBIDDEN", "POST", room("!nowhere:one.test")+"/upgrade", body)
	if alice.state(id, "m.room.tombstone", "") != nil || len(alice.ok("GET", "/joined_rooms", nil)["joined_rooms"].([]any)) != 1 {
		t.Error("a refused upgrade left something")
	}
	// Who may end the room but not change its power levels can upgrade it; the old room stays as loud as it was.
	alice.set(id, "m.room.power_levels", "", object{"users": object{alice.user: 100, bob.user: 50}, "events": object{"m.room.power_levels": 100}})
	next := bob.upgrade(id, "11")
	if users := bob.state(next, "m.room.power_levels", "").inner("users"); users[alice.user] != 100.0 {
		t.Errorf("users %v", users)
	}
	if levels := bob.state(id, "m.room.power_levels", ""); levels["events_default"] != nil {
		t.Errorf("levels of the old room: %v", levels)
	}
}

func TestRestrictionsThatAVersionDoesNotKnowBecomeInvites(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	for _, tc := range []struct{ rule, version, want string }{
		{"knock", "6", "invite"}, {"restricted", "7", "invite"}, {"knock_restricted", "9", "restricted"}, {"knock_restricted", "11", "knock_restricted"},
	} {
		id := alice.create(object{"initial_state": []object{{"type": "m.room.join_rules", "content": object{"join_rule": tc.rule, "allow": []any{}}}}})
		if got := alice.state(alice.upgrade(id, tc.version), "m.room.join_rules", "").text("join_rule"); got != tc.want {
			t.Errorf("%s in version %s: %s; want %s", tc.rule, tc.version, got, tc.want)
		}
	}
}

// TestUpgradesAtOnce asks on two processes, while others talk: one new room comes of the same request.
func TestUpgradesAtOnce(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	processes := []*process{d.process(), d.process()}
	alice, bob := processes[0].client("alice"), processes[1].client("bob")
	id := alice.create(object{"preset": "public_chat", "room_version": "11"})
	bob.join(id)
	made := make([]string, 6)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			_, answer := alice.at(processes[i%2]).do("POST", room(id)+"/upgrade", object{"new_version": "12"})
			made[i] = object(answer.(map[string]any)).text("replacement_room")
		})
		wg.Go(func() { bob.do("PUT", room(id)+fmt.Sprintf("/send/m.room.message/t%d", i), object{"body": "x"}) })
	}
	wg.Wait()
	if slices.Sort(made); made[0] == "" || made[0] != made[5] {
		t.Errorf("made %v", made)
	}
	bob.join(made[0])
	alice.say(made[0], "welcome")
}

func TestManyBansAreTakenOver(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice := p.client("alice")
	id := alice.create(object{"room_version": "11"})
	db := storetest.DB(t, d.dsn)
	// As many members as would take a minute to ban over HTTP; of the events only what is read is true.
	ban := alice.ok("PUT", room(id)+"/state/m.room.member/"+esc("@troll:elsewhere.test"), object{"membership": "ban", "reason": "spam"}).text("event_id")
	_, err := db.Exec(`
		WITH clock AS (UPDATE clock SET position = position + 1200 RETURNING position - 1200 AS base),
		source AS (SELECT e.*, base FROM events e, clock WHERE e.event_id = $1),
		copies AS (
			INSERT INTO events (position, room_nid, event_id, type, state_key, sender, origin_server_ts, depth, json)
			SELECT base + n, room_nid, '$copy' || n, type, '@troll' || lpad(n::text, 4, '0') || ':elsewhere.test', sender, origin_server_ts, depth, json
			FROM source, generate_series(1, 1200) n
			RETURNING position, room_nid, state_key, sender
		)
		INSERT INTO memberships (user_id, room_nid, membership, sender, position)
		SELECT state_key, room_nid, 'ban', sender, position FROM copies`, ban)
	must(t, err)
	next := alice.upgrade(id, "12")
	banned := alice.ok("GET", room(next)+"/members?membership=ban", nil).list("chunk")
	if len(banned) != 1201 {
		t.Errorf("%d bans; want 1201", len(banned))
	}
}

func TestSettingsGoWithTheUserIntoTheNewRoom(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat", "room_version": "11"})
	bob.join(id)
	tags := func(c *client, id string) string { return "/user/" + esc(c.user) + "/rooms/" + esc(id) + "/tags" }
	direct := "/user/" + esc(bob.user) + "/account_data/m.direct"
	bob.ok("PUT", tags(bob, id)+"/m.favourite", object{"order": 0.5})
	alice.ok("PUT", tags(alice, id)+"/u.work", object{})
	bob.ok("PUT", direct, object{alice.user: []string{id, "!other:one.test"}, "@x:one.test": []string{"!y:one.test"}})
	rule := func(id string) string { return "/pushrules/global/room/" + esc(id) }
	bob.ok("PUT", rule(id), object{"actions": []string{}})
	next := alice.upgrade(id, "12")
	bob.refused(404, "M_NOT_FOUND", "GET", rule(next), nil)
	bob.join(next)
	bob.ok("GET", rule(next), nil)
	for c, tag := range map[*client]string{alice: "u.work", bob: "m.favourite"} {
		if got := c.ok("GET", tags(c, next), nil).inner("tags"); len(got) != 1 || got[tag] == nil {
			t.Errorf("tags of %s: %v", c.user, got)
		}
	}
	got := bob.ok("GET", direct, nil)
	if fmt.Sprint(got[alice.user]) != fmt.Sprint([]string{id, "!other:one.test", next}) || len(got) != 2 {
		t.Errorf("m.direct: %v", got)
	}
	// A room that only claims to be the next one gets nothing.
	fake := alice.create(object{"preset": "public_chat", "creation_content": object{"predecessor": object{"room_id": id}}})
	bob.join(fake)
	if got := bob.ok("GET", tags(bob, fake), nil).inner("tags"); len(got) != 0 {
		t.Errorf("tags of a room that claims to be the next: %v", got)
	}
}

func TestSettingsGoIntoARoomThatReplacesAnotherByHand(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	id := alice.create(object{"preset": "public_chat", "room_version": "10"})
	next := alice.create(object{"preset": "public_chat", "creation_content": object{"predecessor": object{"room_id": id}}})
	rule := func(id string) string { return "/pushrules/global/room/" + esc(id) }
	for _, c := range []*client{bob, carol} {
		c.join(id)
	}
	for _, c := range []*client{alice, bob, carol} {
		c.ok("PUT", rule(id), object{"actions": []string{}})
	}
	bob.join(next)
	bob.refused(404, "M_NOT_FOUND", "GET", rule(next), nil) // the old room does not say so yet
	alice.set(id, "m.room.tombstone", "", object{"body": "moved", "replacement_room": next})
	for _, c := range []*client{alice, bob} {
		c.ok("GET", rule(next), nil)
	}
	carol.refused(404, "M_NOT_FOUND", "GET", rule(next), nil)
	carol.join(next)
	carol.ok("GET", rule(next), nil)
	// Neither a room that is not there nor one that knows nothing of it is in the way of a tombstone.
	for _, elsewhere := range []any{"!nowhere:one.test", alice.create(object{}), 5} {
		old := alice.create(object{})
		alice.set(old, "m.room.tombstone", "", object{"replacement_room": elsewhere})
	}
}
