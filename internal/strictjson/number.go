package strictjson

import (
	"bytes"
	"strconv"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// number reads a number and writes its canonical form.
func (s *scanner) number() error {
	start := s.pos
	s.take('-')
	whole := s.pos
	if !s.take('0') && s.digits() == 0 {
		return s.unexpected()
	}
	end := s.pos
	fraction := s.take('.')
	if fraction && s.digits() == 0 {
		return s.unexpected()
	}
	exponent := s.take('e') || s.take('E')
	if exponent {
		_ = s.take('+') || s.take('-')
		if s.digits() == 0 {
			return s.unexpected()
		}
	}
	literal := s.in[start:s.pos]
	switch {
	case !fraction && !exponent:
		if !inRange(s.in[whole:end]) {
			return matrix.BadJSON("the integer at byte %d is outside ±(2^53-1)", start)
		}
		if s.in[whole] == '0' {
			literal = s.in[whole:end] // -0 is written 0
		}
	case s.numbers == integersOnly:
		return matrix.BadJSON("the number at byte %d must be an integer without fraction or exponent", start)
	case exponent && s.writing:
		s.out = appendWhole(s.out, literal)
		return nil
	}
	if s.writing {
		s.out = append(s.out, literal...)
	}
	return nil
}

// digits consumes digits and counts them.
func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.in) && isDigit(s.in[s.pos]) {
		s.pos++
	}
	return s.pos - start
}

// maxDigits is the number of digits of limits.MaxInteger.
const maxDigits = 16

// inRange reports whether the digits are at most limits.MaxInteger.
func inRange(digits []byte) bool {
	if len(digits) > maxDigits {
		return false
	}
	var n int64
	for _, c := range digits {
		n = n*10 + int64(c-'0')
	}
	return n <= limits.MaxInteger
}

// appendWhole appends a number with an exponent: as an integer if it is one within range, else as it stands. It counts
// digits instead of calculating, so nothing is rounded.
func appendWhole(dst, literal []byte) []byte {
	mantissa, power, _ := bytes.Cut(bytes.ToLower(literal), []byte("e"))
	exp, err := strconv.Atoi(string(power))
	if err != nil || exp > 1000 || exp < -1000 {
		return append(dst, literal...)
	}
	sign := bytes.HasPrefix(mantissa, []byte("-"))
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte("-")), []byte("."))
	digits := append(bytes.Clone(whole), fraction...)
	exp -= len(fraction)
	trimmed := bytes.TrimRight(digits, "0")
	exp += len(digits) - len(trimmed)
	digits = bytes.TrimLeft(trimmed, "0")
	if len(digits) == 0 {
		return append(dst, '0')
	}
	if exp < 0 || len(digits)+exp > maxDigits {
		return append(dst, literal...)
	}
	digits = append(digits, bytes.Repeat([]byte("0"), exp)...)
	if !inRange(digits) {
		return append(dst, literal...)
	}
	if sign {
		dst = append(dst, '-')
	}
	return append(dst, digits...)
}
