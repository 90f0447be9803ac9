package sms

import (
	"context"
	"math/big"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/wake"
)

// IDForm is how receipts write ids of messages. Some centres answer submit_sm with a hexadecimal number and send the same number in decimal
// digits in receipts, or the other way round.
type IDForm string

const (
	// IDsAuto learns it from messages whose number is known.
	IDsAuto IDForm = "auto"
	// IDsDecimal: receipts have decimal ids, answers hexadecimal ones. IDsHex: the other way round.
	IDsDecimal IDForm = "decimal"
	IDsHex     IDForm = "hex"
)

func (f IDForm) known() bool { return f == "" || f == IDsAuto || f == IDsDecimal || f == IDsHex }

// receipt is what a centre says of one short message.
type receipt struct {
	id, to, problem string
	state           outbox.State
}

var (
	receiptID    = regexp.MustCompile(`(?i)(?:^|\s)id: ?(\S+)`)
	receiptState = regexp.MustCompile(`(?i)\sstat: ?([a-z]+)`)
)

// states are those of message_state, and what they are called in texts. What is not here is not the end.
var states = map[byte]receipt{
	2: {state: outbox.Delivered},
	3: {state: outbox.Failed, problem: "expired"},
	4: {state: outbox.Failed, problem: "deleted"},
	5: {state: outbox.Failed, problem: "undeliverable"},
	8: {state: outbox.Failed, problem: "rejected"},
}

// messageType are the bits of esm_class that say what a message from a centre is.
const messageType = 0x3c

var stateNames = map[string]byte{"DELIVRD": 2, "EXPIRED": 3, "DELETED": 4, "UNDELIV": 5, "REJECTD": 8}

// readReceipt reads a receipt; false for anything else, and for one that is not the last.
//
// See SMPP 3.4, appendix B, and the parameters receipted_message_id and message_state.
func readReceipt(p pdu.PDU) (receipt, bool) {
	var from pdu.Address
	var class byte
	var text []byte
	var options map[pdu.Tag]pdu.Field
	switch p := p.(type) {
	case *pdu.DeliverSM:
		from, class, options = p.SourceAddr, p.EsmClass, p.OptionalParameters
		text, _ = p.Message.GetMessageData()
	case *pdu.DataSM:
		from, class, options = p.SourceAddr, p.EsmClass, p.OptionalParameters
	}
	tlv := func(tag pdu.Tag) string { f := options[tag]; return f.String() }
	if len(text) == 0 {
		text = options[pdu.TagMessagePayload].Data
	}
	id, state := tlv(pdu.TagReceiptedMessageID), byte(0)
	if class&messageType != data.SM_SMSC_DLV_RCPT_TYPE && id == "" {
		return receipt{}, false
	}
	if f := options[pdu.TagMessageStateOption]; len(f.Data) > 0 {
		state = f.Data[0]
	}
	if m := receiptID.FindSubmatch(text); id == "" && m != nil {
		id = string(m[1])
	}
	if m := receiptState.FindSubmatch(text); state == 0 && m != nil {
		state = stateNames[strings.ToUpper(string(m[1]))]
	}
	r, last := states[state]
	r.id, r.to = id, from.Address()
	return r, last && id != ""
}

// delivered takes what came from a phone or about one. The centre gets its answer when the receipt has been reported, and sends it again if it
// has not.
func (s *smpp) delivered(l *link, p pdu.PDU) {
	r, ok := readReceipt(p)
	if !ok {
		_ = l.write(p.GetResponse())
		return
	}
	if !s.receipts.enter() {
		_ = l.write(tryAgain(p))
		return
	}
	go func() {
		defer s.receipts.leave()
		answer := p.GetResponse()
		if err := s.receive(r); err != nil {
			answer = tryAgain(p)
		}
		_ = l.write(answer)
	}()
}

// tryAgain asks the centre to send something again.
func tryAgain(p pdu.PDU) pdu.PDU {
	answer := p.GetResponse()
	switch answer := answer.(type) {
	case *pdu.DeliverSMResp:
		answer.CommandStatus = data.ESME_RX_T_APPN
	case *pdu.DataSMResp:
		answer.CommandStatus = data.ESME_RX_T_APPN
	}
	return answer
}

// receive reports what a receipt means for its message. A receipt may overtake the answer to its submit_sm on another connection.
func (s *smpp) receive(r receipt) error {
	ctx, cancel := context.WithTimeout(context.Background(), limits.SMSReport)
	defer cancel()
	var message *tracked
	var id string
	for {
		waiting := s.waiting() // what is over by now has been noted before it is looked for
		if message, id = s.receipts.find(r); message != nil || !waiting || ctx.Err() != nil {
			break
		}
		wake.Pause(ctx, 50*time.Millisecond)
	}
	if message == nil {
		// It was sent by another process, or before this one began. Nothing is known but the id: that is enough for a message of one part.
		return s.report(ctx, outbox.Outcome{Reference: reference(s.receipts.form(r.id), 1), State: r.state, Problem: r.problem})
	}
	select {
	case <-message.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !message.receipt(id, r.state) {
		return nil
	}
	err := s.report(ctx, outbox.Outcome{Reference: message.reference, State: r.state, Problem: r.problem, Parts: message.parts})
	if err == nil {
		message.reported()
	}
	return err
}

// reference is what the outbox calls a message. One of several parts has a reference that no receipt of a part has alone.
func reference(id string, parts int) string {
	if id == "" {
		return ""
	}
	if parts > 1 {
		return "smpp:" + id + "+"
	}
	return "smpp:" + id
}

// tracker knows which messages receipts are awaited for. It is lost with the process; then a message of several parts stays sent.
type tracker struct {
	now  func() time.Time
	busy chan struct{}

	mu      sync.Mutex
	learnt  IDForm
	ids     map[string]*tracked
	ordered []*tracked
}

// tracked is a message.
type tracked struct {
	t         *tracker
	to        string
	parts     int
	reference string
	began     time.Time
	done      chan struct{} // closed when Send is over

	// Guarded by tracker.mu.
	ids  []string
	left map[string]bool
	over bool
}

func newTracker(form IDForm, now func() time.Time) *tracker {
	return &tracker{now: now, learnt: form, ids: make(map[string]*tracked), busy: make(chan struct{}, limits.SMSReceiptsAtOnce)}
}

// enter counts a receipt that is being reported; false when there are too many.
func (t *tracker) enter() bool {
	select {
	case t.busy <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t *tracker) leave() { <-t.busy }

// begin notes a message that is being sent to a number.
func (t *tracker) begin(to string, parts int) *tracked {
	m := &tracked{t: t, to: to, parts: parts, began: t.now(), done: make(chan struct{}), left: make(map[string]bool)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ordered = append(t.ordered, m)
	for len(t.ordered) > limits.SMSReceiptsKept || t.now().Sub(t.ordered[0].began) > limits.SMSReceipts {
		t.forget(t.ordered[0])
		t.ordered[0] = nil
		t.ordered = t.ordered[1:]
	}
	return m
}

func (t *tracker) forget(m *tracked) {
	for _, id := range m.ids {
		if t.ids[id] == m {
			delete(t.ids, id)
		}
	}
}

// part notes what the centre calls a part.
func (m *tracked) part(id string) {
	if id = canonical(id); id == "" {
		return
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	if m.reference == "" {
		m.reference = reference(id, m.parts)
	}
	m.ids = append(m.ids, id)
	m.left[id] = true
	m.t.ids[id] = m
}

// handed says that nothing more is sent of it.
func (m *tracked) handed() { close(m.done) }

// receipt notes a receipt, and reports whether the message comes to its end with it: all parts are delivered, or one is not.
func (m *tracked) receipt(id string, state outbox.State) bool {
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	if state == outbox.Delivered {
		delete(m.left, id)
	}
	return !m.over && (state == outbox.Failed || len(m.left) == 0 && len(m.ids) == m.parts)
}

// reported says that the end of a message has been heard.
func (m *tracked) reported() {
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	m.over = true
}

// find looks for the message of a receipt, and returns what the answer called the part.
func (t *tracker) find(r receipt) (*tracked, string) {
	id := canonical(r.id)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.learnt == IDsDecimal || t.learnt == IDsHex {
		id = t.converted(id)
		return t.ids[id], id
	}
	if m := t.ids[id]; m != nil && sameNumber(m.to, r.to) {
		return m, id
	}
	for form, other := range map[IDForm]string{IDsDecimal: toHex(id), IDsHex: toDecimal(id)} {
		if m := t.ids[other]; m != nil && sameNumber(m.to, r.to) {
			t.learnt = form
			return m, other
		}
	}
	return t.ids[id], id
}

// form is how an answer would have written the id of a receipt.
func (t *tracker) form(id string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.converted(canonical(id))
}

func (t *tracker) converted(id string) string {
	other := ""
	switch t.learnt {
	case IDsDecimal:
		other = toHex(id)
	case IDsHex:
		other = toDecimal(id)
	}
	if other == "" {
		return id
	}
	return other
}

// canonical writes ids that are the same in one way.
func canonical(id string) string {
	id = strings.ToLower(strings.TrimSpace(id))
	if strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != "" {
		id = strings.TrimLeft(id, "0")
	}
	return id[:min(len(id), limits.SMSReference)]
}

func toHex(decimal string) string { return inBase(decimal, 10, 16) }
func toDecimal(hex string) string { return inBase(hex, 16, 10) }

func inBase(id string, from, to int) string {
	n, ok := new(big.Int).SetString(id, from)
	if !ok || n.Sign() < 0 {
		return ""
	}
	return n.Text(to)
}

// sameNumber compares numbers, which centres write with and without what stands before them.
func sameNumber(a, b string) bool {
	a, b = lastDigits(a), lastDigits(b)
	return a != "" && a == b
}

func lastDigits(number string) string {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, number)
	return digits[max(0, len(digits)-8):]
}
