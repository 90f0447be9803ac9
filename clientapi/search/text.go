package search

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/limits"
)

// Words are the same in the index and in what people search for: small letters without accents, so that "Ueber" is not "über" but
// "resume" is "résumé". The languages of an organisation are mixed in one room and often in one message, so there are no stems;
// a search finds what begins with its words instead.

// word is a word of a text, as it is compared and as it was written.
type word struct {
	text, written string
}

// letters that are not a letter with an accent, and yet are written without on other keyboards.
var plain = strings.NewReplacer("ß", "ss", "æ", "ae", "œ", "oe", "ø", "o", "đ", "d", "ð", "d", "ł", "l", "ı", "i", "þ", "th")

// fold brings a written word into the form in which words are compared.
func fold(written string) string {
	small := strings.ToLower(written)
	ascii := true
	for i := 0; i < len(small) && ascii; i++ {
		ascii = small[i] < utf8.RuneSelf
	}
	if !ascii {
		small = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.Mn, r) || !isWord(r) {
				return -1
			}
			return r
		}, norm.NFKD.String(plain.Replace(small)))
	}
	if len(small) > limits.SearchWord {
		small = strings.ToValidUTF8(small[:limits.SearchWord], "")
	}
	return small
}

// firstMark and firstAlone are where the marks and the scripts without spaces begin: most text lies below, and is not looked up in tables.
const (
	firstMark  = 0x0300
	firstAlone = 0x0e00
)

func isWord(r rune) bool {
	if r < firstMark {
		return unicode.IsLetter(r) || unicode.IsNumber(r)
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.M, r)
}

// alone reports letters of scripts that have no spaces: each is a word by itself.
func alone(r rune) bool {
	return r >= firstAlone && (r == 'ー' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar))
}

// words cuts a text into its words, at most max.
func words(text string, max int) []word {
	var list []word
	add := func(written string) {
		if folded := fold(written); folded != "" && len(list) < max {
			list = append(list, word{folded, written})
		}
	}
	start := -1
	for i, r := range text {
		if len(list) >= max {
			return list
		}
		single := alone(r)
		if start >= 0 && (single || !isWord(r)) {
			add(text[start:i])
			start = -1
		}
		switch {
		case single:
			add(string(r))
		case start < 0 && isWord(r):
			start = i
		}
	}
	if start >= 0 {
		add(text[start:])
	}
	return list
}

// document is a text as PostgreSQL keeps it for searching: its words with their places. Words have letters and numbers only, so there
// is nothing to escape.
func document(text string) string {
	var b strings.Builder
	for i, w := range words(text, limits.SearchWords) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('\'')
		b.WriteString(w.text)
		b.WriteString("':")
		b.WriteString(strconv.Itoa(i + 1))
	}
	return b.String()
}

// prefixFrom is how many letters a word has at least whose continuations are found too: "de" must not find half of all words.
const prefixFrom = 3

// query is what somebody searches for: all of its terms.
type query struct {
	terms [][]string // each a word, or words that stand one behind the other
}

// parseQuery reads a search term. Words in quotation marks stand one behind the other, as do letters of scripts without spaces.
func parseQuery(text string) query {
	var q query
	for i, part := range strings.Split(text, `"`) {
		list := words(part, limits.QueryTerms)
		if i%2 == 1 {
			q.add(list)
			continue
		}
		for len(list) > 0 {
			n := 1
			for first := firstRune(list[0].text); n < len(list) && alone(first) && alone(firstRune(list[n].text)); n++ {
			}
			q.add(list[:n])
			list = list[n:]
		}
	}
	return q
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

func (q *query) add(list []word) {
	var term []string
	for _, w := range list {
		term = append(term, w.text)
	}
	if len(term) > 0 && len(q.terms) < limits.QueryTerms {
		q.terms = append(q.terms, term)
	}
}

// tsquery is the query as PostgreSQL reads it, empty when there is no word in it.
func (q *query) tsquery() string {
	var b strings.Builder
	for i, term := range q.terms {
		if i > 0 {
			b.WriteString(" & ")
		}
		b.WriteByte('(')
		for n, w := range term {
			if n > 0 {
				b.WriteString(" <-> ")
			}
			b.WriteString("'" + w + "'")
			if isPrefix(term) {
				b.WriteString(":*")
			}
		}
		b.WriteByte(')')
	}
	return b.String()
}

// isPrefix reports whether a term finds what begins with it.
func isPrefix(term []string) bool {
	return len(term) == 1 && utf8.RuneCountInString(term[0]) >= prefixFrom
}

// matches reports whether a word is one of those that were searched for.
func (q *query) matches(w word) bool {
	for _, term := range q.terms {
		for _, t := range term {
			if w.text == t || isPrefix(term) && strings.HasPrefix(w.text, t) {
				return true
			}
		}
	}
	return false
}
