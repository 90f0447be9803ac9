package thumbnail

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

var (
	red   = color.NRGBA{255, 0, 0, 255}
	green = color.NRGBA{0, 255, 0, 255}
	blue  = color.NRGBA{0, 0, 255, 255}
	white = color.NRGBA{255, 255, 255, 255}
)

// quadrants is red and green above blue and white.
func quadrants(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.SetNRGBA(x, y, [2][2]color.NRGBA{{red, green}, {blue, white}}[2*y/height][2*x/width])
		}
	}
	return img
}

func asPNG(img image.Image) []byte {
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func asJPEG(img image.Image) []byte {
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 90}); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// exif is a directory with an orientation and a place.
func exif(o orientation) []byte {
	out := []byte("MM\x00*\x00\x00\x00\x08\x00\x02\x01\x12\x00\x03\x00\x00\x00\x01")
	out = append(out, 0, byte(o), 0, 0)
	return append(out, "\x88\x25\x00\x02\x00\x00\x00\x0cGPS 48.2N 16.3E\x00\x00\x00\x00"...)
}

// withSegment puts a segment behind the first two bytes of a JPEG.
func withSegment(jpeg []byte, marker byte, data []byte) []byte {
	out := append([]byte{0xff, 0xd8, 0xff, marker}, byte((len(data)+2)>>8), byte(len(data)+2))
	return append(append(out, data...), jpeg[2:]...)
}

func pngChunk(kind string, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// withChunks puts chunks behind the header of a PNG.
func withChunks(png []byte, chunks ...[]byte) []byte {
	return append(append(bytes.Clone(png[:33]), bytes.Join(chunks, nil)...), png[33:]...)
}

func unbase64(t testing.TB, text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	lossyWebP    = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
	losslessWebP = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
	alphaWebP    = "UklGRkoAAABXRUJQVlA4WAoAAAAQAAAAAAAAAAAAQUxQSAwAAAARBxAR/Q9ERP8DAABWUDggGAAAABQBAJ0BKgEAAQAAAP4AAA3AAP7mtQAAAA=="
	animatedWebP = "UklGRlIAAABXRUJQVlA4WAoAAAASAAAAAAAAAAAAQU5JTQYAAAD/////AABBTk1GJgAAAAAAAAAAAAAAAAAAAGQAAABWUDhMDQAAAC8AAAAQBxAREYiI/gcA"
)

// plainWebP is a picture of one colour, lossless: each of the five codes has one symbol, so that no pixel needs a bit.
func plainWebP(width, height int, c color.NRGBA, chunks ...[]byte) []byte {
	var bits, n = uint64(0), 0
	data := []byte{0x2f}
	put := func(value uint64, width int) {
		bits |= value << n
		for n += width; n >= 8; n -= 8 {
			data = append(data, byte(bits))
			bits >>= 8
		}
	}
	put(uint64(width-1), 14)
	put(uint64(height-1), 14)
	put(1, 1) // alpha
	put(0, 3+1+1+1)
	for _, symbol := range []uint8{c.G, c.R, c.B, c.A, 0} {
		put(1|1<<2, 3) // a simple code of one symbol of 8 bits
		put(uint64(symbol), 8)
	}
	put(0, 7)
	return riff(append([][]byte{riffChunk("VP8L", data)}, chunks...)...)
}

func riffChunk(kind string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(data)))
	out = append(out, data...)
	if len(data)%2 == 1 {
		out = append(out, 0)
	}
	return out
}

func riff(chunks ...[]byte) []byte {
	all := append([]byte("WEBP"), bytes.Join(chunks, nil)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(all))), all...)
}

func extended(flags byte, width, height int) []byte {
	w, h := width-1, height-1
	return riffChunk("VP8X", []byte{flags, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
}

// spinning is an animation of frames of one colour each.
func spinning(width, height, frames int) []byte {
	g := gif.GIF{LoopCount: 3}
	for i := range frames {
		frame := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{red, green, blue, color.RGBA{}})
		for j := range frame.Pix {
			frame.Pix[j] = uint8(i % 3)
		}
		g.Image, g.Delay = append(g.Image, frame), append(g.Delay, 7)
	}
	var out bytes.Buffer
	if err := gif.EncodeAll(&out, &g); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// photo is a JPEG of 12 megapixels with some noise.
var photo = sync.OnceValue(func() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 4000, 3000))
	random := rand.New(rand.NewPCG(1, 2))
	for y := range 3000 {
		for x := range 4000 {
			noise := float64(random.IntN(24))
			wave := func(phase float64) uint8 { return uint8(100 + 80*math.Sin(phase) + noise) }
			img.SetRGBA(x, y, color.RGBA{wave(float64(x) / 90), wave(float64(y) / 70), wave(float64(x+y) / 130), 255})
		}
	}
	return asJPEG(img)
})

func isAbout(got color.Color, want color.NRGBA) bool {
	c := color.NRGBAModel.Convert(got).(color.NRGBA)
	far := func(a, b uint8) bool { return math.Abs(float64(a)-float64(b)) > 24 }
	return !far(c.R, want.R) && !far(c.G, want.G) && !far(c.B, want.B) && !far(c.A, want.A)
}

func checkCorners(t *testing.T, img image.Image) {
	t.Helper()
	b := img.Bounds()
	for _, corner := range []struct {
		x, y int
		want color.NRGBA
	}{{2, 2, red}, {b.Max.X - 3, 2, green}, {2, b.Max.Y - 3, blue}, {b.Max.X - 3, b.Max.Y - 3, white}} {
		if got := img.At(corner.x, corner.y); !isAbout(got, corner.want) {
			t.Errorf("at %d,%d of %v is %v, want %v", corner.x, corner.y, b.Max, got, corner.want)
		}
	}
}

// open decodes a thumbnail and insists that it is what it says.
func open(t *testing.T, p Picture) image.Image {
	t.Helper()
	img, kind, err := image.Decode(bytes.NewReader(p.Data))
	if err != nil {
		t.Fatal(err)
	}
	if "image/"+kind != p.ContentType || img.Bounds() != image.Rect(0, 0, p.Width, p.Height) {
		t.Fatalf("%s %v instead of %s %dx%d", kind, img.Bounds(), p.ContentType, p.Width, p.Height)
	}
	return img
}

func thumbnail(t *testing.T, data []byte, req Request) Picture {
	t.Helper()
	p, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), req)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
