package clientapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/limits"
)

// all pages through a room and returns the ids in the order in which they came. Every page but the last must have an end.
func (c *client) all(id, dir string, limit int, more string) []string {
	c.p.t.Helper()
	got := []string{}
	from := ""
	for range 200 {
		query := "dir=" + dir + "&limit=" + strconv.Itoa(limit) + more
		if from != "" {
			query += "&from=" + from
		}
		page := c.messages(id, query)
		if from != "" && page.text("start") != from {
			c.p.t.Fatalf("start = %q; want from, %q", page.text("start"), from)
		}
		if page.text("start") == "" {
			c.p.t.Fatal("a page without start")
		}
		got = append(got, ids(page.list("chunk"))...)
		if from = page.text("end"); from == "" {
			return got
		}
		if n := len(page.list("chunk")); n > limit {
			c.p.t.Fatalf("a page of %d events, limit %d", n, limit)
		}
	}
	c.p.t.Fatal("paging does not end")
	return nil
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

func TestPagesHaveEveryEventOnceInBothDirections(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	bob.join(id)
	other := alice.create(object{"name": "noise"})
	var sent []string
	for i := range 23 {
		sent = append(sent, alice.say(id, fmt.Sprint("message ", i)), bob.say(id, "answer"))
		alice.say(other, "elsewhere")
	}
	all := bob.all(id, "f", 1000, "")
	if tail := all[len(all)-len(sent):]; !slices.Equal(tail, sent) {
		t.Fatalf("the room ends with %v; want %v", tail, sent)
	}
	for _, limit := range []int{1, 2, 7, len(all) - 1, len(all), len(all) + 1} {
		if got := bob.all(id, "f", limit, ""); !slices.Equal(got, all) {
			t.Errorf("forwards, limit %d: %d events; want %d in the room's order", limit, len(got), len(all))
		}
		if got := bob.all(id, "b", limit, ""); !slices.Equal(got, reversed(all)) {
			t.Errorf("backwards, limit %d: %d events; want %d in reverse order", limit, len(got), len(all))
		}
	}
	byAlice := "&filter=" + url.QueryEscape(`{"senders":["`+alice.user+`"],"types":["m.room.mess*"]}`)
	var wanted []string
	for i := 0; i < len(sent); i += 2 {
		wanted = append(wanted, sent[i])
	}
	for _, limit := range []int{1, 5, 23, 100} {
		if got := bob.all(id, "b", limit, byAlice); !slices.Equal(got, reversed(wanted)) {
			t.Errorf("filtered, limit %d: %v; want %v", limit, got, reversed(wanted))
		}
	}
}

func TestPagesStopAtTo(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	id := alice.create(object{})
	first := alice.say(id, "one")
	from := alice.messages(id, "dir=b&limit=1").text("start") // after "one"
	second, third := alice.say(id, "two"), alice.say(id, "three")
	to := alice.messages(id, "dir=b&limit=1").text("start") // after "three"
	alice.say(id, "four")
	page := alice.messages(id, "dir=f&from="+from+"&to="+to)
	if got := ids(page.list("chunk")); !slices.Equal(got, []string{second, third}) || page["end"] != nil {
		t.Errorf("forwards: %v, end %v; want two and three and no end", got, page["end"])
	}
	page = alice.messages(id, "dir=b&from="+to+"&to="+from)
	if got := ids(page.list("chunk")); !slices.Equal(got, []string{third, second}) || page["end"] != nil {
		t.Errorf("backwards: %v, end %v; want three and two and no end", got, page["end"])
	}
	page = alice.messages(id, "dir=b&from="+from+"&limit=1")
	if got := ids(page.list("chunk")); !slices.Equal(got, []string{first}) || page["end"] == nil {
		t.Errorf("backwards from the first: %v, end %v", got, page["end"])
	}
}

// TestPagesForwardsGoOnWhereMoreIsSent: the end of what there is now is a place to go on from later, but not for who has left.
func TestPagesForwardsGoOnWhereMoreIsSent(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	bob.join(id)
	from := alice.messages(id, "dir=b&limit=1").text("start")
	last := alice.say(id, "one")
	page := bob.messages(id, "dir=f&from="+from)
	end := page.text("end")
	if got := ids(page.list("chunk")); !slices.Equal(got, []string{last}) || end == "" {
		t.Fatalf("the last page: %v, end %q", got, end)
	}
	if empty := bob.messages(id, "dir=f&from="+end); len(empty.list("chunk")) != 0 || empty["end"] != nil {
		t.Errorf("after the last page: %v", empty)
	}
	more := alice.say(id, "two")
	if got := ids(bob.messages(id, "dir=f&from="+end).list("chunk")); !slices.Equal(got, []string{more}) {
		t.Errorf("what was sent later: %v; want %s", got, more)
	}
	bob.leave(id)
	alice.say(id, "three")
	if page := bob.messages(id, "dir=f&from="+end); !slices.Contains(ids(page.list("chunk")), more) || page["end"] != nil {
		t.Errorf("who has left: %v", page)
	}
}

func TestLazyMembersComeWithTheirEvents(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	id := alice.create(object{"preset": "public_chat"})
	bob.join(id)
	carol.join(id)
	bob.say(id, "hello")
	middle := alice.say(id, "hello")
	lazy := url.QueryEscape(`{"lazy_load_members":true}`)
	page := alice.messages(id, "dir=b&limit=2&filter="+lazy)
	var who []string
	for _, e := range page.list("state") {
		who = append(who, e.text("state_key"))
	}
	slices.Sort(who)
	if want := []string{alice.user, bob.user}; !slices.Equal(who, want) {
		t.Errorf("members %v; want the senders, %v", who, want)
	}
	if page := alice.messages(id, "dir=b&limit=2"); page["state"] != nil {
		t.Error("state although members are not loaded lazily")
	}
	around := alice.ok("GET", room(id)+"/context/"+esc(middle)+"?limit=0&filter="+lazy, nil)
	who = nil
	for _, e := range around.list("state") {
		if e.text("type") == "m.room.member" {
			who = append(who, e.text("state_key"))
		}
	}
	if !slices.Equal(who, []string{alice.user}) {
		t.Errorf("context: members %v; want %s only", who, alice.user)
	}
}

func TestContextIsSplitAroundItsEvent(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	id := alice.create(object{})
	var sent []string
	for i := range 11 {
		sent = append(sent, alice.say(id, fmt.Sprint(i)))
	}
	around := alice.ok("GET", room(id)+"/context/"+esc(sent[5])+"?limit=5", nil)
	if got := ids(around.list("events_before")); !slices.Equal(got, []string{sent[4], sent[3]}) {
		t.Errorf("before: %v", got)
	}
	if got := ids(around.list("events_after")); !slices.Equal(got, sent[6:9]) {
		t.Errorf("after: %v", got)
	}
	if got := around.inner("event").text("event_id"); got != sent[5] {
		t.Errorf("event: %s", got)
	}
	if n := len(around.list("state")); n < 5 {
		t.Errorf("state has %d events", n)
	}
	next := alice.messages(id, "dir=f&limit=2&from="+around.text("end"))
	if got := ids(next.list("chunk")); !slices.Equal(got, sent[9:]) {
		t.Errorf("forwards from end: %v", got)
	}
	next = alice.messages(id, "dir=b&limit=3&from="+around.text("start"))
	if got := ids(next.list("chunk")); !slices.Equal(got, []string{sent[2], sent[1], sent[0]}) {
		t.Errorf("backwards from start: %v", got)
	}
	none := alice.ok("GET", room(id)+"/context/"+esc(sent[5])+"?limit=0", nil)
	if len(none.list("events_before"))+len(none.list("events_after")) != 0 {
		t.Error("limit 0 gives events around")
	}
	next = alice.messages(id, "dir=b&limit=1&from="+none.text("start"))
	if got := ids(next.list("chunk")); !slices.Equal(got, sent[4:5]) {
		t.Errorf("backwards from start, limit 0: %v", got)
	}
	next = alice.messages(id, "dir=f&limit=1&from="+none.text("end"))
	if got := ids(next.list("chunk")); !slices.Equal(got, sent[6:7]) {
		t.Errorf("forwards from end, limit 0: %v", got)
	}
}

// LIM-13: a page is bounded in bytes as well, and nothing is lost between pages.
func TestPagesOfLargeEventsAreBounded(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice := p.client("alice")
	id := alice.create(object{})
	text := strings.Repeat("x", 60_000)
	var said []string
	for range limits.PageBytes/60_000 + 30 {
		said = append(said, alice.say(id, text))
	}
	for _, dir := range []string{"f", "b"} {
		var got []string
		pages, from := 0, ""
		for {
			query := "dir=" + dir + "&limit=1000&filter=" + url.QueryEscape(`{"types":["m.room.message"]}`)
			if pages%2 == 1 {
				query = "dir=" + dir + "&limit=1000"
			}
			answer := alice.messages(id, query+"&from="+from)
			raw, err := json.Marshal(answer)
			must(t, err)
			if len(raw) > limits.PageBytes+2*limits.Event {
				t.Errorf("%s: a page of %d bytes", dir, len(raw))
			}
			for _, e := range answer.list("chunk") {
				if e.text("type") == "m.room.message" {
					got = append(got, e.text("event_id"))
				}
			}
			if pages++; answer.text("end") == "" {
				break
			}
			from = answer.text("end")
		}
		if dir == "b" {
			slices.Reverse(got)
		}
		if !slices.Equal(got, said) || pages < 2 {
			t.Errorf("%s: %d of %d events on %d pages", dir, len(got), len(said), pages)
		}
	}
}
