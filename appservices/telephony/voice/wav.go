package voice

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/limits"
)

// sound is a recording at both rates that phones have, and in Opus for those of LiveKit SIP.
type sound struct {
	narrow, wide []int16
	opus         [][]byte
}

func soundOf(pcm []int16, rate int) sound {
	return sound{narrow: resample(pcm, rate, 8000), wide: resample(pcm, rate, 16000)}
}

// at is the recording at a codec's rate.
func (s sound) at(rate int) []int16 {
	if rate == 16000 {
		return s.wide
	}
	return s.narrow
}

func (s sound) samples() int { return len(s.narrow) + len(s.wide) }

// readWAV reads a recording of 16 bits, mono or stereo. A length that is more than there is means all that there is: so say programs that
// write to a pipe, and don't know yet.
func readWAV(file []byte) (sound, error) {
	if len(file) < 12 || string(file[:4]) != "RIFF" || string(file[8:12]) != "WAVE" {
		return sound{}, errors.New("this is no WAV file")
	}
	var channels, rate int
	for rest := file[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:8]))
		body := rest[8:]
		chunk := body[:min(size, uint64(len(body)))]
		switch name {
		case "fmt ":
			if len(chunk) < 16 {
				return sound{}, errors.New("the WAV file's format is cut off")
			}
			format, bits := binary.LittleEndian.Uint16(chunk), binary.LittleEndian.Uint16(chunk[14:])
			channels, rate = int(binary.LittleEndian.Uint16(chunk[2:])), int(binary.LittleEndian.Uint32(chunk[4:]))
			const pcm, extensible = 1, 0xfffe
			if format != pcm && format != extensible || bits != 16 || channels < 1 || channels > 2 || rate < 8000 || rate > 96000 {
				return sound{}, fmt.Errorf("the WAV file has format %d, %d bits, %d channels, %d Hz: it has to be PCM of 16 bits, mono or stereo, of 8 to 96 kHz", format, bits, channels, rate)
			}
		case "data":
			if channels == 0 {
				return sound{}, errors.New("the WAV file has no format")
			}
			return soundOf(mono(chunk, channels, rate), rate), nil
		}
		skip := min(size+size&1, uint64(len(body)))
		rest = body[skip:]
	}
	return sound{}, errors.New("the WAV file has no sound")
}

// mono reads samples, and mixes those of two channels.
func mono(data []byte, channels, rate int) []int16 {
	n := min(len(data)/2/channels, int(limits.VoicePrompt.Seconds()*float64(rate)))
	pcm := make([]int16, n)
	for i := range pcm {
		sum := 0
		for c := range channels {
			sum += int(int16(binary.LittleEndian.Uint16(data[2*(i*channels+c):])))
		}
		pcm[i] = int16(sum / channels)
	}
	return pcm
}
