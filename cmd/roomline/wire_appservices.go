package main

import (
	"context"
	"net/netip"
	"slices"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/outbound"
)

// newAppservices makes the bridges' side.
func (a *app) newAppservices(ctx context.Context, allowed []netip.Prefix, processID string) (err error) {
	services := allowed
	if a.cfg.Dev { // application services are tried out on the same machine
		services = append(slices.Clone(allowed), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	a.appservices, err = appservices.New(ctx, appservices.Config{
		Registry: a.registry, Store: a.store, Journal: a.journal, Client: outbound.New(outbound.Config{Allowed: services}),
		Deliveries: outbound.New(outbound.Config{Allowed: services, Timeout: limits.AppserviceTransaction}),
		Clock:      a.clock, Log: a.log, SealKey: a.sealKey, ProcessID: processID,
		PresenceContent: presence.EventContent, PresenceAs: presence.As, EndSessions: a.sessions.DeleteAllDevices, Directory: a.directory(),
	})
	return err
}
