package voice

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

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
