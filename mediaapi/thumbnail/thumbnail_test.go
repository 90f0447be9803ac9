package thumbnail

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kovidgoyal/imaging"

	"github.com/roomline/roomline/internal/limits"
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

func thumbnail(t *testing.T, data []byte, req Request) Picture {
	t.Helper()
	p, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), req)
	if err != nil {
		t.Fatal(err)
	}
	return p
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

func TestTheSmallestSizeThatIsEnoughIsChosen(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		width, height int
		crop          bool
		want          Size
	}{
		{1, 1, true, Size{32, 32, true}},
		{32, 32, true, Size{32, 32, true}},
		{33, 20, true, Size{96, 96, true}},
		{97, 97, true, Size{320, 240, false}},
		{32, 32, false, Size{320, 240, false}},
		{320, 241, false, Size{640, 480, false}},
		{800, 600, false, Size{800, 600, false}},
		{5000, 5000, false, Size{800, 600, false}},
		{5000, 5000, true, Size{800, 600, false}},
	} {
		if got := Choose(tc.width, tc.height, tc.crop); got != tc.want {
			t.Errorf("%dx%d crop %v: %v, want %v", tc.width, tc.height, tc.crop, got, tc.want)
		}
	}
}

func TestPicturesAreScaledOrCroppedAndNeverEnlarged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		width, height int
		size          Size
		want          image.Point
	}{
		{1600, 1200, Size{800, 600, false}, image.Pt(800, 600)},
		{1600, 400, Size{800, 600, false}, image.Pt(800, 200)},
		{400, 1200, Size{800, 600, false}, image.Pt(200, 600)},
		{300, 200, Size{320, 240, false}, image.Pt(300, 200)},
		{400, 20, Size{320, 240, false}, image.Pt(320, 16)},
		{5000, 1, Size{320, 240, false}, image.Pt(320, 1)},
		{300, 200, Size{32, 32, true}, image.Pt(32, 32)},
		{200, 301, Size{96, 96, true}, image.Pt(96, 96)},
		{20, 500, Size{32, 32, true}, image.Pt(20, 32)},
		{20, 10, Size{32, 32, true}, image.Pt(20, 10)},
		{96, 96, Size{96, 96, true}, image.Pt(96, 96)},
	} {
		p := thumbnail(t, asPNG(quadrants(tc.width, tc.height)), Request{Size: tc.size})
		if got := image.Pt(p.Width, p.Height); got != tc.want || p.ContentType != "image/jpeg" {
			t.Errorf("%dx%d to %v: %s %v, want %v", tc.width, tc.height, tc.size, p.ContentType, got, tc.want)
		}
		if img := open(t, p); tc.width > 30 && tc.height > 30 && tc.width < 1000 {
			checkCorners(t, img)
		}
	}
}

func TestAllFormatsAndColoursAreRead(t *testing.T) {
	t.Parallel()
	src := quadrants(64, 64)
	draw := func(dst interface {
		image.Image
		Set(x, y int, c color.Color)
	}) image.Image {
		for y := range 64 {
			for x := range 64 {
				dst.Set(x, y, src.At(x, y))
			}
		}
		return dst
	}
	r := src.Rect
	var still bytes.Buffer
	if err := gif.Encode(&still, src, nil); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"jpeg":         asJPEG(src),
		"png 8":        asPNG(src),
		"png 16":       asPNG(draw(image.NewNRGBA64(r))),
		"png palette":  asPNG(draw(image.NewPaletted(r, color.Palette{red, green, blue, white}))),
		"gif":          still.Bytes(),
		"jpeg behind ": withSegment(asJPEG(src), 0xe2, make([]byte, 65000)),
	} {
		img := open(t, thumbnail(t, data, Request{Size: Size{32, 32, true}}))
		if img.Bounds().Dx() != 32 {
			t.Errorf("%s: %v", name, img.Bounds())
		}
		checkCorners(t, img)
	}
	for name, data := range map[string][]byte{"gray": asPNG(draw(image.NewGray(r))), "gray 16": asPNG(draw(image.NewGray16(r)))} {
		if img := open(t, thumbnail(t, data, Request{Size: Size{32, 32, true}})); !isAbout(img.At(30, 30), white) {
			t.Errorf("%s: %v", name, img.At(30, 30))
		}
	}
	for _, text := range []string{lossyWebP, losslessWebP, alphaWebP, animatedWebP} {
		if p := thumbnail(t, unbase64(t, text), Request{Size: Size{32, 32, true}}); p.Width != 1 || p.Height != 1 {
			t.Errorf("%s: %dx%d", text, p.Width, p.Height)
		}
	}
	if img := open(t, thumbnail(t, plainWebP(400, 300, red), Request{Size: Size{320, 240, false}})); img.Bounds().Dx() != 320 || !isAbout(img.At(9, 9), red) {
		t.Errorf("WebP: %v %v", img.Bounds(), img.At(9, 9))
	}
}

func TestFirstFrameOfAnAnimatedWebPIsShown(t *testing.T) {
	t.Parallel()
	frame := plainWebP(40, 20, blue)[12:]
	place := append([]byte{5, 0, 0, 10, 0, 0, 39, 0, 0, 19, 0, 0, 100, 0, 0, 0}, frame...) // at 10,20
	data := riff(extended(webpAnimated, 100, 50), riffChunk("ANIM", make([]byte, 6)), riffChunk("ANMF", place))
	if info, ok := Inspect(data); !ok || !info.Animated || info.Width != 100 {
		t.Errorf("%+v %v", info, ok)
	}
	p := thumbnail(t, data, Request{Size: Size{320, 240, false}, Animated: true})
	img := open(t, p)
	if p.ContentType != "image/png" || p.Width != 100 || !isAbout(img.At(11, 21), blue) || !isAbout(img.At(9, 21), color.NRGBA{}) || !isAbout(img.At(50, 21), color.NRGBA{}) {
		t.Errorf("%s %v: %v %v %v", p.ContentType, img.Bounds(), img.At(11, 21), img.At(9, 21), img.At(50, 21))
	}
}

func TestWhatShinesThroughStaysTransparent(t *testing.T) {
	t.Parallel()
	img := image.NewNRGBA(image.Rect(0, 0, 100, 100))
	for i := 0; i < len(img.Pix); i += 4 {
		copy(img.Pix[i:], []uint8{255, 0, 0, 128})
	}
	p := thumbnail(t, asPNG(img), Request{Size: Size{32, 32, true}})
	if got := open(t, p).At(5, 5); p.ContentType != "image/png" || !isAbout(got, color.NRGBA{255, 0, 0, 128}) {
		t.Errorf("%s %v", p.ContentType, got)
	}
}

// stored is where a pixel of the picture as seen is stored, by the words of EXIF: which side of the picture row 0 and column 0 are.
func stored(o orientation, x, y, width, height int) (int, int) {
	right, bottom := width-1-x, height-1-y
	switch o {
	case 2: // row 0 at the top, column 0 on the right
		return right, y
	case 3: // bottom, right
		return right, bottom
	case 4: // bottom, left
		return x, bottom
	case 5: // left, top
		return y, x
	case 6: // right, top
		return y, right
	case 7: // right, bottom
		return bottom, right
	case 8: // left, bottom
		return bottom, x
	}
	return x, y
}

func TestOrientationIsAppliedAndMetadataIsGone(t *testing.T) {
	t.Parallel()
	const width, height = 160, 80
	seen := quadrants(width, height)
	for o := orientation(0); o <= 9; o++ {
		turned := image.NewNRGBA(image.Rect(0, 0, width, height))
		if o >= 5 && o <= 8 {
			turned = image.NewNRGBA(image.Rect(0, 0, height, width))
		}
		for y := range height {
			for x := range width {
				sx, sy := stored(o, x, y, width, height)
				turned.Set(sx, sy, seen.At(x, y))
			}
		}
		app1 := append([]byte("Exif\x00\x00"), exif(o)...)
		text := pngChunk("tEXt", []byte("Comment\x00GPS 48.2N"))
		for name, data := range map[string][]byte{
			"JPEG": withSegment(withSegment(withSegment(asJPEG(turned), 0xe1, app1), 0xfe, []byte("GPS")), 0xe2, []byte("ICC_PROFILE\x00\x01\x01GPS")),
			"PNG":  withChunks(asPNG(turned), pngChunk("eXIf", exif(o)), text),
		} {
			if info, ok := Inspect(data); !ok || info.Width != width || info.Height != height {
				t.Errorf("%s, orientation %d: %+v", name, o, info)
			}
			for _, size := range []Size{{80, 80, false}, {20, 20, true}, {320, 240, false}} {
				p := thumbnail(t, data, Request{Size: size})
				want := image.Pt(min(size.Width, width), min(size.Width/2, height))
				if size.Crop {
					want = image.Pt(20, 20)
				}
				if got := image.Pt(p.Width, p.Height); got != want {
					t.Errorf("%s, orientation %d: %v, want %v", name, o, got, want)
				}
				checkCorners(t, open(t, p))
				for _, trace := range []string{"Exif", "MM\x00*", "GPS", "ICC"} {
					if bytes.Contains(p.Data, []byte(trace)) {
						t.Errorf("%s, orientation %d: %q is still there", name, o, trace)
					}
				}
			}
		}
	}
	// A WebP has it behind the pixels, out of the sight of who reads the header only.
	long := riffChunk("XMP ", make([]byte, 8<<10))
	data := riff(extended(1<<3, 100, 50), plainWebP(100, 50, red)[12:], long, riffChunk("EXIF", exif(6)))
	if p := thumbnail(t, data, Request{Size: Size{320, 240, false}}); p.Width != 50 || p.Height != 100 {
		t.Errorf("WebP: %dx%d", p.Width, p.Height)
	}
}

// SEC-72: only the four formats are decoded, whatever a name or a type says.
func TestOtherFormatsAreRefusedByTheirFirstBytes(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"EPS": "%!PS-Adobe-3.0 EPSF-3.0\n", "TIFF": "II*\x00\x08\x00\x00\x00", "TIFF big": "MM\x00*\x00\x00\x00\x08", "ICNS": "icns\x00\x00\x10\x00",
		"PSD": "8BPS\x00\x01", "SVG": `<svg xmlns="http://www.w3.org/2000/svg"/>`, "XML": `<?xml version="1.0"?><svg/>`,
		"HEIC": "\x00\x00\x00\x18ftypheic", "AVIF": "\x00\x00\x00\x1cftypavif", "BMP": "BM\x00\x00\x00\x00", "MVG": "push graphic-context\n",
		"MSL": "<image><read filename=\"/etc/passwd\"/></image>", "XBM": "#define x_width 1\n", "PDF": "%PDF-1.7\n", "JPEG 2000": "\x00\x00\x00\x0cjP  \r\n\x87\n",
		"JPEG XL": "\xff\x0a", "ICO": "\x00\x00\x01\x00", "PPM": "P6 1 1 255\n", "WAVE": "RIFF\x24\x00\x00\x00WAVEfmt ", "empty": "",
		"PNG after a byte": "\n" + pngMagic,
	} {
		data := head
		if head != "" {
			data += strings.Repeat("\x00", 100)
		}
		if _, err := Make(t.Context(), strings.NewReader(data), int64(len(data)), Request{Size: Sizes[0]}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		if info, ok := Inspect([]byte(data)); ok {
			t.Errorf("%s: %+v", name, info)
		}
	}
}

// bombs claim what they don't have.
func bombs() map[string][]byte {
	size := func(width, height uint32, depth, colour byte) []byte {
		header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
		return append([]byte(pngMagic), pngChunk("IHDR", append(header, depth, colour, 0, 0, 0))...)
	}
	sof := func(marker byte, width, height uint16) []byte {
		data := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{8}, height), width)
		return withSegment([]byte{0, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0}, marker, append(data, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0))
	}
	screen := func(width, height uint16) []byte {
		return append(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16([]byte("GIF89a"), width), height), 0, 0, 0, 0x2c)
	}
	return map[string][]byte{
		"PNG 65,535 x 65,535":     size(65535, 65535, 8, 6),
		"PNG 2^31-1 x 2^31-1":     size(1<<31-1, 1<<31-1, 16, 6),
		"PNG 33 million x 1":      size(33_000_000, 1, 1, 0),
		"PNG of 64 bits":          size(5790, 5790, 16, 6),
		"PNG 1 bit":               size(65535, 65535, 1, 0),
		"JPEG 65,535 x 65,535":    sof(sof0, 65535, 65535),
		"JPEG progressive 32 Mpx": sof(sof2, 5790, 5790),
		"GIF 65,535 x 65,535":     screen(65535, 65535),
		"WebP lossless 16,384^2":  plainWebP(16384, 16384, red),
		"WebP 2^24 x 2^24":        riff(extended(webpAlpha, 1<<24, 1<<24), riffChunk("ALPH", make([]byte, 9))),
		"WebP frame 2^24 x 2^24":  riff(extended(webpAnimated, 1<<24, 1<<24), riffChunk("ANMF", make([]byte, 99))),
		"GIF of 10,000 frames":    spinning(16, 16, 10_000),
		"GIF of 51 megapixels":    spinning(900, 900, 63),
	}
}

// SEC-73: bombs are refused by their header.
func TestBombsAreRefusedBeforeAllocation(t *testing.T) {
	for name, data := range bombs() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), Request{Size: Size{800, 600, false}, Animated: true})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d KiB were allocated", name, used>>10)
		}
	}
	// What lies inside of a picture is judged as well.
	inner := riff(extended(webpAnimated, 100, 100), riffChunk("ANMF", append([]byte{0, 0, 0, 0, 0, 0, 99, 0, 0, 99, 0, 0, 0, 0, 0, 0}, plainWebP(16384, 16384, red)[12:]...)))
	hidden := riff(extended(0, 100, 100), plainWebP(16384, 16384, red)[12:])
	for _, data := range [][]byte{inner, hidden} {
		if _, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), Request{Size: Sizes[0]}); !errors.Is(err, ErrBroken) {
			t.Errorf("a frame that is larger than it should be: %v", err)
		}
	}
	if _, err := Make(t.Context(), bytes.NewReader(nil), limits.ThumbnailSource+1, Request{Size: Sizes[0]}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file that is too large: %v", err)
	}
	endless := io.MultiReader(bytes.NewReader(asJPEG(quadrants(9, 9))), zeros{})
	if _, err := Make(t.Context(), endless, -1, Request{Size: Sizes[0]}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file without end: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

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

// SEC-73: memory stays bounded when 50 of the largest pictures come at one time.
func TestManyLargePicturesAtOneTime(t *testing.T) {
	large := asPNG(image.NewNRGBA(image.Rect(0, 0, 5792, 5792)))
	jpeg := photo()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatalf("the peak of memory cannot be set back: %v", err)
	}
	before := peak(t)
	var all sync.WaitGroup
	for i := range 50 {
		data := jpeg
		if i%5 == 0 {
			data = large
		}
		all.Go(func() {
			if _, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), Request{Size: Size{800, 600, false}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	more := peak(t) - before
	t.Logf("%d MiB more than before", more>>10)
	if more > 200<<10 {
		t.Errorf("50 pictures took %d MiB", more>>10)
	}
}

// peak is the largest resident size so far, in KiB.
func peak(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	if err := memory.Acquire(t.Context(), limits.ThumbnailMemory); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := Make(ctx, bytes.NewReader(asPNG(quadrants(9, 9))), -1, Request{Size: Sizes[0]})
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	memory.Release(limits.ThumbnailMemory)
}

// manyScans is a progressive JPEG of few bytes per scan, each of which goes through all blocks.
func manyScans(scans int) []byte {
	out := []byte("\xff\xd8\xff\xdb\x00\x43\x00" + strings.Repeat("\x01", 64))
	out = append(out, "\xff\xc2\x00\x0b\x08\x10\x00\x10\x00\x01\x01\x11\x00"...) // 4096x4096, gray
	// One code for each: DC difference 0, and an end of band that holds for 2^14 blocks and more.
	out = append(out, "\xff\xc4\x00\x14\x00\x01"+strings.Repeat("\x00", 16)+"\xff\xc4\x00\x14\x10\x01"+strings.Repeat("\x00", 15)+"\xe0"...)
	for range scans {
		out = append(out, "\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00"...)
		// A run is the code 0 and 14 bits: 2^14 + 10922 of the 4096*4096/64 blocks.
		bits, n := uint32(0), 0
		for range 10 {
			bits, n = bits<<15|0b0_10101010101010, n+15
			for ; n >= 8; n -= 8 {
				out = append(out, byte(bits>>(n-8)))
			}
		}
		out = append(out, byte(bits<<(8-n)))
	}
	return append(out, 0xff, 0xd9)
}

func TestDecodingEndsWithTheContext(t *testing.T) {
	data := manyScans(100_000)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Make(ctx, bytes.NewReader(data), int64(len(data)), Request{Size: Sizes[0]})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestBrokenPicturesAreBroken(t *testing.T) {
	t.Parallel()
	whole := map[string][]byte{"JPEG": asJPEG(quadrants(50, 50)), "PNG": asPNG(quadrants(50, 50)), "GIF": spinning(50, 50, 2), "WebP": plainWebP(50, 50, red)}
	for name, data := range whole {
		for _, n := range []int{4, 12, 20, 40} {
			if n = min(n, len(data)-9); n < 12 && name == "WebP" {
				continue
			}
			_, err := Make(t.Context(), bytes.NewReader(data[:n]), -1, Request{Size: Sizes[0], Animated: true})
			if !errors.Is(err, ErrBroken) && (n >= 8 || !errors.Is(err, ErrUnsupported)) {
				t.Errorf("%d bytes of a %s: %v", n, name, err)
			}
		}
	}
	failing := errors.New("the store is away")
	if _, err := Make(t.Context(), io.MultiReader(bytes.NewReader(whole["PNG"][:50]), errReader{failing}), 500, Request{Size: Sizes[0]}); !errors.Is(err, failing) {
		t.Errorf("what the reader said is lost: %v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestPanicsOfDecodersAreCaught(t *testing.T) {
	t.Parallel()
	// No input is known that makes a decoder panic. Bytes that nobody has looked at before stand in for one.
	_, err := render(t.Context(), nil, header{format: formatWebP, animated: true}, Request{Size: Sizes[0]})
	if !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
}

func TestAnimationsMoveOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	data := spinning(400, 200, 5)
	if info, ok := Inspect(data); !ok || !info.Animated {
		t.Errorf("%+v", info)
	}
	if p := thumbnail(t, data, Request{Size: Size{320, 240, false}}); p.ContentType != "image/jpeg" || !isAbout(open(t, p).At(5, 5), red) {
		t.Errorf("still: %s", p.ContentType)
	}
	for _, tc := range []struct {
		size Size
		want image.Point
	}{{Size{320, 240, false}, image.Pt(320, 160)}, {Size{32, 32, true}, image.Pt(32, 32)}, {Size{640, 480, false}, image.Pt(400, 200)}} {
		p := thumbnail(t, data, Request{Size: tc.size, Animated: true})
		g, err := gif.DecodeAll(bytes.NewReader(p.Data))
		if err != nil || p.ContentType != "image/gif" {
			t.Fatal(err, p.ContentType)
		}
		if image.Pt(p.Width, p.Height) != tc.want || image.Pt(g.Config.Width, g.Config.Height) != tc.want {
			t.Errorf("%v: %dx%d", tc.size, p.Width, p.Height)
		}
		if len(g.Image) != 5 || g.LoopCount != 3 || g.Delay[2] != 7 {
			t.Errorf("%d frames, loop %d, delays %v", len(g.Image), g.LoopCount, g.Delay)
		}
		for i, frame := range g.Image {
			if want := []color.NRGBA{red, green, blue}[i%3]; !isAbout(frame.At(9, 9), want) {
				t.Errorf("frame %d is %v", i, frame.At(9, 9))
			}
		}
	}
	one := spinning(50, 50, 1)
	if p := thumbnail(t, one, Request{Size: Sizes[0], Animated: true}); p.ContentType != "image/jpeg" {
		t.Errorf("one frame: %s", p.ContentType)
	}
}

// A small frame moves over a canvas and leaves it, in each of the three ways.
func TestFramesOfAnAnimationArePutTogether(t *testing.T) {
	t.Parallel()
	palette := color.Palette{red, green, blue, color.RGBA{}}
	fill := func(r image.Rectangle, index uint8) *image.Paletted {
		frame := image.NewPaletted(r, palette)
		for i := range frame.Pix {
			frame.Pix[i] = index
		}
		return frame
	}
	left, right := image.Rect(0, 0, 100, 200), image.Rect(100, 0, 200, 200)
	g := gif.GIF{
		Image:    []*image.Paletted{fill(image.Rect(0, 0, 200, 200), 0), fill(left, 1), fill(right, 2), fill(right, 1), fill(image.Rect(0, 0, 1, 1), 3)},
		Disposal: []byte{gif.DisposalNone, gif.DisposalPrevious, gif.DisposalNone, gif.DisposalBackground, gif.DisposalNone},
		Delay:    make([]int, 5),
		Config:   image.Config{Width: 200, Height: 200, ColorModel: palette},
	}
	var data bytes.Buffer
	if err := gif.EncodeAll(&data, &g); err != nil {
		t.Fatal(err)
	}
	p := thumbnail(t, data.Bytes(), Request{Size: Size{100, 100, false}, Animated: true})
	got, err := gif.DecodeAll(bytes.NewReader(p.Data))
	if err != nil {
		t.Fatal(err)
	}
	none := color.NRGBA{}
	screen := image.NewNRGBA(image.Rect(0, 0, 100, 100))
	for i, want := range [][2]color.NRGBA{{red, red}, {green, red}, {red, blue}, {red, green}, {red, none}} {
		for y := range 100 {
			for x := range 100 {
				if c := color.NRGBAModel.Convert(got.Image[i].At(x, y)).(color.NRGBA); c.A != 0 {
					screen.SetNRGBA(x, y, c)
				}
			}
		}
		if l, r := screen.At(20, 50), screen.At(80, 50); !isAbout(l, want[0]) || !isAbout(r, want[1]) {
			t.Errorf("frame %d shows %v and %v, want %v", i, l, r, want)
		}
		if got.Disposal[i] == gif.DisposalBackground {
			clear(screen.Pix)
		}
	}
}

func TestAPhotographKeepsItsColoursWithFew(t *testing.T) {
	t.Parallel()
	img := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			img.SetNRGBA(x, y, color.NRGBA{uint8(4 * x), uint8(4 * y), uint8(2 * (x + y)), 255})
		}
	}
	few := quantize(img)
	if len(few.Palette) > 256 {
		t.Fatalf("%d colours", len(few.Palette))
	}
	for y := range 64 {
		for x := range 64 {
			if !isAbout(few.At(x, y), img.NRGBAAt(x, y)) {
				t.Fatalf("%v became %v", img.At(x, y), few.At(x, y))
			}
		}
	}
}

func FuzzMake(f *testing.F) {
	src := quadrants(8, 6)
	for _, data := range [][]byte{
		asJPEG(src), asPNG(src), spinning(8, 6, 3), plainWebP(8, 6, red), manyScans(1),
		withSegment(asJPEG(src), 0xe1, append([]byte("Exif\x00\x00"), exif(6)...)),
		withChunks(asPNG(src), pngChunk("eXIf", exif(3)), pngChunk("acTL", make([]byte, 8))),
		unbase64(f, lossyWebP), unbase64(f, losslessWebP), unbase64(f, alphaWebP), unbase64(f, animatedWebP),
		[]byte("II*\x00"), {},
	} {
		f.Add(data, uint16(32), uint16(32), true, true)
		f.Add(data, uint16(5), uint16(3), false, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, width, height uint16, crop, animated bool) {
		if h, err := parse(data); err == nil && h.width*h.height > 1<<16 {
			return // allowed, but slow
		}
		Inspect(data)
		req := Request{Size: Size{int(width), int(height), crop}, Animated: animated}
		p, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), req)
		if err != nil {
			return
		}
		if p.Width < 1 || p.Height < 1 || p.Width > int(width) || p.Height > int(height) {
			t.Errorf("%dx%d for %v", p.Width, p.Height, req)
		}
		if info, ok := Inspect(p.Data); !ok || info.ContentType != p.ContentType || info.Width != p.Width || info.Height != p.Height {
			t.Errorf("made %s %dx%d, which looks like %+v", p.ContentType, p.Width, p.Height, info)
		}
	})
}

// Two rows to compare: all of it, and decoder and scaler alone with the fastest filter that is worth having.
func BenchmarkTwelveMegapixels(b *testing.B) {
	data := photo()
	b.Run("Make", func(b *testing.B) {
		for b.Loop() {
			if _, err := Make(b.Context(), bytes.NewReader(data), int64(len(data)), Request{Size: Size{800, 600, false}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, filter := range map[string]imaging.ResampleFilter{"Box": imaging.Box, "Linear": imaging.Linear} {
		b.Run(fmt.Sprintf("DecodeAndScaleAlone/%s", name), func(b *testing.B) {
			for b.Loop() {
				img, err := jpeg.Decode(bytes.NewReader(data))
				if err != nil {
					b.Fatal(err)
				}
				imaging.Resize(img, 800, 600, filter)
			}
		})
	}
}
