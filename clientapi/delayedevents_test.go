package clientapi_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

const delayedPath = "/_matrix/client/unstable/org.matrix.msc4140"

// delayed asks for something below the proposal's prefix that has to succeed.
func (c *client) delayed(method, path string, body any) object {
	c.p.t.Helper()
	return c.p.want(200, "", method, delayedPath+path, c.token, body)
}

// later schedules a message and returns its delay id.
func (c *client) later(id, txn string, ms int, content object) string {
	c.p.t.Helper()
	return c.delayed("PUT", room(id)+"/delayed_event/org.example.later/"+txn, object{"delay_ms": ms, "content": content}).text("delay_id")
}

func (c *client) scheduled() []object {
	c.p.t.Helper()
	return c.delayed("GET", "/delayed_events", nil).list("delayed_events")
}

// sent are the events of a type in a room, as the client sees them, the oldest first.
func (c *client) sent(id, eventType string) []object {
	c.p.t.Helper()
	var list []object
	for _, e := range c.messages(id, "dir=f&limit=1000").list("chunk") {
		if e.text("type") == eventType {
			list = append(list, e)
		}
	}
	return list
}

func (d *deployment) sql(statement string, args ...any) {
	d.t.Helper()
	db := storetest.DB(d.t, d.dsn)
	_, err := db.Exec(statement, args...)
	must(d.t, err)
}

// soon makes each hour of the delays of what is scheduled 100 ms from now on.
func (p *process) soon() {
	p.t.Helper()
	p.sql(`UPDATE delayed_events SET scheduled_ts = ceil(extract(epoch FROM now()) * 1000)::bigint + delay_ms / 36000 - delay_ms WHERE finalised_ts IS NULL`)
}

func TestDelayedEventsAreSentInTheirTurn(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	alice.p.tidy()
	path := room(id) + "/send/org.example.old/"
	const hour = 3600_000
	var delays []string
	for n, ms := range []int{9 * hour, 7 * hour, 8 * hour} {
		answer := alice.ok("PUT", fmt.Sprintf("%st%d?org.matrix.msc4140.delay=%d", path, n, ms), object{"n": ms})
		delays = append(delays, answer.text("delay_id"))
		// Again, and without a body.
		if again := alice.ok("PUT", fmt.Sprintf("%st%d?org.matrix.msc4140.delay=%d", path, n, ms), nil).text("delay_id"); again != delays[n] {
			t.Errorf("the same transaction gave %s, then %s", delays[n], again)
		}
	}
	key := "key"
	state := alice.ok("PUT", room(id)+"/state/org.example.state/"+key+"?org.matrix.msc4140.delay="+strconv.Itoa(6*hour), object{"on": true}).text("delay_id")
	list := alice.scheduled()
	if len(list) != 4 || list[0].text("delay_id") != state || list[0].text("state_key") != key || list[0].text("room_id") != id ||
		list[0].text("type") != "org.example.state" || list[0]["delay_ms"] != 6.0*hour || list[0]["scheduled_at"].(float64) < 1e12 ||
		list[0].inner("content")["on"] != true {
		t.Fatalf("scheduled: %v", list)
	}
	for i, hours := range []float64{7, 8, 9} {
		if e := list[i+1]; e.inner("content")["n"] != hours*hour || e["delay_ms"] != hours*hour {
			t.Errorf("not in the order of their time: %v", list)
		}
	}
	if _, is := list[1]["state_key"]; is {
		t.Error("a message has a state key")
	}
	if n := len(bob.scheduled()); n != 0 {
		t.Errorf("bob has %d of alice's events", n)
	}
	alice.p.soon()
	hstest.Eventually(t, "sending", func() bool { return len(alice.scheduled()) == 0 })
	sent := bob.sent(id, "org.example.old")
	if len(sent) != 3 || sent[0].inner("content")["n"] != 7.0*hour || sent[1].inner("content")["n"] != 8.0*hour || sent[2].inner("content")["n"] != 9.0*hour {
		t.Fatalf("in the room: %v", sent)
	}
	if got := bob.ok("GET", room(id)+"/state/org.example.state/"+key, nil); got["on"] != true {
		t.Errorf("the state is %v", got)
	}
	for n, e := range alice.sent(id, "org.example.old") {
		unsigned := e.inner("unsigned")
		if unsigned.text("org.matrix.msc4140.delay_id") != list[n+1].text("delay_id") || unsigned["transaction_id"] != nil {
			t.Errorf("alice sees %v", e)
		}
		if sent[n].inner("unsigned")["org.matrix.msc4140.delay_id"] != nil {
			t.Errorf("bob learns the delay id: %v", sent[n])
		}
		got := alice.delayed("GET", "/delayed_events/"+list[n+1].text("delay_id"), nil)
		if got.text("event_id") != e.text("event_id") || got["finalised_ts"] == nil || got["finalised_ts"].(float64) < got["scheduled_at"].(float64)+got["delay_ms"].(float64) {
			t.Errorf("finalised: %v", got)
		}
	}
	bob.p.want(404, "M_NOT_FOUND", "GET", delayedPath+"/delayed_events/"+delays[0], bob.token, nil)
}

func TestDelayedEventsAreManaged(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	manage := func(status int, code, token, delay, action string) {
		t.Helper()
		alice.p.want(status, code, "POST", delayedPath+"/delayed_events/"+delay+"/"+action, token, object{})
	}
	const day = 24 * 3600 * 1000
	sent, cancelled := alice.later(id, "one", day, object{"n": 1}), alice.later(id, "two", day, object{"n": 2})
	for _, action := range []string{"send", "restart", "cancel"} {
		manage(404, "M_NOT_FOUND", bob.token, sent, action)
		manage(404, "M_NOT_FOUND", alice.token, "nothing", action)
		manage(404, "M_NOT_FOUND", "", "nothing", action)
		manage(401, "M_UNKNOWN_TOKEN", "wrong", sent, action)
	}
	manage(404, "M_UNRECOGNIZED", alice.token, sent, "oops")
	before := alice.scheduled()
	manage(200, "", "", sent, "restart")
	if after := alice.scheduled(); after[0].text("delay_id") != cancelled || after[1]["scheduled_at"].(float64) <= before[0]["scheduled_at"].(float64) {
		t.Errorf("restarted: %v, then %v", before, after)
	}
	manage(200, "", "", sent, "send")
	manage(200, "", alice.token, sent, "send")
	manage(409, "M_UNKNOWN", alice.token, sent, "cancel")
	manage(409, "M_UNKNOWN", "", sent, "restart")
	manage(200, "", alice.token, cancelled, "cancel")
	manage(200, "", "", cancelled, "cancel")
	manage(409, "M_UNKNOWN", "", cancelled, "send")
	manage(409, "M_UNKNOWN", "", cancelled, "restart")
	if list := bob.sent(id, "org.example.later"); len(list) != 1 || list[0].inner("content")["n"] != 1.0 {
		t.Errorf("in the room: %v", list)
	}
	if got := alice.delayed("GET", "/delayed_events/"+cancelled, nil); got["finalised_ts"] == nil || got["event_id"] != nil || got["error"] != nil {
		t.Errorf("cancelled: %v", got)
	}

	// The older form.
	old := alice.later(id, "three", day, object{"n": 3})
	update := delayedPath + "/delayed_events/" + old
	alice.p.want(200, "", "POST", update, "", object{"action": "restart"})
	alice.p.want(200, "", "POST", update, alice.token, object{"action": "send"})
	alice.p.want(409, "M_UNKNOWN", "POST", update, "", object{"action": "cancel"})
	alice.p.want(400, "M_INVALID_PARAM", "POST", update, "", object{"action": "oops"})
	alice.p.want(400, "M_MISSING_PARAM", "POST", update, "", object{})
	alice.p.want(400, "M_BAD_JSON", "POST", update, "", object{"action": 1})
	alice.p.want(401, "M_MISSING_TOKEN", "GET", delayedPath+"/delayed_events", "", nil)
	alice.p.want(401, "M_MISSING_TOKEN", "GET", update, "", nil)
}

func TestDelayedEventsFormIsChecked(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	elsewhere := bob.create(object{})
	event := delayedPath + room(id) + "/delayed_event/org.example.t/x"
	content := object{"a": 1}
	state := func(eventType string) string { return delayedPath + room(id) + "/delayed_event/" + eventType + "/x" }
	for _, c := range []struct {
		status     int
		code, path string
		body       any
	}{
		{400, "M_MISSING_PARAM", event, object{"content": content}},
		{400, "M_MISSING_PARAM", event, object{"delay_ms": 1000}},
		{400, "M_BAD_JSON", event, object{"delay_ms": "1000", "content": content}},
		{400, "M_BAD_JSON", event, object{"delay_ms": 1000, "content": 7}},
		{400, "M_BAD_JSON", event, object{"delay_ms": 1000, "content": content, "state_key": 7}},
		{400, "M_BAD_JSON", event, object{"delay_ms": 1.5, "content": content}},
		{400, "M_INVALID_PARAM", event, object{"delay_ms": 0, "content": content}},
		{400, "M_INVALID_PARAM", event, object{"delay_ms": -5, "content": content}},
		{403, "M_FORBIDDEN", event, object{"delay_ms": 24*3600*1000 + 1, "content": content}},
		{403, "M_FORBIDDEN", event, object{"delay_ms": 1<<53 - 1, "content": content}},
		{400, "M_NOT_JSON", event, `{`},
		{413, "M_TOO_LARGE", event, object{"delay_ms": 1, "content": object{"a": strings.Repeat("x", 70<<10)}}},
		{413, "M_TOO_LARGE", state(strings.Repeat("t", 256)), object{"delay_ms": 1, "content": content}},
		{413, "M_TOO_LARGE", state("t"), object{"delay_ms": 1, "content": content, "state_key": strings.Repeat("k", 256)}},
		{400, "M_INVALID_PARAM", state("m.room.create"), object{"delay_ms": 1, "content": content, "state_key": ""}},
		{403, "M_FORBIDDEN", state("m.room.member"), object{"delay_ms": 1, "content": object{"membership": "invite"}, "state_key": bob.user}},
		{400, "M_BAD_JSON", state("m.room.member"), object{"delay_ms": 1, "content": object{"membership": "gone"}, "state_key": bob.user}},
		{400, "M_INVALID_PARAM", state("m.room.redaction"), object{"delay_ms": 1, "content": object{"redacts": "x"}}},
		{400, "M_BAD_ALIAS", state("m.room.canonical_alias"), object{"delay_ms": 1, "content": object{"alias": "#none:one.test"}, "state_key": ""}},
		{403, "M_FORBIDDEN", delayedPath + room(elsewhere) + "/delayed_event/t/x", object{"delay_ms": 1, "content": content}},
		{403, "M_FORBIDDEN", delayedPath + room("!none:one.test") + "/delayed_event/t/x", object{"delay_ms": 1, "content": content}},
		{400, "M_INVALID_PARAM", delayedPath + room("none") + "/delayed_event/t/x", object{"delay_ms": 1, "content": content}},
	} {
		alice.p.want(c.status, c.code, "PUT", c.path, alice.token, c.body)
	}
	alice.p.want(401, "M_MISSING_TOKEN", "PUT", event, "", object{"delay_ms": 1, "content": content})
	old := room(id) + "/send/org.example.t/x?org.matrix.msc4140.delay="
	for _, delay := range []string{"", "x", "-1", "0", "1.5"} {
		alice.refused(400, "M_INVALID_PARAM", "PUT", old+delay, content)
		alice.refused(400, "M_INVALID_PARAM", "PUT", room(id)+"/state/org.example.t?org.matrix.msc4140.delay="+delay, content)
	}
	// What clients of the older form look at to try a shorter delay.
	tooLong := alice.refused(400, "M_UNKNOWN", "PUT", old+"86400001", content)
	if tooLong.text("org.matrix.msc4140.errcode") != "M_MAX_DELAY_EXCEEDED" || tooLong["org.matrix.msc4140.max_delay"] != 86400000.0 {
		t.Errorf("a delay that is too long: %v", tooLong)
	}
	if n := len(alice.scheduled()); n != 0 {
		t.Errorf("%d events were scheduled", n)
	}
	capability := alice.ok("GET", "/capabilities", nil).inner("capabilities").inner("org.matrix.msc4140.delayed_events")
	if capability["max_delay_ms"] != 86400000.0 || capability["max_scheduled"] != 100.0 {
		t.Errorf("capability: %v", capability)
	}
}

func TestDelayedEventsAreBounded(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	rooms := d.configure
	d.configure = func(c *clientapi.Config) { rooms(c); c.MaxScheduled = 3 }
	p := d.process()
	alice := p.client("alice")
	id := alice.create(object{})
	var first string
	for n := range 3 {
		first = alice.later(id, strconv.Itoa(n), 3600_000, object{})
	}
	path := delayedPath + room(id) + "/delayed_event/t/more"
	status, answer, header := p.doHeader("PUT", path, alice.token, object{"delay_ms": 5, "content": object{}})
	if after, _ := strconv.Atoi(header.Get("Retry-After")); status != 429 || answer.text("errcode") != "M_LIMIT_EXCEEDED" || after < 3000 || after > 3600 {
		t.Errorf("one too many: %d %v, Retry-After %s", status, answer, header.Get("Retry-After"))
	}
	p.want(200, "", "POST", delayedPath+"/delayed_events/"+first+"/cancel", "", object{})
	alice.later(id, "more", 3600_000, object{})

	d.configure = func(c *clientapi.Config) { rooms(c); c.MaxScheduled = 0 }
	d.process().want(403, "M_FORBIDDEN", "PUT", path, alice.token, object{"delay_ms": 5, "content": object{}})
}

func TestManagingDelayedEventsIsLimitedBySender(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.limited = true
	d.clock.hold()
	p := d.process()
	alice, bob := p.client("alice"), p.client("bob")
	id, other := alice.create(object{}), bob.create(object{})
	of := func(c *client, id string) string {
		return delayedPath + "/delayed_events/" + c.later(id, "x", 3600_000, object{}) + "/restart"
	}
	hers, his := of(alice, id), of(bob, other)
	refused := false
	for range 40 {
		status, answer := p.do("POST", hers, "", object{})
		refused = refused || status == 429 && answer.text("errcode") == "M_LIMIT_EXCEEDED"
	}
	if !refused {
		t.Error("40 restarts at once went through")
	}
	// The same service may manage the events of others.
	p.want(200, "", "POST", his, "", object{})
}

func TestDelayedEventIsJudgedWhenItIsSent(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	const day = 24 * 3600 * 1000
	delay := bob.later(id, "x", day, object{})
	bob.leave(id)
	send := delayedPath + "/delayed_events/" + delay + "/send"
	bob.p.want(403, "M_FORBIDDEN", "POST", send, "", object{})
	if len(bob.scheduled()) != 1 {
		t.Fatal("an event that could not be sent is not scheduled any more")
	}
	bob.join(id)
	bob.p.want(200, "", "POST", send, "", object{})

	// At its time it is finalised, with the reason.
	alice.p.tidy()
	refused := bob.later(id, "y", day, object{})
	alice.ok("POST", room(id)+"/kick", object{"user_id": bob.user})
	alice.p.soon()
	hstest.Eventually(t, "the event's time", func() bool { return len(bob.scheduled()) == 0 })
	if got := bob.delayed("GET", "/delayed_events/"+refused, nil); got.inner("error").text("errcode") != "M_FORBIDDEN" || got["event_id"] != nil {
		t.Errorf("not sent: %v", got)
	}
	bob.p.want(409, "M_UNKNOWN", "POST", delayedPath+"/delayed_events/"+refused+"/send", "", object{})
	bob.p.want(200, "", "POST", delayedPath+"/delayed_events/"+refused+"/cancel", "", object{})
	if n := len(alice.sent(id, "org.example.later")); n != 1 {
		t.Errorf("%d events are in the room", n)
	}
}

func TestDelayedRedactionAndLeave(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	alice.p.tidy()
	secret := bob.say(id, "for a moment")
	bob.delayed("PUT", room(id)+"/delayed_event/m.room.redaction/r", object{"delay_ms": 50, "content": object{"redacts": secret, "reason": "read"}})
	alice.delayed("PUT", room(id)+"/delayed_event/m.room.member/l",
		object{"delay_ms": 100, "state_key": bob.user, "content": object{"membership": "ban", "join_authorised_via_users_server": alice.user}})
	hstest.Eventually(t, "the redaction", func() bool { return len(alice.event(id, secret).inner("content")) == 0 })
	hstest.Eventually(t, "the ban", func() bool {
		return alice.ok("GET", room(id)+"/state/m.room.member/"+esc(bob.user), nil).text("membership") == "ban"
	})
	if got := alice.ok("GET", room(id)+"/state/m.room.member/"+esc(bob.user), nil); got["join_authorised_via_users_server"] != nil {
		t.Errorf("a client vouched for somebody: %v", got)
	}
}

// TestDelayedEventsAreSentOnceByManyProcesses has events of a process that never runs sent by three others at once.
func TestDelayedEventsAreSentOnceByManyProcesses(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	dead := d.process()
	alice := dead.client("alice")
	var rooms []string
	for range 4 {
		rooms = append(rooms, alice.create(object{}))
	}
	for range 3 {
		d.process().tidy()
	}
	for n := range 60 {
		alice.later(rooms[n%4], strconv.Itoa(n), 100+5*n, object{"n": n})
	}
	hstest.Eventually(t, "sending", func() bool { return len(alice.scheduled()) == 0 })
	for _, id := range rooms {
		// Two processes may send what is due at nearly the same time in either order.
		list, seen := alice.sent(id, "org.example.later"), map[any]bool{}
		for _, e := range list {
			seen[e.inner("content")["n"]] = true
		}
		if len(list) != 15 || len(seen) != 15 {
			t.Errorf("%d events are in the room, %d different ones, not 15", len(list), len(seen))
		}
	}
	// A process that died after the append and before it was noted: the event is sent again.
	d.sql(`UPDATE delayed_events SET finalised_ts = NULL, event_id = NULL`)
	hstest.Eventually(t, "sending again", func() bool { return len(alice.scheduled()) == 0 })
	for _, id := range rooms {
		if n := len(alice.sent(id, "org.example.later")); n != 15 {
			t.Errorf("%d events are in the room after they were sent again, not 15", n)
		}
	}
}

func TestDelayedEventsEndWithTheAccountAndNotWithTheSession(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	bob.join(id)
	bob.later(id, "x", 3600_000, object{"n": 1})
	bob.ok("POST", "/logout", object{})
	bob.token = p.login(bob.user, nil).text("access_token")
	list := bob.scheduled()
	if len(list) != 1 {
		t.Fatalf("after a logout: %v", list)
	}
	p.want(200, "", "POST", "/_matrix/client/v3/account/deactivate", bob.token, object{"auth": proof("", bob.user, password)})
	p.want(404, "M_NOT_FOUND", "POST", delayedPath+"/delayed_events/"+list[0].text("delay_id")+"/send", "", object{})
}

func TestLockedSenderSendsNothing(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	delay := bob.later(id, "x", 3600_000, object{})
	must(t, bob.p.accounts.SetLocked(t.Context(), "@bob:one.test", true))
	bob.p.want(403, "M_USER_LOCKED", "POST", delayedPath+"/delayed_events/"+delay+"/send", "", object{})
	if n := len(alice.sent(id, "org.example.later")); n != 0 {
		t.Errorf("%d events of a locked account", n)
	}
}
