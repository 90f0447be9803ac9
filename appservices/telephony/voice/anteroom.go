package voice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/wake"
)

// anteroom is a room of LiveKit that a phone is in which LiveKit SIP has brought, and nobody else but us: it gets into no meeting past the
// server. We pass on what it says, and to it what the meeting says: the others' voices as they come, as many at a time as there are slots. Keys come as
// messages (SipDTMF).
type anteroom struct {
	sip         *sfu.Client
	name, phone string
	// ours says that the room was made for this call.
	ours bool
	room *lksdk.Room
	leg  *leg

	// ctx ends when the phone is gone: its cause is an ending. status is what LiveKit SIP says of a call that is made.
	ctx    context.Context
	cancel context.CancelCauseFunc
	status chan string

	mu    sync.Mutex
	slots []*slot
	// prompts is where announcements go, said those that are due.
	prompts *slot
	said    []*recorded
}

// slot is a track to the phone: of whoever speaks.
type slot struct {
	track *lksdk.LocalTrack
	forward
	owner string
	voice time.Time
}

type recorded struct {
	frames [][]byte
	done   chan struct{}
}

const (
	// slotsOfAnteroom is how many people a phone hears at a time; slotFree is when somebody who is silent is no more heard than others.
	slotsOfAnteroom = 4
	slotFree        = time.Second
	// guestKey is how a phone is called in a room that is made for it.
	guestKey = "phone"
)

// enterAnteroom waits for the phone there.
func enterAnteroom(ctx context.Context, l *leg, client *sfu.Client, name, phoneIdentity string) (*anteroom, error) {
	a := &anteroom{sip: client, name: name, phone: phoneIdentity, leg: l, status: make(chan string, 8)}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	jwt, err := client.Token(sfu.TokenRequest{
		Room: name, Identity: "roomline:" + l.bridge.server.bridge, Name: "Roomline", Rights: sfu.Rights{Publish: []sfu.Source{sfu.Microphone}, Data: true, Subscribe: true},
	})
	if err != nil {
		return nil, err
	}
	a.room = lksdk.NewRoom(a.callbacks())
	joining, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	err = a.room.JoinWithContextAndToken(joining, client.PublicURL(), jwt, lksdk.WithAutoSubscribe(false), lksdk.WithLogger(logger.GetDiscardLogger()),
		lksdk.WithConnectTimeout(connecting), lksdk.WithDisableRegionDiscovery())
	if err == nil {
		err = a.open()
	}
	if err != nil {
		a.room.Disconnect()
		return nil, fmt.Errorf("the room of a phone: %w", err)
	}
	for _, p := range a.room.GetRemoteParticipants() {
		a.look(p)
	}
	go a.speak()
	return a, nil
}

// open publishes the tracks to the phone.
func (a *anteroom) open() error {
	for i := range slotsOfAnteroom + 1 {
		track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: uint32(through.rate), Channels: 2})
		if err != nil {
			return err
		}
		if _, err := a.room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: fmt.Sprint("voice ", i), Source: livekit.TrackSource_MICROPHONE}); err != nil {
			return err
		}
		s := &slot{track: track, forward: forward{codec: through}}
		if i == slotsOfAnteroom {
			a.prompts = s
			break
		}
		a.slots = append(a.slots, s)
	}
	return nil
}

func (a *anteroom) callbacks() *lksdk.RoomCallback {
	c := lksdk.NewRoomCallback()
	c.OnParticipantConnected = a.look
	c.OnTrackPublished = func(pub *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) { a.look(p) }
	c.OnTrackSubscribed = func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
		go a.listen(track)
	}
	c.OnAttributesChanged = func(_ map[string]string, p lksdk.Participant) {
		if p.Identity() == a.phone {
			a.progress(p.Attributes()[livekit.AttrSIPCallStatus])
		}
	}
	c.OnDataPacket = func(data lksdk.DataPacket, from lksdk.DataReceiveParams) {
		if d, ok := data.(*livekit.SipDTMF); ok && from.SenderIdentity == a.phone && len(d.Digit) == 1 {
			if _, known := eventOf(d.Digit[0]); known {
				a.leg.press(d.Digit[0])
			}
		}
	}
	c.OnParticipantDisconnected = func(p *lksdk.RemoteParticipant) {
		if p.Identity() == a.phone {
			a.gone(goneBecause(p.DisconnectReason()))
		}
	}
	c.OnDisconnected = func() { a.gone(phone.CauseTrunk) }
	return c
}

// look takes note of the phone: its audio, and how its call stands.
func (a *anteroom) look(p *lksdk.RemoteParticipant) {
	if p.Identity() != a.phone {
		return
	}
	a.progress(p.Attributes()[livekit.AttrSIPCallStatus])
	for _, pub := range p.TrackPublications() {
		if remote, ok := pub.(*lksdk.RemoteTrackPublication); ok && remote.Kind() == lksdk.TrackKindAudio {
			_ = remote.SetSubscribed(true) // it fails with the connection
		}
	}
}

func (a *anteroom) progress(status string) {
	select {
	case a.status <- status:
	default: // nobody asks any more
	}
}

// gone is the end of the phone, for the first cause that is given.
func (a *anteroom) gone(cause phone.Cause) { a.cancel(ending{cause: cause, gone: true}) }

// goneBecause is why LiveKit SIP has taken a phone out.
func goneBecause(r livekit.DisconnectReason) phone.Cause {
	switch r {
	case livekit.DisconnectReason_USER_UNAVAILABLE:
		return phone.CauseNoAnswer
	case livekit.DisconnectReason_USER_REJECTED:
		return phone.CauseBusy
	case livekit.DisconnectReason_SIP_TRUNK_FAILURE, livekit.DisconnectReason_MEDIA_FAILURE, livekit.DisconnectReason_CONNECTION_TIMEOUT:
		return phone.CauseTrunk
	}
	return phone.CauseHangup
}

// listen passes on what the phone says.
func (a *anteroom) listen(track *webrtc.TrackRemote) {
	if !strings.EqualFold(track.Codec().MimeType, webrtc.MimeTypeOpus) {
		return
	}
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		a.leg.hear(through, p)
	}
}

// pass passes a packet of somebody in the meeting on to the phone. Whoever speaks takes a place that nobody speaks at.
func (a *anteroom) pass(from string, p *rtp.Packet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	var mine, free *slot
	for _, s := range a.slots {
		switch {
		case s.owner == from:
			mine = s
		case now.Sub(s.voice) > slotFree && (free == nil || s.voice.Before(free.voice)):
			free = s
		}
	}
	voice := isVoice(p.Payload)
	if mine == nil {
		if !voice || free == nil {
			return
		}
		mine = free
		mine.owner = from
		mine.pause()
	}
	if voice {
		mine.voice = now
	}
	_ = mine.track.WriteRTP(mine.packet(p), nil) // it fails with the connection
}

// say puts an announcement behind the others.
func (a *anteroom) say(s sound) <-chan struct{} {
	one := &recorded{s.opus, make(chan struct{})}
	a.mu.Lock()
	a.said = append(a.said, one)
	a.mu.Unlock()
	return one.done
}

// hush ends all that is being said.
func (a *anteroom) hush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.said {
		close(one.done)
	}
	a.said = nil
}

// speak sends what is to be said, a frame each time that it is due.
func (a *anteroom) speak() {
	tick := time.NewTicker(frameMS * time.Millisecond)
	defer tick.Stop()
	var sequence uint16
	var timestamp uint32
	for {
		select {
		case <-a.ctx.Done():
			a.hush()
			return
		case <-tick.C:
		}
		a.mu.Lock()
		for len(a.said) > 0 && len(a.said[0].frames) == 0 {
			close(a.said[0].done)
			a.said = a.said[1:]
		}
		if len(a.said) == 0 {
			a.prompts.pause()
			a.mu.Unlock()
			continue
		}
		frame := a.said[0].frames[0]
		a.said[0].frames = a.said[0].frames[1:]
		sequence, timestamp = sequence+1, timestamp+opusFrame
		p := a.prompts.packet(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: sequence, Timestamp: timestamp, SSRC: 1}, Payload: frame})
		a.mu.Unlock()
		_ = a.prompts.track.WriteRTP(p, nil) // it fails with the connection
	}
}

// press presses keys for the phone.
func (a *anteroom) press(keys string) {
	for i := range len(keys) {
		if code, ok := eventOf(keys[i]); ok {
			_ = a.room.LocalParticipant.PublishDataPacket(&livekit.SipDTMF{Code: uint32(code), Digit: keys[i : i+1]},
				lksdk.WithDataPublishReliable(true), lksdk.WithDataPublishDestination([]string{a.phone}))
		}
	}
}

// Context, Bye and ReadBye are those of a dialog.
func (a *anteroom) Context() context.Context { return a.ctx }

// Bye hangs the phone up: LiveKit SIP does that when its participant is taken out.
func (a *anteroom) Bye(ctx context.Context) error {
	err := a.sip.Remove(ctx, a.name, a.phone)
	if a.ours {
		err = errors.Join(err, a.sip.DeleteRoom(ctx, a.name))
	}
	return err
}

// ReadBye is for calls of SIP.
func (a *anteroom) ReadBye(*sip.Request, sip.ServerTransaction) error { return nil }

// close leaves. A room that was made for the call goes with it.
func (a *anteroom) close() {
	a.gone(phone.CauseHangup)
	a.room.Disconnect()
	if a.ours {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		_ = a.sip.DeleteRoom(ctx, a.name) // an empty room ends by itself
	}
}

// Arrival is a phone that LiveKit SIP has brought.
type Arrival struct {
	// Room and Identity are where it is, and what LiveKit calls it; Reference is what LiveKit SIP calls the call.
	Room, Identity, Reference string
	// Called is the number of ours, Caller the phone's, as the network wrote them.
	Called, Caller string
}

// Arrived takes a call that LiveKit SIP has brought. It returns at once.
func (b *Bridge) Arrived(a Arrival) {
	for _, t := range b.trunks {
		if !t.cfg.LiveKit {
			continue
		}
		if n, ok := t.number(a.Called); ok {
			go b.receive(t, n, a)
			return
		}
	}
	b.log.Warn("voice: LiveKit SIP has brought a call to a number that no trunk has")
	go b.turnAway(a)
}

func (b *Bridge) turnAway(a Arrival) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if err := b.cfg.SIP.Remove(ctx, a.Room, a.Identity); err != nil {
		b.log.Warn("voice: a call that LiveKit SIP has brought is not hung up", "error", err)
	}
}

// receive is a call that came in: LiveKit SIP has asked for the PIN, and the room says which it was.
func (b *Bridge) receive(t *trunk, n Number, arrival Arrival) {
	done, _ := b.admit(t)
	if done == nil {
		b.turnAway(arrival)
		return
	}
	defer done()
	l := newLeg(b, t)
	l.codec = through
	defer l.close()
	a, err := enterAnteroom(l.ctx, l, b.cfg.SIP, arrival.Room, arrival.Identity)
	if err != nil {
		b.log.Warn("voice: a call can't be taken", "trunk", t.cfg.Name, "error", err)
		b.turnAway(arrival)
		return
	}
	l.meet(a, arrival.Reference)
	defer b.remove(l)
	started, err := b.server.start(l.ctx, phone.Start{
		Reference: arrival.Reference, Trunk: t.cfg.Name, Called: n.Number, Caller: e164(arrival.Caller, n.Country),
	})
	if err != nil {
		l.end(ending{cause: phone.CauseTrunk, say: phUnavailable})
		l.finish()
		return
	}
	l.mu.Lock()
	l.call, l.language, l.status.CallID = started.CallID, started.Language, started.CallID
	l.mu.Unlock()
	b.log.Info("voice: a call came in", "trunk", t.cfg.Name, "call", short(started.CallID), "codec", "livekit")
	go l.told(phone.Event{State: phone.Answered})
	l.end(l.brought(started, arrival.Room))
	l.finish()
}

// brought is a caller whose PIN LiveKit SIP has asked for.
func (l *leg) brought(started phone.Started, room string) ending {
	if started.Problem != "" {
		return ending{cause: phone.CausePIN, say: phraseOfProblem(started.Problem)}
	}
	j, err := l.bridge.server.room(l.ctx, l.id(), room)
	switch {
	case err != nil:
		return ending{cause: phone.CauseTrunk, say: phUnavailable}
	case j.Problem != "":
		return ending{cause: causeOf(j.Problem), say: phraseOfProblem(j.Problem)}
	}
	return l.attend(j)
}

// meet lets a call be one of an anteroom.
func (l *leg) meet(a *anteroom, reference string) {
	l.mu.Lock()
	l.anteroom = a
	l.mu.Unlock()
	l.key, l.callID = legKey(a.name, a.phone), reference
	l.answered.Store(true)
	l.setDialog(a)
	l.bridge.add(l)
	context.AfterFunc(a.ctx, func() {
		var e ending
		if !errors.As(context.Cause(a.ctx), &e) {
			e = ending{cause: phone.CauseHangup, gone: true}
		}
		l.end(e)
	})
}

// dialThrough has LiveKit SIP call somebody into a room of their own, and returns when the call is answered.
func (l *leg) dialThrough(c phone.Call) (phone.Cause, error) {
	client, ringing := l.bridge.cfg.SIP, time.Duration(max(5, c.RingSeconds))*time.Second
	l.codec = through
	ctx, cancel := context.WithTimeout(l.ctx, ringing+limits.SFUSIP)
	defer cancel()
	name := "phone-out-" + sip.GenerateTagN(24)
	if _, err := client.CreateRoom(ctx, name, sfu.RoomOptions{EmptyTimeout: time.Minute, DepartureTimeout: time.Second}); err != nil {
		return phone.CauseTrunk, err
	}
	a, err := enterAnteroom(ctx, l, client, name, guestKey)
	if err != nil {
		return phone.CauseTrunk, err
	}
	a.ours = true
	l.meet(a, name)
	refused := func(cause phone.Cause, err error) (phone.Cause, error) {
		l.bridge.remove(l)
		hanging, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		_ = a.Bye(hanging) // close does it again
		return cause, err
	}
	err = client.CallBySIP(ctx, sfu.SIPCall{
		Trunk: l.trunk.cfg.OutboundTrunk, Number: c.Number, Caller: c.Caller, Room: name, Identity: guestKey, Name: guestKey,
		Ringing: ringing, Longest: time.Duration(c.SecondsAllowed) * time.Second,
	})
	if err != nil {
		return refused(phone.CauseTrunk, err)
	}
	late, look := time.After(ringing), time.NewTicker(goneLook)
	defer look.Stop()
	for rang, missed := false, 0; ; {
		select {
		case status := <-a.status:
			switch status {
			case "active":
				return "", nil
			case "ringing":
				if !rang {
					rang = true
					go l.told(phone.Event{State: phone.Ringing})
				}
			}
		case <-look.C:
			// Of one that comes and goes within a moment nobody tells.
			if there, err := a.isThere(ctx); err == nil && !there {
				if missed++; missed > 1 {
					return refused(phone.CauseUnreachable, errGone)
				}
			}
		case <-l.ctx.Done():
			return refused(l.why().cause, context.Cause(l.ctx))
		case <-late:
			return refused(phone.CauseNoAnswer, context.DeadlineExceeded)
		}
	}
}

const goneLook = 2 * time.Second

var errGone = errors.New("the phone is gone")

// isThere asks LiveKit whether the phone is in the room.
func (a *anteroom) isThere(ctx context.Context) (bool, error) {
	list, err := a.sip.Participants(ctx, a.name)
	return slices.ContainsFunc(list, func(p sfu.Participant) bool { return p.Identity == a.phone }), err
}

// watchSIP asks now and then whether LiveKit SIP is there, and has the trunk: calls go out over it only then.
func (t *trunk) watchSIP(ctx context.Context) {
	for said := false; ctx.Err() == nil; {
		err := t.bridge.cfg.SIP.CheckSIPTrunk(ctx, t.cfg.OutboundTrunk)
		t.registered.Store(err == nil)
		switch {
		case err != nil && !said && ctx.Err() == nil:
			t.bridge.log.Warn("voice: nobody is called over a trunk", "trunk", t.cfg.Name, "error", err)
			said = true
		case err == nil && said:
			t.bridge.log.Info("voice: LiveKit SIP answers", "trunk", t.cfg.Name)
			said = false
		}
		wake.Pause(ctx, checkedSIP)
	}
}

const checkedSIP = 10 * time.Second
