package limits

import "time"

// Other homeservers.
const (
	// OtherServerAnswer bounds what is read of an answer: keys, a name, a token.
	OtherServerAnswer = 64 << 10

	// RequestSignature bounds the header that a request is signed with.
	RequestSignature = 2 << 10

	// ServerKeysKnown is for how long another server's keys are believed without asking again, ServerKeysAgain how long it is left alone after
	// it was asked in vain, ServerKeysKept of how many servers they are kept.
	ServerKeysKnown = time.Hour
	ServerKeysAgain = 10 * time.Second
	ServerKeysKept  = 1000
)
