package strictjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// plain marks the bytes that stand for themselves inside a string: ASCII without controls, quote and backslash.
var plain = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// text reads a string, quotes included, and writes its canonical form. It reports whether the string has escapes.
func (s *scanner) text() (escaped bool, err error) {
	start := s.pos + 1
	i := start
	for {
		for i < len(s.in) && plain[s.in[i]] {
			i++
		}
		if i == len(s.in) {
			s.pos = i
			return false, s.ended()
		}
		switch c := s.in[i]; {
		case c == '"':
			if i-start > limits.JSONString {
				return false, matrix.BadJSON("a string is longer than %d bytes, at byte %d", limits.JSONString, start-1)
			}
			s.pos = i + 1
			s.writeText(s.in[start:i], escaped)
			return escaped, nil
		case c == '\\':
			n, err := s.escape(i)
			if err != nil {
				return false, err
			}
			i += n
			escaped = true
		case c < 0x20:
			return false, matrix.NotJSON("control character 0x%02x inside a string, at byte %d", c, i)
		default:
			r, n := utf8.DecodeRune(s.in[i:])
			if r == utf8.RuneError && n == 1 {
				return false, matrix.NotJSON("invalid UTF-8, at byte %d", i)
			}
			i += n
		}
	}
}

// escape checks the escape that begins at i and returns its length; a surrogate pair is one escape of twelve bytes.
func (s *scanner) escape(i int) (int, error) {
	if i+1 >= len(s.in) {
		s.pos = len(s.in)
		return 0, s.ended()
	}
	if s.in[i+1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), s.in[i+1]) < 0 {
			return 0, matrix.NotJSON("unknown escape in a string, at byte %d", i)
		}
		return 2, nil
	}
	r, ok := hex4(s.in[i:])
	switch {
	case !ok:
		return 0, matrix.NotJSON(`broken \u escape in a string, at byte %d`, i)
	case r == 0:
		return 0, matrix.BadJSON("U+0000 is not allowed in strings, at byte %d", i)
	case !utf16.IsSurrogate(r):
		return 6, nil
	}
	low, ok := hex4(s.in[i+6:])
	if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return 0, matrix.BadJSON("lone surrogate in a string, at byte %d", i)
	}
	return 12, nil
}

// hex4 reads \uXXXX at the start of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// writeText writes a checked string in canonical form.
func (s *scanner) writeText(raw []byte, escaped bool) {
	if !s.writing {
		return
	}
	s.out = append(s.out, '"')
	if escaped {
		s.out = appendEscaped(s.out, raw, true)
	} else {
		s.out = append(s.out, raw...)
	}
	s.out = append(s.out, '"')
}

// unescape appends the characters that a checked string stands for.
func unescape(dst, raw []byte) []byte { return appendEscaped(dst, raw, false) }

// appendEscaped appends a checked string with its escapes decoded, and, when canonical is set, those characters escaped
// again that must be, in their shortest form.
func appendEscaped(dst, raw []byte, canonical bool) []byte {
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i:]
		r, n := decodeEscape(raw)
		raw = raw[n:]
		if canonical && (r < 0x20 || r == '"' || r == '\\') {
			dst = appendShortest(dst, byte(r))
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// decodeEscape decodes the checked escape at the start of raw.
func decodeEscape(raw []byte) (r rune, n int) {
	switch raw[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, _ = hex4(raw)
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		low, _ := hex4(raw[6:])
		return utf16.DecodeRune(r, low), 12
	}
	return rune(raw[1]), 2
}

// appendShortest writes the escape of a control character, a quote or a backslash.
//
// Spec: appendices v1.19 §grammar
func appendShortest(dst []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	case '"', '\\':
		return append(dst, '\\', c)
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}
