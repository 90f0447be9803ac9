package voice

import (
	"bytes"
	"embed"
	"errors"
	"io"

	"github.com/pion/opus/pkg/oggreader"

	"github.com/roomline/roomline/internal/limits"
)

// LiveKit SIP knows Opus alone, and nothing here writes it: what such a phone hears is passed on as it came, or was recorded before.

//go:embed tones/*.ogg
var toneFiles embed.FS

// through is Opus that is passed on.
var through = &codec{name: "opus", number: 111, rate: 48000}

// opusTones are tonesOf, in Opus.
func opusTones(name string) [][]byte {
	file, err := toneFiles.ReadFile("tones/" + name + ".ogg")
	if err != nil {
		return nil
	}
	frames, _ := readOpus(file) // a test reads all of them
	return frames
}

var errNotOpus = errors.New("this is no Ogg file with Opus in frames of 20 ms, mono or stereo")

// readOpus are the frames of a recording (RFC 7845).
func readOpus(file []byte) ([][]byte, error) {
	packets, _, err := oggreader.NewWith(bytes.NewReader(file))
	if err != nil {
		return nil, errNotOpus
	}
	tags, _, err := packets.ParseNextPacket()
	if err != nil || !bytes.HasPrefix(tags, []byte("OpusTags")) {
		return nil, errNotOpus
	}
	frames := [][]byte{}
	for most := int(limits.VoicePrompt.Milliseconds()) / frameMS; len(frames) < most; {
		frame, _, err := packets.ParseNextPacket()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(frame) == 0 || !lastsFrame(frame[0]) {
			return nil, errNotOpus
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

// lastsFrame reports whether a packet that begins so has one frame of 20 ms (RFC 6716 §3.1).
func lastsFrame(toc byte) bool {
	configuration, count := toc>>3, toc&3
	switch {
	case count != 0:
		return false
	case configuration < 12: // SILK: 10, 20, 40, 60 ms
		return configuration%4 == 1
	case configuration < 16: // hybrid: 10, 20 ms
		return configuration%2 == 1
	}
	return configuration%4 == 3 // CELT: 2.5, 5, 10, 20 ms
}

// isVoice reports whether a packet of Opus is more than what is sent instead of silence: by those who are silent, and by LiveKit for those who send nothing.
func isVoice(payload []byte) bool {
	return len(payload) > len(silence) && !bytes.HasPrefix(payload, silence)
}

var silence = []byte{0xf8, 0xff, 0xfe}

// opusFrame is how long a frame is, as RTP timestamps of Opus count (RFC 7587).
const opusFrame = 48 * frameMS
