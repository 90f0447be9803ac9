package clientapi

import (
	"context"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// WellKnownConfig is what the discovery documents say. A document that has nothing to say is not served.
type WellKnownConfig struct {
	// BaseURL is where clients reach the client-server API, for example https://matrix.example.com.
	BaseURL string
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
	Homeserver struct {
		BaseURL string `json:"base_url"`
	} `json:"m.homeserver"`
}

// discovery is the document for clients, nil when the base URL is not configured.
func (s *Server) discovery() *wellKnownClient {
	if s.cfg.WellKnown.BaseURL == "" {
		return nil
	}
	var doc wellKnownClient
	doc.Homeserver.BaseURL = s.cfg.WellKnown.BaseURL
	return &doc
}

// getWellKnownClient tells clients where the homeserver of this domain is.
//
// Spec: client-server v1.19 §well-known-uris, GET /.well-known/matrix/client
func (s *Server) getWellKnownClient(ctx context.Context, c *httpapi.Call) (any, error) {
	doc := s.discovery()
	if doc == nil {
		return nil, matrix.NotFound("no discovery information is configured for clients")
	}
	return doc, nil
}

// getWellKnownServer tells other servers where the homeserver of this domain is.
//
// Spec: server-server v1.19 §resolving-server-names, GET /.well-known/matrix/server
func (s *Server) getWellKnownServer(ctx context.Context, c *httpapi.Call) (any, error) {
	if s.cfg.WellKnown.FederationServer == "" {
		return nil, matrix.NotFound("no discovery information is configured for servers")
	}
	return struct {
		Server string `json:"m.server"`
	}{s.cfg.WellKnown.FederationServer}, nil
}

type supportResponse struct {
	Contacts    []SupportContact `json:"contacts,omitempty"`
	SupportPage string           `json:"support_page,omitempty"`
}

// getWellKnownSupport says whom to ask for help.
//
// Spec: client-server v1.19 §well-known-uris, GET /.well-known/matrix/support
func (s *Server) getWellKnownSupport(ctx context.Context, c *httpapi.Call) (any, error) {
	doc := supportResponse{Contacts: s.cfg.WellKnown.SupportContacts, SupportPage: s.cfg.WellKnown.SupportPage}
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
