package meetings

import (
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/livekit/media-sdk/g711"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

const (
	numberCalled = "+3225550100"
	numberDialed = "+32470654321"
)

// carrierCalls is a phone that SIPp plays: it types a PIN, and sends back what it hears.
const carrierCalls = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="a phone calls">
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+32470123456@[local_ip]:[local_port]>;tag=[pid]A[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=carrier 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[local_ip_type] [local_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 8 101
a=rtpmap:101 telephone-event/8000

]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200"/>
  <send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+32470123456@[local_ip]:[local_port]>;tag=[pid]A[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <pause milliseconds="600"/>
  %KEYS%
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>`

// carrierCalled is a phone that is called: it is picked up, presses 1, and sends back what it hears until it is hung up.
const carrierCalled = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="a phone is called">
  <recv request="INVITE"/>
  <send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]D[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Length: 0

]]></send>
  <pause milliseconds="200"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]D[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=carrier 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:101 telephone-event/8000

]]></send>
  <recv request="ACK"/>
  <pause milliseconds="600"/>
  {key 1}
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>`

// TestPhonesByACarrier has SIPp as carrier and the server as it is installed: its own bridge, its own PINs, LiveKit. A phone comes in by a PIN, another one is
// called; a member hears both, and puts them out.
func TestPhonesByACarrier(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	called := hstest.SIPp(t, hstest.SIPpOptions{Scenario: carrierCalled, Echo: true})
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

	keys := ""
	for _, digit := range pin {
		keys += "{key " + string(digit) + "}"
	}
	calls := hstest.SIPp(t, hstest.SIPpOptions{Scenario: strings.Replace(carrierCalls, "%KEYS%", keys+"{key pound}", 1), To: address, Number: numberCalled, Echo: true})
	ghost := phoneIn(t, host, room, "")
	ears.hears(t, ghost)
	eventually(t, "somebody called", func() bool { // strangers are, into a meeting that is on
		r, err := host.Do(t.Context(), http.MethodPost, path+"/call", map[string]any{"number": numberDialed, "name": "Piet", "language": "nl"})
		return err == nil && r.Status == http.StatusOK
	})
	host.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": ghost})
	calls.Wait(t)
	other := phoneIn(t, host, room, ghost)
	ears.hears(t, other)
	host.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": other})
	called.Wait(t)
}

// phoneIn waits for a phone in the room that is not the one before, and returns it.
func phoneIn(t *testing.T, u *hstest.User, room, before string) (ghost string) {
	t.Helper()
	eventually(t, "a phone in the room", func() bool {
		for _, e := range u.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "members")+"?membership=join", nil).Get("chunk").Array() {
			if id := e.Get("state_key").String(); strings.HasPrefix(id, "@phone_") && id != before {
				ghost = id
			}
		}
		return ghost != ""
	})
	return ghost
}

// ears are a member's in the meeting, who whistles, and hears the phones send it back.
type ears struct {
	mu  sync.Mutex
	pcm map[string][]int16 // by the user
}

func listen(t *testing.T, d *hstest.Deployment, u *hstest.User, room string) *ears {
	t.Helper()
	token := u.MustDo(t, http.MethodPost, "/_matrix/client/v1/rtc/livekit/get_token", map[string]any{
		"room_id": room, "slot_id": "m.call#ROOM", "member": map[string]any{"id": "m1", "claimed_device_id": u.DeviceID}})
	d.Secret(token.Get("jwt").String(), "a token of the SFU")
	e := &ears{pcm: map[string][]int16{}}
	callbacks := lksdk.NewRoomCallback()
	callbacks.OnTrackSubscribed = func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant) {
		user := strings.TrimSuffix(from.Identity(), ":PHONE")
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			pcm := make([]int16, len(p.Payload))
			if strings.EqualFold(track.Codec().MimeType, webrtc.MimeTypePCMA) {
				g711.DecodeALawTo(pcm, p.Payload)
			} else {
				g711.DecodeULawTo(pcm, p.Payload)
			}
			e.mu.Lock()
			e.pcm[user] = append(e.pcm[user], pcm...)
			e.mu.Unlock()
		}
	}
	joined, err := lksdk.ConnectToRoomWithToken(token.Get("url").String(), token.Get("jwt").String(), callbacks, lksdk.WithConnectTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); joined.Disconnect() })
	go func() {
		for {
			track, err := lksdk.NewLocalFileTrack(filepath.Join("..", "..", "appservices", "telephony", "voice", "testdata", "tone700.ogg"))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := joined.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "tone"}); err != nil {
				return // the test is over
			}
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Second): // as long as the file
			}
		}
	}()
	return e
}

// hears waits until half a second of what a phone says is the tone.
func (e *ears) hears(t *testing.T, user string) {
	t.Helper()
	const rate, half, hertz = 8000, 4000, 700
	eventually(t, "the tone from "+user, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		pcm := e.pcm[user]
		if len(pcm) < half {
			return false
		}
		c := 2 * math.Cos(2*math.Pi*hertz/rate)
		var s1, s2, energy float64
		for _, v := range pcm[len(pcm)-half:] {
			s1, s2 = float64(v)+c*s1-s2, s1
			energy += float64(v) * float64(v)
		}
		return energy/half > 1e6 && 2*(s1*s1+s2*s2-c*s1*s2)/(energy*half) > 0.8
	})
}
