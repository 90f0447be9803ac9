package thumbnail

import (
	"bytes"
	"image"
	"testing"
)

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
