package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
)

// slider is a connection of sliding sync, in either form.
type slider struct {
	t      testing.TB
	p      *process
	user   matrix.UserID
	device string
	conn   string
	stable bool
	pos    string
	// lists, subscriptions and extensions are the parts of the body.
	lists, subscriptions, extensions string
}

func (p *process) slider(user matrix.UserID, lists string) *slider {
	return &slider{t: p.t, p: p, user: user, device: "D", conn: "room-list", lists: lists}
}

// body is the request's; timeout is in milliseconds.
func (c *slider) request(timeout int) (path, body string) {
	parts := []string{fmt.Sprintf(`"conn_id":%q`, c.conn)}
	for name, part := range map[string]string{"lists": c.lists, "room_subscriptions": c.subscriptions, "extensions": c.extensions} {
		if part != "" {
			parts = append(parts, fmt.Sprintf(`%q:%s`, name, part))
		}
	}
	if c.stable {
		parts = append(parts, fmt.Sprintf(`"timeout":%d`, timeout))
		if c.pos != "" {
			parts = append(parts, fmt.Sprintf(`"pos":%q`, c.pos))
		}
		return "/_matrix/client/v4/sync", "{" + strings.Join(parts, ",") + "}"
	}
	q := url.Values{"timeout": {fmt.Sprint(timeout)}}
	if c.pos != "" {
		q.Set("pos", c.pos)
	}
	return "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?" + q.Encode(), "{" + strings.Join(parts, ",") + "}"
}

// ask makes a request and takes its pos.
func (c *slider) ask() gjson.Result {
	c.t.Helper()
	answer := c.peek()
	c.pos = answer.Get("pos").String()
	return answer
}

// peek makes a request of which the client does not get the answer.
func (c *slider) peek() gjson.Result {
	c.t.Helper()
	status, body := c.try(0)
	if status != http.StatusOK {
		c.t.Fatalf("sliding sync of %s: %d %s", c.user, status, body)
	}
	if !json.Valid([]byte(body)) {
		c.t.Fatalf("sliding sync of %s: not JSON: %s", c.user, body)
	}
	return gjson.Parse(body)
}

func (c *slider) try(timeout int) (int, string) {
	path, body := c.request(timeout)
	return c.p.request(context.Background(), "POST", path, c.user, c.device, body)
}

// quiet makes a request to which nothing must be told.
func (c *slider) quiet(what string) {
	c.t.Helper()
	if answer := c.ask(); answer.Get("rooms").Raw != "{}" || answer.Get("extensions").Raw != "{}" {
		c.t.Errorf("%s: there is something new: %s", what, answer.Raw)
	}
}

// of is what an answer says of a room.
func of(answer gjson.Result, room matrix.RoomID) gjson.Result {
	return answer.Get("rooms." + gjson.Escape(string(room)))
}

// texts are those of a room's timeline.
func texts(room gjson.Result) string {
	var list []string
	for _, e := range room.Get("timeline").Array() {
		if body := e.Get("content.body"); body.Exists() {
			list = append(list, body.String())
		}
	}
	return strings.Join(list, " ")
}

const (
	listOf20  = `{"all":{"ranges":[[0,19]],"timeline_limit":1,"required_state":[["m.room.member","$LAZY"],["m.room.member","$ME"],["m.room.topic",""]]}}`
	stable20  = `{"all":{"range":[0,19],"timeline_limit":1,"required_state":{"include":[{"type":"m.room.topic","state_key":""}],"lazy_members":true}}}`
	everyRoom = `{"all":{"ranges":[[0,999]],"timeline_limit":20,"required_state":[["*","*"]]}}`
)

func TestSlidingSyncTellsTheWindowAndThenWhatIsNew(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	for _, stable := range []bool{false, true} {
		var rooms []matrix.RoomID
		for range 4 {
			rooms = append(rooms, p.create(alice, roomserver.PresetPublic))
		}
		user := map[bool]matrix.UserID{false: bob, true: carol}[stable]
		p.join(user, rooms...)
		p.state(alice, rooms[2], "m.room.topic", "", `{"topic":"T"}`)
		p.say(alice, rooms[1], "one")
		c := p.slider(user, strings.Replace(listOf20, "19", "1", 1))
		if c.stable = stable; stable {
			c.lists, c.conn = strings.Replace(stable20, "19", "1", 1), "stable"
		}
		first := c.ask()
		want(t, "count", first.Get("lists.all.count"), 4)
		want(t, "rooms", len(first.Get("rooms").Map()), 2)
		top := of(first, rooms[1])
		want(t, "initial", top.Get("initial"), true)
		want(t, "timeline", texts(top), "one")
		want(t, "limited", top.Get("limited"), true)
		want(t, "live", top.Get("num_live"), 0)
		want(t, "joined", top.Get("joined_count"), 2)
		want(t, "heroes", top.Get("heroes.#.user_id").Raw, `["@alice:example.org"]`)
		want(t, "members", membersIn(top.Get("required_state")), map[bool]string{false: "alice bob", true: "alice"}[stable])
		want(t, "topic", of(first, rooms[2]).Get(`required_state.#(type=="m.room.topic").content.topic`), "T")
		want(t, "membership", top.Get("membership"), map[bool]string{false: "", true: "join"}[stable])
		want(t, "lists", top.Get("lists").Raw, map[bool]string{false: "", true: `["all"]`}[stable])
		c.quiet("nothing happened")

		p.say(alice, rooms[1], "two")
		second := c.ask()
		want(t, "rooms", len(second.Get("rooms").Map()), 1)
		known := of(second, rooms[1])
		want(t, "initial", known.Get("initial").Exists(), false)
		want(t, "timeline", texts(known), "two")
		want(t, "live", known.Get("num_live"), 1)
		want(t, "state", known.Get("required_state").Exists(), false)
		c.quiet("told")

		// A room outside comes into the window, the one that leaves it is not told of.
		p.say(alice, rooms[3], "three")
		third := c.ask()
		want(t, "rooms", len(third.Get("rooms").Map()), 1)
		want(t, "initial", of(third, rooms[3]).Get("initial"), true)
		want(t, "live", of(third, rooms[3]).Get("num_live"), 1)
		p.say(alice, rooms[2], "four")
		if again := of(c.ask(), rooms[2]); again.Get("initial").Exists() || texts(again) != "four" || again.Get("limited").Bool() {
			t.Errorf("a room that comes back: %s", again.Raw)
		}
		p.say(alice, rooms[2], "x")
		p.say(alice, rooms[1], "y")
		c.ask()
	}
}

func TestSlidingAnswerThatGotLostIsGivenAgain(t *testing.T) {
	t.Parallel()
	dsn := newDSN(t)
	one, two := start(t, dsn(), options{number: 1}), start(t, dsn(), options{number: 2})
	room, other := one.create(alice, roomserver.PresetPublic), one.create(alice, roomserver.PresetPublic)
	one.join(bob, room, other)
	c := one.slider(bob, strings.Replace(listOf20, "19", "0", 1))
	c.ask()
	one.say(alice, room, "hello")
	lost := c.peek()
	want(t, "told", texts(of(lost, room)), "hello")
	c.p = two
	two.must(two.journal.WaitFor(context.Background(), one.journal.Head()))
	again := c.ask()
	want(t, "told again by another process", texts(of(again, room)), "hello")
	want(t, "initial again", of(again, room).Get("initial"), of(lost, room).Get("initial"))
	c.quiet("told")
	// The position before the last one is gone as soon as the client has come back with a later one that had to be remembered.
	old := c.pos
	for range 2 {
		// Something happens in the room that does not come into the window.
		two.say(alice, room, "more")
		two.say(alice, other, "more")
		c.ask()
		two.say(alice, other, "more")
		two.say(alice, room, "more")
		c.ask()
	}
	c.pos = old
	one.say(alice, other, "and more")
	c.p = one
	one.sync.connections = newRecent[connectionKey, *connection](1)
	if status, body := c.try(0); status != http.StatusBadRequest || gjson.Get(body, "errcode").String() != "M_UNKNOWN_POS" {
		t.Errorf("an old pos: %d %s", status, body)
	}
}

// newDSN makes a database and returns what opens it.
func newDSN(t testing.TB) func() *store.Store {
	dsn := storetest.DSN(t)
	return func() *store.Store { return storetest.Open(t, dsn) }
}
