package limits

import "time"

// Guests: people from outside who came by an invitation.
const (
	// GuestName bounds the name that a guest chooses, in bytes, without what the server adds to it.
	GuestName = 100

	// GuestDevices is how many sessions a guest has: the one of the link, and one more for who changes from the phone to the desk.
	GuestDevices = 2

	// GuestAccountDataKeys and GuestAccountDataBytes bound what a guest's clients keep on the server: settings, and secrets of encryption.
	GuestAccountDataKeys  = 100
	GuestAccountDataBytes = 1 << 20

	// GuestBatch bounds the guests who are made in one transaction.
	GuestBatch = 64

	// VisitorLifetime is how long a guest stays whom nobody has invited, Visitors how many of them an organisation has at a time.
	VisitorLifetime = 24 * time.Hour
	Visitors        = 1000
)
