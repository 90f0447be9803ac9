// Package people says what people are found by: the words of their names, their e-mail addresses, their phone numbers, and the digits of
// a keypad that spell their names. The directory of accounts and private address books are searched by the same rules.
//
// A Card becomes Keys, and a text that somebody typed a Query. A card is found when each term of the query has a key that begins with it,
// so that an index of keys in the order of bytes answers queries, and so does a loop over cards (Query.Matches).
//
//   - Names are without case and accents, and are also there in Latin letters: "Юлия" is found by "iuliia", "Müller" by "muller" and "mueller".
//   - An e-mail address is found by each of its words, or by its beginning.
//   - A phone number is found by its beginning and by its end, in any notation: numbers are kept as E.164, and what is typed as in the
//     country is completed by the region of the organisation.
//   - On a keypad 2 is a, b or c: a name is found by the digits of any of its words, and of those that follow.
//
// Start reading at Keys, then ParseQuery.
package people

import (
	"strings"

	"github.com/mozillazg/go-unidecode"

	"github.com/roomline/roomline/internal/limits"
)

// Card is what is known of a person. Everything may be empty.
type Card struct {
	// Name is the whole name as it is shown.
	Name string `json:"name,omitempty"`
	// Given, Family and Nickname are its parts, where they are known.
	Given    string `json:"given_name,omitempty"`
	Family   string `json:"family_name,omitempty"`
	Nickname string `json:"nickname,omitempty"`
	// Handle is the localpart of an account.
	Handle string   `json:"-"`
	Emails []string `json:"emails,omitempty"`
	// Phones are in any notation that Phone reads.
	Phones       []string `json:"phones,omitempty"`
	Organisation string   `json:"organisation,omitempty"`
	Department   string   `json:"department,omitempty"`
	Title        string   `json:"title,omitempty"`
}

// Kind is what a key is made of. Values are stored.
type Kind int16

// Kinds, in the order in which results are shown.
const (
	// KindName: a word of the name or of the localpart.
	KindName Kind = iota + 1
	// KindEmail: an e-mail address from one of its words on.
	KindEmail
	// KindPhone: the digits of a number as E.164, without the plus.
	KindPhone
	// KindPhoneEnd: the same backwards.
	KindPhoneEnd
	// KindKeypad: the digits of the name from one of its words on.
	KindKeypad
	// KindWork: a word of the title, the department or the organisation.
	KindWork
	// KindAddress: a whole e-mail address.
	KindAddress
)

// Key is something that a card is found by; in a query it is the beginning of one, or all of one.
type Key struct {
	Kind  Kind
	Text  string
	Whole bool
}

// Keys are what a card is found by, each once. region is the country (ISO 3166 alpha-2, or empty) whose notation phone numbers without a
// country code are in.
func Keys(c Card, region string) []Key {
	k := keySet{seen: make(map[Key]bool)}
	name := strings.Join([]string{c.Name, c.Given, c.Family, c.Nickname}, " ")
	k.words(KindName, c.Handle+" "+name, limits.UserWords)
	for _, text := range []string{c.Name, c.Given + " " + c.Family, c.Nickname} {
		k.keypad(text)
	}
	for _, address := range bounded(c.Emails) {
		k.email(address)
	}
	for _, number := range bounded(c.Phones) {
		if digits, ok := Phone(number, region); ok {
			k.add(KindPhone, digits)
			k.add(KindPhoneEnd, backwards(digits))
		}
	}
	k.words(KindWork, c.Title+" "+c.Department+" "+c.Organisation, limits.UserWords)
	return k.list
}

func bounded(list []string) []string { return list[:min(len(list), limits.PersonAddresses)] }

type keySet struct {
	list []Key
	seen map[Key]bool
}

func (k *keySet) add(kind Kind, text string) {
	key := Key{Kind: kind, Text: cut(text)}
	if kind == KindAddress {
		key.Text = text
	}
	if text == "" || k.seen[key] {
		return
	}
	k.seen[key] = true
	k.list = append(k.list, key)
}

// words adds the words of a text as they are, and in Latin letters.
func (k *keySet) words(kind Kind, text string, limit int) {
	for _, word := range IndexWords(text, limit) {
		k.add(kind, word)
	}
	for _, form := range latin(text) {
		for _, word := range splitWords(form, limit, func(word string) []string { return []string{word} }) {
			k.add(kind, word)
		}
	}
}

// umlauts are letters that some write as two.
var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "Ae", "Ö", "Oe", "Ü", "Ue", "ø", "oe", "Ø", "Oe", "å", "aa", "Å", "Aa")

// latin are the ways to write a text in Latin letters without accents; none if it has no others.
func latin(text string) []string {
	if isASCII(text) {
		return nil
	}
	forms := []string{unidecode.Unidecode(text)}
	if spelled := umlauts.Replace(text); spelled != text {
		forms = append(forms, unidecode.Unidecode(spelled))
	}
	return forms
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}

// keypad adds the digits of a name from each of its words on, and then of the words before: who types the family name may go on with the
// given one.
func (k *keySet) keypad(text string) {
	forms := append([]string{text}, latin(text)...)
	for _, form := range forms {
		var words []string
		for _, word := range splitWords(form, limits.SearchTerms, func(word string) []string { return []string{word} }) {
			if digits := keypadDigits(word); digits != "" {
				words = append(words, digits)
			}
		}
		for i := range words {
			k.add(KindKeypad, strings.Join(words[i:], "")+strings.Join(words[:i], ""))
		}
	}
}

// keypadDigits spells a word on a keypad; a word in other than Latin letters can't be.
func keypadDigits(word string) string {
	const keys = "22233344455566677778889999"
	digits := make([]byte, 0, len(word))
	for i := range len(word) {
		switch ch := word[i]; {
		case 'a' <= ch && ch <= 'z':
			digits = append(digits, keys[ch-'a'])
		case '0' <= ch && ch <= '9':
			digits = append(digits, ch)
		default:
			return ""
		}
	}
	return string(digits)
}

// email adds an address from each of its words on.
func (k *keySet) email(address string) {
	if address = fold(strings.TrimSpace(address)); len(address) > limits.EmailAddress {
		return
	}
	k.add(KindAddress, address)
	start := true
	for i := range len(address) {
		boundary := strings.IndexByte("@.-_+", address[i]) >= 0
		if start && !boundary {
			k.add(KindEmail, address[i:])
		}
		start = boundary
	}
}
