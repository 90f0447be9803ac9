package voice

import (
	"context"
	"errors"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
)

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
