package people

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/limits"
)

// Words cuts a text into the words that the directories are searched by: runs of letters and digits, without case and accents.
func Words(text string) []string {
	return splitWords(text, limits.SearchTerms, func(word string) []string { return []string{word} })
}

// IndexWords are the words that a text is found by, at most limit. In scripts that are written without spaces a word begins at every letter, so
// that the beginning of a word is any part of the text.
func IndexWords(text string, limit int) []string {
	return splitWords(text, limit, func(word string) []string {
		all := []string{word}
		for i, r := range word {
			if i > 0 && unspaced(r) {
				all = append(all, word[i:])
			}
		}
		return all
	})
}

// unspaced reports letters of scripts that put no spaces between words.
func unspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// fold takes case and accents away.
func fold(text string) string {
	folded := cases.Fold().String(norm.NFKD.String(text))
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, folded)
}

func splitWords(text string, limit int, forms func(word string) []string) []string {
	folded := fold(text)
	var words []string
	seen := map[string]bool{}
	for run := range strings.FieldsFuncSeq(folded, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.Mc, r) }) {
		for _, word := range forms(run) {
			word = cut(word)
			if !seen[word] && len(words) < limit {
				seen[word] = true
				words = append(words, word)
			}
		}
	}
	return words
}

// cut shortens a word to what the index keeps of it.
func cut(word string) string {
	if len(word) <= limits.DirectoryWord {
		return word
	}
	end := limits.DirectoryWord
	for !utf8.RuneStart(word[end]) {
		end--
	}
	return word[:end]
}
