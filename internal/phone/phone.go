// Package phone is what the server and the telephony bridge say to each other about calls of phones into meetings, and out of them.
//
// The bridge knows SIP and LiveKit; the server knows who may be where, who the phone is, and what a call may cost. The bridge asks by HTTP, below
// /_roomline/telephony/v1/, with its as_token:
//
//	POST calls/start           Start → Started     a phone called one of our numbers
//	POST calls/{callId}/pin    PIN → Join          the caller typed a PIN
//	POST calls/{callId}/token  Token → Join        a called person pressed 1; a waiting one was let in; the SFU was lost and is there again
//	POST calls/{callId}/event  Event → Status      what happened at the phone's end
//	POST calls/lease           Lease → Leased      calls to make, and what changed for those that are on
//
// An answer of 200 with a Problem is one for the caller's ears: the bridge says it and hangs up, or asks again where Tries says so. Any other
// status is a fault between server and bridge.
//
// A call is in the hands of the bridge that began it, as long as that asks for calls (Lease) and names it: the lease lapses after
// limits.PhoneLease, and the server ends the call. A call out is never made twice.
package phone

// Path is where the bridge asks.
const Path = "/_roomline/telephony/v1/calls/"

// PINDigits is how long a PIN is. It has no leading zero.
const PINDigits = 10

// Start says that a phone has called.
type Start struct {
	// Bridge is a random name that a process of the bridge has while it runs: letters, digits, - and _, 8 to 64 of them.
	Bridge string `json:"bridge"`
	// Reference is what the network calls the call (the Call-ID of SIP). The same again is the same call.
	Reference string `json:"reference"`
	// Trunk is the name in the configuration of the trunk that it came over.
	Trunk string `json:"trunk"`
	// Called is the number of ours, Caller the phone's: E.164 with a plus. Caller is empty if it is withheld, or not believed.
	Called string `json:"called"`
	Caller string `json:"caller"`
}

// Started is the answer: what to say first.
type Started struct {
	CallID string `json:"call_id"`
	// Language is what is spoken: en, fr, nl or de.
	Language string `json:"language"`
	// PINDigits is how many digits to wait for, Tries how often.
	PINDigits int `json:"pin_digits"`
	Tries     int `json:"tries"`
	// Problem: say it and hang up. There is no call then.
	Problem Problem `json:"problem,omitempty"`
}

// PIN is what the caller typed.
type PIN struct {
	Bridge string `json:"bridge"`
	PIN    string `json:"pin,omitempty"`
	// Room stands for the PIN where LiveKit SIP has asked for it: the room that it has brought the caller to.
	Room string `json:"room,omitempty"`
}

// Token asks for the way into the meeting, now.
type Token struct {
	Bridge string `json:"bridge"`
}

// Join is the way into a meeting.
type Join struct {
	// Title is the meeting's, to be shown; it may be empty.
	Title string `json:"title"`
	// Name is what the phone is called there, UserID its ghost.
	Name   string `json:"name"`
	UserID string `json:"user_id"`
	// Language is the person's, if it is known better than by the number: speak it from now on.
	Language string `json:"language"`
	// URL and JWT are the SFU's, Identity what it calls the phone. They are missing while Waiting: the bridge plays that the organiser has been told, and asks
	// for a token when Status says that it waits no more.
	URL      string `json:"url,omitempty"`
	JWT      string `json:"jwt,omitempty"`
	Identity string `json:"identity,omitempty"`
	Waiting  bool   `json:"waiting"`
	// Recording is as in Status.
	Recording Recording `json:"recording,omitempty"`
	// SecondsAllowed is what the call may last from now, 0 for no bound. The bridge ends it then by itself (CauseTime), with a word a minute before.
	SecondsAllowed int `json:"seconds_allowed"`
	// Problem: say it. Tries is how often another PIN may be typed; at 0 hang up.
	Problem Problem `json:"problem,omitempty"`
	Tries   int     `json:"tries,omitempty"`
}

// Event is what happened at the phone's end. Fields that are missing have not changed.
type Event struct {
	Bridge string `json:"bridge"`
	State  State  `json:"state,omitempty"`
	// Cause is why it ended or failed.
	Cause Cause `json:"cause,omitempty"`
	// Hand raises a hand or takes it down, Muted says what the phone did with its microphone: by keys.
	Hand  *bool `json:"hand,omitempty"`
	Muted *bool `json:"muted,omitempty"`
	// Consent answers to a recording: yes or no.
	Consent string `json:"consent,omitempty"`
	// Joined says that the phone's audio is in the SFU's room.
	Joined bool `json:"joined,omitempty"`
}

// State is how far a call is, by the bridge's word.
type State string

// The states that a bridge reports. A call that came in is Answered when the bridge has picked it up. One that goes out is Ringing, and Answered as soon
// as it costs money; the person is in the meeting only after pressing 1, when the bridge asks for a token.
const (
	Ringing  State = "ringing"
	Answered State = "answered"
	Ended    State = "ended"
	Failed   State = "failed"
)

// Status is how a call stands, by the server's word.
type Status struct {
	CallID string `json:"call_id"`
	// Hangup: say what the cause has a prompt for, and hang up.
	Hangup Cause `json:"hangup,omitempty"`
	// Waiting is true until somebody lets the phone in.
	Waiting bool `json:"waiting"`
	// Recording changes while the call is on.
	Recording Recording `json:"recording,omitempty"`
}

// Recording is what a phone has to hear about a recording.
type Recording string

// Asking: nothing of the phone's is recorded before it has said yes (Event.Consent). Recorded: it has, and is. Withheld: it said no, and is not
// heard by the recorder.
const (
	Asking   Recording = "asking"
	Recorded Recording = "recorded"
	Withheld Recording = "withheld"
)

// Lease asks for calls to make, holds those that are on, and waits for what changes.
type Lease struct {
	Bridge string `json:"bridge"`
	// Trunks are those that work now, Max how many more calls may be made.
	Trunks []string `json:"trunks"`
	Max    int      `json:"max"`
	// WaitMS is how long to wait for news, up to limits.PhoneWait. The bridge asks again at once.
	WaitMS int64 `json:"wait_ms"`
	// Calls are all that the bridge has, each as it knows it.
	Calls []Status `json:"calls"`
}

// Leased is the answer.
type Leased struct {
	Calls []Call `json:"calls"`
	// Orders are the calls that stand otherwise than the bridge said, and those that are the bridge's no more (Hangup).
	Orders []Status `json:"orders"`
}

// Call is one to make. The bridge rings the number, and asks the person to press 1 before anything else: a mailbox or a stranger is in no meeting.
type Call struct {
	CallID string `json:"call_id"`
	Trunk  string `json:"trunk"`
	// Number is whom to call, Caller the number of ours to show: E.164 with a plus.
	Number string `json:"number"`
	Caller string `json:"caller"`
	// Language is what is spoken.
	Language string `json:"language"`
	// Organisation and By are who has the person called, Title what the meeting is called: for bridges that can speak them.
	Organisation string `json:"organisation"`
	By           string `json:"by"`
	Title        string `json:"title"`
	// SecondsAllowed is what the call may last from being picked up, which the bridge sees to; RingSeconds how long to let it ring.
	SecondsAllowed int `json:"seconds_allowed"`
	RingSeconds    int `json:"ring_seconds"`
}

// Problem is a reason for the caller's ears: each has a prompt.
type Problem string

// The problems.
const (
	// WrongPIN is the same for a PIN that never was, and one whose time is over.
	WrongPIN Problem = "wrong_pin"
	// TooMany: too many wrong PINs from this number, over this trunk, or at all.
	TooMany Problem = "too_many"
	// Unavailable: no meetings just now.
	Unavailable Problem = "unavailable"
	// NoService: nobody can be reached by this number.
	NoService Problem = "no_service"
	// NotAllowed: the person may not be there, or no more.
	NotAllowed Problem = "not_allowed"
	// EncryptedMeeting: what is said there is encrypted from end to end, and a phone can't be.
	EncryptedMeeting Problem = "encrypted"
	// Full and LockedMeeting: nobody more gets in.
	Full          Problem = "full"
	LockedMeeting Problem = "locked"
)

// Cause is why a call ended. The first group are the bridge's, the second the server's.
type Cause string

// The causes.
const (
	CauseHangup      Cause = "hangup"      // the phone did
	CauseBusy        Cause = "busy"        // 486, 600
	CauseNoAnswer    Cause = "no_answer"   // it rang, and nobody came
	CauseRejected    Cause = "rejected"    // 403, 603
	CauseUnreachable Cause = "unreachable" // 404, 480, 484 and the like
	CauseDeclined    Cause = "declined"    // nobody pressed 1
	CausePIN         Cause = "pin"         // no good PIN was typed
	CauseTrunk       Cause = "trunk"       // the trunk or the media failed
	CauseTime        Cause = "time"        // SecondsAllowed are over

	CauseRemoved   Cause = "removed"   // somebody did not want it there
	CauseEnded     Cause = "ended"     // the meeting is over
	CauseRevoked   Cause = "revoked"   // the invitation was
	CauseSuspended Cause = "suspended" // the organisation, or the policy, allows it no more
	CauseCancelled Cause = "cancelled" // who asked for the call took it back
	CauseDenied    Cause = "denied"    // the one who waited was not let in
	CauseBudget    Cause = "budget"    // the day's minutes or money are spent
	CauseEncrypted Cause = "encrypted" // the meeting's room is encrypted from now on
	CauseLost      Cause = "lost"      // the bridge is gone, or the call is another one's
)
