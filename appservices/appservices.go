// Package appservices is the homeserver's side of application services: bridges and bots that act for many users.
//
// Spec: application-service v1.19 §application-services; client-server v1.19 §third-party-networks
//
// A registration (registration.go) is a file of the operator. It gives the application service a token to act with, as its own
// user or as a user of its namespaces (authenticate.go), and us a token to ask it with (ask.go): for what it knows of third-party
// networks (thirdparty.go), and whether it is there (ping.go).
//
// Invariants:
//   - An as_token acts inside its namespaces only. Of the tokens themselves the SHA-256 is kept, and compared.
//   - An hs_token leaves in the Authorization header of requests to its own application service, and nowhere else.
//   - People see the application services of their own organisation.
//
// Start reading at Registration.
package appservices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// Config of a Server. All fields are required, but Registry may be empty.
type Config struct {
	Registry *Registry
	Store    *store.Store
	// Client asks application services.
	Client *http.Client
	Clock  matrix.Clock
	Log    *slog.Logger
	// Directory is the server's own directory of people; it may be left out.
	Directory Directory
}

// Server serves what has to do with application services. It is safe for concurrent use.
type Server struct {
	cfg Config
}

// New returns a Server, and makes the accounts that its application services act as, which belong to their domain's organisation.
func New(ctx context.Context, cfg Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Registry": cfg.Registry == nil, "Store": cfg.Store == nil, "Client": cfg.Client == nil, "Clock": cfg.Clock == nil, "Log": cfg.Log == nil,
	} {
		if missing {
			return nil, errors.New("appservices: Config." + name + " is missing")
		}
	}
	s := &Server{cfg: cfg}
	for _, as := range cfg.Registry.services {
		if err := s.ensureSender(ctx, as); err != nil {
			return nil, fmt.Errorf("application service %s: make its account: %w", as.ID, err)
		}
	}
	return s, nil
}

func (s *Server) ensureSender(ctx context.Context, as *Registration) error {
	domain, err := s.cfg.Store.GetHostedDomain(ctx, as.Sender.Domain())
	if err != nil {
		return err
	}
	as.organisation = domain.OrganisationID
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.InsertUser(ctx, store.User{
			UserID: as.Sender, OrganisationID: domain.OrganisationID, Machine: true, CreatedTS: matrix.TimestampOf(s.cfg.Clock.Now()),
		})
		return err
	})
}

// Routes are the endpoints of this package.
func (s *Server) Routes() []httpapi.Route {
	const v3 = "/_matrix/client/v3"
	get := func(path string, handle httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: http.MethodGet, Path: v3 + path, Auth: httpapi.AccessToken, Limit: ratelimit.ThirdParty, Handle: handle}
	}
	return []httpapi.Route{
		get("/thirdparty/protocols", s.getProtocols),
		get("/thirdparty/protocol/{protocol}", s.getProtocolMetadata),
		get("/thirdparty/location/{protocol}", s.queryLocationByProtocol),
		get("/thirdparty/user/{protocol}", s.queryUserByProtocol),
		get("/thirdparty/location", s.queryLocationByAlias),
		get("/thirdparty/user", s.queryUserByID),
		{Method: http.MethodPost, Path: "/_matrix/client/v1/appservice/{appserviceId}/ping", Auth: httpapi.AppserviceToken, Limit: ratelimit.ThirdParty,
			Handle: httpapi.OptionalJSON(s.pingAppservice)},
	}
}
