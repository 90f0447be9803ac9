// Package caller is people in calls, for tests: they ask for tokens as older clients do, say in the room that they are in the call, and are
// connected to a real LiveKit. One can be a process of its own, to be killed: a program that uses Start has to call Main first.
package caller

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	protologger "github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/roomline/roomline/internal/hstest"
)

func init() { lksdk.SetLogger(protologger.GetDiscardLogger()) }

// ServiceURL is where tokens are asked for in deployments of Configure, as membership events name it.
const ServiceURL = "https://calls.test/_roomline/rtc"

// MemberType is the type of the state event by which a device says that it is in a call.
const MemberType = "org.matrix.msc3401.call.member"

// Configure is for hstest.Options: meetings are in lk, and rooms say where.
func Configure(lk *hstest.LiveKitServer) func(process int, config map[string]any) {
	with := hstest.WithLiveKit(lk)
	return func(process int, config map[string]any) {
		with(process, config)
		config["public_base_url"] = strings.TrimSuffix(ServiceURL, "/_roomline/rtc")
	}
}

// patiently asks again, as clients do, while the answer is that the media server is away: on a busy machine it may only be slow.
func patiently(ask func() hstest.Response) hstest.Response {
	r := ask()
	for n := 0; n < 40 && r.Status == http.StatusServiceUnavailable; n++ {
		time.Sleep(500 * time.Millisecond)
		r = ask()
	}
	return r
}

// Token asks for a token for the call of a room, as the user's device.
func Token(t testing.TB, dep *hstest.Deployment, u *hstest.User, room string) (url, jwt string) {
	t.Helper()
	r := patiently(func() hstest.Response { return Ask(t, dep, u, room, nil) })
	if r.Status != http.StatusOK {
		t.Fatalf("a token for %s: %s", u.ID, r)
	}
	return r.JSON().Get("url").String(), r.JSON().Get("jwt").String()
}

// Ask asks for a token; more is added to the request.
func Ask(t testing.TB, dep *hstest.Deployment, u *hstest.User, room string, more map[string]any) hstest.Response {
	t.Helper()
	openID := u.MustDo(t, http.MethodPost, hstest.Path("user", u.ID, "openid", "request_token"), map[string]any{})
	body := map[string]any{"room": room, "device_id": u.DeviceID, "openid_token": json.RawMessage(openID.Raw)}
	for k, v := range more {
		body[k] = v
	}
	r, err := u.Do(t.Context(), http.MethodPost, "/_roomline/rtc/sfu/get", body)
	if err != nil {
		t.Fatalf("ask for a token: %v", err)
	}
	return r
}

// StateKey is the key of the membership of a user's device.
func StateKey(u *hstest.User) string { return "_" + u.ID + "_" + u.DeviceID + "_m.call" }

// Say says in the room that the user's device is in the call, and returns the event.
func Say(t testing.TB, u *hstest.User, room string) string {
	t.Helper()
	return u.MustSetState(t, room, MemberType, StateKey(u), map[string]any{
		"application": "m.call", "call_id": "", "scope": "m.room", "device_id": u.DeviceID, "expires": 14400000,
		"focus_active":   map[string]any{"type": "livekit", "focus_selection": "oldest_membership"},
		"foci_preferred": []any{map[string]any{"type": "livekit", "livekit_service_url": ServiceURL, "livekit_alias": room}},
	})
}

// Said reports whether the room says that a device is in the call, as somebody sees it who is there.
func Said(t testing.TB, who, u *hstest.User, room string) bool {
	t.Helper()
	r, err := who.Do(t.Context(), http.MethodGet, hstest.Path("rooms", room, "state", MemberType, StateKey(u)), nil)
	if err != nil {
		t.Fatalf("read a membership: %v", err)
	}
	return r.Status == http.StatusOK && r.JSON().Get("application").Exists()
}

// Caller is somebody connected to LiveKit.
type Caller struct {
	Room *lksdk.Room
	// Gone gets the reason when the connection is over for good.
	Gone chan lksdk.DisconnectionReason
	// Data gets messages that came through LiveKit.
	Data chan []byte
	once sync.Once
}

// Enter asks for a token, says so in the room, and connects.
func Enter(t testing.TB, dep *hstest.Deployment, u *hstest.User, room string) *Caller {
	t.Helper()
	url, jwt := Token(t, dep, u, room)
	Say(t, u, room)
	c, err := Connect(url, jwt)
	if err != nil {
		t.Fatalf("%s does not get into the call: %v", u.ID, err)
	}
	t.Cleanup(c.Leave)
	return c
}

// Connect connects with a token.
func Connect(url, jwt string) (*Caller, error) {
	c := &Caller{Gone: make(chan lksdk.DisconnectionReason, 1), Data: make(chan []byte, 16)}
	room, err := lksdk.ConnectToRoomWithToken(url, jwt, &lksdk.RoomCallback{
		OnDisconnectedWithReason: func(reason lksdk.DisconnectionReason) { c.Gone <- reason },
		ParticipantCallback: lksdk.ParticipantCallback{OnDataPacket: func(data lksdk.DataPacket, _ lksdk.DataReceiveParams) {
			if user, ok := data.(*lksdk.UserDataPacket); ok {
				c.Data <- user.Payload
			}
		}},
	}, lksdk.WithConnectTimeout(time.Minute))
	if err != nil {
		return nil, err
	}
	c.Room = room
	return c, nil
}

// Leave hangs up.
func (c *Caller) Leave() { c.once.Do(c.Room.Disconnect) }

// Publish sends sound as the microphone's, or pictures as the camera's, until the connection is over.
func (c *Caller) Publish(source livekit.TrackSource) (*lksdk.LocalTrackPublication, error) {
	mime := webrtc.MimeTypeOpus
	if source == livekit.TrackSource_CAMERA || source == livekit.TrackSource_SCREEN_SHARE {
		mime = webrtc.MimeTypeVP8
	}
	clock := uint32(48000)
	if mime == webrtc.MimeTypeVP8 {
		clock = 90000
	}
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: mime, ClockRate: clock})
	if err != nil {
		return nil, err
	}
	publication, err := c.Room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: source.String(), Source: source})
	if err != nil {
		return nil, err
	}
	go func() {
		for c.Room.ConnectionState() != lksdk.ConnectionStateDisconnected {
			if track.WriteSample(media.Sample{Data: []byte{0xf8, 0xff, 0xfe}, Duration: 20 * time.Millisecond}, nil) != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return publication, nil
}

// Main is a caller in a process of its own, if this process was started as one; it does not return then.
func Main() {
	url, jwt, ok := strings.Cut(os.Getenv("ROOMLINE_CALLER"), " ")
	if !ok {
		return
	}
	c, err := Connect(url, jwt)
	if err != nil {
		fmt.Println("no:", err)
		os.Exit(1)
	}
	fmt.Println("connected")
	fmt.Println("gone:", <-c.Gone)
	os.Exit(0)
}

// Process is a caller that is a process.
type Process struct{ cmd *exec.Cmd }

// Start is Enter by a process of its own.
func Start(t testing.TB, dep *hstest.Deployment, u *hstest.User, room string) *Process {
	t.Helper()
	url, jwt := Token(t, dep, u, room)
	Say(t, u, room)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{exec.Command(self)}
	p.cmd.Env = append(os.Environ(), "ROOMLINE_CALLER="+url+" "+jwt)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "connected" {
		t.Fatalf("%s does not get into the call: %s", u.ID, lines.Text())
	}
	go func() {
		for lines.Scan() {
		}
	}()
	return p
}

// Kill ends it without goodbye.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
