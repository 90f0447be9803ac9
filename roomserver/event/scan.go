package event

import (
	"errors"
	"math/bits"
)

// A scanner for objects of canonical JSON, made for one question: where does the value of a key begin and end? It allocates
// nothing. Input that is not JSON gives an error or a wrong range, never a panic.

var errNotObject = errors.New("event: not a JSON object")

// members walks the members of an object. Keys are the bytes between the quotes, with escapes as written: a name that the
// spec knows never needs one in canonical JSON.
type members struct {
	src []byte
	pos int
	err error

	key, value []byte
}

func membersOf(object []byte) members {
	m := members{src: object}
	m.pos = m.space(0)
	if m.pos >= len(object) || object[m.pos] != '{' {
		m.err = errNotObject
		return m
	}
	m.pos = m.space(m.pos + 1)
	return m
}

// next moves to the following member; false at the end of the object or on an error.
func (m *members) next() bool {
	if m.err != nil {
		return false
	}
	src := m.src
	if m.pos < len(src) && src[m.pos] == '}' {
		return false
	}
	if m.key != nil {
		if m.pos >= len(src) || src[m.pos] != ',' {
			m.err = errNotObject
			return false
		}
		m.pos = m.space(m.pos + 1)
	}
	if m.pos >= len(src) || src[m.pos] != '"' {
		m.err = errNotObject
		return false
	}
	keyEnd := skipString(src, m.pos)
	if keyEnd < 0 {
		m.err = errNotObject
		return false
	}
	m.key = src[m.pos+1 : keyEnd-1]
	at := m.space(keyEnd)
	if at >= len(src) || src[at] != ':' {
		m.err = errNotObject
		return false
	}
	start := m.space(at + 1)
	end := skipValue(src, start)
	if end <= start {
		m.err = errNotObject
		return false
	}
	m.value = src[start:end]
	m.pos = m.space(end)
	return true
}

func (m *members) space(i int) int {
	for i < len(m.src) && (m.src[i] == ' ' || m.src[i] == '\n' || m.src[i] == '\t' || m.src[i] == '\r') {
		i++
	}
	return i
}

// memberOf gives the raw value of a key of an object.
func memberOf(object []byte, key string) ([]byte, bool) {
	m := membersOf(object)
	for m.next() {
		if string(m.key) == key {
			return m.value, true
		}
	}
	return nil, false
}

// skipString gives the position after the string that begins at i, or -1.
func skipString(src []byte, i int) int {
	for i++; i < len(src); i++ {
		switch src[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// skipValue gives the position after the value that begins at i, or -1.
func skipValue(src []byte, i int) int {
	if i >= len(src) {
		return -1
	}
	switch src[i] {
	case '"':
		return skipString(src, i)
	case '{', '[':
		return skipNested(src, i)
	}
	start := i
	for i < len(src) && src[i] != ',' && src[i] != '}' && src[i] != ']' && src[i] > ' ' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// skipNested steps over an object or array. Eight bytes are looked at together: most of an event is text in which none of
// the five characters of interest occurs.
func skipNested(src []byte, i int) int {
	depth := 0
	for i < len(src) {
		switch src[i] {
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
			if depth == 0 {
				return i
			}
		case '"':
			if i = skipText(src, i+1); i < 0 {
				return -1
			}
		default:
			i++
		}
	}
	return -1
}

// skipText is skipString for long strings: i is the position after the opening quote.
func skipText(src []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i < len(src) {
		for i+8 <= len(src) {
			w := uint64(src[i]) | uint64(src[i+1])<<8 | uint64(src[i+2])<<16 | uint64(src[i+3])<<24 |
				uint64(src[i+4])<<32 | uint64(src[i+5])<<40 | uint64(src[i+6])<<48 | uint64(src[i+7])<<56
			q := w ^ (ones * '"')
			b := w ^ (ones * '\\')
			// The lowest set bit is exact: a borrow can only set a false bit above a true one.
			found := ((q-ones)&^q | (b-ones)&^b) & highs
			if found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		if i >= len(src) {
			return -1
		}
		switch src[i] {
		case '"':
			return i + 1
		case '\\':
			i += 2
		default:
			i++
		}
	}
	return -1
}

// withMember is the object with the value under key, at its place in the order of keys. What was there before is replaced.
func withMember(object []byte, key string, value []byte) ([]byte, error) {
	dst := append(make([]byte, 0, len(object)+len(key)+len(value)+4), '{')
	placed := false
	m := membersOf(object)
	for m.next() {
		if !placed && string(m.key) >= key {
			dst = append(appendMember(dst, []byte(key), value), ',')
			placed = true
		}
		if string(m.key) != key {
			dst = append(appendMember(dst, m.key, m.value), ',')
		}
	}
	if m.err != nil {
		return nil, m.err
	}
	if !placed {
		dst = append(appendMember(dst, []byte(key), value), ',')
	}
	return closeObject(dst), nil
}

// without is the object without one of its keys.
func without(object []byte, key string) []byte {
	dst := append(make([]byte, 0, len(object)), '{')
	m := membersOf(object)
	for m.next() {
		if string(m.key) != key {
			dst = append(appendMember(dst, m.key, m.value), ',')
		}
	}
	return closeObject(dst)
}

func appendMember(dst, key, value []byte) []byte {
	dst = append(append(append(dst, '"'), key...), '"', ':')
	return append(dst, value...)
}

// closeObject ends an object whose members each end in a comma.
func closeObject(dst []byte) []byte {
	if dst[len(dst)-1] == ',' {
		dst[len(dst)-1] = '}'
		return dst
	}
	return append(dst, '}')
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string in its canonical form. The text must be UTF-8.
//
// Spec: appendices v1.19 §canonical-json
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
