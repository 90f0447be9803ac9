package guests

import (
	"strings"
	"testing"
)

func TestNamesOfGuests(t *testing.T) {
	t.Parallel()
	for chosen, want := range map[string]string{
		"Anna":                   "Anna (guest)",
		"  Anna   Peeters ":      "Anna Peeters (guest)",
		"Anna (guest)":           "Anna (guest)",
		"Anna (guest) (guest)":   "Anna (guest)",
		"J.Smith":                "J.Smith (guest)",
		"Dr.Müller-Lüdenscheidt": "Dr.Müller-Lüdenscheidt (guest)",
		"Зоя Иванова":            "Зоя Иванова (guest)",
		"王小明":                    "王小明 (guest)",
		"محمد":                   "محمد (guest)",
		"می\u200cخواهم":          "می\u200cخواهم (guest)",
		"e\u0301milie":           "émilie (guest)",
		strings.Repeat("a", 100): strings.Repeat("a", 100) + " (guest)",
		"<b>Anna</b>":            "",
		"":                       "",
		" \t ":                   "",
		"...":                    "",
		"(guest)":                "(guest) (guest)",
		strings.Repeat("a", 101): "",
		strings.Repeat("é", 51):  "",
		"Anna\nBank":             "",
		"Anna\x00":               "",
		"Anna\x1b[31m":           "",
		"Anna\u202egro.live":     "",
		"Anna\u2066x\u2069":      "",
		"Anna\u200f":             "",
		"An\u200bna":             "",
		"An\u00adna":             "",
		"\ufeffAnna":             "",
		"Anna\u2028x":            "",
		"\xff\xfe":               "",
		"http://evil.example":    "",
		"see evil.com":           "",
		"evil.com/x":             "",
		"EVIL.COM":               "",
		"ｅｖｉｌ．ｃｏｍ":               "",
		"evil。com":               "",
		"www.evil":               "",
		"@alice:example.org":     "",
		"a@b":                    "",
		"mailto:anna":            "",
		"10.0.0.1":               "",
		"пример.рф":              "",
		"xn--e1afmkfd.xn--p1ai":  "",
		"bank.co.uk":             "",
		"Anna https://a":         "",
		"\u2066Anna":             "",
	} {
		got, err := DisplayName(chosen)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q becomes %q (%v), want %q", chosen, got, err, want)
		}
	}
}
