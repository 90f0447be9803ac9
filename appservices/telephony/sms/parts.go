package sms

import (
	"unicode/utf16"

	"github.com/linxGnu/gosmpp/data"
)

// What fits into a short message (3GPP TS 23.040, 23.038). A septet of the default alphabet stands in an octet on its way to the centre, which
// packs it.
const (
	gsmAlone, gsmPart   = 160, 153
	ucs2Alone, ucs2Part = 70, 67
	// headerLength is that of a concatenation header with a reference number of 8 bits, its own length included.
	headerLength = 6
)

// part is one short message: what stands in it after the header.
type part struct {
	text []byte
	ucs2 bool
}

// parts cuts a text into short messages.
func parts(text string) []part {
	if len(data.ValidateGSM7String(text)) == 0 {
		if septets, err := data.GSM7BIT.Encode(text); err == nil {
			return cut(septets, false, gsmAlone, gsmPart, afterEscape)
		}
	}
	units := utf16.Encode([]rune(text))
	octets := make([]byte, 0, 2*len(units))
	for _, u := range units {
		octets = append(octets, byte(u>>8), byte(u))
	}
	return cut(octets, true, 2*ucs2Alone, 2*ucs2Part, afterHighSurrogate)
}

// cut cuts after so many octets, or before them where two belong together.
func cut(text []byte, ucs2 bool, alone, most int, together func(text []byte, at int) int) []part {
	if len(text) <= alone {
		return []part{{text, ucs2}}
	}
	var all []part
	for len(text) > 0 {
		at := min(most, len(text))
		if at < len(text) {
			at -= together(text, at)
		}
		all = append(all, part{text[:at], ucs2})
		text = text[at:]
	}
	return all
}

// afterEscape is 1 when what ends here is an escape to the extension table. A whole character before it may look alike only if it is an escape
// itself, which the table has no character for.
func afterEscape(text []byte, at int) int {
	if text[at-1] == 0x1b {
		return 1
	}
	return 0
}

// afterHighSurrogate is 2 when what ends here is half a character.
func afterHighSurrogate(text []byte, at int) int {
	if text[at-2]&0xfc == 0xd8 {
		return 2
	}
	return 0
}

// withHeader puts the header of a concatenated message before a part. The reference number is the message's own: when it is sent once more, a
// phone that has some of its parts already takes them for the same.
func (p part) withHeader(reference byte, number, of int) []byte {
	header := []byte{headerLength - 1, data.UDH_CONCAT_MSG_8_BIT_REF, 3, reference, byte(of), byte(number)}
	return append(header, p.text...)
}
