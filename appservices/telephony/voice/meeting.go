package voice

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/livekit/media-sdk/g711"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomline/roomline/internal/phone"
)

// meeting is a phone's place in a room of LiveKit: what it says is published as it came, as browsers know G.711; everybody else's audio goes
// into the mixer.
type meeting struct {
	room  *lksdk.Room
	track *lksdk.LocalTrack
	pub   *lksdk.LocalTrackPublication
	mixer *mixer
	pass  func(from string, p *rtp.Packet)
	// lost is given what became of the connection, once.
	lost     chan loss
	lostOnce sync.Once
	// away is when the connection broke that LiveKit's client is mending.
	away *time.Timer

	mu      sync.Mutex
	forward forward
	muted   atomic.Bool
	left    atomic.Bool
}

// loss is how a meeting ended for a phone.
type loss int

const (
	lossAway    loss = iota // it can't be reached
	lossRemoved             // somebody took the phone out
	lossEnded               // the room is no more
	lossTwice               // the phone is there another time
)

const (
	// connecting is how long LiveKit may take to let a phone in.
	connecting = 8 * time.Second
	// mending is how long its client may try to have the same connection again; a new one with a new token is made then.
	mending = 4 * time.Second
)

// hooks are what a meeting tells.
type hooks struct {
	// mutedByOther says that somebody muted the phone, digits that somebody presses keys for it.
	mutedByOther func()
	digits       func(string)
	// pass is given what others say, in Opus, in place of the mixer; it may be nil.
	pass func(from string, p *rtp.Packet)
}

// join lets a phone into a room.
func join(ctx context.Context, j phone.Join, c *codec, muted bool, h hooks) (*meeting, error) {
	m := &meeting{mixer: newMixer(c.rate), pass: h.pass, lost: make(chan loss, 1), forward: forward{codec: c}}
	m.muted.Store(muted)
	switch m.forward.mime = webrtc.MimeTypePCMU; c {
	case pcma:
		m.forward.mime = webrtc.MimeTypePCMA
	case through:
		m.forward.mime = webrtc.MimeTypeOpus
	}
	m.room = lksdk.NewRoom(m.callbacks(h))
	done := make(chan error, 1)
	go func() {
		done <- m.room.JoinWithContextAndToken(ctx, j.URL, j.JWT, lksdk.WithAutoSubscribe(false), lksdk.WithLogger(logger.GetDiscardLogger()),
			lksdk.WithConnectTimeout(connecting), lksdk.WithDisableRegionDiscovery())
	}()
	select {
	case err := <-done:
		if err != nil {
			m.room.Disconnect()
			return nil, err
		}
	case <-ctx.Done():
		go func() {
			<-done
			m.room.Disconnect()
		}()
		return nil, context.Cause(ctx)
	}
	if err := m.publish(muted); err != nil {
		m.leave()
		return nil, err
	}
	for _, p := range m.room.GetRemoteParticipants() {
		for _, pub := range p.TrackPublications() {
			if remote, ok := pub.(*lksdk.RemoteTrackPublication); ok {
				m.listen(remote)
			}
		}
	}
	return m, nil
}

func (m *meeting) publish(muted bool) error {
	capability := webrtc.RTPCodecCapability{MimeType: m.forward.mime, ClockRate: uint32(m.forward.clock()), Channels: 1}
	if m.forward.codec == through {
		capability.Channels = 2
	}
	track, err := lksdk.NewLocalTrack(capability)
	if err != nil {
		return err
	}
	pub, err := m.room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "phone", Source: livekit.TrackSource_MICROPHONE})
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.track, m.pub = track, pub
	m.mu.Unlock()
	if muted {
		pub.SetMuted(true)
	}
	return nil
}

func (m *meeting) callbacks(h hooks) *lksdk.RoomCallback {
	c := lksdk.NewRoomCallback()
	c.OnTrackPublished = func(pub *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) { m.listen(pub) }
	c.OnTrackSubscribed = func(track *webrtc.TrackRemote, pub *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
		m.hear(track)
	}
	c.OnTrackMuted = func(_ lksdk.TrackPublication, p lksdk.Participant) {
		if p == lksdk.Participant(m.room.LocalParticipant) && !m.muted.Swap(true) {
			h.mutedByOther()
		}
	}
	c.OnDataPacket = func(data lksdk.DataPacket, _ lksdk.DataReceiveParams) {
		if d, ok := data.(*livekit.SipDTMF); ok {
			h.digits(d.Digit)
		}
	}
	c.OnReconnecting = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.away == nil {
			m.away = time.AfterFunc(mending, func() { m.lose(lossAway) })
		}
	}
	c.OnReconnected = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.away != nil {
			m.away.Stop()
			m.away = nil
		}
	}
	c.OnDisconnectedWithReason = func(lksdk.DisconnectionReason) {
		switch m.room.DisconnectReason() {
		case livekit.DisconnectReason_PARTICIPANT_REMOVED:
			m.lose(lossRemoved)
		case livekit.DisconnectReason_ROOM_DELETED, livekit.DisconnectReason_ROOM_CLOSED:
			m.lose(lossEnded)
		case livekit.DisconnectReason_DUPLICATE_IDENTITY:
			m.lose(lossTwice)
		default:
			m.lose(lossAway)
		}
	}
	return c
}

func (m *meeting) lose(l loss) {
	if !m.left.Load() {
		m.lostOnce.Do(func() { m.lost <- l })
	}
}

// listen asks for a track, if it is audio.
func (m *meeting) listen(pub *lksdk.RemoteTrackPublication) {
	if pub.Kind() == lksdk.TrackKindAudio {
		_ = pub.SetSubscribed(true) // it fails with the connection, of which lost tells
	}
}

// hear puts what a track brings into the mixer until it ends.
func (m *meeting) hear(track *webrtc.TrackRemote) {
	if track.Kind() != webrtc.RTPCodecTypeAudio {
		return
	}
	id := track.ID() + " " + track.StreamID()
	if m.pass != nil {
		if strings.EqualFold(track.Codec().MimeType, webrtc.MimeTypeOpus) {
			go m.passOn(id, track)
		}
		return
	}
	if !m.mixer.add(id, track.Codec().MimeType) {
		return
	}
	go func() {
		defer m.mixer.remove(id)
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			m.mixer.put(id, p.SequenceNumber, p.Payload)
		}
	}()
}

// passOn passes on what a track brings until it ends, or we have left.
func (m *meeting) passOn(id string, track *webrtc.TrackRemote) {
	for {
		p, _, err := track.ReadRTP()
		if err != nil || m.left.Load() {
			return
		}
		m.pass(id, p)
	}
}

// alone reports whether nobody else is there.
func (m *meeting) alone() bool { return len(m.room.GetRemoteParticipants()) == 0 }

// say publishes a packet of the phone's.
func (m *meeting) say(p *rtp.Packet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.track == nil || m.muted.Load() {
		m.forward.pause()
		return
	}
	_ = m.track.WriteRTP(m.forward.packet(p), nil) // it fails with the connection, of which lost tells
}

func (m *meeting) mute(muted bool) {
	if m.muted.Swap(muted) != muted {
		m.pub.SetMuted(muted)
	}
}

func (m *meeting) leave() {
	if !m.left.Swap(true) {
		m.mu.Lock()
		if m.away != nil {
			m.away.Stop()
		}
		m.mu.Unlock()
		m.room.Disconnect()
	}
}

// forward makes the packets that LiveKit gets of those of the phone: counted on, whatever the phone's network does with its counting.
type forward struct {
	codec  *codec
	mime   string
	decode coder
	halver halver
	pcm    []int16
	out    []byte

	began, paused bool
	ssrc          uint32
	lastSequence  uint16
	lastTimestamp uint32
	sequence      uint16
	timestamp     uint32
	lastAt        time.Time
}

func (f *forward) pause() { f.paused = true }

// clock is how its timestamps count.
func (f *forward) clock() int {
	if f.codec == through {
		return through.rate
	}
	return clock
}

func (f *forward) packet(p *rtp.Packet) *rtp.Packet {
	ahead, later := p.SequenceNumber-f.lastSequence, p.Timestamp-f.lastTimestamp
	const far = 50
	most := int32(10 * f.clock())
	if now := time.Now(); !f.began || f.paused || p.SSRC != f.ssrc || int16(ahead) > far || int16(ahead) < -far || int32(later) > most || int32(later) < -most {
		f.sequence++
		if f.began {
			f.timestamp += uint32(now.Sub(f.lastAt).Seconds()*float64(f.clock())) + uint32(f.clock()*frameMS/1000)
		}
		p.Marker = true
		f.began, f.paused = true, false
	} else {
		f.sequence += ahead
		f.timestamp += later
	}
	f.ssrc, f.lastSequence, f.lastTimestamp, f.lastAt = p.SSRC, p.SequenceNumber, p.Timestamp, time.Now()
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, Marker: p.Marker, SequenceNumber: f.sequence, Timestamp: f.timestamp},
		Payload: f.payload(p.Payload),
	}
}

// payload is the audio in a codec of LiveKit's: G.722 is none.
func (f *forward) payload(payload []byte) []byte {
	if f.codec != wide {
		return payload
	}
	if f.decode == nil {
		f.decode = f.codec.coder()
	}
	f.pcm = f.decode.decode(f.pcm, payload)
	narrow := f.halver.halve(f.pcm)
	f.out = append(f.out[:0], make([]byte, len(narrow))...)
	g711.EncodeULawTo(f.out, narrow)
	return f.out
}

var errNoWay = errors.New("the server named no way into the meeting")
