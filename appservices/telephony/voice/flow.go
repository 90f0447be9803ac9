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
