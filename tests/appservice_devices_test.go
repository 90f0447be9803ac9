package tests

import (
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

func TestDeviceDataAndDevicesOfGhosts(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-keys")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("keys", s, map[string]any{"org.matrix.msc3202": true}))
	as.ghost("_keys_a")
	const ghost = "@_keys_a:hs.test"
	device := hstest.Path("devices", "GHOST")
	if r := as.do(0, ghost, "PUT", device, map[string]any{"display_name": "bridge"}); r.Status != 201 {
		t.Fatalf("make a device: %s", r)
	}
	if r := as.do(0, ghost, "PUT", device, map[string]any{"display_name": "bridge"}); r.Status != 200 {
		t.Fatalf("make it again: %s", r)
	}
	alice := dep.User(t, "alice")
	alice.MustFail(t, 404, "M_NOT_FOUND", "PUT", hstest.Path("devices", "NONE"), map[string]any{"display_name": "x"})
	for _, name := range []string{"device_id", "org.matrix.msc3202.device_id"} {
		if got := as.must(ghost, "GET", hstest.Path("account", "whoami")+"?"+name+"=GHOST", nil).Get("device_id").String(); got != "GHOST" {
			t.Errorf("%s: acts as %s", name, got)
		}
	}
	keys := map[string]any{
		"device_keys":   map[string]any{"user_id": ghost, "device_id": "GHOST", "algorithms": []string{}, "keys": map[string]any{"ed25519:GHOST": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "signatures": map[string]any{}},
		"one_time_keys": map[string]any{"signed_curve25519:A": map[string]any{"key": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "signatures": map[string]any{}}},
	}
	as.must(ghost, "POST", hstest.Path("keys", "upload")+"?device_id=GHOST", keys)
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	as.must(ghost, "POST", hstest.Path("rooms", room, "join"), map[string]any{})
	content := map[string]any{"x": "y"}
	alice.MustDo(t, "PUT", hstest.Path("sendToDevice", "m.test", "1"), map[string]any{"messages": map[string]any{ghost: map[string]any{"GHOST": content}}})
	s.wait(t, "a message to the device", func() bool { return len(s.told("de.sorunome.msc2409.to_device")) > 0 })
	m := s.told("de.sorunome.msc2409.to_device")[0]
	if m.Get("to_user_id").String() != ghost || m.Get("to_device_id").String() != "GHOST" || m.Get("sender").String() != alice.ID || m.Get("content.x").String() != "y" {
		t.Errorf("the message: %s", m.Raw)
	}
	counts := func(body gjson.Result) gjson.Result {
		return body.Get(`org\.matrix\.msc3202\.device_one_time_keys_count`).Get(gjson.Escape(ghost) + ".GHOST.signed_curve25519")
	}
	s.wait(t, "a count of one key", func() bool {
		for _, body := range s.transactions() {
			if counts(body).Exists() && counts(body).Int() == 1 {
				return true
			}
		}
		return false
	})
	alice.MustDo(t, "POST", hstest.Path("keys", "claim"), map[string]any{"one_time_keys": map[string]any{ghost: map[string]any{"GHOST": "signed_curve25519"}}})
	s.wait(t, "a count of none", func() bool {
		all := s.transactions()
		for _, body := range all {
			if c := counts(body); c.Exists() && c.Int() == 0 {
				return true
			}
		}
		return false
	})
	alice.MustDo(t, "POST", hstest.Path("keys", "upload"), map[string]any{"device_keys": map[string]any{
		"user_id": alice.ID, "device_id": alice.DeviceID, "algorithms": []string{}, "keys": map[string]any{"ed25519:" + alice.DeviceID: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "signatures": map[string]any{}}})
	lists := func(kind string) func() bool {
		return func() bool {
			for _, body := range s.transactions() {
				for _, u := range body.Get(`org\.matrix\.msc3202\.device_lists`).Get(kind).Array() {
					if u.String() == alice.ID {
						return true
					}
				}
			}
			return false
		}
	}
	s.wait(t, "alice's devices changed", lists("changed"))
	alice.MustLeave(t, room)
	s.wait(t, "alice is known no more", lists("left"))
	// A message is told once, and gone.
	if sync := as.must(ghost, "GET", hstest.Path("sync")+"?device_id=GHOST", nil); len(sync.Get("to_device.events").Array()) != 0 {
		t.Errorf("the message is still there: %s", sync.Get("to_device").Raw)
	}
	if n := len(s.told("de.sorunome.msc2409.to_device")); n != 1 {
		t.Errorf("%d messages to the device", n)
	}
	// Nothing has to be confirmed that has no password.
	if r := as.do(0, ghost, "DELETE", device, nil); r.Status != 200 {
		t.Errorf("delete the device: %s", r)
	}
	as.must(ghost, "POST", hstest.Path("delete_devices"), map[string]any{"devices": []string{"GHOST"}})
}

func TestManyMessagesToADeviceComeOnceAndInOrder(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	s := startService(t, "hs-token-of-many")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("many", s, map[string]any{"org.matrix.msc3202": true}))
	as.ghost("_many_a")
	const ghost = "@_many_a:hs.test"
	as.must(ghost, "PUT", hstest.Path("devices", "GHOST"), map[string]any{})
	alice := dep.User(t, "alice")
	// They wait while the service is away, and are more than one transaction has.
	s.setFault(func(_ int, w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	const messages = 450
	for i := range messages {
		alice.MustDo(t, "PUT", hstest.Path("sendToDevice", "m.test", strconv.Itoa(i)), map[string]any{"messages": map[string]any{ghost: map[string]any{"GHOST": map[string]any{"n": i}}}})
	}
	s.setFault(func(n int, w http.ResponseWriter) bool {
		if n%3 == 0 {
			w.WriteHeader(500)
			return true
		}
		return false
	})
	s.setAsk(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	as.must("", "POST", "/_matrix/client/v1/appservice/many/ping", nil) // it is back
	s.wait(t, "all messages", func() bool { return len(s.told("de.sorunome.msc2409.to_device")) >= messages })
	for i, m := range s.told("de.sorunome.msc2409.to_device") {
		if m.Get("content.n").Int() != int64(i) {
			t.Fatalf("message %d is %s", i, m.Raw)
		}
	}
	if n := len(s.transactions()); n < 3 {
		t.Errorf("%d messages came in %d transactions", messages, n)
	}
}
