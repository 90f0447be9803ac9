package tests

import (
	"net/http"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// TestACallRingsOnAllDevices: a call between two people by m.call events. Every device of the called one is told of it, and rings; the others are told which
// one has answered, and how it ended.
func TestACallRingsOnAllDevices(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	alice, bob := d.User(t, "alice"), d.User(t, "bob").On(1)
	tablet := bob.NewSession(t)
	room := alice.MustCreateRoom(t, map[string]any{"preset": "trusted_private_chat", "is_direct": true, "invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	devices := map[*hstest.User]string{}
	for _, device := range []*hstest.User{bob, tablet} {
		devices[device] = device.MustSyncUntil(t, "")
	}
	told := func(event string, checks ...func(gjson.Result) bool) {
		t.Helper()
		for device, since := range devices {
			devices[device] = device.MustSyncUntil(t, since, append([]func(gjson.Result) bool{hstest.TimelineHas(room, event)}, checks...)...)
		}
	}
	rings := func(answer gjson.Result) bool {
		return answer.Get("rooms.join."+gjson.Escape(room)+".unread_notifications.notification_count").Int() > 0
	}
	call := func(more map[string]any) map[string]any {
		more["call_id"], more["version"] = "c1", "1"
		return more
	}
	told(alice.MustSend(t, room, "m.call.invite", call(map[string]any{
		"party_id": alice.DeviceID, "lifetime": 60000, "offer": map[string]any{"type": "offer", "sdp": "v=0"}})), rings)
	rule := bob.MustDo(t, http.MethodGet, hstest.Path("pushrules", "global", "underride", ".m.rule.call"), nil)
	if !rule.Get("enabled").Bool() || rule.Get(`actions.#(set_tweak=="sound").value`).String() != "ring" {
		t.Errorf("the rule of calls: %s", rule)
	}
	bob.MustSend(t, room, "m.call.answer", call(map[string]any{"party_id": bob.DeviceID, "answer": map[string]any{"type": "answer", "sdp": "v=0"}}))
	chosen := alice.MustSend(t, room, "m.call.select_answer", call(map[string]any{"party_id": alice.DeviceID, "selected_party_id": bob.DeviceID}))
	told(chosen)
	if e := tablet.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "event", chosen), nil); e.Get("content.selected_party_id").String() != bob.DeviceID {
		t.Errorf("the other device is told %s", e)
	}
	told(alice.MustSend(t, room, "m.call.hangup", call(map[string]any{"party_id": alice.DeviceID, "reason": "user_hangup"})))
}
