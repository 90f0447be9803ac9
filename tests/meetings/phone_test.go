package meetings

import (
	"net/http"
	"strings"
	"testing"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
	"github.com/roomline/roomline/internal/hstest/whistle"
)

const (
	numberCalled = "+3225550100"
	numberDialed = "+32470654321"
)

// TestPhonesByACarrier has SIPp as carrier and the server as it is installed: its own bridge, its own PINs, LiveKit. A phone comes in by a PIN, another one is
// called; a member hears both, and puts them out.
func TestPhonesByACarrier(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	called := hstest.SIPp(t, hstest.SIPpOptions{Scenario: hstest.SIPpIsCalled, Echo: true})
	d := hstest.Start(t, hstest.Options{Configure: func(process int, c map[string]any) {
		hstest.WithLiveKit(lk)(process, c)
		c["public_base_url"] = "https://matrix.example.org"
		c["telephony"] = map[string]any{"voice": map[string]any{
			"sip":    map[string]any{"listen": []any{map[string]any{"transport": "udp", "address": address}}, "address": "127.0.0.1", "first_port": 32002, "last_port": 32399},
			"limits": map[string]any{"budget_per_day": "20"},
			"trunks": []any{map[string]any{
				"name": "carrier", "out": true, "numbers": []any{map[string]any{"number": numberCalled, "country": "BE", "language": "nl"}},
				"sip": map[string]any{"server": called.Address, "transport": "udp"},
			}},
		}}
	}})
	lk.WebhookTo(t, d.BaseURL(0)+"/_roomline/livekit/webhook")
	d.Operator(t).MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/phones", map[string]any{"dial_out": true, "countries": []string{"BE"}})
	host := d.User(t, "host")
	room := host.MustCreateRoom(t, map[string]any{"name": "By phone", "preset": "private_chat"})
	path := "/_roomline/client/v1" + strings.TrimPrefix(hstest.Path("rooms", room), "/_matrix/client/v3") + "/meeting/phone"
	answer := host.MustDo(t, http.MethodGet, path, nil)
	pin := answer.Get("pin").String()
	d.Secret(pin, "a PIN")
	if answer.Get("numbers.0.number").String() != numberCalled || pin == "" {
		t.Fatalf("numbers and PIN: %s", answer)
	}
	ears := listen(t, d, host, room)

	calls := hstest.SIPp(t, hstest.SIPpOptions{Scenario: hstest.SIPpCalls(pin + "#"), To: address, Number: numberCalled, Echo: true})
	ghost := phoneIn(t, host, room, "")
	ears.Hears(t, ghost, 700)
	hstest.Eventually(t, "somebody called", func() bool { // strangers are, into a meeting that is on
		r, err := host.Do(t.Context(), http.MethodPost, path+"/call", map[string]any{"number": numberDialed, "name": "Piet", "language": "nl"})
		return err == nil && r.Status == http.StatusOK
	})
	host.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": ghost})
	calls.Wait(t)
	other := phoneIn(t, host, room, ghost)
	ears.Hears(t, other, 700)
	host.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": other})
	called.Wait(t)
}

// phoneIn waits for a phone in the room that is not the one before, and returns it.
func phoneIn(t *testing.T, u *hstest.User, room, before string) (ghost string) {
	t.Helper()
	hstest.Eventually(t, "a phone in the room", func() bool {
		for _, e := range u.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "members")+"?membership=join", nil).Get("chunk").Array() {
			if id := e.Get("state_key").String(); strings.HasPrefix(id, "@phone_") && id != before {
				ghost = id
			}
		}
		return ghost != ""
	})
	return ghost
}

// listen takes a member into the meeting, who whistles, and hears the phones send it back.
func listen(t *testing.T, d *hstest.Deployment, u *hstest.User, room string) *whistle.Ears {
	t.Helper()
	token := u.MustDo(t, http.MethodPost, "/_matrix/client/v1/rtc/livekit/get_token", map[string]any{
		"room_id": room, "slot_id": "m.call#ROOM", "member": map[string]any{"id": "m1", "claimed_device_id": u.DeviceID}})
	d.Secret(token.Get("jwt").String(), "a token of the SFU")
	e := &whistle.Ears{}
	callbacks := lksdk.NewRoomCallback()
	callbacks.OnTrackSubscribed = e.Listen
	joined, err := lksdk.ConnectToRoomWithToken(token.Get("url").String(), token.Get("jwt").String(), callbacks, lksdk.WithConnectTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(joined.Disconnect)
	whistle.Publish(t, joined)
	return e
}
