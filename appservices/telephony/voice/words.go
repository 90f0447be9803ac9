package voice

import "fmt"

// phrase is something that is said to a phone. A recording of it is a file of this name with .wav behind it.
type phrase string

const (
	phWelcome  phrase = "welcome"
	phEnterPIN phrase = "enter_pin"
	phJoined   phrase = "joined"
	phFirst    phrase = "first"
	phWaiting  phrase = "waiting"
	phHelp     phrase = "help"
	phInvites  phrase = "invites"
	phPress1   phrase = "press_1"

	phAskConsent phrase = "ask_consent"
	phRecorded   phrase = "recorded"
	phWithheld   phrase = "withheld"

	phMuted    phrase = "muted"
	phUnmuted  phrase = "unmuted"
	phMutedBy  phrase = "muted_by_other"
	phHandUp   phrase = "hand_up"
	phHandDown phrase = "hand_down"

	phMoment     phrase = "moment"
	phBack       phrase = "back"
	phLastMinute phrase = "last_minute"
	phGoodbye    phrase = "goodbye"

	phWrongPIN    phrase = "wrong_pin"
	phTooMany     phrase = "too_many"
	phUnavailable phrase = "unavailable"
	phNoService   phrase = "no_service"
	phNotAllowed  phrase = "not_allowed"
	phEncrypted   phrase = "encrypted"
	phFull        phrase = "full"
	phLocked      phrase = "locked"

	phRemoved   phrase = "removed"
	phEnded     phrase = "ended"
	phRevoked   phrase = "revoked"
	phSuspended phrase = "suspended"
	phDenied    phrase = "denied"
	phBudget    phrase = "budget"
	phTime      phrase = "time"
)

// languages are those that phrases are spoken in.
var languages = []string{"en", "fr", "nl", "de"}

func speaks(language string) bool { return words[language] != nil }

// named are the phrases with a name or a title in them: only a program can speak them, and a recording says them without.
var named = map[phrase]bool{phJoined: true, phInvites: true}

// text is a phrase in words. Names and titles are those of the arguments; an empty one is left out.
func text(language string, p phrase, name, title string) string {
	w := words[language]
	switch {
	case p == phJoined && name != "":
		return fmt.Sprintf(w["joined_as"], name)
	case p == phInvites && name != "" && title != "":
		return fmt.Sprintf(w["invites_to"], name, title)
	case p == phInvites && name != "":
		return fmt.Sprintf(w["invites_by"], name)
	}
	return w[p]
}

var words = map[string]map[phrase]string{
	"en": {
		phWelcome: "Welcome.", phEnterPIN: "Please enter your PIN, followed by the hash key.",
		phJoined: "You are in the meeting.", "joined_as": "Welcome, %s. You are in the meeting.", phFirst: "You are the first. Please wait for the others.",
		phWaiting: "Please wait until somebody lets you in.",
		phHelp:    "To mute yourself or to be heard again, press star 6. To raise or lower your hand, press star 9. To hear this again, press star 0.",
		phInvites: "You are invited to a meeting.", "invites_by": "%s invites you to a meeting.", "invites_to": "%s invites you to the meeting: %s.",
		phPress1:     "Press 1 to join.",
		phAskConsent: "This meeting is being recorded. Press 1 if you agree to be recorded, or 2 if you do not.",
		phRecorded:   "This meeting is being recorded.", phWithheld: "You are not being recorded.",
		phMuted: "You are muted.", phUnmuted: "You can be heard.", phMutedBy: "You have been muted. Press star 6 to be heard again.",
		phHandUp: "Your hand is raised.", phHandDown: "Your hand is lowered.",
		phMoment: "One moment, please.", phBack: "You are in the meeting again.", phLastMinute: "This call ends in one minute.", phGoodbye: "Goodbye.",
		phWrongPIN: "This PIN is not valid.", phTooMany: "There were too many attempts. Please try again later.",
		phUnavailable: "Meetings can not be reached just now. Please try again later.", phNoService: "Nobody can be reached by this number.",
		phNotAllowed: "You can not join this meeting.",
		phEncrypted:  "This meeting is encrypted from end to end, so that nobody in between can listen. A telephone can not do that. Please join with the app or the link of your invitation.",
		phFull:       "This meeting is full.", phLocked: "This meeting is locked.",
		phRemoved: "You have been removed from the meeting.", phEnded: "The meeting is over.", phRevoked: "Your invitation has been taken back.",
		phSuspended: "This meeting can not be joined by telephone any more.", phDenied: "You were not let in.",
		phBudget: "No more calls are possible today.", phTime: "The time for this call is over.",
	},
	"fr": {
		phWelcome: "Bienvenue.", phEnterPIN: "Veuillez saisir votre code, suivi de la touche dièse.",
		phJoined: "Vous êtes dans la réunion.", "joined_as": "Bienvenue, %s. Vous êtes dans la réunion.", phFirst: "Vous êtes la première personne. Veuillez attendre les autres.",
		phWaiting: "Veuillez patienter jusqu’à ce que quelqu’un vous fasse entrer.",
		phHelp:    "Pour couper ou rétablir votre micro, appuyez sur étoile 6. Pour lever ou baisser la main, étoile 9. Pour réécouter ce message, étoile 0.",
		phInvites: "Vous êtes invité à une réunion.", "invites_by": "%s vous invite à une réunion.", "invites_to": "%s vous invite à la réunion : %s.",
		phPress1:     "Appuyez sur 1 pour participer.",
		phAskConsent: "Cette réunion est enregistrée. Appuyez sur 1 si vous acceptez d’être enregistré, sur 2 si vous refusez.",
		phRecorded:   "Cette réunion est enregistrée.", phWithheld: "Vous n’êtes pas enregistré.",
		phMuted: "Votre micro est coupé.", phUnmuted: "On vous entend.", phMutedBy: "Votre micro a été coupé. Appuyez sur étoile 6 pour parler à nouveau.",
		phHandUp: "Votre main est levée.", phHandDown: "Votre main est baissée.",
		phMoment: "Un instant, s’il vous plaît.", phBack: "Vous êtes de nouveau dans la réunion.", phLastMinute: "Cet appel se termine dans une minute.", phGoodbye: "Au revoir.",
		phWrongPIN: "Ce code n’est pas valable.", phTooMany: "Il y a eu trop d’essais. Veuillez réessayer plus tard.",
		phUnavailable: "Les réunions ne sont pas joignables pour le moment. Veuillez réessayer plus tard.", phNoService: "Personne n’est joignable à ce numéro.",
		phNotAllowed: "Vous ne pouvez pas participer à cette réunion.",
		phEncrypted:  "Cette réunion est chiffrée de bout en bout, pour que personne ne puisse écouter. Un téléphone ne le permet pas. Veuillez participer avec l’application ou avec le lien de votre invitation.",
		phFull:       "Cette réunion est complète.", phLocked: "Cette réunion est fermée.",
		phRemoved: "Vous avez été retiré de la réunion.", phEnded: "La réunion est terminée.", phRevoked: "Votre invitation a été retirée.",
		phSuspended: "Cette réunion n’est plus joignable par téléphone.", phDenied: "On ne vous a pas fait entrer.",
		phBudget: "Plus aucun appel n’est possible aujourd’hui.", phTime: "La durée de cet appel est écoulée.",
	},
	"nl": {
		phWelcome: "Welkom.", phEnterPIN: "Geef uw pincode in, gevolgd door een hekje.",
		phJoined: "U bent in de vergadering.", "joined_as": "Welkom, %s. U bent in de vergadering.", phFirst: "U bent de eerste. Gelieve op de anderen te wachten.",
		phWaiting: "Gelieve te wachten tot iemand u binnenlaat.",
		phHelp:    "Om uw microfoon uit of aan te zetten, druk op sterretje 6. Om uw hand op te steken of te laten zakken, sterretje 9. Om dit opnieuw te horen, sterretje 0.",
		phInvites: "U bent uitgenodigd voor een vergadering.", "invites_by": "%s nodigt u uit voor een vergadering.", "invites_to": "%s nodigt u uit voor de vergadering: %s.",
		phPress1:     "Druk op 1 om deel te nemen.",
		phAskConsent: "Deze vergadering wordt opgenomen. Druk op 1 als u ermee akkoord gaat om opgenomen te worden, of op 2 als u dat niet wilt.",
		phRecorded:   "Deze vergadering wordt opgenomen.", phWithheld: "U wordt niet opgenomen.",
		phMuted: "Uw microfoon is uit.", phUnmuted: "U bent te horen.", phMutedBy: "Uw microfoon is uitgezet. Druk op sterretje 6 om weer te spreken.",
		phHandUp: "Uw hand is opgestoken.", phHandDown: "Uw hand is omlaag.",
		phMoment: "Een ogenblik alstublieft.", phBack: "U bent weer in de vergadering.", phLastMinute: "Dit gesprek eindigt over een minuut.", phGoodbye: "Tot ziens.",
		phWrongPIN: "Deze pincode is niet geldig.", phTooMany: "Er waren te veel pogingen. Probeer het later opnieuw.",
		phUnavailable: "Vergaderingen zijn nu niet bereikbaar. Probeer het later opnieuw.", phNoService: "Op dit nummer is niemand bereikbaar.",
		phNotAllowed: "U kunt niet aan deze vergadering deelnemen.",
		phEncrypted:  "Deze vergadering is van begin tot eind versleuteld, zodat niemand kan meeluisteren. Een telefoon kan dat niet. Neem deel met de app of de link van uw uitnodiging.",
		phFull:       "Deze vergadering is vol.", phLocked: "Deze vergadering is gesloten.",
		phRemoved: "U bent uit de vergadering verwijderd.", phEnded: "De vergadering is afgelopen.", phRevoked: "Uw uitnodiging is ingetrokken.",
		phSuspended: "Deze vergadering is niet meer per telefoon bereikbaar.", phDenied: "U bent niet binnengelaten.",
		phBudget: "Vandaag zijn geen gesprekken meer mogelijk.", phTime: "De tijd voor dit gesprek is om.",
	},
	"de": {
		phWelcome: "Willkommen.", phEnterPIN: "Bitte geben Sie Ihre PIN ein, und dann die Raute-Taste.",
		phJoined: "Sie sind in der Besprechung.", "joined_as": "Willkommen, %s. Sie sind in der Besprechung.", phFirst: "Sie sind als Erstes da. Bitte warten Sie auf die anderen.",
		phWaiting: "Bitte warten Sie, bis jemand Sie hereinlässt.",
		phHelp:    "Um sich stumm zu schalten oder wieder gehört zu werden, drücken Sie Stern 6. Um die Hand zu heben oder zu senken, Stern 9. Um dies noch einmal zu hören, Stern 0.",
		phInvites: "Sie sind zu einer Besprechung eingeladen.", "invites_by": "%s lädt Sie zu einer Besprechung ein.", "invites_to": "%s lädt Sie zur Besprechung ein: %s.",
		phPress1:     "Drücken Sie die 1, um teilzunehmen.",
		phAskConsent: "Diese Besprechung wird aufgezeichnet. Drücken Sie die 1, wenn Sie damit einverstanden sind, oder die 2, wenn nicht.",
		phRecorded:   "Diese Besprechung wird aufgezeichnet.", phWithheld: "Sie werden nicht aufgezeichnet.",
		phMuted: "Sie sind stumm.", phUnmuted: "Sie sind zu hören.", phMutedBy: "Sie wurden stumm geschaltet. Drücken Sie Stern 6, um wieder zu sprechen.",
		phHandUp: "Ihre Hand ist gehoben.", phHandDown: "Ihre Hand ist gesenkt.",
		phMoment: "Einen Moment bitte.", phBack: "Sie sind wieder in der Besprechung.", phLastMinute: "Dieser Anruf endet in einer Minute.", phGoodbye: "Auf Wiederhören.",
		phWrongPIN: "Diese PIN ist nicht gültig.", phTooMany: "Es waren zu viele Versuche. Bitte versuchen Sie es später noch einmal.",
		phUnavailable: "Besprechungen sind gerade nicht erreichbar. Bitte versuchen Sie es später noch einmal.", phNoService: "Unter dieser Nummer ist niemand zu erreichen.",
		phNotAllowed: "Sie können an dieser Besprechung nicht teilnehmen.",
		phEncrypted:  "Diese Besprechung ist von Ende zu Ende verschlüsselt, damit niemand mithören kann. Ein Telefon kann das nicht. Bitte nehmen Sie mit der App oder dem Link Ihrer Einladung teil.",
		phFull:       "Diese Besprechung ist voll.", phLocked: "Diese Besprechung ist geschlossen.",
		phRemoved: "Sie wurden aus der Besprechung entfernt.", phEnded: "Die Besprechung ist zu Ende.", phRevoked: "Ihre Einladung wurde zurückgezogen.",
		phSuspended: "Diese Besprechung ist per Telefon nicht mehr erreichbar.", phDenied: "Sie wurden nicht hereingelassen.",
		phBudget: "Heute sind keine Anrufe mehr möglich.", phTime: "Die Zeit für diesen Anruf ist um.",
	},
}
