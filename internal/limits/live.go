package limits

import "time"

// Calls that are on: who has to go, and what has ended.
const (
	// CallGrace is how long a membership outlives its media: a device that lost its connection may be back.
	CallGrace = 2500 * time.Millisecond

	// CallNewcomer is for how long after its media has gone a device counts as one that is in the call, and not as one that comes.
	CallNewcomer = 30 * time.Second

	// CallAnnounced is how long the media of a device may take that has said in the room that it is in the call.
	CallAnnounced = time.Minute

	// CallKept is for how long it is known who was in a call: longer than the tokens hold that LiveKit gives to those whom it has let in
	// (10 minutes), so that those who come back with one are known.
	CallKept = 15 * time.Minute

	// CallReturn is how long those may take to come back who were in a call when the SFU began anew.
	CallReturn = 20 * time.Second

	// CallWarning is how long before the end of its minutes a call is told.
	CallWarning = 5 * time.Minute

	// CallOrders bounds the orders that a process takes at once, CallOrdersAtOnce those that it asks the SFU for at the same time.
	CallOrders       = 64
	CallOrdersAtOnce = 16

	// DelegatedDelay is the shortest delay of an event that is handed over: it is restarted when four fifths of it have passed.
	DelegatedDelay = 10 * time.Second
)
