package clientapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// together is a room that alice made and bob joined, on the process of each.
func together(t *testing.T) (alice, bob *client, id string) { return newDeployment(t).together() }

func (d *deployment) together() (alice, bob *client, id string) {
	d.t.Helper()
	one, two := d.process(), d.process()
	alice, bob = one.client("alice"), two.client("bob")
	id = alice.create(object{"preset": "public_chat"})
	bob.join(id)
	return alice, bob, id
}

func (c *client) data(id string) string {
	path := "/user/" + esc(c.user)
	if id != "" {
		path += "/rooms/" + esc(id)
	}
	return path
}

// updates are what the database holds of one kind for a user.
func (c *client) updates(kind store.Kind) []store.Update {
	c.p.t.Helper()
	list, err := c.p.store.ListUserUpdates(c.p.t.Context(), matrix.UserID(c.user), kind, 0, 1<<60)
	must(c.p.t, err)
	return list
}

func TestAccountDataIsKeptPerUserAndRoom(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	for _, scope := range []string{alice.data(""), alice.data(id)} {
		path := scope + "/account_data/org.example.a"
		alice.refused(404, "M_NOT_FOUND", "GET", path, nil)
		alice.ok("PUT", path, `{"x": {"y": 1.5}}`)
		alice.ok("PUT", path, object{"n": 2.0, "scope": scope})
		if got := alice.ok("GET", path, nil); got.text("scope") != scope || got["n"] != 2.0 {
			t.Errorf("%s holds %v", path, got)
		}
		bob.refused(403, "M_FORBIDDEN", "GET", path, nil)
		bob.refused(403, "M_FORBIDDEN", "PUT", path, object{})
		for _, managed := range []string{"m.fully_read", "m.push_rules"} {
			alice.refused(405, "M_BAD_JSON", "PUT", scope+"/account_data/"+managed, object{})
			if managed == "m.push_rules" && scope == alice.data("") {
				alice.ok("GET", scope+"/account_data/"+managed, nil) // who never changed any has the predefined ones
				continue
			}
			alice.refused(404, "M_NOT_FOUND", "GET", scope+"/account_data/"+managed, nil)
		}
		alice.refused(400, "M_BAD_JSON", "PUT", path, `[1]`)
		alice.refused(400, "M_BAD_JSON", "PUT", path, `null`)
		alice.refused(400, "M_NOT_JSON", "PUT", path, ``)
		alice.refused(400, "M_NOT_JSON", "PUT", path, `{"a":`)
		alice.refused(400, "M_INVALID_PARAM", "PUT", scope+"/account_data/"+strings.Repeat("t", 256), object{})
	}
	alice.refused(413, "M_TOO_LARGE", "PUT", alice.data("")+"/account_data/big", object{"a": strings.Repeat("x", 256<<10)})
	alice.refused(404, "M_NOT_FOUND", "PUT", alice.data("!nowhere:one.test")+"/account_data/a", object{})
	alice.refused(400, "M_INVALID_PARAM", "PUT", alice.data("nowhere")+"/account_data/a", object{})
	// A room that exists is as one that doesn't for who never had to do with it.
	other := bob.create(object{})
	alice.refused(404, "M_NOT_FOUND", "GET", alice.data(other)+"/account_data/a", nil)
}

func TestAccountDataIsBounded(t *testing.T) {
	t.Parallel()
	alice, _, _ := together(t)
	big := object{"a": strings.Repeat("x", 250<<10)}
	status := 200
	n := 0
	for ; status == 200 && n < 100; n++ {
		status, _ = alice.do("PUT", fmt.Sprintf("%s/account_data/big%d", alice.data(""), n), big)
	}
	if status != 413 || n < 60 {
		t.Errorf("the %dth value was answered with %d", n, status)
	}
	// What is there can still be made smaller.
	alice.ok("PUT", alice.data("")+"/account_data/big0", object{})
}

func TestTagsOfTwoDevicesAreAllKept(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	elsewhere := alice.at(bob.p)
	var wg sync.WaitGroup
	for i := range 20 {
		c := alice
		if i%2 == 1 {
			c = elsewhere
		}
		wg.Go(func() {
			if status, answer := c.do("PUT", fmt.Sprintf("%s/tags/u.%d", c.data(id), i), object{"order": 0.5}); status != 200 {
				t.Errorf("tag %d: %d %v", i, status, answer)
			}
		})
	}
	wg.Wait()
	if tags := alice.ok("GET", alice.data(id)+"/tags", nil).inner("tags"); len(tags) != 20 {
		t.Errorf("%d tags are left of 20", len(tags))
	}
	if tags := bob.ok("GET", bob.data(id)+"/tags", nil).inner("tags"); len(tags) != 0 {
		t.Errorf("bob has alice's tags: %v", tags)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	tags := alice.data(id) + "/tags"
	alice.ok("PUT", tags+"/m.favourite", object{"order": 0.25, "org.example.more": "kept"})
	alice.ok("PUT", tags+"/"+esc("u.a/b <c>"), `{}`)
	alice.ok("PUT", tags+"/u.empty", ``)
	want := object{"m.favourite": map[string]any{"order": 0.25, "org.example.more": "kept"}, "u.a/b <c>": map[string]any{}, "u.empty": map[string]any{}}
	if got := alice.ok("GET", tags, nil).inner("tags"); !reflect.DeepEqual(got, want) {
		t.Errorf("tags are %v", got)
	}
	if got := alice.ok("GET", alice.data(id)+"/account_data/m.tag", nil).inner("tags"); !reflect.DeepEqual(got, want) {
		t.Errorf("m.tag is %v", got)
	}
	for _, order := range []any{-0.1, 1.5, "0.5", object{}} {
		alice.refused(400, "M_INVALID_PARAM", "PUT", tags+"/u.x", object{"order": order})
	}
	alice.refused(400, "M_INVALID_PARAM", "PUT", tags+"/"+strings.Repeat("t", 256), object{})
	alice.ok("DELETE", tags+"/m.favourite", nil)
	alice.ok("DELETE", tags+"/m.favourite", nil)
	alice.ok("DELETE", tags+"/never", nil)
	if got := alice.ok("GET", tags, nil).inner("tags"); len(got) != 2 {
		t.Errorf("after the deletion: %v", got)
	}
	bob.refused(403, "M_FORBIDDEN", "GET", tags, nil)
	bob.refused(403, "M_FORBIDDEN", "PUT", tags+"/u.x", object{})
	bob.refused(403, "M_FORBIDDEN", "DELETE", tags+"/u.x", nil)
	// Another client stored nonsense as m.tag.
	alice.ok("PUT", alice.data(id)+"/account_data/m.tag", object{"tags": []int{1}})
	alice.ok("PUT", tags+"/u.after", object{})
	if got := alice.ok("GET", tags, nil).inner("tags"); len(got) != 1 {
		t.Errorf("after nonsense: %v", got)
	}
}

func parse(t *testing.T, raw []byte) object {
	t.Helper()
	var o object
	must(t, json.Unmarshal(raw, &o))
	return o
}

// receipts are a user's receipts: key to event.
func (c *client) receipts() map[string]string {
	c.p.t.Helper()
	all := make(map[string]string)
	for _, u := range c.updates(store.KindReceipt) {
		all[u.Key] = parse(c.p.t, u.Body).text("event_id")
	}
	return all
}

func TestReceiptsMoveForwardOnly(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	first, second, third := alice.say(id, "1"), alice.say(id, "2"), alice.say(id, "3")
	receipt := func(kind, event string) string { return room(id) + "/receipt/" + kind + "/" + esc(event) }
	bob.ok("POST", receipt("m.read", second), object{})
	bob.ok("POST", receipt("m.read", first), object{})
	bob.ok("POST", receipt("m.read.private", third), ``)
	bob.ok("POST", receipt("m.fully_read", second), object{})
	bob.ok("POST", receipt("m.fully_read", first), object{})
	if got, want := bob.receipts(), map[string]string{"m.read|": second, "m.read.private|": third}; !reflect.DeepEqual(got, want) {
		t.Errorf("receipts are %v, not %v", got, want)
	}
	if got := bob.ok("GET", bob.data(id)+"/account_data/m.fully_read", nil).text("event_id"); got != second {
		t.Errorf("fully read is %s, not %s", got, second)
	}
	bob.ok("POST", room(id)+"/read_markers", object{"m.fully_read": third, "m.read": third, "m.read.private": first})
	bob.ok("POST", room(id)+"/read_markers", object{})
	if got, want := bob.receipts(), map[string]string{"m.read|": third, "m.read.private|": third}; !reflect.DeepEqual(got, want) {
		t.Errorf("receipts are %v, not %v", got, want)
	}
	if got := bob.ok("GET", bob.data(id)+"/account_data/m.fully_read", nil).text("event_id"); got != third {
		t.Errorf("fully read is %s, not %s", got, third)
	}

	elsewhere := bob.create(object{})
	foreign := bob.say(elsewhere, "x")
	bob.refused(404, "M_NOT_FOUND", "POST", receipt("m.read", foreign), object{})
	bob.refused(404, "M_NOT_FOUND", "POST", room(id)+"/read_markers", object{"m.fully_read": foreign})
	bob.refused(400, "M_INVALID_PARAM", "POST", receipt("m.seen", first), object{})
	bob.refused(400, "M_INVALID_PARAM", "POST", receipt("m.read", "nothing"), object{})
	bob.refused(400, "M_INVALID_PARAM", "POST", room(id)+"/read_markers", object{"m.read": "nothing"})
	bob.refused(400, "M_BAD_JSON", "POST", room(id)+"/read_markers", object{"m.read": 1})
	alice.refused(403, "M_FORBIDDEN", "POST", room(elsewhere)+"/receipt/m.read/"+esc(foreign), object{})
	alice.refused(403, "M_FORBIDDEN", "POST", room(elsewhere)+"/read_markers", object{})
	bob.leave(id)
	bob.refused(403, "M_FORBIDDEN", "POST", receipt("m.read", first), object{})
}

// Two devices on two processes read on at the same time: the furthest wins.
func TestRacingReceiptsEndAtTheFurthest(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	var events []string
	for n := range 20 {
		events = append(events, alice.say(id, fmt.Sprint(n)))
	}
	elsewhere := bob.at(alice.p)
	for round := range 4 {
		last := events[5*round+4]
		var wg sync.WaitGroup
		for i, event := range events[5*round : 5*round+5] {
			c := bob
			if i%2 == 1 {
				c = elsewhere
			}
			wg.Go(func() {
				if status, answer := c.do("POST", room(id)+"/receipt/m.read/"+esc(event), object{}); status != 200 {
					t.Errorf("receipt: %d %v", status, answer)
				}
			})
		}
		wg.Wait()
		if got := bob.receipts()["m.read|"]; got != last {
			t.Errorf("round %d: the receipt is at %s, not %s", round, got, last)
		}
	}
}

func TestThreadedReceipts(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	relate := func(relation object) string {
		alice.txns++
		return alice.ok("PUT", fmt.Sprintf("%s/send/m.room.message/r%d", room(id), alice.txns),
			object{"msgtype": "m.text", "body": "x", "m.relates_to": relation}).text("event_id")
	}
	root := alice.say(id, "root")
	reply := relate(object{"rel_type": "m.thread", "event_id": root})
	reaction := relate(object{"rel_type": "m.annotation", "event_id": reply, "key": "+"})
	onRoot := relate(object{"rel_type": "m.annotation", "event_id": root, "key": "+"})
	plain := alice.say(id, "plain")
	for _, test := range []struct {
		event, thread string
		ok            bool
	}{
		{reply, root, true}, {reaction, root, true}, {root, root, true}, {root, "main", true}, {onRoot, "main", true}, {plain, "main", true},
		{reply, "main", false}, {reaction, "main", false}, {plain, root, false}, {onRoot, root, false}, {plain, plain + "x", false},
	} {
		path, body := room(id)+"/receipt/m.read/"+esc(test.event), object{"thread_id": test.thread}
		if test.ok {
			bob.ok("POST", path, body)
		} else {
			bob.refused(400, "M_INVALID_PARAM", "POST", path, body)
		}
	}
	bob.ok("POST", room(id)+"/receipt/m.read/"+esc(reply), object{})
	want := map[string]string{"m.read|" + root: reaction, "m.read|main": plain, "m.read|": reply}
	if got := bob.receipts(); !reflect.DeepEqual(got, want) {
		t.Errorf("receipts are %v, not %v", got, want)
	}
	for _, body := range []string{`{"thread_id":""}`, `{"thread_id":1}`, `{"thread_id":null}`, `{"thread_id":"elsewhere"}`} {
		bob.refused(400, "M_INVALID_PARAM", "POST", room(id)+"/receipt/m.read/"+esc(plain), body)
	}
	bob.refused(400, "M_INVALID_PARAM", "POST", room(id)+"/receipt/m.fully_read/"+esc(plain), object{"thread_id": "main"})
}

// until is what the database says of a user's typing, 0 for not at all.
func (c *client) until() int64 {
	c.p.t.Helper()
	until := int64(0)
	for _, u := range c.updates(store.KindTyping) {
		until = max(until, int64(parse(c.p.t, u.Body)["until"].(float64)))
	}
	return until
}

// tidy runs the process's upkeep until the returned function is called.
func (p *process) tidy() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.server.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	p.t.Cleanup(stop)
	return stop
}

func TestTypingEndsByItself(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	alice, bob, id := d.together()
	stopOne := alice.p.tidy()
	bob.p.tidy()
	typing := func(c *client) string { return room(id) + "/typing/" + esc(c.user) }
	alice.ok("PUT", typing(alice), object{"typing": true, "timeout": 2000})
	if alice.until() == 0 {
		t.Fatal("alice does not type")
	}
	d.clock.advance(2 * time.Second)
	hstest.Eventually(t, "the end of alice's typing", func() bool { return alice.until() == 0 })
	alice.ok("PUT", typing(alice), object{"typing": true})
	alice.ok("PUT", typing(alice), object{"typing": false})
	if alice.until() != 0 {
		t.Error("alice still types after she stopped")
	}
	// Her process dies; another one says stop.
	alice.ok("PUT", typing(alice), object{"typing": true, "timeout": 500})
	stopOne()
	bob.p.hears(alice.p)
	if alice.until() == 0 {
		t.Fatal("alice types no more before her time is over")
	}
	d.clock.advance(10 * time.Second)
	hstest.Eventually(t, "the end of typing of a dead process", func() bool { return alice.until() == 0 })
}

func TestTypingTypedOnIsNotStopped(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.clock.hold()
	alice, bob, id := d.together()
	alice.p.tidy()
	bob.p.tidy()
	elsewhere, carol := alice.at(bob.p), alice.p.client("carol")
	carol.join(id)
	path := room(id) + "/typing/" + esc(alice.user)
	alice.ok("PUT", path, object{"typing": true, "timeout": 200})
	elsewhere.ok("PUT", path, object{"typing": true, "timeout": 100_000})
	// One of either process, so that both have looked whose time is over.
	for _, c := range []*client{bob, carol} {
		c.ok("PUT", room(id)+"/typing/"+esc(c.user), object{"typing": true, "timeout": 1000})
	}
	d.clock.advance(10 * time.Second)
	for _, c := range []*client{bob, carol} {
		hstest.Eventually(t, "the end of the typing of "+c.user, func() bool { return c.until() == 0 })
	}
	if alice.until() == 0 {
		t.Error("alice was stopped although she typed on at another process")
	}
}

func TestTypingIsForMembersAndForOneself(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	alice.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/typing/"+esc(bob.user), object{"typing": true})
	alice.refused(400, "M_MISSING_PARAM", "PUT", room(id)+"/typing/"+esc(alice.user), object{})
	alice.refused(400, "M_INVALID_PARAM", "PUT", room(id)+"/typing/"+esc(alice.user), object{"typing": true, "timeout": -1})
	alice.refused(400, "M_BAD_JSON", "PUT", room(id)+"/typing/"+esc(alice.user), object{"typing": "yes"})
	bob.leave(id)
	bob.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/typing/"+esc(bob.user), object{"typing": true})
	bob.refused(403, "M_FORBIDDEN", "PUT", room("!nowhere:one.test")+"/typing/"+esc(bob.user), object{"typing": true})
	alice.ok("PUT", room(id)+"/typing/"+esc(alice.user), object{"typing": true, "timeout": 1 << 50})
	limit := matrix.TimestampOf(time.Now()) + 120_000
	if got := alice.until(); got == 0 || got > int64(limit) {
		t.Errorf("alice types until %d, later than %d", got, limit)
	}
}
