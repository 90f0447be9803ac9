package vcard

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	govcard "github.com/emersion/go-vcard"
)

func parse(t *testing.T, text string) *Card {
	t.Helper()
	c, err := Parse([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c
}

func card(text string) string { return "BEGIN:VCARD\n" + strings.TrimSpace(text) + "\nEND:VCARD\n" }

// What programs write is the same after it was read and written, but for where lines are broken.
func TestWhatIsReadIsWrittenAgain(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		card("VERSION:3.0\nN:Doe;John;Q.,Public;;\nFN:John Doe\nCATEGORIES:friends,a\\,b\nitem1.X-ABLABEL:_$!<Other>!$_\nitem1.TEL;TYPE=CELL,pref:+1 555"),
		card("VERSION:4.0\nFN:J\nADR;LABEL=\"12 Road; Town: x\":;;12 Road;Town;;;\nNOTE:a\\nb\\;c\nX-UNKNOWN;X-P=\"a,b\",c:what\\ever"),
	} {
		if got := strings.ReplaceAll(string(parse(t, text).Bytes()), "\r\n", "\n"); got != text {
			t.Errorf("got\n%s\nwant\n%s", got, text)
		}
	}
}

func TestLongLinesAreFoldedBetweenCharacters(t *testing.T) {
	t.Parallel()
	note := strings.Repeat("größe ", 60)
	c := &Card{Version: V3, Properties: []Property{{Name: "FN", Value: "x"}, {Name: "N", Value: "x;;;;"}, {Name: "NOTE", Value: note}}}
	for line := range strings.SplitSeq(string(c.Bytes()), "\r\n") {
		if len(line) > lineLength || strings.ToValidUTF8(line, "?") != line {
			t.Errorf("line of %d bytes: %q", len(line), line)
		}
	}
	back, err := Parse(c.Bytes())
	if err != nil || back.Text("NOTE") != note {
		t.Errorf("%v, %q", err, back.Text("NOTE"))
	}
}

func TestVersion21IsRead(t *testing.T) {
	t.Parallel()
	c := parse(t, `BEGIN:VCARD
VERSION:2.1
N;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;J=F6rg;;Dr.;
FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg M=C3=BCller
TEL;WORK;VOICE:+49 30 123
TEL;PREF;CELL:0171 5
EMAIL;INTERNET:joerg@example.org
ADR;HOME;ENCODING=QUOTED-PRINTABLE:;;Hauptstr. 5, Hof\; links;Berlin;;10115;
ORG:Beispiel, Sohn & Co;Einkauf
NOTE;ENCODING=QUOTED-PRINTABLE:erste Zeile=0D=0Azweite, sehr lange =
Zeile; Ende
AGENT:
BEGIN:VCARD
VERSION:2.1
N:Agent
END:VCARD
PHOTO;ENCODING=BASE64;JPEG:
 /9j/4AAQ
 SkZJRg==

REV:20240101T000000Z
END:VCARD
`)
	got := c.As(V3)
	want := []Property{
		{"", "N", nil, "Müller;Jörg;;Dr.;"},
		{"", "FN", nil, "Jörg Müller"},
		{"", "TEL", []Param{{"TYPE", []string{"WORK"}}, {"TYPE", []string{"VOICE"}}}, "+49 30 123"},
		{"", "TEL", []Param{{"TYPE", []string{"PREF"}}, {"TYPE", []string{"CELL"}}}, "0171 5"},
		{"", "EMAIL", []Param{{"TYPE", []string{"INTERNET"}}}, "joerg@example.org"},
		{"", "ADR", []Param{{"TYPE", []string{"HOME"}}}, `;;Hauptstr. 5\, Hof\; links;Berlin;;10115;`},
		{"", "ORG", nil, `Beispiel\, Sohn & Co;Einkauf`},
		{"", "NOTE", nil, `erste Zeile\nzweite\, sehr lange Zeile\; Ende`},
		{"", "AGENT", nil, ""},
		{"", "PHOTO", []Param{{"TYPE", []string{"JPEG"}}, {"ENCODING", []string{"b"}}}, "/9j/4AAQSkZJRg=="},
		{"", "REV", nil, "20240101T000000Z"},
	}
	for i := range want {
		if i >= len(got.Properties) || !reflect.DeepEqual(normal(got.Properties[i]), normal(want[i])) {
			t.Errorf("property %d is %+v, want %+v", i, got.Properties[i], want[i])
		}
	}
	four := c.As(V4)
	if p := four.Get("PHOTO"); p.Value != "data:image/jpeg;base64,/9j/4AAQSkZJRg==" || len(p.Params) != 0 {
		t.Errorf("the picture in 4.0: %+v", p)
	}
	if four.Get("AGENT") != nil {
		t.Error("4.0 has no AGENT")
	}
}

func normal(p Property) Property {
	if len(p.Params) == 0 {
		p.Params = nil
	}
	return p
}

func TestVersionsBecomeEachOther(t *testing.T) {
	t.Parallel()
	three := card(`VERSION:3.0
N:Doe;John;;;
FN:John Doe
TEL;TYPE=CELL,PREF:+1 555
EMAIL;TYPE=INTERNET:j@example.org
BDAY:1985-04-12
PHOTO;ENCODING=b;TYPE=PNG:iVBORw0KGgo=
GEO:37.38;-122.08
X-ADDRESSBOOKSERVER-KIND:group
CLASS:PRIVATE`)
	four := card(`VERSION:4.0
N:Doe;John;;;
FN:John Doe
TEL;TYPE=cell;PREF=1:+1 555
EMAIL:j@example.org
BDAY:19850412
PHOTO:data:image/png;base64,iVBORw0KGgo=
GEO:geo:37.38,-122.08
KIND:group`)
	if got := text(parse(t, three).As(V4)); got != four {
		t.Errorf("3.0 as 4.0:\n%s", got)
	}
	back := card(`VERSION:3.0
N:Doe;John;;;
FN:John Doe
TEL;TYPE=cell;TYPE=pref:+1 555
EMAIL:j@example.org
BDAY:1985-04-12
PHOTO;ENCODING=b;TYPE=PNG:iVBORw0KGgo=
GEO:37.38;-122.08
X-ADDRESSBOOKSERVER-KIND:group`)
	if got := text(parse(t, four).As(V3)); got != back {
		t.Errorf("4.0 as 3.0:\n%s", got)
	}
	apple := parse(t, card("VERSION:3.0\nN:A;;;;\nFN:A\nBDAY;X-APPLE-OMIT-YEAR=1604;VALUE=date:1604-04-12"))
	if got := apple.As(V4).Get("BDAY"); got.Value != "--0412" || len(got.Params) != 0 {
		t.Errorf("a birthday without a year: %+v", got)
	}
	if got := apple.As(V4).As(V3).Get("BDAY"); got.Value != "1604-04-12" || got.Params[0].Name != "X-APPLE-OMIT-YEAR" {
		t.Errorf("and back: %+v", got)
	}
	if got := parse(t, card("VERSION:4.0\nFN;PREF=2:B\nFN;PREF=1:A\nTEL;VALUE=uri:tel:+1-555")).As(V3); text(got) !=
		card("VERSION:3.0\nN:A;;;;\nFN;TYPE=pref:A\nTEL:+1-555") {
		t.Errorf("several names:\n%s", text(got))
	}
}

func text(c *Card) string { return strings.ReplaceAll(string(c.Bytes()), "\r\n", "\n") }

func TestVersion21IsWrittenAndReadAgain(t *testing.T) {
	t.Parallel()
	c := parse(t, card(`VERSION:3.0
N:Müller;Jörg\;x;;;
FN:Jörg Müller
TEL;TYPE=WORK,pref:+49
NOTE:a\nb ends with =
PHOTO;ENCODING=b;TYPE=JPEG:`+strings.Repeat("QUJD", 60)))
	old := c.As(V21)
	for line := range strings.SplitSeq(text(old), "\n") {
		if len(line) > 76 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Errorf("line %q", line)
		}
	}
	back, err := Parse(old.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, old.Bytes())
	}
	for _, name := range []string{"N", "FN", "NOTE", "PHOTO", "TEL"} {
		if got, want := back.Get(name).Value, c.Get(name).Value; got != want {
			t.Errorf("%s is %q, was %q", name, got, want)
		}
	}
}

func TestBrokenCardsAreRefusedAndTheNextIsRead(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{
		"VERSION:3.0\nFN", "VERSION:3.0\nF N:x", "VERSION:5.0\nFN:x", "VERSION:3.0\nFN;A:x\nTEL;X=\"a:b", "VERSION:3.0\nFN:\xff",
		"VERSION:2.1\nFN;CHARSET=klingon:x", "VERSION:3.0\n" + strings.Repeat("X-A:1\n", 5000),
	} {
		s := NewScanner([]byte("junk\n" + card(broken) + card("VERSION:3.0\nFN:good\nN:good;;;;")))
		if c, err := s.Next(); err == nil || errors.Is(err, ErrNone) {
			t.Errorf("%.40q is read: %+v", broken, c)
		}
		c, err := s.Next()
		if err != nil || c.Text("FN") != "good" {
			t.Errorf("after %.40q: %v", broken, err)
		}
	}
	if _, err := Parse([]byte("BEGIN:VCARD\nVERSION:3.0\nFN:x\n")); err == nil {
		t.Error("a card without END is read")
	}
	if _, err := Parse([]byte(card("VERSION:3.0\nFN:x") + card("VERSION:3.0\nFN:y"))); err == nil {
		t.Error("two cards are read as one")
	}
}

func TestFieldsChangeWhatTheySpeakOf(t *testing.T) {
	t.Parallel()
	c := parse(t, card(`VERSION:3.0
N:Doe;John;Quincy;Dr.;
FN:Dr. John Doe
ORG:Acme;Sales;East
item1.TEL;TYPE=CELL;X-EXTRA=1:+1 555
item1.X-ABLabel:Boat
TEL;TYPE=HOME:+1 666
PHOTO;ENCODING=b;TYPE=JPEG:QUJD`))
	f := c.Fields()
	want := Fields{Name: "Dr. John Doe", Given: "John", Family: "Doe", Organisation: "Acme", Department: "Sales",
		Phones: []Value{{"+1 555", "cell"}, {"+1 666", "home"}}}
	if !reflect.DeepEqual(f, want) {
		t.Fatalf("fields %+v", f)
	}
	f.Family, f.Title, f.Phones = "Roe", "Buyer; chief", []Value{{"+1 555", "cell"}, {"+1 777", "work"}}
	c.SetFields(f)
	if got, want := text(c), card(`VERSION:3.0
N:Roe;John;Quincy;Dr.;
FN:Dr. John Doe
ORG:Acme;Sales;East
item1.X-ABLABEL:Boat
PHOTO;ENCODING=b;TYPE=JPEG:QUJD
TITLE:Buyer\; chief
item1.TEL;TYPE=CELL;X-EXTRA=1:+1 555
TEL;TYPE=work:+1 777`); got != want {
		t.Errorf("got\n%s", got)
	}
}

// Everything that is written is read by a library of others, which knows 3.0 and 4.0.
func TestOthersReadWhatIsWritten(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.vcf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := NewScanner(content)
		for n := 1; ; n++ {
			c, err := s.Next()
			if errors.Is(err, ErrNone) {
				break
			}
			if err != nil {
				t.Fatalf("%s, card %d: %v", file, n, err)
			}
			for _, version := range []string{V3, V4} {
				as := c.As(version)
				read, err := govcard.NewDecoder(strings.NewReader(string(as.Bytes()))).Decode()
				if err != nil {
					t.Fatalf("%s, card %d as %s: %v", file, n, version, err)
				}
				if read.Value("VERSION") != version || read.Value("FN") != as.Text("FN") || as.Text("FN") == "" {
					t.Errorf("%s, card %d as %s: FN %q, %q", file, n, version, read.Value("FN"), as.Text("FN"))
				}
				again, err := Parse(as.Bytes())
				if err != nil || !reflect.DeepEqual(again.Fields(), as.Fields()) {
					t.Errorf("%s, card %d as %s: read again %+v, was %+v (%v)", file, n, version, again.Fields(), as.Fields(), err)
				}
			}
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(card("VERSION:2.1\nN;ENCODING=QUOTED-PRINTABLE:a=\nb;;")))
	f.Add([]byte(card("VERSION:4.0\nFN;A=\"b:c\",d:e")))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := NewScanner(content)
		for {
			c, err := s.Next()
			if errors.Is(err, ErrNone) {
				return
			}
			if err != nil {
				continue
			}
			for _, version := range []string{V21, V3, V4} {
				if _, err := Parse(c.As(version).Bytes()); err != nil {
					t.Fatalf("written as %s it is not read: %v\n%q", version, err, c.As(version).Bytes())
				}
			}
			c.Fields()
		}
	})
}
