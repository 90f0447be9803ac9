package clientapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// WellKnownConfig is what the discovery documents say. A document that has nothing to say is not served.
type WellKnownConfig struct {
	// BaseURL is where clients reach the client-server API, for example https://matrix.example.com.
	BaseURL string
	// IdentityServer says that the identity service is there, too.
	IdentityServer bool
	// CallService is the path below BaseURL where clients of calls ask for tokens; empty where there are no calls.
	CallService string
	// FederationServer is where other servers reach us, host and port.
	FederationServer string
	SupportContacts  []SupportContact
	SupportPage      string
	// PolicyKeys are the public keys of the policy server, by algorithm.
	PolicyKeys map[string]string
}

// SupportContact is a way to reach the people who run the server.
type SupportContact struct {
	MatrixID     matrix.UserID `json:"matrix_id,omitempty"`
	EmailAddress string        `json:"email_address,omitempty"`
	Role         string        `json:"role"`
}

type wellKnownClient struct {
	Homeserver     baseURL  `json:"m.homeserver"`
	IdentityServer *baseURL `json:"m.identity_server,omitempty"`
	// Foci are the transports of calls, for clients that do not ask for them yet (MSC4143, as it was).
	Foci []focus `json:"org.matrix.msc4143.rtc_foci,omitempty"`
}

type focus struct {
	Type       string `json:"type"`
	ServiceURL string `json:"livekit_service_url"`
}

type baseURL struct {
	BaseURL string `json:"base_url"`
}

// wellKnown is what is said of a domain: what it says of itself, and for the rest the configuration.
func (s *Server) wellKnown(ctx context.Context, domain matrix.ServerName) (WellKnownConfig, error) {
	w := s.cfg.WellKnown
	hosted, err := s.store.GetHostedDomain(ctx, domain)
	if errors.Is(err, store.ErrNotFound) || err == nil && hosted.Discovery == nil {
		return w, nil
	}
	if err != nil {
		return w, fmt.Errorf("look up hosted domain %s: %w", domain, err)
	}
	var own store.Discovery
	if err := json.Unmarshal(hosted.Discovery, &own); err != nil {
		return w, fmt.Errorf("stored discovery of %s: %w", domain, err)
	}
	w.BaseURL = cmp.Or(own.BaseURL, w.BaseURL)
	w.FederationServer = cmp.Or(own.FederationServer, w.FederationServer)
	if own.SupportPage != "" || len(own.Contacts) > 0 {
		w.SupportPage, w.SupportContacts = own.SupportPage, nil
		for _, c := range own.Contacts {
			w.SupportContacts = append(w.SupportContacts, SupportContact{matrix.UserID(c.MatrixID), c.EmailAddress, c.Role})
		}
	}
	return w, nil
}

// domainOf is the domain that a request names with its Host.
func domainOf(c *httpapi.Call) matrix.ServerName {
	host := strings.ToLower(c.Request.Host)
	if bare, port, err := net.SplitHostPort(host); err == nil && (port == "443" || port == "80") {
		host = bare
	}
	return matrix.ServerName(host)
}

// discovery is the document for clients of a domain, nil when there is no base URL.
func (s *Server) discovery(ctx context.Context, domain matrix.ServerName) (*wellKnownClient, error) {
	w, err := s.wellKnown(ctx, domain)
	if err != nil || w.BaseURL == "" {
		return nil, err
	}
	doc := wellKnownClient{Homeserver: baseURL{w.BaseURL}}
	if w.IdentityServer {
		doc.IdentityServer = &baseURL{w.BaseURL}
	}
	if w.CallService != "" {
		doc.Foci = []focus{{"livekit", strings.TrimSuffix(w.BaseURL, "/") + w.CallService}}
	}
	return &doc, nil
}

// getWellKnownClient tells clients where the homeserver of this domain is.
//
// Spec: client-server v1.19 §well-known-uris, GET /.well-known/matrix/client
func (s *Server) getWellKnownClient(ctx context.Context, c *httpapi.Call) (any, error) {
	doc, err := s.discovery(ctx, domainOf(c))
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return nil, matrix.NotFound("no discovery information is configured for clients")
	}
	return doc, nil
}

// getWellKnownServer tells other servers where the homeserver of this domain is.
//
// Spec: server-server v1.19 §resolving-server-names, GET /.well-known/matrix/server
func (s *Server) getWellKnownServer(ctx context.Context, c *httpapi.Call) (any, error) {
	w, err := s.wellKnown(ctx, domainOf(c))
	if err != nil {
		return nil, err
	}
	if w.FederationServer == "" {
		return nil, matrix.NotFound("no discovery information is configured for servers")
	}
	return struct {
		Server string `json:"m.server"`
	}{w.FederationServer}, nil
}

type supportResponse struct {
	Contacts    []SupportContact `json:"contacts,omitempty"`
	SupportPage string           `json:"support_page,omitempty"`
}

// getWellKnownSupport says whom to ask for help.
//
// Spec: client-server v1.19 §well-known-uris, GET /.well-known/matrix/support
func (s *Server) getWellKnownSupport(ctx context.Context, c *httpapi.Call) (any, error) {
	w, err := s.wellKnown(ctx, domainOf(c))
	if err != nil {
		return nil, err
	}
	doc := supportResponse{Contacts: w.SupportContacts, SupportPage: w.SupportPage}
	if len(doc.Contacts) == 0 && doc.SupportPage == "" {
		return nil, matrix.NotFound("no support information is configured")
	}
	return doc, nil
}

type policyServerResponse struct {
	PublicKeys map[string]string `json:"public_keys"`
}

// getWellKnownPolicyServer names the keys of the policy server that goes by this domain.
//
// Spec: client-server v1.19 §policy-servers, GET /.well-known/matrix/policy_server
func (s *Server) getWellKnownPolicyServer(ctx context.Context, c *httpapi.Call) (any, error) {
	if len(s.cfg.WellKnown.PolicyKeys) == 0 {
		return nil, matrix.NotFound("there is no policy server here")
	}
	return policyServerResponse{s.cfg.WellKnown.PolicyKeys}, nil
}
