package main

import (
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/roomline/roomline/clientapi/contacts"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/matrix"
)

// newContacts makes the address books.
func (a *app) newContacts(cfg *config.Config, sealKey [32]byte) (*contacts.Server, error) {
	c := contacts.Config{
		Store: a.store, Clock: a.clock, Log: a.log, SealKey: sealKey, Limiter: a.limiter,
		Domain: matrix.ServerName(cfg.ServerName), BaseURL: cfg.PublicBaseURL, UnsignedProfiles: cfg.Dev,
	}
	files, field := profileSigning(cfg)
	if !files.Enabled() {
		return contacts.New(c), nil
	}
	certificate, err := loadCertificate(files, a.log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	c.Certificate = func() (*tls.Certificate, error) { return certificate.get(nil) }
	if err := contacts.CheckSigner(certificate.current); err != nil {
		if cfg.AddressBooks.ProfileSigning.Enabled() {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		a.log.Info("no profiles for iPhones: the listener's certificate can't sign them", "error", err)
		c.Certificate = nil
	}
	return contacts.New(c), nil
}

// profileSigning is the certificate that signs profiles: the configured one, or that of a listener.
func profileSigning(cfg *config.Config) (config.TLS, string) {
	if cfg.AddressBooks.ProfileSigning.Enabled() {
		return cfg.AddressBooks.ProfileSigning, "address_books.profile_signing"
	}
	for i, l := range cfg.Listeners {
		if slices.Contains(l.Serve, config.ServeClient) && l.TLS.Enabled() {
			return l.TLS, fmt.Sprintf("listeners[%d].tls", i)
		}
	}
	return config.TLS{}, ""
}
