package clientapi_test

import (
	"slices"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestOldFormsOfSyncTellWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p, second := d.process(), d.process()
	alice, bob, carol := p.client("alice"), p.client("bob"), p.client("carol")
	id := alice.create(object{"preset": "public_chat"})
	open := alice.create(object{"initial_state": []object{
		{"type": "m.room.history_visibility", "content": object{"history_visibility": "world_readable"}}}})
	bob.join(id)
	said := alice.say(id, "before")
	secret := alice.create(object{"name": "secret"})
	alice.invite(secret, bob)
	hidden := alice.say(secret, "hidden")
	left := alice.create(object{"preset": "public_chat"})
	bob.join(left)
	lastSeen := alice.say(left, "last")
	bob.leave(left)
	after := alice.say(left, "after bob")

	rooms := func(answer object) map[string]object {
		found := map[string]object{}
		for _, r := range answer.list("rooms") {
			found[r.text("room_id")] = r
		}
		return found
	}
	first := bob.ok("GET", "/initialSync?limit=5", nil)
	have := rooms(first)
	if len(have) != 2 || have[id].text("membership") != "join" || have[secret].inner("invite").text("event_id") == "" || have[secret]["state"] != nil {
		t.Fatalf("initialSync: %v", have)
	}
	if got := ids(have[id].inner("messages").list("chunk")); len(got) != 5 || got[4] != said || len(have[id].list("state")) < 6 {
		t.Errorf("the room: %v", have[id])
	}
	for _, r := range rooms(bob.ok("GET", "/initialSync?limit=0", nil)) {
		if r["invite"] == nil && (len(r.inner("messages").list("chunk")) != 0 || r.inner("messages").text("end") == "") {
			t.Errorf("no messages are wanted: %v", r["messages"])
		}
	}
	archived := rooms(bob.ok("GET", "/initialSync?archived=true", nil))[left]
	if got := ids(archived.inner("messages").list("chunk")); !slices.Contains(got, lastSeen) || slices.Contains(got, after) || archived.text("membership") != "leave" {
		t.Errorf("a room that was left: %v", archived)
	}
	if got := bob.ok("GET", room(id)+"/initialSync", nil); got.text("membership") != "join" || len(got.list("state")) < 6 {
		t.Errorf("one room: %v", got)
	}
	if got := carol.ok("GET", room(open)+"/initialSync", nil); got["membership"] != nil || len(got.list("state")) < 6 {
		t.Errorf("a room that the world may read: %v", got)
	}
	carol.refused(403, "M_FORBIDDEN", "GET", room(id)+"/initialSync", nil)
	bob.refused(403, "M_FORBIDDEN", "GET", room(secret)+"/initialSync", nil)
	bob.refused(400, "M_INVALID_PARAM", "GET", "/initialSync?limit=x", nil)

	// What happens after it, of all the user's rooms and of one; what is said elsewhere is not told.
	from := first.text("end")
	alice.say(secret, "still hidden")
	alice.say(open, "in the open")
	next := alice.say(id, "news")
	hstest.Eventually(t, "the news on another process", func() bool {
		page := bob.at(second).ok("GET", "/events?timeout=100&from="+from, nil)
		return slices.Equal(ids(page.list("chunk")), []string{next}) && page.text("start") == from && page.text("end") != from
	})
	if page := carol.ok("GET", "/events?room_id="+esc(open)+"&from="+from, nil); len(page.list("chunk")) != 1 {
		t.Errorf("peeking: %v", page)
	}
	carol.refused(403, "M_FORBIDDEN", "GET", "/events?room_id="+esc(id)+"&from="+from, nil)
	bob.refused(403, "M_FORBIDDEN", "GET", "/events?room_id="+esc(secret), nil)
	for _, query := range []string{"from=x", "timeout=x", "room_id=x", "room_id="} {
		bob.refused(400, "M_INVALID_PARAM", "GET", "/events?"+query, nil)
	}
	head := bob.ok("GET", "/events?from="+from, nil).text("end")
	answered := make(chan object, 1)
	go func() { answered <- bob.ok("GET", "/events?timeout=300000&from="+head, nil) }()
	alice.invite(open, bob)
	if got := (<-answered).list("chunk"); len(got) != 1 || got[0].text("type") != "m.room.member" || got[0].text("room_id") != open {
		t.Errorf("the invitation that was waited for: %v", got)
	}
	if page := bob.ok("GET", "/events?timeout=1&from="+bob.ok("GET", "/events?from="+head, nil).text("end"), nil); len(page.list("chunk")) != 0 {
		t.Errorf("nothing new: %v", page)
	}

	if got := bob.ok("GET", "/events/"+esc(said), nil); got.text("event_id") != said || got.text("room_id") != id {
		t.Errorf("an event: %v", got)
	}
	for _, unseen := range []string{hidden, after, "$nothing:one.test"} {
		bob.refused(404, "M_NOT_FOUND", "GET", "/events/"+esc(unseen), nil)
	}
	bob.refused(400, "M_INVALID_PARAM", "GET", "/events/x", nil)
	bob.ignore(alice)
	if page := bob.ok("GET", "/events?from="+from, nil); slices.Contains(ids(page.list("chunk")), next) {
		t.Errorf("a message of somebody ignored: %v", page)
	}
}
