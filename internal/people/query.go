package people

import (
	"strings"

	"github.com/roomline/roomline/internal/limits"
)

// Query is what somebody looks for. The zero value finds nobody.
type Query struct {
	// Terms have all to be met; of each term one of its beginnings is enough.
	Terms  []Term
	region string
}

// Term is a set of beginnings of keys.
type Term []Key

// Why at least these many: fewer digits are the end of every tenth or hundredth number, and the list of all of them is of no use.
const (
	fewestEndDigits = 3
	fewestDigits    = 2
)

// ParseQuery reads what somebody typed. region is the country whose notation numbers are dialled in.
func ParseQuery(text, region string) Query {
	q := Query{region: region}
	text = strings.TrimSpace(text)
	if isDialled(text) {
		q.add(digitTerm(text, region))
		return q
	}
	for token := range strings.FieldsSeq(text) {
		switch {
		case strings.ContainsRune(token, '@'):
			q.add(Term{{Kind: KindEmail, Text: cut(fold(strings.TrimLeft(token, "@")))}})
		case isDialled(token):
			q.add(digitTerm(token, region))
		default:
			for _, word := range Words(token) {
				q.add(wordTerm(word))
			}
		}
	}
	return q
}

// NameQuery looks for names only, EmailQuery for a whole e-mail address, PhoneQuery for a whole phone number.
func NameQuery(text string) Query {
	var q Query
	for _, word := range Words(text) {
		q.add(Term{{Kind: KindName, Text: word}})
	}
	return q
}

// EmailQuery is described at NameQuery.
func EmailQuery(address string) Query {
	var q Query
	q.add(Term{{Kind: KindAddress, Text: fold(strings.TrimSpace(address)), Whole: true}})
	return q
}

// PhoneQuery is described at NameQuery.
func PhoneQuery(number, region string) Query {
	q := Query{region: region}
	if digits, ok := Phone(number, region); ok {
		q.add(Term{{Kind: KindPhone, Text: digits, Whole: true}})
	}
	return q
}

// AddressQuery looks for whoever has one of the cards' e-mail addresses or phone numbers.
func AddressQuery(cards []Card, region string) Query {
	var t Term
	for _, c := range cards {
		for _, key := range Keys(Card{Emails: c.Emails, Phones: c.Phones}, region) {
			if (key.Kind == KindAddress || key.Kind == KindPhone) && len(t) < limits.AddressesSought {
				key.Whole = true
				t = append(t, key)
			}
		}
	}
	q := Query{region: region}
	q.add(t)
	return q
}

func (q *Query) add(t Term) {
	for i := range t {
		if t[i].Text == "" {
			return
		}
	}
	if len(t) > 0 && len(q.Terms) < limits.SearchTerms {
		q.Terms = append(q.Terms, t)
	}
}

// Empty reports a query that finds nobody.
func (q Query) Empty() bool { return len(q.Terms) == 0 }

func wordTerm(word string) Term {
	t := Term{{Kind: KindName, Text: word}, {Kind: KindEmail, Text: word}, {Kind: KindWork, Text: word}}
	for _, form := range latin(word) {
		// A word that becomes several, as Chinese does, is found as it is only.
		if words := Words(form); len(words) == 1 && words[0] != word {
			t = append(t, Key{Kind: KindName, Text: words[0]})
		}
	}
	return t
}

// digitTerm is a phone number, its beginning or its end, or a name on a keypad.
func digitTerm(text, region string) Term {
	digits := onlyDigits(text)
	t := Term{{Kind: KindName, Text: digits}}
	if len(digits) >= fewestDigits {
		for _, start := range phoneStarts(text, region) {
			if start != "" {
				t = append(t, Key{Kind: KindPhone, Text: start})
			}
		}
	}
	if strings.ContainsRune(text, '+') {
		return t
	}
	if end := withoutTrunk(digits, region); len(end) >= fewestEndDigits {
		t = append(t, Key{Kind: KindPhoneEnd, Text: backwards(end)})
	}
	// 0 is the space of a keypad, and 1 has no letters.
	if spelled := strings.Map(func(r rune) rune {
		if r == '0' || r == '1' {
			return -1
		}
		return r
	}, digits); spelled != "" {
		t = append(t, Key{Kind: KindKeypad, Text: spelled})
	}
	return t
}

// Matches reports whether a card is found. Phone numbers of the card are read in the notation of the query's region.
func (q Query) Matches(c Card) bool {
	return q.Meets(Keys(c, q.region))
}

// Meets is Matches for who keeps the keys of cards, with the same region.
func (q Query) Meets(keys []Key) bool {
	if q.Empty() {
		return false
	}
	for _, term := range q.Terms {
		if !term.meets(keys) {
			return false
		}
	}
	return true
}

func (t Term) meets(keys []Key) bool {
	for _, start := range t {
		for _, key := range keys {
			if key.Kind == start.Kind && strings.HasPrefix(key.Text, start.Text) && (!start.Whole || key.Text == start.Text) {
				return true
			}
		}
	}
	return false
}
