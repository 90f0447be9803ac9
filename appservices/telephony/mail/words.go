package mail

import (
	"fmt"
	"strings"
)

// words are a language's sentences. Who reads them is addressed formally. Names stand beside sentences, never in them: what strangers choose can't
// change what we say, and needs no grammar.
type words struct {
	calendarWords

	// Labels of the names, and what stands between label and name in plain text.
	from, room, organisation, meeting, when, repeats string
	// insteadOf comes after a time that was moved, and has the one before as %s; dropped is the label of a time that does not take place.
	insteadOf, dropped string
	colon              string

	invitation   letterWords
	meetingNew   letterWords
	meetingMoved letterWords
	cancelled    letterWords
	withdrawn    letterWords
	codes        map[string]letterWords // by purpose
	// subjectFrom joins a subject with who invites, subjectRoom that with the room; subjectAbout joins a subject with what it is about.
	subjectFrom, subjectRoom, subjectAbout string

	expires, personal string
	linkInstead       string
	codeLabel         string
	codeMinutes       string
	codeHost          string
	codeNobody        string
	codeInstead       string
	ignoreInvitation  string
	ignoreCode        string
	refuse            string
	sentBy            string
	reminder          string // in calendars
	join              string // label of the conference
	phone, pin        string // labels of the numbers to call in by, and of what is typed then
}

// letterWords are what is different in each kind of mail.
type letterWords struct {
	subject, heading, lead, button string
}

// language is the nearest of ours.
func language(tag string) (string, *words) {
	tag, _, _ = strings.Cut(strings.ToLower(tag), "-")
	if w, ok := languages[tag]; ok {
		return tag, w
	}
	return "en", languages["en"]
}

func dayMonthYear(weekday string, day int, month string, year int) string {
	return strings.TrimSpace(fmt.Sprintf("%s %d %s %d", weekday, day, month, year))
}

var languages = map[string]*words{
	"en": {
		calendarWords: calendarWords{
			days:   [7]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"},
			short:  [7]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"},
			months: [12]string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"},
			day:    dayMonthYear, clock: "%s",
			every: map[string][2]string{"DAILY": {"every day", "every %d days"}, "WEEKLY": {"every week", "every %d weeks"}, "MONTHLY": {"every month", "every %d months"}, "YEARLY": {"every year", "every %d years"}},
		},
		from: "Invited by", room: "Conversation", organisation: "Organisation", meeting: "Meeting", when: "When", repeats: "Repeats", insteadOf: "instead of %s", dropped: "Does not take place", colon: ": ",
		invitation: letterWords{
			subject: "Invitation", heading: "You are invited to a conversation",
			lead: "You can take part right away in your browser. You need no account and nothing to install.", button: "Join the conversation",
		},
		meetingNew: letterWords{
			subject: "Invitation", heading: "You are invited to an online meeting",
			lead: "You take part in your browser. You need no account and nothing to install.", button: "Join the meeting",
		},
		meetingMoved: letterWords{
			subject: "Changed", heading: "An online meeting has changed",
			lead: "You have been invited to this meeting before. Below is what applies now.", button: "Join the meeting",
		},
		cancelled: letterWords{
			subject: "Cancelled", heading: "An online meeting has been cancelled",
			lead: "The meeting below will not take place. Your link to it no longer works.",
		},
		withdrawn: letterWords{
			subject: "Withdrawn", heading: "An invitation has been withdrawn",
			lead: "The invitation below is no longer valid, and your link no longer works.",
		},
		codes: map[string]letterWords{
			"add":      {subject: "Confirm your e-mail address", heading: "Confirm your e-mail address", lead: "Enter this code to add this e-mail address to your account.", button: "Confirm the address"},
			"bind":     {subject: "Confirm your e-mail address", heading: "Confirm your e-mail address", lead: "Enter this code so that others can find you by this e-mail address.", button: "Confirm the address"},
			"password": {subject: "Choose a new password", heading: "Choose a new password", lead: "Enter this code to choose a new password for your account.", button: "Choose a password"},
			"register": {subject: "Confirm your e-mail address", heading: "Your new account", lead: "Enter this code to confirm this e-mail address and finish creating your account.", button: "Confirm the address"},
			"login":    {subject: "Your sign-in code", heading: "Your sign-in code", lead: "Enter this code to sign in.", button: "Sign in"},
			"guest":    {subject: "Your code for the conversation", heading: "Your code for the conversation", lead: "Enter this code on the page that you opened from your invitation.", button: "Continue"},
		},
		subjectFrom: "%s from %s", subjectRoom: "%s: %s", subjectAbout: "%s: %s",
		expires: "The link works until %s.", personal: "It is meant for you alone: please do not forward this mail.",
		linkInstead: "If the button does not work, copy this link into your browser:",
		codeLabel:   "Code", codeMinutes: "The code works for %d minutes.",
		codeHost:   "Enter it on %s only.",
		codeNobody: "Nobody will ever ask you for it by phone or in a message.", codeInstead: "Or, instead of entering the code:",
		ignoreInvitation: "If you do not know who invited you, you can ignore this mail. Nothing happens then.",
		ignoreCode:       "If you did not ask for a code, you can ignore this mail. Nothing happens without the code.",
		refuse:           "I do not want any more mails from here", sentBy: "This is an automatic mail, sent for", reminder: "The meeting is about to begin.",
		join: "Join in the browser", phone: "By phone", pin: "PIN",
	},
	"fr": {
		calendarWords: calendarWords{
			days:   [7]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"},
			short:  [7]string{"dim.", "lun.", "mar.", "mer.", "jeu.", "ven.", "sam."},
			months: [12]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"},
			day: func(weekday string, day int, month string, year int) string {
				if day == 1 {
					return strings.TrimSpace(fmt.Sprintf("%s 1er %s %d", weekday, month, year))
				}
				return dayMonthYear(weekday, day, month, year)
			}, clock: "%s",
			every: map[string][2]string{"DAILY": {"tous les jours", "tous les %d jours"}, "WEEKLY": {"toutes les semaines", "toutes les %d semaines"}, "MONTHLY": {"tous les mois", "tous les %d mois"}, "YEARLY": {"tous les ans", "tous les %d ans"}},
		},
		from: "De la part de", room: "Conversation", organisation: "Organisation", meeting: "Réunion", when: "Quand", repeats: "Se répète", insteadOf: "au lieu du %s", dropped: "N’a pas lieu", colon: "\u00a0: ",
		invitation: letterWords{
			subject: "Invitation", heading: "Vous avez reçu une invitation à une conversation",
			lead: "Vous pouvez y participer tout de suite dans votre navigateur, sans compte et sans rien installer.", button: "Rejoindre la conversation",
		},
		meetingNew: letterWords{
			subject: "Invitation", heading: "Vous avez reçu une invitation à une réunion en ligne",
			lead: "Vous y participez dans votre navigateur, sans compte et sans rien installer.", button: "Rejoindre la réunion",
		},
		meetingMoved: letterWords{
			subject: "Modification", heading: "Une réunion en ligne a été modifiée",
			lead: "Vous avez déjà reçu une invitation à cette réunion. Voici ce qui est valable à présent.", button: "Rejoindre la réunion",
		},
		cancelled: letterWords{
			subject: "Annulation", heading: "Une réunion en ligne a été annulée",
			lead: "La réunion ci-dessous n’aura pas lieu. Votre lien n’est plus valable.",
		},
		withdrawn: letterWords{
			subject: "Invitation retirée", heading: "Une invitation a été retirée",
			lead: "L’invitation ci-dessous n’est plus valable, et votre lien ne fonctionne plus.",
		},
		codes: map[string]letterWords{
			"add":      {subject: "Confirmez votre adresse e-mail", heading: "Confirmez votre adresse e-mail", lead: "Saisissez ce code pour ajouter cette adresse e-mail à votre compte.", button: "Confirmer l’adresse"},
			"bind":     {subject: "Confirmez votre adresse e-mail", heading: "Confirmez votre adresse e-mail", lead: "Saisissez ce code pour que d’autres puissent vous trouver par cette adresse e-mail.", button: "Confirmer l’adresse"},
			"password": {subject: "Choisissez un nouveau mot de passe", heading: "Choisissez un nouveau mot de passe", lead: "Saisissez ce code pour choisir un nouveau mot de passe.", button: "Choisir un mot de passe"},
			"register": {subject: "Confirmez votre adresse e-mail", heading: "Votre nouveau compte", lead: "Saisissez ce code pour confirmer cette adresse e-mail et terminer la création de votre compte.", button: "Confirmer l’adresse"},
			"login":    {subject: "Votre code de connexion", heading: "Votre code de connexion", lead: "Saisissez ce code pour vous connecter.", button: "Se connecter"},
			"guest":    {subject: "Votre code pour la conversation", heading: "Votre code pour la conversation", lead: "Saisissez ce code dans la page que vous avez ouverte depuis votre invitation.", button: "Continuer"},
		},
		subjectFrom: "%s\u00a0: %s", subjectRoom: "%s – %s", subjectAbout: "%s\u00a0: %s",
		expires: "Le lien est valable jusqu’au %s.", personal: "Il vous est strictement personnel\u00a0: veuillez ne pas transférer ce message.",
		linkInstead: "Si le bouton ne fonctionne pas, copiez ce lien dans votre navigateur\u00a0:",
		codeLabel:   "Code", codeMinutes: "Le code est valable %d minutes.",
		codeHost:   "Ne le saisissez que sur %s.",
		codeNobody: "Personne ne vous le demandera jamais par téléphone ni par message.", codeInstead: "Ou, au lieu de saisir le code\u00a0:",
		ignoreInvitation: "Si vous ne connaissez pas la personne qui vous invite, ignorez ce message\u00a0: il ne se passera rien.",
		ignoreCode:       "Si vous n’avez pas demandé de code, ignorez ce message\u00a0: sans le code, il ne se passera rien.",
		refuse:           "Je ne souhaite plus recevoir de tels messages", sentBy: "Message automatique envoyé pour", reminder: "La réunion va commencer.",
		join: "Participer dans le navigateur", phone: "Par téléphone", pin: "Code PIN",
	},
	"nl": {
		calendarWords: calendarWords{
			days:   [7]string{"zondag", "maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag"},
			short:  [7]string{"zo", "ma", "di", "wo", "do", "vr", "za"},
			months: [12]string{"januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september", "oktober", "november", "december"},
			day:    dayMonthYear, clock: "%s",
			every: map[string][2]string{"DAILY": {"elke dag", "elke %d dagen"}, "WEEKLY": {"elke week", "elke %d weken"}, "MONTHLY": {"elke maand", "elke %d maanden"}, "YEARLY": {"elk jaar", "elke %d jaar"}},
		},
		from: "Uitgenodigd door", room: "Gesprek", organisation: "Organisatie", meeting: "Vergadering", when: "Wanneer", repeats: "Herhaling", insteadOf: "in plaats van %s", dropped: "Gaat niet door", colon: ": ",
		invitation: letterWords{
			subject: "Uitnodiging", heading: "U bent uitgenodigd voor een gesprek",
			lead: "U kunt meteen deelnemen in uw browser. U hebt geen account nodig en hoeft niets te installeren.", button: "Deelnemen aan het gesprek",
		},
		meetingNew: letterWords{
			subject: "Uitnodiging", heading: "U bent uitgenodigd voor een onlinevergadering",
			lead: "U neemt deel in uw browser. U hebt geen account nodig en hoeft niets te installeren.", button: "Deelnemen aan de vergadering",
		},
		meetingMoved: letterWords{
			subject: "Gewijzigd", heading: "Een onlinevergadering is gewijzigd",
			lead: "U was al voor deze vergadering uitgenodigd. Hieronder staat wat nu geldt.", button: "Deelnemen aan de vergadering",
		},
		cancelled: letterWords{
			subject: "Geannuleerd", heading: "Een onlinevergadering is geannuleerd",
			lead: "Onderstaande vergadering gaat niet door. Uw link werkt niet meer.",
		},
		withdrawn: letterWords{
			subject: "Ingetrokken", heading: "Een uitnodiging is ingetrokken",
			lead: "Onderstaande uitnodiging is niet meer geldig en uw link werkt niet meer.",
		},
		codes: map[string]letterWords{
			"add":      {subject: "Bevestig uw e-mailadres", heading: "Bevestig uw e-mailadres", lead: "Voer deze code in om dit e-mailadres aan uw account toe te voegen.", button: "Adres bevestigen"},
			"bind":     {subject: "Bevestig uw e-mailadres", heading: "Bevestig uw e-mailadres", lead: "Voer deze code in zodat anderen u via dit e-mailadres kunnen vinden.", button: "Adres bevestigen"},
			"password": {subject: "Kies een nieuw wachtwoord", heading: "Kies een nieuw wachtwoord", lead: "Voer deze code in om een nieuw wachtwoord voor uw account te kiezen.", button: "Wachtwoord kiezen"},
			"register": {subject: "Bevestig uw e-mailadres", heading: "Uw nieuwe account", lead: "Voer deze code in om dit e-mailadres te bevestigen en uw account af te ronden.", button: "Adres bevestigen"},
			"login":    {subject: "Uw aanmeldcode", heading: "Uw aanmeldcode", lead: "Voer deze code in om u aan te melden.", button: "Aanmelden"},
			"guest":    {subject: "Uw code voor het gesprek", heading: "Uw code voor het gesprek", lead: "Voer deze code in op de pagina die u vanuit uw uitnodiging hebt geopend.", button: "Verder"},
		},
		subjectFrom: "%s van %s", subjectRoom: "%s: %s", subjectAbout: "%s: %s",
		expires: "De link werkt tot %s.", personal: "Deze is alleen voor u bedoeld: stuur dit bericht niet door.",
		linkInstead: "Werkt de knop niet? Kopieer dan deze link naar uw browser:",
		codeLabel:   "Code", codeMinutes: "De code is %d minuten geldig.",
		codeHost:   "Voer de code alleen in op %s.",
		codeNobody: "Niemand zal u er ooit per telefoon of in een bericht om vragen.", codeInstead: "Of, in plaats van de code in te voeren:",
		ignoreInvitation: "Kent u degene die u uitnodigt niet? Dan kunt u dit bericht negeren. Er gebeurt dan niets.",
		ignoreCode:       "Hebt u geen code aangevraagd? Dan kunt u dit bericht negeren. Zonder de code gebeurt er niets.",
		refuse:           "Ik wil geen berichten meer van deze afzender", sentBy: "Automatisch bericht, verstuurd voor", reminder: "De vergadering begint zo.",
		join: "Deelnemen in de browser", phone: "Per telefoon", pin: "Pincode",
	},
	"de": {
		calendarWords: calendarWords{
			days:   [7]string{"Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"},
			short:  [7]string{"So.", "Mo.", "Di.", "Mi.", "Do.", "Fr.", "Sa."},
			months: [12]string{"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"},
			day: func(weekday string, day int, month string, year int) string {
				date := fmt.Sprintf("%d. %s %d", day, month, year)
				if weekday != "" {
					return weekday + ", " + date
				}
				return date
			}, clock: "%s\u00a0Uhr",
			every: map[string][2]string{"DAILY": {"täglich", "alle %d Tage"}, "WEEKLY": {"wöchentlich", "alle %d Wochen"}, "MONTHLY": {"monatlich", "alle %d Monate"}, "YEARLY": {"jährlich", "alle %d Jahre"}},
		},
		from: "Eingeladen von", room: "Unterhaltung", organisation: "Organisation", meeting: "Besprechung", when: "Wann", repeats: "Wiederholung", insteadOf: "statt %s", dropped: "Entfällt", colon: ": ",
		invitation: letterWords{
			subject: "Einladung", heading: "Sie sind zu einer Unterhaltung eingeladen",
			lead: "Sie können sofort in Ihrem Browser teilnehmen. Sie brauchen kein Konto und müssen nichts installieren.", button: "An der Unterhaltung teilnehmen",
		},
		meetingNew: letterWords{
			subject: "Einladung", heading: "Sie sind zu einer Online-Besprechung eingeladen",
			lead: "Sie nehmen in Ihrem Browser teil. Sie brauchen kein Konto und müssen nichts installieren.", button: "An der Besprechung teilnehmen",
		},
		meetingMoved: letterWords{
			subject: "Geändert", heading: "Eine Online-Besprechung wurde geändert",
			lead: "Sie waren zu dieser Besprechung bereits eingeladen. Unten steht, was jetzt gilt.", button: "An der Besprechung teilnehmen",
		},
		cancelled: letterWords{
			subject: "Abgesagt", heading: "Eine Online-Besprechung wurde abgesagt",
			lead: "Die folgende Besprechung findet nicht statt. Ihr Link funktioniert nicht mehr.",
		},
		withdrawn: letterWords{
			subject: "Zurückgezogen", heading: "Eine Einladung wurde zurückgezogen",
			lead: "Die folgende Einladung gilt nicht mehr, und Ihr Link funktioniert nicht mehr.",
		},
		codes: map[string]letterWords{
			"add":      {subject: "Bestätigen Sie Ihre E-Mail-Adresse", heading: "Bestätigen Sie Ihre E-Mail-Adresse", lead: "Geben Sie diesen Code ein, um Ihrem Konto diese E-Mail-Adresse hinzuzufügen.", button: "Adresse bestätigen"},
			"bind":     {subject: "Bestätigen Sie Ihre E-Mail-Adresse", heading: "Bestätigen Sie Ihre E-Mail-Adresse", lead: "Geben Sie diesen Code ein, damit andere Sie über diese E-Mail-Adresse finden können.", button: "Adresse bestätigen"},
			"password": {subject: "Wählen Sie ein neues Passwort", heading: "Wählen Sie ein neues Passwort", lead: "Geben Sie diesen Code ein, um ein neues Passwort für Ihr Konto zu wählen.", button: "Passwort wählen"},
			"register": {subject: "Bestätigen Sie Ihre E-Mail-Adresse", heading: "Ihr neues Konto", lead: "Geben Sie diesen Code ein, um diese E-Mail-Adresse zu bestätigen und Ihr Konto fertigzustellen.", button: "Adresse bestätigen"},
			"login":    {subject: "Ihr Anmeldecode", heading: "Ihr Anmeldecode", lead: "Geben Sie diesen Code ein, um sich anzumelden.", button: "Anmelden"},
			"guest":    {subject: "Ihr Code für die Unterhaltung", heading: "Ihr Code für die Unterhaltung", lead: "Geben Sie diesen Code auf der Seite ein, die Sie über Ihre Einladung geöffnet haben.", button: "Weiter"},
		},
		subjectFrom: "%s von %s", subjectRoom: "%s: %s", subjectAbout: "%s: %s",
		expires: "Der Link gilt bis %s.", personal: "Er ist nur für Sie bestimmt: Bitte leiten Sie diese E-Mail nicht weiter.",
		linkInstead: "Falls die Schaltfläche nicht funktioniert, kopieren Sie diesen Link in Ihren Browser:",
		codeLabel:   "Code", codeMinutes: "Der Code gilt %d Minuten lang.",
		codeHost:   "Geben Sie ihn nur auf %s ein.",
		codeNobody: "Niemand wird Sie je am Telefon oder in einer Nachricht danach fragen.", codeInstead: "Oder statt der Eingabe des Codes:",
		ignoreInvitation: "Wenn Sie nicht wissen, wer Sie einlädt, können Sie diese E-Mail ignorieren. Dann geschieht nichts.",
		ignoreCode:       "Wenn Sie keinen Code angefordert haben, können Sie diese E-Mail ignorieren. Ohne den Code geschieht nichts.",
		refuse:           "Ich möchte keine solchen E-Mails mehr erhalten", sentBy: "Automatische E-Mail, versendet für", reminder: "Die Besprechung beginnt gleich.",
		join: "Im Browser teilnehmen", phone: "Per Telefon", pin: "PIN",
	},
}
