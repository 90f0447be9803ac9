// Package transports makes the ways to mailboxes and phones that a configuration names, for the server and for the telephony bridge as a
// program of its own.
package transports

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/mail"
	"github.com/roomline/roomline/appservices/telephony/sms"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/outbox"
)

// Set is what messages are sent with.
type Set struct {
	// ByMedium are email and msisdn, those of them that are configured.
	ByMedium map[string]telephony.Transport
	// Routes are what gateways ask: they tell what became of messages.
	Routes []httpapi.Route
}

// New makes what is configured.
func New(t *config.Telephony, log *slog.Logger) (Set, error) {
	set := Set{ByMedium: map[string]telephony.Transport{}}
	if t.Email.SMTP.Address != "" {
		m, err := newMail(&t.Email.SMTP, log)
		if err != nil {
			return set, fmt.Errorf("telephony.email.smtp: %w", err)
		}
		set.ByMedium[outbox.Email] = m
	}
	if t.SMS.Transport != "" {
		s, err := newSMS(&t.SMS, log)
		if err != nil {
			return set, fmt.Errorf("telephony.sms: %w", err)
		}
		set.ByMedium[outbox.Msisdn], set.Routes = s, s.Routes()
	}
	return set, nil
}

// authorities reads a file of certificate authorities; nil for no file.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

var securities = map[string]mail.Security{"starttls": mail.StartTLS, "implicit": mail.ImplicitTLS, "none": mail.Plain}

func newMail(c *config.SMTP, log *slog.Logger) (telephony.Transport, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", port, err)
	}
	pool, err := authorities(c.CAFile)
	if err != nil {
		return nil, err
	}
	writer, err := mail.NewWriter(mail.WriterConfig{From: c.From})
	if err != nil {
		return nil, err
	}
	return mail.New(mail.Config{
		Writer: writer, Host: host, Port: number, Security: securities[c.TLS], CAs: pool, Username: c.Username, Password: c.Password.Reveal(), Log: log,
	})
}

func newSMS(c *config.SMS, log *slog.Logger) (*sms.Transport, error) {
	cfg := sms.Config{Sender: c.Sender, Unicode: c.Unicode, Log: log}
	if c.Transport == "webhook" {
		client, err := gatewayClient(&c.Webhook)
		if err != nil {
			return nil, err
		}
		cfg.Gateway = &sms.Gateway{URL: c.Webhook.URL, Secret: c.Webhook.Secret.Reveal(), ReceiptSecret: c.Webhook.ReceiptSecret.Reveal(), Client: client}
		return sms.New(cfg)
	}
	p := &c.SMPP
	cfg.SMPP = &sms.SMPP{
		Address: p.Address, SystemID: p.SystemID, Password: p.Password.Reveal(), SystemType: p.SystemType, TwoConnections: p.TwoConnections,
		Timeout: p.Timeout, EnquireLink: p.EnquireLink, Window: p.Window, Rate: p.Rate, ReceiptIDs: sms.IDForm(p.ReceiptIDs),
	}
	if p.TLS {
		pool, err := authorities(p.CAFile)
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(p.Address)
		if err != nil {
			return nil, err
		}
		cfg.SMPP.TLS = &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return sms.New(cfg)
}

// gatewayClient reaches a gateway that may be inside the operator's network.
func gatewayClient(c *config.Webhook) (*http.Client, error) {
	var cfg outbound.Config
	for _, text := range c.AllowedAddresses {
		network, err := config.Network(text)
		if err != nil {
			return nil, fmt.Errorf("webhook.allowed_addresses: %w", err)
		}
		cfg.Allowed = append(cfg.Allowed, network)
	}
	return outbound.New(cfg), nil
}
