package limits

import "time"

// Calls of phones into meetings and out of them (clientapi/meetings/phones, appservices/telephony/voice).
const (
	// PhoneLease is for how long a bridge has a call without asking; then the call is over. PhoneWait bounds how long a bridge may wait for news.
	PhoneLease = 20 * time.Second
	PhoneWait  = 6 * time.Second

	// PhoneCallsAtOnce bounds the calls that a bridge names and is given at a time.
	PhoneCallsAtOnce = 1000

	// PhoneTries is how often a caller may type a PIN in one call.
	PhoneTries = 3

	// PhoneTyping is how long a caller may take for a good PIN, PhoneWaiting how long somebody waits to be let in.
	PhoneTyping  = 3 * time.Minute
	PhoneWaiting = 30 * time.Minute

	// PhoneQueued is how long a call that was asked for may wait for a bridge, PhoneRinging how long it rings.
	PhoneQueued  = 45 * time.Second
	PhoneRinging = 45 * time.Second

	// PhonePINKept is for how long the PIN of somebody who is in the room holds; it is renewed when it is looked at.
	PhonePINKept = 90 * 24 * time.Hour

	// PhoneCallsKept is for how long the log has a call that is over, PhoneSpendingKept for how long it is known what was spent on a day.
	PhoneCallsKept    = 90 * 24 * time.Hour
	PhoneSpendingKept = 400 * 24 * time.Hour

	// PhoneCallsPage bounds the calls of one answer of the log, PhoneSpendingDays the days.
	PhoneCallsPage    = 500
	PhoneSpendingDays = 31

	// PhoneRules bounds the PINs that LiveKit SIP asks for, PhoneRulesKept is how often they are compared with those that there are.
	PhoneRules     = 5000
	PhoneRulesKept = 4 * time.Second

	// PhoneName bounds what a called person is called, in bytes.
	PhoneName = 80

	// PhoneReference bounds what a network calls a call.
	PhoneReference = 255
)
