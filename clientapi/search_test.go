package clientapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// search asks for messages and returns the part of room events.
func (c *client) search(criteria object, next string) object {
	c.p.t.Helper()
	path := "/search"
	if next != "" {
		path += "?next_batch=" + next
	}
	return c.ok("POST", path, object{"search_categories": object{"room_events": criteria}}).inner("search_categories").inner("room_events")
}

// hits lists the events that a search finds, newest first.
func (c *client) hits(term string, more ...object) []string {
	c.p.t.Helper()
	criteria := object{"search_term": term, "order_by": "recent", "filter": object{"limit": 50}}
	for _, m := range more {
		for k, v := range m {
			criteria[k] = v
		}
	}
	list := []string{}
	for _, r := range c.search(criteria, "").list("results") {
		list = append(list, r.inner("result").text("event_id"))
	}
	return list
}

// finds waits until the index has come so far that a search finds exactly these, newest first.
func (c *client) finds(term string, want ...string) {
	c.p.t.Helper()
	want = reversed(want)
	var got []string
	hstest.Eventually(c.p.t, fmt.Sprintf("%s finding %d messages for %q", c.user, len(want), term), func() bool {
		got = c.hits(term)
		return slices.Equal(got, want)
	})
}

func TestSearchFindsWhatMessagesSayNow(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p, second := d.process(), d.process()
	p.tidy()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat", "name": "Müller project", "topic": "Budget and schedule"})
	bob.join(id)
	first := alice.say(id, "The invoice for Müller is late")
	other := bob.say(id, "invoices are always LATE, says mueller")
	alice.say(id, "something else")
	alice.finds("invoice", first, other)
	alice.finds("invoice late", first, other)
	alice.finds(`"is late"`, first)
	alice.finds("MULLER invoice", first)
	alice.finds("voice")
	bob.at(second).finds("invoice muller", first)
	if got := bob.hits("muller", object{"keys": []string{"content.name"}}); len(got) != 1 || bob.event(id, got[0]).text("type") != "m.room.name" {
		t.Errorf("by name: %v", got)
	}
	if got := bob.hits("budget"); len(got) != 1 || bob.event(id, got[0]).text("type") != "m.room.topic" {
		t.Errorf("by topic: %v", got)
	}
	if got := bob.hits("budget", object{"keys": []string{"content.body"}}); len(got) != 0 {
		t.Errorf("a topic is found by its body: %v", got)
	}

	// An edit changes what a message is found by; the message is what is found. An edit by somebody else changes nothing.
	edit := func(by *client, of, text string) string {
		return by.send(id, "m.room.message", object{"msgtype": "m.text", "body": "* " + text, "m.new_content": object{"msgtype": "m.text", "body": text},
			"m.relates_to": object{"rel_type": "m.replace", "event_id": of}})
	}
	edit(bob, first, "forged")
	one := edit(alice, first, "The reminder for Müller is late")
	two := edit(alice, first, "The dunning letter")
	alice.finds("dunning", first)
	alice.finds("invoice", other)
	alice.finds("reminder")
	alice.finds("forged")
	result := alice.search(object{"search_term": "dunning"}, "").list("results")[0].inner("result")
	if got := result.inner("unsigned").inner("m.relations").inner("m.replace").text("event_id"); got != two {
		t.Errorf("the result's edit is %s, want %s", got, two)
	}
	alice.redact(id, two)
	alice.finds("reminder", first)
	alice.finds("dunning")
	alice.redact(id, one)
	alice.finds("invoice", first, other)
	alice.redact(id, first)
	alice.finds("invoice", other)
	second.tidy()
	alice.finds("late", other)
}

// TestSearchForgetsWhatIsRedactedAtOnce redacts while nobody updates the index.
func TestSearchForgetsWhatIsRedactedAtOnce(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	stop := p.tidy()
	alice := p.client("alice")
	id := alice.create(object{})
	plain, edited := alice.say(id, "secret plain"), alice.say(id, "harmless")
	edit := alice.send(id, "m.room.message", object{"body": "*", "m.new_content": object{"body": "secret edit"},
		"m.relates_to": object{"rel_type": "m.replace", "event_id": edited}})
	alice.finds("secret", plain, edited)
	stop()
	alice.redact(id, plain)
	alice.redact(id, edit)
	if got := alice.hits("secret"); len(got) != 0 {
		t.Errorf("found after redaction: %v", got)
	}
	p.tidy()
	alice.finds("harmless", edited)
}

func TestSearchShowsOnlyWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	p.tidy()
	alice := p.client("alice")
	member, left, invitee, stranger, forgot := p.client("member"), p.client("left"), p.client("invitee"), p.client("stranger"), p.client("forgot")
	for i, visibility := range []string{"world_readable", "shared", "invited", "joined"} {
		word := "needle" + string(rune('a'+i))
		id := alice.create(object{"preset": "public_chat", "initial_state": []object{
			{"type": "m.room.history_visibility", "content": object{"history_visibility": visibility}}}})
		before := alice.say(id, word)
		for _, c := range []*client{member, left, invitee, forgot} {
			alice.invite(id, c)
		}
		invited := alice.say(id, word)
		for _, c := range []*client{member, left, forgot} {
			c.join(id)
		}
		during := alice.say(id, word)
		for _, c := range []*client{left, forgot} {
			c.leave(id)
		}
		forgot.ok("POST", room(id)+"/forget", object{})
		after := alice.say(id, word)
		alice.finds(word, before, invited, during, after)
		want := map[*client][]string{invitee: {}, stranger: {}, forgot: {}}
		switch visibility {
		case "world_readable":
			want[member], want[left] = []string{before, invited, during, after}, []string{before, invited, during, after}
		case "shared":
			want[member], want[left] = []string{before, invited, during, after}, []string{before, invited, during}
		case "invited":
			want[member], want[left] = []string{invited, during, after}, []string{invited, during}
		case "joined":
			want[member], want[left] = []string{during, after}, []string{during}
		}
		for c, list := range want {
			slices.Reverse(list)
			if got := c.hits(word); !slices.Equal(got, list) {
				t.Errorf("%s, %s: found %d, want %d", visibility, c.user, len(got), len(list))
			}
		}
		member.ignore(alice)
		if got := member.hits(word); len(got) != 0 {
			t.Errorf("%s: found messages of somebody ignored: %v", visibility, got)
		}
		member.ignore()
	}
	secret := alice.create(object{"initial_state": []object{{"type": "m.room.encryption", "content": object{"algorithm": "m.megolm.v1.aes-sha2"}}}})
	open := alice.create(object{})
	alice.say(secret, "haystack")
	clear := alice.say(open, "haystack")
	alice.finds("haystack", clear)
	alice.set(open, "m.room.encryption", "", object{"algorithm": "m.megolm.v1.aes-sha2"})
	alice.finds("haystack")
}

func TestSearchAnswersWithWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	alice.p.tidy()
	other := alice.create(object{"name": "Other"})
	var sent []string
	for i := range 12 {
		by := []*client{alice, bob}[i%2]
		sent = append(sent, by.say(id, fmt.Sprintf("lighthouse %d", i)))
	}
	best := bob.say(id, "Lighthouse lighthouse LIGHTHOUSE")
	bob.send(id, "m.room.message", object{"msgtype": "m.file", "body": "lighthouse.pdf", "url": "mxc://one.test/x"})
	elsewhere := alice.say(other, "a lighthouse elsewhere")
	hstest.Eventually(t, "the index", func() bool { return len(alice.hits("lighthouse")) == 15 })

	ranked := alice.search(object{"search_term": "lighthouse"}, "")
	results := ranked.list("results")
	if len(results) != 10 || results[0].inner("result").text("event_id") != best || ranked["count"] != 15.0 {
		t.Errorf("%d ranked results of %v, first %v", len(results), ranked["count"], results[0])
	}
	for _, order := range []string{"rank", "recent"} {
		var all []string
		criteria := object{"search_term": "lighthouse", "order_by": order, "filter": object{"limit": 4}}
		next := ""
		for range 10 {
			page := alice.search(criteria, next)
			for _, r := range page.list("results") {
				all = append(all, r.inner("result").text("event_id"))
			}
			if page["count"] != 15.0 {
				t.Errorf("by %s: %v results in all, said after %d", order, page["count"], len(all))
			}
			if next = page.text("next_batch"); next == "" {
				break
			}
		}
		slices.Sort(all)
		if len(all) != 15 || len(slices.Compact(all)) != 15 {
			t.Errorf("by %s: %d results on all pages", order, len(all))
		}
	}
	if got := fmt.Sprint(ranked["highlights"]); !strings.Contains(got, "lighthouse") || !strings.Contains(got, "LIGHTHOUSE") {
		t.Errorf("highlights: %v", got)
	}

	grouped := alice.search(object{"search_term": "lighthouse", "order_by": "recent", "filter": object{"limit": 4},
		"groupings": object{"group_by": []object{{"key": "room_id"}, {"key": "sender"}}}}, "")
	byRoom := grouped.inner("groups").inner("room_id")
	if got := byRoom.inner(other)["results"]; fmt.Sprint(got) != fmt.Sprint([]any{elsewhere}) || len(byRoom) != 2 || len(grouped.inner("groups").inner("sender")) != 2 {
		t.Errorf("groups: %v", grouped["groups"])
	}
	rest := alice.search(object{"search_term": "lighthouse", "order_by": "recent", "filter": object{"limit": 50}}, byRoom.inner(id).text("next_batch"))
	if got := len(rest.list("results")); got != 11 {
		t.Errorf("%d more results of the room, want 11", got)
	}

	for name, test := range map[string]struct {
		filter object
		want   int
	}{
		"rooms": {object{"rooms": []string{other}}, 1}, "not_rooms": {object{"not_rooms": []string{id}}, 1}, "senders": {object{"senders": []string{bob.user}}, 8},
		"not_senders": {object{"not_senders": []string{bob.user}}, 7}, "types": {object{"types": []string{"m.room.name"}}, 0},
		"contains_url": {object{"contains_url": true}, 1}, "no url": {object{"contains_url": false}, 14},
	} {
		test.filter["limit"] = 50
		if got := alice.hits("lighthouse", object{"filter": test.filter}); len(got) != test.want {
			t.Errorf("%s: found %d, want %d", name, len(got), test.want)
		}
	}

	full := alice.search(object{"search_term": `"lighthouse 6"`, "include_state": true,
		"event_context": object{"before_limit": 2, "after_limit": 1, "include_profile": true}}, "")
	around := full.list("results")[0].inner("context")
	if got := ids(around.list("events_before")); !slices.Equal(got, []string{sent[5], sent[4]}) {
		t.Errorf("before: %v", got)
	}
	if got := ids(around.list("events_after")); !slices.Equal(got, []string{sent[7]}) {
		t.Errorf("after: %v", got)
	}
	if got := around.inner("profile_info").inner(bob.user).text("displayname"); got != "Name of bob" || len(around.inner("profile_info")) != 2 {
		t.Errorf("profiles: %v", around["profile_info"])
	}
	if page := alice.messages(id, "dir=b&limit=1&from="+around.text("start")); page.list("chunk")[0].text("event_id") != sent[3] {
		t.Errorf("before the context: %v", page)
	}
	state := full.inner("state")
	list, _ := state[id].([]any)
	if len(state) != 1 || len(list) < 5 {
		t.Errorf("state of %d rooms, %d events", len(state), len(list))
	}
	for _, body := range []object{{"search_term": ""}, {"search_term": "!!"}, {"search_term": "nothingofthekind"}} {
		if answer := alice.search(body, ""); len(answer.list("results")) != 0 || answer["count"] != 0.0 || answer["next_batch"] != nil {
			t.Errorf("%v: %v", body, answer)
		}
	}
}

func TestSearchRefusesBadInput(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	term := func(more string) string {
		return `{"search_categories":{"room_events":{"search_term":"x"` + more + `}}}`
	}
	for body, code := range map[string]string{
		`{}`: "M_MISSING_PARAM", `{"search_categories":[]}`: "M_BAD_JSON", `{"search_categories":{"room_events":{}}}`: "M_MISSING_PARAM",
		`{`: "M_NOT_JSON", `{"search_categories":{"room_events":{"search_term":7}}}`: "M_BAD_JSON",
		term(`,"keys":["content.other"]`):                            "M_INVALID_PARAM",
		term(`,"order_by":"age"`):                                    "M_INVALID_PARAM",
		term(`,"groupings":{"group_by":[{"key":"type"}]}`):           "M_INVALID_PARAM",
		term(`,"filter":[]`):                                         "M_BAD_JSON",
		term(`,"filter":{"senders":["nobody"]}`):                     "M_INVALID_PARAM",
		term(`,"event_context":{"before_limit":-1}`):                 "M_INVALID_PARAM",
		term(`,"event_context":{"before_limit":"x"}`):                "M_BAD_JSON",
		strings.Replace(term(""), "x", strings.Repeat("x", 1025), 1): "M_INVALID_PARAM",
	} {
		alice.refused(400, code, "POST", "/search", body)
	}
	for _, next := range []string{"x", "s7", "e30", "bnVsbA", "eyJiIjo1LCJyb29tIjoiXHUwMDAwIn0"} {
		alice.refused(400, "M_INVALID_PARAM", "POST", "/search?next_batch="+next, term(""))
	}
	if got := alice.ok("POST", "/search", object{"search_categories": object{}}); got["search_categories"] == nil {
		t.Errorf("no category: %v", got)
	}
	alice.ok("POST", "/search", term(`,"event_context":{"before_limit":0,"after_limit":100000},"filter":{"limit":0},"keys":[]`))
	p.want(401, "M_MISSING_TOKEN", "POST", "/_matrix/client/v3/search", "", term(""))
}

func TestSearchFindsWhatTheSearcherHasJustSent(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.configure = func(cfg *clientapi.Config) { cfg.SearchPatience = time.Minute }
	p := d.process()
	p.tidy()
	alice := p.client("alice")
	id := alice.create(object{})
	for i := range 20 {
		sent := alice.say(id, fmt.Sprintf("parcel number%d", i))
		if got := alice.hits(fmt.Sprintf("number%d", i)); !slices.Equal(got, []string{sent}) {
			t.Fatalf("message %d: found %v, want %s", i, got, sent)
		}
	}
}

// TestSearchGoesFarBack has messages that lie so far apart that they are found by different ways: the newest are read, the others are
// looked up in the index, stretch by stretch.
func TestSearchGoesFarBack(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	db := storetest.DB(t, d.dsn)
	var id, restricted string
	var sent, seen []string
	for round := range 4 {
		p := d.process()
		var alice, bob *client
		if round == 0 {
			alice, bob = p.client("alice"), p.client("bob")
			id = alice.create(object{"preset": "public_chat"})
			restricted = alice.create(object{"preset": "public_chat", "initial_state": []object{
				{"type": "m.room.history_visibility", "content": object{"history_visibility": "joined"}}}})
		} else {
			alice = &client{p: p, user: "@alice:one.test", token: p.login("@alice:one.test", nil).text("access_token")}
			bob = &client{p: p, user: "@bob:one.test", token: p.login("@bob:one.test", nil).text("access_token")}
		}
		if round == 2 {
			bob.join(restricted)
		}
		for i := range 3 {
			sent = append(sent, alice.say(id, fmt.Sprintf("scattered %d %d", round, i)))
			if text := alice.say(restricted, "scattered behind"); round >= 2 {
				seen = append(seen, text)
			}
		}
		stop := p.tidy()
		alice.finds(fmt.Sprintf(`"scattered %d"`, round), sent[3*round:]...)
		if round == 3 {
			alice.finds("scattered 1", sent[1], sent[3], sent[4], sent[5], sent[7], sent[10])
			bob.finds("behind", seen...)
		}
		stop()
		_, err := db.Exec(`UPDATE clock SET position = position + $1`, []int{350_000, 100_000, 100, 0}[round])
		must(t, err)
	}
}
