package clientapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
)

// TestHistoryIsShownToWhoMaySeeIt compares what each kind of reader gets, of each history visibility, with the rules of the
// spec, for every endpoint that gives events.
//
// The room's story: "before" is sent, then readers are invited, "invited" is sent, they join, "during", they leave (or not),
// "after".
func TestHistoryIsShownToWhoMaySeeIt(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	member, left, invitee, stranger, banned := p.client("member"), p.client("left"), p.client("invitee"), p.client("stranger"), p.client("banned")
	story := []string{"before", "invited", "during", "after"}
	sees := map[string]map[*client][]string{
		"world_readable": {member: story, left: story, invitee: story, stranger: story, banned: story},
		"shared":         {member: story, left: {"before", "invited", "during"}, banned: {"before", "invited", "during"}},
		"invited":        {member: {"invited", "during", "after"}, left: {"invited", "during"}, banned: {"invited", "during"}},
		"joined":         {member: {"during", "after"}, left: {"during"}, banned: {"during"}},
	}
	for visibility, wanted := range sees {
		id := alice.create(object{"initial_state": []object{
			{"type": "m.room.history_visibility", "content": object{"history_visibility": visibility}}}})
		sent := map[string]string{"before": alice.say(id, "before")}
		for _, c := range []*client{member, left, invitee, banned} {
			alice.invite(id, c)
		}
		sent["invited"] = alice.say(id, "invited")
		for _, c := range []*client{member, left, banned} {
			c.join(id)
		}
		sent["during"] = alice.say(id, "during")
		left.leave(id)
		alice.ok("POST", room(id)+"/ban", object{"user_id": banned.user})
		sent["after"] = alice.say(id, "after")
		for name, reader := range map[string]*client{"member": member, "left": left, "invitee": invitee, "stranger": stranger, "banned": banned} {
			t.Run(fmt.Sprintf("%s/%s", visibility, name), func(t *testing.T) {
				checkSight(t, reader, id, sent, wanted[reader])
			})
		}
	}
}

// checkSight checks that reader sees exactly the wanted ones of the events sent.
func checkSight(t *testing.T, reader *client, id string, sent map[string]string, wanted []string) {
	visible := map[string]bool{}
	for _, name := range wanted {
		visible[name] = true
	}
	seen := map[string]map[string]bool{"messages back": {}, "messages forwards": {}}
	status, _ := reader.do("GET", room(id)+"/messages?dir=b", nil)
	if want := len(wanted) > 0; (status == 200) != want {
		t.Errorf("messages: status %d; visible: %v", status, want)
	}
	if status == 200 {
		for _, e := range reader.all(id, "b", 3, "") {
			seen["messages back"][e] = true
		}
		for _, e := range reader.all(id, "f", 3, "") {
			seen["messages forwards"][e] = true
		}
	}
	// The ends of what may be seen are the reader's own events: the join always, and how it ended.
	if status == 200 && visible["during"] && !visible["before"] {
		own := map[string]bool{}
		for _, e := range reader.messages(id, "dir=f&limit=100").list("chunk") {
			if e.text("state_key") == reader.user {
				own[e.inner("content").text("membership")] = true
			}
		}
		if !own["join"] || !visible["after"] && !own["leave"] && !own["ban"] {
			t.Errorf("own membership events: %v", own)
		}
	}
	for name, event := range sent {
		status, _ := reader.do("GET", room(id)+"/event/"+esc(event), nil)
		if want := map[bool]int{true: 200, false: 404}[visible[name]]; status != want {
			t.Errorf("event %q: status %d; want %d", name, status, want)
		}
		status, answer := reader.do("GET", room(id)+"/context/"+esc(event)+"?limit=100", nil)
		if want := map[bool]int{true: 200, false: 404}[visible[name]]; status != want {
			t.Errorf("context %q: status %d; want %d", name, status, want)
		}
		if status == 200 {
			o := object(answer.(map[string]any))
			around := map[string]bool{event: true}
			for _, e := range append(ids(o.list("events_before")), ids(o.list("events_after"))...) {
				around[e] = true
			}
			seen["context of "+name] = around
		}
	}
	for where, events := range seen {
		for name, event := range sent {
			if events[event] != visible[name] {
				t.Errorf("%s: %q is there: %v; want %v", where, name, events[event], visible[name])
			}
		}
	}
}

// TestStateEndsWhereTheReaderLeft compares the endpoints that give state, for those who may read it and those who may not.
func TestStateEndsWhereTheReaderLeft(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	member, left, invitee, stranger := p.client("member"), p.client("left"), p.client("invitee"), p.client("stranger")
	forgetful, late := p.client("forgetful"), p.client("late")
	id := alice.create(object{"preset": "public_chat", "topic": "old"})
	for _, c := range []*client{member, left, forgetful} {
		c.join(id)
	}
	hello := alice.say(id, "hello")
	alice.invite(id, invitee)
	left.leave(id)
	forgetful.leave(id)
	forgetful.ok("POST", room(id)+"/forget", object{})
	alice.set(id, "m.room.topic", "", object{"topic": "new"})
	late.join(id)

	for reader, topic := range map[*client]string{member: "new", late: "new", left: "old", invitee: "", stranger: "", forgetful: ""} {
		paths := []string{"/state", "/state/m.room.topic", "/state/m.room.topic/", "/members", "/messages?dir=b"}
		for _, path := range paths {
			status, _ := reader.do("GET", room(id)+path, nil)
			if want := map[bool]int{true: 200, false: 403}[topic != ""]; status != want {
				t.Errorf("%s by %s: status %d; want %d", path, reader.user, status, want)
			}
		}
		if topic == "" {
			continue
		}
		if got := reader.ok("GET", room(id)+"/state/m.room.topic", nil).text("topic"); got != topic {
			t.Errorf("%s sees the topic %q; want %q", reader.user, got, topic)
		}
		members := map[string]bool{}
		for _, e := range reader.ok("GET", room(id)+"/members?membership=join", nil).list("chunk") {
			members[e.text("state_key")] = true
		}
		if members[late.user] != (topic == "new") {
			t.Errorf("%s sees who joined later: %v", reader.user, members[late.user])
		}
	}
	forgetful.refused(404, "M_NOT_FOUND", "GET", room(id)+"/event/"+esc(hello), nil)
	forgetful.refused(404, "M_NOT_FOUND", "GET", room(id)+"/context/"+esc(hello), nil)
	left.event(id, hello)
	left.refused(403, "M_FORBIDDEN", "GET", room(id)+"/joined_members", nil)
	left.refused(403, "M_FORBIDDEN", "GET", room(id)+"/aliases", nil)
	stranger.refused(403, "M_FORBIDDEN", "GET", room("!unknown:one.test")+"/state", nil)
	alice.refused(403, "M_FORBIDDEN", "GET", room("!unknown:one.test")+"/messages?dir=b", nil)
}

func TestMembersAtATokenAreThoseOfThen(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	for visibility, want := range map[string]int{"shared": 200, "joined": 403} {
		id := alice.create(object{"preset": "public_chat", "initial_state": []object{
			{"type": "m.room.history_visibility", "content": object{"history_visibility": visibility}}}})
		then := alice.messages(id, "dir=b").text("start")
		bob.join(id)
		alice.ok("POST", room(id)+"/kick", object{"user_id": bob.user})
		carol.join(id)
		status, answer := carol.do("GET", room(id)+"/members?at="+url.QueryEscape(then), nil)
		if status != want {
			t.Fatalf("%s: status %d; want %d", visibility, status, want)
		}
		if status == 200 {
			chunk := object(answer.(map[string]any)).list("chunk")
			if len(chunk) != 1 || chunk[0].text("state_key") != alice.user {
				t.Errorf("members then: %v; want alice", ids(chunk))
			}
		}
		for query, n := range map[string]int{"membership=join": 2, "not_membership=join": 1, "membership=leave&not_membership=join": 1,
			"membership=join&not_membership=leave": 2, "membership=join&not_membership=ban": 3, "": 3} {
			if got := len(carol.ok("GET", room(id)+"/members?"+query, nil).list("chunk")); got != n {
				t.Errorf("%s: %d members; want %d", query, got, n)
			}
		}
		carol.refused(400, "M_INVALID_PARAM", "GET", room(id)+"/members?membership=joined", nil)
		carol.refused(400, "M_INVALID_PARAM", "GET", room(id)+"/members?at=yesterday", nil)
	}
}

// TestGapsInAHistoryAreSteppedOver reads the history of somebody who came and went, in a room that shows members only what was said
// while they were there.
func TestGapsInAHistoryAreSteppedOver(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat", "initial_state": []object{
		{"type": "m.room.history_visibility", "content": object{"history_visibility": "joined"}}}})
	wanted := alice.all(id, "f", 100, "") // how the room began is shown: it was said before it was said that it is not
	for range 6 {
		for range 5 {
			alice.say(id, "while bob is out")
		}
		bob.join(id)
		wanted = append(wanted, bob.event(id, alice.ok("GET", room(id)+"/state/m.room.member/"+esc(bob.user)+"?format=event", nil).text("event_id")).text("event_id"))
		for range 3 {
			wanted = append(wanted, alice.say(id, "while bob is in"))
		}
		bob.leave(id)
		wanted = append(wanted, alice.ok("GET", room(id)+"/state/m.room.member/"+esc(bob.user)+"?format=event", nil).text("event_id"))
	}
	alice.say(id, "after")
	for _, limit := range []int{1, 2, 3, 4, 5, 6, 100} {
		if got := bob.all(id, "f", limit, ""); !slices.Equal(got, wanted) {
			t.Errorf("forwards, limit %d: %d events; want %d", limit, len(got), len(wanted))
		}
		if got := bob.all(id, "b", limit, ""); !slices.Equal(got, reversed(wanted)) {
			t.Errorf("backwards, limit %d: %d events; want %d", limit, len(got), len(wanted))
		}
	}
}
