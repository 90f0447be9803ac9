// Package whistle is a tone in a call, and who hears it, for tests.
package whistle

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/livekit/media-sdk/g711"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"

	"github.com/roomline/roomline/internal/hstest"
)

// tone700 is three seconds of 700 Hz in Opus.
//
//go:embed tone700.ogg
var tone700 []byte

// Publish publishes a tone of 700 Hz, again and again until the test ends.
func Publish(t testing.TB, room *lksdk.Room) {
	t.Helper()
	stop := make(chan struct{})
	var done sync.WaitGroup
	t.Cleanup(func() { close(stop); done.Wait() })
	done.Go(func() {
		for {
			track, err := lksdk.NewLocalReaderTrack(io.NopCloser(bytes.NewReader(tone700)), webrtc.MimeTypeOpus)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "tone", Source: livekit.TrackSource_MICROPHONE}); err != nil {
				return // the room is no more
			}
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Second):
			}
		}
	})
}

// Ears are somebody's in a call, who hears phones there, which speak G.711. The zero value is ready.
type Ears struct {
	mu  sync.Mutex
	pcm map[string][]int16 // by who speaks
}

// Listen is for lksdk.RoomCallback.OnTrackSubscribed.
func (e *Ears) Listen(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant) {
	decode := g711.DecodeULawTo
	switch mime := track.Codec().MimeType; {
	case strings.EqualFold(mime, webrtc.MimeTypePCMA):
		decode = g711.DecodeALawTo
	case !strings.EqualFold(mime, webrtc.MimeTypePCMU):
		return
	}
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		pcm := make([]int16, len(packet.Payload))
		decode(pcm, packet.Payload)
		e.mu.Lock()
		if e.pcm == nil {
			e.pcm = make(map[string][]int16)
		}
		e.pcm[from.Identity()] = append(e.pcm[from.Identity()], pcm...)
		e.mu.Unlock()
	}
}

// Forget forgets what was heard.
func (e *Ears) Forget() {
	e.mu.Lock()
	e.pcm = nil
	e.mu.Unlock()
}

// Silent reports whether nobody was louder than what is sent in place of silence.
func (e *Ears) Silent() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, pcm := range e.pcm {
		if Loudness(pcm) > 100 {
			return false
		}
	}
	return true
}

// Hears forgets what was heard, and waits until half a second of what somebody says, whose identity begins with who, is a tone.
func (e *Ears) Hears(t testing.TB, who string, hertz float64) {
	t.Helper()
	e.Forget()
	hstest.Eventually(t, fmt.Sprintf("%.0f Hz from %s", hertz, who), func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		for identity, pcm := range e.pcm {
			if strings.HasPrefix(identity, who) && IsTone(pcm, 8000, hertz) {
				return true
			}
		}
		return false
	})
}

// IsTone reports whether the last half second is a tone.
func IsTone(pcm []int16, rate int, hertz float64) bool {
	n := rate / 2
	if len(pcm) < n {
		return false
	}
	last := pcm[len(pcm)-n:]
	return Loudness(last) > 1000 && Share(last, rate, hertz) > 0.8
}

// Share is how much of the energy of audio is at a frequency (Goertzel).
func Share(pcm []int16, rate int, hertz float64) float64 {
	c := 2 * math.Cos(2*math.Pi*hertz/float64(rate))
	var s1, s2, energy float64
	for _, v := range pcm {
		s1, s2 = float64(v)+c*s1-s2, s1
		energy += float64(v) * float64(v)
	}
	if energy == 0 {
		return 0
	}
	return 2 * (s1*s1 + s2*s2 - c*s1*s2) / (energy * float64(len(pcm)))
}

// Loudness is the root of the mean square.
func Loudness(pcm []int16) float64 {
	var energy float64
	for _, v := range pcm {
		energy += float64(v) * float64(v)
	}
	return math.Sqrt(energy / float64(max(1, len(pcm))))
}
