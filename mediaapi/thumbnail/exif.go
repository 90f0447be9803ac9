package thumbnail

import (
	"bytes"
	"encoding/binary"
	"image"

	"github.com/kovidgoyal/imaging"
)

// orientation is EXIF's: how a picture was turned when it was stored. 0 and 1 are upright.
type orientation uint16

// seen is the size of a picture as it is seen, from the size as it is stored, and the other way round.
func (o orientation) seen(width, height int) (int, int) {
	if o >= 5 {
		return height, width
	}
	return width, height
}

// apply turns a picture upright. imaging turns against the clock.
func (o orientation) apply(img *image.NRGBA) *image.NRGBA {
	switch o {
	case 2:
		return imaging.FlipH(img)
	case 3:
		return imaging.Rotate180(img)
	case 4:
		return imaging.FlipV(img)
	case 5:
		return imaging.Transpose(img)
	case 6:
		return imaging.Rotate270(img)
	case 7:
		return imaging.Transverse(img)
	case 8:
		return imaging.Rotate90(img)
	}
	return img
}

const (
	tagOrientation = 0x0112
	typeShort      = 3
	// maxTags bounds how many entries are looked at; cameras write some dozens.
	maxTags = 500
)

// readOrientation finds the orientation in the first directory of EXIF data, a TIFF file without a picture.
func readOrientation(exif []byte) orientation {
	exif = bytes.TrimPrefix(exif, []byte("Exif\x00\x00"))
	if len(exif) < 8 {
		return 0
	}
	var order binary.ByteOrder
	switch string(exif[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 0
	}
	at := uint64(order.Uint32(exif[4:]))
	if at+2 > uint64(len(exif)) {
		return 0
	}
	entries := exif[at+2:]
	for range min(order.Uint16(exif[at:]), maxTags) {
		if len(entries) < 12 {
			return 0
		}
		if order.Uint16(entries) == tagOrientation && order.Uint16(entries[2:]) == typeShort {
			if o := orientation(order.Uint16(entries[8:])); o <= 8 {
				return o
			}
			return 0
		}
		entries = entries[12:]
	}
	return 0
}
