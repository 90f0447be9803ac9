package search

import (
	"strings"
	"testing"
)

func TestWordsAreFoldedAlike(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                            "",
		"Hello, World!":               "'hello':1 'world':2",
		"Übergröße für Müller":        "'ubergrosse':1 'fur':2 'muller':3",
		"L'été, l’œuvre et ça":        "'l':1 'ete':2 'l':3 'oeuvre':4 'et':5 'ca':6",
		"één ijsje; coördinatie":      "'een':1 'ijsje':2 'coordinatie':3",
		"rechnung_2026-11 v1.2":       "'rechnung':1 '2026':2 '11':3 'v1':4 '2':5",
		"o'clock \\ ' \" :* & | !":    "'o':1 'clock':2",
		"ﬁnance １２":                   "'finance':1 '12':2",
		"東京タワーabc":                    "'東':1 '京':2 'タ':3 'ワ':4 'ー':5 'abc':6",
		"e\u0301te\u0301 \u0301 \x00": "'ete':1",
		"😀 👩‍👩‍👧 ok":                  "'ok':1",
	} {
		if got := document(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := document(strings.Repeat("ü", 500)); len(got) > 80 {
		t.Errorf("a word of 500 letters: %s", got)
	}
	if got := len(words(strings.Repeat("a ", 20000), 5000)); got != 5000 {
		t.Errorf("%d words of a long text", got)
	}
}

func TestQueriesFindAllTerms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                    "",
		"  !! ":               "",
		"Rechnung für Müller": "('rechnung':*) & ('fur':*) & ('muller':*)",
		"de zon":              "('de') & ('zon':*)",
		`"de zon" schijnt`:    "('de' <-> 'zon') & ('schijnt':*)",
		`open "quote end`:     "('open':*) & ('quote' <-> 'end')",
		"東京 abc":              "('東' <-> '京') & ('abc':*)",
		"') | ('x":            "('x')",
	} {
		q := parseQuery(text)
		if got := q.tsquery(); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if q := parseQuery(strings.Repeat("word ", 100)); len(q.terms) != 20 {
		t.Errorf("%d terms of a long query", len(q.terms))
	}
}
