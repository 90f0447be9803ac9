package sync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Each config, in one form or both, and what of a room's state it asks for.
func TestRequiredState(t *testing.T) {
	t.Parallel()
	state := []stateKey{
		{"m.room.create", ""}, {"m.room.topic", ""}, {"org.own", "@a:x"}, {typeMember, "@a:x"}, {typeMember, "@b:x"},
	}
	for _, c := range []struct{ pairs, stable, want string }{
		{`[]`, `{}`, ""},
		{`[["m.room.topic",""]]`, `{"include":[{"type":"m.room.topic","state_key":""}]}`, "topic"},
		{`[["m.room.topic","x"]]`, `{"include":[{"type":"m.room.topic","state_key":"x"}]}`, ""},
		{`[["*","*"]]`, `{"include":[{}]}`, "create topic own a b"},
		{`[["*","*"],["m.room.member","$LAZY"]]`, `{"include":[{}],"lazy_members":true}`, "create topic own"},
		{`[["*","*"],["m.room.member","$LAZY"],["m.room.member","$ME"]]`,
			`{"include":[{},{"type":"m.room.member","state_key":"@a:x"}],"lazy_members":true}`, "create topic own a"},
		{`[["*","$ME"]]`, `{"include":[{"state_key":"@a:x"}]}`, "own a"},
		{`[["*","$ME"],["m.room.member","$LAZY"]]`, `{"include":[{"state_key":"@a:x"}],"lazy_members":true}`, "own a"},
		{`[["m.room.member","*"]]`, `{"include":[{"type":"m.room.member"}]}`, "a b"},
		{`[["m.room.member","$LAZY"]]`, `{"lazy_members":true}`, ""},
		{`[["org.own","$LAZY"]]`, ``, ""},
		{``, `{"include":[{}],"exclude":[{"type":"m.room.create","state_key":""}]}`, "topic own a b"},
		{``, `{"include":[{}],"exclude":[{"state_key":"@a:x"}]}`, "create topic b"},
		{``, `{"include":[{}],"exclude":[{"type":"m.room.member"}],"lazy_members":true}`, "create topic own"},
		{``, `{"exclude":[{}]}`, ""},
	} {
		for stable, text := range map[bool]string{false: c.pairs, true: c.stable} {
			if text == "" {
				continue
			}
			limit := int64(1)
			config, err := (&roomBody{Limit: &limit, Required: []byte(text)}).parse(slidingKey{user: "@a:x", stable: stable})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			var matched, found []string
			w := config.alone.read
			for _, k := range state {
				name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(k.typ, "m.room."), "org."), "member")
				if name == "" {
					name = k.key[1:2]
				}
				if config.alone.matches(k.typ, k.key) {
					matched = append(matched, name)
					// What is asked for has to be among what is read.
					if slices.Contains(w.keys, k) || slices.Contains(w.types, k.typ) || w.whole && (k.typ != typeMember || !w.noMembers) {
						found = append(found, name)
					}
				}
			}
			want(t, text, strings.Join(matched, " "), c.want)
			want(t, text+" read", strings.Join(found, " "), c.want)
		}
	}
}

func TestCombinedConfigsAreSupersets(t *testing.T) {
	t.Parallel()
	config := func(limit int64, text string) *roomConfig {
		c, err := (&roomBody{Limit: &limit, Required: []byte(text)}).parse(slidingKey{stable: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	topic, name := config(3, `{"include":[{"type":"m.room.topic"}]}`), config(1, `{"include":[{"type":"m.room.name"}],"lazy_members":true}`)
	all := config(0, `{"include":[{"type":"m.room.member"}]}`)
	var none *combined
	both := none.combine(topic).combine(name)
	want(t, "limit", both.limit, 3)
	want(t, "both", fmt.Sprint(both.matches("m.room.topic", ""), both.matches("m.room.name", ""), both.matches("x", "")), "true true false")
	want(t, "lazy", both.lazy, true)
	want(t, "again", both.combine(name) == both, true)
	want(t, "lazy beside all members", both.combine(all).lazy, false)
	want(t, "order", reflect.DeepEqual(none.combine(name).combine(topic).hashes, both.hashes), true)
	known, added := both.split(topic.alone.hashes)
	want(t, "known and added", fmt.Sprint(known.matches("m.room.topic", ""), added.matches("m.room.topic", ""), added.matches("m.room.name", "")), "true false true")
}

func TestConnectionStateIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		c := &connection{rooms: map[int64]*sentRoom{}}
		configs := [][]uint64{{1, 1 << 63}, {}, {rnd.Uint64()}}
		for range rnd.IntN(20) {
			room := &sentRoom{
				full: rnd.IntN(2) == 0, dm: rnd.IntN(2) == 0, told: byte(rnd.IntN(32)), limit: rnd.IntN(100),
				at: rnd.Int64N(3) * rnd.Int64N(1<<50), from: rnd.Int64N(3) * rnd.Int64N(1<<50), config: configs[rnd.IntN(3)],
			}
			for range rnd.IntN(3) {
				room.members = append(room.members, fmt.Sprintf("@u%d:x", rnd.IntN(5)))
			}
			c.rooms[rnd.Int64N(1000)] = room
		}
		raw := c.encode()
		have, ok := decodeConnection(raw)
		if !ok || len(have.rooms) != len(c.rooms) {
			t.Fatalf("%d rooms became %d, %v", len(c.rooms), len(have.rooms), ok)
		}
		for nid, room := range c.rooms {
			if !room.same(have.rooms[nid]) {
				t.Fatalf("%+v became %+v", room, have.rooms[nid])
			}
		}
		if len(raw) > 4 {
			cut := raw[:rnd.IntN(len(raw))]
			if _, ok := decodeConnection(cut); ok {
				t.Fatalf("a part of a state is taken for a state: %d of %d bytes", len(cut), len(raw))
			}
		}
		raw[0]++
		if _, ok := decodeConnection(raw); ok {
			t.Fatal("another format is taken for this one")
		}
	}
}

func FuzzConnectionState(f *testing.F) {
	c := &connection{rooms: map[int64]*sentRoom{3: {full: true, at: 7, from: 3, limit: 1, config: []uint64{5}, members: []string{"@a:x"}}}}
	f.Add(c.encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, ok := decodeConnection(raw); ok {
			if again, ok := decodeConnection(c.encode()); !ok || len(again.rooms) != len(c.rooms) {
				t.Errorf("%x", raw)
			}
		}
	})
}

func TestBadSlidingRequestsAreRefused(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.create(alice, roomserver.PresetPublic)
	many := func(n int, entry string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(entry, i))
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	const list = `{"timeline_limit":1,"required_state":%s}`
	long := strings.Repeat("x", limits.SlidingName+1)
	for _, c := range []struct{ name, body, code string }{
		{"not an object", `[]`, "M_BAD_JSON"},
		{"null", `null`, "M_BAD_JSON"},
		{"lists", `{"lists":[]}`, "M_BAD_JSON"},
		{"a null list", `{"lists":{"a":null}}`, "M_INVALID_PARAM"},
		{"no limit", `{"lists":{"a":{}}}`, "M_INVALID_PARAM"},
		{"negative limit", `{"lists":{"a":{"timeline_limit":-1}}}`, "M_INVALID_PARAM"},
		{"limit of a wrong type", `{"lists":{"a":{"timeline_limit":"1"}}}`, "M_BAD_JSON"},
		{"range of one", `{"lists":{"a":{"timeline_limit":1,"range":[1]}}}`, "M_INVALID_PARAM"},
		{"range backwards", `{"lists":{"a":{"timeline_limit":1,"range":[3,1]}}}`, "M_INVALID_PARAM"},
		{"negative range", `{"lists":{"a":{"timeline_limit":1,"ranges":[[-1,1]]}}}`, "M_INVALID_PARAM"},
		{"many ranges", `{"lists":{"a":{"timeline_limit":1,"ranges":[` + strings.Repeat("[0,1],", limits.SlidingRanges) + `[0,1]]}}}`, "M_INVALID_PARAM"},
		{"many lists", `{"lists":` + many(limits.SlidingLists+1, `"l%d":{"timeline_limit":1}`) + `}`, "M_INVALID_PARAM"},
		{"long name", `{"lists":{"` + long + `":{"timeline_limit":1}}}`, "M_INVALID_PARAM"},
		{"many subscriptions", `{"room_subscriptions":` + many(limits.SlidingSubscriptions+1, `"!r%d:x":{"timeline_limit":1}`) + `}`, "M_INVALID_PARAM"},
		{"no room", `{"room_subscriptions":{"room":{"timeline_limit":1}}}`, "M_INVALID_PARAM"},
		{"a null subscription", `{"room_subscriptions":{"!r:x":null}}`, "M_INVALID_PARAM"},
		{"long conn_id", `{"conn_id":"` + long + `"}`, "M_INVALID_PARAM"},
		{"wrong filter", `{"lists":{"a":{"timeline_limit":1,"filters":{"is_dm":1}}}}`, "M_BAD_JSON"},
		{"many tags", `{"lists":{"a":{"timeline_limit":1,"filters":{"tags":[` + strings.Repeat(`"t",`, limits.SlidingFilterList) + `"t"]}}}}`, "M_INVALID_PARAM"},
		{"wrong extension", `{"extensions":{"typing":true}}`, "M_BAD_JSON"},
		{"wrong since", `{"extensions":{"to_device":{"enabled":true,"since":"x"}}}`, "M_INVALID_PARAM"},
		{"negative messages", `{"extensions":{"to_device":{"enabled":true,"limit":-1}}}`, "M_INVALID_PARAM"},
		{"many rooms", `{"extensions":{"receipts":{"rooms":[` + strings.Repeat(`"!r:x",`, limits.SlidingSubscriptions) + `"*"]}}}`, "M_INVALID_PARAM"},
		{"unstable: a pair of one", `U{"lists":{"a":` + fmt.Sprintf(list, `[["x"]]`) + `}}`, "M_INVALID_PARAM"},
		{"unstable: the stable form", `U{"lists":{"a":` + fmt.Sprintf(list, `{}`) + `}}`, "M_BAD_JSON"},
		{"unstable: much state", `U{"lists":{"a":` + fmt.Sprintf(list, `[`+strings.Repeat(`["a","b"],`, limits.SlidingRequiredState)+`["a","b"]]`) + `}}`, "M_INVALID_PARAM"},
		{"stable: the unstable form", `S{"lists":{"a":` + fmt.Sprintf(list, `[]`) + `}}`, "M_BAD_JSON"},
		{"stable: much state", `S{"lists":{"a":` + fmt.Sprintf(list, `{"include":[`+strings.Repeat(`{},`, limits.SlidingRequiredState)+`{}]}`) + `}}`, "M_INVALID_PARAM"},
		{"stable: a name with a space", `S{"lists":{"a b":{"timeline_limit":1}}}`, "M_INVALID_PARAM"},
		{"stable: an empty name", `S{"lists":{"":{"timeline_limit":1}}}`, "M_INVALID_PARAM"},
		{"stable: presence", `S{"set_presence":"asleep"}`, "M_INVALID_PARAM"},
		{"stable: timeout", `S{"timeout":-1}`, "M_INVALID_PARAM"},
		{"stable: pos", `S{"pos":"1"}`, "M_UNKNOWN_POS"},
		{"unstable: presence", `U?set_presence=asleep {}`, "M_INVALID_PARAM"},
		{"unstable: timeout", `U?timeout=-1 {}`, "M_INVALID_PARAM"},
		{"unstable: pos", `U?pos=s1 {}`, "M_UNKNOWN_POS"},
	} {
		for _, stable := range []bool{false, true} {
			body := c.body
			if form := map[bool]string{true: "S", false: "U"}; strings.HasPrefix(body, form[!stable]) {
				continue
			} else {
				body = strings.TrimPrefix(body, form[stable])
			}
			path := "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
			if stable {
				path = "/_matrix/client/v4/sync"
			} else if strings.HasPrefix(body, "?") {
				q, rest, _ := strings.Cut(body, " ")
				path, body = path+q, rest
			}
			status, answer := p.request(context.Background(), "POST", path, alice, "D", body)
			if status != http.StatusBadRequest || gjson.Get(answer, "errcode").String() != c.code {
				t.Errorf("%s, stable %v: %d %s", c.name, stable, status, answer)
			}
		}
	}
}

func TestAPosIsGoodForItsConnectionOnly(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.create(alice, roomserver.PresetPublic)
	c := p.slider(alice, listOf20)
	c.ask()
	for name, other := range map[string]slider{
		"another user":       {user: bob, device: "D", conn: c.conn},
		"another device":     {user: alice, device: "E", conn: c.conn},
		"another connection": {user: alice, device: "D", conn: "other"},
	} {
		other.t, other.p, other.pos, other.lists = t, p, c.pos, c.lists
		if status, body := other.try(0); status != http.StatusBadRequest || gjson.Get(body, "errcode").String() != "M_UNKNOWN_POS" {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for name, pos := range map[string]string{
		"of the future": strings.Replace(c.pos, "s", "s99999", 1),
		"forged":        c.pos[:strings.Index(c.pos, "~")] + "~zzz" + c.pos[strings.Index(c.pos, "~")+4:],
		"cut":           c.pos[:len(c.pos)-2],
		"negative":      strings.Replace(c.pos, "~", "~-", 1),
	} {
		broken := *c
		broken.pos = pos
		if status, body := broken.try(0); status != http.StatusBadRequest || gjson.Get(body, "errcode").String() != "M_UNKNOWN_POS" {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	c.quiet("the connection itself")
}

// Of a device's connections the one that was unused for longest ends when there are too many, and all end with the device.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	clock := &testClock{now: time.Now()}
	p := start(t, newDSN(t)(), options{clock: clock})
	p.device(alice)
	p.create(alice, roomserver.PresetPublic)
	var all []*slider
	for i := range limits.SlidingConnections + 1 {
		c := p.slider(alice, listOf20)
		c.conn = fmt.Sprint(i)
		c.ask()
		clock.add(time.Second)
		all = append(all, c)
	}
	p.sync.connections.clear()
	for i, c := range all {
		status, body := c.try(0)
		if gone := i == 0; (status == http.StatusOK) == gone {
			t.Errorf("connection %d: %d %s", i, status, body)
		}
	}
	p.must(p.store.Write(context.Background(), func(tx *store.Tx) error {
		_, err := tx.DeleteDevices(context.Background(), alice, []matrix.DeviceID{"D"})
		return err
	}))
	p.sync.connections.clear()
	if status, body := all[5].try(0); gjson.Get(body, "errcode").String() != "M_UNKNOWN_POS" {
		t.Errorf("after the device was deleted: %d %s", status, body)
	}
}
