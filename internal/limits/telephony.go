package limits

import "time"

// Short messages (appservices/telephony/sms).
const (
	// SMSName bounds what people chose to be called, in a message that a stranger reads: no sentence fits.
	SMSName = 30

	// SMSParts bounds the parts of one message: no more than an invitation is paid for (InvitationParts). With a link of a usual length it takes one.
	SMSParts = 3

	// SMSReceipts is for how long receipts of parts are waited for, SMSReceiptsKept how many messages are remembered for them. Centres give up a
	// message after three days, usually.
	SMSReceipts     = 3 * 24 * time.Hour
	SMSReceiptsKept = 100_000

	// SMSReceiptsAtOnce bounds the receipts of one connection that are being reported; more are asked for again.
	SMSReceiptsAtOnce = 256

	// SMSReport is how long a network waits until the server has heard a receipt; then it sends it again. A message that nobody knows is looked for
	// for half as long.
	SMSReport = 25 * time.Second

	// SMSReference bounds what a network calls a message: 64 octets in SMPP, a UUID or so elsewhere.
	SMSReference = 128

	// SMPPBody bounds a PDU from a centre. The longest that is of use here is a receipt with a text, in a TLV.
	SMPPBody = 16 << 10

	// SMSGatewayAnswer bounds a gateway's answer, and SMSGatewayReceipts the body of its receipts.
	SMSGatewayAnswer   = 64 << 10
	SMSGatewayReceipts = 256 << 10

	// SMSSignature is how old a signed request of a gateway may be, and how far ahead its clock.
	SMSSignature = 5 * time.Minute
)

// Commands to the bot of the telephony bridge (internal/commands, clientapi/invitations).
const (
	// CommandText bounds a message that is looked at, CommandAddresses the addresses in it.
	CommandText      = 4 << 10
	CommandAddresses = 20

	// CommandID is how many letters of an invitation's id name it at least.
	CommandID = 6

	// CommandAge is how old a command may be: who wrote it expects no answer any more.
	CommandAge = 10 * time.Minute

	// CommandWork is for how long a process may be busy with a command, CommandClaim when another one does the rest of it.
	CommandWork  = 15 * time.Second
	CommandClaim = 20 * time.Second

	// CommandKept is for how long the answers to commands are kept: as long as a link holds at most.
	CommandKept = 15 * 24 * time.Hour

	// CommandRooms bounds the rooms among which one is looked for by its name, and CommandList the invitations that an answer lists.
	CommandRooms = 5000
	CommandList  = 20

	// CommandCandidates bounds the invitations among which one is looked for, CommandChats the rooms among which the bot's chat with somebody is.
	CommandCandidates = 500
	CommandChats      = 20
)
