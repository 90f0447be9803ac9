package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
)

// checkConfig reads a configuration as serve would, with the files that it names.
func checkConfig(c *call) error {
	operands, err := c.parse(c.flags(), 1)
	if err != nil {
		return err
	}
	cfg, err := config.Load(operands[0])
	if err != nil {
		return err
	}
	if err := checkFiles(cfg); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s is right: server %s\n", operands[0], cfg.ServerName)
	return err
}

func checkFiles(cfg *config.Config) error {
	errs := []error{ratelimit.Check(limiterConfig(cfg).Classes)}
	for i, l := range cfg.Listeners {
		if l.TLS.Enabled() {
			if _, err := tls.LoadX509KeyPair(l.TLS.Cert, l.TLS.Key); err != nil {
				errs = append(errs, fmt.Errorf("listeners[%d].tls: %w", i, err))
			}
		}
	}
	if file := cfg.Federation.CAFile; file != "" {
		text, err := os.ReadFile(file)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s has no certificate in PEM form", file)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("federation.ca_file: %w", err))
		}
	}
	if _, err := appservices.Load(cfg.Appservices.Registrations, matrix.ServerName(cfg.ServerName)); err != nil {
		errs = append(errs, fmt.Errorf("appservices.registrations: %w", err))
	}
	return errors.Join(errs...)
}

func printExample(c *call) error {
	if _, err := c.parse(c.flags(), 0); err != nil {
		return err
	}
	_, err := fmt.Fprint(c.stdout, config.Example())
	return err
}
