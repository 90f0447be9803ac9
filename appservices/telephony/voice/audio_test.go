package voice

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pion/opus"
	"github.com/pion/rtp"

	"github.com/roomline/roomline/internal/hstest/whistle"
)

func sine(hertz float64, rate int, seconds, loud float64) []int16 {
	pcm := make([]int16, int(seconds*float64(rate)))
	for i := range pcm {
		pcm[i] = int16(loud * math.Sin(2*math.Pi*hertz*float64(i)/float64(rate)))
	}
	return pcm
}

func TestEachCodecCarriesATone(t *testing.T) {
	for _, c := range codecs {
		encoder, decoder := c.coder(), c.coder()
		var out []int16
		for frame := sine(800, c.rate, 0.5, 8000); len(frame) >= c.samples(); frame = frame[c.samples():] {
			payload := encoder.encode(nil, frame[:c.samples()])
			if len(payload) != frameTime {
				t.Fatalf("%s: a frame has %d bytes, want %d", c.name, len(payload), frameTime)
			}
			out = append(out, decoder.decode(nil, payload)...)
		}
		out = out[len(out)/4:]
		if s := whistle.Share(out, c.rate, 800); s < 0.95 {
			t.Errorf("%s: %.3f of the energy is at 800 Hz", c.name, s)
		}
		if l := whistle.Loudness(out); l < 5000 || l > 6300 {
			t.Errorf("%s: loudness %.0f, want about 5657", c.name, l)
		}
	}
}

func TestRatesChangeAndTonesStay(t *testing.T) {
	frames := func(pcm []int16, n int, f func([]int16) []int16) (out []int16) {
		for ; len(pcm) >= n; pcm = pcm[n:] {
			out = append(out, f(pcm[:n])...)
		}
		return out
	}
	var down halver
	low := frames(sine(1000, 16000, 1, 8000), 320, down.halve)
	var dup halver
	high := frames(sine(6000, 16000, 1, 8000), 320, dup.halve)
	var up doubler
	wide := frames(sine(1000, 8000, 1, 8000), 160, up.double)
	for name, one := range map[string]struct {
		pcm  []int16
		rate int
	}{"halved": {low, 8000}, "doubled": {wide, 16000}, "44100 to 8000": {resample(sine(1000, 44100, 1, 8000), 44100, 8000), 8000},
		"22050 to 16000": {resample(sine(1000, 22050, 1, 8000), 22050, 16000), 16000}, "8000 to 16000": {resample(sine(1000, 8000, 1, 8000), 8000, 16000), 16000}} {
		if n := len(one.pcm); n < one.rate*99/100 || n > one.rate {
			t.Errorf("%s: %d samples, want a second", name, n)
		}
		pcm := one.pcm[one.rate/10:]
		if s := whistle.Share(pcm, one.rate, 1000); s < 0.99 {
			t.Errorf("%s: %.4f of the energy is at 1000 Hz", name, s)
		}
		if l := whistle.Loudness(pcm); l < 5500 || l > 5800 {
			t.Errorf("%s: loudness %.0f, want 5657", name, l)
		}
	}
	// What 8 kHz can't carry must not come back as another tone.
	if l := whistle.Loudness(high[800:]); l > 60 {
		t.Errorf("6 kHz at 8 kHz is heard with loudness %.0f", l)
	}
}

func TestPacketsOutOfOrderAreHeardInOrder(t *testing.T) {
	h, ok := newHeard("audio/PCMU", 8000)
	if !ok {
		t.Fatal("no PCMU")
	}
	tone, encoder := sine(500, 8000, 2, 8000), pcmu.coder()
	var packets [][]byte
	for ; len(tone) >= 160; tone = tone[160:] {
		packets = append(packets, encoder.encode(nil, tone[:160]))
	}
	order := make([]int, len(packets))
	for i := range order {
		order[i] = i
	}
	for i := 0; i+1 < len(order); i += 5 { // each fifth comes after its next
		order[i], order[i+1] = order[i+1], order[i]
	}
	var heard []int16
	frame := make([]int16, 160)
	first := uint16(65500) // the count begins anew on the way
	for _, i := range order {
		if i%20 != 7 { // and some are lost
			h.put(first+uint16(i), packets[i])
		}
		if h.take(frame) {
			heard = append(heard, frame...)
		}
	}
	if len(heard) < 160*90 {
		t.Fatalf("only %d frames were heard", len(heard)/160)
	}
	if s := whistle.Share(heard, 8000, 500); s < 0.9 {
		t.Errorf("%.3f of the energy is at 500 Hz", s)
	}
}

func TestAVoiceThatBeginsAnewIsHeard(t *testing.T) {
	h, _ := newHeard("audio/PCMU", 8000)
	payload, frame := pcmu.coder().encode(nil, sine(500, 8000, 0.02, 8000)), make([]int16, 160)
	heard := 0
	for i := range 100 {
		sequence := uint16(i)
		if i >= 50 {
			sequence += 20000
		}
		h.put(sequence, payload)
		if h.take(frame) && whistle.Loudness(frame) > 1000 {
			heard++
		}
	}
	if heard < 90 {
		t.Errorf("%d of 100 frames were heard", heard)
	}
	for range 100 { // what piles up is thrown away, not kept for ever
		for range 10 {
			h.put(uint16(rand.IntN(65536)), payload)
		}
		h.take(frame)
	}
	if len(h.packets) > 4*keptMost {
		t.Errorf("%d packets are kept", len(h.packets))
	}
}

func TestWhatComesTooLateIsNotHeard(t *testing.T) {
	h, _ := newHeard("audio/PCMU", 8000)
	payload, frame := pcmu.coder().encode(nil, sine(500, 8000, 0.02, 8000)), make([]int16, 160)
	for i := range 20 {
		h.put(uint16(i), payload)
		h.take(frame)
	}
	h.put(2, payload)
	heard := 0
	for range 20 { // what is left
		if h.take(frame) {
			heard++
		}
	}
	h.put(3, payload)
	for range 20 {
		if h.take(frame) {
			t.Fatal("a packet that was played is played again")
		}
	}
	if heard > steady {
		t.Errorf("%d frames were left", heard)
	}
}

func TestMixOfManyDoesNotCrackle(t *testing.T) {
	m := newMixer(8000)
	pitches := []float64{400, 500, 600, 700}
	encoders := make([]coder, len(pitches))
	for i := range pitches {
		encoders[i] = pcmu.coder()
		if !m.add(string(rune('a'+i)), "audio/pcmu") {
			t.Fatal("not added")
		}
	}
	if m.add("v", "video/VP8") {
		t.Error("video is mixed")
	}
	var out []int16
	frame := make([]int16, 160)
	tones := make([][]int16, len(pitches))
	for i, hertz := range pitches {
		tones[i] = sine(hertz, 8000, 1, 30000)
	}
	for n := range 50 {
		for i := range pitches {
			m.put(string(rune('a'+i)), uint16(n), encoders[i].encode(nil, tones[i][160*n:160*(n+1)]))
		}
		m.mix(frame)
		out = append(out, frame...)
	}
	out = out[4000:]
	total := 0.0
	for _, hertz := range pitches {
		s := whistle.Share(out, 8000, hertz)
		total += s
		if s < 0.15 {
			t.Errorf("%.0f Hz has %.3f of the energy: it is hardly heard", hertz, s)
		}
	}
	if total < 0.9 {
		t.Errorf("%.3f of the energy are the tones, the rest is noise", total)
	}
	flat := 0
	for _, v := range out {
		if v > 32700 || v < -32700 {
			flat++
		}
	}
	if flat > 0 {
		t.Errorf("%d samples are cut off", flat)
	}
}

func wavFile(rate, channels int, pcm []int16, size uint32) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF\xff\xff\xff\x7fWAVEfmt ")
	for _, v := range []any{uint32(16), uint16(1), uint16(channels), uint32(rate), uint32(2 * rate * channels), uint16(2 * channels), uint16(16)} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteString("LIST\x03\x00\x00\x00abc\x00data")
	_ = binary.Write(&b, binary.LittleEndian, size)
	_ = binary.Write(&b, binary.LittleEndian, pcm)
	return b.Bytes()
}

func TestWAVFiles(t *testing.T) {
	tone := sine(500, 22050, 0.5, 8000)
	s, err := readWAV(wavFile(22050, 1, tone, 0x7ffff000)) // as programs write it that don't know the length yet
	if err != nil || whistle.Share(s.narrow, 8000, 500) < 0.98 || whistle.Share(s.wide, 16000, 500) < 0.98 {
		t.Errorf("err %v", err)
	}
	stereo := make([]int16, 0, 2*len(tone))
	for _, v := range tone {
		stereo = append(stereo, v, v)
	}
	if s, err = readWAV(wavFile(22050, 2, stereo, uint32(4*len(tone)))); err != nil || whistle.Share(s.narrow, 8000, 500) < 0.98 {
		t.Errorf("stereo: err %v", err)
	}
	for _, bad := range [][]byte{nil, []byte("RIFF"), []byte("RIFFxxxxWAVEdata\x04\x00\x00\x00abcd"), []byte(strings.Repeat("x", 100)), wavFile(4000, 1, tone, 10), wavFile(8000, 3, tone, 10)} {
		if _, err := readWAV(bad); err == nil {
			t.Errorf("%.20q was read", bad)
		}
	}
}

func FuzzWAV(f *testing.F) {
	f.Add(wavFile(8000, 1, []int16{1, 2, 3}, 6))
	f.Fuzz(func(_ *testing.T, file []byte) {
		if len(file) < 4096 {
			_, _ = readWAV(file)
		}
	})
}

func TestKeysAsEvents(t *testing.T) {
	now := time.Now()
	var sender, reader events
	digits := []byte("42#")
	got := ""
	timestamp := uint32(1000)
	for i := range 100 {
		payload, start, ok := sender.next(&digits, timestamp)
		if ok {
			p := &rtp.Packet{Header: rtp.Header{Timestamp: start, SSRC: 7, Marker: false, SequenceNumber: uint16(i)}, Payload: payload}
			for range 2 { // each comes twice
				if key, pressed := reader.read(p, now.Add(time.Duration(i)*20*time.Millisecond)); pressed {
					got += string(key)
				}
			}
		}
		timestamp += frameTime
	}
	if got != "42#" {
		t.Errorf("read %q", got)
	}
	// The same timestamp for the same key once more: another key, if it begins after the end of the last.
	var again events
	key := func(marker, end bool, at time.Duration) bool {
		payload := []byte{5, 10, 0, 160}
		if end {
			payload[1] |= 0x80
		}
		_, pressed := again.read(&rtp.Packet{Header: rtp.Header{Timestamp: 1, Marker: marker}, Payload: payload}, now.Add(at))
		return pressed
	}
	if !key(true, false, 0) || key(false, false, 20) || key(false, true, 40*time.Millisecond) || key(false, true, 50*time.Millisecond) || !key(true, false, time.Second) {
		t.Error("a key was read twice, or not at all")
	}
	for _, one := range []struct{ contentType, body, want string }{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "5"}, {"application/dtmf-relay; charset=x", "signal = #", "#"},
		{"application/dtmf", " * ", "*"}, {"application/dtmf", "11", "#"}, {"text/plain", "5", ""}, {"application/dtmf-relay", "Duration=160", ""}, {"application/dtmf", "555", ""},
	} {
		key, ok := infoKey(one.contentType, []byte(one.body))
		if ok != (one.want != "") || ok && string(key) != one.want {
			t.Errorf("%s %q: %q, %v", one.contentType, one.body, key, ok)
		}
	}
}

// TestTheHashKeyBehindAPINEndsNothing: a PIN is taken at its last digit, and what is said then is heard.
func TestTheHashKeyBehindAPINEndsNothing(t *testing.T) {
	l := &leg{keys: make(chan byte, 8), ctx: t.Context()}
	asked := make(chan struct{})
	close(asked)
	for _, key := range []byte("1234") {
		l.press(key)
	}
	if pin, ok := l.typed(4, asked); pin != "1234" || !ok {
		t.Fatalf("typed %q %v", pin, ok)
	}
	if l.press('#'); len(l.keys) != 0 {
		t.Error("the hash key behind the PIN is a key")
	}
	if l.press('#'); len(l.keys) != 1 {
		t.Error("a second one is none")
	}
}

// TestTonesInOpus: each tone of the folder is the one that its name says, and what is no such recording is refused.
func TestTonesInOpus(t *testing.T) {
	for name, pitches := range pitchesOf {
		decoder, err := opus.NewDecoderWithOutput(16000, 1)
		if err != nil {
			t.Fatal(err)
		}
		var pcm []int16
		for _, frame := range opusTones(name) {
			buffer := make([]int16, 16000*120/1000)
			n, err := decoder.DecodeToInt16(frame, buffer)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			pcm = append(pcm, buffer[:n]...)
		}
		const each = 16000 * 20 / 100
		if len(pcm) < len(pitches)*each {
			t.Errorf("%s: %d samples", name, len(pcm))
			continue
		}
		for i, hertz := range pitches {
			if s := whistle.Share(pcm[i*each+800:i*each+2000], 16000, hertz); s < 0.8 {
				t.Errorf("%s: of tone %d %.0f %% are %.0f Hz", name, i, 100*s, hertz)
			}
		}
	}
	whole, err := toneFiles.ReadFile("tones/ask.ogg")
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if _, err := readOpus(whole[:n]); err == nil && n < 200 {
			t.Errorf("the first %d bytes are a recording", n)
		}
	}
	for n := range whole { // each page has a checksum
		damaged := bytes.Clone(whole)
		damaged[n] ^= 1
		if _, err := readOpus(damaged); err == nil {
			t.Errorf("a recording of which byte %d is damaged is one", n)
		}
	}
	if _, err := readOpus([]byte("RIFF")); err == nil {
		t.Error("a WAV file is taken for Opus")
	}
}
