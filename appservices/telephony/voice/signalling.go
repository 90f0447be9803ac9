package voice

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
)

const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"

// dialog is what SIP calls a call, whoever began it.
type dialog interface {
	Context() context.Context
	Bye(ctx context.Context) error
	ReadBye(req *sip.Request, tx sip.ServerTransaction) error
}

// handle says what is done with requests. Those of addresses that are not known do not come this far (sockets.go).
func (b *Bridge) handle() {
	b.sip.OnInvite(func(req *sip.Request, tx sip.ServerTransaction) {
		if to := req.To(); to != nil && to.Params.Has("tag") {
			b.within(req, tx, (*leg).reinvite)
			return
		}
		b.invite(req, tx)
	})
	b.sip.OnAck(func(req *sip.Request, tx sip.ServerTransaction) {
		if l := b.legOf(req); l != nil {
			l.acknowledged(req, tx)
		}
	})
	b.sip.OnBye(func(req *sip.Request, tx sip.ServerTransaction) { b.within(req, tx, (*leg).bye) })
	b.sip.OnInfo(func(req *sip.Request, tx sip.ServerTransaction) { b.within(req, tx, (*leg).info) })
	b.sip.OnUpdate(func(req *sip.Request, tx sip.ServerTransaction) { b.within(req, tx, (*leg).update) })
	b.sip.OnRefer(func(req *sip.Request, tx sip.ServerTransaction) { b.within(req, tx, (*leg).refer) })
	b.sip.OnCancel(func(req *sip.Request, tx sip.ServerTransaction) {
		respond(tx, req, 481, "Call/Transaction Does Not Exist")
	})
	b.sip.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) {
		res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
		res.AppendHeader(sip.NewHeader("Allow", allowed))
		res.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
		_ = tx.Respond(res)
	})
	b.sip.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) {
		res := sip.NewResponseFromRequest(req, sip.StatusMethodNotAllowed, "Method Not Allowed", nil)
		res.AppendHeader(sip.NewHeader("Allow", allowed))
		_ = tx.Respond(res)
	})
}

// respond answers. That the way back is gone is nobody's business: the other side asks again.
func respond(tx sip.ServerTransaction, req *sip.Request, status int, reason string, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	_ = tx.Respond(res)
}

// source is where a request is from.
func source(req *sip.Request) netip.Addr {
	a, err := netip.ParseAddrPort(req.Source())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// legKey is what a call is found by: its Call-ID and our tag.
func legKey(callID, tag string) string { return callID + "\x00" + tag }

// legOf is the call that a request of the other side belongs to.
func (b *Bridge) legOf(req *sip.Request) *leg {
	if req.CallID() == nil || req.To() == nil || req.From() == nil || req.CSeq() == nil {
		return nil
	}
	l := b.find(legKey(req.CallID().Value(), req.To().Params.GetOr("tag", "")))
	if l == nil || !l.trunk.allows(source(req)) || l.talk() != nil && l.remoteTag != req.From().Params.GetOr("tag", "") {
		return nil
	}
	return l
}

// within gives a request to its call. One that comes a second time, or after another one that was sent later, is refused.
func (b *Bridge) within(req *sip.Request, tx sip.ServerTransaction, do func(*leg, *sip.Request, sip.ServerTransaction)) {
	l := b.legOf(req)
	if l == nil {
		respond(tx, req, 481, "Call/Transaction Does Not Exist")
		return
	}
	if !l.inOrder(req.CSeq().SeqNo) {
		respond(tx, req, sip.StatusInternalServerError, "Out of order")
		return
	}
	do(l, req, tx)
}

// invite takes a call.
func (b *Bridge) invite(req *sip.Request, tx sip.ServerTransaction) {
	if req.CallID() == nil || req.From() == nil || req.To() == nil || req.CSeq() == nil || req.Contact() == nil || len(req.CallID().Value()) > limits.PhoneReference {
		respond(tx, req, sip.StatusBadRequest, "Bad Request")
		return
	}
	if b.merged(req) {
		respond(tx, req, 482, "Loop Detected")
		return
	}
	t, number, status := b.called(req)
	if t == nil {
		respond(tx, req, status, "Not here")
		return
	}
	if extension := unknownExtension(req); extension != "" {
		respond(tx, req, 420, "Bad Extension", sip.NewHeader("Unsupported", extension))
		return
	}
	timer, ok := sessionTimer(req)
	if !ok {
		respond(tx, req, 422, "Session Interval Too Small", sip.NewHeader("Min-SE", strconv.Itoa(leastInterval)))
		return
	}
	done, status := b.admit(t)
	if done == nil {
		respond(tx, req, status, "Busy", sip.NewHeader("Retry-After", "30"))
		return
	}
	defer done()
	l := newLeg(b, t)
	if status, reason := l.prepare(req.Body()); status != 0 {
		l.close()
		respond(tx, req, status, reason)
		return
	}
	defer l.close()
	d, err := t.dialogs.ReadInvite(req, tx)
	if err != nil {
		respond(tx, req, sip.StatusBadRequest, "Bad Request")
		return
	}
	l.begin(d, legKey(req.CallID().Value(), d.InviteRequest.To().Params.GetOr("tag", "")), req)
	b.add(l)
	defer b.remove(l)
	l.takeCall(d, tx, phone.Start{
		Reference: req.CallID().Value(), Trunk: t.cfg.Name, Called: number.Number, Caller: caller(req, number.Country),
	}, timer)
}

// merged reports whether a request is a second copy of one that came another way (RFC 3261 §8.2.2.2).
func (b *Bridge) merged(req *sip.Request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	tag := req.From().Params.GetOr("tag", "")
	for _, l := range b.legs {
		if l.callID == req.CallID().Value() && l.remoteTag == tag {
			return true
		}
	}
	return false
}

// called is whose number was called. Where several trunks have the caller's address, it is the one that has the number.
func (b *Bridge) called(req *sip.Request) (*trunk, Number, int) {
	from, status := source(req), sip.StatusForbidden
	candidates := []string{req.Recipient.User}
	if h := req.GetHeader("P-Called-Party-ID"); h != nil {
		candidates = append(candidates, userIn(h.Value()))
	}
	candidates = append(candidates, req.To().Address.User)
	for _, t := range b.trunks {
		if !t.allows(from) {
			continue
		}
		status = sip.StatusNotFound
		if n, ok := t.number(candidates...); ok {
			return t, n, 0
		}
	}
	return nil, Number{}, status
}

// unknownExtension is what a caller requires that we don't have.
func unknownExtension(req *sip.Request) string {
	var unknown []string
	for _, h := range req.GetHeaders("Require") {
		for one := range strings.SplitSeq(h.Value(), ",") {
			if one = strings.TrimSpace(one); one != "" && one != "timer" {
				unknown = append(unknown, one)
			}
		}
	}
	return strings.Join(unknown, ", ")
}

// leastInterval is how often a caller may want to say that it is still there, in seconds.
const leastInterval = 90

// sessionTimer is how often the other side will say that it is still there, as it asked for; that it does so is its own affair (RFC 4028): our end of
// a call that is gone is found by its silence.
func sessionTimer(req *sip.Request) (headers []sip.Header, ok bool) {
	h := req.GetHeader("Session-Expires")
	if h == nil {
		h = req.GetHeader("x")
	}
	if h == nil {
		return nil, true
	}
	interval := seconds(h.Value(), 0)
	if interval < leastInterval*time.Second {
		return nil, false
	}
	supported := slices.ContainsFunc(append(req.GetHeaders("Supported"), req.GetHeaders("k")...), func(h sip.Header) bool {
		return slices.ContainsFunc(strings.Split(h.Value(), ","), func(s string) bool { return strings.TrimSpace(s) == "timer" })
	})
	if !supported || strings.Contains(h.Value(), "refresher=uas") {
		return nil, true // nobody does, then
	}
	return []sip.Header{sip.NewHeader("Session-Expires", strconv.Itoa(int(interval.Seconds()))+";refresher=uac"), sip.NewHeader("Require", "timer")}, true
}

// acknowledgement is how long the other side may take to say that it has heard our answer.
const acknowledgement = 32 * time.Second

func (b *Bridge) trunkNamed(name string) *trunk {
	for _, t := range b.trunks {
		if t.cfg.Name == name {
			return t
		}
	}
	return nil
}

// failed tells the server of a call that could not be made.
func (b *Bridge) failed(callID string, cause phone.Cause) {
	b.report(callID, phone.Event{State: phone.Failed, Cause: cause})
}

// report tells the server how a call ended, until it has heard it, or will know by itself.
func (b *Bridge) report(callID string, e phone.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), limits.PhoneLease)
	defer cancel()
	pause := backoff{first: 200 * time.Millisecond, most: 3 * time.Second}
	for ctx.Err() == nil {
		_, err := b.server.event(ctx, callID, e)
		if err == nil || final(err) {
			return
		}
		pause.wait(ctx)
	}
}

// final reports whether the server will say the same again.
func final(err error) bool {
	var refused *telephony.Refused
	return errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500 && refused.Status != http.StatusTooManyRequests
}
