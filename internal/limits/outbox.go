package limits

import "time"

// Messages to mailboxes and phones (clientapi/outbox).
const (
	// MessagesKept is for how long the log has a message that is over, SpendingKept for how long it is known what was spent on a day.
	MessagesKept = 30 * 24 * time.Hour
	SpendingKept = 400 * 24 * time.Hour

	// MessageLease is for how long a telephony bridge has a message before it gives it to the network, MessageSending for how long after that
	// it may take to learn what the network says.
	MessageLease   = 15 * time.Second
	MessageSending = time.Minute

	// LeaseWait bounds how long a bridge may wait for messages, LeaseAtOnce how many it is given at a time.
	LeaseWait   = 25 * time.Second
	LeaseAtOnce = 100

	// OutcomesAtOnce bounds what a bridge reports at a time.
	OutcomesAtOnce = 500

	// InvitationParts and CodeParts are how many short messages an invitation and a code take at most: so many are counted for it until the
	// bridge says how many it took.
	InvitationParts = 3
	CodeParts       = 2

	// MessageProblem bounds the word for what went wrong, MessageReference what the network calls a message, in bytes.
	MessageProblem   = 100
	MessageReference = 255

	// MessagesPage bounds the messages of one answer of the log, SpendingDays the days.
	MessagesPage = 500
	SpendingDays = 31

	// MessageCountries and MessagePrefixes bound the lists of a policy.
	MessageCountries = 250
	MessagePrefixes  = 1000
)
