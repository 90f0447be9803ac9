package mail

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/limits"
)

var (
	// address finds what begins as a URL does, and www.
	address = regexp.MustCompile(`(?i)^\W*(?:[a-z][a-z0-9+.-]*:/|(?:mailto|tel|sms|javascript|data|xmpp|matrix):|www\.)`)
	// host finds names with dots in them, wherever they stand in a word.
	host = regexp.MustCompile(`[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)+`)
	// dots are all that browsers take for the dot of a host name.
	dots = strings.NewReplacer("。", ".", "．", ".", "｡", ".", "․", ".")
)

// Name makes a name that a stranger chose fit for a mail: one line of at most limits.MailName characters, without what can't be seen or turns the
// direction of writing, and without anything that a mail program would make a link of. Addresses go; a dot in what could be the name of a web site, such
// as Booking.com, becomes another one. What is left may be empty.
func Name(text string) string {
	// Nobody's name is that long; what comes after is not even looked at.
	if most := 16 * limits.MailName; len(text) > most {
		text = text[:most]
	}
	text = norm.NFC.String(strings.ToValidUTF8(text, ""))
	var words []string
	for _, word := range strings.Fields(visible(text)) {
		word = dots.Replace(word)
		if !address.MatchString(word) && !strings.Contains(word, "://") {
			words = append(words, host.ReplaceAllStringFunc(word, withoutLink))
		}
	}
	return cut(strings.Join(words, " "), limits.MailName)
}

// visible keeps what is seen: no control characters, no marks of direction, none without width, and no towers of accents.
func visible(text string) string {
	marks := 0
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.M, r):
			if marks++; marks > 2 {
				return -1
			}
			return r
		case !unicode.IsGraphic(r) || unicode.Is(unicode.Co, r) || r == utf8.RuneError || blank[r]:
			return -1
		}
		marks = 0
		return r
	}, text)
}

// blank are characters that count as letters or symbols and show nothing.
var blank = map[rune]bool{'\u115f': true, '\u1160': true, '\u3164': true, '\uffa0': true, '\u2800': true}

// withoutLink replaces the dots of a name that ends as those of web sites do.
func withoutLink(name string) string {
	last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	if _, official := publicsuffix.PublicSuffix("a." + last); official || strings.HasPrefix(last, "xn--") || !isASCII(last) {
		return strings.ReplaceAll(name, ".", "·")
	}
	return name
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// cut shortens a text to n characters, and shows that it did.
func cut(text string, n int) string {
	count := 0
	for i := range text {
		if count == n-1 && utf8.RuneCountInString(text[i:]) > 1 {
			return strings.TrimRight(text[:i], " .,;:–-") + "…"
		}
		count++
	}
	return text
}

// webAddress is what a link may lead to: the rest is none that a server made.
func webAddress(link string) bool {
	u, err := url.Parse(link)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
