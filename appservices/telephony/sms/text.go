package sms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/linxGnu/gosmpp/data"
	"github.com/mozillazg/go-unidecode"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/outbox"
)

// words are the texts of a language. They have letters of the GSM alphabet only, so that a message fits into one part. What people chose comes
// after words of ours.
type words struct {
	// invitation and meeting end where the link begins; %[1]s is when, %[2]s from whom.
	invitation, invitationOfNobody string
	meeting, meetingOfNobody       string
	// changed comes before what is said of a meeting to somebody who has been told of it before.
	changed                      string
	cancelled, cancelledOfNobody string
	withdrawn                    string
	// code has the code as %s; purposes says what it is for.
	code     string
	purposes map[string]string
	private  string
	// when is a layout of package time, whenNotNow one with the year.
	when, whenNotNow string
}

var languages = map[string]words{
	"en": {
		invitation:         "Invitation from %[2]s. Tap to join, no account needed:\n",
		invitationOfNobody: "You are invited. Tap to join, no account needed:\n",
		meeting:            "Meeting on %[1]s, invitation from %[2]s. Tap to join:\n",
		meetingOfNobody:    "Invitation to a meeting on %[1]s. Tap to join:\n",
		changed:            "Changed: ",
		cancelled:          "Cancelled: the meeting on %[1]s, invitation from %[2]s.",
		cancelledOfNobody:  "Cancelled: the meeting on %[1]s.",
		withdrawn:          "An invitation that was sent to you has been withdrawn.",
		code:               "%s is your code%s.",
		purposes: map[string]string{
			"add": " to confirm this number", "bind": " to confirm this number", "password": " for a new password", "register": " to register",
			"login": " to sign in", "guest": " to join",
		},
		private: "Do not pass it on.",
		when:    "2 Jan 15:04 MST", whenNotNow: "2 Jan 2006 15:04 MST",
	},
	"fr": {
		invitation:         "Invitation de %[2]s. Touchez pour participer, sans compte :\n",
		invitationOfNobody: "Invitation. Touchez pour participer, sans compte :\n",
		meeting:            "Réunion du %[1]s, invitation de %[2]s. Touchez pour participer :\n",
		meetingOfNobody:    "Invitation à une réunion du %[1]s. Touchez pour participer :\n",
		changed:            "Modification : ",
		cancelled:          "Annulée : la réunion du %[1]s, invitation de %[2]s.",
		cancelledOfNobody:  "Annulée : la réunion du %[1]s.",
		withdrawn:          "Une invitation qui vous a été envoyée a été retirée.",
		code:               "%s est votre code%s.",
		purposes: map[string]string{
			"add": " pour confirmer ce numéro", "bind": " pour confirmer ce numéro", "password": " pour un nouveau mot de passe",
			"register": " d'inscription", "login": " de connexion", "guest": " pour participer",
		},
		private: "Ne le communiquez à personne.",
		when:    "02/01 15:04 MST", whenNotNow: "02/01/2006 15:04 MST",
	},
	"nl": {
		invitation:         "Uitnodiging van %[2]s. Tik om deel te nemen, zonder account:\n",
		invitationOfNobody: "U bent uitgenodigd. Tik om deel te nemen, zonder account:\n",
		meeting:            "Vergadering op %[1]s, uitnodiging van %[2]s. Tik om deel te nemen:\n",
		meetingOfNobody:    "Uitnodiging voor een vergadering op %[1]s. Tik om deel te nemen:\n",
		changed:            "Gewijzigd: ",
		cancelled:          "Geannuleerd: de vergadering op %[1]s, uitnodiging van %[2]s.",
		cancelledOfNobody:  "Geannuleerd: de vergadering op %[1]s.",
		withdrawn:          "Een uitnodiging die u kreeg is ingetrokken.",
		code:               "%s is uw code%s.",
		purposes: map[string]string{
			"add": " om dit nummer te bevestigen", "bind": " om dit nummer te bevestigen", "password": " voor een nieuw wachtwoord",
			"register": " om u te registreren", "login": " om aan te melden", "guest": " om deel te nemen",
		},
		private: "Geef hem aan niemand door.",
		when:    "02/01 15:04 MST", whenNotNow: "02/01/2006 15:04 MST",
	},
	"de": {
		invitation:         "Einladung von %[2]s. Tippen zum Teilnehmen, ohne Konto:\n",
		invitationOfNobody: "Sie sind eingeladen. Tippen zum Teilnehmen, ohne Konto:\n",
		meeting:            "Besprechung am %[1]s, Einladung von %[2]s. Tippen zum Teilnehmen:\n",
		meetingOfNobody:    "Einladung zur Besprechung am %[1]s. Tippen zum Teilnehmen:\n",
		changed:            "Geändert: ",
		cancelled:          "Abgesagt: die Besprechung am %[1]s, Einladung von %[2]s.",
		cancelledOfNobody:  "Abgesagt: die Besprechung am %[1]s.",
		withdrawn:          "Eine Einladung, die Sie bekamen, wurde zurückgezogen.",
		code:               "%s ist Ihr Code%s.",
		purposes: map[string]string{
			"add": ", um diese Nummer zu bestätigen", "bind": ", um diese Nummer zu bestätigen", "password": " für ein neues Passwort",
			"register": ", um sich zu registrieren", "login": " zum Anmelden", "guest": " zum Teilnehmen",
		},
		private: "Geben Sie ihn niemandem weiter.",
		when:    "02.01. 15:04 MST", whenNotNow: "02.01.2006 15:04 MST",
	},
}

// Render is the text of a message that is sent now. Names are written in letters of the GSM alphabet.
func Render(m *outbox.Message) (string, error) { return render(m, time.Now(), false) }

// render may leave names as they are written.
func render(m *outbox.Message, now time.Time, asWritten bool) (string, error) {
	w, ok := languages[m.Language]
	if !ok {
		w = languages["en"]
	}
	switch {
	case m.Kind == outbox.Code && m.Code != nil:
		return w.codeText(m.Code, clean(m.Brand.Name, limits.SMSName, asWritten))
	case m.Kind == outbox.Invitation && m.Invitation != nil:
		link := m.Invitation.Link
		if !isLink(link) {
			return "", errors.New("the link is none")
		}
		text := func(who string) string { return w.invitationText(m.Invitation, now, who) + link }
		return withPhone(shortest(text, m, asWritten), m.Invitation.Meeting), nil
	case m.Kind == outbox.Cancellation && m.Invitation != nil:
		return shortest(func(who string) string { return w.cancellationText(m.Invitation, now, who) }, m, asWritten), nil
	}
	return "", fmt.Errorf("a message of kind %q has nothing to say", m.Kind)
}

// withPhone adds how to call in, where that needs no further part.
func withPhone(text string, m *outbox.Meeting) string {
	if m == nil || len(m.Phone) == 0 {
		return text
	}
	full := text + "\nTel. " + m.Phone[0].Number + " PIN " + m.Phone[0].PIN
	if len(parts(full)) > len(parts(text)) {
		return text
	}
	return full
}

func (w words) invitationText(i *outbox.InvitationText, now time.Time, who string) string {
	when, changed := w.time(i.Meeting, now), ""
	if i.Meeting != nil && i.Meeting.Sequence > 0 && !i.First {
		changed = w.changed
	}
	switch {
	case when != "" && who != "":
		return changed + fmt.Sprintf(w.meeting, when, who)
	case when != "":
		return changed + fmt.Sprintf(w.meetingOfNobody, when)
	case who != "":
		return fmt.Sprintf(w.invitation, "", who)
	}
	return w.invitationOfNobody
}

func (w words) cancellationText(i *outbox.InvitationText, now time.Time, who string) string {
	when := w.time(i.Meeting, now)
	switch {
	case when != "" && who != "":
		return fmt.Sprintf(w.cancelled, when, who)
	case when != "":
		return fmt.Sprintf(w.cancelledOfNobody, when)
	}
	return w.withdrawn
}

// time is when a meeting begins, where it is, with the year if that is another one now. The zone stands there: who gets the message may be
// elsewhere.
func (w words) time(m *outbox.Meeting, now time.Time) string {
	if m == nil {
		return ""
	}
	zone, err := time.LoadLocation(m.Timezone)
	if err != nil {
		zone = time.UTC
	}
	start := m.StartTS.Time().In(zone)
	if m.Changed != nil && !m.Changed.Cancelled() {
		start = m.Changed.NewStartTS.Time().In(zone)
	}
	if start.Year() != now.In(zone).Year() {
		return start.Format(w.whenNotNow)
	}
	return start.Format(w.when)
}

// codeText ends with a line that binds the code to the host, so that phones offer it there and nowhere else (Origin-bound one-time codes
// delivered via SMS, WICG).
func (w words) codeText(c *outbox.CodeText, brand string) (string, error) {
	if !isCode(c.Code) || !isHost(c.Host) {
		return "", errors.New("the code or its host is none")
	}
	text := fmt.Sprintf(w.code, c.Code, w.purposes[c.Purpose]) + " " + w.private
	last := "\n\n@" + c.Host + " #" + c.Code
	if brand != "" {
		if full := text + " " + brand + last; len(parts(full)) == 1 {
			return full, nil
		}
	}
	return text + last, nil
}

// shortest names the inviter and the organisation as far as one part has room for them. Together they are no longer than one name may be.
func shortest(text func(who string) string, m *outbox.Message, asWritten bool) string {
	inviter, brand := clean(m.Invitation.Inviter, limits.SMSName, asWritten), clean(m.Brand.Name, limits.SMSName, asWritten)
	var choices []string
	if inviter != "" && brand != "" {
		first, _, _ := strings.Cut(inviter, " ")
		choices = append(choices, inviter+", "+brand, first+", "+brand)
	}
	choices = append(choices, inviter, brand, "")
	choices = slices.DeleteFunc(choices, func(who string) bool { return utf8.RuneCountInString(who) > limits.SMSName })
	if asWritten && len(data.ValidateGSM7String(inviter)) > 0 {
		return text(choices[0])
	}
	for _, who := range choices {
		if full := text(who); len(parts(full)) == 1 {
			return full
		}
	}
	// A second part is needed anyway: then it may say who.
	return text(choices[0])
}

// clean is what is left of a name: letters, digits and what names are made of, in one line, and nothing that a phone would make a link or a
// number to call of.
func clean(name string, most int, asWritten bool) string {
	name = norm.NFKC.String(name)
	if !asWritten {
		name = gsmLetters(name)
	}
	var b strings.Builder
	digits := 0
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case unicode.IsDigit(r):
			if digits++; digits > 4 {
				r = ' '
			}
		case unicode.IsLetter(r), unicode.Is(unicode.Mn, r) && asWritten:
		case r == '.' && (i+1 == len(runes) || runes[i+1] == ' '):
		case strings.ContainsRune("'-&,()", r):
		default:
			r = ' '
		}
		b.WriteRune(r)
	}
	name = strings.Join(strings.Fields(b.String()), " ")
	if runes := []rune(name); len(runes) > most {
		name = string(runes[:most])
	}
	return strings.Trim(name, " .,-&(")
}

// gsmLetters writes a text in letters of the GSM alphabet: as it is where the alphabet has the letter, or else as Latin letters are written
// without accents, and other scripts in Latin ones.
func gsmLetters(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < utf8.RuneSelf || len(data.ValidateGSM7String(string(r))) == 0 {
			b.WriteRune(r)
			continue
		}
		b.WriteString(unidecode.Unidecode(string(r)))
	}
	return b.String()
}

func isCode(code string) bool {
	return len(code) >= 4 && len(code) <= 12 && strings.Trim(code, "0123456789") == ""
}

func isHost(host string) bool {
	return host != "" && len(host) <= 253 && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

// isLink reports whether a text is an address of the web in one piece.
func isLink(link string) bool {
	rest, ok := strings.CutPrefix(link, "https://")
	if !ok {
		rest, ok = strings.CutPrefix(link, "http://")
	}
	return ok && rest != "" && !strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r >= utf8.RuneSelf })
}
