package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// domainEndpoints are those about hosted domains. The operator gives an organisation a domain, and it is for ever: user ids, events and keys
// refer to it. What /.well-known says of a domain is the operator's, and where people get help the organisation's own.
func (s *Server) domainEndpoints() []endpoint {
	const domains = operator + "/organisations/{organisationId}/domains"
	return []endpoint{
		{method: get, path: own + "/domains", may: administrators, handle: s.listOwnDomains, doc: httpapi.Doc{
			Summary: "The domains of the own organisation.", Response: domainsResponse{}}},
		{method: put, path: own + "/domains/{serverName}/support", may: owners, limit: ratelimit.Account, handle: httpapi.JSON(s.putSupport), doc: httpapi.Doc{
			Summary: "Say in /.well-known/matrix/support of a domain who helps.", Request: Support{}, Response: Domain{}}},
		{method: get, path: domains, may: operators, handle: s.listDomains, doc: httpapi.Doc{
			Summary: "The domains of an organisation.", Response: domainsResponse{}}},
		{method: post, path: domains, may: operators, limit: ratelimit.Account, handle: httpapi.JSON(s.addDomain), doc: httpapi.Doc{
			Summary: "Give an organisation one more domain. Every process signs for it within a second.", Request: NewDomain{}, Response: Domain{}}},
		{method: put, path: domains + "/{serverName}", may: operators, limit: ratelimit.Account, handle: httpapi.JSON(s.putDiscovery), doc: httpapi.Doc{
			Summary: "Say what /.well-known/matrix says of a domain, in place of the configuration.", Request: store.Discovery{}, Response: Domain{}}},
	}
}

// Domain is what is told of a hosted domain.
type Domain struct {
	ServerName matrix.ServerName `json:"server_name"`
	// KeyID is that of the key it signs with.
	KeyID     string           `json:"key_id"`
	CreatedTS matrix.Timestamp `json:"created_ts"`
	Discovery store.Discovery  `json:"discovery"`
}

// NewDomain is a domain that an organisation gets.
type NewDomain struct {
	Domain string `json:"domain"`
	store.Discovery
}

// Support says who helps.
type Support struct {
	SupportPage string                 `json:"support_page,omitempty"`
	Contacts    []store.SupportContact `json:"contacts,omitempty"`
}

type domainsResponse struct {
	Domains []Domain `json:"domains"`
}

func (s *Server) describeDomain(d store.HostedDomain) (Domain, error) {
	answer := Domain{ServerName: d.ServerName, CreatedTS: d.CreatedTS}
	answer.KeyID, _ = s.cfg.Keys.Current(d.ServerName)
	if d.Discovery == nil {
		return answer, nil
	}
	if err := json.Unmarshal(d.Discovery, &answer.Discovery); err != nil {
		return answer, fmt.Errorf("stored discovery of %s: %w", d.ServerName, err)
	}
	return answer, nil
}

func (s *Server) listOwnDomains(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.domainsOf(ctx, c.Requester.Org)
}

func (s *Server) listDomains(ctx context.Context, c *httpapi.Call) (any, error) {
	o, err := s.organisation(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.domainsOf(ctx, o.ID)
}

func (s *Server) domainsOf(ctx context.Context, org int64) (any, error) {
	list, err := s.cfg.Store.ListOrganisationDomains(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("list the domains of an organisation: %w", err)
	}
	answer := domainsResponse{Domains: []Domain{}}
	for _, d := range list {
		described, err := s.describeDomain(d)
		if err != nil {
			return nil, err
		}
		answer.Domains = append(answer.Domains, described)
	}
	return answer, nil
}

func (s *Server) addDomain(ctx context.Context, c *httpapi.Call, req *NewDomain) (any, error) {
	o, err := s.organisation(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.AddDomain(ctx, operatorOf(c), o.ID, *req)
}

// AddDomain gives an organisation a domain, with a signing key of its own.
func (s *Server) AddDomain(ctx context.Context, who Who, org int64, n NewDomain) (*Domain, error) {
	name, err := checkDomain(n.Domain)
	if err != nil {
		return nil, err
	}
	d := store.HostedDomain{ServerName: name, OrganisationID: org, CreatedTS: s.now()}
	if d.Discovery, err = discoveryJSON(n.Discovery); err != nil {
		return nil, err
	}
	err = s.changeOrganisation(ctx, who, func(tx *store.Tx) (act, error) {
		o, err := tx.LockOrganisation(ctx, org)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return act{}, noSuchOrganisation()
		case err != nil:
			return act{}, err
		case o.State == store.OrganisationDeleted:
			return act{}, deletedForGood()
		}
		return act{organisation: org, action: "domain.add", target: string(name)}, s.insertDomain(ctx, tx, d)
	})
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Keys.Reload(ctx); err != nil {
		return nil, err
	}
	answer, err := s.describeDomain(d)
	return &answer, err
}

func (s *Server) putDiscovery(ctx context.Context, c *httpapi.Call, req *store.Discovery) (any, error) {
	id, err := organisationID(c)
	if err != nil {
		return nil, err
	}
	return s.editDiscovery(ctx, operatorOf(c), id, c.Path("serverName"), func(d *store.Discovery) { *d = *req })
}

func (s *Server) putSupport(ctx context.Context, c *httpapi.Call, req *Support) (any, error) {
	return s.editDiscovery(ctx, whoOf(c), c.Requester.Org, c.Path("serverName"), func(d *store.Discovery) {
		d.SupportPage, d.Contacts = req.SupportPage, req.Contacts
	})
}

// editDiscovery changes what /.well-known says of a domain of the organisation.
func (s *Server) editDiscovery(ctx context.Context, who Who, org int64, name string, edit func(*store.Discovery)) (any, error) {
	d, err := s.cfg.Store.GetHostedDomain(ctx, matrix.ServerName(name))
	if errors.Is(err, store.ErrNotFound) || err == nil && d.OrganisationID != org {
		return nil, matrix.NotFound("the organisation has no such domain")
	}
	if err != nil {
		return nil, fmt.Errorf("look up hosted domain: %w", err)
	}
	described, err := s.describeDomain(d)
	if err != nil {
		return nil, err
	}
	edit(&described.Discovery)
	text, err := discoveryJSON(described.Discovery)
	if err != nil {
		return nil, err
	}
	return described, s.change(ctx, who, func(tx *store.Tx) (act, []store.Update, error) {
		return act{organisation: org, action: "domain.change", target: name, detail: map[string]any{"discovery": described.Discovery}}, nil,
			tx.PutDomainDiscovery(ctx, d.ServerName, text)
	})
}

// discoveryJSON checks what is to be said of a domain, and returns it as it is stored: nil for nothing.
func discoveryJSON(d store.Discovery) ([]byte, error) {
	for name, text := range map[string]string{"base_url": d.BaseURL, "support_page": d.SupportPage} {
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || len(text) > limits.AvatarURL || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			return nil, matrix.InvalidParam("%s must be an http or https URL of at most %d bytes", name, limits.AvatarURL)
		}
	}
	if d.FederationServer != "" {
		if _, err := matrix.ParseServerName(d.FederationServer); err != nil {
			return nil, matrix.InvalidParam("federation_server must be a host and an optional port")
		}
	}
	if len(d.Contacts) > limits.SupportContacts {
		return nil, matrix.InvalidParam("there must be at most %d contacts", limits.SupportContacts)
	}
	for i, contact := range d.Contacts {
		if err := checkContact(contact); err != nil {
			return nil, matrix.InvalidParam("contacts[%d]: %s", i, err.Error())
		}
	}
	if d.BaseURL == "" && d.FederationServer == "" && d.SupportPage == "" && len(d.Contacts) == 0 {
		return nil, nil
	}
	return json.Marshal(d)
}

// checkContact checks a contact.
//
// Spec: client-server v1.19 §well-known-uris, GET /.well-known/matrix/support
func checkContact(c store.SupportContact) error {
	switch {
	case c.Role == "" || len(c.Role) > limits.Identifier:
		return errors.New("role is missing, such as m.role.admin")
	case c.MatrixID == "" && c.EmailAddress == "":
		return errors.New("needs a matrix_id or an email_address")
	case len(c.EmailAddress) > limits.Identifier:
		return errors.New("email_address is too long")
	}
	if c.MatrixID != "" {
		if _, err := matrix.ParseUserID(c.MatrixID); err != nil {
			return errors.New("matrix_id is not a user id")
		}
	}
	return nil
}
