package moderation_test

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

const tokenPath = "/_matrix/client/v1/rtc/livekit/get_token"

// caller is somebody in the call, with a client of LiveKit's own.
type caller struct {
	*hstest.User
	call *lksdk.Room

	mu sync.Mutex
	// heard counts the packets that came, by the sender's name and source.
	heard map[string]int
	gone  bool
}

// token asks for a token as the user's client would.
func token(t *testing.T, u *hstest.User, room string) hstest.Response {
	t.Helper()
	r, err := u.Do(context.Background(), http.MethodPost, tokenPath, map[string]any{
		"room_id": room, "slot_id": "m.call#ROOM", "member": map[string]any{"id": "m", "claimed_user_id": u.ID, "claimed_device_id": u.DeviceID},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// call joins the call of the room.
func (s *side) call(t *testing.T, u *hstest.User) *caller {
	t.Helper()
	r := token(t, u, s.room)
	if r.Status != 200 {
		t.Fatalf("a token: %s", r)
	}
	return s.callWith(t, u, r.JSON().Get("url").String(), r.JSON().Get("jwt").String())
}

func (s *side) callWith(t *testing.T, u *hstest.User, url, jwt string) *caller {
	t.Helper()
	c := &caller{User: u, heard: make(map[string]int)}
	callbacks := lksdk.NewRoomCallback()
	callbacks.OnDisconnected = func() {
		c.mu.Lock()
		c.gone = true
		c.mu.Unlock()
	}
	callbacks.OnTrackSubscribed = func(track *webrtc.TrackRemote, pub *lksdk.RemoteTrackPublication, rp *lksdk.RemoteParticipant) {
		go func() {
			for {
				if _, _, err := track.ReadRTP(); err != nil {
					return
				}
				c.mu.Lock()
				c.heard[rp.Identity()+" "+pub.Source().String()]++
				c.mu.Unlock()
			}
		}()
	}
	var err error
	if c.call, err = lksdk.ConnectToRoomWithToken(url, jwt, callbacks, lksdk.WithAutoSubscribe(true), lksdk.WithConnectTimeout(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.call.Disconnect)
	return c
}

func (c *caller) identity() string { return c.call.LocalParticipant.Identity() }

func (c *caller) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// packets is how many have come from somebody.
func (c *caller) packets(from *caller, source livekit.TrackSource) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard[from.identity()+" "+source.String()]
}

// participant is what the media server says of somebody.
func participant(t *testing.T, l *hstest.LiveKitServer, c *caller) *livekit.ParticipantInfo {
	t.Helper()
	answer, err := lksdk.NewRoomServiceClient(l.URL, l.Key, l.Secret).GetParticipant(t.Context(), &livekit.RoomParticipantIdentity{Room: c.call.Name(), Identity: c.identity()})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// isMuted is what the media server says of what somebody sends.
func isMuted(t *testing.T, l *hstest.LiveKitServer, c *caller, source livekit.TrackSource) bool {
	t.Helper()
	for _, track := range participant(t, l, c).Tracks {
		if track.Source == source {
			return track.Muted
		}
	}
	t.Fatalf("%s sends no %s", c.ID, source)
	return false
}

// hears waits until packets come that were not there before.
func (c *caller) hears(t *testing.T, from *caller, source livekit.TrackSource) {
	t.Helper()
	before := c.packets(from, source)
	until(t, source.String()+" comes", func() bool { return c.packets(from, source) > before+2 })
}

// sees is what is known of somebody's track: "", "muted" or "on".
func (c *caller) sees(from *caller, source livekit.TrackSource) string {
	p := c.call.GetParticipantByIdentity(from.identity())
	if p == nil {
		return "nobody"
	}
	switch pub := p.GetTrackPublication(source); {
	case pub == nil:
		return ""
	case pub.IsMuted():
		return "muted"
	}
	return "on"
}

func (c *caller) awaits(t *testing.T, from *caller, source livekit.TrackSource, want string) {
	t.Helper()
	until(t, source.String()+" is "+want, func() bool { return c.sees(from, source) == want })
}

// may is what the media server says of the right to send from a source.
func (c *caller) may(source livekit.TrackSource) bool {
	return slices.Contains(c.call.LocalParticipant.Permissions().GetCanPublishSources(), source)
}

// publish sends something from a source, until the test ends.
func (c *caller) publish(t *testing.T, source livekit.TrackSource) (*lksdk.LocalTrackPublication, error) {
	t.Helper()
	mime := webrtc.MimeTypeVP8
	if source == livekit.TrackSource_MICROPHONE || source == livekit.TrackSource_SCREEN_SHARE_AUDIO {
		mime = webrtc.MimeTypeOpus
	}
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: mime, ClockRate: map[bool]uint32{true: 48000, false: 90000}[mime == webrtc.MimeTypeOpus]})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		// A key frame of VP8, or silence of Opus; nobody decodes it.
		frame := append([]byte{0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00}, make([]byte, 40)...)
		if mime == webrtc.MimeTypeOpus {
			frame = []byte{0xf8, 0xff, 0xfe}
		}
		for ctx.Err() == nil {
			_ = track.WriteSample(media.Sample{Data: frame, Duration: 20 * time.Millisecond}, nil)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return c.call.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: source.String(), Source: source, VideoWidth: 320, VideoHeight: 240})
}

func (c *caller) mustPublish(t *testing.T, source livekit.TrackSource) *lksdk.LocalTrackPublication {
	t.Helper()
	pub, err := c.publish(t, source)
	if err != nil {
		t.Fatalf("publish %s: %v", source, err)
	}
	return pub
}
