package limits

import "time"

// Invitations of people outside.
const (
	// InvitationLink is how long a link may hold at most: who gets a link later than that asks for another. InvitationShortest is the shortest
	// that one can ask for.
	InvitationLink     = 14 * 24 * time.Hour
	InvitationShortest = time.Minute

	// GuestStay is how long a guest may stay at most without being asked in again.
	GuestStay = 366 * 24 * time.Hour

	// InvitationUses bounds the guests of one link: a large meeting.
	InvitationUses = 1000

	// InvitationsPerRoom and InvitationsPerUser bound the invitations that hold at a time. Each adds two events to the room's state.
	InvitationsPerRoom = 1000
	InvitationsPerUser = 1000

	// FirstThirdPartyInvites bounds the addresses that createRoom invites.
	FirstThirdPartyInvites = 50

	// InvitationsPage bounds a page of a list of invitations.
	InvitationsPage = 200

	// InvitationsKept is for how long an invitation that has ended can be looked up.
	InvitationsKept = 90 * 24 * time.Hour

	// InvitationDomains bounds each list of domains of a policy.
	InvitationDomains = 1000

	// MeetingEarly is how long before a meeting its link opens, MeetingLate how long after it the link holds: meetings begin early and end late.
	MeetingEarly = 15 * time.Minute
	MeetingLate  = time.Hour

	// InvitationName bounds the names of people and rooms that a message says, in characters: they go into mails and short messages.
	InvitationName = 100

	// ThirdPartySigned bounds what an identity service has signed.
	ThirdPartySigned = 4 << 10
)
