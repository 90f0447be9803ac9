package thumbnail

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"

	"github.com/roomline/roomline/internal/limits"
)

// gifBlock is a frame or an extension of a GIF.
type gifBlock struct {
	frame         bool
	width, height int
	repeats       bool // what says how often an animation is played
}

// walkGIF calls f for each block without decompressing anything. It ends at the trailer; errShort: the data ended before.
func walkGIF(data []byte, f func(gifBlock) error) error {
	at := 13
	table := func(flags byte) {
		if flags&0x80 != 0 {
			at += 3 << (flags&7 + 1)
		}
	}
	if len(data) < at {
		return errShort
	}
	table(data[10])
	for at < len(data) {
		var b gifBlock
		switch data[at] {
		case 0x3b:
			return nil
		case 0x21:
			if at+2 > len(data) {
				return errShort
			}
			b.repeats = bytes.HasPrefix(data[at:], []byte("\x21\xff\x0bNETSCAPE2.0"))
			at += 2
		case 0x2c:
			if at+10 > len(data) {
				return errShort
			}
			b.frame = true
			b.width = int(binary.LittleEndian.Uint16(data[at+5:]))
			b.height = int(binary.LittleEndian.Uint16(data[at+7:]))
			flags := data[at+9]
			at += 10
			table(flags)
			at++ // the size of codes
		default:
			return ErrBroken
		}
		if err := f(b); err != nil {
			return err
		}
		for {
			if at >= len(data) {
				return errShort
			}
			size := int(data[at])
			at += 1 + size
			if size == 0 {
				break
			}
		}
	}
	return errShort
}

// countFrames counts the frames of a GIF and judges them. Each frame costs a whole canvas when it is put on, however small it is.
func countFrames(data []byte) (int, error) {
	canvas := int(binary.LittleEndian.Uint16(data[6:])) * int(binary.LittleEndian.Uint16(data[8:]))
	frames, pixels := 0, 0
	err := walkGIF(data, func(b gifBlock) error {
		if !b.frame {
			return nil
		}
		frames++
		pixels += max(canvas, b.width*b.height)
		if frames > limits.ThumbnailFrames || frames > 1 && pixels > limits.ThumbnailFramePixels {
			return ErrTooLarge
		}
		return nil
	})
	if err == errShort {
		err = ErrBroken
	}
	return frames, err
}

// animate makes an animated thumbnail.
func animate(ctx context.Context, data []byte, h header, s Size) (Picture, error) {
	source, err := gif.DecodeAll(&untilDone{ctx, bytes.NewReader(data)})
	if err != nil {
		return Picture{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if width, height := s.scaled(h.width, h.height); width == h.width && height == h.height && (!s.Crop || width <= s.Width && height <= s.Height) {
		return encodeGIF(source) // colour by colour as it was
	}
	a := animation{canvas: image.NewRGBA(image.Rect(0, 0, h.width, h.height))}
	for i, frame := range source.Image {
		if err := ctx.Err(); err != nil {
			return Picture{}, err
		}
		var before []uint8
		if source.Disposal[i] == gif.DisposalPrevious {
			before = bytes.Clone(a.canvas.Pix)
		}
		draw.Draw(a.canvas, frame.Rect, frame, frame.Rect.Min, draw.Over)
		a.add(resize(a.canvas, 0, s), source.Delay[i])
		source.Image[i] = nil
		switch source.Disposal[i] {
		case gif.DisposalPrevious:
			copy(a.canvas.Pix, before)
		case gif.DisposalBackground:
			draw.Draw(a.canvas, frame.Rect, image.Transparent, image.Point{}, draw.Src)
		}
	}
	bounds := a.last.Rect
	a.out.LoopCount = source.LoopCount
	a.out.Config = image.Config{Width: bounds.Dx(), Height: bounds.Dy()}
	return encodeGIF(&a.out)
}

func encodeGIF(g *gif.GIF) (Picture, error) {
	var out bytes.Buffer
	if err := gif.EncodeAll(&out, g); err != nil {
		return Picture{}, fmt.Errorf("%w: %w", ErrBroken, err) // nothing that we put together, but a frame of the source
	}
	return Picture{ContentType: string(formatGIF), Width: g.Config.Width, Height: g.Config.Height, Data: out.Bytes()}, nil
}

// animation is what is being put together.
type animation struct {
	canvas *image.RGBA  // as large as the source
	last   *image.NRGBA // the frame before, scaled
	out    gif.GIF
}

// add appends a frame. Pixels that stay as they are become transparent: they neither cost bytes nor flicker.
func (a *animation) add(frame *image.NRGBA, delay int) {
	clears, changed := false, image.NewNRGBA(frame.Rect)
	copy(changed.Pix, frame.Pix)
	for i := 0; i < len(frame.Pix) && a.last != nil; i += 4 {
		switch old, now := a.last.Pix[i:i+4:i+4], frame.Pix[i:i+4:i+4]; {
		case visible(now) && bytes.Equal(old, now):
			changed.Pix[i+3] = 0
		case !visible(now) && visible(old):
			clears = true
		}
	}
	if clears {
		// What must vanish can only be cleared as a whole, after the frame before.
		a.out.Disposal[len(a.out.Disposal)-1] = gif.DisposalBackground
		changed = frame
	}
	a.out.Image = append(a.out.Image, quantize(changed))
	a.out.Delay = append(a.out.Delay, delay)
	a.out.Disposal = append(a.out.Disposal, gif.DisposalNone)
	a.last = frame
}

// visible: a GIF knows no half transparency.
func visible(pixel []uint8) bool { return pixel[3] >= 128 }

// quantize finds 255 colours for a frame, and has the first for transparency.
func quantize(img *image.NRGBA) *image.Paletted {
	var counts [1 << 15]uint32
	key := func(p []uint8) int { return int(p[0]>>3)<<10 | int(p[1]>>3)<<5 | int(p[2]>>3) }
	for i := 0; i < len(img.Pix); i += 4 {
		if p := img.Pix[i : i+4 : i+4]; visible(p) {
			counts[key(p)]++
		}
	}
	palette, index := medianCut(&counts, 255)
	out := image.NewPaletted(img.Rect, append(color.Palette{color.RGBA{}}, palette...))
	for i := range out.Pix {
		if p := img.Pix[4*i : 4*i+4 : 4*i+4]; visible(p) {
			out.Pix[i] = index[key(p)] + 1
		}
	}
	return out
}
