package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/store"
)

// drainTime is how long requests may take to finish when the server stops.
const drainTime = 10 * time.Second

// serve runs the server until it is told to stop.
func serve(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	fs.StringVar(&from.listen, "listen", "127.0.0.1:8008", "with --dev: the `ADDRESS` to listen on")
	if _, err := c.parse(fs, 0); err != nil {
		return err
	}
	cfg, err := from.load(fs)
	if err != nil {
		return err
	}
	log, err := newLogger(cfg.Log, c.stderr)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(log)
	defer stop()
	return runServer(ctx, cfg, log, c.stdout)
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. The second one ends the process at once.
func untilSignal(log *slog.Logger) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			log.Info("stopping; a second signal stops at once", "signal", s.String())
			cancel()
		case <-ctx.Done():
			return
		}
		<-signals
		os.Exit(1)
	}()
	return ctx, cancel
}

// runServer starts everything in order, waits for ctx to end, and stops everything in the opposite order.
//
// The addresses are taken first, so that a second server on them fails before it touches the database. Clients that connect
// before the server is ready wait in the sockets' queues.
func runServer(ctx context.Context, cfg *config.Config, log *slog.Logger, out io.Writer) (err error) {
	began := time.Now()
	web, err := listen(cfg, log)
	if err != nil {
		return err
	}
	defer web.close()
	health := &health{}
	web.serveAdmin(health)

	if cfg.Dev && cfg.PublicBaseURL == "" {
		cfg.PublicBaseURL = web.clientURL()
	}
	db, err := openDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	a, stopApp, err := startApp(ctx, cfg, db.store, log)
	if err != nil {
		return err
	}
	defer stopApp()
	var example exampleOrganisation
	if cfg.Dev {
		if example, err = a.seed(ctx, cfg.DataDir); err != nil {
			return fmt.Errorf("make the example organisation: %w", err)
		}
		if err := noteAddress(cfg); err != nil {
			return err
		}
	}
	web.serve(a, health)
	stopTelephony, err := a.startTelephony()
	if err != nil {
		return err
	}
	stopMediaServer, err := a.startMediaServer()
	if err != nil {
		return err
	}
	health.start(a)
	log.Info("ready", "server", cfg.ServerName, "version", version(), "listeners", web.addresses(), "took", time.Since(began).Round(time.Millisecond))
	if cfg.Dev {
		example.print(out, cfg, web.clientURL())
	}
	forgetStart()

	select {
	case <-ctx.Done():
	case err = <-web.failed:
		log.Error("a listener failed; stopping", "error", err)
	}
	health.stop()
	a.sync.Stop()
	stopTelephony()
	stopMediaServer()
	a.outbox.Stop()
	web.drain(drainTime)
	return err
}

// startApp puts the application together and runs it. stop ends it when everything that it has accepted is stored.
func startApp(ctx context.Context, cfg *config.Config, st *store.Store, log *slog.Logger) (a *app, stop func(), err error) {
	key, err := sealKey(ctx, cfg, st)
	if err != nil {
		return nil, nil, err
	}
	if a, err = newApp(ctx, cfg, st, key, log); err != nil {
		return nil, nil, err
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.run(runCtx); err != nil {
			log.Error("background work", "error", err)
		}
	}()
	return a, func() { cancel(); <-done }, nil
}

// serves lists what a listener serves; federation only if it is enabled.
func serves(cfg *config.Config, l config.Listener) []config.Service {
	return slices.DeleteFunc(slices.Clone(l.Serve), func(s config.Service) bool {
		return s == config.ServeFederation && !cfg.Federation.Enabled
	})
}

// newUUID names this process among those of the deployment.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40 // version 4: random
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
