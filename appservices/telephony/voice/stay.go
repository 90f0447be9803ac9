package voice

import (
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
)

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
