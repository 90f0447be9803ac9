// Package thumbnail makes small pictures of large ones that strangers sent.
//
// Spec: client-server v1.19 §thumbnails
//
// What it promises: a picture is known by its first bytes, never by a name or a declared type. JPEG, PNG, GIF and WebP are read by
// decoders in Go; everything else is ErrUnsupported before any decoder has seen it. Size in pixels and memory are judged by the
// header, before anything of that size is allocated; memory is bounded for all pictures together. The result has pixels and
// nothing else: no EXIF, no place, no colour profile, no comments. EXIF's orientation has been applied. Nothing is enlarged.
//
// Pictures are scaled by github.com/kovidgoyal/imaging v1.6.4 (MIT, and nothing below it but golang.org/x/image, which reads WebP
// for us). A JPEG of 12 megapixels to 800x600 on 2 cores: decoding 232 ms, then
//
//	imaging       Box 72 ms, Linear 95 ms, CatmullRom 129 ms
//	x/image/draw  ApproxBiLinear 16 ms (it skips pixels, fine lines flicker), BiLinear 297 ms, CatmullRom 405 ms
//
// and encoding 14 ms from RGBA, 24 ms from NRGBA. Linear is what the eye does not tell from better ones when a picture gets smaller.
// Newer versions of imaging bring codecs and colour management of their own with five times the code; nothing of it is needed here.
// image.Decode must not be used in this tree: imaging registers TIFF and BMP there.
//
// Start reading at Make.
package thumbnail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"runtime/debug"
	"sync/atomic"

	"github.com/kovidgoyal/imaging"
	"golang.org/x/sync/semaphore"

	"github.com/roomline/roomline/internal/limits"
)

// Size of a thumbnail, and how a picture of another shape gets there: cropped to exactly this, or scaled to fit into it.
type Size struct {
	Width, Height int
	Crop          bool
}

// Sizes are those that the specification names.
//
// Spec: client-server v1.19 §thumbnails
var Sizes = []Size{
	{32, 32, true},
	{96, 96, true},
	{320, 240, false},
	{640, 480, false},
	{800, 600, false},
}

// Choose returns the smallest of Sizes that is at least what was asked for, or the largest. Who asks for more than the largest crop
// is given a scaled picture: a smaller one than asked for must not be.
func Choose(width, height int, crop bool) Size {
	for _, s := range Sizes {
		if (crop || !s.Crop) && s.Width >= width && s.Height >= height {
			return s
		}
	}
	return Sizes[len(Sizes)-1]
}

// Request is what to make of a picture.
type Request struct {
	Size
	// Animated asks for all frames of an animated GIF; without it, and for other pictures, there is the first.
	Animated bool
}

// Picture is a thumbnail: PNG if anything shines through, GIF if it moves, else JPEG.
type Picture struct {
	ContentType   string
	Width, Height int
	Data          []byte
}

var (
	// ErrUnsupported: the first bytes are not those of a JPEG, PNG, GIF or WebP.
	ErrUnsupported = errors.New("thumbnail: not a JPEG, PNG, GIF or WebP")
	// ErrTooLarge: pixels, bytes, frames or the memory to decode them are beyond the limits. An animation that is too large may still
	// have a thumbnail that stands still.
	ErrTooLarge = errors.New("thumbnail: the picture is too large")
	// ErrBroken: the picture cannot be decoded.
	ErrBroken = errors.New("thumbnail: the picture is broken")
)

// memory is shared by all calls, in bytes.
var memory = semaphore.NewWeighted(limits.ThumbnailMemory)

// Make reads a picture and returns its thumbnail. size is how many bytes r yields, or -1. It waits while other pictures take the
// memory. Besides the errors above, it returns what reading returned, and the context's error.
func Make(ctx context.Context, r io.Reader, size int64, req Request) (Picture, error) {
	if req.Width <= 0 || req.Height <= 0 || req.Width > limits.ThumbnailSide || req.Height > limits.ThumbnailSide {
		return Picture{}, fmt.Errorf("thumbnail: no size: %dx%d", req.Width, req.Height)
	}
	if size > limits.ThumbnailSource {
		return Picture{}, ErrTooLarge
	}
	if size < 0 {
		size = limits.ThumbnailSource
	}
	head, h, err := readHeader(r)
	if err != nil {
		return Picture{}, err
	}
	req.Animated = req.Animated && h.format == formatGIF
	need := h.memory(req) + size
	if need > limits.ThumbnailMemoryEach {
		return Picture{}, ErrTooLarge
	}
	weight := min(need, limits.ThumbnailMemory)
	if err := acquire(ctx, weight); err != nil {
		return Picture{}, err
	}
	defer release(weight)
	ctx, cancel := context.WithTimeout(ctx, limits.ThumbnailTime)
	defer cancel()
	data, err := readRest(ctx, head, r, size)
	if err != nil {
		return Picture{}, err
	}
	if whole, err := parse(data); err == nil {
		h.orientation = whole.orientation // a WebP has it at its end
	}
	picture, err := render(ctx, data, h, req)
	if err != nil && ctx.Err() != nil {
		return Picture{}, ctx.Err() // the decoders say what it looked like to them
	}
	return picture, err
}

// garbage is what calls have left behind since memory was last collected, in bytes.
var garbage atomic.Int64

// acquire waits for a share of the memory. A decoded picture stays in memory until it is collected, which is not before the heap has
// doubled, and then as free pages of the process; so that the bound is one of the process, what was left behind goes back to the
// system when it and the new picture are more than the bound together.
func acquire(ctx context.Context, weight int64) error {
	if err := memory.Acquire(ctx, weight); err != nil {
		return err
	}
	if left := garbage.Load(); left > 0 && left+weight > limits.ThumbnailMemory && garbage.CompareAndSwap(left, 0) {
		debug.FreeOSMemory()
	}
	return nil
}

func release(weight int64) {
	garbage.Add(weight)
	memory.Release(weight)
}

// readRest returns all that r yields after head.
func readRest(ctx context.Context, head []byte, r io.Reader, size int64) ([]byte, error) {
	all := bytes.NewBuffer(make([]byte, 0, max(size, int64(len(head)))+bytes.MinRead))
	all.Write(head)
	if _, err := all.ReadFrom(&untilDone{ctx, io.LimitReader(r, limits.ThumbnailSource+1-int64(len(head)))}); err != nil {
		return nil, err
	}
	if all.Len() > limits.ThumbnailSource {
		return nil, ErrTooLarge
	}
	return all.Bytes(), nil
}

// untilDone ends reading with the context. Decoders cannot be told to stop, but they read all the time.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// render makes the thumbnail. Decoders of broken input may panic: that is the input's fault.
func render(ctx context.Context, data []byte, h header, req Request) (picture Picture, err error) {
	defer func() {
		if r := recover(); r != nil {
			picture, err = Picture{}, fmt.Errorf("%w: %v", ErrBroken, r)
		}
	}()
	if req.Animated {
		frames, err := countFrames(data)
		if err != nil {
			return Picture{}, err
		}
		if frames > 1 {
			return animate(ctx, data, h, req.Size)
		}
	}
	img, err := decode(&untilDone{ctx, bytes.NewReader(data)}, data, h)
	if err != nil {
		return Picture{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return encode(resize(img, h.orientation, req.Size))
}

// jpegQuality is where a thumbnail of a photograph shows no blocks on a screen.
const jpegQuality = 85

func encode(img *image.NRGBA) (Picture, error) {
	p := Picture{ContentType: "image/jpeg", Width: img.Rect.Dx(), Height: img.Rect.Dy()}
	var out bytes.Buffer
	if !img.Opaque() {
		p.ContentType = "image/png"
		if err := png.Encode(&out, img); err != nil {
			return Picture{}, err
		}
		p.Data = out.Bytes()
		return p, nil
	}
	// Without transparency the two are the same bytes, and the encoder is faster with this one.
	opaque := &image.RGBA{Pix: img.Pix, Stride: img.Stride, Rect: img.Rect}
	if err := jpeg.Encode(&out, opaque, &jpeg.Options{Quality: jpegQuality}); err != nil {
		return Picture{}, err
	}
	p.Data = out.Bytes()
	return p, nil
}

// resize scales a picture as it is stored, turns it as it is to be seen, and crops it.
func resize(img image.Image, o orientation, s Size) *image.NRGBA {
	width, height := o.seen(img.Bounds().Dx(), img.Bounds().Dy())
	width, height = s.scaled(width, height)
	width, height = o.seen(width, height)
	small := o.apply(imaging.Resize(img, width, height, imaging.Linear))
	if s.Crop && (small.Rect.Dx() > s.Width || small.Rect.Dy() > s.Height) {
		small = imaging.CropCenter(small, min(s.Width, small.Rect.Dx()), min(s.Height, small.Rect.Dy()))
	}
	return small
}

// scaled is the size that a picture is scaled to: it fits into s, or with Crop covers it; it is never larger than it was.
func (s Size) scaled(width, height int) (int, int) {
	byWidth := width*s.Height > height*s.Width // the width decides whether it fits
	if s.Crop {
		byWidth = !byWidth
	}
	if byWidth {
		if width <= s.Width {
			return width, height
		}
		return s.Width, ratio(height, s.Width, width)
	}
	if height <= s.Height {
		return width, height
	}
	return ratio(width, s.Height, height), s.Height
}

// ratio is n*a/b, rounded, and at least 1.
func ratio(n, a, b int) int { return max(1, (n*a+b/2)/b) }
