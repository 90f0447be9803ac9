package limits

import "time"

// Meetings that were arranged (clientapi/meetings/schedule).
const (
	// MeetingHours is how long a time of a meeting may be that people arrange here.
	MeetingHours = 24 * time.Hour

	// MeetingSeries is for how long a recurring meeting goes on at most, MeetingTimes how many times it has.
	MeetingSeries = 5 * 366 * 24 * time.Hour
	MeetingTimes  = 2000

	// MeetingExceptions bounds the times of a series that were moved or cancelled one by one.
	MeetingExceptions = 100

	// MeetingInvitees bounds who is asked to a meeting, in all; those in one request are bounded by FirstInvites and FirstThirdPartyInvites.
	MeetingInvitees = 500

	// MeetingLink is for how long the link of a series, or of a personal room, holds without being renewed.
	MeetingLink = 366 * 24 * time.Hour

	// MeetingInstant is how long a meeting counts that begins at once, if the organisation has not said less.
	MeetingInstant = 4 * time.Hour

	// MeetingsAhead bounds the meetings of one organiser that are still to come.
	MeetingsAhead = 500

	// MeetingsPage bounds a page of a list of meetings.
	MeetingsPage = 100

	// MeetingWork is for how long others leave a meeting alone that a process is at work on.
	MeetingWork = 30 * time.Second

	// MeetingParticipants is how many may be in a meeting at most, whatever an organisation says.
	MeetingParticipants = 1000

	// MeetingName bounds the name that an organiser gives an invitee, in bytes.
	MeetingName = 100
)
