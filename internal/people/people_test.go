package people

import (
	"strings"
	"testing"
)

var cards = []Card{
	{Name: "Björk Guðmundsdóttir", Handle: "b12", Emails: []string{"Bjork.G@Music.example.is"}, Phones: []string{"+354 570-1234"}},
	{Name: "Юлия Петрова", Phones: []string{"0171 / 234 56 78"}, Title: "Leiterin", Department: "Einkauf"},
	{Name: "王小明", Phones: []string{"4711"}},
	{Name: "Jürgen Müller", Given: "Jürgen", Family: "Müller", Emails: []string{"j.mueller@example.de"}, Phones: []string{"+4930123456"}, Organisation: "Example"},
	{Name: "Alice Adams", Phones: []string{"491719876543"}},
}

func TestPeopleAreFoundByWhatOneTypes(t *testing.T) {
	for text, want := range map[string]string{
		"bjork": "Björk", "GUD bj": "Björk", "guð": "Björk", "b12": "Björk", "ork": "", "bjork petrova": "",
		"юл": "Юлия", "iul": "Юлия", "петрова ЮЛИЯ": "Юлия",
		"王": "王小明", "小明": "王小明", "wang": "王小明", "xiao wang": "王小明", "明小": "",
		"muller": "Jürgen", "mueller": "Jürgen", "MÜLLER jurg": "Jürgen", "juergen": "Jürgen",
		"j.mueller@exa": "Jürgen", "mueller@example.de": "Jürgen", "bjork.g@music": "Björk", "music": "Björk", "g@music.example.is": "Björk",
		"+354570": "Björk", "00354 5701234": "Björk", "1234": "Björk", "570 12 34": "Björk",
		"+49 171 2345678": "Юлия", "01712345678": "Юлия", "0171 23": "Юлия", "171 2345678": "Юлия", "45678": "Юлия", "0049171234": "Юлия", "(0171) 234-5678": "Юлия",
		"030 123456": "Jürgen", "3456": "Jürgen", "4711": "王小明", "0171 9876543": "Alice",
		"254": "Alice", "25423": "Alice", "25423 23": "Alice", "25423023267": "Alice", "2326725423": "Alice", "23267": "Alice", "58743": "Jürgen",
		"einkauf": "Юлия", "leiterin petr": "Юлия", "alice 6543": "Alice", "alice 9999": "",
		"": "", "!!": "", "@": "", "+": "", "99999999": "",
	} {
		q := ParseQuery(text, "DE")
		var found []string
		for _, c := range cards {
			if q.Matches(c) {
				found = append(found, c.Name)
			}
		}
		if got := strings.Join(found, ", "); want == "" && got != "" || want != "" && (!strings.HasPrefix(got, want) || len(found) != 1) {
			t.Errorf("%q finds %q, not %q", text, got, want)
		}
	}
}

func TestNumbersInAnyNotationAreOneNumber(t *testing.T) {
	for _, c := range []struct{ text, region, want string }{
		{"0171 2345678", "DE", "491712345678"}, {"+49 (0) 171 2345678", "", "491712345678"}, {"0049-171-234.5678", "DE", "491712345678"},
		{"+39 06 6982", "", "39066982"}, {"06 69812345", "IT", "390669812345"}, {"(202) 555-0123", "US", "12025550123"}, {"1-202-555-0123", "US", "12025550123"},
		{"tel:+44-20-7946-0018", "", "442079460018"}, {"8 (495) 123-45-67", "RU", "74951234567"}, {"12", "DE", "12"}, {"491712345678", "", "491712345678"},
	} {
		if got, ok := Phone(c.text, c.region); !ok || got != c.want {
			t.Errorf("%s in %s is %s, not %s", c.text, c.region, got, c.want)
		}
	}
	for _, text := range []string{"", " ", "no number", strings.Repeat("1", 200)} {
		if got, ok := Phone(text, "DE"); ok {
			t.Errorf("%q is the number %s", text, got)
		}
	}
}

func TestWholeAddressesAreLookedUp(t *testing.T) {
	jurgen := cards[3]
	for _, c := range []struct {
		q    Query
		want bool
	}{
		{EmailQuery("J.Mueller@example.de"), true}, {EmailQuery("k.mueller@example.de"), false}, {EmailQuery("mueller@example.de"), false}, {EmailQuery("j.mueller@example.d"), false}, {PhoneQuery("030 12 34 56", "DE"), true},
		{PhoneQuery("030 12 34 57", "DE"), false}, {PhoneQuery("x", "DE"), false}, {NameQuery("müller jürgen"), true}, {NameQuery("example"), false},
	} {
		if got := c.q.Matches(jurgen); got != c.want {
			t.Errorf("%v: %v", c.q.Terms, got)
		}
	}
}

func TestKeysAreBounded(t *testing.T) {
	many := Card{Name: strings.Repeat("ä b c d e f g h i j k l m n ", 100)}
	for range 100 {
		many.Emails = append(many.Emails, strings.Repeat("x.", 100)+"@example.org")
		many.Phones = append(many.Phones, "+491712345678")
	}
	if n := len(Keys(many, "")); n > 1000 {
		t.Errorf("%d keys", n)
	}
	if n := len(ParseQuery(strings.Repeat("a1 b2 c3 ", 50), "").Terms); n > 8 {
		t.Errorf("%d terms", n)
	}
}
