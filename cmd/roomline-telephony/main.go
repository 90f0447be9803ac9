// Command roomline-telephony is the telephony bridge as a program of its own. It runs at the telecom's side, takes messages from the server
// and gives them to a mail server and to a short message centre, and carries phone calls. See docs/telephony.md and docs/phones.md.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/bot"
	"github.com/roomline/roomline/cmd/internal/transports"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

const usage = `usage: roomline-telephony --config FILE

It takes messages from a Roomline server, and sends them as e-mails and short messages; and it carries phone calls into meetings. The file has the section
telephony of the server's configuration, and homeserver, as_token, hs_token and listen. roomline telephony registration
prints the registration that the tokens are from.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

// run returns the exit code.
func run(ctx context.Context, args []string, errs io.Writer) int {
	flags := flag.NewFlagSet("roomline-telephony", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { fmt.Fprint(errs, usage) }
	file := flags.String("config", "", "")
	err := flags.Parse(args) // which prints the usage if it fails
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || *file == "":
		fmt.Fprint(errs, usage)
		return 2
	}
	cfg, err := config.LoadBridge(*file)
	if err == nil {
		err = serve(ctx, cfg, newLogger(cfg.Log, errs))
	}
	if err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}

func newLogger(cfg config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // the configuration has checked it
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// serve works until ctx ends.
func serve(ctx context.Context, cfg *config.Bridge, log *slog.Logger) error {
	set, err := transports.New(&cfg.Telephony, nil, log)
	if err != nil {
		return err
	}
	client, err := homeserver(cfg.CAFile)
	if err != nil {
		return err
	}
	asks, err := bot.New(bot.Config{Homeserver: cfg.Homeserver, Token: cfg.ASToken.Reveal(), HTTP: client, Log: log})
	if err != nil {
		return err
	}
	server := &telephony.Client{URL: cfg.Homeserver, Token: cfg.ASToken.Reveal(), HTTP: client}
	calls, err := transports.Voice(&cfg.Telephony.Voice, server.Post, certificateOf(cfg.Telephony.Voice.SIP.TLS), nil, false, log)
	if err != nil {
		return err
	}
	if len(set.ByMedium) == 0 && calls == nil {
		return errors.New("there is nothing to do: neither e-mail nor short messages nor phone calls are configured")
	}
	bridge, err := telephony.New(telephony.Config{
		Homeserver: cfg.Homeserver, Token: cfg.ASToken.Reveal(), HSToken: cfg.HSToken.Reveal(), HTTP: client, Transports: set.ByMedium,
		Events: asks.Transaction, Log: log,
	})
	if err != nil {
		return err
	}
	if cfg.Listen != "" {
		stop, err := listen(cfg.Listen, handler(bridge, set.Routes, log), log)
		if err != nil {
			return err
		}
		defer stop()
	}
	log.Info("ready", "homeserver", cfg.Homeserver, "listen", cfg.Listen, "media", len(set.ByMedium), "calls", calls != nil)
	if calls == nil {
		return bridge.Run(ctx)
	}
	var parts errgroup.Group
	parts.Go(func() error { return calls.Run(ctx) })
	parts.Go(func() error { return bridge.Run(ctx) })
	return parts.Wait()
}

// certificateOf is the certificate in files, which are read whenever it is shown: connections of trunks are few, and a renewed one needs no restart.
func certificateOf(files config.TLS) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !files.Enabled() {
		return nil
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(files.Cert, files.Key)
		return &c, err
	}
}

// homeserver is a client that reaches the server, which may be anywhere.
func homeserver(caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport}, nil
}

// handler serves what the server asks, and what gateways do.
func handler(bridge *telephony.Bridge, routes []httpapi.Route, log *slog.Logger) http.Handler {
	gateway := httpapi.New(httpapi.Config{Log: log, Clock: matrix.SystemClock{}}, routes)
	own := bridge.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_roomline/") {
			gateway.ServeHTTP(w, r)
			return
		}
		own.ServeHTTP(w, r)
	})
}

func listen(address string, h http.Handler, log *slog.Logger) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the listener failed", "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // what is still open then is closed with the process
	}, nil
}
