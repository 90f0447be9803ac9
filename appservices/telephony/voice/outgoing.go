package voice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/phone"
)

// makeCall calls somebody, and is over with the call.
func (l *leg) makeCall(c phone.Call) {
	l.mu.Lock()
	l.call, l.language, l.status.CallID = c.CallID, c.Language, c.CallID
	l.mu.Unlock()
	cause, err := l.dial(c)
	if err != nil {
		l.bridge.log.Info("voice: a call was not answered", "trunk", l.trunk.cfg.Name, "call", short(c.CallID), "cause", cause, "error", err)
		l.bridge.failed(c.CallID, cause)
		return
	}
	defer l.bridge.remove(l)
	l.allow(c.SecondsAllowed)
	l.play()
	go l.told(phone.Event{State: phone.Answered})
	l.end(l.invited(c))
	l.finish()
}

// dial rings, and returns when the call is answered.
func (l *leg) dial(c phone.Call) (phone.Cause, error) {
	if l.trunk.cfg.LiveKit {
		return l.dialThrough(c)
	}
	if err := l.open(); err != nil {
		return phone.CauseTrunk, err
	}
	cause, err := l.ring(c, l.trunk.security != securityOff)
	var refused *sipgo.ErrDialogResponse
	if errors.As(err, &refused) && l.trunk.security == securityOptional {
		if s := refused.Res.StatusCode; s == 488 || s == 415 || s == 606 { // not encrypted, then
			return l.ring(c, false)
		}
	}
	return cause, err
}

func (l *leg) ring(c phone.Call, secure bool) (phone.Cause, error) {
	req := l.trunk.invitation(c, l.local.offer(l.trunk.codecs, secure))
	ringing, cancel := context.WithTimeout(l.ctx, time.Duration(max(5, c.RingSeconds))*time.Second)
	defer cancel()
	d, err := l.trunk.dialogs.WriteInvite(ringing, req)
	if err != nil {
		return phone.CauseTrunk, err
	}
	// Orders find the call while it rings.
	l.key, l.callID = legKey(req.CallID().Value(), req.From().Params.GetOr("tag", "")), req.CallID().Value()
	l.bridge.add(l)
	rang := false
	err = d.WaitAnswer(ringing, sipgo.AnswerOptions{Username: l.trunk.cfg.Username, Password: l.trunk.cfg.Password, OnResponse: func(res *sip.Response) error {
		chooseDigest(res)
		// Whatever a network plays before the answer (183 with a description) is for nobody's ears: the person is in no meeting yet.
		if (res.StatusCode == 180 || res.StatusCode == 183) && !rang {
			rang = true
			go l.told(phone.Event{State: phone.Ringing})
		}
		return nil
	}})
	if err != nil {
		l.bridge.remove(l)
		if ringing.Err() != nil {
			hangUpLate(d)
			if l.ctx.Err() != nil {
				return l.why().cause, err
			}
			return phone.CauseNoAnswer, err
		}
		return failure(err, rang), err
	}
	status, reason := l.agree(d.InviteResponse.Body())
	if err := d.Ack(context.WithoutCancel(l.ctx)); err != nil {
		l.bridge.remove(l)
		return phone.CauseTrunk, err
	}
	if status != 0 {
		hangUpLate(d)
		l.bridge.remove(l)
		return phone.CauseTrunk, fmt.Errorf("the answer: %s", reason)
	}
	l.remoteTag = d.InviteResponse.To().Params.GetOr("tag", "")
	l.answered.Store(true)
	l.setDialog(d)
	context.AfterFunc(d.Context(), func() { l.end(ending{cause: phone.CauseHangup, gone: true}) })
	return "", nil
}

// hangUpLate hangs up on somebody who answered when nobody waited any more.
func hangUpLate(d *sipgo.DialogClientSession) {
	if d.InviteResponse == nil || !d.InviteResponse.IsSuccess() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if d.LoadState() < sip.DialogStateConfirmed {
		_ = d.Ack(ctx)
	}
	_ = d.Bye(ctx)
}

// callOut makes a call.
func (b *Bridge) callOut(c phone.Call) {
	t := b.trunkNamed(c.Trunk)
	if t == nil {
		b.failed(c.CallID, phone.CauseTrunk)
		return
	}
	done, _ := b.admit(t)
	if done == nil {
		b.failed(c.CallID, phone.CauseTrunk)
		return
	}
	defer done()
	l := newLeg(b, t)
	defer l.close()
	l.makeCall(c)
}

// invitation is the request that a call begins with.
func (t *trunk) invitation(c phone.Call, offer []byte) *sip.Request {
	shown := c.Caller
	if shown == "" {
		shown = t.cfg.Caller
	}
	if shown == "" {
		shown = t.cfg.Username
	}
	ours := sip.Uri{Scheme: "sip", User: shown, Host: t.domain()}
	req := sip.NewRequest(sip.INVITE, t.target(c.Number))
	req.SetTransport(strings.ToUpper(t.cfg.Transport))
	from := &sip.FromHeader{Address: ours, Params: sip.NewParams()}
	from.Params.Add("tag", sip.GenerateTagN(16))
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: c.Number, Host: t.host}, Params: sip.NewParams()})
	req.AppendHeader(sip.NewHeader("P-Asserted-Identity", "<"+ours.String()+">"))
	req.AppendHeader(sip.NewHeader("Allow", allowed))
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody(offer)
	return req
}

// failure is why a call that was made did not come to be.
func failure(err error, rang bool) phone.Cause {
	var refused *sipgo.ErrDialogResponse
	if !errors.As(err, &refused) {
		return phone.CauseTrunk
	}
	switch refused.Res.StatusCode {
	case 486, 600:
		return phone.CauseBusy
	case 403, 603, 607, 608:
		return phone.CauseRejected
	case 408, 487:
		return phone.CauseNoAnswer
	case 480:
		if rang {
			return phone.CauseNoAnswer
		}
		return phone.CauseUnreachable
	case 404, 410, 484, 485, 604:
		return phone.CauseUnreachable
	}
	return phone.CauseTrunk
}
