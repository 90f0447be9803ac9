package meetings_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

const callMember = "org.matrix.msc3401.call.member"

// levels are the power levels of events in a room.
func levels(t *testing.T, u *hstest.User, room string) func(typ string) string {
	t.Helper()
	content := u.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.power_levels", ""), nil)
	return func(typ string) string { return content.Get("events." + gjson.Escape(typ)).Raw }
}

func wantLevels(t *testing.T, what string, level func(string) string) {
	t.Helper()
	for typ, want := range map[string]string{
		callMember: "0", "m.rtc.member": "0", "m.rtc.slot": "50", "org.roomline.meeting": "50", "org.roomline.recording": "50",
	} {
		if got := level(typ); got != want {
			t.Errorf("%s: %s needs power %q, want %s", what, typ, got, want)
		}
	}
}

// TestMembersMayCall has the events of calls in new rooms, in upgraded ones, and in an old one whose admin allows them.
func TestMembersMayCall(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	host, anna := s.host, s.User(t, "anna")
	announce := func(room string) string {
		return hstest.Path("rooms", room, "state", callMember, "_"+anna.ID+"_"+anna.DeviceID+"_m.call")
	}
	membership := map[string]any{"application": "m.call", "call_id": "", "device_id": anna.DeviceID}
	for _, preset := range []string{"private_chat", "trusted_private_chat", "public_chat"} {
		room := host.MustCreateRoom(t, map[string]any{"preset": preset, "invite": []string{anna.ID}})
		wantLevels(t, preset, levels(t, host, room))
		anna.MustJoin(t, room)
		anna.MustDo(t, http.MethodPut, announce(room), membership)
	}
	overridden := host.MustCreateRoom(t, map[string]any{"power_level_content_override": map[string]any{"events": map[string]any{"m.room.topic": 0, "m.rtc.slot": 70}}})
	if level := levels(t, host, overridden); level(callMember) != "0" || level("m.rtc.slot") != "70" || level("m.room.topic") != "0" {
		t.Errorf("levels that were given are %s %s %s", level(callMember), level("m.rtc.slot"), level("m.room.topic"))
	}

	// A room of before, as other servers made it.
	old := host.MustCreateRoom(t, map[string]any{"room_version": "10", "invite": []string{anna.ID}})
	anna.MustJoin(t, old)
	host.MustSetState(t, old, "m.room.power_levels", "", map[string]any{"users": map[string]any{host.ID: 100}})
	anna.MustFail(t, 403, "M_FORBIDDEN", http.MethodPut, announce(old), membership)
	next := host.MustDo(t, http.MethodPost, hstest.Path("rooms", old, "upgrade"), map[string]any{"new_version": "12"}).Get("replacement_room").String()
	wantLevels(t, "an upgraded room", levels(t, host, next))
	room := host.MustCreateRoom(t, map[string]any{"room_version": "10", "invite": []string{anna.ID}})
	anna.MustJoin(t, room)
	host.MustSetState(t, room, "m.room.power_levels", "", map[string]any{"users": map[string]any{host.ID: 100}})
	anna.MustFail(t, 403, "M_FORBIDDEN", http.MethodPut, announce(room), membership)
	host.MustSetState(t, room, "m.room.power_levels", "", map[string]any{"users": map[string]any{host.ID: 100}, "events": map[string]any{callMember: 0}})
	anna.MustDo(t, http.MethodPut, announce(room), membership)
	host.MustSetState(t, room, "m.room.power_levels", "", map[string]any{"users": map[string]any{host.ID: 100}, "events": map[string]any{"m.room.topic": 0}})
	host.MustDo(t, http.MethodPost, "/_roomline/client/v1/rooms/"+room+"/meeting", map[string]any{})
	wantLevels(t, "a room where somebody meets now", levels(t, host, room))
}

// TestRinging follows a call from the ring to its end, on phones and in sync on another process.
func TestRinging(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	pushed := make(chan gjson.Result, 100)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		pushed <- gjson.GetBytes(body, "notification")
		fmt.Fprint(w, `{"rejected":[]}`)
	}))
	t.Cleanup(gateway.Close)
	anna, bob, carol := d.User(t, "anna"), d.User(t, "bob").On(1), d.User(t, "carol")
	room := anna.MustCreateRoom(t, map[string]any{"invite": []string{bob.ID, carol.ID}})
	for _, u := range []*hstest.User{anna, bob, carol} {
		if u != anna {
			u.MustJoin(t, room)
		}
		u.MustDo(t, http.MethodPost, hstest.Path("pushers", "set"), map[string]any{
			"kind": "http", "app_id": "org.example.voip", "pushkey": u.ID, "app_display_name": "x", "device_display_name": "x", "lang": "en",
			"data": map[string]any{"url": gateway.URL + "/_matrix/push/v1/notify"},
		})
	}
	since := bob.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	key := "_" + anna.ID + "_" + anna.DeviceID + "_m.call"
	joined := anna.MustSetState(t, room, callMember, key, map[string]any{"application": "m.call", "device_id": anna.DeviceID})
	// One step of the journal: the next answer of a sync that waits on another process has it.
	since = bob.MustSyncUntil(t, since, func(answer gjson.Result) bool {
		for _, path := range []string{"timeline.events", "state_after.events", "state.events"} {
			for _, e := range answer.Get("rooms.join." + gjson.Escape(room) + "." + path).Array() {
				if e.Get("event_id").String() == joined {
					return true
				}
			}
		}
		return false
	})
	content := func(kind string, users ...string) map[string]any {
		return map[string]any{"notification_type": kind, "sender_ts": time.Now().UnixMilli(), "lifetime": 30000,
			"m.mentions": map[string]any{"user_ids": users}, "m.relates_to": map[string]any{"rel_type": "m.reference", "event_id": joined}}
	}
	ring := anna.MustSend(t, room, "org.matrix.msc4075.rtc.notification", content("ring", bob.ID))
	bob.MustSyncUntil(t, since, hstest.TimelineHas(room, ring))
	decline := bob.MustSend(t, room, "org.matrix.msc4310.rtc.decline", map[string]any{"m.relates_to": map[string]any{"rel_type": "m.reference", "event_id": ring}})
	relations := anna.MustDo(t, http.MethodGet, fmt.Sprintf("/_matrix/client/v1/rooms/%s/relations/%s/m.reference", room, ring), nil)
	if relations.Get("chunk.0.event_id").String() != decline {
		t.Errorf("what relates to the ring: %s", relations)
	}
	// What comes after the decline is pushed after it.
	last := anna.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.text", "body": "x", "m.mentions": map[string]any{"user_ids": []string{bob.ID, carol.ID}}})
	rung := 0
	for left := 2; left > 0; {
		var n gjson.Result
		select {
		case n = <-pushed:
		case <-time.After(time.Minute):
			t.Fatal("phones are not told")
		}
		to := n.Get("devices.0.pushkey").String()
		switch n.Get("event_id").String() {
		case last:
			left--
		case ring:
			rung++
			if to != bob.ID || n.Get("prio").String() != "high" || n.Get("content.notification_type").String() != "ring" || n.Get("type").String() != "org.matrix.msc4075.rtc.notification" {
				t.Errorf("the ring: %s", n)
			}
		case "":
		default:
			t.Errorf("%s is told of %s", to, n)
		}
	}
	if rung != 1 {
		t.Errorf("%d phones rang", rung)
	}
}
