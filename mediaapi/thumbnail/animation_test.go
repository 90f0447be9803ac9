package thumbnail

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"testing"
)

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
