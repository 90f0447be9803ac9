package clientapi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestSameTransactionIsOneEvent(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bob := one.client("alice"), one.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	other := alice.create(object{})
	path := room(id) + "/send/m.room.message/same"
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for i := range 16 {
		c := alice
		if i%2 == 1 {
			c = alice.at(two)
		}
		wg.Go(func() {
			status, answer := c.do("PUT", path, object{"msgtype": "m.text", "body": "once"})
			mu.Lock()
			defer mu.Unlock()
			if status == 200 {
				got[object(answer.(map[string]any)).text("event_id")]++
			} else {
				t.Errorf("status %d: %v", status, answer)
			}
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Fatalf("16 requests made %d events: %v", len(got), got)
	}
	var first string
	for first = range got {
	}
	elsewhere := alice.ok("PUT", room(other)+"/send/m.room.message/same", object{"body": "x"}).text("event_id")
	otherType := alice.ok("PUT", room(id)+"/send/org.example/same", object{"body": "x"}).text("event_id")
	if elsewhere == first || otherType == first {
		t.Error("another path with the same transaction id gave the same event")
	}
	bob.join(id)
	if bob.ok("PUT", path, object{"body": "x"}).text("event_id") == first {
		t.Error("another user's transaction gave the same event")
	}
	alice.leave(id)
	if again := alice.ok("PUT", path, object{"msgtype": "m.text", "body": "once"}).text("event_id"); again != first {
		t.Errorf("repeated after leaving: %s; want %s", again, first)
	}
	alice.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/send/m.room.message/new", object{"body": "x"})
	messages := 0
	for _, e := range bob.messages(id, "dir=f&limit=100").list("chunk") {
		if e.text("event_id") == first {
			messages++
		}
	}
	if messages != 1 {
		t.Errorf("the event is in the room %d times", messages)
	}
}

func TestOwnDeviceLearnsItsTransactionID(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	bob.join(id)
	event := alice.ok("PUT", room(id)+"/send/m.room.message/my%20txn%22", object{"body": "x"}).text("event_id")
	phone := &client{p: p, user: alice.user, token: p.login(alice.user, nil).text("access_token")}
	if got := alice.event(id, event).inner("unsigned").text("transaction_id"); got != `my txn"` {
		t.Errorf("own device: transaction_id = %q", got)
	}
	for _, c := range []*client{phone, bob} {
		if got, there := c.event(id, event).inner("unsigned")["transaction_id"]; there {
			t.Errorf("%s: transaction_id = %q", c.user, got)
		}
	}
}

func TestEventsSayWhatTheyReplaced(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat", "initial_state": []object{
		{"type": "m.room.history_visibility", "content": object{"history_visibility": "joined"}}}})
	first := alice.set(id, "m.room.topic", "", object{"topic": "one"})
	bob.join(id)
	second := alice.set(id, "m.room.topic", "", object{"topic": "two"})
	for c, content := range map[*client]string{alice: "one", bob: ""} {
		unsigned := c.event(id, second).inner("unsigned")
		if unsigned.text("replaces_state") != first || unsigned.inner("prev_content").text("topic") != content {
			t.Errorf("%s: unsigned = %v; want replaces_state %s and the content if it may be seen", c.user, unsigned, first)
		}
		if unsigned.text("membership") != "join" {
			t.Errorf("%s: membership = %v", c.user, unsigned["membership"])
		}
		if _, ok := unsigned["age"].(float64); !ok {
			t.Errorf("%s: no age", c.user)
		}
	}
	if same := alice.set(id, "m.room.topic", "", object{"topic": "two"}); same != second {
		t.Errorf("state that says the same is sent again: %s", same)
	}
}

func TestRedactedContentIsNowhere(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1", "6", "10", "11", "12"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newDeployment(t).process()
			alice, bob := p.client("alice"), p.client("bob")
			id := alice.create(object{"preset": "public_chat", "room_version": version})
			bob.join(id)
			const secret = "the secret text"
			message := bob.say(id, secret)
			topic := alice.set(id, "m.room.topic", "", object{"topic": secret})
			last := alice.say(id, "last")
			// One the usual way, one through send.
			redaction := alice.redact(id, message)
			byMessage := alice.ok("PUT", room(id)+"/send/m.room.redaction/viasend", object{"redacts": topic, "reason": "why"}).text("event_id")

			for _, path := range []string{"/event/" + esc(message), "/event/" + esc(topic), "/context/" + esc(last), "/messages?dir=b&limit=100",
				"/messages?dir=f&limit=100", "/state", "/state/m.room.topic", "/state/m.room.topic?format=event"} {
				_, answer := bob.do("GET", room(id)+path, nil)
				if strings.Contains(fmt.Sprint(answer), secret) {
					t.Errorf("%s still has the secret", path)
				}
			}
			for target, by := range map[string]string{message: redaction, topic: byMessage} {
				because := bob.event(id, target).inner("unsigned").inner("redacted_because")
				if because.text("event_id") != by || because.text("type") != "m.room.redaction" || because.text("redacts") != target ||
					because.inner("content").text("redacts") != target {
					t.Errorf("redacted_because of %s = %v", target, because)
				}
			}
			if got := bob.event(id, byMessage).inner("content").text("reason"); got != "why" {
				t.Errorf("reason = %q", got)
			}
			bob.leave(id)
			alice.redact(id, last)
			because := bob.event(id, last).inner("unsigned").inner("redacted_because")
			if because.text("redacts") != last || because.inner("content")["reason"] != nil {
				t.Errorf("redacted after bob left: redacted_because = %v; want the fact without the reason", because)
			}
			bob.join(id)
			mine := bob.say(id, "mine")
			bob.redact(id, mine)
			alices := alice.say(id, "not yours")
			bob.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/redact/"+esc(alices)+"/1", object{})
			bob.refused(404, "M_NOT_FOUND", "PUT", room(id)+"/redact/$unknown:one.test/1", object{})
		})
	}
}

func TestStateWithAndWithoutKey(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	id := alice.create(object{})
	alice.ok("PUT", room(id)+"/state/org.example.a", object{"n": 1})
	alice.ok("PUT", room(id)+"/state/org.example.b/", object{"n": 2})
	alice.ok("PUT", room(id)+"/state/org.example.b/key%2Fwith%20slash", object{"n": 3})
	for path, n := range map[string]float64{"org.example.a": 1, "org.example.a/": 1, "org.example.b": 2, "org.example.b/key%2Fwith%20slash": 3} {
		if got := alice.ok("GET", room(id)+"/state/"+path, nil)["n"]; got != n {
			t.Errorf("%s: n = %v; want %v", path, got, n)
		}
	}
	whole := alice.ok("GET", room(id)+"/state/org.example.b/key%2Fwith%20slash?format=event", nil)
	if whole.text("state_key") != "key/with slash" || whole.text("room_id") != id || whole.inner("content")["n"] != 3.0 {
		t.Errorf("format=event: %v", whole)
	}
	if got := alice.ok("GET", room(id)+"/state/org.example.a?format=content", nil)["n"]; got != 1.0 {
		t.Errorf("format=content: %v", got)
	}
	alice.refused(400, "M_INVALID_PARAM", "GET", room(id)+"/state/org.example.a?format=xml", nil)
	alice.refused(404, "M_NOT_FOUND", "GET", room(id)+"/state/org.example.c", nil)
	alice.refused(404, "M_NOT_FOUND", "GET", room(id)+"/state/org.example.a/other", nil)
	_, all := alice.do("GET", room(id)+"/state", nil)
	keys := map[string]bool{}
	for _, e := range all.([]any) {
		o := object(e.(map[string]any))
		keys[o.text("type")+"|"+o.text("state_key")] = true
	}
	for _, want := range []string{"m.room.create|", "m.room.member|" + alice.user, "org.example.a|", "org.example.b|", "org.example.b|key/with slash"} {
		if !keys[want] {
			t.Errorf("the state lacks %q", want)
		}
	}
}

func TestBodiesAreHashedAsTheRoomVersionWants(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	for version, status := range map[string]int{"1": 200, "5": 200, "6": 400, "12": 400} {
		id := alice.create(object{"room_version": version})
		if got, answer := alice.do("PUT", room(id)+"/send/org.example/1", `{"n": 1.5}`); got != status {
			t.Errorf("version %s: a fraction gives %d %v; want %d", version, got, answer, status)
		}
	}
	id := alice.create(object{})
	event := alice.ok("PUT", room(id)+"/send/org.example/2", `{"z": "<&>", "a": [ 1, -0 ]}`).text("event_id")
	content := alice.event(id, event).inner("content")
	if content.text("z") != "<&>" || fmt.Sprint(content["a"]) != "[1 0]" {
		t.Errorf("content = %v", content)
	}
}

func TestAnEventMayHave64KiB(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	id := alice.create(object{})
	alice.ok("PUT", room(id)+"/send/org.example/1", object{"body": strings.Repeat("x", 64_000)})
	alice.refused(413, "M_TOO_LARGE", "PUT", room(id)+"/send/org.example/2", object{"body": strings.Repeat("x", 65_536)})
	alice.refused(413, "M_TOO_LARGE", "PUT", room(id)+"/state/org.example", object{"body": strings.Repeat("x", 65_536)})
	alice.refused(413, "M_TOO_LARGE", "PUT", room(id)+"/send/"+strings.Repeat("x", 256)+"/3", object{})
	alice.refused(413, "M_TOO_LARGE", "PUT", room(id)+"/state/org.example/"+strings.Repeat("x", 256), object{})
	alice.refused(413, "M_TOO_LARGE", "PUT", room(id)+"/send/org.example/4", object{"body": strings.Repeat("x", 400_000)})
	alice.ok("PUT", room(id)+"/send/"+strings.Repeat("x", 255)+"/3", object{})
}
