package sms

import (
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/linxGnu/gosmpp/data"
)

// together puts parts together again, as a phone does.
func together(t *testing.T, all []part) string {
	t.Helper()
	var text strings.Builder
	for i, p := range all {
		if !p.ucs2 {
			if len(p.text) > gsmPart && len(all) > 1 || p.text[len(p.text)-1] == 0x1b {
				t.Errorf("part %d has %d septets and ends with %#x", i, len(p.text), p.text[len(p.text)-1])
			}
			decoded, err := data.GSM7BIT.Decode(p.text)
			if err != nil {
				t.Fatalf("part %d: %v", i, err)
			}
			text.WriteString(decoded)
			continue
		}
		var units []uint16
		for j := 0; j+1 < len(p.text); j += 2 {
			units = append(units, uint16(p.text[j])<<8|uint16(p.text[j+1]))
		}
		if len(units) > ucs2Part && len(all) > 1 || utf16.IsSurrogate(rune(units[0])) && units[0] >= 0xdc00 {
			t.Errorf("part %d has %d units and begins with %#x", i, len(units), units[0])
		}
		text.WriteString(string(utf16.Decode(units)))
	}
	return text.String()
}

func TestTextsAreCutWhereTheyMayBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		parts int
		ucs2  bool
	}{
		{"a", 1, false},
		{strings.Repeat("a", 160), 1, false},
		{strings.Repeat("a", 161), 2, false},
		{strings.Repeat("a", 306), 2, false},
		{strings.Repeat("a", 307), 3, false},
		{strings.Repeat("€", 80), 1, false},
		{strings.Repeat("€", 81), 2, false},
		{"a" + strings.Repeat("€", 80), 2, false}, // 161 septets
		{strings.Repeat("a", 152) + "€" + strings.Repeat("b", 20), 2, false},
		{strings.Repeat("€", 230), 4, false}, // 460 septets, of which a part has 152
		{"@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà^{}\\[~]|€", 1, false},
		{"ç", 1, true},
		{strings.Repeat("ж", 70), 1, true},
		{strings.Repeat("ж", 71), 2, true},
		{strings.Repeat("ж", 134), 2, true},
		{strings.Repeat("ж", 135), 3, true},
		{strings.Repeat("😀", 35), 1, true},
		{strings.Repeat("😀", 36), 2, true},
		{strings.Repeat("😀", 67), 3, true}, // 134 units, of which a part has 66
		{strings.Repeat("ж", 66) + "😀" + strings.Repeat("ж", 10), 2, true},
	} {
		all := parts(c.text)
		if len(all) != c.parts || all[0].ucs2 != c.ucs2 {
			t.Errorf("%.20q: %d parts, UCS-2 %v", c.text, len(all), all[0].ucs2)
		}
		if got := together(t, all); got != c.text {
			t.Errorf("%.20q became %q", c.text, got)
		}
	}
}

func TestHeaderOfAPart(t *testing.T) {
	t.Parallel()
	if got := string((part{text: []byte("x")}).withHeader(0xab, 2, 3)); got != "\x05\x00\x03\xab\x03\x02x" {
		t.Errorf("%x", got)
	}
}

func FuzzParts(f *testing.F) {
	for _, text := range []string{"", "a", strings.Repeat("€", 100), strings.Repeat("😀", 100), "a\xffb", strings.Repeat("ж", 69) + "😀"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all := parts(text)
		if want := strings.ToValidUTF8(text, "�"); text != "" && strings.ToValidUTF8(text, "") == text && together(t, all) != want {
			t.Errorf("%q became %q", text, together(t, all))
		}
	})
}
