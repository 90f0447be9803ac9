package thumbnail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"iter"

	"golang.org/x/image/webp"
)

// decode returns a picture, the first of several, that starts at (0, 0) and has the size that the header gave.
func decode(r io.Reader, data []byte, h header) (image.Image, error) {
	var img image.Image
	var err error
	switch h.format {
	case formatJPEG:
		img, err = jpeg.Decode(r)
	case formatPNG:
		img, err = png.Decode(r)
	case formatGIF:
		img, err = gif.Decode(r)
		img = onCanvas(img, h)
	case formatWebP:
		if h.animated {
			return decodeFirstFrame(data, h)
		}
		img, err = webp.Decode(r)
	default:
		return nil, ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	return sound(img, h)
}

// sound makes sure of what the scaler relies on: it works in goroutines of its own, where a panic cannot be caught.
func sound(img image.Image, h header) (image.Image, error) {
	if img.Bounds() != image.Rect(0, 0, h.width, h.height) {
		return nil, fmt.Errorf("%v was announced as %dx%d", img.Bounds(), h.width, h.height)
	}
	whole := true
	last := image.Pt(h.width-1, h.height-1)
	has := func(pixels []uint8, stride, perPixel int) {
		whole = whole && stride >= h.width*perPixel && len(pixels) >= last.Y*stride+h.width*perPixel
	}
	switch m := img.(type) {
	case *image.NRGBA:
		has(m.Pix, m.Stride, 4)
	case *image.RGBA:
		has(m.Pix, m.Stride, 4)
	case *image.NRGBA64:
		has(m.Pix, m.Stride, 8)
	case *image.RGBA64:
		has(m.Pix, m.Stride, 8)
	case *image.Gray:
		has(m.Pix, m.Stride, 1)
	case *image.Gray16:
		has(m.Pix, m.Stride, 2)
	case *image.Paletted:
		has(m.Pix, m.Stride, 1)
		whole = whole && len(m.Palette) > 0
	case *image.YCbCr:
		has(m.Y, m.YStride, 1)
		c := m.COffset(last.X, last.Y)
		whole = whole && c < len(m.Cb) && c < len(m.Cr)
	case *image.NYCbCrA:
		return withAlpha(m), nil
	default: // CMYK
		flat := image.NewRGBA(img.Bounds())
		draw.Draw(flat, flat.Rect, img, image.Point{}, draw.Src)
		return flat, nil
	}
	if !whole {
		return nil, errors.New("pixels are missing")
	}
	return img, nil
}

// withAlpha does what draw.Draw would do some ten times slower.
func withAlpha(m *image.NYCbCrA) image.Image {
	opaque := image.NewRGBA(m.Rect)
	draw.Draw(opaque, m.Rect, &m.YCbCr, m.Rect.Min, draw.Src)
	for y := range m.Rect.Dy() {
		row, alpha := opaque.Pix[y*opaque.Stride:], m.A[y*m.AStride:]
		for x := range m.Rect.Dx() {
			row[4*x+3] = alpha[x]
		}
	}
	return &image.NRGBA{Pix: opaque.Pix, Stride: opaque.Stride, Rect: opaque.Rect}
}

// onCanvas puts a frame where it belongs in the whole picture.
func onCanvas(frame image.Image, h header) image.Image {
	canvas := image.Rect(0, 0, h.width, h.height)
	if frame == nil || frame.Bounds() == canvas {
		return frame
	}
	whole := image.NewNRGBA(canvas)
	draw.Draw(whole, frame.Bounds(), frame, frame.Bounds().Min, draw.Src)
	return whole
}

const (
	webpAnimated = 1 << 1
	webpAlpha    = 1 << 4
)

type webpChunk struct {
	kind string
	data []byte
}

// webpChunks yields the chunks of a WebP, as far as they are whole.
func webpChunks(data []byte) iter.Seq[webpChunk] {
	return riffChunks(data[12:])
}

func riffChunks(data []byte) iter.Seq[webpChunk] {
	return func(yield func(webpChunk) bool) {
		for len(data) >= 8 {
			size := uint64(binary.LittleEndian.Uint32(data[4:]))
			if size > uint64(len(data)-8) || !yield(webpChunk{string(data[:4]), data[8 : 8+size]}) {
				return
			}
			data = data[min(8+size+size&1, uint64(len(data))):]
		}
	}
}

// decodeFirstFrame decodes the first frame of an animated WebP, which the decoder does not know: the frame is a still WebP without
// its wrapping.
func decodeFirstFrame(data []byte, h header) (image.Image, error) {
	for c := range webpChunks(data) {
		if c.kind != "ANMF" {
			continue
		}
		if len(c.data) < 16 {
			break
		}
		x, y := 2*uint24(c.data), 2*uint24(c.data[3:])
		frame := header{format: formatWebP, width: uint24(c.data[6:]) + 1, height: uint24(c.data[9:]) + 1}
		if x+frame.width > h.width || y+frame.height > h.height {
			return nil, errors.New("a frame is larger than its canvas")
		}
		img, err := decode(bytes.NewReader(stillWebP(frame, c.data[16:])), nil, frame)
		if err != nil {
			return nil, err
		}
		if frame.width == h.width && frame.height == h.height {
			return img, nil
		}
		whole := image.NewNRGBA(image.Rect(0, 0, h.width, h.height))
		draw.Draw(whole, image.Rect(x, y, x+frame.width, y+frame.height), img, image.Point{}, draw.Src)
		return whole, nil
	}
	return nil, errors.New("an animation without frames")
}

// stillWebP wraps the chunks of a frame.
func stillWebP(frame header, chunks []byte) []byte {
	var flags byte
	for c := range riffChunks(chunks) {
		if c.kind == "ALPH" {
			flags = webpAlpha
		}
	}
	w, h := frame.width-1, frame.height-1
	extended := []byte{flags, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)}
	out := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+8+len(extended)+len(chunks)))
	out = append(out, "WEBPVP8X"...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(extended)))
	return append(append(out, extended...), chunks...)
}
