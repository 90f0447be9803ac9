package sync

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

const lazyFilter = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":3}}}`

func TestFirstSyncTellsStateAndTimeline(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	for _, text := range []string{"one", "two", "three"} {
		p.say(bob, room, text)
	}
	answer := p.get(alice, "filter", `{"room":{"timeline":{"limit":2}}}`)
	joined := in(answer, "join", room)
	want(t, "timeline", bodies(joined), "two three")
	want(t, "limited", joined.Get("timeline.limited"), true)
	want(t, "members", membersIn(joined.Get("state.events")), "alice bob")
	if !slices.Contains(keys(joined.Get("state.events")), "m.room.create|") {
		t.Error("the state has no m.room.create")
	}
	want(t, "joined", joined.Get(`summary.m\.joined_member_count`), 2)
	want(t, "heroes", joined.Get(`summary.m\.heroes`).Raw, `["@bob:example.org"]`)
	want(t, "notifications", joined.Get("unread_notifications").Raw, `{"highlight_count":0,"notification_count":3}`)
	for _, path := range []string{"to_device.events", "device_lists.changed", "device_lists.left", "device_unused_fallback_key_types"} {
		want(t, path, answer.Get(path).Raw, "[]")
	}
	want(t, "key counts", answer.Get("device_one_time_keys_count").Raw, "{}")
	if room := joined.Get("timeline.events.0.room_id"); room.Exists() {
		t.Error("an event repeats its room id")
	}
}

func TestFirstSyncOfShortRoomIsNotLimited(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPrivate)
	joined := in(p.get(alice, "filter", `{"room":{"timeline":{"limit":50}}}`), "join", room)
	want(t, "limited", joined.Get("timeline.limited"), false)
	want(t, "state", len(joined.Get("state.events").Array()), 0)
	want(t, "first event", joined.Get("timeline.events.0.type"), "m.room.create")
}

// What was said before the client's token is no continuation of what it was told, even where it is all there is.
func TestTimelineOfNewRoomThatBeginsEarlierIsLimited(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	early := p.create(alice, roomserver.PresetPublic)
	first := p.get(bob)
	late := p.create(alice, roomserver.PresetPublic)
	p.join(bob, early, late)
	second := p.since(first, bob, "filter", `{"room":{"timeline":{"limit":50}}}`)
	want(t, "limited, begun before", in(second, "join", early).Get("timeline.limited"), true)
	want(t, "limited, begun after", in(second, "join", late).Get("timeline.limited"), false)
}

func TestIncrementalSyncTellsOnlyNews(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room, silent := p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic)
	p.join(bob, room, silent)
	first := p.get(bob)
	p.say(alice, room, "hello")
	second := p.since(first, bob)
	want(t, "timeline", bodies(in(second, "join", room)), "hello")
	want(t, "limited", in(second, "join", room).Get("timeline.limited"), false)
	want(t, "state", in(second, "join", room).Get("state.events").Raw, "[]")
	want(t, "membership", in(second, "join", room).Get("timeline.events.0.unsigned.membership"), "join")
	if in(second, "join", silent).Exists() {
		t.Error("a room is told of in which nothing happened")
	}
	if third := p.since(second, bob); third.Get("rooms").Exists() {
		t.Errorf("told twice: %s", third.Raw)
	}
	// A client that did not get an answer asks again with the same token and gets it again.
	want(t, "again", bodies(in(p.since(first, bob), "join", room)), "hello")
}

func TestTransactionIDIsToldToItsDeviceOnly(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	before, beforeBob := p.get(alice), p.get(bob)
	p.event(roomserver.NewEvent{
		Room: room, Sender: alice, Type: "m.room.message", Content: []byte(`{"body":"x"}`),
		Txn: &roomserver.Txn{Device: "D", Scope: "send", ID: "txn1"},
	})
	unsigned := "timeline.events.0.unsigned"
	want(t, "own", in(p.since(before, alice), "join", room).Get(unsigned+".transaction_id"), "txn1")
	if have := in(p.since(beforeBob, bob), "join", room).Get(unsigned + ".transaction_id"); have.Exists() {
		t.Errorf("bob is told alice's transaction id %s", have)
	}
	_, body := p.request(context.Background(), "GET", query("since", before.Get("next_batch").String()), alice, "OTHER", "")
	if have := in(gjson.Parse(body), "join", room).Get(unsigned + ".transaction_id"); have.Exists() {
		t.Errorf("another device is told the transaction id %s", have)
	}
}

func TestGapHasStateDelta(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	before := p.get(bob)
	p.state(alice, room, "m.room.topic", "", `{"topic":"first"}`)
	p.state(alice, room, "m.room.topic", "", `{"topic":"second"}`)
	for _, text := range []string{"one", "two", "three"} {
		p.say(alice, room, text)
	}
	p.state(alice, room, "m.room.name", "", `{"name":"later"}`)
	small := `{"room":{"timeline":{"limit":3}}}`

	joined := in(p.since(before, bob, "filter", small), "join", room)
	want(t, "limited", joined.Get("timeline.limited"), true)
	want(t, "timeline", keys(joined.Get("timeline.events")), "[m.room.message m.room.message m.room.name|]")
	want(t, "state", keys(joined.Get("state.events")), "[m.room.topic|]")
	want(t, "topic", joined.Get("state.events.0.content.topic"), "second")
	want(t, "replaced", joined.Get("state.events.0.unsigned.prev_content.topic"), "first")

	after := in(p.since(before, bob, "filter", small, "use_state_after", "true"), "join", room)
	want(t, "state_after", keys(after.Get("state_after.events")), "[m.room.topic| m.room.name|]")
	if after.Get("state").Exists() {
		t.Error("state is told besides state_after")
	}
	unstable := in(p.since(before, bob, "org.matrix.msc4222.use_state_after", "true"), "join", room)
	want(t, "unstable", keys(unstable.Get(`org\.matrix\.msc4222\.state_after.events`)), "[m.room.topic| m.room.name|]")
	if unstable.Get("state").Exists() || unstable.Get("state_after").Exists() {
		t.Error("the request asked for the unstable name only")
	}
}

// What prev_batch says is where /messages has to go on, with nothing missing and nothing twice.
func TestPrevBatchIsBeforeTheTimeline(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	for _, text := range []string{"one", "two", "three"} {
		p.say(alice, room, text)
	}
	timeline := in(p.get(alice, "filter", `{"room":{"timeline":{"limit":1}}}`), "join", room).Get("timeline")
	events, _, err := p.store.ListRoomEvents(context.Background(), p.nid(room), 0, store.CurrentState, 100)
	p.must(err)
	last := events[len(events)-1]
	want(t, "last", timeline.Get("events.0.event_id"), last.EventID)
	want(t, "prev_batch", timeline.Get("prev_batch"), "s"+gjson.Parse(jsonOf(last.Position-1)).Raw)
}

func TestStateThatTheFilterKeepsOutOfTheTimelineIsTold(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	before := p.get(alice)
	p.say(alice, room, "one")
	p.state(alice, room, "m.room.topic", "", `{"topic":"t"}`)
	joined := in(p.since(before, alice, "filter", `{"room":{"timeline":{"types":["m.room.message"]}}}`), "join", room)
	want(t, "timeline", keys(joined.Get("timeline.events")), "[m.room.message]")
	want(t, "state", keys(joined.Get("state.events")), "[m.room.topic|]")
}

func TestFullStateTellsAllStateWithTheSameTimeline(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	before := p.get(alice)
	joined := in(p.since(before, alice, "full_state", "true", "timeout", "60000"), "join", room)
	want(t, "timeline", joined.Get("timeline.events").Raw, "[]")
	if list := keys(joined.Get("state.events")); !slices.Contains(list, "m.room.create|") || !slices.Contains(list, "m.room.member|@alice:example.org") {
		t.Errorf("not the whole state: %v", list)
	}
}

func TestNewlyJoinedRoomIsToldWhole(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.say(alice, room, "before")
	p.put(store.Update{Kind: store.KindReceipt, RoomNID: p.nid(room), UserID: alice, Key: "m.read|", Body: []byte(`{"event_id":"$a","ts":1}`)})
	first := p.get(bob)
	p.join(bob, room)
	joined := in(p.since(first, bob, "filter", `{"room":{"timeline":{"limit":2}}}`), "join", room)
	want(t, "timeline", keys(joined.Get("timeline.events")), "[m.room.message m.room.member|@bob:example.org]")
	want(t, "limited", joined.Get("timeline.limited"), true)
	if !slices.Contains(keys(joined.Get("state.events")), "m.room.create|") {
		t.Error("the state of a newly joined room is not whole")
	}
	want(t, "receipts", joined.Get("ephemeral.events.0.type"), "m.receipt")
	want(t, "own membership at the message", joined.Get("timeline.events.0.unsigned.membership"), "leave")
}

func TestHistoryBeforeTheJoinIsHidden(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.state(alice, room, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
	p.say(alice, room, "secret")
	first := p.get(bob)
	p.join(bob, room)
	p.say(alice, room, "welcome")
	three := `{"room":{"timeline":{"limit":3}}}`
	for _, answer := range []gjson.Result{p.get(bob, "filter", three), p.since(first, bob, "filter", three)} {
		joined := in(answer, "join", room)
		want(t, "timeline", bodies(joined), "welcome")
		want(t, "limited", joined.Get("timeline.limited"), true)
		if !slices.Contains(keys(joined.Get("state.events")), "m.room.create|") {
			t.Error("the state is not whole")
		}
	}
}

func TestLeaveSectionEndsWithTheLeave(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	before := p.get(bob)
	p.say(alice, room, "last words")
	p.on(p.rooms.Kick, alice, room, bob)
	p.say(alice, room, "behind his back")
	answer := p.since(before, bob)
	left := in(answer, "leave", room)
	want(t, "timeline", keys(left.Get("timeline.events")), "[m.room.message m.room.member|@bob:example.org]")
	want(t, "text", bodies(left), "last words")
	if in(answer, "join", room).Exists() {
		t.Error("the room is also joined")
	}
	p.say(alice, room, "more")
	if later := p.since(answer, bob); later.Get("rooms").Exists() {
		t.Errorf("told of a room after leaving: %s", later.Raw)
	}
	if first := p.get(bob); first.Get("rooms").Exists() {
		t.Errorf("a first sync without include_leave has the left room: %s", first.Raw)
	}
	included := p.get(bob, "filter", `{"room":{"include_leave":true}}`)
	want(t, "included", in(included, "leave", room).Get("timeline.events.@reverse.0.content.membership"), "leave")
	p.must(p.rooms.Forget(context.Background(), room, bob))
	if forgotten := p.get(bob, "filter", `{"room":{"include_leave":true}}`); forgotten.Get("rooms").Exists() {
		t.Errorf("a forgotten room is told of: %s", forgotten.Raw)
	}
}

func TestKickAndBanTellNothingBetween(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	before := p.get(bob)
	p.on(p.rooms.Kick, alice, room, bob)
	p.say(alice, room, "between")
	p.state(alice, room, "m.room.topic", "", `{"topic":"between"}`)
	p.on(p.rooms.Ban, alice, room, bob)
	left := in(p.since(before, bob), "leave", room)
	want(t, "timeline", keys(left.Get("timeline.events")), "[m.room.member|@bob:example.org m.room.member|@bob:example.org]")
	want(t, "last", left.Get("timeline.events.1.content.membership"), "ban")
	want(t, "state", keys(left.Get("state.events")), "[]")
	after := in(p.since(before, bob, "use_state_after", "true"), "leave", room)
	want(t, "state_after", keys(after.Get("state_after.events")), "[m.room.member|@bob:example.org]")
	want(t, "membership", after.Get("state_after.events.0.content.membership"), "ban")
}

func TestInviteHasStrippedState(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPrivate)
	p.state(alice, room, "m.room.name", "", `{"name":"Plans"}`)
	p.say(alice, room, "private")
	before := p.get(bob)
	p.on(p.rooms.Invite, alice, room, bob)
	for _, answer := range []gjson.Result{p.since(before, bob), p.get(bob)} {
		events := in(answer, "invite", room).Get("invite_state.events")
		list := keys(events)
		for _, key := range []string{"m.room.create|", "m.room.name|", "m.room.join_rules|", "m.room.member|@alice:example.org", "m.room.member|@bob:example.org"} {
			if !slices.Contains(list, key) {
				t.Errorf("no %s among %v", key, list)
			}
		}
		for _, e := range events.Array() {
			if len(e.Map()) != 4 {
				t.Errorf("not stripped: %s", e.Raw)
			}
		}
	}
	invited := p.get(bob)
	p.leave(bob, room)
	rejected := p.since(invited, bob)
	want(t, "rejected", keys(in(rejected, "leave", room).Get("timeline.events")), "[m.room.member|@bob:example.org]")
	want(t, "state of a rejected invite", keys(in(rejected, "leave", room).Get("state.events")), "[]")
}

func TestKnockHasStrippedState(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPrivate)
	p.state(alice, room, "m.room.join_rules", "", `{"join_rule":"knock"}`)
	before := p.get(bob)
	p.must(p.rooms.Knock(context.Background(), p.member(bob, room)))
	events := keys(in(p.since(before, bob), "knock", room).Get("knock_state.events"))
	if !slices.Contains(events, "m.room.create|") || !slices.Contains(events, "m.room.member|@bob:example.org") {
		t.Errorf("knock_state: %v", events)
	}
}

func TestIgnoredUsersAreNotHeard(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.state(alice, room, "m.room.power_levels", "", `{"users":{"@bob:example.org":50}}`)
	before := p.get(alice)
	p.put(store.Update{Kind: store.KindAccountData, UserID: alice, Key: ignoredUsers, Body: []byte(`{"ignored_users":{"@bob:example.org":{}}}`)})
	p.say(bob, room, "noise")
	p.state(bob, room, "m.room.topic", "", `{"topic":"still told"}`)
	other := p.create(bob, roomserver.PresetPrivate, alice)
	answer := p.since(before, alice)
	want(t, "timeline", keys(in(answer, "join", room).Get("timeline.events")), "[m.room.topic|]")
	if in(answer, "invite", other).Exists() {
		t.Error("an ignored user's invitation is told")
	}
}

// What the user may not see of a room's history is told as state, and an older value that may be seen does not undo it.
func TestStateThatMayNotBeSeenIsNotUndoneByTheTimeline(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	early := &client{user: bob, limit: 10}
	early.sync(t, p)
	before := p.get(bob)
	for _, value := range []string{"joined", "invited"} { // who comes later may see that it was changed from shared, and no more
		p.state(alice, room, "m.room.history_visibility", "", `{"history_visibility":"`+value+`"}`)
	}
	p.join(bob, room)
	for _, c := range []*client{early, {user: bob, limit: 10}} {
		c.sync(t, p)
		c.check(t, p)
	}
	timeline := in(p.since(before, bob), "join", room).Get("timeline")
	want(t, "timeline", keys(timeline.Get("events")), "[m.room.member|@bob:example.org]")
	want(t, "limited", timeline.Get("limited").Bool(), true)
}

// Who ignores themselves by mistake sees what they say on their other devices all the same, and has read what is before it.
func TestNobodyIsDeafToThemselves(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.put(store.Update{Kind: store.KindAccountData, UserID: bob, Key: ignoredUsers, Body: []byte(`{"ignored_users":{"@bob:example.org":{}}}`)})
	p.say(alice, room, "for bob")
	before := p.get(bob)
	c := p.slider(bob, list(1, `[]`, ""))
	want(t, "unread", of(c.ask(), room).Get("notification_count").Int(), 1)
	p.say(bob, room, "from bob")
	want(t, "timeline", bodies(in(p.since(before, bob), "join", room)), "from bob")
	told := of(c.ask(), room)
	want(t, "sliding", texts(told), "from bob")
	want(t, "unread after an answer", told.Get("notification_count").Raw, "0")
}

// Who is put out of a room, and then invited by somebody whose invitations are not told, learns that it is over.
func TestLeftBeforeAnInvitationThatIsNotTold(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.join(carol, room)
	p.state(alice, room, "m.room.power_levels", "", `{"invite":0}`)
	p.put(store.Update{Kind: store.KindAccountData, UserID: bob, Key: ignoredUsers, Body: []byte(`{"ignored_users":{"@carol:example.org":{}}}`)})
	before := p.get(bob)
	c := p.slider(bob, list(1, `[["m.room.member","$ME"]]`, ""))
	c.ask()
	p.must(p.rooms.Kick(context.Background(), roomserver.Membership{Room: room, Sender: alice, Target: bob}))
	p.must(p.rooms.Invite(context.Background(), roomserver.Membership{Room: room, Sender: carol, Target: bob}))
	p.say(alice, room, "among us")
	answer := p.since(before, bob)
	want(t, "timeline", keys(in(answer, "leave", room).Get("timeline.events")), "[m.room.member|@bob:example.org]")
	want(t, "membership", in(answer, "leave", room).Get("timeline.events.0.content.membership"), "leave")
	if answer.Get("rooms.invite").Exists() {
		t.Error("the invitation is told")
	}
	want(t, "a second time", p.since(answer, bob).Get("rooms.leave"), "")
	told := of(c.ask(), room)
	want(t, "sliding", keys(told.Get("timeline")), "[m.room.member|@bob:example.org]")
	want(t, "sliding, membership", told.Get("timeline.0.content.membership"), "leave")
	c.quiet("left")
}

func TestInvitesThatAreNotWantedAreNotTold(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	for _, setting := range []struct{ typ, body string }{
		{"m.invite_permission_config", `{"default_action":"block"}`},
		{"org.matrix.msc4155.invite_permission_config", `{"ignored_users":["@bob:*"]}`},
		{"org.matrix.msc4155.invite_permission_config", `{"blocked_servers":["example.org"]}`},
	} {
		before := p.get(alice)
		old := p.create(bob, roomserver.PresetPrivate, alice)
		if !in(p.since(before, alice), "invite", old).Exists() {
			t.Errorf("%s: an invitation before it is not told", setting.typ)
		}
		p.put(store.Update{Kind: store.KindAccountData, UserID: alice, Key: setting.typ, Body: []byte(setting.body)})
		before = p.get(alice)
		fresh := p.create(bob, roomserver.PresetPrivate, alice)
		if in(before, "invite", old).Exists() || in(p.since(before, alice), "invite", fresh).Exists() || in(p.get(alice), "invite", fresh).Exists() {
			t.Errorf("%s: an invitation is told", setting.typ)
		}
		p.put(store.Update{Kind: store.KindAccountData, UserID: alice, Key: setting.typ, Body: []byte(`{}`)})
		if again := p.get(alice); !in(again, "invite", old).Exists() || !in(again, "invite", fresh).Exists() {
			t.Errorf("%s: the invitations are not told when they are wanted again", setting.typ)
		}
	}
}

func TestLazyMembersComeOnce(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.state(alice, room, "m.room.name", "", `{"name":"named"}`)
	p.join(bob, room)
	p.join(carol, room)
	p.join(dave, room)
	p.say(carol, room, "one")
	p.say(carol, room, "two")
	p.say(carol, room, "three")
	first := p.get(alice, "filter", lazyFilter)
	want(t, "first", membersIn(in(first, "join", room).Get("state.events")), "alice carol")
	p.say(carol, room, "four")
	p.say(bob, room, "five")
	second := p.since(first, alice, "filter", lazyFilter)
	want(t, "second", membersIn(in(second, "join", room).Get("state.events")), "bob")
	again := p.since(first, alice, "filter", lazyFilter)
	want(t, "the answer was lost", membersIn(in(again, "join", room).Get("state.events")), "bob")
	p.say(bob, room, "six")
	third := p.since(second, alice, "filter", lazyFilter)
	want(t, "third", membersIn(in(third, "join", room).Get("state.events")), "")
	redundant := `{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true}}}`
	want(t, "redundant", membersIn(in(p.since(second, alice, "filter", redundant), "join", room).Get("state.events")), "bob")
	// Who did nothing in the timeline is told of when the membership changes, also within a gap.
	p.leave(dave, room)
	for range 5 {
		p.say(bob, room, "talk")
	}
	gap := in(p.since(third, alice, "filter", lazyFilter), "join", room)
	want(t, "gap", membersIn(gap.Get("state.events")), "dave")
	want(t, "count", gap.Get(`summary.m\.joined_member_count`), 3)
}

func TestHeroesAreTheLongestMembers(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.on(p.rooms.Invite, alice, room, carol)
	first := in(p.get(bob, "filter", lazyFilter), "join", room)
	want(t, "heroes", first.Get(`summary.m\.heroes`).Raw, `["@alice:example.org","@carol:example.org"]`)
	want(t, "invited", first.Get(`summary.m\.invited_member_count`), 1)
	before := p.get(bob)
	p.state(alice, room, "m.room.name", "", `{"name":"named"}`)
	named := in(p.since(before, bob), "join", room)
	if named.Get(`summary.m\.heroes`).Exists() {
		t.Error("a room with a name has heroes")
	}
	p.leave(alice, room)
	p.on(p.rooms.Leave, carol, room, carol)
	before = p.get(bob)
	if have := in(before, "join", room).Get(`summary.m\.joined_member_count`).Int(); have != 1 {
		t.Errorf("joined: %d", have)
	}
}

func TestReceiptsTypingAndAccountData(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	nid := p.nid(room)
	before, beforeBob := p.get(alice), p.get(bob)
	until := jsonOf(matrix.TimestampOf(time.Now().Add(time.Hour)))
	p.put(
		store.Update{Kind: store.KindReceipt, RoomNID: nid, UserID: bob, Key: "m.read|", Body: []byte(`{"event_id":"$a","ts":5}`)},
		store.Update{Kind: store.KindReceipt, RoomNID: nid, UserID: bob, Key: "m.read|main", Body: []byte(`{"event_id":"$a","ts":6}`)},
		store.Update{Kind: store.KindReceipt, RoomNID: nid, UserID: bob, Key: "m.read.private|", Body: []byte(`{"event_id":"$b","ts":7}`)},
		store.Update{Kind: store.KindTyping, RoomNID: nid, UserID: bob, Body: []byte(`{"until":` + until + `}`)},
		store.Update{Kind: store.KindAccountData, RoomNID: nid, UserID: bob, Key: "m.tag", Body: []byte(`{"tags":{}}`)},
		store.Update{Kind: store.KindAccountData, UserID: bob, Key: "m.direct", Body: []byte(`{}`)},
	)
	answer := p.since(before, alice)
	want(t, "ephemeral", in(answer, "join", room).Get("ephemeral.events").Raw,
		`[{"type":"m.typing","content":{"user_ids":["@bob:example.org"]}},`+
			`{"type":"m.receipt","content":{"$a":{"m.read":{"@bob:example.org":{"ts":5}}}}},`+
			`{"type":"m.receipt","content":{"$a":{"m.read":{"@bob:example.org":{"ts":6,"thread_id":"main"}}}}}]`)
	if answer.Get("account_data").Exists() || len(in(answer, "join", room).Get("account_data.events").Array()) > 0 {
		t.Error("bob's account data is told to alice")
	}
	own := p.since(beforeBob, bob)
	want(t, "private receipt", in(own, "join", room).Get(`ephemeral.events.1.content.$b.m\.read\.private`).Exists(), true)
	want(t, "room data", in(own, "join", room).Get("account_data.events").Raw, `[{"type":"m.tag","content":{"tags":{}}}]`)
	want(t, "global data", own.Get("account_data.events").Raw, `[{"type":"m.direct","content":{}}]`)
	p.put(store.Update{Kind: store.KindTyping, RoomNID: nid, UserID: bob, Body: []byte(`{"until":0}`)})
	want(t, "stopped", in(p.since(answer, alice), "join", room).Get("ephemeral.events").Raw, `[{"type":"m.typing","content":{"user_ids":[]}}]`)
}

func TestPresenceReachesThoseWhoShareARoom(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	before, stranger := p.get(alice), p.get(carol)
	p.put(store.Update{Kind: store.KindPresence, UserID: bob, Body: []byte(`{"presence":"online","last_active_ts":0,"currently_active":true}`)})
	answer := p.since(before, alice)
	want(t, "sender", answer.Get("presence.events.0.sender"), bob)
	want(t, "presence", answer.Get("presence.events.0.content.presence"), "online")
	if have := p.since(stranger, carol); have.Get("presence").Exists() {
		t.Errorf("a stranger is told: %s", have.Raw)
	}
	p.join(carol, room)
	want(t, "met", p.since(stranger, carol).Get("presence.events.0.sender"), bob)
	if have := p.since(before, alice, "filter", `{"presence":{"types":[]}}`); have.Get("presence").Exists() {
		t.Error("the filter wants no presence")
	}
}

func TestRedactedEventSaysWhy(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	before := p.get(bob)
	id := p.say(alice, room, "oops")
	p.event(roomserver.NewEvent{Room: room, Sender: alice, Type: "m.room.redaction", Redacts: id, Content: []byte(`{"reason":"typo"}`)})
	events := in(p.since(before, bob), "join", room).Get("timeline.events")
	want(t, "content", events.Get("0.content").Raw, "{}")
	want(t, "because", events.Get("0.unsigned.redacted_because.content.reason"), "typo")
	want(t, "redacts", events.Get("1.redacts"), id)
}

func TestFilterChoosesRoomsAndFields(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room, other := p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic)
	p.event(roomserver.NewEvent{Room: room, Sender: alice, Type: "m.room.message", Content: []byte(`{"body":"pic","url":"mxc://x/y"}`)})
	p.say(alice, room, "text")
	answer := p.get(alice, "filter", `{"event_fields":["content.body"],"room":{"rooms":["`+string(room)+`"],"timeline":{"contains_url":true}}}`)
	if in(answer, "join", other).Exists() {
		t.Error("a room that the filter does not have")
	}
	want(t, "events", in(answer, "join", room).Get("timeline.events").Raw, `[{"content":{"body":"pic"}}]`)
	limited := in(p.get(alice, "filter", `{"room":{"timeline":{"limit":0}}}`), "join", room)
	want(t, "no timeline", limited.Get("timeline.events").Raw, "[]")
	federation := in(p.get(alice, "filter", `{"event_format":"federation"}`), "join", room)
	want(t, "signed", federation.Get("timeline.events.0.signatures").Exists(), true)
}

func TestFiltersAreStoredAndUsed(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	ctx := context.Background()
	path := "/_matrix/client/v3/user/@alice:example.org/filter"
	status, body := p.request(ctx, "POST", path, alice, "D", `{"room":{"timeline":{"limit":1}}}`)
	want(t, "status", status, http.StatusOK)
	id := gjson.Get(body, "filter_id").String()
	_, again := p.request(ctx, "POST", path, alice, "D", `{ "room": {"timeline": {"limit": 1}} }`)
	want(t, "the same filter", again, body)
	_, stored := p.request(ctx, "GET", path+"/"+id, alice, "D", "")
	want(t, "stored", stored, `{"room":{"timeline":{"limit":1}}}`)
	room := p.create(alice, roomserver.PresetPublic)
	want(t, "used", len(in(p.get(alice, "filter", id), "join", room).Get("timeline.events").Array()), 1)
	for _, c := range []struct {
		what, method, path, body string
		user                     matrix.UserID
		status                   int
		code                     string
	}{
		{"unknown", "GET", path + "/nope", "", alice, 404, "M_NOT_FOUND"},
		{"another's", "GET", path + "/" + id, "", bob, 403, "M_FORBIDDEN"},
		{"for another", "POST", path, "{}", bob, 403, "M_FORBIDDEN"},
		{"not an object", "POST", path, `[]`, alice, 400, "M_BAD_JSON"},
		{"wrong type", "POST", path, `{"room":{"timeline":{"types":"x"}}}`, alice, 400, "M_BAD_JSON"},
		{"unknown in sync", "GET", query("filter", "nope"), "", alice, 400, "M_INVALID_PARAM"},
		{"another's in sync", "GET", query("filter", id), "", bob, 400, "M_INVALID_PARAM"},
		{"broken inline", "GET", query("filter", "{"), "", alice, 400, "M_NOT_JSON"},
		{"bad since", "GET", query("since", "x1"), "", alice, 400, "M_INVALID_PARAM"},
		{"bad timeout", "GET", query("timeout", "-1"), "", alice, 400, "M_INVALID_PARAM"},
		{"bad full_state", "GET", query("full_state", "yes"), "", alice, 400, "M_INVALID_PARAM"},
		{"bad presence", "GET", query("set_presence", "away"), "", alice, 400, "M_INVALID_PARAM"},
	} {
		status, body := p.request(ctx, c.method, c.path, c.user, "D", c.body)
		if status != c.status || gjson.Get(body, "errcode").String() != c.code {
			t.Errorf("%s: %d %s", c.what, status, body)
		}
	}
	want(t, "bound", limits.FiltersPerUser > 0, true)
}
