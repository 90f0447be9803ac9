package config

import (
	"fmt"
	"net"
	"slices"
)

// Listener is an address that the server listens on.
type Listener struct {
	// Address is host:port. An empty host means all addresses.
	Address string `yaml:"address" example:"\":8448\""`

	// TLS are the certificate and key files (PEM). They are read again when they change. Without them the listener
	// speaks plain HTTP, which belongs behind a reverse proxy.
	TLS TLS `yaml:"tls"`

	// Serve lists what is served: client (the client-server API), federation (the server-server API and signing keys) and
	// admin (/healthz, /readyz, /metrics: for an internal address).
	Serve []Service `yaml:"serve" example:"[client, federation]"`
}

// TLS names the files of a certificate.
type TLS struct {
	// Cert is the certificate with its chain.
	Cert string `yaml:"cert" example:"/etc/roomline/tls.crt"`

	// Key is the private key.
	Key string `yaml:"key" example:"/etc/roomline/tls.key"`
}

// Enabled reports whether there is a certificate.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Service is something a listener serves.
type Service string

// The services.
const (
	ServeClient     Service = "client"
	ServeFederation Service = "federation"
	ServeAdmin      Service = "admin"
)

func (c *Config) checkListeners(l *complaints) {
	if len(c.Listeners) == 0 {
		l.add("listeners", "at least one is needed, such as {address: \"127.0.0.1:8008\", serve: [client]}")
		return
	}
	client := false
	for i, listener := range c.Listeners {
		field := fmt.Sprintf("listeners[%d]", i)
		if _, port, err := net.SplitHostPort(listener.Address); err != nil || !isPort(port) {
			l.add(field+".address", "must be host:port, not %q", listener.Address)
		}
		if (listener.TLS.Cert == "") != (listener.TLS.Key == "") {
			l.add(field+".tls", "needs both cert and key")
		}
		if len(listener.Serve) == 0 {
			l.add(field+".serve", "must name at least one of client, federation, admin")
		}
		for j, service := range listener.Serve {
			if !slices.Contains([]Service{ServeClient, ServeFederation, ServeAdmin}, service) {
				l.add(fmt.Sprintf("%s.serve[%d]", field, j), "must be client, federation or admin, not %q", service)
			}
			client = client || service == ServeClient
		}
	}
	if !client {
		l.add("listeners", "one of them must serve client")
	}
}
