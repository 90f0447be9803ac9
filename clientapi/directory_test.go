package clientapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

const v1 = "/_matrix/client/v1"

// names lists one field of the objects of a list.
func (o object) names(list, field string) []string {
	names := []string{}
	for _, e := range o.list(list) {
		names = append(names, e.text(field))
	}
	return names
}

// found searches the room directory.
func (c *client) found(body object) []string {
	c.p.t.Helper()
	return c.ok("POST", "/publicRooms", body).names("chunk", "room_id")
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v; want %v", what, got, want)
	}
}

func TestPublishedRoomsAreFound(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	one.tidy()
	two.tidy()
	alice, bob := one.client("alice"), two.client("bob")
	small := alice.create(object{"visibility": "public", "name": "Crêperie", "topic": "Galettes de Bretagne", "room_alias_name": "creperie",
		"initial_state": []object{{"type": "m.room.avatar", "content": object{"url": "mxc://one.test/a"}}}})
	space := alice.create(object{"visibility": "public", "name": "Town", "creation_content": object{"type": "m.space"}})
	alice.create(object{"preset": "public_chat", "name": "Crêperie hidden"})
	bob.join(space)
	hstest.Eventually(t, "the larger room comes first", func() bool { return slices.Equal(bob.found(object{}), []string{space, small}) })
	page := bob.ok("GET", "/publicRooms", nil)
	if page["total_room_count_estimate"] != 2.0 || page["next_batch"] != nil || page["prev_batch"] != nil {
		t.Errorf("the only page: %v", page)
	}
	entry := page.list("chunk")[1]
	for key, want := range map[string]any{
		"room_id": small, "name": "Crêperie", "topic": "Galettes de Bretagne", "canonical_alias": "#creperie:one.test", "avatar_url": "mxc://one.test/a",
		"join_rule": "public", "num_joined_members": 1.0, "world_readable": false, "guest_can_join": false,
	} {
		if entry[key] != want {
			t.Errorf("%s is %v; want %v", key, entry[key], want)
		}
	}
	term := func(s string) []string { return bob.found(object{"filter": object{"generic_search_term": s}}) }
	same(t, "CREPERIE", term("CREPERIE"), []string{small})
	same(t, "crê gal", term("crê gal"), []string{small})
	same(t, "alias", term("#creperie"), []string{small})
	same(t, "perie", term("perie"), []string{})
	same(t, "quotes", term("'); DROP"), []string{})
	same(t, "no letters", term("!?"), []string{space, small})
	types := func(list ...any) []string { return bob.found(object{"filter": object{"room_types": list}}) }
	same(t, "spaces", types("m.space"), []string{space})
	same(t, "rooms without a type", types(nil), []string{small})
	same(t, "both", types(nil, "m.space"), []string{space, small})
	same(t, "another type", types("org.example"), []string{})

	// What changes in a room is found on whichever process.
	alice.set(small, "m.room.name", "", object{"name": "Bakery"})
	hstest.Eventually(t, "the new name is found", func() bool { return slices.Equal(term("bakery"), []string{small}) })
	same(t, "the old name", term("creperie galettes bakery"), []string{small}) // the alias still has it
}

func TestRoomsAreListedPageByPage(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bob := one.client("alice"), two.client("bob")
	var all []string
	for i := range 5 {
		all = append(all, alice.create(object{"visibility": "public", "name": fmt.Sprintf("Room %d", i)}))
	}
	for limit := 1; limit <= 5; limit++ {
		var seen []string
		since := ""
		var last object
		for pages := 0; ; pages++ {
			if pages > 5 {
				t.Fatal("the pages do not end")
			}
			c := []*client{alice, bob}[pages%2]
			last = c.ok("GET", fmt.Sprintf("/publicRooms?limit=%d&since=%s", limit, since), nil)
			if (last["prev_batch"] != nil) != (pages > 0) {
				t.Errorf("limit %d, page %d: prev_batch %v", limit, pages, last["prev_batch"])
			}
			seen = append(seen, last.names("chunk", "room_id")...)
			if since = last.text("next_batch"); since == "" {
				break
			}
		}
		same(t, fmt.Sprintf("by pages of %d", limit), seen, all)
		back := last.names("chunk", "room_id")
		for since = last.text("prev_batch"); since != ""; since = last.text("prev_batch") {
			last = bob.ok("GET", fmt.Sprintf("/publicRooms?limit=%d&since=%s", limit, since), nil)
			back = append(last.names("chunk", "room_id"), back...)
			if last["next_batch"] == nil {
				t.Errorf("limit %d: the page before the last has no next_batch", limit)
			}
		}
		same(t, fmt.Sprintf("backwards by pages of %d", limit), back, all)
	}
	if page := alice.ok("GET", "/publicRooms?limit=0", nil); len(page.list("chunk")) != 0 || page["total_room_count_estimate"] != 5.0 {
		t.Errorf("limit 0: %v", page)
	}
}

func TestWhoMayPublishARoom(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	stranger := d.otherOrganisation(p, "stranger")
	id := alice.create(object{"preset": "public_chat", "name": "Pub"})
	bob.join(id)
	entry, nowhere := "/directory/list/room/"+esc(id), "/directory/list/room/"+esc("!nowhere:one.test")
	public := object{"visibility": "public"}
	bob.refused(403, "M_FORBIDDEN", "PUT", entry, public)
	for _, c := range []*client{carol, stranger} {
		c.refused(404, "M_NOT_FOUND", "PUT", entry, public)
		c.refused(404, "M_NOT_FOUND", "PUT", nowhere, public)
		c.refused(404, "M_NOT_FOUND", "GET", entry, nil)
		c.refused(404, "M_NOT_FOUND", "GET", nowhere, nil)
	}
	for _, bad := range []string{`{"visibility":"secret"}`, `{"visibility":""}`} {
		alice.refused(400, "M_INVALID_PARAM", "PUT", entry, bad)
	}
	alice.refused(400, "M_BAD_JSON", "PUT", entry, `{"visibility":1}`)
	if got := alice.ok("GET", entry, nil).text("visibility"); got != "private" {
		t.Errorf("at first: %s", got)
	}
	alice.ok("PUT", entry, public)
	alice.ok("PUT", entry, object{}) // public is the default, and twice is once
	for _, c := range []*client{alice, carol} {
		if got := c.ok("GET", entry, nil).text("visibility"); got != "public" {
			t.Errorf("then: %s", got)
		}
	}
	same(t, "own organisation", carol.found(object{}), []string{id})
	same(t, "another organisation", stranger.found(object{}), []string{})
	stranger.refused(404, "M_NOT_FOUND", "GET", entry, nil)
	alice.ok("PUT", entry, object{"visibility": "private"})
	same(t, "taken out", carol.found(object{}), []string{})

	for _, bad := range []struct {
		status             int
		code, method, path string
		body               any
	}{
		{400, "M_INVALID_PARAM", "GET", "?limit=-1", nil},
		{400, "M_INVALID_PARAM", "GET", "?limit=x", nil},
		{400, "M_INVALID_PARAM", "GET", "?since=x", nil},
		{400, "M_INVALID_PARAM", "GET", "?since=n1", nil},
		{400, "M_INVALID_PARAM", "GET", "?since=n-1.2", nil},
		{400, "M_INVALID_PARAM", "GET", "?since=n99999999999.2", nil},
		{404, "M_NOT_FOUND", "GET", "?server=elsewhere.test", nil},
		{400, "M_INVALID_PARAM", "GET", "?server=%20", nil},
		{400, "M_INVALID_PARAM", "POST", "", object{"limit": -1}},
		{400, "M_BAD_JSON", "POST", "", object{"limit": "1"}},
		{400, "M_BAD_JSON", "POST", "", object{"filter": 1}},
		{400, "M_BAD_JSON", "POST", "", object{"filter": object{"room_types": "m.space"}}},
		{400, "M_INVALID_PARAM", "POST", "", object{"filter": object{"generic_search_term": strings.Repeat("a", 1000)}}},
	} {
		alice.refused(bad.status, bad.code, bad.method, "/publicRooms"+bad.path, bad.body)
	}
	alice.ok("GET", "/publicRooms?server=two.test", nil) // the same organisation's
	p.want(401, "M_MISSING_TOKEN", "GET", "/_matrix/client/v3/publicRooms", "", nil)
	p.want(401, "M_MISSING_TOKEN", "GET", "/_matrix/client/v3"+entry, "", nil)
}

func TestRoomSummaries(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, bob := p.client("alice"), p.client("bob")
	stranger := d.otherOrganisation(p, "stranger")
	open := alice.create(object{"preset": "public_chat", "name": "Open", "room_alias_name": "open", "room_version": "10",
		"initial_state": []object{{"type": "m.room.encryption", "content": object{"algorithm": "m.megolm.v1.aes-sha2"}}}})
	closed := alice.create(object{"name": "Closed", "room_alias_name": "closed"})
	restricted := alice.create(object{"initial_state": []object{{"type": "m.room.join_rules", "content": object{
		"join_rule": "restricted", "allow": []object{{"type": "m.room_membership", "room_id": open}, {"type": "org.example"}}}}}})
	world := alice.create(object{"initial_state": []object{{"type": "m.room.history_visibility", "content": object{"history_visibility": "world_readable"}}}})
	for _, prefix := range []string{v1 + "/room_summary/%s", "/_matrix/client/unstable/im.nheko.summary/summary/%s",
		"/_matrix/client/unstable/im.nheko.summary/rooms/%s/summary"} {
		get := func(c *client, room string) (int, object) {
			return p.do("GET", fmt.Sprintf(prefix, esc(room)), c.token, nil)
		}
		for _, room := range []string{open, "#open:one.test"} {
			status, answer := get(bob, room)
			for key, want := range map[string]any{"room_id": open, "name": "Open", "canonical_alias": "#open:one.test", "join_rule": "public",
				"encryption": "m.megolm.v1.aes-sha2", "room_version": "10", "membership": "leave", "num_joined_members": 1.0} {
				if status != 200 || answer[key] != want {
					t.Errorf("%s: %s is %v; want %v", prefix, key, answer[key], want)
				}
			}
		}
		if status, answer := get(&client{p: p}, open); status != 401 || answer.text("errcode") != "M_MISSING_TOKEN" {
			t.Errorf("without a token: %d %v", status, answer)
		}
		if status, answer := get(alice, closed); status != 200 || answer["membership"] != "join" {
			t.Errorf("member: %d %v", status, answer)
		}
		if status, answer := get(alice, restricted); status != 200 || fmt.Sprint(answer["allowed_room_ids"]) != fmt.Sprint([]string{open}) {
			t.Errorf("restricted: %d %v", status, answer)
		}
		if status, _ := get(bob, world); status != 200 {
			t.Errorf("world readable: %d", status)
		}
		for what, refused := range map[string][2]any{
			"closed to bob": {bob, closed}, "closed by alias": {bob, "#closed:one.test"}, "world readable to another organisation": {stranger, world},
			"restricted to bob": {bob, restricted}, "open to another organisation": {stranger, open},
			"no room": {bob, "!nowhere:one.test"}, "no alias": {bob, "#nowhere:one.test"},
		} {
			if status, answer := get(refused[0].(*client), refused[1].(string)); status != 404 || answer.text("errcode") != "M_NOT_FOUND" {
				t.Errorf("%s: %d %v", what, status, answer)
			}
		}
	}
	bob.join(open)
	summary := func(c *client, room string) string {
		_, answer := p.do("GET", v1+"/room_summary/"+esc(room), c.token, nil)
		return answer.text("membership")
	}
	if got := summary(bob, restricted); got != "leave" {
		t.Errorf("a member of the allowed room sees %q", got)
	}
	alice.invite(closed, bob)
	if got := summary(bob, closed); got != "invite" {
		t.Errorf("the invited sees %q", got)
	}
	alice.ok("POST", room(open)+"/ban", object{"user_id": bob.user})
	if got := summary(bob, open); got != "" {
		t.Errorf("the banned sees %q", got)
	}
	p.want(400, "M_INVALID_PARAM", "GET", v1+"/room_summary/x", bob.token, nil)
}

// child links a room into a space.
func (c *client) child(space, room string, more object) {
	c.p.t.Helper()
	content := object{"via": []string{"one.test"}}
	for k, v := range more {
		content[k] = v
	}
	c.set(space, "m.space.child", room, content)
}

func TestSpacesAreWalkedThrough(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bob := one.client("alice"), two.client("bob")
	space := func(preset string) string {
		return alice.create(object{"preset": preset, "creation_content": object{"type": "m.space"}})
	}
	root, sub, secret := space("public_chat"), space("public_chat"), space("private_chat")
	plain := func(preset string) string { return alice.create(object{"preset": preset}) }
	a, b, c, private, inSecret, unlinked := plain("public_chat"), plain("public_chat"), plain("public_chat"), plain("private_chat"),
		plain("public_chat"), plain("public_chat")
	members := alice.create(object{"initial_state": []object{{"type": "m.room.join_rules", "content": object{
		"join_rule": "restricted", "allow": []object{{"type": "m.room_membership", "room_id": root}}}}}})
	alice.child(root, a, object{"order": "zz", "suggested": true})
	alice.child(root, sub, object{"order": "b"})
	alice.child(root, c, object{"order": "\x01"}) // not a valid order: comes last
	alice.child(root, private, object{"order": "a"})
	alice.child(root, secret, nil)
	alice.child(root, members, object{"order": "zzz"})
	alice.child(root, "!elsewhere:elsewhere.test", nil)
	alice.set(root, "m.space.child", unlinked, object{"via": "one.test"})
	alice.set(root, "m.space.child", "not a room", object{"via": []string{"one.test"}})
	alice.child(sub, b, nil)
	alice.child(sub, root, nil) // a circle
	alice.child(sub, a, nil)
	alice.child(secret, inSecret, nil)
	alice.child(a, unlinked, nil) // a is no space

	walk := func(c *client, query string) object {
		return c.p.want(200, "", "GET", v1+room(root)+"/hierarchy?"+query, c.token, nil)
	}
	same(t, "bob", walk(bob, "").names("rooms", "room_id"), []string{root, sub, b, a, c})
	same(t, "alice", walk(alice, "").names("rooms", "room_id"), []string{root, private, sub, b, a, members, c, secret, inSecret})
	same(t, "suggested", walk(bob, "suggested_only=true").names("rooms", "room_id"), []string{root, a})
	same(t, "depth 0", walk(bob, "max_depth=0").names("rooms", "room_id"), []string{root})
	flat := walk(bob, "max_depth=1")
	same(t, "depth 1", flat.names("rooms", "room_id"), []string{root, sub, a, c})
	same(t, "links of the sub-space", flat.list("rooms")[1].names("children_state", "state_key"), []string{b, root, a})
	first := flat.list("rooms")[0]
	if first["room_type"] != "m.space" || first["room_version"] != "12" || len(first.list("children_state")) != 7 {
		t.Errorf("the space: %v", first)
	}
	for key, want := range map[string]any{"type": "m.space.child", "state_key": private, "sender": alice.user} {
		if got := first.list("children_state")[0]; got[key] != want || len(got) != 5 || got["origin_server_ts"] == nil {
			t.Errorf("first child: %v", got)
		}
	}
	bob.join(root)
	same(t, "a member", walk(bob, "").names("rooms", "room_id"), []string{root, sub, b, a, members, c})

	// Page by page, with a process that dies in between.
	var seen []string
	from := ""
	for pages := 0; ; pages++ {
		p := []*process{one, two}[pages%2]
		page := walk(bob.at(p), "limit=2&from="+from)
		seen = append(seen, page.names("rooms", "room_id")...)
		again := walk(bob.at(p), "limit=2&from="+from)
		same(t, "the same page again", again.names("rooms", "room_id"), page.names("rooms", "room_id"))
		if from = page.text("next_batch"); from == "" || pages > 5 {
			break
		}
	}
	same(t, "by pages", seen, []string{root, sub, b, a, members, c})

	token := walk(bob, "limit=1&max_depth=3").text("next_batch")
	hierarchy := v1 + room(root) + "/hierarchy"
	for _, bad := range []string{"limit=0", "limit=x", "max_depth=-1", "suggested_only=maybe", "from=nonsense",
		"max_depth=2&from=" + token, "suggested_only=true&from=" + token} {
		one.want(400, "M_INVALID_PARAM", "GET", hierarchy+"?"+bad, bob.token, nil)
	}
	one.want(400, "M_INVALID_PARAM", "GET", hierarchy+"?from="+token, alice.token, nil)
	one.want(400, "M_INVALID_PARAM", "GET", v1+room(sub)+"/hierarchy?from="+token, bob.token, nil)
	for _, id := range []string{secret, private, "!nowhere:one.test"} {
		one.want(403, "M_FORBIDDEN", "GET", v1+room(id)+"/hierarchy", bob.token, nil)
	}
	alice.ok("POST", room(root)+"/ban", object{"user_id": bob.user})
	one.want(403, "M_FORBIDDEN", "GET", hierarchy+"?from="+token, bob.token, nil)
	one.want(403, "M_FORBIDDEN", "GET", hierarchy, d.otherOrganisation(one, "stranger").token, nil)
	same(t, "a plain room", one.want(200, "", "GET", v1+room(b)+"/hierarchy", bob.token, nil).names("rooms", "room_id"), []string{b})
}
