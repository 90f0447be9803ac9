package voice

import (
	"math"
	"sync"
)

// speaker is what is said to a phone: one announcement after the other.
type speaker struct {
	mu    sync.Mutex
	queue []*spoken
}

type spoken struct {
	pcm  []int16
	done chan struct{}
}

// say puts an announcement behind the others. What is returned is closed when it is over, or hushed.
func (s *speaker) say(pcm []int16) <-chan struct{} {
	one := &spoken{pcm, make(chan struct{})}
	s.mu.Lock()
	s.queue = append(s.queue, one)
	s.mu.Unlock()
	return one.done
}

// hush ends all that is being said.
func (s *speaker) hush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.queue {
		close(one.done)
	}
	s.queue = nil
}

// fill fills a frame, and reports whether anything is said.
func (s *speaker) fill(frame []int16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(frame)
	said := false
	for at := 0; at < len(frame) && len(s.queue) > 0; {
		one := s.queue[0]
		n := copy(frame[at:], one.pcm)
		one.pcm = one.pcm[n:]
		at += n
		said = true
		if len(one.pcm) == 0 {
			close(one.done)
			s.queue = s.queue[1:]
		}
	}
	return said
}

// tone is a sine, of n samples, that begins and ends softly.
func tone(hertz float64, n, rate int) []int16 {
	const loud = 6000
	soft := rate / 100
	pcm := make([]int16, n)
	for i := range pcm {
		v := loud * math.Sin(2*math.Pi*hertz*float64(i)/float64(rate))
		if edge := min(i, n-1-i); edge < soft {
			v *= float64(edge) / float64(soft)
		}
		pcm[i] = int16(v)
	}
	return pcm
}

// waitingTone is what somebody hears who waits: a short tone every four seconds.
type waitingTone struct {
	pcm []int16
	at  int
}

func newWaitingTone(rate int) *waitingTone {
	return &waitingTone{pcm: append(tone(425, rate/5, rate), make([]int16, 4*rate-rate/5)...)}
}

func (w *waitingTone) fill(frame []int16) {
	for i := range frame {
		frame[i] = w.pcm[w.at]
		w.at = (w.at + 1) % len(w.pcm)
	}
}
