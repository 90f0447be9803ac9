package appservices

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Who registers or removes an application service.
type Who struct {
	// Actor and IP are what the audit log says.
	Actor, IP string
	// Organisation is whose application services these are; the operator has those of all.
	Organisation int64
	Operator     bool
}

// AtTheMachine is the operator on the command line.
var AtTheMachine = Who{Actor: "operator", Organisation: store.DefaultOrganisation, Operator: true}

// Tokens are shown once, to whoever had them made. Those that stood in the registration are empty.
type Tokens struct {
	AS string `json:"as_token,omitempty"`
	HS string `json:"hs_token,omitempty"`
}

// Register stores a registration, YAML or JSON. Tokens that it does not have are made.
func (s *Server) Register(ctx context.Context, who Who, text []byte) (*Registration, Tokens, error) {
	d, err := decode(text)
	if err != nil {
		return nil, Tokens{}, matrix.InvalidParam("the registration %v", err)
	}
	var tokens Tokens
	if d.ASToken == "" {
		tokens.AS = newToken()
		d.ASToken = tokens.AS
	}
	if d.HSToken == "" {
		tokens.HS = newToken()
		d.HSToken = tokens.HS
	}
	as, err := s.compileFor(ctx, who, d)
	if err != nil {
		return nil, Tokens{}, err
	}
	if err := s.cfg.Registry.present.Load().taken(as); err != nil {
		return nil, Tokens{}, taken(err)
	}
	row, err := s.row(as, who)
	if err != nil {
		return nil, Tokens{}, err
	}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) { return s.insert(ctx, tx, who, as, row) })
	if err != nil {
		return nil, Tokens{}, err
	}
	return as, tokens, s.reread(ctx)
}

func taken(err error) *matrix.Error {
	return matrix.NewError(400, matrix.ErrExclusive, "%v", err)
}

// newToken is a secret that nobody guesses.
func newToken() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// compileFor checks a registration, and whether this organisation may have it.
func (s *Server) compileFor(ctx context.Context, who Who, d document) (*Registration, error) {
	// What the registration says of its organisation decides of which domain its users are.
	var of Registration
	if errs := of.extend(d.Roomline); len(errs) > 0 {
		return nil, matrix.InvalidParam("%v", errors.Join(errs...))
	}
	domain, organisation, err := s.domainFor(ctx, who, of.of)
	if err != nil {
		return nil, err
	}
	as, err := d.compile(domain)
	if err != nil {
		return nil, matrix.InvalidParam("%v", err)
	}
	as.organisation, as.stored, as.Operator, as.createdBy = organisation, true, who.Operator, who.Actor
	as.ID = idOf(as)
	if as.MayActAs(as.Sender, false) && !who.Operator {
		for _, g := range as.Grants {
			if g == GrantPuppet || g == GrantTelephony {
				return nil, matrix.Forbidden("only the operator gives the grant %s", g)
			}
		}
	}
	return as, nil
}

// idOf is what an application service is called in the database. Those of owners are called so within their organisation only: nobody can tell
// what another organisation has.
func idOf(as *Registration) string {
	if as.Operator {
		return as.document.ID
	}
	return ownID(as.organisation, as.document.ID)
}

func ownID(organisation int64, id string) string {
	return strconv.FormatInt(organisation, 10) + ":" + id
}

// domainFor finds the organisation and the domain of an application service.
func (s *Server) domainFor(ctx context.Context, who Who, of string) (domain matrix.ServerName, organisation int64, err error) {
	noSuch := matrix.InvalidParam("roomline.organisation: is none of yours")
	organisation = who.Organisation
	switch n, notNumber := strconv.ParseInt(of, 10, 64); {
	case of == "":
	case of == "*":
		if !who.Operator {
			return "", 0, matrix.Forbidden("only the operator registers application services for all organisations")
		}
	case notNumber == nil:
		organisation = n
	default:
		d, err := s.cfg.Store.GetHostedDomain(ctx, matrix.ServerName(of))
		if errors.Is(err, store.ErrNotFound) {
			return "", 0, noSuch
		}
		if err != nil {
			return "", 0, fmt.Errorf("look up a domain: %w", err)
		}
		domain, organisation = d.ServerName, d.OrganisationID
	}
	if organisation != who.Organisation && !who.Operator {
		return "", 0, noSuch
	}
	if domain == "" {
		domain, err = s.cfg.Store.GetOrganisationDomain(ctx, organisation)
		if errors.Is(err, store.ErrNotFound) {
			return "", 0, noSuch
		}
	}
	return domain, organisation, err
}

// row is what the database keeps.
func (s *Server) row(as *Registration, who Who) (store.Appservice, error) {
	text, err := json.Marshal(struct {
		Domain matrix.ServerName `json:"domain"`
		document
	}{as.Sender.Domain(), as.document})
	if err != nil {
		return store.Appservice{}, fmt.Errorf("encode a registration: %w", err)
	}
	return store.Appservice{
		ID: as.ID, OrganisationID: as.organisation, TokenHash: as.asToken[:], SealedToken: s.sealer.Seal([]byte(as.hsToken), as.ID),
		Registration: text, Operator: as.Operator, CreatedBy: who.Actor, CreatedTS: s.now(),
	}, nil
}

func (s *Server) insert(ctx context.Context, tx *store.Tx, who Who, as *Registration, row store.Appservice) ([]store.Update, error) {
	n, err := tx.CountAppservices(ctx, as.organisation)
	if err != nil {
		return nil, err
	}
	if n >= limits.AppservicesPerOrganisation {
		return nil, matrix.Forbidden("an organisation can have at most %d application services", limits.AppservicesPerOrganisation)
	}
	stored, err := tx.InsertAppservice(ctx, row)
	if err != nil {
		return nil, err
	}
	if !stored {
		return nil, taken(errors.New("id or as_token: is that of another application service"))
	}
	made, err := tx.InsertUser(ctx, s.senderAccount(as))
	if err != nil {
		return nil, err
	}
	if !made {
		// One that was removed may come again; nobody's account becomes an application service's.
		user, err := tx.GetUser(ctx, as.Sender)
		if err != nil {
			return nil, err
		}
		if !user.Machine || user.Deactivated() || user.OrganisationID != as.organisation {
			return nil, taken(fmt.Errorf("sender_localpart: %s is an account", as.Sender))
		}
	}
	if err := tx.InsertAppserviceUser(ctx, as.Sender, as.ID); err != nil {
		return nil, err
	}
	return s.changedBy(ctx, tx, who, as, "appservice.register")
}

// changedBy notes who changed what, and tells every process.
func (s *Server) changedBy(ctx context.Context, tx *store.Tx, who Who, as *Registration, action string) ([]store.Update, error) {
	detail, err := json.Marshal(map[string]any{
		"url": as.URL, "sender": as.Sender, "grants": as.Grants, "view": as.View != nil, "everywhere": as.Everywhere, "organisation_id": as.organisation,
	})
	if err != nil {
		return nil, err
	}
	entry := store.AuditEntry{OrganisationID: as.organisation, TS: s.now(), Actor: who.Actor, IP: who.IP, Action: action, Target: as.document.ID, Detail: detail}
	entries := []store.AuditEntry{entry}
	if who.Operator && as.organisation != store.DefaultOrganisation {
		entry.OrganisationID = store.DefaultOrganisation
		entries = append(entries, entry)
	}
	return []store.Update{{Kind: store.KindAppservice, Key: as.ID, Body: []byte("{}")}}, tx.AppendAudit(ctx, entries...)
}

// reread has this process know at once what it has changed itself.
func (s *Server) reread(ctx context.Context) error {
	if err := s.read(ctx); err != nil {
		return err
	}
	signal(s.reassign)
	return nil
}

// find returns an application service of an organisation. Those of files can be looked at, and changed in the file only.
func (s *Server) find(who Who, id string) (*Registration, error) {
	for _, as := range s.List(who) {
		if as.ID == id || as.organisation == who.Organisation && as.document.ID == id {
			return as, nil
		}
	}
	return nil, noSuchService()
}

func noSuchService() *matrix.Error { return matrix.NotFound("there is no such application service") }

// stored is find for what can be changed.
func (s *Server) stored(who Who, id string) (*Registration, error) {
	as, err := s.find(who, id)
	switch {
	case err != nil:
		return nil, err
	case !as.stored:
		return nil, matrix.Forbidden("this application service stands in a file of the configuration")
	case as.Operator && !who.Operator:
		return nil, matrix.Forbidden("the operator registered this application service")
	}
	return as, nil
}

// Remove ends an application service: its token, what waits for it, and the sessions of the users that it made. The users stay.
func (s *Server) Remove(ctx context.Context, who Who, id string) error {
	as, err := s.stored(who, id)
	if err != nil {
		return err
	}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		deleted, err := tx.DeleteAppservice(ctx, as.ID)
		if err != nil {
			return nil, err
		}
		if !deleted {
			// Another process has removed it, and this one has not heard of it yet.
			return nil, noSuchService()
		}
		return s.changedBy(ctx, tx, who, as, "appservice.remove")
	})
	if err != nil {
		return fmt.Errorf("remove an application service: %w", err)
	}
	if err := s.reread(ctx); err != nil {
		return err
	}
	return s.endSessions(ctx, as.ID)
}

// usersAtOnce is how many users are listed at a time.
const usersAtOnce = 500

func (s *Server) endSessions(ctx context.Context, id string) error {
	after := matrix.UserID("")
	for {
		users, err := s.cfg.Store.ListAppserviceUsers(ctx, id, after, usersAtOnce)
		if err != nil {
			return fmt.Errorf("list the users of an application service: %w", err)
		}
		for _, user := range users {
			if err := s.cfg.EndSessions(ctx, user); err != nil {
				return err
			}
			after = user
		}
		if len(users) < usersAtOnce {
			return nil
		}
	}
}

// NewTokens replaces both tokens of an application service.
func (s *Server) NewTokens(ctx context.Context, who Who, id string) (Tokens, error) {
	as, err := s.stored(who, id)
	if err != nil {
		return Tokens{}, err
	}
	tokens := Tokens{AS: newToken(), HS: newToken()}
	hash := sha256.Sum256([]byte(tokens.AS))
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		if err := tx.PutAppserviceTokens(ctx, as.ID, hash[:], s.sealer.Seal([]byte(tokens.HS), as.ID)); err != nil {
			return nil, err
		}
		return s.changedBy(ctx, tx, who, as, "appservice.tokens")
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("replace the tokens of an application service: %w", err)
	}
	return tokens, s.reread(ctx)
}

// List returns the application services that somebody may look at.
func (s *Server) List(who Who) []*Registration {
	var list []*Registration
	for _, as := range s.cfg.Registry.services() {
		if as.organisation == who.Organisation || who.Operator {
			list = append(list, as)
		}
	}
	return list
}
