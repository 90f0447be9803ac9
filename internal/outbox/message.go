// Package outbox is what the server and the telephony bridge agree on: messages that leave for mailboxes and phones, and what becomes of them.
//
// The server (clientapi/outbox) decides whether something may be sent, keeps it in the database and hands it out; the bridge (appservices/telephony)
// writes the mail or the short message, gives it to the network and reports. Between them is HTTP with an application service's token, whether
// the bridge runs in the server's process or at the telecom's side.
package outbox

import "github.com/roomline/roomline/internal/matrix"

// Kind says what a message is.
type Kind string

const (
	// Invitation asks somebody into a room; Invitation is set.
	Invitation Kind = "invitation"
	// Cancellation takes an invitation to a meeting back; Invitation is set.
	Cancellation Kind = "cancellation"
	// Code proves that an address is somebody's; Code is set.
	Code Kind = "code"
)

// Media.
const (
	Email  = "email"
	Msisdn = "msisdn"
)

// State is how far a message has come.
type State string

const (
	// Held waits: quiet hours, or a pause of the organisation's sending.
	Held State = "held"
	// Queued waits for the bridge.
	Queued State = "queued"
	// Sending was given to the network, which has not answered yet. Whether it went is not known.
	Sending State = "sending"
	// Sent was taken by the network.
	Sent State = "sent"
	// Delivered has reached the phone or the mailbox, as far as the network says so.
	Delivered State = "delivered"
	// Failed will not be sent.
	Failed State = "failed"
	// Cancelled was taken back before it was sent.
	Cancelled State = "cancelled"
)

// Over reports whether nothing more will become of a message.
func (s State) Over() bool { return s == Delivered || s == Failed || s == Cancelled }

// Message is what the bridge is given.
type Message struct {
	// ID names the message; the same message has the same id whenever it is handed out.
	ID int64 `json:"id"`
	// Lease names this handing out.
	Lease  string `json:"lease"`
	Kind   Kind   `json:"kind"`
	Medium string `json:"medium"`
	// Address is an e-mail address, or E.164 digits without a plus.
	Address string `json:"address"`
	// Language is what it is to be written in: en, fr, nl or de.
	Language   string           `json:"language"`
	CreatedTS  matrix.Timestamp `json:"created_ts"`
	ExpiresTS  matrix.Timestamp `json:"expires_ts"`
	Brand      Brand            `json:"organisation"`
	Invitation *InvitationText  `json:"invitation,omitempty"`
	Code       *CodeText        `json:"code,omitempty"`
	// RefuseURL is where the addressee says that nothing more is wanted from anybody here.
	RefuseURL string `json:"refuse_url,omitempty"`
}

// Brand is how an organisation presents itself.
type Brand struct {
	Name string `json:"name"`
	// LogoURL is an address that anybody may load a picture from, or empty.
	LogoURL string `json:"logo_url,omitempty"`
	// Colour is #rrggbb, or empty.
	Colour string `json:"colour,omitempty"`
}

// InvitationText is what an invitation says. Names are what people chose: text to be escaped, never trusted.
type InvitationText struct {
	ID string `json:"id"`
	// Inviter and Room are names to show; InviterEmail is where an answer to the mail goes, or empty.
	Inviter      string `json:"inviter"`
	InviterEmail string `json:"inviter_email,omitempty"`
	Room         string `json:"room"`
	// Link opens it. It is a secret.
	Link string `json:"link"`
	// LinkExpiresTS is when the link ends.
	LinkExpiresTS matrix.Timestamp `json:"link_expires_ts"`
	Meeting       *Meeting         `json:"meeting,omitempty"`
	// First is true if the addressee has been told nothing of it before: a meeting that was changed has a higher Sequence for newcomers, too.
	First bool `json:"first,omitempty"`
}

// Meeting is what a calendar is told. JSON of this type stands in invitations.meeting.
type Meeting struct {
	// UID and Sequence are iCalendar's: the same meeting has the same UID, and each change a higher Sequence.
	UID      string           `json:"uid"`
	Sequence int              `json:"sequence"`
	Title    string           `json:"title"`
	StartTS  matrix.Timestamp `json:"start_ts"`
	EndTS    matrix.Timestamp `json:"end_ts"`
	// Timezone is a name of the IANA database.
	Timezone string `json:"timezone"`
	// Recurrence is an RRULE without its name, or empty.
	Recurrence string `json:"recurrence,omitempty"`
	// Exceptions are times of the recurrence that are not as the rule has them.
	Exceptions []Exception `json:"exceptions,omitempty"`
	// Changed is the one of Exceptions that the last change made; nil where all of the meeting was changed.
	Changed *Exception `json:"changed,omitempty"`
	// Phone is how the addressee calls in. It is in messages only, and not stored with the meeting.
	Phone []DialIn `json:"phone,omitempty"`
}

// Exception is a time of a recurring meeting that was moved, or cancelled.
type Exception struct {
	// StartTS is when it would begin by the rule.
	StartTS matrix.Timestamp `json:"start_ts"`
	// NewStartTS and NewEndTS are missing if it was cancelled.
	NewStartTS matrix.Timestamp `json:"new_start_ts,omitempty"`
	NewEndTS   matrix.Timestamp `json:"new_end_ts,omitempty"`
}

// Cancelled reports whether there is no such time.
func (x Exception) Cancelled() bool { return x.NewStartTS == 0 }

// DialIn is a number that lets somebody in by phone.
type DialIn struct {
	Country string `json:"country"`
	Number  string `json:"number"`
	// PIN is what the caller types. It is a secret.
	PIN string `json:"pin"`
}

// CodeText is a code and what it is for.
type CodeText struct {
	Code string `json:"code"`
	// Purpose is one of the purposes of clientapi/verify: add, bind, password, register, login, guest.
	Purpose string `json:"purpose"`
	// Host is the web site that the code is typed into, for phones that fill it in there only.
	Host string `json:"host"`
	// Link does the same as typing the code, in mails; or empty.
	Link string `json:"link,omitempty"`
}

// Outcome is what the bridge reports of a message.
type Outcome struct {
	// ID and Lease are the message's. A receipt has Reference alone.
	ID    int64  `json:"id,omitempty"`
	Lease string `json:"lease,omitempty"`
	// Reference is what the network calls the message.
	Reference string `json:"reference,omitempty"`
	State     State  `json:"state"`
	// Retry asks for another attempt, not before RetryAfter (milliseconds) have passed: the network did not take it, and may later.
	Retry      bool  `json:"retry,omitempty"`
	RetryAfter int64 `json:"retry_after_ms,omitempty"`
	// Problem is a short word for what went wrong; no address, nothing of the content.
	Problem string `json:"problem,omitempty"`
	// Parts is how many short messages it took.
	Parts int `json:"parts,omitempty"`
}
