// Package commands understands what people write to the telephony bridge's bot: !invite anna@example.com, and the like, in four languages. Both
// sides use it: the bridge to see what is a command, the server to see what a command says.
//
// A command begins with an exclamation mark and a word of the list. In a chat with the bot alone the mark may be missing, and the room is named
// in words: invite anna@example.com to Sales. What is not understood makes the whole command void: nobody is invited by a guess.
//
// Start reading at Parse.
package commands

import (
	"slices"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/limits"
)

// Action is what a command asks for.
type Action string

const (
	Invite Action = "invite"
	List   Action = "list"
	Revoke Action = "revoke"
	Resend Action = "resend"
	Help   Action = "help"
)

// Command is what somebody asks for.
type Command struct {
	Action Action
	// Words is the language that the command is in, or empty when its word belongs to several.
	Words string
	// Addresses are e-mail addresses and phone numbers, as they were written.
	Addresses []Address
	// IDs are beginnings of ids of invitations, or of a meeting.
	IDs []string
	// Link asks for a link to pass on instead of an address.
	Link bool
	// Language is what an invitation is to be written in: en, fr, nl, de, or empty.
	Language string
	// Room names a room: an alias, an id or a name; empty for the room that the command is in.
	Room string
	// Unknown is the first word that makes no sense. Then nothing is done.
	Unknown string
	Meeting
}

// Address is where an invitation goes.
type Address struct {
	Medium string // email or msisdn
	Text   string
}

// verb is what a word means, in a language or in several.
type verb struct {
	action Action
	words  string
}

var verbs = map[string]verb{
	"invite": {Invite, ""}, "inviter": {Invite, "fr"}, "invitez": {Invite, "fr"}, "uitnodigen": {Invite, "nl"}, "nodig": {Invite, "nl"},
	"einladen": {Invite, "de"}, "lade": {Invite, "de"}, "lad": {Invite, "de"},
	"invitations": {List, ""}, "invites": {List, "en"}, "uitnodigingen": {List, "nl"}, "einladungen": {List, "de"},
	"revoke": {Revoke, "en"}, "withdraw": {Revoke, "en"}, "révoquer": {Revoke, "fr"}, "revoquer": {Revoke, "fr"}, "annuler": {Revoke, "fr"},
	"intrekken": {Revoke, "nl"}, "annuleren": {Revoke, "nl"}, "widerrufen": {Revoke, "de"}, "zurückziehen": {Revoke, "de"}, "zurueckziehen": {Revoke, "de"},
	"resend": {Resend, "en"}, "renvoyer": {Resend, "fr"}, "herzenden": {Resend, "nl"}, "opnieuw": {Resend, "nl"}, "erneut": {Resend, "de"},
	"meet": {Meet, ""}, "réunir": {Meet, "fr"}, "reunir": {Meet, "fr"}, "vergader": {Meet, "nl"}, "vergaderen": {Meet, "nl"}, "besprechen": {Meet, "de"},
	"meetings": {Meetings, "en"}, "réunions": {Meetings, "fr"}, "reunions": {Meetings, "fr"}, "vergaderingen": {Meetings, "nl"}, "besprechungen": {Meetings, "de"},
	"call": {Call, "en"}, "appeler": {Call, "fr"}, "appelez": {Call, "fr"}, "bel": {Call, "nl"}, "bellen": {Call, "nl"}, "anrufen": {Call, "de"},
	"help": {Help, ""}, "aide": {Help, "fr"}, "hulp": {Help, "nl"}, "hilfe": {Help, "de"},
}

// languages are the names of languages, and what two letters at the end of a command mean.
var languages = map[string]string{
	"english": "en", "anglais": "en", "engels": "en", "englisch": "en", "french": "fr", "français": "fr", "francais": "fr", "frans": "fr", "französisch": "fr",
	"franzoesisch": "fr", "dutch": "nl", "néerlandais": "nl", "neerlandais": "nl", "nederlands": "nl", "niederländisch": "nl", "niederlaendisch": "nl",
	"german": "de", "allemand": "de", "duits": "de", "deutsch": "de",
}

var codes = []string{"en", "fr", "nl", "de"}

// before are the words that stand before a room, or before a language. after are those that a verb in two pieces ends with.
var before = words("to into in at for à a dans au aux vers pour en naar voor op het zu zum zur nach auf für fuer")

var after = words("ein uit erneut senden zenden sturen verzenden")

// filler are words that may stand anywhere and mean nothing.
var filler = words("and et und please svp bitte aub alstublieft graag the room le la les salon de die der das den dem kamer ruimte raum per via by par mit an aan")

var link = words("link lien")

func words(list string) map[string]bool {
	set := make(map[string]bool)
	for word := range strings.FieldsSeq(list) {
		set[word] = true
	}
	return set
}

// Prefixes are how messages begin that may be commands.
func Prefixes() []string {
	var list []string
	for word := range verbs {
		list = append(list, "!"+word)
	}
	slices.Sort(list)
	return list
}

// IsCommand reports whether a text begins as a command does everywhere.
func IsCommand(text string) bool {
	_, _, ok := begin(text, false)
	return ok
}

// Parse reads a command; false if the text is none. direct says that it stands in a chat with the bot alone.
func Parse(text string, direct bool) (Command, bool) {
	v, rest, ok := begin(text, direct)
	if !ok {
		return Command{}, false
	}
	r := reader{Command: Command{Action: v.action, Words: v.words}, tokens: tokens(rest)}
	switch v.action {
	case Meet:
		r.meet()
	case Call:
		r.call()
	case Meetings:
		if len(r.tokens) > 0 {
			r.Unknown = r.tokens[0]
		}
	default:
		r.read()
	}
	return r.Command, true
}

// begin reads the word that a command begins with.
func begin(text string, direct bool) (v verb, rest string, ok bool) {
	if len(text) > limits.CommandText {
		return verb{}, "", false
	}
	text = strings.TrimSpace(norm.NFC.String(text))
	text, marked := strings.CutPrefix(text, "!")
	if !marked && !direct || marked && strings.HasPrefix(text, " ") {
		return verb{}, "", false
	}
	for {
		word := text
		rest = ""
		if i := strings.IndexFunc(text, unicode.IsSpace); i >= 0 {
			word, rest = text[:i], text[i:]
		}
		word = strings.ToLower(strings.TrimRight(word, ",:.!?"))
		if v, ok = verbs[word]; ok || marked || !filler[word] || word == "" {
			return v, rest, ok
		}
		text = strings.TrimSpace(rest)
	}
}

// tokens splits at white space and at what stands between items of a list.
func tokens(text string) []string {
	list := strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || r == ',' || r == ';' || r == '<' || r == '>' || r == '"'
	})
	kept := list[:0]
	for _, t := range list {
		t = strings.TrimPrefix(strings.TrimPrefix(t, "mailto:"), "tel:")
		if t = strings.TrimRight(t, ".!?:"); t != "" {
			kept = append(kept, t)
		}
	}
	return kept
}

// reader reads what follows the first word.
type reader struct {
	Command
	tokens []string
	// number is the phone number that is being read: people write it in pieces.
	number []string
}

func (r *reader) read() { r.each(r.word) }

// each reads numbers, which may be in pieces, and gives every other token to word, until one makes no sense.
func (r *reader) each(word func(token string)) {
	for len(r.tokens) > 0 && r.Unknown == "" {
		token := r.tokens[0]
		r.tokens = r.tokens[1:]
		if isNumeric(token) {
			r.digits(token)
			continue
		}
		r.endNumber()
		word(token)
	}
	r.endNumber()
}

// word reads what is no piece of a number.
func (r *reader) word(token string) {
	low := strings.ToLower(token)
	switch {
	case isEmail(token):
		r.add(Address{"email", token})
	case token[0] == '#' || token[0] == '!':
		r.name(token)
	case link[low]:
		r.Link = true
	case languages[low] != "":
		r.Language = languages[low]
	case len(r.tokens) == 0 && slices.Contains(codes, low):
		r.Language = low
	case before[low] && len(r.tokens) > 0:
		r.place()
	case filler[low], after[low], before[low]:
	case (r.Action == Revoke || r.Action == Resend) && isID(token):
		r.IDs = append(r.IDs, token)
	default:
		r.Unknown = token
	}
}

// place reads what follows a word like "to": a language, or a room, whose name may have several words.
func (r *reader) place() {
	if low := strings.ToLower(r.tokens[0]); languages[low] != "" || before[low] || link[low] || after[low] && len(r.tokens) == 1 {
		return // it is read next
	}
	if strings.ContainsAny(r.tokens[0][:1], "#!") || isAddress(r.tokens[0]) {
		return
	}
	if r.Action == Help {
		r.tokens = nil
		return
	}
	var name []string
	for len(r.tokens) > 0 && !isAddress(r.tokens[0]) {
		name = append(name, r.tokens[0])
		r.tokens = r.tokens[1:]
	}
	name = r.tail(name)
	for len(name) > 1 && filler[strings.ToLower(name[0])] {
		name = name[1:]
	}
	if len(name) > 0 {
		r.name(strings.Join(name, " "))
	}
}

// tail takes what does not belong to the name of a room from its end: the second piece of the verb, and the language of the invitation.
func (r *reader) tail(name []string) []string {
	for len(name) > 1 {
		last, previous := strings.ToLower(name[len(name)-1]), strings.ToLower(name[len(name)-2])
		switch {
		case after[last] || filler[last] && last != "la":
			name = name[:len(name)-1]
		case languages[last] != "" && before[previous]:
			r.Language = languages[last]
			if name = name[:len(name)-2]; len(name) > 1 && before[strings.ToLower(name[len(name)-1])] {
				name = name[:len(name)-1] // "in het Frans"
			}
		default:
			return name
		}
	}
	return name
}

// name notes the room. Two rooms are one too many.
func (r *reader) name(room string) {
	if r.Room != "" {
		r.Unknown = room
		return
	}
	r.Room = room
}

func (r *reader) add(a Address) {
	if len(r.Addresses) == limits.CommandAddresses {
		r.Unknown = a.Text
		return
	}
	r.Addresses = append(r.Addresses, a)
}

// digits reads a piece of a number.
func (r *reader) digits(token string) {
	if len(r.number) > 0 && r.begins(token) {
		r.endNumber()
	}
	r.number = append(r.number, token)
}

// begins reports whether a piece begins another number: with a plus, or with 0 when what was read before is a number already. Pieces within a
// number begin with 0, too.
func (r *reader) begins(token string) bool {
	if token[0] != '0' {
		return token[0] == '+'
	}
	sofar := strings.Join(r.number, " ")
	if sofar[0] != '+' && !strings.HasPrefix(sofar, "00") {
		return countDigits(sofar) >= 9
	}
	sofar = "+" + strings.TrimPrefix(strings.TrimPrefix(sofar, "+"), "00")
	return isPossible(sofar) && !isPossible(sofar+" "+token)
}

// isPossible reports whether a number with a country code has as many digits as one can have there.
func isPossible(text string) bool {
	n, err := phonenumbers.Parse(text, "")
	return err == nil && phonenumbers.IsPossibleNumber(n)
}

func (r *reader) endNumber() {
	text := strings.Join(r.number, " ")
	r.number = nil
	switch n := countDigits(text); {
	case text == "":
	case (text[0] == '+' || strings.HasPrefix(text, "00")) && !isPossible("+"+strings.TrimPrefix(strings.TrimPrefix(text, "+"), "00")):
		r.Unknown = text
	case n >= 6 && n <= 17:
		r.add(Address{"msisdn", text})
	default:
		r.Unknown = text
	}
}

func countDigits(text string) (n int) {
	for _, c := range text {
		if c >= '0' && c <= '9' {
			n++
		}
	}
	return n
}

// isNumeric reports whether a token may be a piece of a phone number.
func isNumeric(token string) bool {
	return countDigits(token) > 0 && strings.Trim(token, "0123456789+()-/.") == "" || token == "(0)"
}

// isAddress reports whether a token is or begins an address, not the number of a room such as "Sales 2026".
func isAddress(token string) bool {
	return isEmail(token) || isNumeric(token) && (token[0] == '+' || countDigits(token) >= 6)
}

func isEmail(token string) bool {
	local, domain, ok := strings.Cut(token, "@")
	return ok && local != "" && strings.Contains(domain, ".") && !strings.HasPrefix(local, "#") && !strings.HasPrefix(local, "!")
}

// isID reports whether a token may be the beginning of an id.
func isID(token string) bool {
	return len(token) >= limits.CommandID && strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
