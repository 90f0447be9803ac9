package voice

import (
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// acknowledged takes an ACK: of our first answer, or of one within the call.
func (l *leg) acknowledged(req *sip.Request, tx sip.ServerTransaction) {
	if d, ok := l.talk().(*sipgo.DialogServerSession); ok {
		_ = d.ReadAck(req, tx) // an error says that it is of a later answer
	}
	select {
	case l.acks <- req:
	default: // nobody waits for so many
	}
}

// bye takes the other side's word that the call is over.
func (l *leg) bye(req *sip.Request, tx sip.ServerTransaction) {
	l.end(ending{cause: hungUp, gone: true})
	d := l.talk()
	if d == nil {
		respond(tx, req, sip.StatusOK, "OK")
		return
	}
	_ = d.ReadBye(req, tx) // the call is over in any case
}

// info takes a key that comes as a message (RFC 6086). Other messages are none of ours, and do no harm.
func (l *leg) info(req *sip.Request, tx sip.ServerTransaction) {
	contentType := ""
	if h := req.ContentType(); h != nil {
		contentType = h.Value()
	}
	if key, ok := infoKey(contentType, req.Body()); ok {
		l.press(key)
	} else if len(req.Body()) > 0 {
		respond(tx, req, 415, "Unsupported Media Type", sip.NewHeader("Accept", "application/dtmf-relay, application/dtmf"))
		return
	}
	respond(tx, req, sip.StatusOK, "OK")
}

// refer refuses to be sent elsewhere: whoever pays for the call, and whom it may reach, is not the other side's to say. The call goes on.
//
// Spec: RFC 3515 §2.4.2
func (l *leg) refer(req *sip.Request, tx sip.ServerTransaction) {
	respond(tx, req, sip.StatusGlobalDecline, "Declined")
}

// update changes what both sides agreed on, or only says that the other side is still there (RFC 3311).
func (l *leg) update(req *sip.Request, tx sip.ServerTransaction) {
	if res, ok := l.changed(req, tx); ok {
		_ = tx.Respond(res)
	}
}

// changed takes a new description, and makes the answer; false: it was refused, and all stays as it was.
func (l *leg) changed(req *sip.Request, tx sip.ServerTransaction) (*sip.Response, bool) {
	timer, ok := sessionTimer(req)
	if !ok {
		respond(tx, req, 422, "Session Interval Too Small")
		return nil, false
	}
	res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
	switch {
	case !l.answered.Load():
		respond(tx, req, 491, "Request Pending")
		return nil, false
	case len(req.Body()) > 0:
		if status, reason := l.agree(req.Body()); status != 0 {
			respond(tx, req, status, reason)
			return nil, false
		}
		fallthrough
	case req.IsInvite():
		body, _ := l.description()
		res = sip.NewSDPResponseFromRequest(req, body)
	}
	contact := l.trunk.dialogs.ContactHDR
	res.AppendHeader(&contact)
	for _, h := range timer {
		res.AppendHeader(h)
	}
	return res, true
}

// reinvite puts the call on hold, or takes it up again, or moves it elsewhere: whatever the description says. The answer is repeated until it is
// acknowledged.
func (l *leg) reinvite(req *sip.Request, tx sip.ServerTransaction) {
	res, ok := l.changed(req, tx)
	if !ok {
		return
	}
	if tx.Respond(res) != nil {
		return
	}
	again := sip.T1
	late := time.NewTimer(acknowledgement)
	defer late.Stop()
	for {
		select {
		case ack := <-l.acks:
			if ack.CSeq().SeqNo != req.CSeq().SeqNo {
				continue
			}
			if len(req.Body()) == 0 && len(ack.Body()) > 0 {
				_, _ = l.agree(ack.Body()) // what can't be agreed to leaves all as it was
			}
			return
		case <-time.After(again):
			again = min(2*again, sip.T2)
			if tx.Respond(res) != nil {
				return
			}
		case <-late.C:
			l.end(ending{cause: lostIt})
			return
		case <-l.ctx.Done():
			return
		}
	}
}
