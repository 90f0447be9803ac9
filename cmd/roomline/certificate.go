package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/roomline/roomline/config"
)

// lookAgain is how often the files of a certificate are looked at for a change.
const lookAgain = 10 * time.Second

// certificate is a listener's certificate. It is read again when its files have changed, so that a renewed one needs no
// restart.
type certificate struct {
	files config.TLS
	log   *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time // of the files that current was read from
	looked  time.Time
}

func loadCertificate(files config.TLS, log *slog.Logger) (*certificate, error) {
	c := &certificate{files: files, log: log}
	return c, c.load()
}

func (c *certificate) load() error {
	stamp, err := c.stampOfFiles()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return err
	}
	c.current, c.stamp, c.looked = &pair, stamp, time.Now()
	return nil
}

func (c *certificate) stampOfFiles() (stamp [2]time.Time, err error) {
	for i, file := range []string{c.files.Cert, c.files.Key} {
		info, err := os.Stat(file)
		if err != nil {
			return stamp, err
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}

// get is called for every TLS handshake.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookAgain {
		return c.current, nil
	}
	c.looked = time.Now()
	stamp, err := c.stampOfFiles()
	if err == nil && stamp == c.stamp {
		return c.current, nil
	}
	if err == nil {
		err = c.load()
	}
	if err != nil {
		// Certificate and key may be half replaced; the old pair goes on working until both fit.
		c.log.Warn("the changed certificate can't be read; the old one is used", "file", c.files.Cert, "error", err)
	}
	return c.current, nil
}
