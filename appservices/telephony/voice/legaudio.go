package voice

import (
	"time"

	"github.com/pion/rtp"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
)

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
