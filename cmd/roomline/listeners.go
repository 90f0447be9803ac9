package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/roomline/roomline/config"
)

// Bounds of a connection; those of a request's body and answer belong to httpapi.
const (
	headerTime     = 10 * time.Second
	idleTime       = 2 * time.Minute
	maxHeaderBytes = 256 << 10 // far more than what httpapi accepts, so that it is httpapi that answers
)

// web is all listeners.
type web struct {
	cfg     *config.Config
	log     *slog.Logger
	doors   []*door
	trusted []netip.Prefix
	failed  chan error
}

// door is one listener.
type door struct {
	config.Listener
	services []config.Service
	socket   net.Listener
	server   *http.Server
	serving  bool
}

// listen takes all addresses and reads the certificates.
func listen(cfg *config.Config, log *slog.Logger) (*web, error) {
	w := &web{cfg: cfg, log: log, failed: make(chan error, len(cfg.Listeners))}
	for _, text := range cfg.TrustedProxies {
		network, err := config.Network(text)
		if err != nil {
			return nil, fmt.Errorf("trusted_proxies: %w", err)
		}
		w.trusted = append(w.trusted, network)
	}
	for i, l := range cfg.Listeners {
		if err := w.open(l); err != nil {
			w.close()
			return nil, fmt.Errorf("listeners[%d]: %w", i, err)
		}
	}
	return w, nil
}

func (w *web) open(l config.Listener) error {
	socket, err := net.Listen("tcp", l.Address)
	if err != nil {
		return err
	}
	d := &door{Listener: l, services: serves(w.cfg, l), socket: socket}
	d.Address = socket.Addr().String() // the port may have been left to the system
	d.server = &http.Server{
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		// What net/http has to say is about connections, and names addresses.
		ErrorLog: stdlog.New(io.Discard, "", 0),
	}
	w.doors = append(w.doors, d)
	if !l.TLS.Enabled() {
		return nil
	}
	certificate, err := loadCertificate(l.TLS, w.log)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	d.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.get}
	return nil
}

// adminOnly reports whether a listener can be served before the application is there.
func (d *door) adminOnly() bool { return len(d.services) == 1 && d.services[0] == config.ServeAdmin }

// serveAdmin serves the listeners that serve admin only.
func (w *web) serveAdmin(admin http.Handler) {
	for _, d := range w.doors {
		if d.adminOnly() {
			w.start(d, admin)
		}
	}
}

// serve serves all others.
func (w *web) serve(a *app, admin http.Handler) {
	for _, d := range w.doors {
		if !d.adminOnly() {
			w.start(d, w.behindProxies(a.handler(d.services, admin)))
		}
	}
}

func (w *web) start(d *door, h http.Handler) {
	d.server.Handler = h
	d.serving = true
	go func() {
		var err error
		if d.TLS.Enabled() {
			err = d.server.ServeTLS(d.socket, "", "")
		} else {
			err = d.server.Serve(d.socket)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			w.failed <- fmt.Errorf("listen on %s: %w", d.Address, err)
		}
	}()
}

// drain accepts no more requests and waits for those under way.
func (w *web) drain(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all sync.WaitGroup
	for _, d := range w.doors {
		all.Go(func() {
			if err := d.server.Shutdown(ctx); err != nil {
				w.log.Warn("requests were broken off", "listener", d.Address, "error", err)
			}
		})
	}
	all.Wait()
	w.close()
}

func (w *web) close() {
	for _, d := range w.doors {
		d.server.Close()
		d.socket.Close()
	}
}

func (w *web) addresses() []string {
	var all []string
	for _, d := range w.doors {
		all = append(all, reachableURL(d.Listener))
	}
	return all
}

// clientURL is where the client API is reached from this machine.
func (w *web) clientURL() string {
	for _, d := range w.doors {
		if slices.Contains(d.services, config.ServeClient) {
			return reachableURL(d.Listener)
		}
	}
	return ""
}

// behindProxies makes a request that came through trusted proxies look as if it came from the client itself: the last address
// of X-Forwarded-For that is not one of the proxies.
func (w *web) behindProxies(h http.Handler) http.Handler {
	if len(w.trusted) == 0 {
		return h
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if client, ok := w.forwardedFor(r); ok {
			r.RemoteAddr = net.JoinHostPort(client.String(), "0")
		}
		h.ServeHTTP(rw, r)
	})
}

func (w *web) forwardedFor(r *http.Request) (client netip.Addr, ok bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !w.trusts(peer.Addr()) {
		return client, false
	}
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(chain) {
		address, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return client, ok // from here on it is the client's invention
		}
		client, ok = address.Unmap(), true
		if !w.trusts(client) {
			break
		}
	}
	return client, ok
}

func (w *web) trusts(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(w.trusted, func(n netip.Prefix) bool { return n.Contains(address) })
}
