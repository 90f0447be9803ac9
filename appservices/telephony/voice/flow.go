package voice

import (
	"context"
	"errors"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
)

const (
	hungUp = phone.CauseHangup
	lostIt = phone.CauseTrunk
)

// problems are what is said to a caller whom the server does not let in.
var problems = map[phone.Problem]phrase{
	phone.WrongPIN: phWrongPIN, phone.TooMany: phTooMany, phone.Unavailable: phUnavailable, phone.NoService: phNoService,
	phone.NotAllowed: phNotAllowed, phone.EncryptedMeeting: phEncrypted, phone.Full: phFull, phone.LockedMeeting: phLocked,
}

func phraseOfProblem(p phone.Problem) phrase {
	if one, ok := problems[p]; ok {
		return one
	}
	return phUnavailable
}

// phraseOf is what is said to a phone that the server has hung up.
func phraseOf(c phone.Cause) phrase {
	switch c {
	case phone.CauseRemoved:
		return phRemoved
	case phone.CauseEnded:
		return phEnded
	case phone.CauseRevoked:
		return phRevoked
	case phone.CauseSuspended:
		return phSuspended
	case phone.CauseDenied:
		return phDenied
	case phone.CauseBudget:
		return phBudget
	case phone.CauseEncrypted:
		return phEncrypted
	case phone.CauseTime:
		return phTime
	}
	return phGoodbye
}

// announce says something behind what is being said. What is returned is closed when it is over.
func (l *leg) announce(p phrase) <-chan struct{} {
	l.mu.Lock()
	name, title := l.name, l.title
	l.mu.Unlock()
	return l.say(l.bridge.announcer.sound(l.ctx, l.tongue(), p, name, title))
}

// heardOut waits until something was said, or a key pressed, which ends it.
func (l *leg) heardOut(over <-chan struct{}) {
	select {
	case <-over:
	case <-l.ctx.Done():
	}
}

// nextKey waits for a key; false: none was pressed in time.
func (l *leg) nextKey(ctx context.Context, patience <-chan time.Time) (byte, bool) {
	select {
	case key := <-l.keys:
		return key, true
	case <-patience:
	case <-ctx.Done():
	}
	return 0, false
}

// converse is a call that came in: who are you, and then the meeting.
func (l *leg) converse(started phone.Started) ending {
	if started.Problem != "" {
		return ending{cause: phone.CausePIN, say: phraseOfProblem(started.Problem)}
	}
	l.announce(phWelcome)
	j, over := l.identify(started)
	if over != nil {
		return *over
	}
	return l.attend(j)
}

// identify asks for the PIN, as often as the server allows.
func (l *leg) identify(started phone.Started) (phone.Join, *ending) {
	unasked, tries := 0, max(1, started.Tries)
	for l.ctx.Err() == nil {
		over := l.announce(phEnterPIN)
		pin, ok := l.typed(started.PINDigits, over)
		if !ok {
			if unasked++; unasked >= limits.VoiceAsked {
				return phone.Join{}, &ending{cause: phone.CausePIN, say: phWrongPIN}
			}
			continue
		}
		unasked = 0
		j, err := l.bridge.server.pin(l.ctx, l.id(), pin)
		tries--
		switch {
		case err != nil:
			return j, &ending{cause: phone.CauseTrunk, say: phUnavailable}
		case j.Problem != "" && j.Tries > 0 && tries > 0:
			l.announce(phraseOfProblem(j.Problem))
		case j.Problem != "":
			return j, &ending{cause: causeOf(j.Problem), say: phraseOfProblem(j.Problem)}
		default:
			return j, nil
		}
	}
	return phone.Join{}, &ending{cause: phone.CauseTrunk}
}

// typed are the digits up to a hash key, or all of a PIN. A star begins anew.
func (l *leg) typed(digits int, asked <-chan struct{}) (string, bool) {
	pin := ""
	select { // the patience begins when the question is over; a key ends it
	case <-asked:
	case <-l.ctx.Done():
		return "", false
	}
	for {
		key, ok := l.nextKey(l.ctx, time.After(limits.VoiceKey))
		switch {
		case !ok:
			return "", false
		case key == '#' && pin != "":
			return pin, true
		case key == '*':
			pin = ""
		case key >= '0' && key <= '9':
			if pin += string(key); digits > 0 && len(pin) >= digits {
				l.hashDue.Store(true)
				return pin, true
			}
		}
	}
}

// invited is a call that was made: whoever answers presses 1, so that a mailbox is in no meeting.
func (l *leg) invited(c phone.Call) ending {
	for range limits.VoiceAsked {
		l.mu.Lock()
		l.name, l.title = c.By, c.Title
		l.mu.Unlock()
		l.announce(phInvites)
		l.heardOut(l.announce(phPress1))
		patience := time.After(limits.VoiceKey)
		for {
			key, ok := l.nextKey(l.ctx, patience)
			if !ok {
				break
			}
			if key == '1' {
				j, err := l.bridge.server.token(l.ctx, l.id())
				if err != nil {
					return ending{cause: phone.CauseTrunk, say: phUnavailable}
				}
				return l.attend(j)
			}
		}
		if l.ctx.Err() != nil {
			break
		}
	}
	return ending{cause: phone.CauseDeclined, say: phGoodbye}
}

// attend is the meeting, from the door on. It returns why it is over.
func (l *leg) attend(j phone.Join) ending {
	for first := true; l.ctx.Err() == nil; {
		if j.Problem != "" {
			return ending{cause: causeOf(j.Problem), say: phraseOfProblem(j.Problem)}
		}
		l.introduce(j)
		if j.Waiting {
			if err := l.wait(); err != nil {
				return ending{cause: phone.CauseTrunk, say: phUnavailable}
			}
			var err error
			if j, err = l.bridge.server.token(l.ctx, l.id()); err != nil {
				return ending{cause: phone.CauseTrunk, say: phUnavailable}
			}
			continue
		}
		m, err := l.enter(&j)
		if errors.Is(err, errOtherwise) {
			continue
		}
		if err != nil {
			return ending{cause: phone.CauseTrunk, say: phUnavailable}
		}
		recording, questions := l.recording()
		if over := l.greet(m, first); over != nil {
			return *over
		}
		first = false
		over, again := l.stay(m, recording, questions)
		if over != nil {
			return *over
		}
		j = *again
	}
	return ending{cause: phone.CauseTrunk}
}

// causeOf is what a call ends with that the server does not let in.
func causeOf(p phone.Problem) phone.Cause {
	switch p {
	case phone.WrongPIN, phone.TooMany:
		return phone.CausePIN
	case phone.EncryptedMeeting:
		return phone.CauseEncrypted
	}
	return phone.CauseDenied
}

// introduce takes what the server says of the person and the call.
func (l *leg) introduce(j phone.Join) {
	l.mu.Lock()
	l.name, l.title = j.Name, j.Title
	if speaks(j.Language) {
		l.language = j.Language
	}
	l.status.Waiting, l.status.Recording = j.Waiting, j.Recording
	l.mu.Unlock()
	l.allow(j.SecondsAllowed)
}

// waitingAgain is how often a phone that LiveKit SIP has brought hears that it waits.
const waitingAgain = 10 * time.Second

// wait is the lobby.
func (l *leg) wait() error {
	again := make(<-chan time.Time)
	if l.anteroom == nil {
		l.setBehind(newWaitingTone(l.codec.rate).fill)
		defer l.setBehind(nil)
	} else {
		tick := time.NewTicker(waitingAgain)
		defer tick.Stop()
		again = tick.C
	}
	l.announce(phWaiting)
	for {
		status, _ := l.state()
		if !status.Waiting {
			return nil
		}
		select {
		case <-again:
			l.announce(phWaiting)
		case <-l.news:
		case key := <-l.keys:
			if key == '0' {
				l.announce(phWaiting)
			}
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
}

// enter connects to the meeting. While it can't be reached the phone hears so, and a new way is asked for, for a while.
func (l *leg) enter(j *phone.Join) (*meeting, error) {
	until := time.Now().Add(limits.VoiceAway)
	pause := backoff{first: 200 * time.Millisecond, most: 5 * time.Second}
	l.mu.Lock()
	muted := l.muted
	l.mu.Unlock()
	for told := false; ; {
		err := errNoWay
		var m *meeting
		if j.URL != "" && j.JWT != "" {
			m, err = join(l.ctx, *j, l.codec, muted, l.hooks())
		}
		if err == nil {
			return m, nil
		}
		if l.ctx.Err() != nil || time.Now().After(until) {
			return nil, err
		}
		if !told {
			told = true
			l.bridge.log.Warn("voice: a meeting can't be reached", "call", short(l.id()), "error", err)
			l.announce(phMoment)
		}
		pause.wait(l.ctx)
		fresh, err := l.bridge.server.token(l.ctx, l.id())
		switch {
		case err != nil && final(err):
			return nil, err
		case err == nil:
			if *j = fresh; j.Problem != "" || j.Waiting {
				return nil, errOtherwise
			}
		}
	}
}

// errOtherwise says that the server has another answer by now than a way in.
var errOtherwise = errors.New("there is no way into the meeting any more")

// mutedByOther is when somebody in the meeting has muted the phone.
func (l *leg) mutedByOther() {
	l.mu.Lock()
	l.muted = true
	l.mu.Unlock()
	go l.announce(phMutedBy)
}

// dialed are keys that somebody in the meeting presses for a phone that was called, which may be a machine.
func (l *leg) dialed(keys string) {
	if l.anteroom != nil {
		l.anteroom.press(keys)
		return
	}
	l.media.dial(keys)
}

// hooks are what a meeting tells the phone.
func (l *leg) hooks() hooks {
	h := hooks{mutedByOther: l.mutedByOther, digits: l.dialed}
	if l.anteroom != nil {
		h.pass = l.anteroom.pass
	}
	return h
}

// greet lets the phone hear the meeting, and says who is there. In a meeting that is recorded it is asked first, and is not heard before it has answered.
func (l *leg) greet(m *meeting, first bool) *ending {
	status, _ := l.state()
	if status.Recording == phone.Asking {
		l.announce(phAskConsent)
		if !l.consent() && l.ctx.Err() != nil {
			m.leave()
			e := l.why()
			return &e
		}
	}
	l.mu.Lock()
	l.meeting, l.behind = m, m.mixer.mix
	l.mu.Unlock()
	go l.told(phone.Event{Joined: true})
	switch {
	case !first:
		l.announce(phBack)
	case status.Recording == phone.Recorded:
		l.announce(phJoined)
		l.announce(phRecorded)
	default:
		l.announce(phJoined)
	}
	if first && m.alone() {
		l.announce(phFirst)
	}
	return nil
}

// consent waits for an answer to the question about a recording: 1 is yes, everything else and no answer is no.
func (l *leg) consent() bool {
	answer := "no"
	patience := time.After(limits.VoiceAsked * limits.VoiceKey)
	for {
		key, ok := l.nextKey(l.ctx, patience)
		if !ok || key == '2' {
			break
		}
		if key == '1' {
			answer = "yes"
			break
		}
	}
	if l.ctx.Err() != nil {
		return false
	}
	go l.told(phone.Event{Consent: answer})
	if answer == "no" {
		l.announce(phWithheld)
	}
	return answer == "yes"
}

// stay is the meeting itself: keys, orders, and what becomes of the connection. recording and questions are what was known before it
// began. again is a new way in, after a while away.
func (l *leg) stay(m *meeting, recording phone.Recording, questions int) (over *ending, again *phone.Join) {
	defer func() {
		l.mu.Lock()
		l.meeting, l.behind = nil, nil
		l.mu.Unlock()
		m.leave()
	}()
	asked, star := false, time.Time{}
	for {
		select {
		case <-l.ctx.Done():
			e := l.why()
			return &e, nil
		case key := <-l.keys:
			star, asked = l.command(m, key, star, asked)
		case <-l.news:
			if now, n := l.recording(); now != recording || n != questions {
				recording, questions = now, n
				asked = l.tellRecording(recording)
			}
		case how := <-m.lost:
			return l.lost(how)
		}
	}
}

// recording is how a recording of the meeting stands for the phone, and how often it was asked about one.
func (l *leg) recording() (phone.Recording, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status.Recording, l.questions
}

func (l *leg) tellRecording(r phone.Recording) (asked bool) {
	switch r {
	case phone.Asking:
		l.announce(phAskConsent)
		return true
	case phone.Recorded:
		l.announce(phRecorded)
	case phone.Withheld:
		l.announce(phWithheld)
	}
	return false
}

// command is what keys do in a meeting: star 6, star 9 and star 0; 1 and 2 answer whether one may be recorded.
func (l *leg) command(m *meeting, key byte, star time.Time, asked bool) (time.Time, bool) {
	if asked && (key == '1' || key == '2') {
		answer := map[byte]string{'1': "yes", '2': "no"}[key]
		go l.told(phone.Event{Consent: answer})
		return time.Time{}, false
	}
	if key == '*' {
		return time.Now(), asked
	}
	if time.Since(star) > l.bridge.together {
		return time.Time{}, asked
	}
	switch key {
	case '6':
		l.mu.Lock()
		l.muted = !l.muted
		muted := l.muted
		l.mu.Unlock()
		m.mute(muted)
		go l.told(phone.Event{Muted: &muted})
		l.announce(map[bool]phrase{true: phMuted, false: phUnmuted}[muted])
	case '9':
		l.mu.Lock()
		l.hand = !l.hand
		hand := l.hand
		l.mu.Unlock()
		go l.told(phone.Event{Hand: &hand})
		l.announce(map[bool]phrase{true: phHandUp, false: phHandDown}[hand])
	case '0':
		l.announce(phHelp)
	}
	return time.Time{}, asked
}

// lost is when the connection to the meeting has ended. The server knows why, if somebody took the phone out.
func (l *leg) lost(how loss) (*ending, *phone.Join) {
	switch how {
	case lossRemoved, lossEnded:
		cause := phone.CauseRemoved
		if how == lossEnded {
			cause = phone.CauseEnded
		}
		// The server's word is on its way, and says it better.
		const word = 2 * time.Second
		select {
		case <-l.ctx.Done():
			e := l.why()
			return &e, nil
		case <-time.After(word):
		}
		return &ending{cause: cause, say: phraseOf(cause)}, nil
	case lossTwice:
		return &ending{cause: phone.CauseLost, say: phGoodbye}, nil
	}
	l.announce(phMoment)
	until, pause := time.Now().Add(limits.VoiceAway), backoff{first: 200 * time.Millisecond, most: 3 * time.Second}
	for {
		j, err := l.bridge.server.token(l.ctx, l.id())
		if err == nil {
			return nil, &j
		}
		if l.ctx.Err() != nil {
			e := l.why()
			return &e, nil
		}
		if final(err) || time.Now().After(until) {
			return &ending{cause: phone.CauseTrunk, say: phUnavailable}, nil
		}
		pause.wait(l.ctx)
	}
}
