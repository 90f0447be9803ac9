// Package admin is the API of those who run organisations: the operator, who has all of them, and each organisation's own administrators.
//
// There are two halves. /_roomline/admin/v1 is always about the requester's own organisation. /_roomline/operator/v1 is for the operator, an
// owner of the operator's own organisation, and names the organisation that it is about.
//
// Invariants:
//   - Who may ask is decided before anything is looked up (routes.go). What belongs to another organisation is answered as what does not exist.
//   - What is changed and the entry of the audit log that tells of it are one transaction (change).
//   - What the operator does to an organisation is in that organisation's audit log, and in the operator's own.
//   - An organisation has an owner as long as it exists.
//
// Start reading at routes.go.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/signing"
)

// Config is what New needs. All fields but Version, Policies and Documented are required.
type Config struct {
	// EraseAccount removes an account with everything that it has, DeleteRoom a room of the organisation with everything in it. They are asked
	// again after an error or a crash, and do then what is left.
	EraseAccount func(ctx context.Context, user matrix.UserID) error
	DeleteRoom   func(ctx context.Context, organisation int64, room matrix.RoomID) error
	// Policies are what organisations may decide.
	Policies []Policy
	// MediaQuota is how many bytes of media an organisation has and may have.
	MediaQuota func(ctx context.Context, organisation int64) (used, bound int64, err error)
	// Documented are routes of other packages, for the OpenAPI document; those without a Doc are not in it.
	Documented []httpapi.Route

	Store    *store.Store
	Journal  *journal.Journal
	Accounts *auth.Accounts
	People   *accounts.Server
	Keys     *signing.Keys
	Clock    matrix.Clock
	Log      *slog.Logger
	// Version is the server's, for tools that ask.
	Version string
}

// Server serves the administration. It is safe for concurrent use.
type Server struct {
	cfg Config
	// removable is told when an organisation was deleted.
	removable chan struct{}
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Journal": cfg.Journal == nil, "Accounts": cfg.Accounts == nil, "People": cfg.People == nil, "Keys": cfg.Keys == nil,
		"EraseAccount": cfg.EraseAccount == nil, "DeleteRoom": cfg.DeleteRoom == nil, "MediaQuota": cfg.MediaQuota == nil,
		"Clock": cfg.Clock == nil, "Log": cfg.Log == nil,
	} {
		if missing {
			return nil, errors.New("admin: Config." + name + " is missing")
		}
	}
	return &Server{cfg: cfg, removable: make(chan struct{}, 1)}, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// Who is who does something: a request, or somebody at the machine.
type Who struct {
	// Actor is what the audit log calls them.
	Actor string
	IP    string
	// Operator says that the act is the operator's and not the organisation's own.
	Operator bool
}

// AtTheMachine is the operator on the command line.
var AtTheMachine = Who{Actor: "operator", Operator: true}

func whoOf(c *httpapi.Call) Who {
	return Who{Actor: c.Requester.Actor(), IP: c.ClientAddr()}
}

// operatorOf is whoOf on the operator's half.
func operatorOf(c *httpapi.Call) Who {
	who := whoOf(c)
	who.Operator = true
	return who
}

// act is something that is done to an organisation, for its audit log.
type act struct {
	organisation   int64
	action, target string
	detail         map[string]any
}

// entries are what the audit logs say of an act: that of the organisation, and that of the operator for the operator's acts.
func (s *Server) entries(who Who, a act) ([]store.AuditEntry, error) {
	e := store.AuditEntry{OrganisationID: a.organisation, TS: s.now(), Actor: who.Actor, IP: who.IP, Action: a.action, Target: a.target}
	if a.detail != nil {
		detail, err := json.Marshal(a.detail)
		if err != nil {
			return nil, fmt.Errorf("encode the detail of %s: %w", a.action, err)
		}
		e.Detail = detail
	}
	entries := []store.AuditEntry{e}
	if who.Operator && a.organisation != store.DefaultOrganisation {
		own := e
		own.OrganisationID = store.DefaultOrganisation
		detail := map[string]any{"organisation_id": a.organisation}
		for k, v := range a.detail {
			detail[k] = v
		}
		var err error
		if own.Detail, err = json.Marshal(detail); err != nil {
			return nil, err
		}
		entries = append(entries, own)
	}
	return entries, nil
}

// change runs f in a transaction that also appends to the audit log what f says it has done, and tells every process of the updates that f
// returns. An act without an action is not noted.
func (s *Server) change(ctx context.Context, who Who, f func(tx *store.Tx) (act, []store.Update, error)) error {
	return s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		a, updates, err := f(tx)
		if err != nil || a.action == "" {
			return updates, err
		}
		entries, err := s.entries(who, a)
		if err != nil {
			return nil, err
		}
		return updates, tx.AppendAudit(ctx, entries...)
	})
}

// changeOrganisation is change for what every process has to know of an organisation.
func (s *Server) changeOrganisation(ctx context.Context, who Who, f func(tx *store.Tx) (act, error)) error {
	return s.change(ctx, who, func(tx *store.Tx) (act, []store.Update, error) {
		a, err := f(tx)
		if err != nil {
			return act{}, nil, err
		}
		update, err := tx.OrganisationChanged(ctx, a.organisation)
		return a, []store.Update{update}, err
	})
}
