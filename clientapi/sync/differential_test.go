package sync

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
)

var seed = flag.Uint64("seed", 0, "seed of the random scenario; 0 takes the time")

// scenario lets users do random things in rooms.
type scenario struct {
	p     *process
	rnd   *rand.Rand
	clock *testClock
	users []matrix.UserID
	rooms []matrix.RoomID
	sent  map[matrix.RoomID][]matrix.EventID
}

func (sc *scenario) user() matrix.UserID { return sc.users[sc.rnd.IntN(len(sc.users))] }
func (sc *scenario) room() matrix.RoomID { return sc.rooms[sc.rnd.IntN(len(sc.rooms))] }

func pick(rnd *rand.Rand, list ...string) string { return list[rnd.IntN(len(list))] }

// step does one thing. That it is forbidden is as good as anything else.
func (sc *scenario) step() {
	ctx := context.Background()
	rnd, p, user := sc.rnd, sc.p, sc.user()
	sc.clock.add(time.Duration(rnd.IntN(1000)) * time.Millisecond)
	if len(sc.rooms) == 0 || len(sc.rooms) < 6 && rnd.IntN(20) == 0 {
		sc.rooms = append(sc.rooms, p.create(user, pick(rnd, roomserver.PresetPublic, roomserver.PresetPublic, roomserver.PresetPrivate)))
	}
	room := sc.room()
	m := roomserver.Membership{Room: room, Sender: user, Target: user}
	other := roomserver.Membership{Room: room, Sender: user, Target: sc.user()}
	content := func(key, value string) []byte { return fmt.Appendf(nil, `{%q:%q}`, key, value) }
	send := func(typ string, key *string, content []byte) {
		e := roomserver.NewEvent{Room: room, Sender: user, Type: typ, StateKey: key, Content: content}
		if rnd.IntN(4) == 0 {
			e.Sticky = time.Duration(1+rnd.IntN(60)) * time.Second
		}
		id, err := p.rooms.Send(ctx, e)
		if err == nil {
			sc.sent[room] = append(sc.sent[room], id)
		}
	}
	empty, own := "", string(user)
	switch rnd.IntN(26) {
	case 0, 1, 2:
		p.rooms.Join(ctx, m)
	case 3:
		p.rooms.Leave(ctx, m)
	case 4:
		p.rooms.Invite(ctx, other)
	case 5:
		p.rooms.Kick(ctx, other)
	case 6:
		p.rooms.Ban(ctx, other)
	case 7:
		p.rooms.Unban(ctx, other)
	case 8:
		p.rooms.Knock(ctx, m)
	case 9, 10:
		send("m.room.topic", &empty, content("topic", fmt.Sprint(rnd.IntN(100))))
	case 11:
		send("m.room.name", &empty, content("name", pick(rnd, "", "A", "B")))
	case 12:
		send("org.example.own", &own, content("x", fmt.Sprint(rnd.IntN(100))))
	case 13:
		send("m.room.history_visibility", &empty, content("history_visibility", pick(rnd, "joined", "invited", "shared", "world_readable")))
	case 14:
		send(typeMember, &own, fmt.Appendf(nil, `{"displayname":"n%d","membership":"join"}`, rnd.IntN(100)))
	case 15:
		if sent := sc.sent[room]; len(sent) > 0 {
			p.rooms.Send(ctx, roomserver.NewEvent{
				Room: room, Sender: user, Type: "m.room.redaction", Redacts: sent[rnd.IntN(len(sent))], Content: content("reason", "r"),
			})
		}
	case 16:
		sc.update(user, room)
	case 17:
		sc.update(user, room)
	case 18:
		if rnd.IntN(4) == 0 {
			send("m.room.join_rules", &empty, content("join_rule", pick(rnd, "public", "invite", "knock")))
		}
	default:
		send("m.room.message", nil, content(pick(rnd, "body", "url"), fmt.Sprint(rnd.IntN(1000))))
	}
}

func (sc *scenario) update(user matrix.UserID, room matrix.RoomID) {
	rnd, nid := sc.rnd, sc.p.nid(room)
	ts := int64(matrix.TimestampOf(sc.clock.Now()))
	up := store.Update{UserID: user, RoomNID: nid}
	switch rnd.IntN(7) {
	case 0:
		up.Kind, up.Key = store.KindReceipt, pick(rnd, "m.read|", "m.read|main", "m.read.private|")
		if len(sc.sent[room]) == 0 {
			return
		}
		event := sc.sent[room][rnd.IntN(len(sc.sent[room]))]
		// As the API has it: of who is in the room, and forward only.
		target, err := sc.p.store.GetMarkerTarget(context.Background(), room, user, up.Kind, up.Key, event)
		if err != nil || target.Membership != memberJoin || target.MarkedPosition >= target.EventPosition {
			return
		}
		up.Body = fmt.Appendf(nil, `{"event_id":%q,"ts":%d,"position":%d}`, event, ts, target.EventPosition)
	case 1:
		up.Kind, up.Body = store.KindTyping, fmt.Appendf(nil, `{"until":%d}`, int64(rnd.IntN(2))*(ts+3000))
	case 2:
		up.Kind, up.Key, up.Body = store.KindAccountData, pick(rnd, "m.tag", "m.fully_read"), fmt.Appendf(nil, `{"n":%d}`, rnd.IntN(99))
	case 3:
		up.RoomNID, up.Kind, up.Key, up.Body = 0, store.KindAccountData, pick(rnd, "m.direct", "a"), fmt.Appendf(nil, `{"n":%d}`, rnd.IntN(99))
	case 4:
		up.RoomNID, up.Kind = 0, store.KindPresence
		up.Body = fmt.Appendf(nil, `{"presence":%q,"last_active_ts":%d}`, pick(rnd, "online", "offline"), ts)
	case 6:
		up.RoomNID, up.Kind, up.Key = 0, store.KindDeviceList, pick(rnd, "", "", string(sc.user()))
	case 5:
		up.RoomNID, up.Kind, up.Key = 0, store.KindAccountData, ignoredUsers
		up.Body = fmt.Appendf(nil, `{"ignored_users":{%q:{}}}`, pick(rnd, string(sc.user()), "@nobody:example.org"))
	}
	sc.p.put(up)
}

var someFilters = []string{
	"",
	`{"room":{"timeline":{"limit":1}}}`,
	`{"room":{"timeline":{"limit":0}}}`,
	`{"room":{"timeline":{"limit":3},"state":{"lazy_load_members":true}}}`,
	`{"room":{"timeline":{"limit":5,"types":["m.room.message"]},"include_leave":true}}`,
	`{"room":{"timeline":{"not_types":["m.room.*"]},"state":{"not_types":["m.room.member"]}}}`,
	`{"room":{"timeline":{"limit":4,"contains_url":true},"ephemeral":{"types":["m.receipt"]},"state":{"types":["*topic"]}},"presence":{"types":[]}}`,
	`{"room":{"timeline":{"limit":2,"not_senders":["@alice:example.org"],"types":["*_.room%*","m.room.m*"]},"state":{"lazy_load_members":true,"include_redundant_members":true}}}`,
}

var nextBatch = regexp.MustCompile(`^(\{"next_batch":"s\d+)_\d+`)

// lookedAt is an answer as if the messages to the device had been looked at. A process that knows that there are none since it came to
// know of the user does not look, so that the second position of the token depends on when that was.
func lookedAt(answer string) string { return nextBatch.ReplaceAllString(answer, "$1") }

// What the ring tells and what the database tells is the same, whichever process answers.
func TestRingAndDatabaseTellTheSame(t *testing.T) {
	t.Parallel()
	number := *seed
	if number == 0 {
		number = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", number)
	rnd := rand.New(rand.NewPCG(number, 1))
	clock := &testClock{now: time.Now()}
	dsn := storetest.DSN(t)
	writer := start(t, storetest.Open(t, dsn), options{clock: clock, number: 1})
	others := map[string]*process{
		"ring of another process": start(t, storetest.Open(t, dsn), options{clock: clock, number: 2}),
		"tiny ring":               start(t, storetest.Open(t, dsn), options{clock: clock, number: 3, ring: 5}),
		"database":                start(t, storetest.Open(t, dsn), options{clock: clock, number: 4, noRing: true}),
	}
	sc := &scenario{p: writer, rnd: rnd, clock: clock, users: []matrix.UserID{alice, bob, carol, dave}, sent: make(map[matrix.RoomID][]matrix.EventID)}
	clients := make(map[matrix.UserID]*client)
	for i, u := range sc.users {
		clients[u] = &client{user: u, after: i%2 == 0, limit: 1 + i}
	}
	tokens := []int64{0}
	for range 150 {
		for range rnd.IntN(12) {
			sc.step()
		}
		for _, other := range others {
			other.must(other.journal.WaitFor(context.Background(), writer.journal.Head()))
		}
		user := sc.user()
		since := tokens[rnd.IntN(len(tokens))]
		if rnd.IntN(3) > 0 {
			since = tokens[max(0, len(tokens)-1-rnd.IntN(3))]
		}
		parameters := []string{"since", fmt.Sprintf("s%d", since), "filter", pick(rnd, someFilters...), "use_state_after", pick(rnd, "true", "false"), stickyQuery, pick(rnd, "true", "false")}
		switch rnd.IntN(12) {
		case 0:
			parameters = parameters[2:]
		case 1:
			parameters = append(parameters, "full_state", "true")
		}
		path := query(parameters...)
		_, expected := writer.request(context.Background(), "GET", path, user, "", "")
		if !gjson.Valid(expected) {
			t.Fatalf("%s: not JSON: %s", path, expected)
		}
		for name, other := range others {
			if _, have := other.request(context.Background(), "GET", path, user, "", ""); lookedAt(have) != lookedAt(expected) {
				t.Fatalf("%s of %s\nring:  %s\n%s: %s", path, user, expected, name, have)
			}
		}
		tokens = append(tokens, writer.sync.hub.now())
		if c := clients[user]; rnd.IntN(2) == 0 {
			c.sync(t, writer)
			c.check(t, writer)
		}
	}
}

// client keeps the state of its rooms as clients do.
type client struct {
	user  matrix.UserID
	after bool
	limit int
	next  string
	rooms map[string]map[string]string
}

func (c *client) sync(t *testing.T, p *process) {
	t.Helper()
	parameters := []string{"filter", fmt.Sprintf(`{"room":{"timeline":{"limit":%d}}}`, c.limit)}
	if c.next != "" {
		parameters = append(parameters, "since", c.next)
	} else {
		c.rooms = make(map[string]map[string]string)
	}
	if c.after {
		parameters = append(parameters, "use_state_after", "true")
	}
	answer := p.get(c.user, parameters...)
	c.next = answer.Get("next_batch").String()
	answer.Get("rooms.join").ForEach(func(id, room gjson.Result) bool {
		if c.rooms[id.String()] == nil {
			c.rooms[id.String()] = make(map[string]string)
		}
		lists := []gjson.Result{room.Get("state.events"), room.Get("timeline.events")}
		if c.after {
			lists = []gjson.Result{room.Get("state_after.events")}
		}
		for _, list := range lists {
			for _, e := range list.Array() {
				if key := e.Get("state_key"); key.Exists() {
					c.rooms[id.String()][e.Get("type").String()+"|"+key.String()] = e.Get("event_id").String()
				}
			}
		}
		return true
	})
	for _, section := range []string{"leave", "invite", "knock"} {
		answer.Get("rooms." + section).ForEach(func(id, _ gjson.Result) bool {
			delete(c.rooms, id.String())
			return true
		})
	}
}

// check compares the client's state with the rooms'.
func (c *client) check(t *testing.T, p *process) {
	t.Helper()
	ctx := context.Background()
	memberships, err := p.store.ListMemberships(ctx, c.user)
	p.must(err)
	joined := 0
	for _, m := range memberships {
		if m.Membership != memberJoin {
			continue
		}
		joined++
		entries, err := p.store.ListState(ctx, m.RoomNID, store.CurrentState)
		p.must(err)
		have := c.rooms[string(m.RoomID)]
		for _, e := range entries {
			if key := e.Type + "|" + e.StateKey; have[key] != string(e.EventID) {
				t.Fatalf("%s in %s after %s: the client has %q for %s, the room has %s", c.user, m.RoomID, c.next, have[key], key, e.EventID)
			}
		}
		if len(have) != len(entries) {
			t.Fatalf("%s in %s: the client has %d state events, the room %d", c.user, m.RoomID, len(have), len(entries))
		}
	}
	if joined != len(c.rooms) {
		var list []string
		for id := range c.rooms {
			list = append(list, id)
		}
		t.Fatalf("%s is in %d rooms, the client is in %s", c.user, joined, strings.Join(list, " "))
	}
}
