package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
)

// network is what messages are given to. It counts them.
type network struct {
	mu    sync.Mutex
	taken map[int64][]time.Time
}

// take is given when the bridge had the message: between that and this there may be any time.
func (n *network) take(id int64, had time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.taken == nil {
		n.taken = map[int64][]time.Time{}
	}
	n.taken[id] = append(n.taken[id], had)
}

func (n *network) times(id int64) []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(slices.Values(n.taken[id]), time.Time.Compare)
}

// life is a bridge until it is killed: then nothing leaves it any more, neither to the network nor to the server.
type life struct {
	network *network
	dead    atomic.Bool
	faults  bool
}

var errDead = errors.New("dead")

// Send implements telephony.Transport, with all that can go wrong.
func (l *life) Send(ctx context.Context, m *message.Message, sending func(string) error) (telephony.Handed, error) {
	fault, had := 0, time.Now()
	if l.faults {
		fault = rand.IntN(12)
	}
	switch fault {
	case 1:
		return telephony.Handed{}, &telephony.Later{Problem: "busy", After: 20 * time.Millisecond}
	case 2:
		panic("a mistake")
	}
	if err := sending(""); err != nil {
		return telephony.Handed{}, err
	}
	if l.dead.Load() {
		return telephony.Handed{}, errDead
	}
	switch fault {
	case 3:
		return telephony.Handed{}, &telephony.Later{Problem: "throttled"}
	case 4: // the connection breaks before the network has it, or after that: nobody can tell
		return telephony.Handed{}, &telephony.Later{Problem: "connection lost", Unknown: true}
	}
	l.network.take(m.ID, had)
	if fault == 5 {
		return telephony.Handed{}, &telephony.Later{Problem: "connection lost", Unknown: true}
	}
	return telephony.Handed{Reference: fmt.Sprint("net-", m.ID)}, nil
}

// through makes nothing of requests of a dead bridge, and loses answers.
func (l *life) through(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if l.dead.Load() {
			return nil, errDead
		}
		resp, err := next.RoundTrip(r)
		if l.dead.Load() || l.faults && rand.IntN(20) == 0 { // the answer is lost
			return nil, errDead
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// bridge starts a bridge that asks a process. kill ends it without a word.
func (w *world) bridge(t *testing.T, process int, l *life) (kill func()) {
	t.Helper()
	api := httpapi.New(httpapi.Config{
		Log: slog.New(slog.DiscardHandler), Clock: matrix.SystemClock{},
		Auth: authenticator{&httpapi.Requester{User: "@telephony:a", Org: 1, Appservice: "telephony", Grants: []string{outbox.GrantTelephony}}},
	}, w.servers[process].Routes())
	b, err := telephony.New(telephony.Config{
		Homeserver: "http://server.invalid", Token: "x", HTTP: &http.Client{Transport: l.through(httpapi.InProcess(api))},
		Transports: map[string]telephony.Transport{message.Email: l, message.Msisdn: l}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel() })
	t.Cleanup(func() {
		stop()
		if !l.dead.Load() { // what was killed tries for a while to be heard
			<-done
		}
	})
	return func() { l.dead.Store(true); stop() }
}

// newWorldNow is a world whose clock goes, with short leases and pauses, and a window that a test can wait for.
func newWorldNow(t *testing.T, change func(*outbox.Config)) *world {
	w := newWorld(t, func(c *outbox.Config) {
		c.Clock = matrix.SystemClock{}
		c.Limits.LeaseFor, c.Limits.SendingFor, c.Limits.Window = 300*time.Millisecond, 300*time.Millisecond, window
		c.Limits.Retried = 100 * time.Millisecond
		c.Limits.SenderPerHour, c.Limits.OrganisationPerHour, c.Limits.BlockPerHour, c.Limits.Budget = 10000, 10000, 10000, 10000*aUnit
		c.Limits.DomainPerHour = 10000
		if change != nil {
			change(c)
		}
	})
	w.clock.now = time.Now()
	return w
}

const window = 3 * time.Second

func TestMessagesSurviveKilledBridges(t *testing.T) {
	t.Parallel()
	w := newWorldNow(t, nil)
	for process := range 3 {
		w.run(t, process)
	}
	var n network
	var mails, texts []int64
	for i := range 40 {
		mails = append(mails, w.mustSend(t, w.mail(fmt.Sprintf("a%d@example.com", i))))
		texts = append(texts, w.mustSend(t, w.sms(fmt.Sprintf("%05d", i*1000))))
	}
	over := func() bool {
		return w.number(t, `SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'failed', 'delivered')`) == 0
	}
	for cycle := 0; cycle < 30 && !over(); cycle++ {
		kill := w.bridge(t, cycle%3, &life{network: &n, faults: true})
		time.Sleep(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		kill()
	}
	w.bridge(t, 0, &life{network: &n})
	w.bridge(t, 1, &life{network: &n})
	deadline := time.Now().Add(3 * time.Minute) // patience, not a bound: the machine may be busy
	for !over() && time.Now().Before(deadline) {
		// What was tried often on a busy machine would be left alone for minutes.
		w.exec(t, `UPDATE outbox SET next_ts = created_ts WHERE next_ts > created_ts`)
		time.Sleep(100 * time.Millisecond)
	}
	if !over() {
		t.Fatal("not everything was sent")
	}
	doubled := 0
	for _, id := range append(mails, texts...) {
		if len(n.times(id)) == 0 {
			t.Errorf("message %d was lost: %s", id, w.state(t, id))
		}
	}
	for _, id := range texts {
		times := n.times(id)
		for i := 1; i < len(times); i++ {
			doubled++
			if gap := times[i].Sub(times[i-1]); gap < window/2 {
				t.Errorf("short message %d was sent twice within %s", id, gap)
			}
		}
	}
	t.Logf("%d short messages were sent again after the window, because nobody knew whether they had gone", doubled)
}

func TestAFormerHolderWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	id := w.mustSend(t, w.sms("23456"))
	first := w.lease(t, 0, 1)[0]
	const late = 10 * time.Minute
	w.later(t, leaseFor-late)
	if list := w.lease(t, 1, 1); len(list) != 0 {
		t.Fatalf("handed out twice: %+v", list)
	}
	w.later(t, late+time.Second)
	list := w.lease(t, 1, 1)
	if len(list) != 1 {
		t.Fatal("not handed out after the lease has lapsed")
	}
	second := list[0]
	for _, o := range []message.Outcome{
		{State: message.Sending}, {State: message.Sent, Reference: "late"}, {State: message.Failed, Problem: "late"}, {State: message.Queued, Retry: true},
	} {
		o.ID, o.Lease = id, first.Lease
		if got := w.report(t, 2, o); len(got.Lost) != 1 {
			t.Errorf("the former holder's %s is taken", o.State)
		}
	}
	if got := w.state(t, id); got != "queued sealed" {
		t.Fatalf("state %s", got)
	}
	if got := w.report(t, 0, message.Outcome{ID: id, Lease: second.Lease, State: message.Sent}); len(got.Lost) != 0 {
		t.Fatal("the holder's report is refused")
	}
}

// later moves what the database's clock has noted into the past.
func (w *world) later(t *testing.T, d time.Duration) {
	t.Helper()
	w.exec(t, `UPDATE outbox SET lease_ts = lease_ts - $1, sending_ts = sending_ts - $1`, d.Milliseconds())
}

func TestWhatTheNetworkMayHaveWaitsForTheWindow(t *testing.T) {
	t.Parallel()
	const window, late = time.Hour, 10 * time.Minute
	w := newWorld(t, func(c *outbox.Config) { c.Limits.Window = window })
	sms, mail := w.mustSend(t, w.sms("23456")), w.mustSend(t, w.mail("anna@example.com"))
	for _, m := range w.lease(t, 0, 2) {
		w.report(t, 0, message.Outcome{ID: m.ID, Lease: m.Lease, State: message.Sending})
		w.report(t, 0, message.Outcome{ID: m.ID, Lease: m.Lease, State: message.Sending, Retry: true, RetryAfter: 1, Problem: "connection lost"})
	}
	comes := func(when string, want int64) {
		t.Helper()
		list := w.lease(t, 1, 2)
		if want == 0 && len(list) != 0 || want != 0 && (len(list) != 1 || list[0].ID != want) {
			t.Fatalf("%s there come again %+v, want message %d", when, list, want)
		}
		for _, m := range list {
			w.report(t, 1, message.Outcome{ID: m.ID, Lease: m.Lease, State: message.Sent})
		}
	}
	w.clock.forward(time.Second)
	comes("after the pause", mail)
	w.later(t, window-late)
	comes("before the end of the window", 0)
	w.later(t, late)
	comes("after the window", sms)
}

func TestWhatIsNeverSentExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.invitation(t, "inv", "msisdn", "32470123456")
	d := w.sms("23456")
	d.InvitationID = "inv"
	id := w.mustSend(t, d)
	w.run(t, 0)
	w.clock.forward(d.ExpiresTS.Time().Sub(w.clock.Now()) + time.Second)
	hstest.Eventually(t, "it fails", func() bool { states, _ := w.told.Load("inv"); return states == " failed" })
	if w.state(t, id) != "failed" || w.number(t, `SELECT cost FROM outbox_spending`) != 0 {
		t.Errorf("state %s", w.state(t, id))
	}
}

// A message that is queued in one process is taken at once by a bridge that waits at another.
func TestABridgeWaitsForMessages(t *testing.T) {
	t.Parallel()
	w := newWorldNow(t, nil)
	for process := range 3 {
		w.run(t, process)
	}
	var n network
	w.bridge(t, 2, &life{network: &n})
	for i := range 5 {
		id := w.mustSend(t, w.mail(fmt.Sprintf("a%d@example.com", i)))
		hstest.Eventually(t, "it is sent", func() bool { return len(n.times(id)) > 0 })
	}
}
