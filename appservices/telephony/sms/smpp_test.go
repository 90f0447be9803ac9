package sms

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/pdu"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// connected is a transport that runs, with the receipts that it gave.
type connected struct {
	*Transport
	t    *testing.T
	stop func()

	mu       sync.Mutex
	receipts []outbox.Outcome
	deaf     bool
}

// connect starts a transport to a centre; change may change its configuration.
func connect(t *testing.T, centre *hstest.SMSCServer, change func(*Config)) *connected {
	t.Helper()
	cfg := Config{Sender: "Roomline", Log: slog.New(slog.DiscardHandler), SMPP: &SMPP{
		Address: centre.Address, SystemID: centre.SystemID, Password: centre.Password, Timeout: 30 * time.Second,
	}}
	if change != nil {
		change(&cfg)
	}
	transport, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := transport.network.(*smpp); ok {
		s.throttle = 1200 * time.Millisecond
	}
	return start(t, transport)
}

func start(t *testing.T, transport *Transport) *connected {
	c := &connected{Transport: transport, t: t}
	transport.Receive(func(_ context.Context, receipts []outbox.Outcome) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.deaf {
			return errors.New("the server is away")
		}
		c.receipts = append(c.receipts, receipts...)
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = transport.Run(ctx)
	}()
	c.stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(c.stop)
	return c
}

// hear says whether the server hears receipts.
func (c *connected) hear(does bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = !does
}

// give sends a message and returns what became of it, and how often the server was told before.
func (c *connected) give(m *outbox.Message) (telephony.Handed, int, error) {
	told := 0
	handed, err := c.Send(context.Background(), m, func(string) error { told++; return nil })
	return handed, told, err
}

// bound waits until there is a connection that sends.
func (c *connected) bound() {
	c.t.Helper()
	s := c.network.(*smpp)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		l := s.sender
		s.mu.Unlock()
		if l != nil && !l.ended() {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal("there is no connection")
		}
	}
}

// impatiently is give by somebody who waits for a while only.
func (c *connected) impatiently(m *outbox.Message) (told int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err = c.Send(ctx, m, func(string) error { told++; return nil })
	return told, err
}

func (c *connected) mustGive(m *outbox.Message) telephony.Handed {
	c.t.Helper()
	handed, told, err := c.give(m)
	if err != nil || told != 1 {
		c.t.Fatalf("told the server %d times: %v", told, err)
	}
	return handed
}

// await waits for the outcome of a reference.
func (c *connected) await(reference string) outbox.Outcome {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		if all := c.got(reference); len(all) > 0 {
			return all[0]
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no receipt for %q: %+v", reference, c.receipts)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *connected) got(reference string) []outbox.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.receipts), func(o outbox.Outcome) bool { return o.Reference != reference })
}

func (c *connected) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.receipts)
}

// numbered is an invitation to a number.
func numbered(id int64, number string) *outbox.Message {
	m := invitation("en", "Anna", "Proximus")
	m.ID, m.Address = id, number
	return m
}

// long is an invitation that takes three parts of UCS-2.
func long(id int64, number string) *outbox.Message {
	m := numbered(id, number)
	m.Invitation.Inviter = "Иван Петров"
	m.Invitation.Link += strings.Repeat("x", 40)
	return m
}

func refused(err error) string {
	if r, ok := errors.AsType[*telephony.Refusal](err); ok {
		return r.Problem
	}
	return ""
}

func later(err error) *telephony.Later {
	l, _ := errors.AsType[*telephony.Later](err)
	return l
}

func TestMessageReachesThePhoneAndItsReceiptComes(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, nil)
	m := numbered(1, "32470123456")
	m.ExpiresTS = matrix.TimestampOf(time.Now()).Add(time.Hour)
	handed := c.mustGive(m)
	if o := c.await(handed.Reference); o.State != outbox.Delivered || handed.Parts != 1 {
		t.Errorf("%+v %+v", o, handed)
	}
	seen := centre.Await(t, "the answer to a receipt", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 1 })
	want := hstest.SMSCSubmit{
		To: "32470123456", DestTON: 1, DestNPI: 1, From: "Roomline", SourceTON: 5, Receipt: 1, Validity: true, Text: mustRender(t, m), Length: len(mustRender(t, m)),
	}
	if len(seen.Submits) != 1 || seen.Submits[0] != want || seen.ReceiptAnswers[0] != 0 || seen.Binds[0].Kind != "transceiver" {
		t.Errorf("%+v", seen)
	}
	c.stop()
	if seen := centre.Seen(t); seen.Unbinds != 1 {
		t.Errorf("unbound %d times", seen.Unbinds)
	}
	if _, told, err := c.give(m); later(err) == nil || told != 0 {
		t.Errorf("after the end: %v, told %d times", err, told)
	}
}

func TestLongMessageIsOneOnThePhone(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"receipts":"on request"}`)
	c := connect(t, centre, func(cfg *Config) { cfg.Unicode = true })
	m := long(0x1ab, "32470123456")
	text, _ := render(m, now, true)
	handed := c.mustGive(m)
	seen := centre.Seen(t)
	if handed.Parts != 3 || len(seen.Texts) != 1 || seen.Texts[0].Text != text || seen.Texts[0].Coding != 8 {
		t.Fatalf("%+v %+v", handed, seen)
	}
	for i, s := range seen.Submits {
		if s.ESMClass != 0x40 || !strings.HasPrefix(s.UDH, "0003ab03") || s.UDH[9] != byte('1'+i) || s.Length > 67 {
			t.Errorf("part %d: %+v", i, s)
		}
	}
	// It is there when all of it is.
	centre.Receipts(t, 2, "DELIVRD")
	centre.Await(t, "two answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 2 })
	if got := c.got(handed.Reference); len(got) != 0 {
		t.Errorf("with two of three parts: %+v", got)
	}
	centre.Receipts(t, 1, "DELIVRD")
	if o := c.await(handed.Reference); o.State != outbox.Delivered || o.Parts != 3 {
		t.Errorf("%+v", o)
	}
	// One part that is lost is enough.
	second := c.mustGive(long(2, "32470123457"))
	centre.Receipts(t, 1, "DELIVRD")
	centre.Receipts(t, 1, "UNDELIV")
	if o := c.await(second.Reference); o.State != outbox.Failed || o.Problem != "undeliverable" {
		t.Errorf("%+v", o)
	}
	centre.Receipts(t, 1, "DELIVRD")
	centre.Await(t, "all answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 6 })
	if got := c.got(second.Reference); len(got) != 1 {
		t.Errorf("reported %d times", len(got))
	}
}

func TestAnswersOfTheCentre(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	var passed atomic.Int64
	began := time.Now()
	c := connect(t, centre, func(cfg *Config) { cfg.Now = func() time.Time { return began.Add(time.Duration(passed.Load())) } })
	c.mustGive(numbered(1, "32470123456"))
	for status, want := range map[string]string{"11": "smpp_invdstadr", "10": "smpp_invsrcadr", "101": "smpp_x_p_appn"} {
		centre.Behave(t, `{"statuses":[`+status+`]}`)
		if _, told, err := c.give(numbered(2, "32470123456")); refused(err) != want || told != 1 {
			t.Errorf("%s: %v", status, err)
		}
	}
	for status, want := range map[string]string{"8": "smpp_syserr", "100": "smpp_x_t_appn", "1024": "smpp_00000400"} {
		centre.Behave(t, `{"statuses":[`+status+`]}`)
		if _, _, err := c.give(numbered(2, "32470123456")); later(err) == nil || later(err).Problem != want || later(err).Unknown {
			t.Errorf("%s: %v", status, err)
		}
	}
	for _, status := range []string{"88", "20"} {
		centre.Behave(t, `{"statuses":[`+status+`]}`)
		if _, _, err := c.give(numbered(2, "32470123456")); later(err) == nil || later(err).Problem != "throttled" || later(err).After <= 0 || later(err).Unknown {
			t.Errorf("%s: %v", status, err)
		}
		// While the centre has no time nothing is sent, and the server is not told that it was.
		before := len(centre.Seen(t).Submits)
		if _, told, err := c.give(numbered(3, "32470123457")); later(err) == nil || told != 0 {
			t.Errorf("sent while throttled: %v, told %d times", err, told)
		}
		if after := len(centre.Seen(t).Submits); after != before {
			t.Errorf("%d messages were sent while throttled", after-before)
		}
		passed.Add(int64(1300 * time.Millisecond))
	}
	c.mustGive(numbered(4, "32470123456"))
}

// A message of which a part has gone is finished when the centre has time again, and otherwise not sent at once from the beginning.
func TestThrottledInTheMiddleOfAMessage(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"statuses":[0,88,20]}`)
	c := connect(t, centre, func(cfg *Config) { cfg.Unicode = true })
	handed := c.mustGive(long(1, "32470123456"))
	if seen := centre.Seen(t); len(seen.Texts) != 1 || seen.Texts[0].Parts != 3 || len(seen.Submits) != 5 {
		t.Errorf("%+v", seen)
	}
	if o := c.await(handed.Reference); o.State != outbox.Delivered {
		t.Errorf("%+v", o)
	}
	centre.Behave(t, `{"statuses":[0,88,88,88,88]}`)
	time.Sleep(1300 * time.Millisecond)
	if _, _, err := c.give(long(2, "32470123456")); later(err) == nil || !later(err).Unknown {
		t.Errorf("%v", err)
	}
}

func TestServerThatSaysNoIsObeyed(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, nil)
	no := errors.New("the lease has lapsed")
	_, err := c.Send(t.Context(), numbered(1, "32470123456"), func(string) error { return no })
	if seen := centre.Seen(t); !errors.Is(err, no) || len(seen.Submits) != 0 {
		t.Errorf("%v %+v", err, seen)
	}
}

// What else a centre may send ends nothing but the connection, if it is no PDU at all.
func TestOddPDUs(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, nil)
	c.mustGive(numbered(1, "32470123456"))
	centre.Do(t, "odd")
	centre.Await(t, "refusals of odd PDUs", func(s hstest.SMSCSeen) bool { return s.Nacks == 2 })
	c.mustGive(numbered(2, "32470123456"))
	if seen := centre.Seen(t); len(seen.Binds) != 1 {
		t.Errorf("bound %d times", len(seen.Binds))
	}
	centre.Do(t, "garbage")
	centre.Await(t, "a new connection", func(s hstest.SMSCSeen) bool { return len(s.Binds) == 2 })
	c.mustGive(numbered(3, "32470123456"))
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, func(cfg *Config) { cfg.SMPP.Rate = 20 })
	c.mustGive(numbered(1, "32470123456"))
	began := time.Now()
	var sent sync.WaitGroup
	for i := range 10 {
		sent.Go(func() { c.mustGive(numbered(int64(i), "32470123456")) })
	}
	sent.Wait()
	if took := time.Since(began); took < 450*time.Millisecond {
		t.Errorf("10 messages went in %s", took)
	}
}

// unheard is a connection that gives bytes and takes any.
type unheard struct {
	net.Conn
	r *strings.Reader
}

func (u unheard) Read(p []byte) (int, error)       { return u.r.Read(p) }
func (u unheard) Write(p []byte) (int, error)      { return len(p), nil }
func (u unheard) Close() error                     { return nil }
func (u unheard) SetWriteDeadline(time.Time) error { return nil }

// Whatever a centre sends ends the connection at most.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x10\x80\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("\x00\x00\x00\x30\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x011\x00\x01\x012\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x05id:1 "))
	f.Add([]byte("\x00\x00\x00\x31\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x011\x00\x01\x012\x00\x44\x00\x00\x00\x00\x00\x00\x00\x00\x06\x05\xff\x03\x01\x02\x03"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &smpp{receipts: newTracker(IDsAuto, time.Now), report: func(context.Context, ...outbox.Outcome) error { return nil }, cfg: SMPP{Timeout: time.Second}}
		l := &link{conn: unheard{r: strings.NewReader(string(text))}, request: s.request, pending: map[int32]chan pdu.PDU{1: make(chan pdu.PDU, 1)}, done: make(chan struct{})}
		l.read()
		<-l.done
	})
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	good := SMPP{Address: "smsc.example:2775", SystemID: "roomline", Password: "secret"}
	long := good
	long.Password = "longer than eight"
	form := good
	form.ReceiptIDs = "octal"
	for _, c := range []Config{
		{Sender: "Roomline"}, {Sender: "Roomline", SMPP: &good, Gateway: &Gateway{}}, {Sender: "", SMPP: &good}, {Sender: "Much too long a name", SMPP: &good},
		{Sender: "Éloi", SMPP: &good}, {Sender: "+32 470", SMPP: &good}, {Sender: "Roomline", SMPP: &SMPP{}}, {Sender: "Roomline", SMPP: &long}, {Sender: "Roomline", SMPP: &form},
		{Sender: "Roomline", Gateway: &Gateway{URL: "ftp://gateway.example", Secret: strings.Repeat("s", 32)}}, {Sender: "Roomline", Gateway: &Gateway{URL: "https://gateway.example", Secret: "short"}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	for _, sender := range []string{"Roomline", "8910", "+32470123456", "A & B"} {
		if _, err := New(Config{Sender: sender, SMPP: &good}); err != nil {
			t.Errorf("%s: %v", sender, err)
		}
	}
}
