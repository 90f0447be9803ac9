package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
)

// access is what routes says of who may ask.
var access = map[httpapi.AuthClass]string{
	httpapi.NoAuth: "anyone", httpapi.OptionalToken: "anyone", httpapi.SharedSecret: "secret", httpapi.AccessToken: "token",
	httpapi.AppserviceToken: "appservice", httpapi.SignedRequest: "server", httpapi.AppPassword: "app password",
	httpapi.IdentityToken: "identity token",
}

// listRoutes prints the route tables as the server has them, for proxies and for tests: method, path, who may ask.
func listRoutes(c *call) error {
	return c.onApp(0, func(_ context.Context, a *app, _ []string) error {
		w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		for _, table := range a.tables([]config.Service{config.ServeClient, config.ServeFederation}) {
			for _, r := range table {
				who := access[r.Auth]
				if who == "token" && clientapi.GuestMay(r.Method, r.Path) != httpapi.NoGuests {
					who = "token, guests too"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", r.Method, r.Path, who)
			}
		}
		if m := a.mediaServer; m != nil && m.child != nil {
			for _, path := range signallingPaths {
				fmt.Fprintf(w, "GET\t%s\ttoken of a meeting\n", path)
			}
		}
		return w.Flush()
	})
}
