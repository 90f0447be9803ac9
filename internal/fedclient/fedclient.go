// Package fedclient asks other homeservers, and checks what they have signed. A stranger chooses which server that is, so every request goes
// through a client of internal/outbound.
//
// Spec: server-server v1.19 §resolving-server-names, §request-authentication
//
// Start reading at Client.Do; signed.go is what is signed.
package fedclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
)

// Config of a Client. All fields are required.
type Config struct {
	// HTTP reaches other servers; it is of internal/outbound.
	HTTP *http.Client
	// Sign adds the signature of one of our domains to canonical JSON.
	Sign  func(domain matrix.ServerName, canonical []byte) ([]byte, error)
	Clock matrix.Clock
}

// Client asks other servers. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
	keys keys
}

// New returns a client.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, http: cfg.HTTP}
	if transport, ok := cfg.HTTP.Transport.(*http.Transport); ok {
		// A service record names another host than the certificate does: the connection goes there, all else stays as it is.
		own := transport.Clone()
		dial := own.DialContext
		own.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if to, ok := ctx.Value(dialKey{}).(string); ok {
				address = to
			}
			return dial(ctx, network, address)
		}
		// What is kept is known by the name in the URL, of which there may be several connections.
		own.DisableKeepAlives = true
		c.http = &http.Client{Transport: own, Timeout: cfg.HTTP.Timeout, CheckRedirect: cfg.HTTP.CheckRedirect}
	}
	return c
}

type dialKey struct{}

// place is where a server is.
type place struct {
	// address stands in the URL; the certificate is for its host.
	address string
	// host is the Host header.
	host string
	// dial is where the connection goes; empty for address.
	dial string
}

// Answer is what a server says.
type Answer struct {
	Status int
	Body   []byte
}

// Do sends a request to a server. uri is path and query; content is JSON, or nil for none.
func (c *Client) Do(ctx context.Context, server matrix.ServerName, method, uri, authorization string, content []byte) (Answer, error) {
	at, err := c.resolve(ctx, server)
	if err != nil {
		return Answer{}, fmt.Errorf("find %s: %w", server, err)
	}
	if at.dial != "" {
		ctx = context.WithValue(ctx, dialKey{}, at.dial)
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+at.address+uri, bytes.NewReader(content))
	if err != nil {
		return Answer{}, err
	}
	r.Host = at.host
	if content != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return Answer{}, err
	}
	body, err := outbound.Read(resp, limits.OtherServerAnswer)
	return Answer{resp.StatusCode, body}, err
}

// resolve finds where a server is.
func (c *Client) resolve(ctx context.Context, server matrix.ServerName) (place, error) {
	if at, ok := literal(server); ok {
		return at, nil
	}
	if delegated, ok := c.wellKnown(ctx, server); ok {
		server = delegated
		if at, ok := literal(server); ok {
			return at, nil
		}
	}
	host := server.Host()
	for _, service := range []string{"matrix-fed", "matrix"} {
		_, records, err := net.DefaultResolver.LookupSRV(ctx, service, "tcp", host)
		if err != nil || len(records) == 0 {
			continue
		}
		port := strconv.Itoa(int(records[0].Port))
		return place{address: net.JoinHostPort(host, port), host: host, dial: net.JoinHostPort(strings.TrimSuffix(records[0].Target, "."), port)}, nil
	}
	return place{address: host + ":8448", host: host}, nil
}

// literal is where a server is whose name says it: an address, or a host with a port.
func literal(server matrix.ServerName) (place, bool) {
	host, port := server.Host(), server.Port()
	if port != "" {
		return place{address: string(server), host: string(server)}, true
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return place{address: host + ":8448", host: host}, true
	}
	return place{}, false
}

// wellKnown is the server that a domain names in its place.
func (c *Client) wellKnown(ctx context.Context, server matrix.ServerName) (matrix.ServerName, bool) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server.Host()+"/.well-known/matrix/server", nil)
	if err != nil {
		return "", false
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return "", false
	}
	body, err := outbound.Read(resp, limits.OtherServerAnswer)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", false
	}
	var document struct {
		Server string `json:"m.server"`
	}
	if json.Unmarshal(body, &document) != nil {
		return "", false
	}
	name, err := matrix.ParseServerName(document.Server)
	return name, err == nil
}
