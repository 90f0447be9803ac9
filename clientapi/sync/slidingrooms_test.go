package sync

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// list is a list of all rooms, in the unstable form.
func list(limit int, required, more string) string {
	return fmt.Sprintf(`{"all":{"ranges":[[0,99]],"timeline_limit":%d,"required_state":%s%s}}`, limit, required, more)
}

func TestSlidingInviteIsTheStrippedStateAndThenTheRoom(t *testing.T) {
	t.Parallel()
	for _, stable := range []bool{false, true} {
		p := startOne(t)
		room := p.create(alice, roomserver.PresetPrivate)
		p.state(alice, room, "m.room.name", "", `{"name":"N"}`)
		c := p.slider(bob, list(5, `[["*","*"]]`, ""))
		stripped := "invite_state"
		if stable {
			c.stable, c.lists, stripped = true, `{"all":{"timeline_limit":5,"required_state":{"include":[{}]}}}`, "stripped_state"
		}
		c.ask()
		p.on(p.rooms.Invite, alice, room, bob)
		invite := of(c.ask(), room)
		want(t, "initial", invite.Get("initial"), true)
		want(t, "name", invite.Get(stripped+`.#(type=="m.room.name").content.name`), "N")
		want(t, "own", invite.Get(stripped+`.#(state_key=="@bob:example.org").content.membership`), "invite")
		for _, field := range []string{"name", "timeline", "required_state", "joined_count", "heroes"} {
			want(t, field, invite.Get(field).Exists(), false)
		}
		p.say(alice, room, "not for the invited")
		p.state(alice, room, "m.room.name", "", `{"name":"secret"}`)
		c.quiet("the room goes on")
		p.join(bob, room)
		joined := of(c.ask(), room)
		want(t, "initial", joined.Get("initial"), true)
		want(t, "name", joined.Get("name"), "secret")
		want(t, "joined", joined.Get("joined_count"), 2)
		want(t, "invited", joined.Get(stripped).Exists(), false)
		if !strings.Contains(texts(joined), "not for the invited") {
			t.Errorf("shared history is told: %s", joined.Raw)
		}
		c.quiet("told")

		other := p.create(alice, roomserver.PresetPrivate)
		p.on(p.rooms.Invite, alice, other, bob)
		c.ask()
		p.leave(bob, other)
		declined := of(c.ask(), other)
		want(t, "declined", declined.Get(stripped+".0.content.membership"), "leave")
		want(t, "only that", len(declined.Get(stripped).Array()), 1)
		c.quiet("told")
		p.state(alice, other, "m.room.name", "", `{"name":"x"}`)
		c.quiet("declined")
		c.pos = ""
		want(t, "a new connection", of(c.ask(), other).Exists(), false)
	}
}

func TestSlidingKnockIsTold(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPrivate)
	p.state(alice, room, "m.room.join_rules", "", `{"join_rule":"knock"}`)
	p.must(p.rooms.Knock(context.Background(), p.member(bob, room)))
	c := p.slider(bob, list(1, `[]`, ""))
	want(t, "knock", of(c.ask(), room).Get(`invite_state.#(state_key=="@bob:example.org").content.membership`), "knock")
	c.quiet("told")
}

func TestSlidingRoomThatEnds(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	left, kicked, banned := p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic)
	p.join(bob, left, kicked, banned)
	c := p.slider(bob, list(2, `[["m.room.member","$ME"]]`, ""))
	c.ask()
	p.leave(bob, left)
	p.on(p.rooms.Kick, alice, kicked, bob)
	p.on(p.rooms.Ban, alice, banned, bob)
	for _, room := range []matrix.RoomID{left, kicked, banned} {
		p.say(alice, room, "afterwards")
		p.state(alice, room, "m.room.topic", "", `{"topic":"secret"}`)
	}
	answer := c.ask()
	for room, membership := range map[matrix.RoomID]string{left: "leave", kicked: "leave", banned: "ban"} {
		r := of(answer, room)
		want(t, "timeline", r.Get("timeline.#").Int() == 1 && r.Get("timeline.0.content.membership").String() == membership, true)
		want(t, "own", r.Get("required_state.0.content.membership"), membership)
		want(t, "initial", r.Get("initial").Exists(), false)
	}
	want(t, "count", answer.Get("lists.all.count"), 3)
	c.quiet("told")

	// On a new connection there is nothing of the room that was left; one from which the user was thrown out is told, up to then.
	fresh := p.slider(bob, list(5, `[["*","*"]]`, ""))
	fresh.conn, fresh.stable = "new", false
	answer = fresh.ask()
	want(t, "left", of(answer, left).Exists(), false)
	want(t, "count", answer.Get("lists.all.count"), 2)
	r := of(answer, kicked)
	want(t, "end", r.Get("timeline|@reverse|0.content.membership"), "leave")
	want(t, "state", r.Get(`required_state.#(type=="m.room.topic")`).Exists(), false)
	if strings.Contains(r.Raw, "afterwards") || r.Get("joined_count").Exists() {
		t.Errorf("what happened later is told: %s", r.Raw)
	}
	// Who asks for a room by its id gets it up to the end as well.
	fresh.subscriptions = fmt.Sprintf(`{%q:{"timeline_limit":1,"required_state":[]},"!nowhere:example.org":{"timeline_limit":1}}`, left)
	want(t, "subscribed", of(fresh.ask(), left).Get("timeline.0.content.membership"), "leave")

	p.on(p.rooms.Unban, alice, banned, bob)
	p.join(bob, banned)
	again := of(c.ask(), banned)
	want(t, "initial", again.Get("initial"), true)
	want(t, "limited", again.Get("limited"), true)
	want(t, "topic", again.Get("joined_count"), 2)
}

func TestSlidingRoomsOfOthersAreNotTold(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.create(bob, roomserver.PresetPublic)
	banned := p.create(alice, roomserver.PresetPublic)
	p.on(p.rooms.Ban, alice, banned, bob)
	c := p.slider(bob, list(1, `[]`, ""))
	c.subscriptions = fmt.Sprintf(`{%q:{"timeline_limit":9,"required_state":[["*","*"]]},%q:{"timeline_limit":9,"required_state":[["*","*"]]}}`, room, banned)
	answer := c.ask()
	want(t, "rooms", len(answer.Get("rooms").Map()), 1)
	want(t, "count", answer.Get("lists.all.count"), 1)
}

func TestSlidingTimelineGrows(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	for i := range 6 {
		p.say(alice, room, fmt.Sprint("m", i))
	}
	c := p.slider(bob, list(1, `[["m.room.member","$LAZY"]]`, ""))
	want(t, "first", texts(of(c.ask(), room)), "m5")
	c.subscriptions = fmt.Sprintf(`{%q:{"timeline_limit":3,"required_state":[]}}`, room)
	grown := of(c.ask(), room)
	want(t, "grown", texts(grown), "m3 m4 m5")
	want(t, "expanded", grown.Get("unstable_expanded_timeline"), true)
	want(t, "limited", grown.Get("limited"), true)
	want(t, "live", grown.Get("num_live"), 0)
	want(t, "initial", grown.Get("initial").Exists(), false)
	c.quiet("grown")
	p.say(alice, room, "m6")
	want(t, "new", texts(of(c.ask(), room)), "m6")
	// What the client has seen without a gap is not sent again.
	c.subscriptions = fmt.Sprintf(`{%q:{"timeline_limit":4,"required_state":[]}}`, room)
	c.quiet("four are known")
	c.subscriptions = ""
	c.quiet("less")
	for i := range 3 {
		p.say(alice, room, fmt.Sprint("n", i))
	}
	gap := of(c.ask(), room)
	want(t, "gap", texts(gap), "n2")
	want(t, "limited", gap.Get("limited"), true)
	c.subscriptions = fmt.Sprintf(`{%q:{"timeline_limit":99,"required_state":[]}}`, room)
	all := of(c.ask(), room)
	want(t, "all", texts(all), "m0 m1 m2 m3 m4 m5 m6 n0 n1 n2")
	want(t, "limited", all.Get("limited"), false)
	c.lists, c.subscriptions = list(100, `[]`, ""), ""
	c.quiet("there is no more")
}

func TestSlidingRequiredStateGrows(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.state(alice, room, "m.room.topic", "", `{"topic":"T"}`)
	p.state(alice, room, "org.own", "a", `{}`)
	p.state(alice, room, "org.own", "b", `{}`)
	c := p.slider(bob, list(0, `[["m.room.topic",""]]`, ""))
	want(t, "first", keys(of(c.ask(), room).Get("required_state")), "[m.room.topic|]")
	c.lists = list(0, `[["m.room.topic",""],["org.own","a"]]`, "")
	want(t, "more", keys(of(c.ask(), room).Get("required_state")), "[m.room.topic| org.own|a]")
	c.quiet("the same")
	c.subscriptions = fmt.Sprintf(`{%q:{"timeline_limit":0,"required_state":[["org.own","*"]]}}`, room)
	want(t, "beside", keys(of(c.ask(), room).Get("required_state")), "[org.own|b]")
	c.subscriptions = ""
	c.quiet("less")
	p.state(alice, room, "org.own", "b", `{"x":1}`)
	want(t, "not asked for", keys(of(c.ask(), room).Get("required_state")), "[]")
	c.subscriptions = fmt.Sprintf(`{%q:{"timeline_limit":0,"required_state":[["org.own","*"]]}}`, room)
	if told := of(c.ask(), room).Get(`required_state.#(state_key=="b").content.x`); told.Int() != 1 {
		t.Error("what changed while it was not asked for is not told")
	}
}

func TestSlidingNamesAndHeroes(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	c := p.slider(bob, list(1, `[]`, ""))
	want(t, "heroes", of(c.ask(), room).Get("heroes").Raw, `[{"user_id":"@alice:example.org","displayname":"alice"}]`)
	p.state(alice, room, "m.room.name", "", `{"name":"N"}`)
	named := of(c.ask(), room)
	want(t, "name", named.Get("name"), "N")
	want(t, "heroes", named.Get("heroes").Exists(), false)
	p.state(alice, room, "m.room.avatar", "", `{"url":"mxc://example.org/a"}`)
	want(t, "avatar", of(c.ask(), room).Get("avatar"), "mxc://example.org/a")
	p.join(carol, room)
	joined := of(c.ask(), room)
	want(t, "joined", joined.Get("joined_count"), 3)
	want(t, "name", joined.Get("name").Exists(), false)
	p.state(alice, room, "m.room.name", "", `{"name":""}`)
	p.state(alice, room, "m.room.avatar", "", `{}`)
	unnamed := of(c.ask(), room)
	want(t, "name", unnamed.Get("name").Raw, "null")
	want(t, "avatar", unnamed.Get("avatar").Raw, "null")
	want(t, "heroes", unnamed.Get("heroes.#.user_id").Raw, `["@alice:example.org","@carol:example.org"]`)
}

func TestSlidingStateThatIsRedactedIsToldAgain(t *testing.T) {
	t.Parallel()
	for _, noRing := range []bool{false, true} {
		p := startOne(t)
		p.sync.noRing = noRing
		room := p.create(alice, roomserver.PresetPublic)
		p.join(bob, room)
		old := p.state(alice, room, "m.room.topic", "", `{"topic":"old"}`)
		topic := p.state(alice, room, "m.room.topic", "", `{"topic":"T"}`)
		name := p.state(alice, room, "m.room.name", "", `{"name":"N"}`)
		c := p.slider(bob, list(1, `[["m.room.topic",""]]`, ""))
		want(t, "name", of(c.ask(), room).Get("name"), "N")
		redact := func(id matrix.EventID) gjson.Result {
			p.event(roomserver.NewEvent{Room: room, Sender: alice, Type: typeRedaction, Redacts: id, Content: []byte(`{}`)})
			return of(c.ask(), room)
		}
		want(t, "what is state no more", redact(old).Get("required_state").Exists(), false)
		again := redact(topic).Get("required_state")
		want(t, "the topic again", again.Get("0.event_id"), topic)
		want(t, "its content", again.Get("0.content").Raw, "{}")
		unnamed := redact(name)
		want(t, "name", unnamed.Get("name").Raw, "null")
		want(t, "heroes", unnamed.Get("heroes.#.user_id").Raw, `["@alice:example.org"]`)
		c.quiet("told")
	}
}

func TestSlidingListsAreFilteredAndSorted(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	const names = "plain encrypted direct space child invited"
	rooms := map[string]matrix.RoomID{}
	for _, name := range strings.Fields(names) {
		create := roomserver.CreateRoom{Creator: alice, OrganisationID: 1, Preset: roomserver.PresetPublic}
		if name == "space" {
			create.CreationContent = []byte(`{"type":"m.space"}`)
		}
		id, err := p.rooms.CreateRoom(context.Background(), create)
		p.must(err)
		rooms[name] = id
		if name == "invited" {
			p.on(p.rooms.Invite, alice, id, bob)
		} else {
			p.join(bob, id)
		}
	}
	p.state(alice, rooms["encrypted"], "m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
	p.state(alice, rooms["space"], "m.space.child", string(rooms["child"]), `{"via":["example.org"]}`)
	p.state(alice, rooms["space"], "m.space.child", string(rooms["plain"]), `{}`)
	p.put(store.Update{Kind: store.KindAccountData, UserID: bob, Key: "m.direct", Body: fmt.Appendf(nil, `{"@alice:example.org":[%q]}`, rooms["direct"])},
		store.Update{Kind: store.KindAccountData, UserID: bob, RoomNID: p.nid(rooms["plain"]), Key: "m.tag", Body: []byte(`{"tags":{"m.favourite":{}}}`)})
	found := func(c *slider) string {
		c.conn = fmt.Sprint(c.conn, "x")
		c.pos = ""
		answer := c.ask()
		var list []string
		for _, name := range strings.Fields(names) {
			if of(answer, rooms[name]).Exists() {
				list = append(list, name)
			}
		}
		want(t, "count", answer.Get("lists.all.count"), len(list))
		return strings.Join(list, " ")
	}
	c := p.slider(bob, "")
	check := func(filters, expected string) {
		t.Helper()
		c.lists = list(1, `[]`, `,"filters":`+filters)
		want(t, filters, found(c), expected)
	}
	check(`{}`, names)
	check(`{"is_dm":true}`, "direct")
	check(`{"is_dm":false,"is_invite":false}`, "plain encrypted space child")
	check(`{"is_encrypted":true}`, "encrypted")
	check(`{"is_encrypted":false,"is_invite":true}`, "invited")
	check(`{"room_types":["m.space"]}`, "space")
	check(`{"room_types":[null,"m.space"],"not_room_types":["m.space"],"is_dm":false}`, "plain encrypted child invited")
	check(`{"not_room_types":[null]}`, "space")
	check(fmt.Sprintf(`{"spaces":[%q,"!unknown:example.org"]}`, rooms["space"]), "child")
	check(`{"tags":["m.favourite","x"]}`, "plain")
	check(`{"tags":["m.favourite"],"not_tags":["m.favourite"]}`, "")
	check(`{"not_tags":["m.favourite"],"is_invited":false}`, "encrypted direct space child")

	// What is known of the rooms is kept up to date.
	c.lists = list(1, `[]`, `,"filters":{"is_encrypted":true,"is_dm":true,"tags":["t"]}`)
	c.pos = ""
	want(t, "none", c.ask().Get("lists.all.count"), 0)
	p.state(alice, rooms["direct"], "m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
	p.put(store.Update{Kind: store.KindAccountData, UserID: bob, RoomNID: p.nid(rooms["direct"]), Key: "m.tag", Body: []byte(`{"tags":{"t":{}}}`)})
	answer := c.ask()
	want(t, "now one", answer.Get("lists.all.count"), 1)
	want(t, "direct", of(answer, rooms["direct"]).Get("is_dm"), true)
	p.put(store.Update{Kind: store.KindAccountData, UserID: bob, Key: "m.direct", Body: []byte(`{}`)})
	want(t, "none again", c.ask().Get("lists.all.count"), 0)
}

func TestSlidingIgnoredUsersAndBumps(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.join(carol, room)
	c := p.slider(bob, list(2, `[]`, ""))
	p.say(alice, room, "one")
	stamp := of(c.ask(), room).Get("bump_stamp").Int()
	p.state(alice, room, "m.room.topic", "", `{}`)
	want(t, "a topic is no bump", of(c.ask(), room).Get("bump_stamp"), stamp)
	p.put(store.Update{Kind: store.KindAccountData, UserID: bob, Key: ignoredUsers, Body: []byte(`{"ignored_users":{"@carol:example.org":{}}}`)})
	c.ask() // the counts may be others
	p.say(carol, room, "spam")
	c.quiet("ignored")
	p.say(alice, room, "two")
	answer := of(c.ask(), room)
	want(t, "timeline", texts(answer), "two")
	if now := answer.Get("bump_stamp").Int(); now <= stamp {
		t.Errorf("the bump stamp was %d, is %d", stamp, now)
	}
	want(t, "prev_batch", gjson.Get(answer.Raw, "prev_batch").Exists(), true)
}
