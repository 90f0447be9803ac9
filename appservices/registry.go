package appservices

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Registry is all registrations of the deployment: those of files, which stay as they are while the process runs, and those of the database.
// It is safe for concurrent use.
type Registry struct {
	files   []*Registration
	present atomic.Pointer[registrations]
	// reading lets one at a time read the database.
	reading sync.Mutex
}

// registrations are those of one moment.
type registrations struct {
	services []*Registration
	byToken  map[[sha256.Size]byte]*Registration
}

func (r *Registry) services() []*Registration { return r.present.Load().services }

// ofToken returns the application service that a token belongs to, or nil.
func (r *Registry) ofToken(token string) *Registration {
	p := r.present.Load()
	if len(p.services) == 0 {
		return nil
	}
	return p.byToken[sha256.Sum256([]byte(token))]
}

// byID returns the application service of an id, or nil.
func (r *Registry) byID(id string) *Registration { return r.present.Load().byID(id) }

func (p *registrations) byID(id string) *Registration {
	i := slices.IndexFunc(p.services, func(as *Registration) bool { return as.ID == id })
	if i < 0 {
		return nil
	}
	return p.services[i]
}

// Serves reports whether a user is there for people of all organisations: the bot of the telephony bridge.
func (r *Registry) Serves(user matrix.UserID) bool {
	return slices.ContainsFunc(r.services(), func(as *Registration) bool {
		return as.Sender == user && as.Everywhere && slices.Contains(as.Grants, GrantTelephony)
	})
}

// Recorder is an application service that records meetings.
type Recorder struct {
	// ID is its id in the deployment, Name in its organisation.
	ID, Name string
	Sender   matrix.UserID
}

// Recorders are the application services that may record meetings of an organisation: its own.
func (r *Registry) Recorders(organisation int64) []Recorder {
	var list []Recorder
	for _, as := range r.services() {
		if slices.Contains(as.Grants, GrantRecord) && (as.Everywhere || as.organisation == organisation) {
			list = append(list, Recorder{as.ID, as.document.ID, as.Sender})
		}
	}
	return list
}

// Exclusive reports whether a user id lies in a namespace that an application service has for itself.
func (r *Registry) Exclusive(user matrix.UserID) bool {
	return slices.ContainsFunc(r.services(), func(as *Registration) bool {
		return user == as.Sender || as.hosts(user.Domain()) &&
			slices.ContainsFunc(as.Users, func(n Namespace) bool { return n.Exclusive && n.Matches(string(user)) })
	})
}

// MayName reports whether an alias may be made, or given up, by the application service called id, or by somebody else when id is empty. An
// application service has the aliases of its namespaces and no others; nobody else has those that it keeps for itself.
//
// Spec: application-service v1.19 §server-admin-style-permissions
func (r *Registry) MayName(id string, alias matrix.RoomAlias) bool {
	if id != "" {
		as := r.byID(id)
		return as != nil && as.hosts(alias.Domain()) && anyMatches(as.Aliases, string(alias))
	}
	return !slices.ContainsFunc(r.services(), func(as *Registration) bool {
		return as.hosts(alias.Domain()) &&
			slices.ContainsFunc(as.Aliases, func(n Namespace) bool { return n.Exclusive && n.Matches(string(alias)) })
	})
}

// Load reads the registrations in files. Their users are of the given domain, or of the one that the registration names. All mistakes are
// reported at once.
func Load(files []string, domain matrix.ServerName) (*Registry, error) {
	p := newRegistrations()
	var errs []error
	for _, file := range files {
		as, err := read(file, domain)
		if err == nil {
			if of := matrix.ServerName(as.of); as.of != "" && !as.Everywhere && !isNumber(as.of) {
				as.Sender = matrix.UserID("@" + as.Sender.Localpart() + ":" + string(of))
			}
			err = p.add(as)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("registration %s: %w", file, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	r := &Registry{files: p.services}
	r.present.Store(p)
	return r, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

func newRegistrations() *registrations {
	return &registrations{byToken: make(map[[sha256.Size]byte]*Registration)}
}

// taken says what of a registration another one has.
func (p *registrations) taken(as *Registration) error {
	for _, other := range p.services {
		switch {
		case other.ID == as.ID, other.organisation == as.organisation && other.document.ID == as.document.ID:
			return fmt.Errorf("id: %q is the id of another application service", as.document.ID)
		case other.asToken == as.asToken:
			return errors.New("as_token: is that of another application service")
		case other.Sender == as.Sender:
			return errors.New("sender_localpart: is that of another application service")
		}
	}
	return nil
}

func (p *registrations) add(as *Registration) error {
	if err := p.taken(as); err != nil {
		return err
	}
	p.services = append(p.services, as)
	p.byToken[as.asToken] = as
	return nil
}

// read brings the registry to what the database has. One that can't be read is left out, and said so: the others go on.
func (s *Server) read(ctx context.Context) error {
	r := s.cfg.Registry
	r.reading.Lock()
	defer r.reading.Unlock()
	stored, err := s.cfg.Store.ListAppservices(ctx)
	if err != nil {
		return fmt.Errorf("list application services: %w", err)
	}
	before := r.present.Load()
	p := newRegistrations()
	for _, as := range r.files {
		if err := p.add(as); err != nil {
			return err
		}
	}
	for i := range stored {
		as, err := s.open(ctx, &stored[i])
		if err == nil {
			err = p.add(as)
		}
		if err != nil {
			s.cfg.Log.Error("an application service can't be used", "appservice", stored[i].ID, "error", err)
		}
	}
	for i, as := range p.services {
		// What did not change keeps its identity: its delivery goes on.
		if old := before.byID(as.ID); old != nil && old.stored && as.stored && old.asToken == as.asToken {
			p.services[i], p.byToken[as.asToken] = old, old
		}
	}
	r.present.Store(p)
	return nil
}

// open makes a registration of what the database has.
func (s *Server) open(ctx context.Context, row *store.Appservice) (*Registration, error) {
	var kept struct {
		Domain matrix.ServerName `json:"domain"`
		document
	}
	if err := json.Unmarshal(row.Registration, &kept); err != nil {
		return nil, fmt.Errorf("decode the registration: %w", err)
	}
	token, err := s.sealer.Open(row.SealedToken, row.ID)
	if err != nil {
		return nil, fmt.Errorf("the hs_token of %s: %w", row.ID, err)
	}
	d := kept.document
	d.HSToken, d.ASToken = string(token), "not-known-here" // its hash is
	as, err := d.compile(kept.Domain)
	if err != nil {
		return nil, err
	}
	copy(as.asToken[:], row.TokenHash)
	as.ID = row.ID
	as.organisation, as.stored, as.Operator, as.createdBy = row.OrganisationID, true, row.Operator, row.CreatedBy
	return as, nil
}
