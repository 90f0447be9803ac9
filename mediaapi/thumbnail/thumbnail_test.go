package thumbnail

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"strings"
	"testing"

	"github.com/kovidgoyal/imaging"
)

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
