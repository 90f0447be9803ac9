package main

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/roomline/roomline/internal/store"
)

// readyTime is how long the database may take to answer for the process to count as ready.
const readyTime = time.Second

// health serves what the machinery around a process asks: /healthz (is it alive?), /readyz (may it be sent requests?) and
// /metrics.
type health struct {
	serving atomic.Pointer[serving]
}

// serving is there while the process takes requests, or finishes those it has.
type serving struct {
	store    *store.Store
	metrics  http.Handler
	meetings *mediaServer
	stopping bool
}

func (h *health) start(a *app) {
	h.serving.Store(&serving{store: a.store, metrics: promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}), meetings: a.mediaServer})
}

func (h *health) stop() {
	if s := h.serving.Load(); s != nil {
		h.serving.Store(&serving{store: s.store, metrics: s.metrics, stopping: true})
	}
}

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.serving.Load()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, http.StatusMethodNotAllowed, "GET only")
	case r.URL.Path == "/healthz":
		answer(w, http.StatusOK, "alive")
	case r.URL.Path == "/readyz":
		h.ready(w, r, s)
	case r.URL.Path == "/metrics" && s != nil:
		s.metrics.ServeHTTP(w, r)
	case r.URL.Path == "/metrics":
		answer(w, http.StatusServiceUnavailable, "starting")
	default:
		answer(w, http.StatusNotFound, "here are /healthz, /readyz and /metrics")
	}
}

func (h *health) ready(w http.ResponseWriter, r *http.Request, s *serving) {
	switch {
	case s == nil:
		answer(w, http.StatusServiceUnavailable, "starting")
		return
	case s.stopping:
		answer(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	if err := s.store.Ping(ctx); err != nil {
		answer(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	// Chat goes on without them.
	if problem := s.meetings.problem(); problem != "" {
		answer(w, http.StatusOK, "ready, but "+problem)
		return
	}
	answer(w, http.StatusOK, "ready")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}

// newMetrics returns a registry with the figures of the process itself.
func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
