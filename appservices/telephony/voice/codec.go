package voice

import (
	"slices"

	"github.com/gotranspile/g722"
	"github.com/livekit/media-sdk/g711"
)

// codec is a way to write audio that phones know. All of them count their RTP timestamps at 8 kHz: G.722, too, by a mistake that RFC 3551 §4.5.2 keeps.
type codec struct {
	// name is as in a=rtpmap, in capitals; number the payload type that RFC 3551 gives it.
	name   string
	number uint8
	// rate is that of the samples.
	rate  int
	coder func() coder
}

// coder writes and reads the audio of one call. It is not safe for concurrent use: encode and decode have their own each.
type coder interface {
	encode(to []byte, pcm []int16) []byte
	decode(to []int16, payload []byte) []int16
}

var (
	pcmu = &codec{name: "PCMU", number: 0, rate: 8000, coder: func() coder { return ulaw{} }}
	pcma = &codec{name: "PCMA", number: 8, rate: 8000, coder: func() coder { return alaw{} }}
	wide = &codec{name: "G722", number: 9, rate: 16000, coder: func() coder {
		return &wideband{g722.NewEncoder(g722.Rate64000, 0), g722.NewDecoder(g722.Rate64000, 0)}
	}}
	codecs = []*codec{pcmu, pcma, wide}
)

// clock is how RTP timestamps of telephone audio count.
const clock = 8000

// frame is how much audio a packet of ours has, and frameTime as RTP timestamps count.
const (
	frameMS   = 20
	frameTime = clock * frameMS / 1000
)

// samples are those of a frame.
func (c *codec) samples() int { return c.rate * frameMS / 1000 }

// codecsNamed are those of a configuration, in its order: pcmu, pcma, g722.
func codecsNamed(names []string) []*codec {
	var list []*codec
	for _, name := range names {
		if i := slices.Index([]string{"pcmu", "pcma", "g722"}, name); i >= 0 && !slices.Contains(list, codecs[i]) {
			list = append(list, codecs[i])
		}
	}
	return list
}

type ulaw struct{}

func (ulaw) encode(to []byte, pcm []int16) []byte {
	to = slices.Grow(to[:0], len(pcm))[:len(pcm)]
	g711.EncodeULawTo(to, pcm)
	return to
}

func (ulaw) decode(to []int16, payload []byte) []int16 {
	to = slices.Grow(to[:0], len(payload))[:len(payload)]
	g711.DecodeULawTo(to, payload)
	return to
}

type alaw struct{}

func (alaw) encode(to []byte, pcm []int16) []byte {
	to = slices.Grow(to[:0], len(pcm))[:len(pcm)]
	g711.EncodeALawTo(to, pcm)
	return to
}

func (alaw) decode(to []int16, payload []byte) []int16 {
	to = slices.Grow(to[:0], len(payload))[:len(payload)]
	g711.DecodeALawTo(to, payload)
	return to
}

type wideband struct {
	encoder *g722.Encoder
	decoder *g722.Decoder
}

func (w *wideband) encode(to []byte, pcm []int16) []byte {
	to = slices.Grow(to[:0], len(pcm)/2+1)[:len(pcm)/2+1]
	return to[:w.encoder.Encode(to, pcm)]
}

func (w *wideband) decode(to []int16, payload []byte) []int16 {
	to = slices.Grow(to[:0], 2*len(payload))[:2*len(payload)]
	return to[:w.decoder.Decode(to, payload)]
}
