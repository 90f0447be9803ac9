package clientapi_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

var relatedTxn atomic.Int64

// send sends an event of any type and returns its id.
func (c *client) send(id, eventType string, content object) string {
	c.p.t.Helper()
	return c.ok("PUT", fmt.Sprintf("%s/send/%s/rel%d", room(id), eventType, relatedTxn.Add(1)), content).text("event_id")
}

// relate sends a message that relates to another event.
func (c *client) relate(id, relType, to string) string {
	c.p.t.Helper()
	content := object{"msgtype": "m.text", "body": relType, "m.relates_to": object{"rel_type": relType, "event_id": to}}
	if relType == "m.replace" {
		content["m.new_content"] = object{"msgtype": "m.text", "body": "new"}
	}
	return c.send(id, "m.room.message", content)
}

func (c *client) ignore(others ...*client) {
	c.p.t.Helper()
	list := object{}
	for _, o := range others {
		list[o.user] = object{}
	}
	c.ok("PUT", "/user/"+esc(c.user)+"/account_data/m.ignored_user_list", object{"ignored_users": list})
}

// v1 makes a request below /_matrix/client/v1.
func (c *client) v1(path string) object {
	c.p.t.Helper()
	return c.p.want(200, "", "GET", "/_matrix/client/v1"+path, c.token, nil)
}

// digest is an aggregation, as the server tells it and as the model computes it.
type digest struct {
	Edit       string
	References []string
	Latest     string
	Count      int
	Part       bool
	Inner      *digest // of the latest reply
}

// told reads the aggregation out of an event, nil if there is none.
func told(e object) *digest {
	relations := e.inner("unsigned").inner("m.relations")
	if relations == nil {
		return nil
	}
	d := &digest{Edit: relations.inner("m.replace").text("event_id")}
	for _, r := range relations.inner("m.reference").list("chunk") {
		d.References = append(d.References, r.text("event_id"))
	}
	if thread := relations.inner("m.thread"); thread != nil {
		latest := thread.inner("latest_event")
		d.Latest, d.Inner = latest.text("event_id"), told(latest)
		count, _ := thread["count"].(float64)
		d.Count = int(count)
		d.Part, _ = thread["current_user_participated"].(bool)
	}
	return d
}

// model says from the events that a viewer sees, oldest first, what is to be aggregated.
type model struct {
	viewer  string
	ignored map[string]bool
	events  []object
}

func relation(e object) (relType, to string) {
	r := e.inner("content").inner("m.relates_to")
	if r.text("rel_type") == "m.replace" && (e["state_key"] != nil || e.inner("content")["m.new_content"] == nil) {
		return "", ""
	}
	return r.text("rel_type"), r.text("event_id")
}

func redacted(e object) bool { return e.inner("unsigned")["redacted_because"] != nil }

func (m *model) aggregate(e object, nested bool) *digest {
	if e["state_key"] != nil {
		return nil
	}
	var d digest
	var edit, latest object
	own, _ := relation(e)
	for _, child := range m.events {
		relType, to := relation(child)
		if to != e.text("event_id") || redacted(child) {
			continue
		}
		ignored := m.ignored[child.text("sender")]
		switch {
		case relType == "m.replace" && !redacted(e) && own != "m.replace" &&
			child.text("sender") == e.text("sender") && child.text("type") == e.text("type"):
			if edit == nil || later(child, edit) {
				edit = child
			}
		case relType == "m.reference" && !ignored:
			d.References = append(d.References, child.text("event_id"))
		case relType == "m.thread" && own == "" && !nested:
			d.Part = d.Part || child.text("sender") == m.viewer
			if !ignored {
				d.Count++
				latest = child
			}
		}
	}
	d.Edit = edit.text("event_id")
	if latest == nil {
		d.Part, d.Count = false, 0
	} else {
		d.Part = d.Part || e.text("sender") == m.viewer
		d.Latest, d.Inner = latest.text("event_id"), m.aggregate(latest, true)
	}
	if d.Edit == "" && d.Latest == "" && d.References == nil {
		return nil
	}
	return &d
}

func later(a, b object) bool {
	x, y := a["origin_server_ts"].(float64), b["origin_server_ts"].(float64)
	return x > y || x == y && a.text("event_id") > b.text("event_id")
}

// related lists what relates to an event, newest first, down to a depth.
func (m *model) related(parent, relType, eventType string, depth int) []string {
	within := map[string]bool{parent: true}
	found := map[string]bool{}
	for range depth {
		next := map[string]bool{}
		for _, e := range m.events {
			typ, to := relation(e)
			if typ != "" && within[to] && !redacted(e) && !m.ignored[e.text("sender")] && (relType == "" || typ == relType) &&
				(eventType == "" || e.text("type") == eventType) {
				next[e.text("event_id")], found[e.text("event_id")] = true, true
			}
		}
		within = next
	}
	list := []string{}
	for _, e := range slices.Backward(m.events) {
		if found[e.text("event_id")] {
			list = append(list, e.text("event_id"))
		}
	}
	return list
}

// threads lists the roots that the viewer sees, those with the latest replies first.
func (m *model) threads(participated bool) []string {
	list := []string{}
	seen := map[string]bool{}
	byID := map[string]object{}
	for _, e := range m.events {
		byID[e.text("event_id")] = e
	}
	for _, e := range slices.Backward(m.events) {
		relType, to := relation(e)
		root := byID[to]
		if relType != "m.thread" || redacted(e) || m.ignored[e.text("sender")] || seen[to] || root == nil {
			continue
		}
		seen[to] = true
		if d := m.aggregate(root, false); !participated || d.Part {
			list = append(list, to)
		}
	}
	return list
}

var seed = flag.Uint64("seed", 0, "seed of what is done at random; 0 takes another each time")

// TestAggregationsAreWhatAModelComputes lets three people relate events to each other at random, while a fourth comes and goes in a
// room that shows history to members only, and compares all that is told with a model.
func TestAggregationsAreWhatAModelComputes(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	second := d.process()
	for _, visibility := range []string{"shared", "joined"} {
		number := *seed
		if number == 0 {
			number = rand.Uint64()
		}
		t.Logf("%s: -seed %d", visibility, number)
		rnd := rand.New(rand.NewPCG(number, 1))
		suffix := visibility
		alice, bob, carol, guest := p.client("alice"+suffix), p.client("bob"+suffix), p.client("carol"+suffix), p.client("guest"+suffix)
		id := alice.create(object{"preset": "public_chat", "initial_state": []object{
			{"type": "m.room.history_visibility", "content": object{"history_visibility": visibility}}}})
		writers := []*client{alice, bob, carol, bob.at(second)}
		for _, w := range writers[1:3] {
			w.join(id)
		}
		bob.ignore(carol)
		type sentEvent struct {
			id    string
			by    *client
			child bool
		}
		var sent []sentEvent
		here := false
		for range 140 {
			by := writers[rnd.IntN(len(writers))]
			if len(sent) < 4 || rnd.IntN(5) == 0 {
				sent = append(sent, sentEvent{id: by.say(id, "plain"), by: by})
				continue
			}
			to := sent[rnd.IntN(len(sent))]
			if rnd.IntN(2) == 0 {
				to = sent[rnd.IntN(4)] // so that some have many children
			}
			switch rnd.IntN(11) {
			case 0, 1:
				sent = append(sent, sentEvent{by.relate(id, "m.reference", to.id), by, true})
			case 2, 3, 4:
				if !to.child {
					sent = append(sent, sentEvent{by.relate(id, "m.thread", to.id), by, true})
				}
			case 5, 6:
				sent = append(sent, sentEvent{to.by.relate(id, "m.replace", to.id), to.by, true})
			case 7:
				sent = append(sent, sentEvent{by.relate(id, "m.replace", to.id), by, true}) // mostly others' events: invalid
			case 8:
				relates := object{"rel_type": "m.replace", "event_id": to.id}
				contents := []object{{"m.relates_to": relates}, {"m.relates_to": relates, "m.new_content": object{}}}
				by.send(id, []string{"m.room.message", "m.sticker"}[rnd.IntN(2)], contents[rnd.IntN(2)])
			case 9:
				if rnd.IntN(3) == 0 {
					alice.redact(id, to.id)
				}
			case 10:
				if here = !here; here {
					guest.join(id)
				} else {
					guest.leave(id)
				}
			}
		}
		if !here {
			guest.join(id)
			guest.leave(id)
		}
		for _, viewer := range []*client{alice, bob, carol, guest, alice.at(second)} {
			m := &model{viewer: viewer.user, ignored: map[string]bool{carol.user: viewer == bob}}
			hstest.Eventually(t, "the second process having seen everything", func() bool {
				page := viewer.messages(id, "dir=b&limit=1000")
				m.events = page.list("chunk")
				return viewer.p != second || len(m.events) == len(alice.messages(id, "dir=b&limit=1000").list("chunk"))
			})
			slices.Reverse(m.events)
			if aggregated := m.compare(t, viewer, id); aggregated == 0 && viewer == alice {
				t.Error("nothing was aggregated")
			}
		}
	}
}

// compare asks for everything in which relations are told, and counts the events that have an aggregation.
func (m *model) compare(t *testing.T, viewer *client, id string) (aggregated int) {
	t.Helper()
	for i, e := range m.events {
		want := m.aggregate(e, false)
		if want != nil {
			aggregated++
		}
		check := func(where string, got object) {
			if have := told(got); !reflect.DeepEqual(have, want) {
				t.Errorf("%s for %s, %s: got %+v, want %+v", where, viewer.user, e.text("event_id"), show(have), show(want))
			}
		}
		check("/messages", e)
		if i%7 != 0 && want == nil {
			continue
		}
		check("/event", viewer.event(id, e.text("event_id")))
		check("/context", viewer.ok("GET", room(id)+"/context/"+esc(e.text("event_id")), nil).inner("event"))
		path := room(id) + "/relations/" + esc(e.text("event_id"))
		for _, q := range []struct {
			path, relType, eventType string
			depth                    int
		}{
			{path + "?limit=500", "", "", 1}, {path + "/m.thread?limit=500", "m.thread", "", 1},
			{path + "/m.replace/m.sticker?limit=500", "m.replace", "m.sticker", 1},
			{path + "?limit=500&recurse=true", "", "", 3}, {path + "/m.reference?limit=500&recurse=true", "m.reference", "", 3},
		} {
			if got, want := ids(viewer.v1(q.path).list("chunk")), m.related(e.text("event_id"), q.relType, q.eventType, q.depth); !slices.Equal(got, want) {
				t.Errorf("%s for %s: got %v, want %v", q.path, viewer.user, got, want)
			}
		}
	}
	for _, participated := range []bool{false, true} {
		path := room(id) + "/threads?limit=100&include=" + map[bool]string{false: "all", true: "participated"}[participated]
		chunk := viewer.v1(path).list("chunk")
		if got, want := ids(chunk), m.threads(participated); !slices.Equal(got, want) {
			t.Errorf("%s for %s: got %v, want %v", path, viewer.user, got, want)
		}
	}
	return aggregated
}

func show(d *digest) string {
	if d == nil {
		return "nothing"
	}
	return fmt.Sprintf("edit %s, references %v, thread %d %v %s (%s)", d.Edit, d.References, d.Count, d.Part, d.Latest, show(d.Inner))
}

// TestPagesTellWhatHasBeenSaidBetweenThem has events that get their first child, and lose their last one, between two requests.
func TestPagesTellWhatHasBeenSaidBetweenThem(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	older, newer := alice.say(id, "older"), alice.say(id, "newer")
	edits := func(query string) map[string]string {
		page := alice.messages(id, query)
		found := make(map[string]string)
		for _, e := range page.list("chunk") {
			if d := told(e); d != nil {
				found[e.text("event_id")] = d.Edit + d.Latest
			}
		}
		return found
	}
	expect := func(want map[string]string) {
		t.Helper()
		for _, query := range []string{"dir=b&limit=50", "dir=f&limit=50"} {
			if got := edits(query); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v, want %v", query, got, want)
			}
		}
	}
	expect(map[string]string{})
	from := alice.messages(id, "dir=b&limit=1").text("end")
	edit := alice.relate(id, "m.replace", older)
	if got := edits("dir=b&limit=50&from=" + from); got[older] != edit || len(got) != 1 {
		t.Errorf("the second page has %v, want the edit %s of %s", got, edit, older)
	}
	reply := bob.relate(id, "m.thread", newer)
	expect(map[string]string{older: edit, newer: reply})
	alice.redact(id, edit)
	expect(map[string]string{newer: reply})
}

func TestRelationsPageInBothDirectionsAndFitOtherTokens(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	root := alice.say(id, "root")
	before := alice.messages(id, "dir=b&limit=1").text("start")
	var children []string
	for range 7 {
		children = append(children, bob.relate(id, "m.thread", root))
		bob.say(id, "noise")
	}
	path := room(id) + "/relations/" + esc(root)
	for _, limit := range []int{1, 3, 7, 8} {
		for dir, want := range map[string][]string{"f": children, "b": reversed(children)} {
			var got []string
			from := ""
			for range 20 {
				query := fmt.Sprintf("%s?dir=%s&limit=%d", path, dir, limit)
				if from != "" {
					query += "&from=" + from
				}
				page := alice.v1(query)
				if (page["prev_batch"] != nil) != (from != "") || page["recursion_depth"] != nil {
					t.Fatalf("%s: prev_batch %v, recursion_depth %v", query, page["prev_batch"], page["recursion_depth"])
				}
				got = append(got, ids(page.list("chunk"))...)
				if from = page.text("next_batch"); from == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("dir %s, limit %d: got %v, want %v", dir, limit, got, want)
			}
		}
	}
	if got := ids(alice.v1(path + "?dir=f&limit=2&from=" + before).list("chunk")); !slices.Equal(got, children[:2]) {
		t.Errorf("from a token of /messages: %v", got)
	}
	if got := ids(alice.v1(path + "?dir=b&from=" + before).list("chunk")); len(got) != 0 {
		t.Errorf("before the first child: %v", got)
	}
	if got := ids(alice.v1(path + "?dir=b&to=" + before).list("chunk")); len(got) != 7 {
		t.Errorf("to a token: %v", got)
	}
	if depth := alice.v1(path + "?recurse=true")["recursion_depth"]; depth != 3.0 {
		t.Errorf("recursion_depth is %v", depth)
	}
	stranger := alice.p.client("stranger")
	for _, test := range []struct {
		by         *client
		status     int
		code, path string
	}{
		{alice, 400, "M_INVALID_PARAM", path + "?dir=x"}, {alice, 400, "M_INVALID_PARAM", path + "?limit=x"},
		{alice, 400, "M_INVALID_PARAM", path + "?from=x"}, {alice, 400, "M_INVALID_PARAM", path + "?to=7"},
		{alice, 400, "M_INVALID_PARAM", path + "?recurse=1"},
		{alice, 404, "M_NOT_FOUND", room(id) + "/relations/$nothing:one.test"}, {alice, 404, "M_NOT_FOUND", "/rooms/!x:one.test/relations/" + esc(root)},
		{stranger, 404, "M_NOT_FOUND", path}, {alice, 400, "M_INVALID_PARAM", room(id) + "/relations/x"},
		{alice, 400, "M_INVALID_PARAM", room(id) + "/threads?include=some"}, {alice, 400, "M_INVALID_PARAM", room(id) + "/threads?from=x"},
		{alice, 400, "M_INVALID_PARAM", room(id) + "/threads?limit=-1"},
		{stranger, 403, "M_FORBIDDEN", room(id) + "/threads"}, {alice, 403, "M_FORBIDDEN", "/rooms/!x:one.test/threads"},
	} {
		alice.p.want(test.status, test.code, "GET", "/_matrix/client/v1"+test.path, test.by.token, nil)
	}
}

func TestThreadsPageByTheirLatestReply(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	var roots []string
	for range 5 {
		roots = append(roots, alice.say(id, "root"))
	}
	for _, r := range roots {
		bob.relate(id, "m.thread", r)
	}
	alice.relate(id, "m.thread", roots[1])
	want := []string{roots[1], roots[4], roots[3], roots[2], roots[0]}
	var got []string
	from := ""
	for range 10 {
		page := bob.v1(room(id) + "/threads?limit=2" + from)
		got = append(got, ids(page.list("chunk"))...)
		if page.text("next_batch") == "" {
			break
		}
		from = "&from=" + page.text("next_batch")
	}
	if !slices.Equal(got, want) {
		t.Errorf("threads: got %v, want %v", got, want)
	}
	// A redacted root stays, without its content; a root of somebody ignored is shown as if it were redacted.
	alice.redact(id, roots[4])
	bob.ignore(alice)
	for _, e := range bob.v1(room(id) + "/threads").list("chunk") {
		if len(e.inner("content")) != 0 || e.inner("unsigned").inner("m.relations").inner("m.thread") == nil {
			t.Errorf("a root of an ignored user: %v", e)
		}
	}
	if got := ids(bob.v1(room(id) + "/threads").list("chunk")); len(got) != 5 || got[0] != roots[4] {
		t.Errorf("threads without ignored replies: %v", got)
	}
}

func TestRelationsThatAreRefused(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	root := alice.say(id, "root")
	reply := alice.relate(id, "m.thread", root)
	thread := func(to string) object {
		return object{"body": "x", "m.relates_to": object{"rel_type": "m.thread", "event_id": to}}
	}
	like := object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": root, "key": "+"}}
	refuse := func(by *client, code string, eventType string, content object) {
		t.Helper()
		by.refused(400, code, "PUT", fmt.Sprintf("%s/send/%s/rel%d", room(id), eventType, relatedTxn.Add(1)), content)
	}
	refuse(bob, "M_UNKNOWN", "m.room.message", thread(reply))
	bob.relate(id, "m.thread", root)
	path := fmt.Sprintf("%s/send/m.reaction/rel%d", room(id), relatedTxn.Add(1))
	first := bob.ok("PUT", path, like).text("event_id")
	if again := bob.ok("PUT", path, like).text("event_id"); again != first {
		t.Errorf("the same transaction made %s and %s", first, again)
	}
	refuse(bob, "M_DUPLICATE_ANNOTATION", "m.reaction", like)
	alice.send(id, "m.reaction", like)
	bob.send(id, "m.other", like)
	bob.send(id, "m.reaction", object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": root, "key": "-"}})
	bob.redact(id, first)
	bob.send(id, "m.reaction", like)
	// What does not follow the schema is no relation, and no error.
	for _, content := range []object{
		{"m.relates_to": 1}, {"m.relates_to": object{"rel_type": 1, "event_id": root}}, {"m.relates_to": object{"rel_type": "m.thread"}},
		{"m.relates_to": object{"rel_type": "m.thread", "event_id": "nothing"}}, {"m.relates_to": []any{}},
		{"m.relates_to": object{"rel_type": "m.replace", "event_id": root}},
	} {
		bob.send(id, "m.room.message", content)
	}
	if got := ids(bob.v1(room(id) + "/relations/" + esc(root) + "/m.thread").list("chunk")); len(got) != 2 {
		t.Errorf("the thread has %v", got)
	}
	stranger := alice.p.client("stranger")
	stranger.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/send/m.room.message/x1", thread(reply))
}
