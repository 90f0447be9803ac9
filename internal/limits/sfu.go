package limits

import "time"

// The media server of meetings (internal/sfu).
const (
	// SFUCall bounds one question to it, if the operator does not say otherwise. Whoever waits for the answer waits with a person.
	SFUCall = 1500 * time.Millisecond

	// SFUSIP bounds a question to LiveKit SIP: it answers when a phone is in the room.
	SFUSIP = 12 * time.Second

	// SFUToken is how long somebody may take to join with a token: it is given out again for whoever comes later.
	SFUToken = time.Minute

	// SFUWebhook bounds what it tells, in bytes: a room and a participant with all tracks. SFUWebhookAge is how old that may be.
	SFUWebhook    = 256 << 10
	SFUWebhookAge = 5 * time.Minute

	// SFUSecret is how long the secret of a key has to be, in bytes: LiveKit itself asks for as much.
	SFUSecret = 32
)
