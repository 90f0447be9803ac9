package transports

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"

	"github.com/roomline/roomline/appservices/telephony/voice"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/sfu"
)

// Asking sends a request to the server: telephony.Client has it.
type Asking func(ctx context.Context, path string, request, answer any) error

// Voice makes what carries the phone calls of a configuration; nil: this process carries none.
//
// certificate is the one of the configuration's files, as the caller keeps it. development speaks with espeak-ng, if it is there.
//
// livekit is asked where LiveKit SIP has trunks.
func Voice(c *config.Voice, post Asking, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), livekit *sfu.Client, development bool,
	log *slog.Logger) (*voice.Bridge, error) {
	if !c.Carries() {
		return nil, nil
	}
	if c.ByLiveKit() && livekit == nil {
		return nil, errors.New("telephony.voice.trunks.livekit: trunks of LiveKit SIP are for the server itself (telephony.mode in_process), and need meetings.livekit")
	}
	cfg := voice.Config{
		Post: post, Log: log, SIP: livekit, FirstPort: c.SIP.FirstPort, LastPort: c.SIP.LastPort, MaxCalls: c.SIP.MaxCalls, MediaTimeout: c.SIP.MediaTimeout,
		Announcements: c.SIP.Announcements, Speech: c.SIP.Speech, TLS: &tls.Config{GetCertificate: certificate, MinVersion: tls.VersionTLS12},
	}
	if development && len(cfg.Speech) == 0 {
		if _, err := exec.LookPath("espeak-ng"); err == nil {
			cfg.Speech = []string{"espeak-ng", "-v", "{language}", "--stdin", "--stdout"}
		}
	}
	var err error
	if cfg.TLS.RootCAs, err = authorities(c.SIP.CAFile); err != nil {
		return nil, fmt.Errorf("telephony.voice.sip.ca_file: %w", err)
	}
	for _, one := range []struct {
		text string
		to   *netip.Addr
	}{{c.SIP.Address, &cfg.Address}, {c.SIP.MediaAddress, &cfg.MediaAddress}} {
		if one.text != "" {
			if *one.to, err = netip.ParseAddr(one.text); err != nil {
				return nil, fmt.Errorf("telephony.voice.sip.address: %w", err)
			}
		}
	}
	for _, l := range c.SIP.Listen {
		cfg.Listen = append(cfg.Listen, voice.Listen{Transport: l.Transport, Address: l.Address})
	}
	for i := range c.Trunks {
		if c.Trunks[i].SIP.Server == "" && !c.Trunks[i].LiveKit.Enabled() {
			continue
		}
		t, err := trunkOf(&c.Trunks[i])
		if err != nil {
			return nil, fmt.Errorf("telephony.voice.trunks[%d].sip.allowed_addresses: %w", i, err)
		}
		cfg.Trunks = append(cfg.Trunks, t)
	}
	return voice.New(cfg)
}

func trunkOf(t *config.Trunk) (voice.Trunk, error) {
	s := &t.SIP
	out := voice.Trunk{
		Name: t.Name, Server: s.Server, Transport: s.Transport, Username: s.Username, Password: s.Password.Reveal(), Register: s.Register, Domain: s.Domain,
		Codecs: s.Codecs, SRTP: s.Security(), Caller: t.Caller, MaxCalls: s.MaxCalls, LiveKit: t.LiveKit.Enabled(), OutboundTrunk: t.LiveKit.OutboundTrunk,
	}
	if len(out.Codecs) == 0 {
		out.Codecs = []string{"g722", "pcma", "pcmu"}
	}
	for _, text := range s.AllowedAddresses {
		network, err := config.Network(text)
		if err != nil {
			return out, err
		}
		out.Allowed = append(out.Allowed, network)
	}
	for _, n := range t.Numbers {
		out.Numbers = append(out.Numbers, voice.Number{Number: n.Number, Country: n.Country})
	}
	return out, nil
}
