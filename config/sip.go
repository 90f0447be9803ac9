package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SIP is how phone calls are carried: what all trunks have in common. It is read by the process that carries them: the server with mode in_process,
// or roomline-telephony.
type SIP struct {
	// Listen are the addresses that SIP is spoken at. Each trunk needs one of its transport. Empty: no calls are carried by this process.
	Listen []SIPListen `yaml:"listen"`

	// Address is the IP address at which the networks reach this machine. Empty: the one that the way to a trunk's server begins at, which
	// is wrong behind a NAT.
	Address string `yaml:"address" example:"203.0.113.7"`

	// MediaAddress is the one that audio is sent to. Empty: address.
	MediaAddress string `yaml:"media_address"`

	// FirstPort and last_port are the UDP ports for audio: two for each call. The networks have to reach them.
	FirstPort int `yaml:"first_port"`

	// LastPort is the last of them.
	LastPort int `yaml:"last_port"`

	// TLS is the certificate that is shown by the transport tls.
	TLS TLS `yaml:"tls"`

	// CAFile holds the certificate authorities (PEM) that the networks' certificates are checked with, in place of the system's.
	CAFile string `yaml:"ca_file"`

	// MaxCalls is how many calls there may be at a time; more are told to try later.
	MaxCalls int `yaml:"max_calls"`

	// MediaTimeout is for how long a phone may send nothing before the call is over.
	MediaTimeout time.Duration `yaml:"media_timeout"`

	// Announcements are folders of WAV files (16 bits, 8 to 96 kHz) by language: en, fr, nl, de. docs/trunks.md has the names of the files.
	Announcements map[string]string `yaml:"announcements" example:"{fr: /etc/roomline/announcements/fr}"`

	// Speech is a program with its arguments that speaks what there is no file for, and names: it reads a text, and writes a WAV file to its
	// standard output. {language} in them is en, fr, nl or de. Each text is spoken once. Empty: tones; in dev mode, espeak-ng if it is installed.
	Speech []string `yaml:"speech" example:"[espeak-ng, -v, \"{language}\", --stdin, --stdout]"`
}

// SIPListen is an address for SIP.
type SIPListen struct {
	// Transport is udp, tcp or tls.
	Transport string `yaml:"transport" example:"tls"`

	// Address is host:port; 5060 is usual, 5061 for tls.
	Address string `yaml:"address" example:"\":5061\""`
}

// TrunkSIP is how a network is reached by SIP.
type TrunkSIP struct {
	// Server is where calls go to, host or host:port. Empty: this process does not carry the trunk's calls.
	Server string `yaml:"server" example:"sip.carrier.example"`

	// Transport is udp, tcp or tls. Without tls everybody on the way can read who calls whom, and hear what is said.
	Transport string `yaml:"transport" example:"tls"`

	// Username and password are for networks that ask for them.
	Username string `yaml:"username"`

	// Password belongs to username.
	Password Secret `yaml:"password"`

	// Register tells the network where this machine is, as a phone does. Networks that know it by its address don't want that.
	Register bool `yaml:"register"`

	// Domain is what is behind the @ in our addresses. Empty: the server's host.
	Domain string `yaml:"domain"`

	// AllowedAddresses are the addresses or networks (CIDR) of the provider, besides those of server: calls and audio are taken from nowhere else.
	AllowedAddresses []string `yaml:"allowed_addresses" example:"[198.51.100.0/28]"`

	// Codecs are pcma, pcmu and g722, the favourite first. Empty: g722, pcma, pcmu.
	Codecs []string `yaml:"codecs" example:"[g722, pcma, pcmu]"`

	// SRTP is off, optional or required: whether audio is encrypted. It needs the transport tls, as the keys are in what is signalled. Empty:
	// optional with tls, off otherwise.
	SRTP string `yaml:"srtp" example:"required"`

	// MaxCalls is how many calls the trunk takes at a time. 0: max_calls.
	MaxCalls int `yaml:"max_calls" example:"30"`
}

// Security is srtp as it is meant.
func (t *TrunkSIP) Security() string {
	switch {
	case t.SRTP != "":
		return t.SRTP
	case t.Transport == "tls":
		return "optional"
	}
	return "off"
}

// Carries reports whether this process is to carry calls.
func (v *Voice) Carries() bool {
	return len(v.SIP.Listen) > 0 && slices.ContainsFunc(v.Trunks, func(t Trunk) bool { return t.SIP.Server != "" }) || v.ByLiveKit()
}

// ByLiveKit reports whether LiveKit SIP has a trunk.
func (v *Voice) ByLiveKit() bool {
	return slices.ContainsFunc(v.Trunks, func(t Trunk) bool { return t.LiveKit.Enabled() })
}

func defaultSIP() SIP {
	return SIP{FirstPort: 20000, LastPort: 20999, MaxCalls: 200, MediaTimeout: 30 * time.Second}
}

var (
	sipTransports = []string{"udp", "tcp", "tls"}
	sipCodecs     = []string{"pcmu", "pcma", "g722"}
)

func (s *SIP) check(l *complaints, trunks []Trunk) {
	const field = "telephony.voice.sip."
	for _, one := range s.Listen {
		if !slices.Contains(sipTransports, one.Transport) {
			l.add(field+"listen.transport", "must be udp, tcp or tls, not %q", one.Transport)
		}
		if _, port, err := net.SplitHostPort(one.Address); err != nil || !isPort(port) {
			l.add(field+"listen.address", "must be host:port, not %q", one.Address)
		}
		if one.Transport == "tls" && (s.TLS.Cert == "" || s.TLS.Key == "") {
			l.add(field+"tls", "needs both cert and key for the transport tls")
		}
	}
	for name, text := range map[string]string{"address": s.Address, "media_address": s.MediaAddress} {
		if a, err := netip.ParseAddr(text); text != "" && (err != nil || a.IsUnspecified() || a.Zone() != "") {
			l.add(field+name, "must be an IP address such as 203.0.113.7, not %q", text)
		}
	}
	if s.FirstPort < 1024 || s.LastPort > 65535 || s.LastPort-s.FirstPort < 3 {
		l.add(field+"first_port", "and last_port must be ports from 1024 to 65535, some apart, not %d and %d", s.FirstPort, s.LastPort)
	}
	if s.MaxCalls < 1 || s.MaxCalls > 1000 {
		l.add(field+"max_calls", "must be between 1 and 1000, not %d", s.MaxCalls)
	}
	if t := s.MediaTimeout; t < time.Second || t > 10*time.Minute {
		l.add(field+"media_timeout", "must be between a second and 10 minutes, not %s", t)
	}
	for language, folder := range s.Announcements {
		if !slices.Contains([]string{"en", "fr", "nl", "de"}, language) || folder == "" {
			l.add(field+"announcements", "must be folders by en, fr, nl and de, not %q", language)
		}
	}
	if len(s.Speech) > 0 && s.Speech[0] == "" {
		l.add(field+"speech", "must begin with a program")
	}
	for i := range trunks {
		trunks[i].SIP.check(l, fmt.Sprintf("telephony.voice.trunks[%d].sip.", i), s.Listen)
	}
}

func (t *TrunkSIP) check(l *complaints, field string, listen []SIPListen) {
	if t.Server == "" {
		return
	}
	host := t.Server
	if h, port, err := net.SplitHostPort(t.Server); err == nil {
		if host = h; !isPort(port) {
			l.add(field+"server", "must be host or host:port, not %q", t.Server)
		}
	}
	if host == "" || strings.ContainsAny(host, " /@;?") {
		l.add(field+"server", "must be host or host:port, not %q", t.Server)
	}
	if !slices.Contains(sipTransports, t.Transport) {
		l.add(field+"transport", "must be udp, tcp or tls, not %q", t.Transport)
	} else if len(listen) > 0 && !slices.ContainsFunc(listen, func(s SIPListen) bool { return s.Transport == t.Transport }) {
		l.add(field+"transport", "needs an address of its transport in telephony.voice.sip.listen: %q", t.Transport)
	}
	if t.Register && (t.Username == "" || t.Password == "") {
		l.add(field+"register", "needs username and password")
	}
	for _, text := range t.AllowedAddresses {
		if _, err := Network(text); err != nil {
			l.add(field+"allowed_addresses", "must be addresses or networks such as 198.51.100.0/28, not %q", text)
		}
	}
	for _, c := range t.Codecs {
		if !slices.Contains(sipCodecs, c) {
			l.add(field+"codecs", "must be pcmu, pcma and g722, not %q", c)
		}
	}
	switch {
	case !slices.Contains([]string{"", "off", "optional", "required"}, t.SRTP):
		l.add(field+"srtp", "must be off, optional or required, not %q", t.SRTP)
	case t.SRTP != "" && t.SRTP != "off" && t.Transport != "tls":
		l.add(field+"srtp", "needs the transport tls: the keys are in what is signalled")
	}
	if t.MaxCalls < 0 || t.MaxCalls > 1000 {
		l.add(field+"max_calls", "must be between 0 and 1000, not %d", t.MaxCalls)
	}
}
