package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// refusal is why somebody is not signed in, in words for the person at the browser.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

func refuse(status int, why string) error { return &refusal{status, why} }

// Callback is where the provider sends the browser back to.
//
// Spec: client-server v1.19 §client-login-via-sso
func (s *Server) Callback(ctx context.Context, c *httpapi.Call) (any, error) {
	user, login, err := s.finish(ctx, c)
	var token string
	if err == nil {
		token, err = s.cfg.LoginToken(ctx, user)
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return nil, s.apologise(c, r)
	}
	if err != nil {
		return nil, err
	}
	target, ok := parseTarget(login.RedirectURL)
	if !ok {
		return nil, fmt.Errorf("a stored redirectUrl is none: %q", login.RedirectURL)
	}
	if s.listed(target) {
		redirect(c, withToken(target, token))
		return nil, nil
	}
	return nil, s.confirm(c, user, target, token)
}

// finish takes the sign-in that the browser began and asks the provider who is there.
func (s *Server) finish(ctx context.Context, c *httpapi.Call) (matrix.UserID, store.SSOLogin, error) {
	state, browser := c.Query("state"), s.cookie(c)
	if state == "" || browser == "" {
		return "", store.SSOLogin{}, refuse(http.StatusBadRequest, "This sign-in was not begun in this browser, or the browser keeps no cookies.")
	}
	login, err := s.cfg.Store.TakeSSOLogin(ctx, hash(state), hash(browser), matrix.TimestampOf(s.cfg.Clock.Now()))
	if errors.Is(err, store.ErrNotFound) {
		return "", login, refuse(http.StatusBadRequest, "This sign-in has expired or was finished already.")
	}
	if err != nil {
		return "", login, fmt.Errorf("look up a sign-in: %w", err)
	}
	i := slices.IndexFunc(s.providers, func(p *provider) bool { return p.ID == login.Provider })
	if i < 0 {
		return "", login, refuse(http.StatusBadRequest, "This identity provider is not used any more.")
	}
	p := s.providers[i]
	// Mix-up (RFC 9207): an answer of another provider than the one that was asked.
	if iss := c.Query("iss"); iss != "" && iss != p.Issuer {
		return "", login, refuse(http.StatusBadRequest, "The answer comes from another identity provider than the one that was asked.")
	}
	code := c.Query("code")
	if code == "" {
		return "", login, refuse(http.StatusForbidden, "The identity provider did not sign you in.")
	}
	claims, err := s.exchange(ctx, p, code, state, browser)
	if err != nil {
		s.cfg.Log.Warn("single sign-on", "provider", p.ID, "err", err)
		return "", login, refuse(http.StatusBadGateway, "The identity provider's answer could not be used.")
	}
	user, err := s.account(ctx, p, claims)
	return user, login, err
}

// claims are what a provider says of somebody.
type claims map[string]any

func (c claims) text(name string) string {
	if name == "" {
		return ""
	}
	s, _ := c[name].(string)
	return s
}

// exchange redeems the code and verifies the ID token. Claims that are not in it are asked for.
func (s *Server) exchange(ctx context.Context, p *provider, code, state, browser string) (claims, error) {
	oauth, discovered, err := s.oauth(ctx, p)
	if err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, s.cfg.HTTP)
	token, err := oauth.Exchange(ctx, code, oauth2.VerifierOption(derive("verifier", state, browser)))
	if err != nil {
		// The error of the library quotes the answer, which may hold tokens.
		if r, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			return nil, fmt.Errorf("redeem the code: %s (%d)", r.ErrorCode, r.Response.StatusCode)
		}
		return nil, errors.New("redeem the code: no answer that can be read")
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("the answer has no ID token")
	}
	verified, err := discovered.Verifier(&oidc.Config{ClientID: p.ClientID, Now: s.cfg.Clock.Now}).Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("verify the ID token: %w", err)
	}
	if verified.Nonce != derive("nonce", state, browser) {
		return nil, errors.New("the ID token has another nonce")
	}
	var c claims
	if err := verified.Claims(&c); err != nil {
		return nil, fmt.Errorf("read the ID token: %w", err)
	}
	if p.LocalpartClaim != "" && c[p.LocalpartClaim] == nil || p.EmailClaim != "" && c[p.EmailClaim] == nil {
		if err := s.userInfo(ctx, discovered, token, verified.Subject, c); err != nil {
			return nil, err
		}
	}
	c["sub"] = verified.Subject
	return c, nil
}

// userInfo adds what the ID token does not say.
func (s *Server) userInfo(ctx context.Context, discovered *oidc.Provider, token *oauth2.Token, subject string, c claims) error {
	if discovered.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := discovered.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("ask for the user's claims: %w", err)
	}
	// OpenID Connect Core §5.3.2: otherwise the answer must not be used.
	if info.Subject != subject {
		return errors.New("the claims are about another subject than the ID token")
	}
	var more map[string]json.RawMessage
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("read the user's claims: %w", err)
	}
	for name, raw := range more {
		var value any
		if _, known := c[name]; !known && json.Unmarshal(raw, &value) == nil {
			c[name] = value
		}
	}
	return nil
}

// account finds the account of a subject, binds one that fits, or makes one.
func (s *Server) account(ctx context.Context, p *provider, c claims) (matrix.UserID, error) {
	subject := c.text("sub")
	user, err := s.cfg.Store.GetSSOSubject(ctx, p.Issuer, subject)
	if errors.Is(err, store.ErrNotFound) {
		if user, err = s.match(ctx, p, c); err == nil && user == "" {
			user, err = s.create(ctx, p, c)
		}
		if err == nil {
			user, err = s.cfg.Store.PutSSOSubject(ctx, p.Issuer, subject, user, matrix.TimestampOf(s.cfg.Clock.Now()))
		}
	}
	if err != nil {
		return "", fmt.Errorf("look for the account of a subject: %w", err)
	}
	account, err := s.cfg.Store.GetUser(ctx, user)
	switch {
	case err != nil:
		return "", fmt.Errorf("look up %s: %w", user, err)
	case account.Deactivated(), account.Locked:
		return "", refuse(http.StatusForbidden, "This account is closed or locked.")
	}
	return user, nil
}

// match finds an account by the claims, "" when there is none. An address counts only if the provider has verified it.
func (s *Server) match(ctx context.Context, p *provider, c claims) (matrix.UserID, error) {
	if localpart := c.text(p.LocalpartClaim); localpart != "" {
		user, err := matrix.NewUserID(strings.ToLower(localpart), p.Domain)
		if err == nil {
			_, err = s.cfg.Store.GetUser(ctx, user)
			if err == nil || !errors.Is(err, store.ErrNotFound) {
				return user, err
			}
		}
	}
	email := c.text(p.EmailClaim)
	if email == "" || c["email_verified"] != true {
		return "", nil
	}
	domain, err := s.cfg.Store.GetHostedDomain(ctx, p.Domain)
	if err != nil {
		return "", err
	}
	user, err := s.cfg.Store.GetThreePIDOwner(ctx, domain.OrganisationID, "email", auth.CanonicalEmail(email))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return user, err
}

// create makes an account, if the provider's users may have one made.
func (s *Server) create(ctx context.Context, p *provider, c claims) (matrix.UserID, error) {
	localpart := c.text(p.LocalpartClaim)
	if !p.Create || localpart == "" {
		return "", refuse(http.StatusForbidden, "There is no account for you here. Ask your organisation for one.")
	}
	n := auth.NewAccount{Localpart: localpart, Domain: p.Domain, DisplayName: c.text("name")}
	if email := c.text(p.EmailClaim); email != "" && c["email_verified"] == true {
		n.ThreePIDs = []store.ThreePID{{Medium: "email", Address: email}}
	}
	user, err := s.cfg.Accounts.Create(ctx, n)
	if _, refused := matrix.AsError(err); refused {
		return "", refuse(http.StatusForbidden, "No account could be made under your name. Ask your organisation for one.")
	}
	return user, err
}
