package telephony

import (
	"context"
	"time"

	"github.com/roomline/roomline/internal/outbox"
)

// Transport gives messages of one medium to a network: a mail server, a short message centre, a gateway. It is safe for concurrent use.
type Transport interface {
	// Send writes a message and gives it to the network. Right before the bytes that can't be taken back it calls sending, with what the network
	// will call the message if that is known already: the server stores that the message is under way, so that nobody sends it a second time. If
	// sending returns an error, nothing may be sent, and Send returns that error.
	//
	// A *Refusal says that the message will never be taken, a *Later that it may be taken later. Any other error counts as a *Later.
	Send(ctx context.Context, m *outbox.Message, sending func(reference string) error) (Handed, error)
}

// Receiver is a Transport whose network tells later what became of messages.
type Receiver interface {
	Transport
	// Receive is called once, before Run and Send, with what takes outcomes that have a Reference and a State. Only when report has returned nil
	// may the network be told that a receipt was taken: otherwise it tells again, so that none is lost.
	Receive(report func(ctx context.Context, receipts []outbox.Outcome) error)
}

// Runner is a Transport that has work of its own, such as a connection to keep.
type Runner interface {
	Transport
	// Run works until ctx ends. Messages that are under way are sent to their end.
	Run(ctx context.Context) error
}

// Handed is what the network said when it took a message.
type Handed struct {
	// Reference is what the network calls it; receipts name it. Empty: what sending was told, or nothing.
	Reference string
	// Parts is how many short messages it took; 0 counts as one.
	Parts int
	// Delivered says that it is where it was to go, and that no receipt will come.
	Delivered bool
}

// Refusal says that a message will never be taken.
type Refusal struct {
	// Problem is a short word for it; no address, nothing of the content. The log and the inviter see it.
	Problem string
}

func (r *Refusal) Error() string { return "refused: " + r.Problem }

// Later says that a message was not taken, and may be later.
type Later struct {
	// Problem is as in Refusal.
	Problem string
	// After is how long the network asks to wait, or 0.
	After time.Duration
	// Unknown says that the network may have taken the message after all: the connection broke before it answered. A short message is not sent
	// again then before the window that the server keeps is over.
	Unknown bool
}

func (l *Later) Error() string { return "not taken now: " + l.Problem }
