package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/roomserver/federation"
)

// tables are the routes of what a listener is configured to serve.
func (a *app) tables(services []config.Service) [][]httpapi.Route {
	var tables [][]httpapi.Route
	for _, service := range services {
		switch service {
		case config.ServeClient:
			tables = append(tables, a.client.Routes(), a.sync.Routes(), a.media.Routes(), a.appservices.Routes(), a.admin.Routes(), a.contacts.Routes(), a.scim.Routes(),
				a.outbox.Routes(), a.invitations.Routes(), a.guests.Routes(), a.branding.Routes(), a.transports.Routes, a.identity.Routes(),
				a.meetings.Routes(),
				a.moderation.Routes(),
				a.phones.Routes(),
				a.schedule.Routes(),
				a.recording.Routes(),
			)
			if !slices.Contains(services, config.ServeFederation) {
				tables = append(tables, federation.OpenIDRoutes(a.store, a.clock))
			}
		case config.ServeFederation:
			tables = append(tables, federation.Routes(a.keys, a.store, a.clock), a.meetings.FederationRoutes())
		}
	}
	return tables
}

// handler serves what a listener is configured to serve.
func (a *app) handler(services []config.Service, admin http.Handler) http.Handler {
	mux := http.NewServeMux()
	if slices.Contains(services, config.ServeAdmin) {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			mux.Handle(path, admin)
		}
	}
	if m := a.mediaServer; m != nil && m.child != nil && slices.Contains(services, config.ServeClient) {
		for _, path := range signallingPaths {
			mux.Handle("GET "+path, m.signalling(a.meetings.MayConnect))
		}
	}
	var limiter httpapi.Limiter
	if a.limiter != nil {
		limiter = a.limiter
	}
	api := httpapi.New(httpapi.Config{
		Log: a.log, Clock: a.clock, Auth: a.appservices.Authenticator(a.sessions), Limiter: limiter, Metrics: a.listenerMetrics(services),
		AppPasswords: a.contacts, IdentityTokens: a.identity, Guests: clientapi.GuestMay,
	}, a.tables(services)...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ServeMux would answer odd paths of the API with redirects, so that it is asked for its own few only.
		if !strings.HasPrefix(r.URL.Path, "/_matrix/") {
			if h, pattern := mux.Handler(r); pattern != "" {
				h.ServeHTTP(w, r)
				return
			}
		}
		api.ServeHTTP(w, r)
	})
}

// listenerMetrics tells listeners apart that serve the same.
func (a *app) listenerMetrics(services []config.Service) prometheus.Registerer {
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = string(s)
	}
	a.listeners++
	return prometheus.WrapRegistererWith(prometheus.Labels{
		"serve": strings.Join(names, "+"), "listener": fmt.Sprint(a.listeners),
	}, a.metrics)
}
