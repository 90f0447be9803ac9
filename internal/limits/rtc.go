package limits

import "time"

// Calls: who may enter a room of the SFU.
const (
	// CallToken is for how long a token lets in. It need not last: who is in stays in.
	CallToken = 60 * time.Second

	// CallTokenNoted is how much later a token is noted to end, so that whoever asks again and again is noted once in that time.
	CallTokenNoted = 10 * time.Second

	// CallBody bounds the body of a request for a token. Who asks by an OpenID token has not said yet who they are.
	CallBody = 64 << 10

	// CallRoomIdle is how long a room of the SFU lives with nobody in it, longer than any token for it holds. CallRoomKnown is for how long a
	// process takes it for granted that a room is there which it has made.
	CallRoomIdle  = 3 * time.Minute
	CallRoomKnown = 5 * time.Second

	// CallPolicyKnown is for how long a process takes it for granted what an organisation allows its calls.
	CallPolicyKnown = time.Second

	// CallSlot bounds the id of a slot, which is a state key. CallMember bounds what a client calls its membership.
	CallSlot   = 255
	CallMember = 255

	// Ringing is for how long clients ring (MSC4075 recommends it).
	Ringing = 30 * time.Second

	// CallBatch bounds the tokens that are minted in one transaction.
	CallBatch = 256

	// CallOtherServer is how long another server may take to say whose an OpenID token is, or to give a token for its SFU.
	CallOtherServer = 10 * time.Second
)
