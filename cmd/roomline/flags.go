package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
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

// addressNote is, in the data of serve --dev, where clients reach it: for commands that make links.
const addressNote = "url"

func noteAddress(cfg *config.Config) error {
	if err := os.WriteFile(filepath.Join(cfg.DataDir, addressNote), []byte(cfg.PublicBaseURL+"\n"), 0o600); err != nil {
		return fmt.Errorf("note where the server is reached: %w", err)
	}
	return nil
}

// findServer says in the configuration of --dev where the server is reached: where the caller says, or else where it has noted.
func (s *source) findServer(cfg *config.Config) error {
	if !cfg.Dev || cfg.PublicBaseURL != "" {
		return nil
	}
	cfg.PublicBaseURL = reachableURL(cfg.Listeners[0])
	if s.listen != "" {
		return nil
	}
	note, err := os.ReadFile(filepath.Join(cfg.DataDir, addressNote))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("where the server is reached: %w", err)
	}
	cfg.PublicBaseURL = strings.TrimSpace(string(note))
	return nil
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
