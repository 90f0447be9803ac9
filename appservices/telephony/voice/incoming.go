package voice

import (
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/phone"
)

// prepare reads what a caller offers, and says what is wrong with it. Without an offer we make one.
func (l *leg) prepare(body []byte) (status int, reason string) {
	if err := l.open(); err != nil {
		l.bridge.log.Warn("voice: a call can't be taken", "trunk", l.trunk.cfg.Name, "error", err)
		return sip.StatusServiceUnavailable, "Busy"
	}
	if len(body) == 0 {
		return 0, ""
	}
	return l.agree(body)
}

// takeCall answers a call that comes in, and is over with it.
func (l *leg) takeCall(d *sipgo.DialogServerSession, tx sip.ServerTransaction, start phone.Start, headers []sip.Header) {
	started, err := l.bridge.server.start(l.ctx, start)
	if err != nil {
		if l.ctx.Err() == nil {
			l.bridge.log.Warn("voice: the server takes no call", "trunk", start.Trunk, "error", err)
			_ = d.Respond(sip.StatusServiceUnavailable, "Service Unavailable", nil, sip.NewHeader("Retry-After", "10"))
		}
		return
	}
	l.mu.Lock()
	l.call, l.language, l.status.CallID = started.CallID, started.Language, started.CallID
	l.mu.Unlock()
	if l.ctx.Err() == nil && l.answer(d, tx, headers) {
		l.bridge.log.Info("voice: a call came in", "trunk", start.Trunk, "call", short(started.CallID), "codec", l.codec.name)
		go l.told(phone.Event{State: phone.Answered})
		l.end(l.converse(started))
	}
	l.finish()
}

// answer says that the call is taken. The audio begins at once, or when the other side has said where to.
func (l *leg) answer(d *sipgo.DialogServerSession, tx sip.ServerTransaction, headers []sip.Header) bool {
	body, offered := l.description()
	res := sip.NewSDPResponseFromRequest(d.InviteRequest, body)
	res.AppendHeader(sip.NewHeader("Allow", allowed))
	for _, h := range headers {
		res.AppendHeader(h)
	}
	l.answered.Store(true)
	late := time.AfterFunc(acknowledgement, tx.Terminate)
	go func() {
		defer late.Stop()
		if d.WriteResponse(res) != nil {
			l.end(ending{cause: phone.CauseTrunk})
		}
	}()
	if offered { // by us: the acknowledgement has the answer
		select {
		case ack := <-l.acks:
			if status, _ := l.agree(ack.Body()); status != 0 {
				l.end(ending{cause: phone.CauseTrunk})
				return false
			}
		case <-l.ctx.Done():
			return false
		}
	}
	l.play()
	return true
}
