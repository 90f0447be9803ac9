package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomline/roomline/cmd/internal/livekit"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/sfu"
)

const (
	// livekitPath is where clients reach an embedded LiveKit, on the listeners that serve client.
	livekitPath = "/_roomline/livekit"
	// webhookPath is where LiveKit tells what happens.
	webhookPath = livekitPath + "/webhook"
	// mediaServerAsked is how often LiveKit is asked whether it is there.
	mediaServerAsked = 5 * time.Second
	// livekitLease is held by the one process of a deployment that runs LiveKit.
	livekitLease = "livekit"
)

var errStarting = errors.New("it has not been asked yet")

// mediaServer is LiveKit: what it is asked with, and the child if it is embedded.
type mediaServer struct {
	sfu   *sfu.Client
	child *livekit.Supervisor // nil if LiveKit is elsewhere
	up    prometheus.Gauge

	mu   sync.Mutex
	away error // why it does not answer; nil if it does
}

// newSFU makes what asks LiveKit; nil where there are no meetings.
func (a *app) newSFU(sealKey [32]byte) (*mediaServer, error) {
	if !a.cfg.Meetings.Enabled() {
		return nil, nil
	}
	k := &a.cfg.Meetings.LiveKit
	m := &mediaServer{away: errStarting, up: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "roomline_meetings_up", Help: "Whether the media server of meetings (LiveKit) answers.",
	})}
	a.metrics.MustRegister(m.up)
	cfg := sfu.Config{URL: k.URL, PublicURL: k.PublicURL, Within: k.Timeout, Clock: a.clock}
	for _, key := range k.Keys {
		cfg.Keys = append(cfg.Keys, sfu.Key{Key: key.Key, Secret: key.Secret.Reveal()})
	}
	if k.Embedded {
		if len(cfg.Keys) == 0 {
			cfg.Keys = []sfu.Key{{Key: "roomline", Secret: base64.RawURLEncoding.EncodeToString(derivedKey(sealKey, "API of the embedded LiveKit"))}}
		}
		child, err := childConfig(a.cfg, cfg.Keys)
		if err != nil {
			return nil, err
		}
		m.child = livekit.NewSupervisor(child, a.log, os.Stderr)
		cfg.URL, cfg.PublicURL, cfg.HTTP = livekit.URL, strings.TrimSuffix(a.cfg.PublicBaseURL, "/")+livekitPath, m.child.Client()
		if a.cfg.PublicBaseURL == "" { // a command beside a server in dev mode
			cfg.PublicURL = livekit.URL
		}
	} else {
		// The operator says where LiveKit is, which is mostly inside the operator's network.
		everywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		cfg.HTTP = outbound.New(outbound.Config{Allowed: everywhere, Timeout: k.Timeout})
		cfg.Patient = outbound.New(outbound.Config{Allowed: everywhere, Timeout: limits.SFUSIP})
	}
	var err error
	m.sfu, err = sfu.New(cfg)
	return m, err
}

// childConfig is how an embedded LiveKit runs.
func childConfig(cfg *config.Config, keys []sfu.Key) (livekit.Config, error) {
	k := &cfg.Meetings.LiveKit
	ip, loopback, err := nodeIP(cfg)
	if err != nil {
		return livekit.Config{}, err
	}
	c := livekit.Config{
		UDPPort: k.UDPPort, TCPPort: k.TCPPort, NodeIP: ip, Loopback: loopback, Keys: map[string]string{}, WebhookKey: keys[0].Key,
		LogLevel: cfg.Log.Level, LogFormat: cfg.Log.Format, TURN: relays(&cfg.TURN),
	}
	for _, key := range keys {
		c.Keys[key.Key] = key.Secret
	}
	if loopback {
		c.TCPPort = 0
		if cfg.Dev { // a second server that is being tried out takes another port, which no firewall is in the way of
			c.UDPPort = udpPort(k.UDPPort)
		}
	}
	return c, nil
}

// nodeIP is the address that clients are told for media.
func nodeIP(cfg *config.Config) (ip string, loopback bool, err error) {
	if text := cfg.Meetings.LiveKit.NodeIP; text != "" {
		address, err := netip.ParseAddr(text)
		return text, address.IsLoopback(), err
	}
	host := ""
	for _, l := range cfg.Listeners {
		if slices.Contains(l.Serve, config.ServeClient) {
			host, _, _ = net.SplitHostPort(l.Address)
			break
		}
	}
	public := cfg.PublicBaseURL
	if u, err := url.Parse(public); err == nil {
		public = u.Hostname()
	}
	if isLoopback(host) {
		if public == "" || isLoopback(public) {
			return "127.0.0.1", true, nil
		}
	} else if address, err := netip.ParseAddr(host); err == nil && !address.IsUnspecified() {
		return address.String(), false, nil
	}
	// Nothing is sent: the system says which address it would send from.
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "", false, fmt.Errorf("meetings.livekit.node_ip: it can't be found out, and has to be given: %w", err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String(), false, nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// udpPort is the wanted port, or another one if that is taken.
func udpPort(wanted int) int {
	for _, port := range []int{wanted, 0} {
		if l, err := net.ListenPacket("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			defer l.Close()
			return l.LocalAddr().(*net.UDPAddr).Port
		}
	}
	return wanted
}

// relays are those of turn.uris, for people in meetings too.
func relays(t *config.TURN) []livekit.TURN {
	var all []livekit.TURN
	for _, uri := range t.URIs {
		scheme, rest, _ := strings.Cut(uri, ":")
		rest, query, _ := strings.Cut(rest, "?")
		r := livekit.TURN{Host: rest, Port: 3478, Protocol: strings.TrimPrefix(query, "transport="), Secret: t.SharedSecret.Reveal()}
		if scheme == "turns" {
			r.Port, r.Protocol = 5349, "tls"
		} else if r.Protocol == "" {
			r.Protocol = "udp"
		}
		if host, port, err := net.SplitHostPort(rest); err == nil {
			r.Host = host
			if n, err := strconv.Atoi(port); err == nil {
				r.Port = n
			}
		}
		if r.Secret == "" {
			r.Username, r.Credential = t.Username, t.Password.Reveal()
		}
		all = append(all, r)
	}
	return all
}

// startMediaServer runs LiveKit if it is embedded, and watches whether it answers. stop ends it with all meetings.
func (a *app) startMediaServer() (stop func(), err error) {
	m := a.mediaServer
	if m == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { m.watch(ctx, a.log) })
	stop = func() { cancel(); parts.Wait() }
	if m.child == nil {
		return stop, nil
	}
	webhook, stopWebhook, err := a.serveWebhook()
	if err != nil {
		stop()
		return nil, err
	}
	parts.Go(func() {
		defer stopWebhook()
		if err := a.runChild(ctx, webhook); err != nil {
			a.log.Error("a part stopped", "part", "meetings", "error", err)
		}
	})
	return stop, nil
}

// runChild runs LiveKit in no more than one process of a deployment: two would tear every room in two.
func (a *app) runChild(ctx context.Context, webhook string) error {
	for said := false; ; {
		lease, ok, err := a.store.TryLease(ctx, livekitLease)
		if ok {
			defer lease.Release()
			return a.mediaServer.child.Run(ctx, webhook)
		}
		if !said && ctx.Err() == nil {
			a.log.Error("LiveKit is not started: another process of this deployment runs one; meetings.livekit.embedded is for a server that is one process", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(mediaServerAsked):
		}
	}
}

// serveWebhook listens for the child alone, and without TLS: our listeners may have certificates that are not for this machine's own name.
func (a *app) serveWebhook() (address string, stop func(), err error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	api := a.handler([]config.Service{config.ServeClient}, nil)
	server := &http.Server{
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != webhookPath {
				http.NotFound(w, r)
				return
			}
			api.ServeHTTP(w, r)
		}),
	}
	go func() { _ = server.Serve(socket) }()
	return "http://" + socket.Addr().String() + webhookPath, func() { server.Close() }, nil
}

// watch asks now and then whether LiveKit is there. One that is ours takes a moment to start, which is not worth a warning.
func (m *mediaServer) watch(ctx context.Context, log *slog.Logger) {
	const soon = 200 * time.Millisecond
	failures, said, pause := 0, false, soon
	for {
		err := m.sfu.Ping(ctx)
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		m.away = err
		m.mu.Unlock()
		if err == nil {
			m.up.Set(1)
			if said {
				log.Info("meetings are back: LiveKit answers")
			}
			failures, said, pause = 0, false, mediaServerAsked
		} else {
			m.up.Set(0)
			if failures++; failures == 1 {
				pause = soon
			}
			if failures == 4 {
				log.Warn("meetings are away: LiveKit does not answer", "error", err)
				said = true
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, mediaServerAsked)
	}
}

// problem is what /readyz says of meetings; "" if they are there, or if there are to be none.
func (m *mediaServer) problem() string {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away == nil {
		return ""
	}
	return "meetings are away: LiveKit does not answer"
}

// signalling passes clients on to an embedded LiveKit: those that have a token to join a call and may still be in it, and to what is for joining
// alone. LiveKit gives those who are in a call tokens of its own for ten minutes, which are asked about here, too.
func (m *mediaServer) signalling(mayConnect func(ctx context.Context, alias, identity string) error) http.Handler {
	proxy := m.child.Proxy(livekitPath)
	refuse := func(w http.ResponseWriter, status int, why string) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		answer(w, status, why)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.URL.Query().Get("access_token")
		if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			token = bearer
		}
		alias, identity, ok := m.sfu.Joins(token)
		if !ok {
			refuse(w, http.StatusUnauthorized, "a token for a meeting is needed")
			return
		}
		err := mayConnect(r.Context(), alias, identity)
		if refused, ok := errors.AsType[*matrix.Error](err); ok {
			refuse(w, refused.Status, refused.Message)
			return
		}
		if err != nil {
			w.Header().Set("Retry-After", "2")
			refuse(w, http.StatusServiceUnavailable, "it can't be said now who may be in the meeting")
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// signallingPaths are those that client libraries connect to, and ask at what was wrong when they can't.
var signallingPaths = []string{
	livekitPath + "/rtc", livekitPath + "/rtc/validate", livekitPath + "/rtc/v1", livekitPath + "/rtc/v1/validate",
}
