// Package transports makes the transports of the telephony bridge of a configuration, for the server and for the bridge as a program of its own.
package transports

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/roomline/roomline/appservices/telephony/sms"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/outbound"
)

// gatewayPatience bounds a request to a gateway: less than what the server waits for.
const gatewayPatience = 30 * time.Second

// SMS gives short messages to the network that a configuration describes.
func SMS(c *config.SMS, log *slog.Logger) (*sms.Transport, error) {
	cfg := sms.Config{Sender: c.Sender, Unicode: c.Unicode, Log: log}
	switch c.Transport {
	case "smpp":
		secure, err := tlsOf(&c.SMPP)
		if err != nil {
			return nil, err
		}
		cfg.SMPP = &sms.SMPP{
			Address: c.SMPP.Address, SystemID: c.SMPP.SystemID, Password: string(c.SMPP.Password), SystemType: c.SMPP.SystemType,
			TwoConnections: c.SMPP.TwoConnections, TLS: secure, Timeout: c.SMPP.Timeout, EnquireLink: c.SMPP.EnquireLink,
			Window: c.SMPP.Window, Rate: c.SMPP.Rate, ReceiptIDs: sms.IDForm(c.SMPP.ReceiptIDs),
		}
	case "webhook":
		reach := outbound.Config{Timeout: gatewayPatience}
		for _, text := range c.Webhook.AllowedNetworks {
			network, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("webhook.allowed_networks: %w", err)
			}
			reach.Allowed = append(reach.Allowed, network)
		}
		cfg.Gateway = &sms.Gateway{
			URL: c.Webhook.URL, Secret: string(c.Webhook.Secret), ReceiptSecret: string(c.Webhook.ReceiptSecret), Client: outbound.New(reach),
		}
	}
	return sms.New(cfg)
}

// tlsOf is how the connection to a centre is encrypted; nil: it is not.
func tlsOf(c *config.SMPP) (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("smpp.address: %w", err)
	}
	secure := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("smpp.ca_file: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("smpp.ca_file: there is no certificate in %s", c.CAFile)
		}
	}
	return secure, nil
}
