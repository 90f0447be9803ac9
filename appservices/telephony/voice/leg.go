package voice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
)

// leg is one call: the phone on one side, the meeting on the other.
type leg struct {
	bridge *Bridge
	trunk  *trunk
	// key, callID and remoteTag are what SIP calls it.
	key, callID, remoteTag string
	media                  *media
	local                  local
	codec                  *codec
	speaker                speaker
	// anteroom is in place of media where LiveKit SIP carries the call.
	anteroom *anteroom
	// ctx ends with what the person and the meeting have to do with each other: its cause is an ending. playing ends with the audio.
	ctx     context.Context
	cancel  context.CancelCauseFunc
	playing context.Context
	silence context.CancelFunc
	// keys are what was pressed; news says that status has changed.
	keys chan byte
	news chan struct{}
	// acks are acknowledgements of answers, by their number.
	acks chan *sip.Request

	// hashDue says that a PIN was taken at its last digit: the hash key that people press after it ends no announcement.
	hashDue atomic.Bool

	// answered says that one side has said that the call is taken.
	answered atomic.Bool

	mu     sync.Mutex
	dialog dialog
	call   string // what the server calls it
	status phone.Status
	// questions counts how often a recording was asked for: of one that ends and another that begins meanwhile nobody may see but the second.
	questions int
	language  string
	title     string
	name      string
	sequence  uint32
	agreed    choice
	theirs    *description
	held      bool
	heldAt    time.Time
	muted     bool
	hand      bool
	meeting   *meeting
	behind    func(frame []int16)
	timers    []*time.Timer
}

// goodbye and together are Bridge's.
const goodbye, together = 4 * time.Second, 10 * time.Second

// ending is why a call is over.
type ending struct {
	cause phone.Cause
	// say is what the phone hears before it is hung up. gone: it has hung up.
	say  phrase
	gone bool
}

func (e ending) Error() string { return "the call is over: " + string(e.cause) }

func newLeg(b *Bridge, t *trunk) *leg {
	l := &leg{
		bridge: b, trunk: t, keys: make(chan byte, limits.VoiceDigits), news: make(chan struct{}, 1), acks: make(chan *sip.Request, 4), language: "en",
		local: local{id: rand.Uint64() >> 2, version: 1, keys: newKeys()},
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.playing, l.silence = context.WithCancel(context.Background())
	return l
}

// open takes ports for the audio.
func (l *leg) open() error {
	address := l.bridge.cfg.MediaAddress
	if !address.IsValid() {
		address = l.trunk.local(l.bridge.cfg.Address)
	}
	var err error
	l.media, err = newMedia(ports{l.bridge.cfg.FirstPort, l.bridge.cfg.LastPort}, address.Is6(), l.bridge.log)
	if err != nil {
		return err
	}
	l.local.address, l.local.port = address, l.media.port()
	l.media.allowed = func(a netip.Addr) bool { return l.trunk.allows(a) }
	l.media.audio, l.media.pressed = l.hear, l.press
	return nil
}

// prepare reads what a caller offers, and says what is wrong with it. Without an offer we make one.
func (l *leg) prepare(body []byte) (status int, reason string) {
	if err := l.open(); err != nil {
		l.bridge.log.Warn("voice: a call can't be taken", "trunk", l.trunk.cfg.Name, "error", err)
		return sip.StatusServiceUnavailable, "Busy"
	}
	if len(body) == 0 {
		return 0, ""
	}
	return l.agree(body)
}

// agree takes a description of the other side as it is now.
func (l *leg) agree(body []byte) (status int, reason string) {
	d, err := parseSDP(body)
	if errors.Is(err, errNoAudio) {
		return 488, "Not Acceptable Here"
	}
	if err != nil {
		return sip.StatusBadRequest, "Bad Request"
	}
	// The codec stays what it was: what is published in the meeting has it.
	codecs := l.trunk.codecs
	if l.codec != nil {
		codecs = []*codec{l.codec}
	}
	c, err := choose(d, codecs, l.trunk.security)
	if err == nil {
		err = l.media.agree(c, d, &l.local)
	}
	if err != nil {
		return 488, "Not Acceptable Here"
	}
	l.mu.Lock()
	l.codec, l.agreed = c.codec, c
	held := d.held() || !d.direction.sends()
	if held && !l.held {
		l.heldAt = time.Now()
	}
	l.held, l.theirs = held, d
	l.mu.Unlock()
	return 0, ""
}

// description is what we say of our audio: an answer, or an offer if the other side has said nothing yet.
func (l *leg) description() (body []byte, offered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.local.version++
	if l.theirs == nil {
		return l.local.offer(l.trunk.codecs, l.trunk.security != securityOff), true
	}
	return l.local.answer(l.theirs, l.agreed), false
}

// begin is called when there is a dialog.
func (l *leg) begin(d dialog, key string, req *sip.Request) {
	l.setDialog(d)
	l.key, l.callID = key, req.CallID().Value()
	l.remoteTag = req.From().Params.GetOr("tag", "")
	l.sequence = req.CSeq().SeqNo
	context.AfterFunc(d.Context(), func() { l.end(ending{cause: phone.CauseHangup, gone: true}) })
}

func (l *leg) setDialog(d dialog) {
	l.mu.Lock()
	l.dialog = d
	l.mu.Unlock()
}

// talk is the dialog, nil before there is one.
func (l *leg) talk() dialog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialog
}

// end ends the call, for the first reason that is given.
func (l *leg) end(e ending) { l.cancel(e) }

// why is the reason.
func (l *leg) why() ending {
	var e ending
	if errors.As(context.Cause(l.ctx), &e) {
		return e
	}
	return ending{cause: phone.CauseTrunk}
}

// close frees what a call has.
func (l *leg) close() {
	l.end(ending{cause: phone.CauseTrunk})
	l.silence()
	l.hush()
	l.mu.Lock()
	for _, t := range l.timers {
		t.Stop()
	}
	l.mu.Unlock()
	if l.anteroom != nil {
		l.anteroom.close()
	}
	if l.media != nil {
		l.media.close()
	}
}

func (l *leg) id() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.call
}

// state is how the call stands, for the server; false: the server has not named it yet.
func (l *leg) state() (phone.Status, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.CallID, s.Hangup = l.call, ""
	return s, l.call != ""
}

// order takes the server's word on the call.
func (l *leg) order(s phone.Status) {
	if s.Hangup != "" {
		l.end(ending{cause: s.Hangup, say: phraseOf(s.Hangup)})
		return
	}
	l.mu.Lock()
	changed := l.status != s
	if s.Recording == phone.Asking && l.status.Recording != phone.Asking {
		l.questions++
	}
	l.status = s
	l.mu.Unlock()
	if changed {
		select {
		case l.news <- struct{}{}:
		default:
		}
	}
}

// tell tells the server of something, and takes its word.
func (l *leg) tell(e phone.Event) error {
	status, err := l.bridge.server.event(l.ctx, l.id(), e)
	if err != nil {
		return err
	}
	l.order(status)
	return nil
}

// allow bounds how long the call lasts, from now on.
func (l *leg) allow(seconds int) {
	if seconds <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.timers {
		t.Stop()
	}
	span := time.Duration(seconds) * time.Second
	l.timers = []*time.Timer{time.AfterFunc(span, func() { l.end(ending{cause: phone.CauseTime, say: phTime}) })}
	if span > 2*time.Minute {
		l.timers = append(l.timers, time.AfterFunc(span-time.Minute, func() { l.announce(phLastMinute) }))
	}
}

// inOrder reports whether a request of the other side is later than the last one.
func (l *leg) inOrder(sequence uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sequence < l.sequence || sequence == l.sequence && l.sequence != 0 {
		return false
	}
	l.sequence = sequence
	return true
}

// press takes a key. What is being said ends with it.
func (l *leg) press(key byte) {
	if l.hashDue.Swap(false) && key == '#' {
		return
	}
	l.hush()
	select {
	case l.keys <- key:
	default: // nobody has asked for so many
	}
}

// hear takes a packet of the phone's audio. What a network plays to somebody who was put on hold is not for the meeting.
func (l *leg) hear(_ *codec, p *rtp.Packet) {
	l.mu.Lock()
	m, held := l.meeting, l.held
	l.mu.Unlock()
	if m != nil && !held {
		m.say(p)
	}
}

// fill makes what the phone hears: what is said to it, and behind that the meeting.
func (l *leg) fill(frame []int16) {
	said := l.speaker.fill(frame)
	l.mu.Lock()
	behind := l.behind
	l.mu.Unlock()
	if behind == nil {
		return
	}
	if !said {
		behind(frame)
		return
	}
	softer := make([]int16, len(frame))
	behind(softer)
	for i, v := range softer {
		frame[i] = saturated(int32(frame[i]) + int32(v)/4)
	}
}

func (l *leg) setBehind(f func([]int16)) {
	l.mu.Lock()
	l.behind = f
	l.mu.Unlock()
}

// say says something to the phone, behind what is being said.
func (l *leg) say(s sound) <-chan struct{} {
	if l.anteroom != nil {
		return l.anteroom.say(s)
	}
	return l.speaker.say(s.at(l.codec.rate))
}

// hush ends what is being said.
func (l *leg) hush() {
	l.mu.Lock()
	a := l.anteroom
	l.mu.Unlock()
	if a != nil {
		a.hush()
		return
	}
	l.speaker.hush()
}

// play lets the audio begin, and looks after it. LiveKit SIP does so by itself.
func (l *leg) play() {
	if l.anteroom != nil {
		return
	}
	l.media.start()
	go l.media.run(l.playing, l.fill)
	go l.watch()
}

// watch ends a call of which nothing is heard.
func (l *leg) watch() {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.playing.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		held, since := l.held, l.heldAt
		l.mu.Unlock()
		if held && time.Since(since) > limits.VoiceHeld || !held && l.media.silent() > l.bridge.cfg.MediaTimeout {
			l.end(ending{cause: phone.CauseTrunk})
		}
	}
}

// takeCall answers a call that comes in, and is over with it.
func (l *leg) takeCall(d *sipgo.DialogServerSession, tx sip.ServerTransaction, start phone.Start, headers []sip.Header) {
	started, err := l.bridge.server.start(l.ctx, start)
	if err != nil {
		if l.ctx.Err() == nil {
			l.bridge.log.Warn("voice: the server takes no call", "trunk", start.Trunk, "error", err)
			_ = d.Respond(sip.StatusServiceUnavailable, "Service Unavailable", nil, sip.NewHeader("Retry-After", "10"))
		}
		return
	}
	l.mu.Lock()
	l.call, l.language, l.status.CallID = started.CallID, started.Language, started.CallID
	l.mu.Unlock()
	if l.ctx.Err() == nil && l.answer(d, tx, headers) {
		l.bridge.log.Info("voice: a call came in", "trunk", start.Trunk, "call", short(started.CallID), "codec", l.codec.name)
		go l.told(phone.Event{State: phone.Answered})
		l.end(l.converse(started))
	}
	l.finish()
}

// told is tell in the background. A call that the server says is not ours is over; other failures are its being away, which lasts or not.
func (l *leg) told(e phone.Event) {
	if l.id() == "" {
		return
	}
	var refused *telephony.Refused
	if err := l.tell(e); errors.As(err, &refused) && (refused.Status == http.StatusForbidden || refused.Status == http.StatusNotFound) {
		l.end(ending{cause: phone.CauseLost, say: phGoodbye})
	}
}

// answer says that the call is taken. The audio begins at once, or when the other side has said where to.
func (l *leg) answer(d *sipgo.DialogServerSession, tx sip.ServerTransaction, headers []sip.Header) bool {
	body, offered := l.description()
	res := sip.NewSDPResponseFromRequest(d.InviteRequest, body)
	res.AppendHeader(sip.NewHeader("Allow", allowed))
	for _, h := range headers {
		res.AppendHeader(h)
	}
	l.answered.Store(true)
	late := time.AfterFunc(acknowledgement, tx.Terminate)
	go func() {
		defer late.Stop()
		if d.WriteResponse(res) != nil {
			l.end(ending{cause: phone.CauseTrunk})
		}
	}()
	if offered { // by us: the acknowledgement has the answer
		select {
		case ack := <-l.acks:
			if status, _ := l.agree(ack.Body()); status != 0 {
				l.end(ending{cause: phone.CauseTrunk})
				return false
			}
		case <-l.ctx.Done():
			return false
		}
	}
	l.play()
	return true
}

// finish says what there is to say, hangs up, and tells the server.
func (l *leg) finish() {
	e := l.why()
	l.mu.Lock()
	m := l.meeting
	l.meeting, l.behind = nil, nil
	l.mu.Unlock()
	if m != nil {
		m.leave()
	}
	call := l.id()
	l.bridge.log.Info("voice: a call is over", "trunk", l.trunk.cfg.Name, "call", short(call), "cause", e.cause)
	dialog := l.talk()
	if !l.answered.Load() {
		if d, ok := dialog.(*sipgo.DialogServerSession); ok && !e.gone {
			_ = d.Respond(sip.StatusServiceUnavailable, "Service Unavailable", nil)
		}
	} else if !e.gone {
		if e.say != "" && l.codec != nil {
			l.hush()
			l.sayLast(e.say, phGoodbye)
		}
		ctx, cancel := context.WithTimeout(context.Background(), l.bridge.goodbye)
		_ = dialog.Bye(ctx) // who does not hear it hears no audio any more
		cancel()
	}
	if call != "" {
		event := phone.Event{State: phone.Ended, Cause: e.cause}
		l.bridge.running.Go(func() { l.bridge.report(call, event) }) // while the next call takes the place
	}
}

// sayLast says something to the end, unless the phone is hung up.
func (l *leg) sayLast(phrases ...phrase) {
	const longest = 30 * time.Second
	ctx, cancel := context.WithTimeout(l.talk().Context(), longest)
	defer cancel()
	for _, p := range phrases {
		select {
		case <-l.say(l.bridge.announcer.sound(ctx, l.tongue(), p, "", "")):
		case <-ctx.Done():
			return
		}
	}
}

// short is as much of what the server calls a call as a log needs: a whole one is long, and lets who has it speak for the call.
func short(call string) string { return call[:min(len(call), 12)] }

func (l *leg) tongue() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.language
}

// makeCall calls somebody, and is over with the call.
func (l *leg) makeCall(c phone.Call) {
	l.mu.Lock()
	l.call, l.language, l.status.CallID = c.CallID, c.Language, c.CallID
	l.mu.Unlock()
	cause, err := l.dial(c)
	if err != nil {
		l.bridge.log.Info("voice: a call was not answered", "trunk", l.trunk.cfg.Name, "call", short(c.CallID), "cause", cause, "error", err)
		l.bridge.failed(c.CallID, cause)
		return
	}
	defer l.bridge.remove(l)
	l.allow(c.SecondsAllowed)
	l.play()
	go l.told(phone.Event{State: phone.Answered})
	l.end(l.invited(c))
	l.finish()
}

// dial rings, and returns when the call is answered.
func (l *leg) dial(c phone.Call) (phone.Cause, error) {
	if l.trunk.cfg.LiveKit {
		return l.dialThrough(c)
	}
	if err := l.open(); err != nil {
		return phone.CauseTrunk, err
	}
	cause, err := l.ring(c, l.trunk.security != securityOff)
	var refused *sipgo.ErrDialogResponse
	if errors.As(err, &refused) && l.trunk.security == securityOptional {
		if s := refused.Res.StatusCode; s == 488 || s == 415 || s == 606 { // not encrypted, then
			return l.ring(c, false)
		}
	}
	return cause, err
}

func (l *leg) ring(c phone.Call, secure bool) (phone.Cause, error) {
	req := l.trunk.invitation(c, l.local.offer(l.trunk.codecs, secure))
	ringing, cancel := context.WithTimeout(l.ctx, time.Duration(max(5, c.RingSeconds))*time.Second)
	defer cancel()
	d, err := l.trunk.dialogs.WriteInvite(ringing, req)
	if err != nil {
		return phone.CauseTrunk, err
	}
	// Orders find the call while it rings.
	l.key, l.callID = legKey(req.CallID().Value(), req.From().Params.GetOr("tag", "")), req.CallID().Value()
	l.bridge.add(l)
	rang := false
	err = d.WaitAnswer(ringing, sipgo.AnswerOptions{Username: l.trunk.cfg.Username, Password: l.trunk.cfg.Password, OnResponse: func(res *sip.Response) error {
		chooseDigest(res)
		// Whatever a network plays before the answer (183 with a description) is for nobody's ears: the person is in no meeting yet.
		if (res.StatusCode == 180 || res.StatusCode == 183) && !rang {
			rang = true
			go l.told(phone.Event{State: phone.Ringing})
		}
		return nil
	}})
	if err != nil {
		l.bridge.remove(l)
		if ringing.Err() != nil {
			hangUpLate(d)
			if l.ctx.Err() != nil {
				return l.why().cause, err
			}
			return phone.CauseNoAnswer, err
		}
		return failure(err, rang), err
	}
	status, reason := l.agree(d.InviteResponse.Body())
	if err := d.Ack(context.WithoutCancel(l.ctx)); err != nil {
		l.bridge.remove(l)
		return phone.CauseTrunk, err
	}
	if status != 0 {
		hangUpLate(d)
		l.bridge.remove(l)
		return phone.CauseTrunk, fmt.Errorf("the answer: %s", reason)
	}
	l.remoteTag = d.InviteResponse.To().Params.GetOr("tag", "")
	l.answered.Store(true)
	l.setDialog(d)
	context.AfterFunc(d.Context(), func() { l.end(ending{cause: phone.CauseHangup, gone: true}) })
	return "", nil
}

// hangUpLate hangs up on somebody who answered when nobody waited any more.
func hangUpLate(d *sipgo.DialogClientSession) {
	if d.InviteResponse == nil || !d.InviteResponse.IsSuccess() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if d.LoadState() < sip.DialogStateConfirmed {
		_ = d.Ack(ctx)
	}
	_ = d.Bye(ctx)
}
