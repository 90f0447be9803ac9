package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/roomline/roomline/config"
)

// source says where the configuration comes from: a file, or the flags of a server that is being tried out.
type source struct {
	file, data, serverName, listen string
	dev                            bool
}

func (s *source) register(fs *flag.FlagSet) {
	fs.StringVar(&s.file, "config", "", "the configuration `FILE`; roomline config example prints one")
	fs.BoolVar(&s.dev, "dev", false, "try it out: no file, a private PostgreSQL, two users and a room")
	fs.StringVar(&s.data, "data", "data", "with --dev: the `DIR` of the data")
	fs.StringVar(&s.serverName, "server-name", "localhost", "with --dev: the server's `NAME`, the second half of user ids")
}

// load reads the configuration.
func (s *source) load(fs *flag.FlagSet) (*config.Config, error) {
	if s.file != "" {
		var misplaced []string
		fs.Visit(func(f *flag.Flag) {
			if slices.Contains([]string{"dev", "data", "listen", "server-name"}, f.Name) {
				misplaced = append(misplaced, "--"+f.Name)
			}
		})
		if len(misplaced) > 0 {
			return nil, fmt.Errorf("%s can't be used with --config; write it into the file", strings.Join(misplaced, " and "))
		}
		return config.Load(s.file)
	}
	if !s.dev {
		return nil, errors.New("give --config FILE, or --dev to try it out")
	}
	c := config.Development()
	c.ServerName, c.DataDir = s.serverName, s.data
	if s.listen != "" {
		c.Listeners[0].Address = s.listen
	}
	if err := c.ReadEnvironment(); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

func newLogger(cfg config.Log, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// reachableURL is where a client on this machine reaches a listener.
func reachableURL(l config.Listener) string {
	scheme := "http"
	if l.TLS.Enabled() {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		return scheme + "://" + l.Address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
