package sync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// slidingClient keeps what it is told, as clients do.
type slidingClient struct {
	slider
	rooms  map[string]*toldRoom
	global map[string]string
}

// toldRoom is what a client knows of a room.
type toldRoom struct {
	membership, name, avatar string
	dm                       bool
	state                    map[string]string
	// events are the end of the timeline that has no gap.
	events      []string
	accountData map[string]string
	receipts    map[string]string
	typing      string
	joined      int64
	// unread are the counts of notifications and highlights.
	unread string
}

var posField = regexp.MustCompile(`^\{"pos":"[^"]*",`)

// askAll makes the request of several processes, which have to give the same answer, and takes it.
func (c *slidingClient) askAll(all map[string]*process) gjson.Result {
	c.t.Helper()
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var first string
	var answer gjson.Result
	for i, name := range names {
		c.p = all[name]
		answer = c.peek()
		rest := posField.ReplaceAllString(answer.Raw, "")
		if i == 0 {
			first = rest
		} else if rest != first {
			path, body := c.request(0)
			c.t.Fatalf("%s %s of %s\n%s: %s\n%s: %s", path, body, c.user, names[0], first, name, rest)
		}
	}
	c.pos = answer.Get("pos").String()
	c.take(answer)
	return answer
}

func (c *slidingClient) take(answer gjson.Result) {
	answer.Get("rooms").ForEach(func(id, room gjson.Result) bool {
		known := c.rooms[id.String()]
		if known == nil && !room.Get("initial").Bool() {
			c.t.Fatalf("%s: the client does not know %s: %s", c.user, id, room.Raw)
		}
		if room.Get("initial").Bool() {
			next := &toldRoom{state: map[string]string{}, accountData: map[string]string{}, receipts: map[string]string{}}
			if known != nil {
				next.accountData, next.receipts, next.typing = known.accountData, known.receipts, known.typing
			}
			known = next
			c.rooms[id.String()] = known
		}
		known.take(room)
		return true
	})
	for _, e := range answer.Get("extensions.account_data.global").Array() {
		c.global[e.Get("type").String()] = e.Get("content").Raw
	}
	answer.Get("extensions.account_data.rooms").ForEach(func(id, list gjson.Result) bool {
		for _, e := range list.Array() {
			c.rooms[id.String()].accountData[e.Get("type").String()] = e.Get("content").Raw
		}
		return true
	})
	answer.Get("extensions.receipts.rooms").ForEach(func(id, event gjson.Result) bool {
		event.Get("content").ForEach(func(event, types gjson.Result) bool {
			types.ForEach(func(typ, users gjson.Result) bool {
				users.ForEach(func(user, receipt gjson.Result) bool {
					c.rooms[id.String()].receipts[user.String()+typ.String()+"|"+receipt.Get("thread_id").String()] = event.String()
					return true
				})
				return true
			})
			return true
		})
		return true
	})
	answer.Get("extensions.typing.rooms").ForEach(func(id, event gjson.Result) bool {
		c.rooms[id.String()].typing = event.Get("content.user_ids").Raw
		return true
	})
}

func (k *toldRoom) take(room gjson.Result) {
	set := func(s *string, v gjson.Result) {
		if v.Exists() {
			*s = v.String()
		}
	}
	set(&k.membership, room.Get("membership"))
	set(&k.name, room.Get("name"))
	set(&k.avatar, room.Get("avatar"))
	if v := room.Get("is_dm"); v.Exists() {
		k.dm = v.Bool()
	}
	if v := room.Get("joined_count"); v.Exists() {
		k.joined = v.Int()
	}
	if v := room.Get("notification_count"); v.Exists() {
		k.unread = v.Raw + " " + room.Get("highlight_count").Raw
	}
	for _, e := range room.Get("required_state").Array() {
		k.state[e.Get("type").String()+"|"+e.Get("state_key").String()] = e.Get("event_id").String()
	}
	if room.Get("limited").Bool() || room.Get("expanded_timeline").Bool() || room.Get("unstable_expanded_timeline").Bool() {
		k.events = nil
	}
	for _, e := range room.Get("timeline").Array() {
		k.events = append(k.events, e.Get("event_id").String())
	}
}

// check compares what the client knows of its joined rooms with the truth.
func (c *slidingClient) check(all map[string]*process) {
	c.t.Helper()
	// The client looks at everything, until there is nothing new.
	before := c.slider
	c.lists, c.subscriptions = `{"l":{"range":[0,99],"timeline_limit":3,"required_state":{"include":[{}]}}}`, ""
	c.extensions = `{"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true}}`
	if !c.stable {
		c.lists = `{"l":{"ranges":[[0,1],[2,99]],"timeline_limit":3,"required_state":[["*","*"]]}}`
	}
	c.askAll(all)
	if again := c.askAll(all); again.Get("rooms").Raw != "{}" {
		c.t.Fatalf("%s was told everything, and there is more: %s", c.user, again.Raw)
	}
	c.lists, c.subscriptions, c.extensions = before.lists, before.subscriptions, before.extensions
	ctx := context.Background()
	st := c.p.store
	memberships, err := st.ListMemberships(ctx, c.user)
	c.p.must(err)
	ignored, err := c.p.sync.hub.user(ctx, c.user)
	c.p.must(err)
	for _, m := range memberships {
		known := c.rooms[string(m.RoomID)]
		_, hidden := ignored.ignored[m.Sender]
		hidden = hidden && m.Membership == memberInvite
		if known == nil {
			if m.Membership == memberLeave || m.Membership == memberBan || hidden {
				continue
			}
			c.t.Fatalf("%s does not know of %s, %s", c.user, m.RoomID, m.Membership)
		}
		if c.stable && known.membership != m.Membership && (!hidden || known.membership == memberJoin) {
			c.t.Fatalf("%s in %s: the client thinks %s, the membership is %s", c.user, m.RoomID, known.membership, m.Membership)
		}
		if m.Membership == memberJoin {
			c.checkRoom(m.RoomNID, m.RoomID, known)
		}
	}
	list, err := st.ListAccountData(ctx, c.user, 0, store.CurrentState, nil)
	c.p.must(err)
	for _, up := range list {
		have := c.global
		if up.RoomNID != 0 {
			if have = nil; c.p.sync.hub.users[c.user].rooms[up.RoomNID].value == memberJoin {
				have = c.rooms[string(c.p.sync.hub.users[c.user].rooms[up.RoomNID].room)].accountData
			}
		}
		if have != nil && have[up.Key] != string(up.Body) {
			c.t.Fatalf("%s: account data %s in %d is %q, the client has %q", c.user, up.Key, up.RoomNID, up.Body, have[up.Key])
		}
	}
}

func (c *slidingClient) checkRoom(nid int64, id matrix.RoomID, known *toldRoom) {
	c.t.Helper()
	ctx := context.Background()
	entries, err := c.p.store.ListState(ctx, nid, store.CurrentState)
	c.p.must(err)
	joined, name := int64(0), ""
	for _, e := range entries {
		if have := known.state[e.Type+"|"+e.StateKey]; have != string(e.EventID) {
			c.t.Fatalf("%s in %s: the client has %q for %s|%s, the room has %s", c.user, id, have, e.Type, e.StateKey, e.EventID)
		}
		if e.Membership == memberJoin {
			joined++
		}
		if e.Type == "m.room.name" {
			event, err := c.p.store.GetEvent(ctx, nid, e.EventID)
			c.p.must(err)
			name = gjson.GetBytes(event.JSON, "content.name").String()
		}
	}
	want(c.t, "joined members told", known.joined, joined)
	want(c.t, "name told", known.name, name)
	if !c.stable {
		unread, err := c.p.sync.cfg.Push.Unread(ctx, c.user, []int64{nid})
		c.p.must(err)
		n := unread[nid].Total()
		want(c.t, fmt.Sprintf("counts told to %s of %s", c.user, id), known.unread, fmt.Sprintf("%d %d", n.Notifications, n.Highlights))
	}
	events, _, err := c.p.store.ListRoomEvents(ctx, nid, 0, store.CurrentState, 10_000)
	c.p.must(err)
	var ids []string
	for _, e := range events {
		ids = append(ids, string(e.EventID))
	}
	// What ignored users said is left out, and what the user was not there to see.
	if tail := ids[max(0, len(ids)-len(known.events)):]; !slices.Equal(tail, known.events) && !c.mayDiffer(events) {
		c.t.Fatalf("%s in %s: the client has the timeline\n%s, the room\n%s", c.user, id, strings.Join(known.events, "\n"), strings.Join(tail, "\n"))
	}
	receipts, err := c.p.store.ListReceipts(ctx, []store.Window{{RoomNID: nid, UpTo: store.CurrentState}}, c.user, 1000)
	c.p.must(err)
	for _, up := range receipts {
		event := gjson.GetBytes(up.Body, "event_id").String()
		typ, _ := cutReceipt(up.Key)
		if known.receipts[string(up.UserID)+up.Key] != event && known.receipts[string(up.UserID)+typ+"|"] != event {
			c.t.Fatalf("%s in %s: the receipt %s of %s is %s, the client has %v", c.user, id, up.Key, up.UserID, event, known.receipts)
		}
	}
}

// mayDiffer reports whether the user may not see all of the room's events, so that the timelines cannot be compared simply.
func (c *slidingClient) mayDiffer(events []store.Event) bool {
	u, err := c.p.sync.hub.user(context.Background(), c.user)
	c.p.must(err)
	for i := range events {
		_, ignored := u.ignored[events[i].Sender]
		if ignored || events[i].Type == "m.room.history_visibility" {
			return true
		}
	}
	return false
}

var someLists = []string{
	`{"l":{"RANGE","timeline_limit":1,REQUIRED}}`,
	`{"l":{"RANGE","timeline_limit":3,REQUIRED},"all":{"ALL","timeline_limit":1,REQUIRED}}`,
	`{"l":{"RANGE","timeline_limit":0,REQUIRED,"filters":{"is_dm":false,"not_tags":["m.favourite"]}}}`,
	`{"l":{"RANGE","timeline_limit":20,REQUIRED,"filters":{"INVITED":false}}}`,
	``,
}

var someRequired = [][2]string{
	{`"required_state":[]`, `"required_state":{}`},
	{`"required_state":[["m.room.topic",""],["m.room.member","$LAZY"],["m.room.member","$ME"]]`, `"required_state":{"include":[{"type":"m.room.topic","state_key":""}],"lazy_members":true}`},
	{`"required_state":[["*","*"]]`, `"required_state":{"include":[{}]}`},
	{`"required_state":[["*",""],["m.room.member","$LAZY"]]`, `"required_state":{"include":[{"state_key":""}],"exclude":[{"type":"m.room.topic"}],"lazy_members":true}`},
	{`"required_state":[["org.example.own","*"],["m.room.member","*"]]`, `"required_state":{"include":[{"type":"org.example.own"},{"type":"m.room.member"}]}`},
}

// configure gives the client something to look at.
func (c *slidingClient) configure(rnd *rand.Rand, rooms []matrix.RoomID) {
	form := 0
	ranges := fmt.Sprintf(`ranges":[[0,%d]],"x":"`, rnd.IntN(4))
	every := `ranges":[[0,99]],"x":"`
	if c.stable {
		form = 1
		ranges, every = fmt.Sprintf(`range":[0,%d],"x":"`, rnd.IntN(4)), `timeline_limit":1,"x":"`
	}
	fill := strings.NewReplacer("RANGE", ranges, "ALL", every, "REQUIRED", someRequired[rnd.IntN(len(someRequired))][form],
		"INVITED", []string{"is_invite", "is_invited"}[form])
	c.lists = fill.Replace(pick(rnd, someLists...))
	if c.stable {
		c.lists = strings.ReplaceAll(c.lists, `"timeline_limit":1,"x":"","timeline_limit":1`, `"timeline_limit":1`)
	}
	c.subscriptions = ""
	if rnd.IntN(2) == 0 && len(rooms) > 0 {
		c.subscriptions = fill.Replace(fmt.Sprintf(`{%q:{"timeline_limit":%d,REQUIRED}}`, rooms[rnd.IntN(len(rooms))], rnd.IntN(6)))
	}
	c.extensions = pick(rnd, ``, `{"account_data":{"enabled":true}}`, `{"receipts":{"enabled":true,"rooms":["*"],"lists":[]},"typing":{"enabled":true}}`,
		`{"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true,"lists":["l"]}}`)
}

// After any history the union of what sliding sync told is what is true, and what the ring tells and what the database tells is
// the same, whichever process answers.
func TestSlidingSyncTellsTheTruth(t *testing.T) {
	t.Parallel()
	number := *seed
	if number == 0 {
		number = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", number)
	rnd := rand.New(rand.NewPCG(number, 2))
	clock := &testClock{now: time.Now()}
	dsn := storetest.DSN(t)
	writer := start(t, storetest.Open(t, dsn), options{clock: clock, number: 1})
	all := map[string]*process{
		"writer":    writer,
		"tiny ring": start(t, storetest.Open(t, dsn), options{clock: clock, number: 2, ring: 5}),
		"database":  start(t, storetest.Open(t, dsn), options{clock: clock, number: 3, noRing: true}),
	}
	sc := &scenario{p: writer, rnd: rnd, clock: clock, users: []matrix.UserID{alice, bob, carol, dave}, sent: make(map[matrix.RoomID][]matrix.EventID)}
	clients := make(map[matrix.UserID]*slidingClient)
	for i, u := range sc.users {
		clients[u] = &slidingClient{slider: slider{t: t, user: u, device: "D", conn: "c", stable: i%2 == 0}}
	}
	for range 150 {
		for range rnd.IntN(12) {
			sc.step()
		}
		for _, p := range all {
			p.must(p.journal.WaitFor(context.Background(), writer.journal.Head()))
		}
		c := clients[sc.user()]
		if c.pos == "" || rnd.IntN(30) == 0 {
			c.pos, c.rooms, c.global = "", make(map[string]*toldRoom), make(map[string]string)
		}
		if rnd.IntN(3) == 0 {
			c.configure(rnd, sc.rooms)
		}
		c.askAll(all)
		switch rnd.IntN(4) {
		case 0:
			c.check(all)
		case 1:
			for _, p := range all {
				p.sync.connections.clear() // as if it had been started afresh
			}
		}
	}
}
