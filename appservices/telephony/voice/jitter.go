package voice

import (
	"strings"

	"github.com/livekit/media-sdk/g711"
	"github.com/pion/opus"
)

const (
	// steady is how many packets are waited for before a participant is heard, so that they arrive as late as one another; it grows to steadyMost
	// while they do not. keptMost is how many wait at most: what is later is left out.
	steady     = 3
	steadyMost = 10
	keptMost   = 50
)

// heard is one participant of the meeting, as a phone hears them. Packets are put in as they arrive, audio is taken out as it is played. It is not
// safe for concurrent use: the mixer guards it.
type heard struct {
	rate    int
	decode  func(payload []byte, pcm []int16) (int, error)
	packets map[uint16][]byte
	// next is the packet to play, once it has begun. waited counts the frames since there was something to play.
	next    uint16
	began   bool
	playing bool
	waited  int
	target  int
	pcm     []int16
	buffer  []int16
	last    []int16
	doubler doubler
}

// newHeard returns a participant whose audio comes in a codec of LiveKit's.
func newHeard(mime string, rate int) (*heard, bool) {
	h := &heard{rate: rate, packets: map[uint16][]byte{}, target: steady}
	switch strings.ToLower(mime) {
	case "audio/opus":
		decoder, err := opus.NewDecoderWithOutput(rate, 1)
		if err != nil {
			return nil, false
		}
		const longest = 120 // ms
		h.buffer = make([]int16, rate*longest/1000)
		h.decode = decoder.DecodeToInt16
	case "audio/pcmu":
		h.decode = h.telephone(g711.DecodeULawTo)
	case "audio/pcma":
		h.decode = h.telephone(g711.DecodeALawTo)
	default:
		return nil, false
	}
	return h, true
}

// telephone decodes what is at 8 kHz.
func (h *heard) telephone(decode func([]int16, []byte)) func([]byte, []int16) (int, error) {
	const longest = 120
	narrow := make([]int16, 8*longest)
	h.buffer = make([]int16, h.rate*longest/1000)
	return func(payload []byte, pcm []int16) (int, error) {
		n := min(len(payload), len(narrow))
		decode(narrow[:n], payload[:n])
		if h.rate == 8000 {
			return copy(pcm, narrow[:n]), nil
		}
		return copy(pcm, h.doubler.double(narrow[:n])), nil
	}
}

// put takes a packet.
func (h *heard) put(sequence uint16, payload []byte) {
	const anew = 500 // so far from what was expected only who began anew is
	ahead := int16(sequence - h.next)
	switch {
	case len(h.packets) >= 4*keptMost, h.began && (ahead < -anew || ahead > anew):
		h.packets, h.began, h.playing, h.waited = map[uint16][]byte{}, false, false, 0
	case h.began && ahead < 0:
		return // too late
	}
	h.packets[sequence] = append([]byte(nil), payload...)
}

// take fills a frame, and reports whether there is a voice in it.
func (h *heard) take(frame []int16) bool {
	for len(h.pcm) < len(frame) && h.more() {
	}
	n := copy(frame, h.pcm)
	h.pcm = h.pcm[:copy(h.pcm, h.pcm[n:])]
	clear(frame[n:])
	return n > 0
}

// more decodes the next packet, and reports whether there was one.
func (h *heard) more() bool {
	if len(h.packets) == 0 {
		if h.playing { // packets come later than one another: wait for more of them next time
			h.playing, h.waited = false, 0
			h.target = min(h.target+1, steadyMost)
		}
		return false
	}
	if !h.playing {
		if h.waited++; len(h.packets) < h.target && h.waited <= h.target {
			return false
		}
		h.began, h.playing, h.next = true, true, h.first()
	}
	for len(h.packets) > keptMost { // the other clock is faster, or we were away
		delete(h.packets, h.next)
		h.next++
		if _, ok := h.packets[h.next]; !ok {
			h.next = h.first()
		}
	}
	payload, ok := h.packets[h.next]
	delete(h.packets, h.next)
	h.next++
	if !ok {
		if gap := h.first() - h.next; gap > keptMost { // much is lost, and not worth concealing
			h.next += gap
		}
		h.conceal()
		return true
	}
	if len(payload) == 0 {
		return true // a packet that keeps the way open
	}
	n, err := h.decode(payload, h.buffer)
	if err != nil {
		h.conceal()
		return true
	}
	h.last = append(h.last[:0], h.buffer[:n]...)
	h.pcm = append(h.pcm, h.buffer[:n]...)
	return true
}

// first is the packet that is before all others.
func (h *heard) first() uint16 {
	var first uint16
	found := false
	for sequence := range h.packets {
		if !found || int16(sequence-first) < 0 {
			first, found = sequence, true
		}
	}
	return first
}

// conceal plays what was last heard once more and softer, in place of what was lost.
func (h *heard) conceal() {
	if len(h.last) == 0 {
		h.last = make([]int16, h.rate*frameMS/1000)
	}
	for i := range h.last {
		h.last[i] /= 2
	}
	h.pcm = append(h.pcm, h.last...)
}
