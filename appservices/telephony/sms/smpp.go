package sms

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/wake"
)

// SMPP is a short message centre.
type SMPP struct {
	Address                        string // host:port
	SystemID, Password, SystemType string
	// TwoConnections binds a transmitter and a receiver instead of a transceiver.
	TwoConnections bool
	TLS            *tls.Config // nil for none
	// Timeout bounds connecting, and each answer; EnquireLink is the time between two questions whether the centre is there.
	Timeout, EnquireLink time.Duration
	// Window is how many requests may be unanswered, Rate how many messages a second are sent; 0 for no bound.
	Window, Rate int
	// ReceiptIDs says how receipts write the ids of messages.
	ReceiptIDs IDForm
}

// The defaults.
const (
	defaultTimeout     = 10 * time.Second
	defaultEnquireLink = 30 * time.Second
	defaultWindow      = 10
	// throttle is how long nothing is sent after the centre said that it was too much.
	throttle = 5 * time.Second
	// reconnect and reconnectMost are the times between two attempts to connect, the first and the longest.
	reconnect, reconnectMost = 500 * time.Millisecond, 30 * time.Second
	// partAttempts is how often a part is sent for which the centre had no time, when an earlier one has gone.
	partAttempts = 4
)

// smpp is a network.
type smpp struct {
	cfg      SMPP
	all      Config
	source   pdu.Address
	report   func(context.Context, ...outbox.Outcome) error
	receipts *tracker
	window   chan struct{}
	throttle time.Duration

	mu       sync.Mutex
	sender   *link         // bound for sending, or nil
	changed  chan struct{} // closed when sender or stopping change
	stopping bool
	sends    int           // under way
	idle     chan struct{} // closed when none is and stopping
	next     time.Time     // when the next may be sent
}

func newSMPP(cfg SMPP, all Config, report func(context.Context, ...outbox.Outcome) error) (*smpp, error) {
	cfg.Timeout, cfg.EnquireLink = cmp.Or(cfg.Timeout, defaultTimeout), cmp.Or(cfg.EnquireLink, defaultEnquireLink)
	cfg.Window = cmp.Or(cfg.Window, defaultWindow)
	source, err := sourceAddress(all.Sender)
	errs := []error{err}
	if cfg.Address == "" {
		errs = append(errs, errors.New("smpp.address: is missing"))
	}
	if len(cfg.SystemID) > 15 || len(cfg.Password) > 8 || len(cfg.SystemType) > 12 {
		errs = append(errs, errors.New("smpp: system_id has at most 15 characters, password 8, system_type 12"))
	}
	if !cfg.ReceiptIDs.known() {
		errs = append(errs, fmt.Errorf("smpp.receipt_ids: must be one of %s, %s and %s", IDsAuto, IDsDecimal, IDsHex))
	}
	s := &smpp{
		cfg: cfg, all: all, source: source, report: report, receipts: newTracker(cfg.ReceiptIDs, all.Now), throttle: throttle,
		window: make(chan struct{}, cfg.Window), changed: make(chan struct{}), idle: make(chan struct{}),
	}
	return s, errors.Join(errs...)
}

// sourceAddress is what phones show: a name, a number with a plus, or a short code.
func sourceAddress(sender string) (pdu.Address, error) {
	number, plus := strings.CutPrefix(sender, "+")
	digits := number != "" && strings.Trim(number, "0123456789") == ""
	switch {
	case plus && digits && len(number) <= 15:
		return pdu.NewAddressWithTonNpiAddr(data.GSM_TON_INTERNATIONAL, data.GSM_NPI_ISDN, number)
	case !plus && digits && len(number) <= 8:
		return pdu.NewAddressWithTonNpiAddr(data.GSM_TON_NETWORK, data.GSM_NPI_UNKNOWN, number)
	case !plus && sender != "" && len(sender) <= 11 && isName(sender):
		return pdu.NewAddressWithTonNpiAddr(data.GSM_TON_ALPHANUMERIC, data.GSM_NPI_UNKNOWN, sender)
	}
	return pdu.Address{}, errors.New("sender: must be a name of up to 11 letters and digits, a short code, or a number with a plus")
}

func isName(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r > 'z' || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .-&", r)
	})
}

func (s *smpp) routes() []httpapi.Route { return nil }

// run keeps the connections. At the end what is under way is waited for, and the centre is told.
func (s *smpp) run(ctx context.Context) error {
	bindings := []pdu.BindingType{pdu.Transceiver}
	if s.cfg.TwoConnections {
		bindings = []pdu.BindingType{pdu.Transmitter, pdu.Receiver}
	}
	var kept sync.WaitGroup
	for _, binding := range bindings {
		kept.Go(func() { s.keep(ctx, binding) })
	}
	<-ctx.Done()
	s.stop()
	kept.Wait()
	return nil
}

// keep binds whenever there is no connection.
func (s *smpp) keep(ctx context.Context, binding pdu.BindingType) {
	wait, told := reconnect, ""
	for ctx.Err() == nil {
		l, err := dial(ctx, &s.cfg, binding, s.request)
		if err != nil {
			if why := err.Error(); why != told && ctx.Err() == nil {
				s.all.Log.Warn("sms: no connection to the short message centre", "error", why)
				told = why
			}
			wake.Pause(ctx, wait)
			wait = min(2*wait, reconnectMost)
			continue
		}
		wait, told = reconnect, ""
		s.all.Log.Info("sms: bound to the short message centre")
		if binding != pdu.Receiver {
			s.setSender(l)
		}
		var asking sync.WaitGroup
		asking.Go(func() { l.enquire(s.cfg.EnquireLink) })
		select {
		case <-l.done:
			s.all.Log.Warn("sms: the connection to the short message centre has ended", "error", l.err)
			s.setSender(nil)
			wake.Pause(ctx, wait)
		case <-ctx.Done():
			select {
			case <-s.idle:
			case <-l.done:
			case <-time.After(s.cfg.Timeout * limits.SMSParts):
			}
			l.unbind()
		}
		asking.Wait()
	}
}

// setSender says which connection sends from now on.
func (s *smpp) setSender(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sender = l
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *smpp) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	close(s.changed)
	s.changed = make(chan struct{})
	if s.sends == 0 {
		close(s.idle)
	}
}

// begin counts a send that end has to be called for; false when nothing is sent any more.
func (s *smpp) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.sends++
	}
	return !s.stopping
}

func (s *smpp) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sends--; s.sends == 0 && s.stopping {
		close(s.idle)
	}
}

// waiting reports whether a send is under way.
func (s *smpp) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sends > 0
}

// connected waits for a connection that sends.
func (s *smpp) connected(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	for {
		s.mu.Lock()
		l, changed, stopping := s.sender, s.changed, s.stopping
		s.mu.Unlock()
		switch {
		case stopping:
			return nil, &telephony.Later{Problem: "stopping"}
		case l != nil && !l.ended():
			return l, nil
		}
		select {
		case <-changed: // also when the connection has ended and keep has not seen it yet
		case <-ctx.Done():
			return nil, &telephony.Later{Problem: "no_connection"}
		}
	}
}

// turn waits until the next message may be sent; it is refused when the centre wants none for a while.
func (s *smpp) turn(ctx context.Context) error {
	s.mu.Lock()
	now := s.all.Now()
	at := s.next
	if at.Before(now) {
		at = now
	}
	wait := at.Sub(now)
	if wait > time.Second {
		s.mu.Unlock()
		return &telephony.Later{Problem: "throttled", After: wait}
	}
	if s.cfg.Rate > 0 {
		s.next = at.Add(time.Second / time.Duration(s.cfg.Rate))
	}
	s.mu.Unlock()
	if wake.Pause(ctx, wait); ctx.Err() != nil {
		return &telephony.Later{Problem: "busy"}
	}
	return nil
}

// slower lets nothing be sent for a while.
func (s *smpp) slower() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := s.all.Now().Add(s.throttle); until.After(s.next) {
		s.next = until
	}
}

func (s *smpp) send(ctx context.Context, m *outbox.Message, text string, sending func(reference string) error) (telephony.Handed, error) {
	all := parts(text)
	if len(all) > limits.SMSParts {
		return telephony.Handed{}, &telephony.Refusal{Problem: "too_long"}
	}
	requests, err := s.requests(m, all)
	if err != nil {
		return telephony.Handed{}, &telephony.Refusal{Problem: "address"}
	}
	if !s.begin() {
		return telephony.Handed{}, &telephony.Later{Problem: "stopping"}
	}
	defer s.end()
	select {
	case s.window <- struct{}{}:
		defer func() { <-s.window }()
	case <-ctx.Done():
		return telephony.Handed{}, &telephony.Later{Problem: "busy"}
	}
	l, err := s.connected(ctx)
	if err == nil {
		err = s.turn(ctx)
	}
	if err == nil {
		err = sending("")
	}
	if err != nil {
		return telephony.Handed{}, err
	}
	return s.submit(l, m.Address, requests)
}

// requests are the PDUs of a message's parts.
func (s *smpp) requests(m *outbox.Message, all []part) ([]*pdu.SubmitSM, error) {
	to, err := pdu.NewAddressWithTonNpiAddr(data.GSM_TON_INTERNATIONAL, data.GSM_NPI_ISDN, m.Address)
	if err != nil {
		return nil, err
	}
	requests := make([]*pdu.SubmitSM, len(all))
	for i, part := range all {
		request := pdu.NewSubmitSM().(*pdu.SubmitSM)
		request.SourceAddr, request.DestAddr = s.source, to
		request.RegisteredDelivery = data.SM_SMSC_RECEIPT_REQUESTED
		request.ValidityPeriod = validity(s.all.Now(), m.ExpiresTS)
		octets := part.text
		if len(all) > 1 {
			request.EsmClass = data.SM_UDH_GSM
			octets = part.withHeader(byte(m.ID), i+1, len(all))
		}
		var encoding data.Encoding = data.GSM7BIT
		if part.ucs2 {
			encoding = data.UCS2
		}
		if err := request.Message.SetMessageDataWithEncoding(octets, encoding); err != nil {
			return nil, err
		}
		requests[i] = request
	}
	return requests, nil
}

// validity is the absolute time after which a message is not delivered any more: a code comes in time, or not. Centres refuse what lies beyond
// their own bound, and keep nothing for longer anyway.
func validity(now time.Time, expires matrix.Timestamp) string {
	at := expires.Time()
	if expires == 0 || at.Sub(now) > 24*time.Hour {
		return ""
	}
	return at.UTC().Format("060102150405") + "000+"
}

// submit sends the parts one after the other: a phone shows the message when it has all.
func (s *smpp) submit(l *link, to string, requests []*pdu.SubmitSM) (telephony.Handed, error) {
	message := s.receipts.begin(to, len(requests))
	defer message.handed()
	for i, request := range requests {
		id, err := s.part(l, request, i > 0)
		var later *telephony.Later
		if errors.As(err, &later) && i > 0 {
			// Some of it has gone.
			return telephony.Handed{}, &telephony.Later{Problem: later.Problem, After: later.After, Unknown: true}
		}
		if err != nil {
			return telephony.Handed{}, err
		}
		message.part(id)
	}
	return telephony.Handed{Reference: message.reference, Parts: len(requests)}, nil
}

// part sends one part and returns what the centre calls it. One that follows another is tried again when the centre has no time for it.
func (s *smpp) part(l *link, request *pdu.SubmitSM, follows bool) (string, error) {
	for attempt := 1; ; attempt++ {
		answer, err := l.ask(request)
		switch {
		case errors.Is(err, errNotWritten):
			return "", &telephony.Later{Problem: "no_connection"}
		case err != nil:
			return "", &telephony.Later{Problem: "no_answer", Unknown: true}
		}
		status := answer.GetHeader().CommandStatus
		if taken, ok := answer.(*pdu.SubmitSMResp); ok && status == data.ESME_ROK {
			return taken.MessageID, nil
		}
		if isThrottling(status) {
			s.slower()
		}
		if !follows || !isThrottling(status) || attempt == partAttempts {
			return "", s.refusal(status)
		}
		select {
		case <-l.done:
		case <-time.After(s.throttle / partAttempts * time.Duration(attempt)):
		}
		request.AssignSequenceNumber()
	}
}

func isThrottling(status data.CommandStatusType) bool {
	return status == data.ESME_RTHROTTLED || status == data.ESME_RMSGQFUL
}

// permanent are answers after which the same message has no chance.
var permanent = map[data.CommandStatusType]bool{
	data.ESME_RINVMSGLEN: true, data.ESME_RINVCMDLEN: true, data.ESME_RINVCMDID: true, data.ESME_RINVPRTFLG: true, data.ESME_RINVREGDLVFLG: true,
	data.ESME_RINVSRCADR: true, data.ESME_RINVDSTADR: true, data.ESME_RINVSERTYP: true, data.ESME_RINVESMCLASS: true, data.ESME_RINVSRCTON: true,
	data.ESME_RINVSRCNPI: true, data.ESME_RINVDSTTON: true, data.ESME_RINVDSTNPI: true, data.ESME_RINVSCHED: true, data.ESME_RINVEXPIRY: true,
	data.ESME_RINVDFTMSGID: true, data.ESME_RX_P_APPN: true, data.ESME_RX_R_APPN: true, data.ESME_RINVADR: true, data.ESME_RPROVNOTALLWD: true,
}

// refusal is what an answer with an error means.
func (s *smpp) refusal(status data.CommandStatusType) error {
	switch {
	case isThrottling(status):
		return &telephony.Later{Problem: "throttled", After: s.throttle}
	case permanent[status]:
		return &telephony.Refusal{Problem: statusName(status)}
	}
	return &telephony.Later{Problem: statusName(status)}
}

// statusName is a short word for a status.
func statusName(status data.CommandStatusType) string {
	name, ok := strings.CutPrefix(status.String(), "ESME_R")
	if !ok {
		return fmt.Sprintf("smpp_%08x", uint32(status))
	}
	return "smpp_" + strings.ToLower(name)
}

// request answers what a centre sends by itself.
func (s *smpp) request(l *link, p pdu.PDU) {
	switch p := p.(type) {
	case *pdu.DeliverSM, *pdu.DataSM:
		s.delivered(l, p)
	case *pdu.Unbind:
		_ = l.write(p.GetResponse())
		l.fail(errors.New("the centre has unbound"))
	default:
		if p.CanResponse() {
			_ = l.write(p.GetResponse())
		}
	}
}
