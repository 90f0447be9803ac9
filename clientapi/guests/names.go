package guests

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Suffix is how the name of every guest ends.
const Suffix = " (guest)"

// DisplayName checks the name that a guest chose, and marks it. The mark may be there already: clients send back what they were shown.
//
// A name goes into mails, notifications and the lists of members: it is one line, reads in one direction, and has nothing in it that clients make a
// link of.
func DisplayName(chosen string) (string, error) {
	name := strings.Join(strings.Fields(norm.NFC.String(chosen)), " ")
	for strings.HasSuffix(name, Suffix) {
		name = strings.TrimSuffix(name, Suffix)
	}
	switch {
	case !utf8.ValidString(chosen) || strings.ContainsFunc(chosen, forbiddenInNames):
		return "", matrix.InvalidParam("the name must not contain control characters")
	case !strings.ContainsFunc(name, unicode.IsLetter) && !strings.ContainsFunc(name, unicode.IsDigit):
		return "", matrix.InvalidParam("the name must have a letter")
	case len(name) > limits.GuestName:
		return "", matrix.InvalidParam("the name must have at most %d bytes", limits.GuestName)
	case isLink(name):
		return "", matrix.InvalidParam("the name must not contain an address")
	}
	return name + Suffix, nil
}

// forbiddenInNames are control characters, those that change the direction of a text, and those that nobody sees. The two joiners are part of how
// some languages are written.
func forbiddenInNames(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Noncharacter_Code_Point) && r != nonJoiner && r != joiner
}

// isLink reports whether a client would make a link of a part of the name, or somebody's name.
func isLink(name string) bool {
	folded := strings.ToLower(norm.NFKC.String(name))
	if strings.Contains(folded, "://") || strings.Contains(folded, "www.") || strings.ContainsAny(folded, "@<>") || strings.Contains(folded, "mailto:") {
		return true
	}
	for _, word := range strings.FieldsFunc(folded, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '.' && r != '\u3002'
	}) {
		host := strings.Trim(strings.ReplaceAll(word, "\u3002", "."), ".-")
		if !strings.Contains(host, ".") {
			continue
		}
		if isNumeric(host) {
			return true
		}
		// "J.Smith" is a name, "evil.com" is none. What cannot be spelled as a domain is no domain.
		ascii, err := idna.Punycode.ToASCII(host)
		if err != nil {
			continue
		}
		if _, known := publicsuffix.PublicSuffix(ascii); known {
			return true
		}
	}
	return false
}

// isNumeric reports what may be an IPv4 address.
func isNumeric(host string) bool {
	return strings.Count(host, ".") == 3 && strings.Trim(host, "0123456789.") == ""
}
