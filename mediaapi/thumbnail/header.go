package thumbnail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/roomline/roomline/internal/limits"
)

// Info is what the header of a picture says.
type Info struct {
	ContentType   string
	Width, Height int  // as seen, after EXIF's orientation
	Animated      bool // as far as the header tells
}

// Inspect reads the first bytes of a picture. It reports false for what is not a JPEG, PNG, GIF or WebP, and when its size is not
// within header.
func Inspect(header []byte) (Info, bool) {
	h, err := parse(header)
	if err != nil {
		return Info{}, false
	}
	info := Info{ContentType: string(h.format), Animated: h.animated}
	info.Width, info.Height = h.orientation.seen(h.width, h.height)
	return info, true
}

type format string

const (
	formatJPEG format = "image/jpeg"
	formatPNG  format = "image/png"
	formatGIF  format = "image/gif"
	formatWebP format = "image/webp"
)

// header is what is known before decoding.
type header struct {
	format        format
	width, height int // as stored
	orientation   orientation
	animated      bool
	// bytesPerPixel is what decoding takes, at most.
	bytesPerPixel float64
}

// errShort: the header goes on beyond what was given.
var errShort = errors.New("the header is longer")

// parse reads a header by hand, so that no decoder sees what is refused.
func parse(data []byte) (header, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return parseJPEG(data)
	case bytes.HasPrefix(data, []byte(pngMagic)):
		return parsePNG(data)
	case bytes.HasPrefix(data, []byte("GIF87a")), bytes.HasPrefix(data, []byte("GIF89a")):
		return parseGIF(data)
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return parseWebP(data)
	}
	return header{}, ErrUnsupported
}

// readHeader reads as much as is needed to know a picture, and judges its size.
func readHeader(r io.Reader) ([]byte, header, error) {
	var head []byte
	for _, size := range []int{4 << 10, 64 << 10, limits.ThumbnailHeader} {
		more := make([]byte, size)
		n := copy(more, head)
		m, readErr := io.ReadFull(r, more[n:])
		head = more[:n+m]
		h, err := parse(head)
		switch {
		case err == nil:
			return head, h, h.judge()
		case readErr == nil && errors.Is(err, errShort):
			continue
		case readErr != nil && readErr != io.EOF && readErr != io.ErrUnexpectedEOF:
			return nil, header{}, readErr
		case errors.Is(err, errShort):
			return nil, header{}, ErrBroken
		}
		return nil, header{}, err
	}
	return nil, header{}, ErrBroken
}

// judge says whether a picture of this size may be decoded.
func (h header) judge() error {
	switch {
	case h.width <= 0 || h.height <= 0:
		return ErrBroken
	case h.width > limits.ThumbnailSide, h.height > limits.ThumbnailSide, h.width*h.height > limits.ThumbnailPixels:
		return ErrTooLarge
	}
	return nil
}

// memory is what making a thumbnail takes beyond the source, in bytes: the decoded picture, and the one that is scaled in width only.
func (h header) memory(req Request) int64 {
	width, height := h.orientation.seen(h.width, h.height)
	width, height = req.scaled(width, height)
	width, height = h.orientation.seen(width, height)
	pixels := h.width * h.height
	need := int64(float64(pixels)*h.bytesPerPixel) + int64(4*width*h.height) + int64(3*4*width*height)
	if req.Animated {
		// All frames are decoded at once; three canvases take part in putting them together.
		need += limits.ThumbnailFramePixels + int64(3*4*pixels)
	}
	return need
}

const (
	sof0, sof1, sof2    = 0xc0, 0xc1, 0xc2
	dht, jpg, dac       = 0xc4, 0xc8, 0xcc
	rst0, rst7          = 0xd0, 0xd7
	soi, eoi, sos       = 0xd8, 0xd9, 0xda
	app0, app1, app14   = 0xe0, 0xe1, 0xee
	coefficientsPerByte = 4 // progressive pictures are kept as 32-bit coefficients until the last scan
)

// parseJPEG walks the segments up to the frame header.
func parseJPEG(data []byte) (header, error) {
	h := header{format: formatJPEG}
	jfif, adobe := false, false
	for at := 2; ; {
		if at+4 > len(data) {
			return h, errShort
		}
		if data[at] != 0xff {
			at++ // extraneous bytes, which decoders skip
			continue
		}
		marker := data[at+1]
		if marker == 0xff || marker == 0 || marker >= rst0 && marker <= rst7 {
			at++
			if marker != 0xff {
				at++
			}
			continue
		}
		if marker == soi || marker == eoi || marker == sos {
			return h, ErrBroken
		}
		length := int(binary.BigEndian.Uint16(data[at+2:]))
		if length < 2 {
			return h, ErrBroken
		}
		if at+2+length > len(data) {
			return h, errShort
		}
		segment := data[at+4 : at+2+length]
		switch marker {
		case app0:
			jfif = jfif || bytes.HasPrefix(segment, []byte("JFIF\x00"))
		case app1:
			if h.orientation == 0 && bytes.HasPrefix(segment, []byte("Exif\x00\x00")) {
				h.orientation = readOrientation(segment)
			}
		case app14:
			adobe = true
		case sof0, sof1, sof2:
			return h, h.frameHeader(segment, marker == sof2, !jfif && adobe)
		}
		at += 2 + length
	}
}

// frameHeader reads size and components of a JPEG. mayBeRGB: the decoder may make an RGB picture out of its planes.
func (h *header) frameHeader(segment []byte, progressive, mayBeRGB bool) error {
	if len(segment) < 6 {
		return ErrBroken
	}
	h.height = int(binary.BigEndian.Uint16(segment[1:]))
	h.width = int(binary.BigEndian.Uint16(segment[3:]))
	components := int(segment[5])
	if len(segment) != 6+3*components {
		return ErrBroken
	}
	samples, most := 0, 1
	for i := range components {
		sampling := int(segment[7+3*i]>>4) * int(segment[7+3*i]&15)
		samples, most = samples+sampling, max(most, sampling)
	}
	switch components {
	case 1:
		h.bytesPerPixel = 1
	case 3:
		// Unusual sampling is made even by the decoder.
		h.bytesPerPixel = min(3, max(1.5, float64(samples)/float64(most)))
	case 4:
		h.bytesPerPixel = 4
	default:
		return ErrBroken
	}
	if progressive {
		h.bytesPerPixel += h.bytesPerPixel * coefficientsPerByte
	}
	if components == 3 && (mayBeRGB || segment[6] == 'R') {
		h.bytesPerPixel += 4
	}
	if components == 4 {
		h.bytesPerPixel += 8 // CMYK, and RGB of it
	}
	return nil
}

const pngMagic = "\x89PNG\r\n\x1a\n"

// parsePNG reads the header, and what stands before the pixels: an orientation and whether it is animated.
func parsePNG(data []byte) (header, error) {
	h := header{format: formatPNG}
	if len(data) < 33 {
		return h, errShort
	}
	if string(data[8:16]) != "\x00\x00\x00\rIHDR" {
		return h, ErrBroken
	}
	width, height := binary.BigEndian.Uint32(data[16:]), binary.BigEndian.Uint32(data[20:])
	if width > 1<<31-1 || height > 1<<31-1 {
		return h, ErrBroken
	}
	// No product of the two may overflow, and no more has to be known.
	h.width, h.height = int(min(width, 1<<20)), int(min(height, 1<<20))
	depth, colour, interlaced := data[24], data[25], data[28]
	h.bytesPerPixel = 4
	if colour == 3 {
		h.bytesPerPixel = 1
	}
	if depth == 16 {
		h.bytesPerPixel = 8
	}
	if interlaced != 0 {
		h.bytesPerPixel *= 2 // the passes, and the whole
	}
	for rest := data[33:]; len(rest) >= 8; {
		length, kind := uint64(binary.BigEndian.Uint32(rest)), string(rest[4:8])
		if kind == "IDAT" || length+12 > uint64(len(rest)) {
			break
		}
		switch kind {
		case "eXIf":
			h.orientation = readOrientation(rest[8 : 8+length])
		case "acTL":
			h.animated = true
		}
		rest = rest[12+length:]
	}
	return h, nil
}

// parseGIF reads the logical screen. Animations are known by their second frame or by what says that they repeat.
func parseGIF(data []byte) (header, error) {
	h := header{format: formatGIF, bytesPerPixel: 6} // the frame, twice if it is interlaced, and the screen
	if len(data) < 13 {
		return h, errShort
	}
	h.width = int(binary.LittleEndian.Uint16(data[6:]))
	h.height = int(binary.LittleEndian.Uint16(data[8:]))
	frames := 0
	_ = walkGIF(data, func(b gifBlock) error {
		if b.frame {
			frames++
		}
		h.animated = h.animated || b.repeats || frames > 1
		return nil
	})
	return h, nil
}

// parseWebP reads the first chunk, and with an extended header the rest, as far as it is there.
func parseWebP(data []byte) (header, error) {
	h := header{format: formatWebP}
	if len(data) < 30 {
		return h, errShort
	}
	chunk := data[20:]
	switch string(data[12:16]) {
	case "VP8 ":
		if string(chunk[3:6]) != "\x9d\x01\x2a" {
			return h, ErrBroken
		}
		h.width = int(binary.LittleEndian.Uint16(chunk[6:]) & 0x3fff)
		h.height = int(binary.LittleEndian.Uint16(chunk[8:]) & 0x3fff)
		h.bytesPerPixel = 1.5
	case "VP8L":
		if chunk[0] != 0x2f {
			return h, ErrBroken
		}
		bits := binary.LittleEndian.Uint32(chunk[1:])
		h.width, h.height = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
		h.bytesPerPixel = 8 // the pixels before and after a transform
	case "VP8X":
		h.width, h.height = uint24(chunk[4:])+1, uint24(chunk[7:])+1
		h.animated = chunk[0]&webpAnimated != 0
		h.bytesPerPixel = 8
		if chunk[0]&webpAlpha != 0 || h.animated {
			h.bytesPerPixel = 10.5 // planes, transparency and its decoding, or NRGBA, and the canvas of a frame
		}
		for c := range webpChunks(data) {
			if c.kind == "EXIF" {
				h.orientation = readOrientation(c.data)
			}
		}
	default:
		return h, ErrBroken
	}
	return h, nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
