package voice

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/limits"
)

// socket is an address that SIP is spoken at.
type socket struct {
	transport string
	packets   *guardedPackets
	listener  net.Listener
}

func (s *socket) serve(server *sipgo.Server) {
	switch s.transport { // each returns when the socket is closed
	case "udp":
		_ = server.ServeUDP(s.packets)
	case "tcp":
		_ = server.ServeTCP(s.listener)
	case "tls":
		_ = server.ServeTLS(s.listener)
	}
}

func (s *socket) close() {
	if s.packets != nil {
		s.packets.Close()
	}
	if s.listener != nil {
		s.listener.Close()
	}
}

// listen opens the sockets, and makes what speaks at them.
func (b *Bridge) listen() error {
	for _, l := range b.cfg.Listen {
		s, err := b.open(l)
		if err != nil {
			return fmt.Errorf("listen at %s by %s: %w", l.Address, l.Transport, err)
		}
		b.sockets = append(b.sockets, s)
	}
	var err error
	b.agent, err = sipgo.NewUA(sipgo.WithUserAgent("Roomline"), sipgo.WithUserAgenTLSConfig(b.cfg.TLS))
	if err != nil {
		return err
	}
	if b.sip, err = sipgo.NewServer(b.agent); err != nil {
		return err
	}
	b.handle()
	for _, cfg := range b.cfg.Trunks {
		t := &trunk{cfg: cfg, bridge: b, codecs: codecsNamed(cfg.Codecs), security: security(cfg.SRTP), host: hostOf(cfg.Server)}
		if cfg.LiveKit {
			b.trunks = append(b.trunks, t)
			continue
		}
		if err := t.connect(); err != nil {
			return fmt.Errorf("trunk %s: %w", cfg.Name, err)
		}
		b.trunks = append(b.trunks, t)
	}
	return nil
}

func (b *Bridge) open(l Listen) (socket, error) {
	network, s := l.Transport, socket{transport: l.Transport}
	if l.Transport == "tls" {
		network = "tcp"
	}
	// An address without a host is one of IPv4: a socket for both would show IPv4 addresses as IPv6 ones.
	if host, _, err := net.SplitHostPort(l.Address); err == nil && strings.Contains(host, ":") {
		network += "6"
	} else {
		network += "4"
	}
	if l.Transport == "udp" {
		conn, err := net.ListenPacket(network, l.Address)
		if err != nil {
			return s, err
		}
		s.packets = &guardedPackets{PacketConn: conn, known: b.knows, parser: sip.NewParser()}
		return s, nil
	}
	listener, err := net.Listen(network, l.Address)
	if err != nil {
		return s, err
	}
	s.listener = &guardedListener{Listener: listener, known: b.knows}
	if l.Transport == "tls" {
		s.listener = tls.NewListener(s.listener, b.cfg.TLS)
	}
	return s, nil
}

// knows reports whether an address is that of a provider.
func (b *Bridge) knows(a netip.Addr) bool {
	for _, t := range b.trunks {
		if t.allows(a) {
			return true
		}
	}
	return false
}

// connect makes what requests of a trunk are sent with.
func (t *trunk) connect() error {
	t.resolve(context.Background())
	t.address = t.local(t.bridge.cfg.Address)
	options := []sipgo.ClientOption{sipgo.WithClientHostname(t.address.String()), sipgo.WithClientNAT()}
	contact := sip.Uri{Scheme: "sip", User: "roomline", Host: t.address.String(), UriParams: sip.NewParams()}
	s := t.socket()
	if s == nil {
		return fmt.Errorf("listen has no address for the transport %s", t.cfg.Transport)
	}
	address := s.address()
	if s.packets != nil {
		options = append(options, sipgo.WithClientConnectionAddr(address.String()))
	}
	contact.Port = int(address.Port())
	options = append(options, sipgo.WithClientPort(int(address.Port())))
	if t.cfg.Transport != "udp" {
		contact.UriParams.Add("transport", t.cfg.Transport)
	}
	var err error
	if t.client, err = sipgo.NewClient(t.bridge.agent, options...); err != nil {
		return err
	}
	t.dialogs = &sipgo.DialogUA{Client: t.client, ContactHDR: sip.ContactHeader{Address: contact, Params: sip.NewParams()}, RewriteContact: true}
	return nil
}

// socket is the one that a trunk is reached from: of its transport, and of IPv6 if the trunk is.
func (t *trunk) socket() *socket {
	var other *socket
	for i := range t.bridge.sockets {
		s := &t.bridge.sockets[i]
		switch {
		case s.transport != t.cfg.Transport:
		case s.address().Addr().Unmap().Is6() == t.address.Is6():
			return s
		case other == nil:
			other = s
		}
	}
	return other
}

// address is where a socket listens.
func (s *socket) address() netip.AddrPort {
	if s.packets != nil {
		return netip.MustParseAddrPort(s.packets.LocalAddr().String())
	}
	return netip.MustParseAddrPort(s.listener.Addr().String())
}

// guardedListener takes connections from addresses that are known.
type guardedListener struct {
	net.Listener
	known func(netip.Addr) bool
}

func (l *guardedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok && l.known(a.AddrPort().Addr()) {
			return conn, nil
		}
		conn.Close()
	}
}

// guardedPackets takes packets from addresses that are known. Requests from others are refused here, without a trace of them anywhere.
type guardedPackets struct {
	net.PacketConn
	known  func(netip.Addr) bool
	parser *sip.Parser

	mu     sync.Mutex
	second int64
	count  int
}

func (g *guardedPackets) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := g.PacketConn.ReadFrom(p)
		if err != nil {
			return n, from, err
		}
		a, ok := from.(*net.UDPAddr)
		if ok && g.known(a.AddrPort().Addr()) {
			return n, from, nil
		}
		if text := g.refusal(p[:n]); text != nil {
			_, _ = g.PacketConn.WriteTo(text, from)
		}
	}
}

// refusal is what a stranger's message is answered with; nil: with nothing.
func (g *guardedPackets) refusal(message []byte) []byte {
	now := time.Now().Unix()
	g.mu.Lock()
	if now != g.second {
		g.second, g.count = now, 0
	}
	g.count++
	many := g.count > limits.VoiceUnknown
	g.mu.Unlock()
	if many || len(message) > limits.VoiceMessage {
		return nil
	}
	parsed, err := g.parser.ParseSIP(message)
	if err != nil {
		return nil
	}
	req, ok := parsed.(*sip.Request)
	if !ok || req.IsAck() || req.Via() == nil || req.SipVersion != "SIP/2.0" {
		return nil
	}
	return []byte(sip.NewResponseFromRequest(req, sip.StatusForbidden, "Forbidden", nil).String())
}
