// Package outbound is how the server asks others by HTTP when a stranger chose the address: push gateways, application services,
// OpenID providers. It keeps such requests out of the operator's own network (server-side request forgery).
//
// The address is judged when the connection is made, after every DNS answer, so that a name that changes its address between
// check and use gains nothing. Everything that is not a public unicast address is refused: private and shared networks, loopback,
// link-local with the metadata services of clouds, and the forms of IPv6 that carry an IPv4 address. Environment variables that
// name a proxy are ignored: the proxy would make the connection.
//
// Start reading at New.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	// dialPatience bounds connecting, and again the TLS handshake.
	dialPatience = 10 * time.Second
	// DefaultTimeout bounds a whole request with its answer.
	DefaultTimeout = 30 * time.Second
	// idlePerHost is how many connections to one host are kept.
	idlePerHost = 4
	idleFor     = 90 * time.Second
	maxHeaders  = 64 << 10
)

// Config of a client. The zero value reaches public addresses only.
type Config struct {
	// Allowed are networks that may be reached although they are not public.
	Allowed []netip.Prefix
	// OnlyAllowed refuses public addresses, too: for what may be said inside the operator's network alone.
	OnlyAllowed bool
	// RootCAs replace the system's authorities.
	RootCAs *x509.CertPool
	// Timeout bounds a whole request with its answer; DefaultTimeout if zero.
	Timeout time.Duration
	// Redirects is how many redirects are followed. With none a redirect is an answer like any other.
	Redirects int
	// Resolver asks other name servers than the system's; its answers are judged in the same way.
	Resolver *net.Resolver
}

// ErrRefused is in the chain of a request's error when its address must not be reached.
var ErrRefused = errors.New("outbound: this address may not be reached; what is not public has to be allowed in the configuration")

// New returns a client that reaches no address but public and allowed ones. It is safe for concurrent use.
func New(cfg Config) *http.Client {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	dialer := &net.Dialer{Timeout: dialPatience, Resolver: cfg.Resolver, ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
		return check(network, address, cfg.Allowed, cfg.OnlyAllowed)
	}}
	return &http.Client{
		Timeout: cfg.Timeout,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialPatience,
			MaxIdleConnsPerHost:    idlePerHost,
			IdleConnTimeout:        idleFor,
			MaxResponseHeaderBytes: maxHeaders,
		},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			switch {
			case cfg.Redirects == 0:
				return http.ErrUseLastResponse
			case len(via) > cfg.Redirects:
				return fmt.Errorf("outbound: more than %d redirects", cfg.Redirects)
			}
			return nil
		},
	}
}

// Read returns the body of an answer that has at most limit bytes, and closes it.
func Read(resp *http.Response, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("outbound: the answer is longer than %d bytes", limit)
	}
	return body, nil
}

// check judges the address of a connection that is about to be made.
func check(network, address string, allowed []netip.Prefix, only bool) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %s", ErrRefused, network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	ip := to.Addr().Unmap().WithZone("")
	for _, network := range allowed {
		if network.Contains(ip) {
			return nil
		}
	}
	if only || !public(ip) {
		return ErrRefused
	}
	return nil
}

// special are the networks of the IANA special-purpose registries that are not globally reachable, with those that wrap IPv4.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
	"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, text := range list {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// public reports whether an unmapped address is a unicast address of the Internet.
func public(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() {
		return false
	}
	for _, network := range special {
		if network.Contains(ip) {
			return false
		}
	}
	return true
}
