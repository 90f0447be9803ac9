// Package appservices is the homeserver's side of application services: bridges and bots that act for many users.
//
// Spec: application-service v1.19 §application-services; client-server v1.19 §third-party-networks
//
// A registration (registration.go) is a file of the operator, or was given to the admin API (admin.go, manage.go); registry.go has them all. It
// gives the application service a token to act with, as its own user or as a user of its namespaces (authenticate.go), and us a token to
// speak to it with (ask.go): to tell it what happens (deliver.go; interest.go decides what, transaction.go writes it, with ephemeral.go and devices.go), to ask what it knows
// of third-party networks (thirdparty.go), users and aliases (query.go), and whether it is there (ping.go). A view (view.go) narrows what it is
// told and may do; access.go applies it to requests.
//
// Invariants:
//   - An as_token acts inside its namespaces only. Of the tokens themselves the SHA-256 is kept, and compared.
//   - An hs_token leaves in the Authorization header of requests to its own application service, and nowhere else. In the database it is
//     encrypted.
//   - An application service belongs to an organisation. It is told of rooms in which people of the organisation or its own users are, and
//     people see those of their own organisation. Only the operator registers one for the whole deployment.
//   - A transaction is stored before it is sent, and sent until it is acknowledged; then the next one is made.
//   - What a service does and is told is counted for the audit log.
//
// Start reading at Registration.
package appservices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/seal"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// Config of a Server. All fields but Directory are required; Registry may be empty.
type Config struct {
	Registry *Registry
	Store    *store.Store
	Journal  *journal.Journal
	// Client asks application services, Deliveries tells them: it waits longer.
	Client, Deliveries *http.Client
	Clock              matrix.Clock
	Log                *slog.Logger
	// SealKey encrypts hs_tokens in the database.
	SealKey [32]byte
	// ProcessID tells this process from others.
	ProcessID string
	// PresenceContent makes the content of m.presence of what is stored of a user's presence.
	PresenceContent func(stored []byte, now matrix.Timestamp) []byte
	// PresenceAs is what is stored of a user's presence, as far as people of a linked organisation may see it; nil: they see nothing.
	PresenceAs func(stored []byte, sight store.PresenceSight) []byte
	// EndSessions signs all devices of a user out.
	EndSessions func(ctx context.Context, user matrix.UserID) error
	// Directory is the server's own directory of people; it may be left out.
	Directory Directory
}

// Server serves what has to do with application services. It is safe for concurrent use.
type Server struct {
	cfg      Config
	sealer   seal.Sealer
	accesses accesses
	// changed says that registrations have to be read again, reassign that deliveries have to be looked at.
	changed, reassign chan struct{}

	mu      sync.Mutex
	workers map[string]*worker
}

// New returns a Server, and makes the accounts that its application services act as, which belong to their domain's organisation. It is
// called before the journal runs.
func New(ctx context.Context, cfg Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Registry": cfg.Registry == nil, "Store": cfg.Store == nil, "Journal": cfg.Journal == nil, "Client": cfg.Client == nil,
		"Deliveries": cfg.Deliveries == nil, "Clock": cfg.Clock == nil, "Log": cfg.Log == nil, "ProcessID": cfg.ProcessID == "",
		"PresenceContent": cfg.PresenceContent == nil, "EndSessions": cfg.EndSessions == nil,
	} {
		if missing {
			return nil, errors.New("appservices: Config." + name + " is missing")
		}
	}
	s := &Server{cfg: cfg, changed: make(chan struct{}, 1), reassign: make(chan struct{}, 1)}
	var err error
	if s.sealer, err = seal.New(cfg.SealKey, "roomline hs_token"); err != nil {
		return nil, fmt.Errorf("appservices: seal key: %w", err)
	}
	for _, as := range cfg.Registry.files {
		if err := s.ensureSender(ctx, as); err != nil {
			return nil, fmt.Errorf("application service %s: make its account: %w", as.ID, err)
		}
	}
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	cfg.Journal.Observe(s.observe)
	return s, nil
}

// ensureSender makes the account of an application service of a file.
func (s *Server) ensureSender(ctx context.Context, as *Registration) error {
	if n, err := strconv.ParseInt(as.of, 10, 64); err == nil {
		domain, err := s.cfg.Store.GetOrganisationDomain(ctx, n)
		if err != nil {
			return fmt.Errorf("organisation %d has no domain: %w", n, err)
		}
		as.Sender = matrix.UserID("@" + as.Sender.Localpart() + ":" + string(domain))
	}
	domain, err := s.cfg.Store.GetHostedDomain(ctx, as.Sender.Domain())
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%s is not a domain of this server", as.Sender.Domain())
	}
	if err != nil {
		return err
	}
	as.organisation = domain.OrganisationID
	if as.inProcess != nil {
		// The name may have been somebody's before the server had this part.
		if user, err := s.cfg.Store.GetUser(ctx, as.Sender); err == nil && !user.Machine {
			as.Sender = matrix.UserID("@roomline-" + as.Sender.Localpart() + ":" + string(as.Sender.Domain()))
		}
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.InsertUser(ctx, s.senderAccount(as))
		return err
	})
}

func (s *Server) senderAccount(as *Registration) store.User {
	return store.User{UserID: as.Sender, OrganisationID: as.organisation, Machine: true, CreatedTS: s.now()}
}

// observe notes that registrations have changed.
func (s *Server) observe(entries []journal.Entry, lost bool) {
	for i := range entries {
		if up := entries[i].Update; up != nil && up.Kind == store.KindAppservice {
			lost = true
		}
	}
	if lost {
		signal(s.changed)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run delivers, and follows what is registered, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { s.deliver(ctx) })
	parts.Go(func() { s.runRegistry(ctx) })
	parts.Go(func() { s.runAccesses(ctx) })
	parts.Wait()
	return nil
}

// runRegistry reads the registrations again when they have changed.
func (s *Server) runRegistry(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		}
		if err := s.read(ctx); err != nil {
			if ctx.Err() == nil && !store.IsUnavailable(err) {
				s.cfg.Log.Error("application services are not read again", "error", err)
			}
			signal(s.changed)
			wake.Pause(ctx, failedPause)
			continue
		}
		signal(s.reassign)
	}
}

const (
	// flushed is how often is written what application services did, audited how often it is looked whether an hour is over.
	flushed = 5 * time.Second
	audited = 15 * time.Second
)

func (s *Server) runAccesses(ctx context.Context) {
	next := s.cfg.Clock.Now()
	for ctx.Err() == nil {
		wake.Pause(ctx, flushed)
		// What was counted before the end is written, too.
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushed)
		err := s.flush(writing)
		if err == nil && !s.cfg.Clock.Now().Before(next) {
			next = s.cfg.Clock.Now().Add(audited)
			err = s.audit(writing)
		}
		cancel()
		if err != nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("application services: count what they do", "error", err)
		}
	}
}

// Routes are the endpoints of this package.
func (s *Server) Routes() []httpapi.Route {
	const v3 = "/_matrix/client/v3"
	get := func(path string, handle httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: http.MethodGet, Path: v3 + path, Auth: httpapi.AccessToken, Limit: ratelimit.ThirdParty, Handle: handle}
	}
	return append([]httpapi.Route{
		get("/thirdparty/protocols", s.getProtocols),
		get("/thirdparty/protocol/{protocol}", s.getProtocolMetadata),
		get("/thirdparty/location/{protocol}", s.queryLocationByProtocol),
		get("/thirdparty/user/{protocol}", s.queryUserByProtocol),
		get("/thirdparty/location", s.queryLocationByAlias),
		get("/thirdparty/user", s.queryUserByID),
		{Method: http.MethodPost, Path: "/_matrix/client/v1/appservice/{appserviceId}/ping", Auth: httpapi.AppserviceToken, Limit: ratelimit.ThirdParty,
			Handle: httpapi.OptionalJSON(s.pingAppservice)},
	}, s.adminRoutes()...)
}
