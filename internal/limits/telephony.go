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

	// SMSReport is how long a network waits until a receipt has been taken; then it sends it again.
	SMSReport = 8 * time.Second

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
