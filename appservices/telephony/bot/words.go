package bot

import (
	"fmt"
	"strings"

	"github.com/roomline/roomline/internal/commands"
)

// words are what the bot says in a language. It says plain text: names and addresses are no markup.
type words struct {
	// invited, listed and changed head a list; %s is a room. own heads the list of somebody's own invitations.
	invited, listed, own, revoked, resent string
	nothing, more                         string
	link, linkSent                        string
	states, problems                      map[string]string
	encrypted, help                       string
	// on says that a meeting is on in a room, byPhone how one calls in; arranged has title, time and room of a meeting, meetings heads a list.
	on, byPhone, arranged, notAsked string
	calledOff, meetings, noMeetings string
	// listSent says in a room that the list is in the chat.
	listSent             string
	calling, meetingHelp string
}

var languages = map[string]words{
	"en": {
		on: "The meeting in %s is on. Join it by the call of this room.", byPhone: "By phone: %s, with your own PIN, which your client shows.",
		arranged: "Arranged: “%s”, %s. Who is asked has been told; the meeting has a room of its own.", notAsked: "These could not be asked:",
		calledOff: "Cancelled: “%s”, %s", meetings: "Your meetings:", listSent: "I have sent you the list in our chat.", noMeetings: "There are no meetings to come.", calling: "I am having %s called into the meeting.",
		meetingHelp: "!meet – a meeting in this room, now\n!meet 2030-12-01 14:00 Budget anna@example.com +32 470 12 34 56 – one later; 1h30 or Europe/Brussels may stand behind the time\n!meetings · !meet cancel ABCDEFGH\n!call +32 470 12 34 56 – into the meeting that is on",
		invited:     "Invitations to %s:", listed: "Open invitations to %s:", own: "Your open invitations:", revoked: "Revoked:", resent: "Sent again:",
		nothing: "There are no open invitations.", more: "… and more.",
		link: "Pass this link on. It is not shown again: %s", linkSent: "I have sent you the link in our chat.",
		states: map[string]string{
			"queued": "on its way", "sent": "sent", "delivered": "delivered", "failed": "could not be sent", "opened": "opened", "redeemed": "accepted",
			"expired": "expired", "revoked": "revoked", "member": "has an account here and was invited",
		},
		problems: map[string]string{
			"words": "I do not understand “%s”. Nothing was done; !help says what I understand.", "no_address": "Whom? I need an e-mail address or a phone number with its country code.",
			"which_room": "To which room? For example: invite anna@example.com to Sales", "no_room": "You are in no room “%s”.",
			"several": "You are in several rooms “%s”. Name its address (#…) or its id (!…).", "forbidden": "you may not do this", "denied": "your organisation does not allow this",
			"limit": "too many; try again later", "invalid": "is no address that I can write to", "none": "there is no such open invitation of yours", "failed": "did not work",
			"when": "I do not understand when, or it is over. For example: !meet 2030-12-01 14:00 Budget", "no_meeting": "No meeting is on in this room: !meet begins one.",
			"no_such_meeting": "There is no such meeting; !meetings lists them.", "encrypted": "This room is encrypted from end to end, and a phone can't be.", "away": "Not possible just now; try again later.",
		},
		encrypted: "I can't read in encrypted rooms, so I have left it. Write to me here instead, for example: invite anna@example.com to Sales",
		help: "I invite people who have no account:\n!invite anna@example.com +32 470 12 34 56 – by e-mail or text message, to this room\n!invite anna@example.com in French – in English, French, Dutch or German\n" +
			"!invite link – a link that you pass on yourself\n!invitations – what has become of them\n!revoke anna@example.com · !resend anna@example.com\nHere in our chat, name the room: invite anna@example.com to Sales",
	},
	"fr": {
		on: "La réunion dans %s a commencé. Rejoignez-la par l'appel de ce salon.", byPhone: "Par téléphone : %s, avec votre propre code, que votre application montre.",
		arranged: "Convenu : « %s », %s. Les personnes invitées sont prévenues ; la réunion a son propre salon.", notAsked: "N'ont pas pu être invités :",
		calledOff: "Annulé : « %s », %s", meetings: "Vos réunions :", listSent: "Je vous ai envoyé la liste dans notre discussion.", noMeetings: "Il n'y a pas de réunion prévue.", calling: "Je fais appeler %s dans la réunion.",
		meetingHelp: "!réunir – une réunion dans ce salon, maintenant\n!réunir 1/12/2030 14h Budget anna@example.com +32 470 12 34 56 – plus tard ; 1h30 ou Europe/Brussels peut suivre l'heure\n!réunions · !réunir annuler ABCDEFGH\n!appeler +32 470 12 34 56 – dans la réunion en cours",
		invited:     "Invitations dans %s :", listed: "Invitations en cours dans %s :", own: "Vos invitations en cours :", revoked: "Annulé :", resent: "Envoyé à nouveau :",
		nothing: "Il n'y a pas d'invitation en cours.", more: "… et d'autres.",
		link: "Transmettez ce lien. Il ne sera plus affiché : %s", linkSent: "Je vous ai envoyé le lien dans notre discussion.",
		states: map[string]string{
			"queued": "en cours d'envoi", "sent": "envoyée", "delivered": "remise", "failed": "n'a pas pu être envoyée", "opened": "ouverte", "redeemed": "acceptée",
			"expired": "expirée", "revoked": "annulée", "member": "a un compte ici et a été invité(e)",
		},
		problems: map[string]string{
			"words": "Je ne comprends pas « %s ». Rien n'a été fait ; !aide dit ce que je comprends.", "no_address": "Qui ? Il me faut une adresse e-mail ou un numéro de téléphone avec l'indicatif du pays.",
			"which_room": "Dans quel salon ? Par exemple : inviter anna@example.com dans Ventes", "no_room": "Vous n'êtes dans aucun salon « %s ».",
			"several": "Vous êtes dans plusieurs salons « %s ». Donnez son adresse (#…) ou son identifiant (!…).", "forbidden": "vous n'en avez pas le droit", "denied": "votre organisation ne le permet pas",
			"limit": "c'est trop ; réessayez plus tard", "invalid": "n'est pas une adresse à laquelle je peux écrire", "none": "vous n'avez pas d'invitation en cours de ce genre", "failed": "n'a pas fonctionné",
			"when": "Je ne comprends pas quand, ou c'est passé. Par exemple : !réunir 1/12/2030 14h Budget", "no_meeting": "Il n'y a pas de réunion en cours dans ce salon : !réunir en commence une.",
			"no_such_meeting": "Il n'y a pas de telle réunion ; !réunions les énumère.", "encrypted": "Ce salon est chiffré de bout en bout, ce qu'un téléphone ne peut pas être.", "away": "Impossible pour le moment ; réessayez plus tard.",
		},
		encrypted: "Je ne peux pas lire dans les salons chiffrés et je l'ai donc quitté. Écrivez-moi plutôt ici, par exemple : inviter anna@example.com dans Ventes",
		help: "J'invite des personnes qui n'ont pas de compte :\n!inviter anna@example.com +32 470 12 34 56 – par e-mail ou SMS, dans ce salon\n!inviter anna@example.com en anglais – en français, anglais, néerlandais ou allemand\n" +
			"!inviter lien – un lien que vous transmettez vous-même\n!invitations – ce qu'elles sont devenues\n!annuler anna@example.com · !renvoyer anna@example.com\nIci, dans notre discussion, nommez le salon : inviter anna@example.com dans Ventes",
	},
	"nl": {
		on: "De vergadering in %s is bezig. Neem deel via de oproep van deze ruimte.", byPhone: "Per telefoon: %s, met uw eigen pincode, die uw app toont.",
		arranged: "Afgesproken: “%s”, %s. Wie gevraagd is, weet ervan; de vergadering heeft een eigen ruimte.", notAsked: "Konden niet worden gevraagd:",
		calledOff: "Afgelast: “%s”, %s", meetings: "Uw vergaderingen:", listSent: "Ik heb u de lijst gestuurd in ons gesprek.", noMeetings: "Er zijn geen vergaderingen gepland.", calling: "Ik laat %s opbellen voor de vergadering.",
		meetingHelp: "!vergader – een vergadering in deze ruimte, nu\n!vergader 1/12/2030 14:00 Budget anna@example.com +32 470 12 34 56 – later; 1h30 of Europe/Brussels mag achter het uur staan\n!vergaderingen · !vergader annuleren ABCDEFGH\n!bel +32 470 12 34 56 – in de vergadering die bezig is",
		invited:     "Uitnodigingen voor %s:", listed: "Lopende uitnodigingen voor %s:", own: "Uw lopende uitnodigingen:", revoked: "Ingetrokken:", resent: "Opnieuw verstuurd:",
		nothing: "Er zijn geen lopende uitnodigingen.", more: "… en meer.",
		link: "Geef deze link door. Hij wordt niet meer getoond: %s", linkSent: "Ik heb u de link gestuurd in ons gesprek.",
		states: map[string]string{
			"queued": "onderweg", "sent": "verstuurd", "delivered": "bezorgd", "failed": "kon niet worden verstuurd", "opened": "geopend", "redeemed": "aanvaard",
			"expired": "verlopen", "revoked": "ingetrokken", "member": "heeft hier een account en is uitgenodigd",
		},
		problems: map[string]string{
			"words": "Ik begrijp “%s” niet. Er is niets gedaan; !hulp zegt wat ik begrijp.", "no_address": "Wie? Ik heb een e-mailadres of een telefoonnummer met landnummer nodig.",
			"which_room": "Voor welke ruimte? Bijvoorbeeld: nodig anna@example.com uit voor Verkoop", "no_room": "U bent in geen ruimte “%s”.",
			"several": "U bent in meerdere ruimtes “%s”. Noem het adres (#…) of de id (!…).", "forbidden": "dat mag u niet", "denied": "uw organisatie staat dit niet toe",
			"limit": "te veel; probeer het later opnieuw", "invalid": "is geen adres waar ik naar kan schrijven", "none": "u hebt zo geen lopende uitnodiging", "failed": "is niet gelukt",
			"when": "Ik begrijp niet wanneer, of het is voorbij. Bijvoorbeeld: !vergader 1/12/2030 14:00 Budget", "no_meeting": "Er is geen vergadering bezig in deze ruimte: !vergader begint er een.",
			"no_such_meeting": "Zo een vergadering is er niet; !vergaderingen somt ze op.", "encrypted": "Deze ruimte is van eind tot eind versleuteld, en dat kan een telefoon niet.", "away": "Dat kan nu niet; probeer het later opnieuw.",
		},
		encrypted: "Ik kan niet lezen in versleutelde ruimtes en heb die dus verlaten. Schrijf me hier, bijvoorbeeld: nodig anna@example.com uit voor Verkoop",
		help: "Ik nodig mensen uit die geen account hebben:\n!uitnodigen anna@example.com +32 470 12 34 56 – per e-mail of sms, voor deze ruimte\n!uitnodigen anna@example.com in het Frans – in het Nederlands, Frans, Engels of Duits\n" +
			"!uitnodigen link – een link die u zelf doorgeeft\n!uitnodigingen – wat ervan geworden is\n!intrekken anna@example.com · !herzenden anna@example.com\nHier in ons gesprek noemt u de ruimte: nodig anna@example.com uit voor Verkoop",
	},
	"de": {
		on: "Die Besprechung in %s ist im Gange. Nehmen Sie über den Anruf dieses Raums teil.", byPhone: "Per Telefon: %s, mit Ihrer eigenen PIN, die Ihre App zeigt.",
		arranged: "Vereinbart: „%s“, %s. Wer eingeladen ist, weiß Bescheid; die Besprechung hat einen eigenen Raum.", notAsked: "Konnten nicht eingeladen werden:",
		calledOff: "Abgesagt: „%s“, %s", meetings: "Ihre Besprechungen:", listSent: "Ich habe Ihnen die Liste in unserem Chat geschickt.", noMeetings: "Es sind keine Besprechungen geplant.", calling: "Ich lasse %s in die Besprechung rufen.",
		meetingHelp: "!besprechen – eine Besprechung in diesem Raum, jetzt\n!besprechen 1.12.2030 14:00 Haushalt anna@example.com +32 470 12 34 56 – später; 1h30 oder Europe/Brussels darf hinter der Uhrzeit stehen\n!besprechungen · !besprechen absagen ABCDEFGH\n!anrufen +32 470 12 34 56 – in die laufende Besprechung",
		invited:     "Einladungen in %s:", listed: "Offene Einladungen in %s:", own: "Ihre offenen Einladungen:", revoked: "Widerrufen:", resent: "Erneut gesendet:",
		nothing: "Es gibt keine offenen Einladungen.", more: "… und weitere.",
		link: "Geben Sie diesen Link weiter. Er wird nicht noch einmal gezeigt: %s", linkSent: "Ich habe Ihnen den Link in unserem Chat geschickt.",
		states: map[string]string{
			"queued": "unterwegs", "sent": "gesendet", "delivered": "zugestellt", "failed": "konnte nicht gesendet werden", "opened": "geöffnet", "redeemed": "angenommen",
			"expired": "abgelaufen", "revoked": "widerrufen", "member": "hat hier ein Konto und wurde eingeladen",
		},
		problems: map[string]string{
			"words": "Ich verstehe „%s“ nicht. Es wurde nichts getan; !hilfe sagt, was ich verstehe.", "no_address": "Wen? Ich brauche eine E-Mail-Adresse oder eine Telefonnummer mit Landesvorwahl.",
			"which_room": "In welchen Raum? Zum Beispiel: lade anna@example.com in Vertrieb ein", "no_room": "Sie sind in keinem Raum „%s“.",
			"several": "Sie sind in mehreren Räumen „%s“. Nennen Sie seine Adresse (#…) oder seine Kennung (!…).", "forbidden": "das dürfen Sie nicht", "denied": "Ihre Organisation erlaubt das nicht",
			"limit": "zu viele; versuchen Sie es später noch einmal", "invalid": "ist keine Adresse, an die ich schreiben kann", "none": "Sie haben keine solche offene Einladung", "failed": "hat nicht geklappt",
			"when": "Ich verstehe nicht, wann, oder es ist vorbei. Zum Beispiel: !besprechen 1.12.2030 14:00 Haushalt", "no_meeting": "In diesem Raum ist keine Besprechung im Gange: !besprechen beginnt eine.",
			"no_such_meeting": "Eine solche Besprechung gibt es nicht; !besprechungen zählt sie auf.", "encrypted": "Dieser Raum ist Ende-zu-Ende verschlüsselt, und das kann ein Telefon nicht.", "away": "Das geht gerade nicht; versuchen Sie es später noch einmal.",
		},
		encrypted: "In verschlüsselten Räumen kann ich nicht lesen und habe diesen deshalb verlassen. Schreiben Sie mir hier, zum Beispiel: lade anna@example.com in Vertrieb ein",
		help: "Ich lade Leute ein, die kein Konto haben:\n!einladen anna@example.com +32 470 12 34 56 – per E-Mail oder SMS, in diesen Raum\n!einladen anna@example.com auf Französisch – auf Deutsch, Französisch, Niederländisch oder Englisch\n" +
			"!einladen link – ein Link, den Sie selbst weitergeben\n!einladungen – was aus ihnen geworden ist\n!widerrufen anna@example.com · !erneut anna@example.com\nHier in unserem Chat nennen Sie den Raum: lade anna@example.com in Vertrieb ein",
	},
}

func wordsOf(language string) words {
	if w, ok := languages[language]; ok {
		return w
	}
	return languages["en"]
}

// answer is what there is to say; private says that nobody but the asker reads it.
func (w words) answer(a *answer, private bool) string {
	switch {
	case a.Action == commands.Help, a.Action == "":
		return w.help + "\n" + w.meetingHelp
	case a.Problem != "":
		return capital(w.problem(a.Problem, a.Detail))
	case a.Action == commands.Meet, a.Action == commands.Meetings, a.Action == commands.CallOff, a.Action == commands.Call:
		return w.meeting(a, private)
	case len(a.Results) == 0:
		return w.nothing
	}
	room := a.RoomName
	if room == "" {
		room = "…"
	}
	var lines []string
	switch {
	case a.Action == commands.Invite:
		lines = append(lines, fmt.Sprintf(w.invited, room))
	case a.Action == commands.Revoke:
		lines = append(lines, w.revoked)
	case a.Action == commands.Resend:
		lines = append(lines, w.resent)
	case a.RoomName != "":
		lines = append(lines, fmt.Sprintf(w.listed, room))
	default:
		lines = append(lines, w.own)
	}
	for i := range a.Results {
		lines = append(lines, w.line(&a.Results[i]))
	}
	if a.More {
		lines = append(lines, w.more)
	}
	switch {
	case a.Link != "" && private:
		lines = append(lines, fmt.Sprintf(w.link, a.Link))
	case a.hasLink() && !private:
		lines = append(lines, w.linkSent)
	}
	return strings.Join(lines, "\n")
}

// meeting is what there is to say about meetings.
func (w words) meeting(a *answer, private bool) string {
	room := a.RoomName
	if room == "" {
		room = "…"
	}
	var lines []string
	switch {
	case a.Action == commands.Call:
		return fmt.Sprintf(w.calling, a.Number)
	case a.Action == commands.Meetings:
		if len(a.Meetings) == 0 {
			return w.noMeetings
		}
		if !private {
			return w.listSent
		}
		lines = append(lines, w.meetings)
		for _, m := range a.Meetings {
			lines = append(lines, fmt.Sprintf("• %s – %s (%s)", m.When, m.Title, m.ID[:min(shownID, len(m.ID))]))
		}
		if a.More {
			lines = append(lines, w.more)
		}
		return strings.Join(lines, "\n")
	case len(a.Meetings) == 0:
		return w.problems["failed"]
	}
	m := a.Meetings[0]
	switch {
	case a.Action == commands.CallOff:
		return fmt.Sprintf(w.calledOff, m.Title, m.When)
	case m.When == "":
		lines = append(lines, fmt.Sprintf(w.on, room))
		if len(a.Phones) > 0 {
			lines = append(lines, fmt.Sprintf(w.byPhone, strings.Join(a.Phones, ", ")))
		}
	default:
		lines = append(lines, fmt.Sprintf(w.arranged, m.Title, m.When))
	}
	if len(a.Results) > 0 {
		lines = append(lines, w.notAsked)
		for i := range a.Results {
			lines = append(lines, w.line(&a.Results[i]))
		}
	}
	if a.Link != "" && private {
		lines = append(lines, fmt.Sprintf(w.link, a.Link))
	} else if a.Link != "" {
		lines = append(lines, w.linkSent)
	}
	return strings.Join(lines, "\n")
}

// shownID is how much of the id of an invitation or a meeting is shown: enough to name it.
const shownID = 8

func (w words) line(r *result) string {
	name := r.Address
	if r.Medium == "msisdn" && strings.Trim(name, "0123456789") == "" {
		name = "+" + name
	}
	if name == "" && r.InvitationID != "" {
		name = "link " + r.InvitationID[:min(shownID, len(r.InvitationID))]
	}
	if name == "" {
		name = "link"
	}
	if r.Problem != "" {
		return "• " + name + " – " + w.problem(r.Problem, "")
	}
	state := w.states[r.State]
	if r.UserID != "" {
		state = w.states["member"]
	}
	return "• " + name + " – " + state
}

func (w words) problem(problem, detail string) string {
	text, ok := w.problems[problem]
	if !ok {
		text = w.problems["failed"]
	}
	return strings.Replace(text, "%s", detail, 1)
}

func capital(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
