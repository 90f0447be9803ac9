// Package federation serves the server-server API. So far that is the publishing of our signing keys, without which nobody can verify an
// event that we signed, and telling services whom an OpenID token belongs to.
//
// Spec: server-server v1.19 §publishing-keys, §openid
package federation

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/signing"
)

// Routes is the table of the server-server endpoints, in the spec's order.
func Routes(keys *signing.Keys, st *store.Store, clock matrix.Clock) []httpapi.Route {
	s := &server{keys: keys, clock: clock}
	return append([]httpapi.Route{
		{Method: http.MethodGet, Path: "/_matrix/key/v2/server", Auth: httpapi.NoAuth, Handle: s.serverKeys},
	}, OpenIDRoutes(st, clock)...)
}

// OpenIDRoutes are those of Routes that are good for something without federation: widgets and call services ask them, which are no
// servers.
func OpenIDRoutes(st *store.Store, clock matrix.Clock) []httpapi.Route {
	s := &server{store: st, clock: clock}
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/_matrix/federation/v1/openid/userinfo", Auth: httpapi.NoAuth, Limit: ratelimit.Read, Handle: s.exchangeOpenIDToken},
	}
}

type server struct {
	keys  *signing.Keys
	store *store.Store
	clock matrix.Clock
}
