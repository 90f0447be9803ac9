package push

import (
	"strings"
	"unicode/utf8"
)

// glob is a pattern with * for any characters and ? for one, matched without regard to case. Each part between two * is looked for
// from where the one before it ended: nothing is ever tried twice, whatever the pattern.
//
// Spec: client-server v1.19 §push-rules; appendices §glob-style-matching
type glob struct {
	parts []string
}

func newGlob(pattern string) glob {
	return glob{strings.Split(strings.ToLower(pattern), "*")}
}

// matchAll reports whether the whole of text, which is in lower case, fits.
func (g glob) matchAll(text string) bool {
	first, rest := g.parts[0], g.parts[1:]
	end, ok := matchAt(text, 0, first)
	if !ok {
		return false
	}
	if len(rest) == 0 {
		return end == len(text)
	}
	for _, part := range rest[:len(rest)-1] {
		if _, end, ok = find(text, end, part, nil); !ok {
			return false
		}
	}
	_, _, ok = findLast(text, end, rest[len(rest)-1], func(_, e int) bool { return e == len(text) })
	return ok
}

// matchWords reports whether a part of text that begins and ends at a word boundary fits.
func (g glob) matchWords(text string) bool {
	rest := g.parts[1:]
	if len(rest) == 0 {
		_, _, ok := find(text, 0, g.parts[0], func(start, end int) bool { return boundary(text, start) && boundary(text, end) })
		return ok
	}
	_, end, ok := find(text, 0, g.parts[0], func(start, _ int) bool { return boundary(text, start) })
	for _, part := range rest[:len(rest)-1] {
		if !ok {
			return false
		}
		_, end, ok = find(text, end, part, nil)
	}
	if !ok {
		return false
	}
	_, _, ok = find(text, end, rest[len(rest)-1], func(_, end int) bool { return boundary(text, end) })
	return ok
}

// boundary reports whether a word begins or ends at i: at the start, at the end, or beside a character that is in no word.
func boundary(text string, i int) bool {
	return i == 0 || i == len(text) || !inWord(text[i-1]) || !inWord(text[i])
}

func inWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// find returns the first place at or after from where part fits and ok, if given, agrees.
func find(text string, from int, part string, ok func(start, end int) bool) (start, end int, found bool) {
	plain := !strings.Contains(part, "?")
	for at := from; at <= len(text); {
		if plain {
			i := strings.Index(text[at:], part)
			if i < 0 {
				return 0, 0, false
			}
			at += i
		}
		if end, fits := matchAt(text, at, part); fits && (ok == nil || ok(at, end)) {
			return at, end, true
		}
		_, size := utf8.DecodeRuneInString(text[at:])
		at += max(size, 1)
	}
	return 0, 0, false
}

// findLast is find for a part that has to end where the text does.
func findLast(text string, from int, part string, ok func(start, end int) bool) (start, end int, found bool) {
	at := len(text)
	for range utf8.RuneCountInString(part) {
		_, size := utf8.DecodeLastRuneInString(text[:at])
		at -= size
	}
	if at < from {
		return 0, 0, false
	}
	return find(text, at, part, ok)
}

// matchAt reports whether part, which has no *, fits at i, and where it ends.
func matchAt(text string, i int, part string) (end int, ok bool) {
	for _, p := range part {
		if i >= len(text) {
			return 0, false
		}
		c, size := utf8.DecodeRuneInString(text[i:])
		if p != '?' && p != c {
			return 0, false
		}
		i += size
	}
	return i, true
}
