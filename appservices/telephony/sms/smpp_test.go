package sms

import (
	"context"
	"crypto/tls"
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

// Receipts write ids in their own way, come in other parameters, and before the answer.
func TestReceiptsOfAllKinds(t *testing.T) {
	t.Parallel()
	for name, behaviour := range map[string]string{
		"tlv": `"receiptStyle":"tlv"`, "payload": `"receiptStyle":"payload"`, "padded": `"receiptIds":"padded"`,
		"hex": `"receiptIds":"hex"`, "decimal": `"answerIds":"hex"`, "first": `"receipts":"first"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			centre := hstest.SMSC(t)
			centre.Behave(t, "{"+behaviour+"}")
			first := name == "first"
			c := connect(t, centre, func(cfg *Config) { cfg.SMPP.TwoConnections, cfg.Unicode = first, first })
			for i, number := range []string{"32470123456", "32470123457", "32470123458"} {
				m := numbered(int64(i), number)
				if first {
					centre.Await(t, "two binds", func(s hstest.SMSCSeen) bool { return len(s.Binds) == 2 })
					m = long(int64(i), number)
				}
				handed := c.mustGive(m)
				if o := c.await(handed.Reference); o.State != outbox.Delivered || handed.Reference == "" {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

func TestReceiptThatIsNoEndIsNoNews(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, nil)
	for _, style := range []string{"tlv", "text"} {
		centre.Behave(t, `{"receipts":"on request","receiptStyle":"`+style+`"}`)
		for i, state := range []string{"ENROUTE", "ACCEPTD", "UNKNOWN"} {
			c.mustGive(numbered(int64(i), "32470123456"))
			centre.Receipts(t, 0, state)
		}
	}
	centre.Await(t, "six answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 6 })
	handed := c.mustGive(numbered(4, "32470123456"))
	centre.Receipts(t, 0, "EXPIRED")
	if o := c.await(handed.Reference); o.State != outbox.Failed || o.Problem != "expired" || c.count() != 1 {
		t.Errorf("%+v, %d receipts", o, c.count())
	}
}

// A process that did not send a message reports its receipt all the same: the server knows it.
func TestReceiptOfAnotherProcess(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"receipts":"on request"}`)
	first := connect(t, centre, nil)
	handed := first.mustGive(numbered(1, "32470123456"))
	first.stop()
	second := connect(t, centre, nil)
	centre.Await(t, "the second", func(s hstest.SMSCSeen) bool { return s.Bound == 1 && len(s.Binds) == 2 })
	centre.Receipts(t, 0, "DELIVRD")
	if o := second.await(handed.Reference); o.State != outbox.Delivered {
		t.Errorf("%+v", o)
	}
}

// The centre is told to send a receipt again that the server has not heard.
func TestReceiptIsTakenOnlyWhenTheServerHasIt(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"receipts":"on request"}`)
	c := connect(t, centre, func(cfg *Config) { cfg.Unicode = true })
	handed := c.mustGive(long(1, "32470123456"))
	centre.Receipts(t, 2, "DELIVRD")
	centre.Await(t, "two answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 2 })
	c.hear(false)
	centre.Receipts(t, 1, "DELIVRD")
	seen := centre.Await(t, "an answer", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 3 })
	if seen.ReceiptAnswers[2] != 0x64 {
		t.Errorf("answered %#x although the server has not heard the receipt", seen.ReceiptAnswers[2])
	}
	c.hear(true)
	centre.Do(t, "again")
	if o := c.await(handed.Reference); o.State != outbox.Delivered {
		t.Errorf("%+v", o)
	}
	// And once more: it is known.
	centre.Await(t, "an answer to the receipt that came again", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 4 })
	centre.Do(t, "again")
	seen = centre.Await(t, "answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 5 })
	if got := c.got(handed.Reference); len(got) != 1 || seen.ReceiptAnswers[4] != 0 {
		t.Errorf("reported %d times, answered %v", len(got), seen.ReceiptAnswers)
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

func TestConnectionBreaksBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"dropAfter":0}`)
	c := connect(t, centre, nil)
	_, told, err := c.give(numbered(1, "32470123456"))
	if l := later(err); l == nil || !l.Unknown || told != 1 {
		t.Errorf("%v", err)
	}
	// The next goes over a new connection.
	c.mustGive(numbered(2, "32470123457"))
	if seen := centre.Seen(t); len(seen.Binds) != 2 || len(seen.Texts) != 2 {
		t.Errorf("%+v", seen)
	}
}

func TestCentreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"silent":true}`)
	c := connect(t, centre, func(cfg *Config) { cfg.SMPP.Timeout = 8 * time.Second }) // more than a busy machine takes
	c.bound()
	_, _, err := c.give(numbered(1, "32470123456"))
	if l := later(err); l == nil || !l.Unknown || l.Problem != "no_answer" {
		t.Errorf("%v", err)
	}
	// Nor to a bind: somebody else may have the port.
	centre.Behave(t, `{"silentBind":true}`)
	centre.Do(t, "drop")
	centre.Await(t, "a second attempt", func(s hstest.SMSCSeen) bool { return len(s.Binds) >= 3 })
	if told, err := c.impatiently(numbered(2, "32470123456")); later(err) == nil || later(err).Unknown || told != 0 {
		t.Errorf("%v, told %d times", err, told)
	}
	centre.Behave(t, `{}`)
	c.bound()
	c.mustGive(numbered(3, "32470123456"))
}

func TestConnectionThatIsDeadIsNoticed(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, func(cfg *Config) { cfg.SMPP.EnquireLink, cfg.SMPP.Timeout = 100*time.Millisecond, 8*time.Second })
	c.mustGive(numbered(1, "32470123456"))
	centre.Await(t, "questions", func(s hstest.SMSCSeen) bool { return s.Enquiries >= 3 })
	before := len(centre.Seen(t).Binds)
	centre.Behave(t, `{"silentLinks":true}`)
	centre.Await(t, "a new connection", func(s hstest.SMSCSeen) bool { return len(s.Binds) > before })
}

func TestRefusedBind(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	var log strings.Builder
	var mu sync.Mutex
	c := connect(t, centre, func(cfg *Config) {
		cfg.SMPP.Password = "wrong"
		cfg.Log = slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))
	})
	if told, err := c.impatiently(numbered(1, "32470123456")); later(err) == nil || later(err).Problem != "no_connection" || told != 0 {
		t.Errorf("%v", err)
	}
	centre.Await(t, "more attempts", func(s hstest.SMSCSeen) bool { return len(s.Binds) >= 2 })
	c.stop()
	mu.Lock()
	defer mu.Unlock()
	if text := log.String(); !strings.Contains(text, "refuses to bind: smpp_invpaswd") || strings.Contains(text, "wrong") || strings.Count(text, "refuses") != 1 {
		t.Errorf("the log says %q", text)
	}
}

type locked struct {
	mu *sync.Mutex
	w  *strings.Builder
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestCentreThatIsAwayComesBack(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, nil)
	c.mustGive(numbered(1, "32470123456"))
	centre.Kill9(t)
	told, err := c.impatiently(numbered(2, "32470123456"))
	if later(err) == nil || later(err).Unknown && told == 0 {
		t.Errorf("%v, told %d times", err, told)
	}
	centre.Restart(t)
	centre.Await(t, "a bind", func(s hstest.SMSCSeen) bool { return len(s.Binds) == 1 })
	c.mustGive(numbered(3, "32470123456"))
	centre.Do(t, "unbind")
	centre.Await(t, "another bind", func(s hstest.SMSCSeen) bool { return len(s.Binds) == 2 })
	c.mustGive(numbered(4, "32470123456"))
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

func TestTLSAndTwoConnections(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, func(cfg *Config) {
		cfg.SMPP.Address, cfg.SMPP.TLS, cfg.SMPP.TwoConnections = centre.TLSAddress, &tls.Config{RootCAs: centre.RootCAs, ServerName: "127.0.0.1"}, true
	})
	handed := c.mustGive(numbered(1, "32470123456"))
	if o := c.await(handed.Reference); o.State != outbox.Delivered {
		t.Errorf("%+v", o)
	}
	seen := centre.Seen(t)
	kinds := []string{seen.Binds[0].Kind, seen.Binds[1].Kind}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"receiver", "transmitter"}) {
		t.Errorf("%v", kinds)
	}
	c.stop()
	if seen := centre.Seen(t); seen.Unbinds != 2 {
		t.Errorf("unbound %d times", seen.Unbinds)
	}
	// A certificate that nobody vouches for is no centre.
	other := connect(t, centre, func(cfg *Config) {
		cfg.SMPP.Address, cfg.SMPP.TLS, cfg.SMPP.Timeout = centre.TLSAddress, &tls.Config{ServerName: "127.0.0.1"}, time.Second
	})
	if _, told, err := other.give(numbered(2, "32470123456")); later(err) == nil || told != 0 {
		t.Errorf("%v", err)
	}
}

// Many at once keep to the window, and each gets its own answer. What is under way at the end is sent to its end.
func TestManyAtOnceAndStop(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	// Answers wait until the window is full, and a moment for what would come besides.
	centre.Behave(t, `{"hold":20,"delay":100}`)
	c := connect(t, centre, func(cfg *Config) { cfg.SMPP.Window = 20 })
	var sent sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]bool{}
	for i := range 200 {
		sent.Go(func() {
			handed, _, err := c.give(numbered(int64(i), "3247012"+string(rune('0'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10))))
			if err == nil {
				mu.Lock()
				taken[handed.Reference] = true
				mu.Unlock()
			} else if l := later(err); l == nil || l.Unknown {
				t.Errorf("%v", err)
			}
		})
	}
	centre.Await(t, "some", func(s hstest.SMSCSeen) bool { return len(s.Submits) > 50 })
	centre.Behave(t, `{"delay":50}`)
	c.stop()
	sent.Wait()
	seen := centre.Seen(t)
	if seen.Outstanding != 20 {
		t.Errorf("%d requests were unanswered at a time", seen.Outstanding)
	}
	if len(seen.Texts) != len(taken) || len(taken) < 50 || seen.Unbinds != 1 {
		t.Errorf("the centre has %d messages, %d were taken, unbound %d times", len(seen.Texts), len(taken), seen.Unbinds)
	}
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
