package voice

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/pion/rtp"
)

// phoneKeys are those of a phone, in the order of RFC 4733 §3.2.
const phoneKeys = "0123456789*#ABCD"

func eventOf(key byte) (byte, bool) {
	i := strings.IndexByte(phoneKeys, key)
	return byte(i), i >= 0
}

// events are the keys that come and go as packets of their own (RFC 4733).
type events struct {
	// The event that was read last: its packets are repeated, so that none gets lost.
	known     bool
	ssrc      uint32
	timestamp uint32
	event     byte
	endedAt   time.Time
	// What is sent: the event's beginning, and how many packets of it and of the pause behind it have been.
	start uint32
	step  int
	key   byte
}

// read returns the key of a packet that begins an event.
func (e *events) read(p *rtp.Packet, now time.Time) (key byte, pressed bool) {
	if len(p.Payload) < 4 || int(p.Payload[0]) >= len(phoneKeys) {
		return 0, false
	}
	event, ended := p.Payload[0], p.Payload[1]&0x80 != 0
	same := e.known && p.SSRC == e.ssrc && p.Timestamp == e.timestamp && event == e.event
	// Some count their timestamps anew with each key. A beginning long after the end is another event.
	const again = 100 * time.Millisecond
	if same && !e.endedAt.IsZero() && !ended && p.Marker && now.Sub(e.endedAt) > again {
		same = false
	}
	if !same {
		e.known, e.ssrc, e.timestamp, e.event, e.endedAt = true, p.SSRC, p.Timestamp, event, time.Time{}
	}
	if ended {
		e.endedAt = now
	}
	return phoneKeys[event], !same
}

const (
	// A key is held for 160 ms; the packet of its end is sent three times, and 80 ms are between two keys.
	eventFrames = 8
	eventEnds   = 3
	eventPause  = 4
)

// next returns the packet that is due of the first of keys, and the timestamp of its beginning.
func (e *events) next(keys *[]byte, timestamp uint32) (payload []byte, start uint32, ok bool) {
	if e.step == 0 {
		if len(*keys) == 0 {
			return nil, 0, false
		}
		e.key, *keys = (*keys)[0], (*keys)[1:]
		e.start = timestamp
	}
	e.step++
	if e.step > eventFrames+eventEnds {
		if e.step > eventFrames+eventEnds+eventPause {
			e.step = 0
		}
		return nil, 0, false
	}
	event, _ := eventOf(e.key)
	const volume = 10
	payload = []byte{event, volume, 0, 0}
	if e.step >= eventFrames {
		payload[1] |= 0x80
	}
	binary.BigEndian.PutUint16(payload[2:], uint16(min(e.step, eventFrames)*frameTime))
	return payload, e.start, true
}

// infoKey reads a key from the body of an INFO: application/dtmf-relay or application/dtmf.
func infoKey(contentType string, body []byte) (byte, bool) {
	kind, _, _ := strings.Cut(contentType, ";")
	text := strings.TrimSpace(string(body[:min(len(body), 200)]))
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "application/dtmf":
	case "application/dtmf-relay":
		signal := ""
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(line, "="); ok && strings.EqualFold(strings.TrimSpace(name), "signal") {
				signal = strings.TrimSpace(value)
			}
		}
		text = signal
	default:
		return 0, false
	}
	switch text { // RFC 2976 knows no form: some send the number of the event
	case "10":
		text = "*"
	case "11":
		text = "#"
	}
	if len(text) != 1 {
		return 0, false
	}
	key := strings.ToUpper(text)[0]
	_, ok := eventOf(key)
	return key, ok
}
