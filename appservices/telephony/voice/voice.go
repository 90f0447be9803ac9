// Package voice is the phone's end of meetings: it takes phone calls from telecom networks by SIP, makes them, and carries each as a participant of
// a LiveKit room. Who may be where, and what a call may cost, the server says (internal/phone); this package knows SIP, audio and keys.
//
// What is promised:
//   - Only the addresses of a trunk's provider are heard, and only the trunk's own numbers answered.
//   - A call ends when the phone hangs up, when the server says so, when nothing comes from the phone any more, and when its time is over,
//     whatever else fails.
//   - Audio goes through as it came where LiveKit knows it (G.711), and is decoded where it does not (G.722). What a phone hears is the
//     sum of the others, never itself.
//   - Nothing links C.
//
// The files: trunk.go and register.go are what a provider is to us, signalling.go the requests of SIP, leg.go one call, incoming.go and outgoing.go
// how it begins, and legaudio.go its audio; flow.go is what its person hears and presses, entry.go up to the door of the meeting and stay.go
// behind it; sdp.go, media.go, srtp.go and digits.go are the packets to and from the phone; meeting.go, mixer.go and jitter.go those to and
// from LiveKit; anteroom.go and opus.go phones that LiveKit SIP brings; announcer.go and words.go what is said.
//
// Start reading at Bridge.
package voice

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/sfu"
)

// Config of a Bridge.
type Config struct {
	// Post asks the server: telephony.Client has it.
	Post func(ctx context.Context, path string, request, answer any) error
	Log  *slog.Logger
	// Listen are the addresses that SIP is spoken at, TLS what those are with whose transport is tls, and what trunks are reached with by it.
	Listen []Listen
	TLS    *tls.Config
	// Address is how trunks reach us by SIP, MediaAddress where they send audio to. Without them it is the address that the way to a trunk begins at.
	Address, MediaAddress netip.Addr
	// FirstPort and LastPort are those that audio may use.
	FirstPort, LastPort int
	Trunks              []Trunk
	// SIP is LiveKit, for trunks whose calls LiveKit SIP carries.
	SIP *sfu.Client
	// MaxCalls is how many calls there may be at a time.
	MaxCalls int
	// MediaTimeout is for how long a phone may send nothing.
	MediaTimeout time.Duration
	// Announcements are folders of recordings by language, Speech is a program that speaks: see the configuration.
	Announcements map[string]string
	Speech        []string
}

// Listen is an address for SIP.
type Listen struct{ Transport, Address string }

// Bridge carries calls.
type Bridge struct {
	cfg       Config
	log       *slog.Logger
	server    server
	announcer *announcer
	trunks    []*trunk
	agent     *sipgo.UserAgent
	sip       *sipgo.Server
	sockets   []socket
	// goodbye is how long the other side may take to hear that we have hung up, or are gone, and together how long after a star a key belongs to it.
	goodbye, together time.Duration

	mu sync.Mutex
	// legs are the calls, by Call-ID and our tag; leaving says that no more are taken.
	legs    map[string]*leg
	pending int
	leaving bool
	running sync.WaitGroup
}

var discardOnce sync.Once

// New returns a Bridge that listens already, so that what can't be had is said at once.
func New(cfg Config) (*Bridge, error) {
	switch {
	case cfg.Post == nil || cfg.Log == nil:
		return nil, errors.New("voice: Config.Post or Config.Log is missing")
	case len(cfg.Trunks) == 0:
		return nil, errors.New("voice: there is no trunk")
	case len(cfg.Listen) == 0 && slices.ContainsFunc(cfg.Trunks, func(t Trunk) bool { return !t.LiveKit }):
		return nil, errors.New("voice: there is no address to listen at")
	case cfg.SIP == nil && slices.ContainsFunc(cfg.Trunks, func(t Trunk) bool { return t.LiveKit }):
		return nil, errors.New("voice: Config.SIP is missing")
	}
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = limits.VoiceCalls
	}
	if cfg.MediaTimeout == 0 {
		cfg.MediaTimeout = limits.VoiceSilent
	}
	discardOnce.Do(func() { // LiveKit's client says much to the standard error that is no matter of ours
		lksdk.SetLogger(logger.GetDiscardLogger())
		sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	})
	announcer, err := newAnnouncer(cfg.Announcements, cfg.Speech, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("voice: %w", err)
	}
	var name [12]byte
	rand.Read(name[:])
	b := &Bridge{
		cfg: cfg, log: cfg.Log, server: server{post: cfg.Post, bridge: hex.EncodeToString(name[:])}, announcer: announcer, legs: map[string]*leg{},
		goodbye: goodbye, together: together,
	}
	if err := b.listen(); err != nil {
		b.close()
		return nil, fmt.Errorf("voice: %w", err)
	}
	return b, nil
}

// Warnings are what an operator should know of a configuration that works.
func (b *Bridge) Warnings() []string {
	var list []string
	if len(b.announcer.speech) == 0 {
		var tones []string
		for _, language := range languages {
			if n := len(b.announcer.missing(language)); n > 0 {
				tones = append(tones, fmt.Sprintf("%d in %s", n, language))
			}
		}
		if len(tones) > 0 {
			list = append(list, "telephony.voice.sip: announcements are only tones, as there is neither a recording nor a speech program: "+strings.Join(tones, ", "))
		}
	}
	for _, t := range b.trunks {
		if !t.cfg.LiveKit && t.cfg.Transport != "tls" {
			list = append(list, fmt.Sprintf("telephony.voice.trunks: %s: who calls whom, and what is said, can be heard on the way (transport %s)", t.cfg.Name, t.cfg.Transport))
		}
	}
	return list
}

// Run works until ctx ends. Calls that are on then are hung up.
func (b *Bridge) Run(ctx context.Context) error {
	for _, w := range b.Warnings() {
		b.log.Warn(w)
	}
	var parts, registrations sync.WaitGroup
	for _, s := range b.sockets {
		parts.Go(func() { s.serve(b.sip) })
	}
	b.awaitSockets(ctx)
	working, stop := context.WithCancel(ctx)
	defer stop()
	for _, t := range b.trunks {
		if t.cfg.LiveKit {
			if t.cfg.OutboundTrunk != "" {
				parts.Go(func() { t.watchSIP(working) })
			}
			continue
		}
		parts.Go(func() { t.watch(working) })
		if t.cfg.Register {
			registrations.Go(func() { t.register(working) })
		}
	}
	if len(b.cfg.Speech) > 0 {
		parts.Go(func() {
			for _, language := range languages {
				b.announcer.prepare(working, language)
			}
		})
	}
	parts.Go(func() { b.lease(working) })
	<-ctx.Done()
	b.hangUp()
	registrations.Wait()
	b.close()
	parts.Wait()
	return nil
}

// awaitSockets waits until what is sent goes out by the sockets that are listened at: who sends before opens another one at the same address, in vain.
func (b *Bridge) awaitSockets(ctx context.Context) {
	n := 0
	for _, s := range b.sockets {
		if s.packets != nil {
			n++
		}
	}
	for ctx.Err() == nil && n > 0 && b.agent.TransportLayer().Pool("udp").Size() < n {
		time.Sleep(time.Millisecond)
	}
}

// hangUp ends all calls.
func (b *Bridge) hangUp() {
	b.mu.Lock()
	b.leaving = true
	for _, l := range b.legs {
		l.end(ending{cause: phone.CauseTrunk})
	}
	b.mu.Unlock()
	over := make(chan struct{})
	go func() { b.running.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(b.goodbye + 3*time.Second):
	}
}

func (b *Bridge) close() {
	for _, s := range b.sockets {
		s.close()
	}
	if b.agent != nil {
		b.agent.Close()
	}
}

// admit reports whether there is room for a call of a trunk, and keeps it until done is called. status is what to say to a caller otherwise.
func (b *Bridge) admit(t *trunk) (done func(), status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.leaving || b.pending >= b.cfg.MaxCalls:
		return nil, sip.StatusServiceUnavailable
	case t.cfg.MaxCalls > 0 && t.calls >= t.cfg.MaxCalls:
		return nil, sip.StatusBusyHere
	}
	b.pending++
	t.calls++
	b.running.Add(1)
	var once sync.Once
	return func() {
		once.Do(func() {
			b.mu.Lock()
			b.pending--
			t.calls--
			b.mu.Unlock()
			b.running.Done()
		})
	}, 0
}

func (b *Bridge) add(l *leg) {
	b.mu.Lock()
	b.legs[l.key] = l
	b.mu.Unlock()
}

func (b *Bridge) remove(l *leg) {
	b.mu.Lock()
	delete(b.legs, l.key)
	b.mu.Unlock()
}

func (b *Bridge) find(key string) *leg {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.legs[key]
}

// lease keeps the server's word on the calls that are on, and takes those that are to be made.
func (b *Bridge) lease(ctx context.Context) {
	pause := backoff{first: 200 * time.Millisecond, most: 5 * time.Second}
	told := false
	for ctx.Err() == nil {
		var leased phone.Leased
		asking, cancel := context.WithTimeout(ctx, limits.PhoneWait+answered)
		err := b.server.post(asking, "calls/lease", b.state(), &leased)
		cancel()
		if err != nil {
			if !told && ctx.Err() == nil {
				told = true
				b.log.Warn("voice: the server does not answer", "error", err)
			}
			pause.wait(ctx)
			continue
		}
		told, pause.next = false, 0
		for _, order := range leased.Orders {
			b.mu.Lock()
			for _, l := range b.legs {
				if l.id() == order.CallID {
					l.order(order) // one after the other: what is said last holds
				}
			}
			b.mu.Unlock()
		}
		for _, c := range leased.Calls {
			go b.callOut(c)
		}
	}
}

// state is what the server is told of.
func (b *Bridge) state() phone.Lease {
	ask := phone.Lease{Bridge: b.server.bridge, WaitMS: limits.PhoneWait.Milliseconds(), Calls: []phone.Status{}, Trunks: []string{}}
	for _, t := range b.trunks {
		if t.works() {
			ask.Trunks = append(ask.Trunks, t.cfg.Name)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.legs {
		if status, ok := l.state(); ok && len(ask.Calls) < limits.PhoneCallsAtOnce {
			ask.Calls = append(ask.Calls, status)
		}
	}
	if !b.leaving {
		ask.Max = max(0, min(b.cfg.MaxCalls-b.pending, limits.PhoneCallsAtOnce))
	}
	return ask
}
