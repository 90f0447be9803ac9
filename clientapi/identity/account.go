package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// tokenPrefix begins a token of the service. What is stored is the SHA-256 of the whole token.
const tokenPrefix = "rli_"

func hash(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

func unauthorized() *matrix.Error {
	return matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "the token is not valid, or no longer")
}

// Authenticate finds out whose a token of the service is. It is an httpapi.Authenticator for routes of the class IdentityToken.
func (s *Server) Authenticate(ctx context.Context, token string) (*httpapi.Requester, error) {
	u, err := s.cfg.Store.GetIdentityTokenOwner(ctx, hash(token), s.now())
	if errors.Is(err, store.ErrNotFound) {
		return nil, unauthorized()
	}
	if err != nil {
		return nil, fmt.Errorf("look up a token of the identity service: %w", err)
	}
	if err := s.admit(ctx, u); err != nil {
		return nil, err
	}
	return &httpapi.Requester{
		User: u.UserID, Org: u.OrganisationID, Role: httpapi.Role(u.Role), Admin: u.Role == string(httpapi.RoleOwner), Suspended: u.Suspended,
	}, nil
}

// admit refuses accounts that the service does nothing for.
func (s *Server) admit(_ context.Context, u store.User) error {
	switch {
	case u.Deactivated():
		return unauthorized()
	case u.Locked:
		return matrix.NewError(http.StatusUnauthorized, matrix.ErrUserLocked, "this account has been locked")
	case u.Guest:
		return matrix.NewError(http.StatusForbidden, matrix.ErrGuestAccessForbidden, "guests may not do this")
	}
	return nil
}

type registerRequest struct {
	AccessToken      string            `json:"access_token"`
	TokenType        string            `json:"token_type"`
	MatrixServerName matrix.ServerName `json:"matrix_server_name"`
	ExpiresIn        int64             `json:"expires_in"`
}

type registerResponse struct {
	Token string `json:"token"`
	// Interop: clients of the first draft read this one.
	AccessToken string `json:"access_token"`
}

// register gives a token to who has an account here, in exchange for an OpenID token.
//
// Spec: identity v1.19 §authentication, POST /_matrix/identity/v2/account/register
func (s *Server) register(ctx context.Context, _ *httpapi.Call, req *registerRequest) (any, error) {
	if req.AccessToken == "" || req.MatrixServerName == "" {
		return nil, matrix.MissingParam("access_token and matrix_server_name are needed")
	}
	user, err := s.cfg.Store.GetOpenIDUser(ctx, hash(req.AccessToken), s.now())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up an OpenID token: %w", err)
	}
	if err != nil || user.Domain() != req.MatrixServerName {
		return nil, matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "the OpenID token is not valid, or not one of an account of this server")
	}
	u, err := s.cfg.Store.GetUser(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", user, err)
	}
	if err := s.admit(ctx, u); err != nil {
		return nil, err
	}
	var secret [32]byte
	rand.Read(secret[:])
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	now := s.cfg.Clock.Now()
	err = s.cfg.Store.InsertIdentityToken(ctx, hash(token), user, matrix.TimestampOf(now), matrix.TimestampOf(now.Add(limits.IdentityToken)))
	if err != nil {
		return nil, fmt.Errorf("store a token of the identity service: %w", err)
	}
	return registerResponse{token, token}, nil
}

type accountResponse struct {
	UserID matrix.UserID `json:"user_id"`
}

// getAccount says whose the token is.
//
// Spec: identity v1.19 §authentication, GET /_matrix/identity/v2/account
func (s *Server) getAccount(_ context.Context, c *httpapi.Call) (any, error) {
	return accountResponse{c.Requester.User}, nil
}

// logout ends the token.
//
// Spec: identity v1.19 §authentication, POST /_matrix/identity/v2/account/logout
func (s *Server) logout(ctx context.Context, c *httpapi.Call) (any, error) {
	ended, err := s.cfg.Store.DeleteIdentityToken(ctx, hash(c.Token()))
	if err == nil && !ended {
		err = unauthorized()
	}
	return nil, err
}

type termsResponse struct {
	Policies map[string]any `json:"policies"`
}

// getTerms lists no terms: the service is a part of the homeserver, and has none besides those that the account was given under.
//
// Spec: identity v1.19 §terms-of-service, GET /_matrix/identity/v2/terms
func (s *Server) getTerms(context.Context, *httpapi.Call) (any, error) {
	return termsResponse{map[string]any{}}, nil
}

type agreeRequest struct {
	UserAccepts *[]string `json:"user_accepts"`
}

// agreeToTerms takes note that a user accepts what need not be accepted.
//
// Spec: identity v1.19 §terms-of-service, POST /_matrix/identity/v2/terms
func (s *Server) agreeToTerms(_ context.Context, _ *httpapi.Call, req *agreeRequest) (any, error) {
	if req.UserAccepts == nil {
		return nil, matrix.MissingParam("user_accepts is missing")
	}
	return nil, nil
}
