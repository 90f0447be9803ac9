package telephony

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/wake"
)

// Bridge takes messages, has them sent, and reports. Several bridges may work for one server.
type Bridge struct {
	cfg    Config
	server Client
}

const (
	// prepared is how long a Transport may take before it gives a message to the network, handing how long the network may take to answer: less than
	// limits.MessageSending, for which the server keeps everybody else from it.
	prepared = limits.MessageSending
	handing  = 40 * time.Second
	// drained is how long messages that are under way have when the bridge stops.
	drained = 20 * time.Second
	// asked is the first pause after the server did not answer; each further one is twice as long, up to askedMost.
	asked     = 200 * time.Millisecond
	askedMost = 5 * time.Second
)

// Run works until ctx ends, and then until what is under way is reported.
func (b *Bridge) Run(ctx context.Context) error {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var transports, media sync.WaitGroup
	for medium, t := range b.cfg.Transports {
		if r, ok := t.(Runner); ok {
			transports.Go(func() {
				if err := r.Run(working); err != nil && working.Err() == nil {
					b.cfg.Log.Error("telephony: a transport stopped", "medium", medium, "error", err)
				}
			})
		}
		media.Go(func() { b.work(ctx, working, medium, t) })
	}
	<-ctx.Done()
	timer := time.AfterFunc(drained, stop)
	media.Wait()
	timer.Stop()
	stop()
	transports.Wait()
	return nil
}

// work sends the messages of one medium: it takes as many as it has hands for. What it has taken when ctx ends it sends, until working ends.
func (b *Bridge) work(ctx, working context.Context, medium string, t Transport) {
	hands := make(chan struct{}, b.cfg.Parallel)
	var busy sync.WaitGroup
	defer busy.Wait()
	pause := pauses{first: asked, most: askedMost}
	for {
		select {
		case hands <- struct{}{}:
		case <-ctx.Done():
			return
		}
		list, err := b.server.lease(ctx, medium, cap(hands)-len(hands)+1)
		<-hands
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if pause.next == 0 {
				b.cfg.Log.Warn("telephony: the server does not answer", "medium", medium, "error", err)
			}
			pause.wait(ctx)
			continue
		}
		pause.next = 0
		for i := range list {
			hands <- struct{}{}
			busy.Go(func() {
				defer func() { <-hands }()
				b.handle(working, t, &list[i])
			})
		}
	}
}

// pauses grow, and are never quite the same.
type pauses struct{ first, most, next time.Duration }

func (p *pauses) wait(ctx context.Context) {
	p.next = min(max(p.first, 2*p.next), p.most)
	wake.Pause(ctx, p.next/2+rand.N(p.next/2+1))
}

// errLost says that somebody else has the message now, or that it was taken back.
var errLost = errors.New("telephony: the message is not this bridge's any more")

// handle has a message sent, and reports what became of it.
func (b *Bridge) handle(ctx context.Context, t Transport, m *outbox.Message) {
	o, lost := b.send(ctx, t, m)
	if lost {
		return
	}
	o.ID, o.Lease = m.ID, m.Lease
	if o.Problem != "" {
		b.cfg.Log.Info("telephony: a message was not sent", "message", m.ID, "medium", m.Medium, "problem", o.Problem, "again", o.Retry)
	}
	if _, err := b.reportUntilHeard(ctx, o); err != nil {
		b.cfg.Log.Error("telephony: what became of a message is not reported", "message", m.ID, "error", err)
	}
}

// send calls the Transport. lost: there is nothing to report.
func (b *Bridge) send(ctx context.Context, t Transport, m *outbox.Message) (o outbox.Outcome, lost bool) {
	if m.ExpiresTS <= matrix.TimestampOf(time.Now()) {
		return outbox.Outcome{State: outbox.Failed, Problem: "expired"}, false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(prepared, cancel)
	defer timer.Stop()
	given := false
	sending := func(reference string) error {
		answer, err := b.server.report(ctx, outbox.Outcome{ID: m.ID, Lease: m.Lease, State: outbox.Sending, Reference: reference})
		if err == nil && slices.Contains(answer.Lost, m.ID) {
			err = errLost
		}
		if err == nil {
			given = true
			timer.Reset(handing)
		}
		return err
	}
	handed, err := guarded(ctx, t, m, sending)
	if err == nil {
		o = outbox.Outcome{State: outbox.Sent, Reference: handed.Reference, Parts: handed.Parts}
		if handed.Delivered {
			o.State = outbox.Delivered
		}
		return o, false
	}
	if errors.Is(err, errLost) {
		return o, true
	}
	return failure(err, given), false
}

// guarded is Send of a Transport that may have a mistake in it.
func guarded(ctx context.Context, t Transport, m *outbox.Message, sending func(string) error) (handed Handed, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a mistake in a transport: %v\n%s", p, debug.Stack())
		}
	}()
	return t.Send(ctx, m, sending)
}

// failure is what is reported of an error. given: the network may have the message, unless the error says that it has not.
func failure(err error, given bool) outbox.Outcome {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return outbox.Outcome{State: outbox.Failed, Problem: refusal.Problem}
	}
	o := outbox.Outcome{State: outbox.Queued, Retry: true, Problem: "failed"}
	var later *Later
	switch known := errors.As(err, &later); {
	case known:
		o.Problem, o.RetryAfter = later.Problem, later.After.Milliseconds()
		given = given && later.Unknown
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		o.Problem = "timeout"
	}
	if given {
		o.State = outbox.Sending
	}
	return o
}

// reportUntilHeard reports until the server has heard it, or ctx ends.
func (b *Bridge) reportUntilHeard(ctx context.Context, outcomes ...outbox.Outcome) (outcome, error) {
	pause := pauses{first: asked, most: askedMost}
	for {
		answer, err := b.server.report(ctx, outcomes...)
		var never *Refused
		if err == nil || errors.As(err, &never) && never.Final() || ctx.Err() != nil {
			return answer, err
		}
		pause.wait(ctx)
	}
}

// receipts reports what a network said later. One that is faster than the report of its message is tried for a while.
func (b *Bridge) receipts(ctx context.Context, receipts []outbox.Outcome) error {
	pause := pauses{first: asked, most: askedMost}
	const attempts = 6
	for range attempts {
		var unknown []outbox.Outcome
		for part := range slices.Chunk(receipts, limits.OutcomesAtOnce) {
			answer, err := b.reportUntilHeard(ctx, part...)
			if err != nil {
				return err
			}
			for _, r := range part {
				if slices.Contains(answer.Unknown, r.Reference) {
					unknown = append(unknown, r)
				}
			}
		}
		if receipts = unknown; len(receipts) == 0 {
			return nil
		}
		if pause.wait(ctx); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b.cfg.Log.Info("telephony: receipts of messages that nobody knows", "count", len(receipts))
	return nil
}
