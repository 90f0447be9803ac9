package voice

import (
	"sync"
)

// mixer is what a phone hears of a meeting: everybody in it but the phone itself, which LiveKit does not send back.
type mixer struct {
	mu    sync.Mutex
	rate  int
	heard map[string]*heard // by the track
	// level is how loud the mix is, in 1/levelWhole: less than the whole while all together would be more than there is.
	level int32
	sum   []int32
	frame []int16
}

const levelWhole = 1 << 12

func newMixer(rate int) *mixer {
	return &mixer{rate: rate, heard: map[string]*heard{}, level: levelWhole}
}

// add lets a track be heard; false: it is in a codec that a phone can't have.
func (m *mixer) add(track, mime string) bool {
	h, ok := newHeard(mime, m.rate)
	if ok {
		m.mu.Lock()
		m.heard[track] = h
		m.mu.Unlock()
	}
	return ok
}

func (m *mixer) remove(track string) {
	m.mu.Lock()
	delete(m.heard, track)
	m.mu.Unlock()
}

func (m *mixer) put(track string, sequence uint16, payload []byte) {
	m.mu.Lock()
	if h := m.heard[track]; h != nil {
		h.put(sequence, payload)
	}
	m.mu.Unlock()
}

// mix fills a frame with all that is said.
func (m *mixer) mix(out []int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sum) != len(out) {
		m.sum, m.frame = make([]int32, len(out)), make([]int16, len(out))
	}
	clear(m.sum)
	for _, h := range m.heard {
		if h.take(m.frame) {
			for i, v := range m.frame {
				m.sum[i] += int32(v)
			}
		}
	}
	m.limit(out)
}

// limit makes samples of sums. When they are too much the whole is made softer at once, and louder again little by little: cutting the peaks
// off would be a crackle.
func (m *mixer) limit(out []int16) {
	const most = 32000
	var peak int32
	for _, v := range m.sum {
		peak = max(peak, v, -v)
	}
	level := int32(levelWhole)
	if peak > most {
		level = int32(int64(most) * levelWhole / int64(peak))
	}
	m.level = min(level, m.level+levelWhole/64)
	for i, v := range m.sum {
		out[i] = saturated(int32(int64(v) * int64(m.level) / levelWhole))
	}
}
