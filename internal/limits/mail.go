package limits

import "time"

// Mails and invitations to meetings.
const (
	// MailName bounds the names of people, rooms and organisations in what is sent, in characters: they are what strangers chose, and a mail is no place
	// for their sentences.
	MailName = 60

	// MeetingText bounds the title, the identifier, the time zone and the recurrence of a meeting, in bytes.
	MeetingText = 255

	// MeetingDuration is how long a meeting may be.
	MeetingDuration = 7 * 24 * time.Hour

	// ZoneYears is for how many years of a meeting a calendar is told when clocks change where no rule says it.
	ZoneYears = 12

	// MailConnections is how many connections to the mail server there are at a time, MailIdle how long one is kept for the next mail, and
	// MailsPerConnection after how many mails it is closed, as servers ask for.
	MailConnections    = 4
	MailIdle           = 30 * time.Second
	MailsPerConnection = 100

	// MailAnswer is how long a mail server may take over a command, MailTaken over a mail that it was given: it may look for viruses.
	MailAnswer = 30 * time.Second
	MailTaken  = 2 * time.Minute

	// MailAgain is for how long nothing is sent after the mail server refused the sign-in: too many are an attack.
	MailAgain = 30 * time.Second

	// Inbox is how many messages the development inbox keeps, the newest.
	Inbox = 300

	// BrandName bounds what an organisation calls itself, in bytes, and LogoBytes its logo when it is made small.
	BrandName = 120
	LogoBytes = 1 << 20
)
