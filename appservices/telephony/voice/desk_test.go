package voice

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
	"github.com/roomline/roomline/internal/hstest/whistle"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/sfu"
)

// desk is the server's end of calls, by the types of internal/phone and nothing else: what each PIN leads to, and what was said of each call. The
// real server has tests of its own, and one with this bridge.
type desk struct {
	t   *testing.T
	lk  *hstest.LiveKitServer
	sfu *sfu.Client
	*httptest.Server

	mu     sync.Mutex
	pins   map[string]phone.Join
	joins  map[string]phone.Join // by the call
	events []said
	starts []phone.Start
	tries  map[string]int
	queue  []phone.Call
	orders []phone.Status
	status map[string]phone.Status
	bridge string
	tokens int
	// down answers everything with 503.
	down atomic.Bool
	// slow is how long calls/start takes.
	slow time.Duration
	// problem is the answer to calls/start.
	problem phone.Problem
}

type said struct {
	call  string
	event phone.Event
}

func newDesk(t *testing.T, lk *hstest.LiveKitServer) *desk {
	d := &desk{t: t, lk: lk, pins: map[string]phone.Join{}, joins: map[string]phone.Join{}, tries: map[string]int{}, status: map[string]phone.Status{}}
	var err error
	d.sfu, err = sfu.New(sfu.Config{URL: lk.URL, PublicURL: lk.PublicURL, Keys: []sfu.Key{{Key: lk.Key, Secret: lk.Secret}}, HTTP: http.DefaultClient, Within: time.Minute, Clock: matrix.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

// room makes a room, and a PIN that leads there.
func (d *desk) room(name, pin, identity string) {
	d.t.Helper()
	if _, err := d.sfu.CreateRoom(d.t.Context(), name, sfu.RoomOptions{EmptyTimeout: time.Minute, DepartureTimeout: time.Minute}); err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pins[pin] = phone.Join{Title: name, Name: "Anna", UserID: "@phone_1:example.org", Identity: identity, SecondsAllowed: 600}
}

func (d *desk) edit(pin string, f func(*phone.Join)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.pins[pin]
	f(&j)
	d.pins[pin] = j
}

func (d *desk) minted(j phone.Join) phone.Join {
	if j.Waiting || j.Problem != "" {
		return j
	}
	var err error
	j.URL = d.lk.PublicURL
	j.JWT, err = d.sfu.Token(sfu.TokenRequest{Room: j.Title, Identity: j.Identity, Name: j.Name, Rights: sfu.Rights{Publish: []sfu.Source{sfu.Microphone}, Subscribe: true}})
	if err != nil {
		d.t.Error(err)
	}
	return j
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Header.Get("Authorization") != "Bearer as_token" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, phone.Path)
	call, what, _ := strings.Cut(path, "/")
	switch {
	case path == "start":
		answer(d, w, r, d.start)
	case path == "lease":
		answer(d, w, r, func(l phone.Lease) phone.Leased { return d.lease(r.Context(), l) })
	case what == "pin":
		answer(d, w, r, func(p phone.PIN) phone.Join { return d.pin(call, p) })
	case what == "token":
		answer(d, w, r, func(phone.Token) phone.Join {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.tokens++
			return d.minted(d.joins[call])
		})
	case what == "event":
		answer(d, w, r, func(e phone.Event) phone.Status {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, said{call, e})
			s := d.status[call]
			s.CallID = call
			return s
		})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func answer[Q, A any](d *desk, w http.ResponseWriter, r *http.Request, f func(Q) A) {
	var q Q
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		d.t.Errorf("%s: %v", r.URL.Path, err)
	}
	_ = json.NewEncoder(w).Encode(f(q))
}

func (d *desk) start(s phone.Start) phone.Started {
	time.Sleep(d.slow)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts = append(d.starts, s)
	d.bridge = s.Bridge
	id := "call" + string(rune('a'+len(d.starts)))
	d.tries[id] = 3
	return phone.Started{CallID: id, Language: "en", PINDigits: 4, Tries: 3, Problem: d.problem}
}

func (d *desk) pin(call string, p phone.PIN) phone.Join {
	d.mu.Lock()
	defer d.mu.Unlock()
	j, ok := d.pins[p.PIN]
	if !ok {
		d.tries[call]--
		return phone.Join{Problem: phone.WrongPIN, Tries: d.tries[call]}
	}
	d.joins[call] = j
	s := d.status[call]
	s.Waiting, s.Recording = j.Waiting, j.Recording
	d.status[call] = s
	return d.minted(j)
}

func (d *desk) lease(ctx context.Context, l phone.Lease) phone.Leased {
	until := time.Now().Add(time.Duration(l.WaitMS) * time.Millisecond)
	for {
		d.mu.Lock()
		d.bridge = l.Bridge
		out := phone.Leased{Calls: d.queue, Orders: d.orders}
		if l.Max == 0 {
			out.Calls = nil
		} else {
			d.queue = nil
		}
		d.orders = nil
		d.mu.Unlock()
		if len(out.Calls)+len(out.Orders) > 0 || time.Now().After(until) || ctx.Err() != nil || d.down.Load() {
			return out
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// order says something of a call, by the next lease.
func (d *desk) order(s phone.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status[s.CallID] = s
	d.orders = append(d.orders, s)
}

// call has somebody called.
func (d *desk) call(c phone.Call, j phone.Join) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joins[c.CallID] = j
	d.queue = append(d.queue, c)
}

// wait waits for an event of a call.
func (d *desk) wait(what string, is func(call string, e phone.Event) bool) (call string, e phone.Event) {
	d.t.Helper()
	hstest.Eventually(d.t, what, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, s := range d.events {
			if is(s.call, s.event) {
				call, e = s.call, s.event
				return true
			}
		}
		return false
	})
	return call, e
}

// told reports whether an event of a call has come.
func (d *desk) told(is func(e phone.Event) bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.events, func(s said) bool { return is(s.event) })
}

func (d *desk) waitEnd(cause phone.Cause) {
	d.t.Helper()
	_, e := d.wait("the end of the call", func(_ string, e phone.Event) bool { return e.State == phone.Ended || e.State == phone.Failed })
	if e.Cause != cause {
		d.t.Errorf("the call ended because of %q, want %q", e.Cause, cause)
	}
}

func (d *desk) waitJoined() (call string) {
	d.t.Helper()
	call, _ = d.wait("a phone in the meeting", func(_ string, e phone.Event) bool { return e.Joined })
	return call
}

// started runs a bridge with a trunk on the loopback, changed by edit, and returns where it speaks SIP.
func started(t *testing.T, d *desk, edit func(*Config)) (address string, b *Bridge) {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	client := &telephony.Client{URL: d.URL, Token: "as_token", HTTP: http.DefaultClient}
	cfg := Config{
		Post: client.Post, Log: slog.New(slog.NewTextHandler(logOf{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Listen: []Listen{{Transport: "udp", Address: address}}, Address: netip.MustParseAddr("127.0.0.1"), FirstPort: 32002, LastPort: 32399,
		Trunks: []Trunk{{
			Name: "one", Server: "127.0.0.1:9", Transport: "udp", Username: "roomline", Password: "secret", SRTP: "off",
			Numbers: []Number{{Number: "+3222345678", Country: "BE"}}, Codecs: []string{"g722", "pcma", "pcmu"},
		}},
	}
	if edit != nil {
		edit(&cfg)
	}
	if b, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	b.goodbye, b.together = 20*time.Second, time.Hour // as slow as the machine may be
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.legs) > 0 || b.pending > 0 {
			t.Errorf("%d calls are left, %d pending", len(b.legs), b.pending)
		}
	})
	return address, b
}

type logOf struct{ t *testing.T }

func (l logOf) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "secret") {
		l.t.Errorf("a secret is in the log: %s", p)
	}
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// person is somebody in a room by LiveKit, who hears the phone.
type person struct {
	whistle.Ears
	room *lksdk.Room
	// muted is what they see of the phone's microphone.
	muted atomic.Bool
}

func (d *desk) person(room, name string) *person {
	d.t.Helper()
	jwt, err := d.sfu.Token(sfu.TokenRequest{Room: room, Identity: name, Name: name, Rights: sfu.Rights{Publish: []sfu.Source{sfu.Microphone}, Subscribe: true, Data: true}})
	if err != nil {
		d.t.Fatal(err)
	}
	p := &person{}
	callbacks := lksdk.NewRoomCallback()
	callbacks.OnTrackSubscribed = p.Listen
	callbacks.OnTrackMuted = func(lksdk.TrackPublication, lksdk.Participant) { p.muted.Store(true) }
	callbacks.OnTrackUnmuted = func(lksdk.TrackPublication, lksdk.Participant) { p.muted.Store(false) }
	if p.room, err = lksdk.ConnectToRoomWithToken(d.lk.PublicURL, jwt, callbacks, lksdk.WithConnectTimeout(time.Minute)); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(p.room.Disconnect)
	return p
}

// whistle lets the person be heard with 700 Hz.
func (p *person) whistle(t *testing.T) { whistle.Publish(t, p.room) }

// hears waits until the last half second that the person heard of a phone is a tone.
func (p *person) hears(t *testing.T, hertz float64) {
	t.Helper()
	p.Hears(t, "@phone", hertz)
}

// certificate is one for 127.0.0.1, and what trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	both := &tls.Config{Certificates: s.TLS.Certificates, RootCAs: roots, MinVersion: tls.VersionTLS12}
	return both, both
}

// joinedTimes is how often a phone came into the meeting.
func (d *desk) joinedTimes() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.events {
		if s.event.Joined {
			n++
		}
	}
	return n
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}
