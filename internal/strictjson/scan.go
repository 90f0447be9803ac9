package strictjson

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// scanner walks through one document. While writing, the canonical form grows in out.
type scanner struct {
	in      []byte
	pos     int
	depth   int
	keys    int
	numbers numbers

	writing bool
	out     []byte

	members []member // of all objects that are open, the innermost last
	high    int      // most members ever held
	sorting []byte   // members of one object in their new order
}

// member is one key of an open object: the decoded key, and where "key":value stands in out.
type member struct {
	key        []byte
	start, end int
}

// release gives the scanner back without anything of the input.
func (s *scanner) release() {
	members, sorting := s.members[:0], s.sorting[:0]
	clear(members[:s.high])
	if cap(members) > 1024 || cap(sorting) > 64<<10 {
		members, sorting = nil, nil
	}
	*s = scanner{members: members, sorting: sorting}
	scanners.Put(s)
}

// document reads the one value and insists that nothing follows.
func (s *scanner) document(sh *shape) error {
	s.space()
	if s.pos == len(s.in) {
		return matrix.NotJSON("the body is empty; JSON is expected")
	}
	if err := s.value(sh); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.in) {
		return matrix.NotJSON("unexpected data after the JSON value, at byte %d", s.pos)
	}
	return nil
}

// space skips insignificant white space.
func (s *scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value reads any value. The shape tells which keys are fields; nil when it does not matter.
func (s *scanner) value(sh *shape) error {
	if s.pos == len(s.in) {
		return s.ended()
	}
	switch c := s.in[s.pos]; c {
	case '{':
		return s.nested((*scanner).object, sh)
	case '[':
		return s.nested((*scanner).array, sh)
	case '"':
		_, err := s.text()
		return err
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		if c == '-' || isDigit(c) {
			return s.number()
		}
		return s.unexpected()
	}
}

// nested counts the depth around an object or an array.
func (s *scanner) nested(read func(*scanner, *shape) error, sh *shape) error {
	if s.depth == limits.JSONDepth {
		return matrix.BadJSON("JSON is nested deeper than %d levels, at byte %d", limits.JSONDepth, s.pos)
	}
	s.depth++
	err := read(s, sh)
	s.depth--
	return err
}

func (s *scanner) array(sh *shape) error {
	element := sh.element()
	s.pos++
	s.emit('[')
	s.space()
	if s.take(']') {
		s.emit(']')
		return nil
	}
	for {
		if err := s.value(element); err != nil {
			return err
		}
		s.space()
		if s.take(']') {
			s.emit(']')
			return nil
		}
		if !s.take(',') {
			return s.unexpected()
		}
		s.emit(',')
		s.space()
	}
}

func (s *scanner) object(sh *shape) error {
	s.pos++
	s.emit('{')
	s.space()
	if s.take('}') {
		s.emit('}')
		return nil
	}
	begin, first, sorted := len(s.out), len(s.members), true
	for {
		m, err := s.member(sh)
		if err != nil {
			return err
		}
		if n := len(s.members); n > first && bytes.Compare(s.members[n-1].key, m.key) >= 0 {
			sorted = false
		}
		s.members = append(s.members, m)
		s.high = max(s.high, len(s.members))
		s.space()
		if s.take('}') {
			break
		}
		if !s.take(',') {
			return s.unexpected()
		}
		s.emit(',')
		s.space()
	}
	if !sorted {
		if err := s.sort(s.members[first:], begin); err != nil {
			return err
		}
	}
	s.emit('}')
	s.members = s.members[:first]
	return nil
}

// member reads "key":value.
func (s *scanner) member(sh *shape) (member, error) {
	start := len(s.out)
	at := s.pos
	if at == len(s.in) || s.in[at] != '"' {
		return member{}, s.unexpected()
	}
	if s.keys++; s.keys > limits.JSONKeys {
		return member{}, matrix.BadJSON("JSON has more than %d keys", limits.JSONKeys)
	}
	escaped, err := s.text()
	if err != nil {
		return member{}, err
	}
	key := s.in[at+1 : s.pos-1]
	if escaped {
		key = unescape(make([]byte, 0, len(key)), key)
	}
	of, err := sh.field(key)
	if err != nil {
		return member{}, err
	}
	s.space()
	if !s.take(':') {
		return member{}, s.unexpected()
	}
	s.emit(':')
	s.space()
	if err := s.value(of); err != nil {
		return member{}, err
	}
	return member{key: key, start: start, end: len(s.out)}, nil
}

// sort puts the members of the object that began at begin in order, and finds those that occur twice. The order of UTF-8
// bytes is the order of code points.
func (s *scanner) sort(members []member, begin int) error {
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	for i := 1; i < len(members); i++ {
		if bytes.Equal(members[i-1].key, members[i].key) {
			return matrix.BadJSON("duplicate key %q", shorten(string(members[i].key)))
		}
	}
	if !s.writing {
		return nil
	}
	ordered := s.sorting[:0]
	for i, m := range members {
		if i > 0 {
			ordered = append(ordered, ',')
		}
		ordered = append(ordered, s.out[m.start:m.end]...)
	}
	copy(s.out[begin:], ordered)
	s.sorting = ordered
	return nil
}

// word reads a literal name.
func (s *scanner) word(w string) error {
	if len(s.in)-s.pos < len(w) || string(s.in[s.pos:s.pos+len(w)]) != w {
		return s.unexpected()
	}
	s.pos += len(w)
	if s.writing {
		s.out = append(s.out, w...)
	}
	return nil
}

// take consumes c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.pos < len(s.in) && s.in[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) emit(c byte) {
	if s.writing {
		s.out = append(s.out, c)
	}
}

func (s *scanner) ended() error {
	return matrix.NotJSON("JSON ends early, at byte %d", s.pos)
}

// unexpected is the error for the byte at pos.
func (s *scanner) unexpected() error {
	if s.pos >= len(s.in) {
		return s.ended()
	}
	c := s.in[s.pos]
	if c < 0x20 || c >= utf8.RuneSelf {
		return matrix.NotJSON("unexpected byte 0x%02x in JSON, at byte %d", c, s.pos)
	}
	return matrix.NotJSON("unexpected %q in JSON, at byte %d", c, s.pos)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
