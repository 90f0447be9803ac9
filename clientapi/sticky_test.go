package clientapi_test

import (
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestStickyEventsSayForHowLong(t *testing.T) {
	t.Parallel()
	alice, bob, id := together(t)
	bob.p.tidy()
	const query = "?org.matrix.msc4354.sticky_duration_ms="
	message := alice.ok("PUT", room(id)+"/send/org.example.t/1"+query+"3000000", object{"a": 1}).text("event_id")
	state := alice.ok("PUT", room(id)+"/state/org.example.t/k"+query+"3600000", object{"a": 1}).text("event_id")
	later := alice.delayed("PUT", room(id)+"/delayed_event/org.example.t/2"+query+"3000000", object{"delay_ms": 50, "content": object{}}).text("delay_id")
	old := alice.ok("PUT", room(id)+"/send/org.example.t/3"+query+"3000000&org.matrix.msc4140.delay=50", object{"a": 1}).text("delay_id")
	hstest.Eventually(t, "sending", func() bool { return len(alice.scheduled()) == 0 })
	for name, event := range map[string]string{
		"message": message, "state": state,
		"delayed": alice.delayed("GET", "/delayed_events/"+later, nil).text("event_id"), "delayed by query": alice.delayed("GET", "/delayed_events/"+old, nil).text("event_id"),
	} {
		want := 3000000.0
		if name == "state" {
			want = 3600000
		}
		e := bob.event(id, event)
		left, _ := e.inner("unsigned")["msc4354_sticky_duration_ttl_ms"].(float64)
		if e.inner("msc4354_sticky")["duration_ms"] != want || left <= 0 || left > want {
			t.Errorf("%s: %v", name, e)
		}
	}
	// The same state again is sticky for longer.
	if again := alice.ok("PUT", room(id)+"/state/org.example.t/k"+query+"3600000", object{"a": 1}).text("event_id"); again == state {
		t.Error("sticky state that was sent again is the same event")
	}
	plain := alice.ok("PUT", room(id)+"/send/org.example.t/4"+query+"0", object{"a": 1}).text("event_id")
	alice.redact(id, message)
	for _, event := range []string{plain, message} {
		if e := bob.event(id, event); e["msc4354_sticky"] != nil || e.inner("unsigned")["msc4354_sticky_duration_ttl_ms"] != nil {
			t.Errorf("an event that is not sticky: %v", e)
		}
	}
	for _, bad := range []string{"", "x", "-1", "1.5", "3600001", "99999999999999999999"} {
		alice.refused(400, "M_INVALID_PARAM", "PUT", room(id)+"/send/org.example.t/x"+query+bad, object{})
		alice.refused(400, "M_INVALID_PARAM", "PUT", room(id)+"/state/org.example.t/x"+query+bad, object{})
		alice.p.want(400, "M_INVALID_PARAM", "PUT", delayedPath+room(id)+"/delayed_event/org.example.t/x"+query+bad, alice.token, object{"delay_ms": 50, "content": object{}})
	}
	ancient := alice.create(object{"room_version": "1"})
	alice.refused(400, "M_INVALID_PARAM", "PUT", room(ancient)+"/send/org.example.t/x"+query+"300000", object{})
}

func TestStickyEventsAreLimited(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.limited = true
	d.clock.hold()
	alice := d.process().client("alice")
	id := alice.create(object{})
	for n := 0; ; n++ {
		status, answer := alice.do("PUT", room(id)+"/send/org.example.t/"+string(rune('a'+n%26))+string(rune('a'+n/26))+"?org.matrix.msc4354.sticky_duration_ms=1000", object{})
		if status == 429 {
			return
		}
		if n > 300 {
			t.Fatalf("300 sticky events at once went through: %v", answer)
		}
	}
}
