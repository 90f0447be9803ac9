// Package federation serves the server-server API. So far that is the publishing of our signing keys, without which nobody can verify an
// event that we signed.
//
// Spec: server-server v1.19 §publishing-keys
package federation

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/roomserver/signing"
)

// Routes is the table of the server-server endpoints, in the spec's order.
func Routes(keys *signing.Keys, clock matrix.Clock) []httpapi.Route {
	s := &server{keys: keys, clock: clock}
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/_matrix/key/v2/server", Auth: httpapi.NoAuth, Handle: s.serverKeys},
	}
}

type server struct {
	keys  *signing.Keys
	clock matrix.Clock
}
