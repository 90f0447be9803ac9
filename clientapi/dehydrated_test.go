package clientapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const dehydrated = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"

// dehydrate is the request that stores a dehydrated device.
func (c *cryptoDevice) dehydrate(device, data string) object {
	k := newSigningKey(c.t, device)
	keys := k.sign(c.t, c.user, object{"user_id": c.user, "device_id": device, "dehydrated": true,
		"algorithms": []string{"m.olm.v1.curve25519-aes-sha2"}, "keys": object{"curve25519:" + device: device, "ed25519:" + device: k.public()}})
	return object{
		"device_id": device, "device_data": object{"algorithm": "org.matrix.msc3814.v2", "device_pickle": data, "nonce": "n"},
		"initial_device_display_name": "Dehydrated device", "device_keys": keys,
		"one_time_keys": object{"signed_curve25519:AAAA": k.sign(c.t, c.user, object{"key": "one"})},
		"fallback_keys": object{"signed_curve25519:AAAB": k.sign(c.t, c.user, object{"key": "fallback", "fallback": true})},
	}
}

func TestDehydratedDevice(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	one.user("alice")
	two.user("bob")
	alice, bob := one.cryptoDevice("alice", "A"), two.cryptoDevice("bob", "B")
	const id, path = "b64/dev+ice", dehydrated + "/b64%2Fdev+ice/events"
	one.want(404, "M_NOT_FOUND", "GET", dehydrated, alice.token, nil)
	one.want(404, "M_NOT_FOUND", "DELETE", dehydrated, alice.token, nil)
	one.want(403, "M_FORBIDDEN", "POST", path, alice.token, object{})

	request := alice.dehydrate(id, "first")
	equal(t, "answer", one.want(200, "", "PUT", dehydrated, alice.token, request), object{"device_id": id})
	got := two.want(200, "", "GET", dehydrated, alice.token, nil)
	equal(t, "the device", got, object{"device_id": id, "device_data": request["device_data"]})
	seen := at(bob.query(alice.user), "device_keys", alice.user, id)
	if seen["dehydrated"] != true || at(seen, "unsigned")["device_display_name"] != "Dehydrated device" {
		t.Errorf("others see %v", seen)
	}
	equal(t, "in the list of devices", one.want(200, "", "GET", "/_matrix/client/v3/devices/b64%2Fdev+ice", alice.token, nil).text("display_name"), "Dehydrated device")
	claimed := bob.want(200, "", "claim", object{"one_time_keys": object{alice.user: object{id: "signed_curve25519"}}})
	if len(at(claimed, "one_time_keys", alice.user, id)) != 1 {
		t.Errorf("claimed %v", claimed)
	}

	// Messages come in parts, and stay.
	n := limits.SyncToDevice + 20
	for i := range n {
		two.want(200, "", "PUT", "/_matrix/client/v3"+aDevice+fmt.Sprint("d", i), bob.token, object{"messages": object{alice.user: object{"*": object{"n": i}}}})
	}
	for range 2 {
		var got []any
		for token := ""; ; {
			body := object{}
			if token != "" {
				body["next_batch"] = token
			}
			part := one.want(200, "", "POST", path, alice.token, body)
			events := part.list("events")
			if len(events) > limits.SyncToDevice {
				t.Errorf("%d events in a part", len(events))
			}
			if len(events) == 0 {
				break
			}
			for _, e := range events {
				if e.text("sender") != bob.user || e.text("type") != "org.example.note" {
					t.Errorf("event %v", e)
				}
				got = append(got, e.inner("content")["n"])
			}
			if token = part.text("next_batch"); token == "" {
				t.Fatal("no next_batch")
			}
		}
		for i := range n {
			if len(got) != n || got[i] != float64(i) {
				t.Fatalf("got %v", got)
			}
		}
	}
	// The proposal's present form ends with an answer without next_batch.
	part := one.want(200, "", "GET", path, alice.token, nil)
	equal(t, "first part", len(part.list("events")), limits.SyncToDevice)
	part = one.want(200, "", "GET", path+"?from="+part.text("next_batch"), alice.token, nil)
	equal(t, "second part", fmt.Sprint(len(part.list("events")), part["next_batch"]), fmt.Sprint(20, nil))
	one.want(403, "M_FORBIDDEN", "POST", dehydrated+"/other/events", alice.token, object{})
	two.want(403, "M_FORBIDDEN", "POST", path, bob.token, object{})
	one.want(400, "M_INVALID_PARAM", "POST", path, alice.token, object{"next_batch": "x"})
	one.want(400, "M_INVALID_PARAM", "GET", path+"?from=-1", alice.token, nil)

	// The request again: what was sent stays. Another device: the former is gone with all of it.
	one.want(200, "", "PUT", dehydrated, alice.token, request)
	equal(t, "kept", len((&client{p: one, user: alice.user}).queue(id)), n)
	two.want(200, "", "PUT", dehydrated, alice.token, alice.dehydrate("next", "second"))
	equal(t, "kept of the former", len((&client{p: one, user: alice.user}).queue(id)), 0)
	one.want(404, "M_NOT_FOUND", "GET", "/_matrix/client/v3/devices/b64%2Fdev+ice", alice.token, nil)
	equal(t, "others see", len(at(bob.query(alice.user), "device_keys", alice.user)), 1)
	equal(t, "deleted", one.want(200, "", "DELETE", dehydrated, alice.token, nil), object{"device_id": "next"})
	one.want(404, "M_NOT_FOUND", "GET", dehydrated, alice.token, nil)
	equal(t, "others see", len(at(bob.query(alice.user), "device_keys", alice.user)), 0)

	// It goes as other devices go.
	one.want(200, "", "PUT", dehydrated, alice.token, alice.dehydrate("third", "third"))
	must(t, two.sessions.DeleteDevices(t.Context(), matrix.UserID(alice.user), []matrix.DeviceID{"third"}))
	one.want(404, "M_NOT_FOUND", "GET", dehydrated, alice.token, nil)
}

// Each change of a dehydrated device is told to those who share rooms.
func TestDehydratedDeviceIsInTheDeviceList(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	alice := p.cryptoDevice("alice", "A")
	position := func() int64 {
		list := (&client{p: p, user: alice.user}).updates(store.KindDeviceList)
		if len(list) == 0 {
			return 0
		}
		return list[len(list)-1].Position
	}
	before := position()
	for what, do := range map[string]func(){
		"put": func() { p.want(200, "", "PUT", dehydrated, alice.token, alice.dehydrate("one", "x")) },
	} {
		if do(); position() <= before {
			t.Errorf("%s: the device list has not changed", what)
		}
	}
	before = position()
	p.want(200, "", "PUT", dehydrated, alice.token, alice.dehydrate("two", "x"))
	if position() <= before {
		t.Error("replaced: the device list has not changed")
	}
	before = position()
	p.want(200, "", "DELETE", dehydrated, alice.token, nil)
	if position() <= before {
		t.Error("deleted: the device list has not changed")
	}
}

func TestDehydratedDeviceOutlivesLogins(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.maxDevices = 2
	p := d.process()
	p.user("alice")
	alice := p.cryptoDevice("alice", "A")
	p.want(200, "", "PUT", dehydrated, alice.token, alice.dehydrate("dry", "x"))
	var token string
	for range 4 {
		token = p.login(alice.user, nil).text("access_token")
	}
	p.want(200, "", "GET", dehydrated, token, nil)
}

func TestBadDehydratedDevicesAreRefused(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	alice := p.cryptoDevice("alice", "A")
	for _, bad := range []struct {
		status int
		code   string
		change func(o object)
	}{
		{400, "M_MISSING_PARAM", func(o object) { delete(o, "device_id") }},
		{400, "M_MISSING_PARAM", func(o object) { delete(o, "device_data") }},
		{400, "M_MISSING_PARAM", func(o object) { delete(o, "device_keys") }},
		{400, "M_BAD_JSON", func(o object) { o["device_id"] = 1 }},
		{400, "M_BAD_JSON", func(o object) { o["device_data"] = "x" }},
		{400, "M_BAD_JSON", func(o object) { o["device_data"] = object{} }},
		{400, "M_BAD_JSON", func(o object) { o["device_data"] = nil }},
		{400, "M_BAD_JSON", func(o object) { o["device_keys"] = object{} }},
		{400, "M_INVALID_PARAM", func(o object) { o["device_id"] = strings.Repeat("x", 256) }},
		{400, "M_INVALID_PARAM", func(o object) { o["device_id"] = "other" }},
		{400, "M_INVALID_PARAM", func(o object) { o["initial_device_display_name"] = strings.Repeat("x", limits.DeviceName+1) }},
		{413, "M_TOO_LARGE", func(o object) {
			o["device_data"] = object{"algorithm": "a", "x": strings.Repeat("x", limits.DehydratedDevice)}
		}},
		{400, "M_INVALID_PARAM", func(o object) { o["one_time_keys"] = object{"x": object{}} }},
	} {
		request := alice.dehydrate("dry", "x")
		bad.change(request)
		p.want(bad.status, bad.code, "PUT", dehydrated, alice.token, request)
	}
	// The id of a device that somebody uses.
	p.want(400, "M_INVALID_PARAM", "PUT", dehydrated, alice.token, alice.dehydrate("A", "x"))
	for _, body := range []string{``, `[]`, `null`, `{`} {
		if status, _ := p.do("PUT", dehydrated, alice.token, body); status != 400 {
			t.Errorf("%q: %d", body, status)
		}
	}
	p.want(401, "M_MISSING_TOKEN", "GET", dehydrated, "", nil)
	p.want(404, "M_NOT_FOUND", "GET", dehydrated, alice.token, nil)
}
