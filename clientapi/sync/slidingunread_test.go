package sync

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// read puts a receipt for an event, as any device of the user can.
func (p *process) read(user matrix.UserID, room matrix.RoomID, key string, event matrix.EventID) {
	p.t.Helper()
	e, err := p.store.GetEvent(p.t.Context(), p.nid(room), event)
	p.must(err)
	p.put(store.Update{
		Kind: store.KindReceipt, RoomNID: p.nid(room), UserID: user, Key: key,
		Body: fmt.Appendf(nil, `{"event_id":%q,"ts":1,"position":%d}`, event, e.Position),
	})
}

// unreadOf are the counts of notifications and highlights that an answer has for a room.
func unreadOf(answer gjson.Result, room matrix.RoomID) string {
	r := of(answer, room)
	return r.Get("notification_count").Raw + " " + r.Get("highlight_count").Raw
}

func TestSlidingCountsFollowTheUsersReceipts(t *testing.T) {
	t.Parallel()
	dsn := newDSN(t)
	one, two := start(t, dsn(), options{number: 1}), start(t, dsn(), options{number: 2})
	room, outside := one.create(alice, roomserver.PresetPublic), one.create(alice, roomserver.PresetPublic)
	one.join(bob, room, outside)
	one.say(alice, outside, "m1")
	said := one.say(alice, outside, "m2")
	one.say(alice, room, "first")
	c := one.slider(bob, listOf20)
	stable := one.slider(bob, stable20)
	stable.conn, stable.stable = "stable", true
	want(t, "the stable form has none", of(stable.ask(), room).Get("notification_count").Exists(), false)
	before := c.ask()
	want(t, "first", strings.HasSuffix(unreadOf(before, room), " 0") && unreadOf(before, outside) != "0 0", true)
	last := one.event(roomserver.NewEvent{
		Room: room, Sender: alice, Type: "m.room.message",
		Content: []byte(`{"body":"x","msgtype":"m.text","m.mentions":{"user_ids":["@bob:example.org"]}}`),
	})
	mentioned := c.ask()
	want(t, "highlights", of(mentioned, room).Get("highlight_count").Raw, "1")

	// Others' receipts are nothing to tell; the user's are, whichever process takes them, and whether private or not.
	one.read(alice, room, "m.read|", last)
	c.quiet("another's receipt")
	caughtUp(one, two)
	two.read(bob, room, "m.read.private|", last)
	caughtUp(two, one)
	answer := c.peek()
	want(t, "read on another device", unreadOf(answer, room), "0 0")
	want(t, "only the counts", of(answer, room).Get("timeline").Exists() || of(answer, room).Get("required_state").Exists(), false)
	want(t, "only that room", len(answer.Get("rooms").Map()), 1)
	c.p = two
	want(t, "by the other process", unreadOf(c.ask(), room), "0 0")
	c.quiet("told")
	if answer := stable.ask(); strings.Contains(answer.Raw, "notification_count") {
		t.Errorf("the stable form tells counts: %s", answer.Raw)
	}

	// What was read while the client looked at another room is told when it looks at the room again.
	all := c.lists
	c.lists = strings.Replace(all, "19", "0", 1)
	c.ask()
	two.read(bob, outside, "m.read|", said)
	c.quiet("outside the window")
	caughtUp(two, one)
	one.say(alice, room, "goes on")
	caughtUp(one, two)
	want(t, "goes on", unreadOf(c.ask(), outside), " ")
	c.lists = all
	c.p.sync.noRing = true // as when it was long ago
	want(t, "back in the window", unreadOf(c.ask(), outside), "0 0")
	c.quiet("told")
	want(t, "unread elsewhere", unreadOf(c.ask(), room), " ")

	// Another rule, or somebody else to ignore, changes the counts of all rooms.
	two.put(store.Update{Kind: store.KindAccountData, UserID: bob, Key: ignoredUsers, Body: []byte(`{"ignored_users":{"@alice:example.org":{}}}`)})
	want(t, "ignored", unreadOf(c.ask(), room), "0 0")
}
