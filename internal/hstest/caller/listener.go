package caller

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/roomline/roomline/internal/hstest"
)

// Listener is a user in a call who counts what comes.
type Listener struct {
	*hstest.User
	Call *lksdk.Room

	mu sync.Mutex
	// heard counts the packets that came, by the sender's identity and source.
	heard map[string]int
	gone  bool
}

// NativeToken asks for a token for the call of a room as newer clients do (MSC4195).
func NativeToken(t testing.TB, u *hstest.User, room string) hstest.Response {
	t.Helper()
	r, err := u.Do(t.Context(), http.MethodPost, "/_matrix/client/v1/rtc/livekit/get_token", map[string]any{
		"room_id": room, "slot_id": "m.call#ROOM", "member": map[string]any{"id": "m", "claimed_user_id": u.ID, "claimed_device_id": u.DeviceID},
	})
	if err != nil {
		t.Fatalf("ask for a token: %v", err)
	}
	return r
}

// Listen comes into the call of a room until the end of the test.
func Listen(t testing.TB, u *hstest.User, room string) *Listener {
	t.Helper()
	r := patiently(func() hstest.Response { return NativeToken(t, u, room) })
	if r.Status != http.StatusOK {
		t.Fatalf("a token: %s", r)
	}
	return ListenWith(t, u, r.JSON().Get("url").String(), r.JSON().Get("jwt").String())
}

// ListenWith is Listen with a token; u is nil for who is no user.
func ListenWith(t testing.TB, u *hstest.User, url, jwt string) *Listener {
	t.Helper()
	l := &Listener{User: u, heard: make(map[string]int)}
	callbacks := lksdk.NewRoomCallback()
	callbacks.OnDisconnected = func() {
		l.mu.Lock()
		l.gone = true
		l.mu.Unlock()
	}
	callbacks.OnTrackSubscribed = func(track *webrtc.TrackRemote, pub *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant) {
		go l.count(track, from.Identity()+" "+pub.Source().String())
	}
	var err error
	if l.Call, err = lksdk.ConnectToRoomWithToken(url, jwt, callbacks, lksdk.WithAutoSubscribe(true), lksdk.WithConnectTimeout(time.Minute)); err != nil {
		t.Fatalf("a caller does not get into the call: %v", err)
	}
	t.Cleanup(l.Call.Disconnect)
	return l
}

func (l *Listener) count(track *webrtc.TrackRemote, key string) {
	for {
		if _, _, err := track.ReadRTP(); err != nil {
			return
		}
		l.mu.Lock()
		l.heard[key]++
		l.mu.Unlock()
	}
}

// Identity is what LiveKit knows the listener by.
func (l *Listener) Identity() string { return l.Call.LocalParticipant.Identity() }

// IsGone reports whether the connection is over.
func (l *Listener) IsGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

// Packets is how many have come from somebody.
func (l *Listener) Packets(from *Listener, source livekit.TrackSource) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[from.Identity()+" "+source.String()]
}

// Hears waits until packets come that were not there before.
func (l *Listener) Hears(t testing.TB, from *Listener, source livekit.TrackSource) {
	t.Helper()
	before := l.Packets(from, source)
	for until := time.Now().Add(time.Minute); l.Packets(from, source) <= before+2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s gets no %s from %s", l.Identity(), source, from.Identity())
		}
	}
}

// Sees is what is known of somebody's track: "nobody", "", "muted" or "on".
func (l *Listener) Sees(from *Listener, source livekit.TrackSource) string {
	p := l.Call.GetParticipantByIdentity(from.Identity())
	if p == nil {
		return "nobody"
	}
	switch track := p.GetTrackPublication(source); {
	case track == nil:
		return ""
	case track.IsMuted():
		return "muted"
	}
	return "on"
}

// Awaits waits until somebody's track is seen as wanted.
func (l *Listener) Awaits(t testing.TB, from *Listener, source livekit.TrackSource, want string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); l.Sees(from, source) != want; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s sees %s's %s as %q, not %q", l.Identity(), from.Identity(), source, l.Sees(from, source), want)
		}
	}
}

// May is what LiveKit says of the right to send from a source.
func (l *Listener) May(source livekit.TrackSource) bool {
	rights := l.Call.LocalParticipant.Permissions()
	return rights.GetCanPublish() && slices.Contains(rights.GetCanPublishSources(), source)
}

// Publish sends something from a source, until the test ends.
func (l *Listener) Publish(t testing.TB, source livekit.TrackSource) (*lksdk.LocalTrackPublication, error) {
	t.Helper()
	codec := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	// A key frame of VP8, or silence of Opus; nobody decodes it.
	frame := append([]byte{0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00}, make([]byte, 40)...)
	if source == livekit.TrackSource_MICROPHONE || source == livekit.TrackSource_SCREEN_SHARE_AUDIO {
		codec, frame = webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000}, []byte{0xf8, 0xff, 0xfe}
	}
	track, err := lksdk.NewLocalTrack(codec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		for ctx.Err() == nil {
			_ = track.WriteSample(media.Sample{Data: frame, Duration: 20 * time.Millisecond}, nil)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return l.Call.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: source.String(), Source: source, VideoWidth: 320, VideoHeight: 240})
}

// MustPublish is Publish for who may.
func (l *Listener) MustPublish(t testing.TB, source livekit.TrackSource) *lksdk.LocalTrackPublication {
	t.Helper()
	track, err := l.Publish(t, source)
	if err != nil {
		t.Fatalf("publish %s: %v", source, err)
	}
	return track
}
