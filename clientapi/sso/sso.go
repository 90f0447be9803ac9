// Package sso signs users in through OpenID providers of the organisation (authorization code flow with PKCE).
//
// Spec: client-server v1.19 §sso-client-loginauthentication
//
//	client → /login/sso/redirect → provider → callback → redirectUrl?loginToken=… → POST /login
//
// What is remembered between the redirect and the callback is a row in the database, so that the callback may reach another process.
// It is bound to the browser by a cookie: whoever sends somebody else a link with a state of their own would otherwise have them sign
// in as the sender. The row holds hashes only; the nonce and the PKCE verifier are made of state and cookie (derive), so that a
// copy of the database is of no use.
//
// A subject of a provider belongs to one account for good. The first time, the account is looked for by the claims that the
// configuration names; it is made only if the configuration says so.
//
// The login token goes to the client's redirectUrl: at once if the operator has listed it, otherwise after the user has seen
// where it goes.
//
// Start reading at Redirect, then Callback.
package sso

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Provider is an OpenID provider.
type Provider struct {
	ID, Name, Icon         string
	Issuer                 string
	ClientID, ClientSecret string
	// Scopes are asked for besides openid.
	Scopes []string
	// Domain is where the users' accounts are.
	Domain matrix.ServerName
	// Create makes accounts for those who have none.
	Create bool
	// LocalpartClaim and EmailClaim are the claims by which an account is found; empty for not at all.
	LocalpartClaim, EmailClaim string
}

// Config of a Server. All but Providers and Allowed are required; without Providers nothing else is.
type Config struct {
	Providers []Provider
	// Allowed are redirectUrls, or beginnings of them, that get the login token without a question.
	Allowed []string
	// BaseURL is where browsers reach this server.
	BaseURL  string
	Store    *store.Store
	Accounts *auth.Accounts
	// HTTP reaches the providers.
	HTTP  *http.Client
	Clock matrix.Clock
	Log   *slog.Logger
	// LoginToken makes a login token for a user.
	LoginToken func(ctx context.Context, user matrix.UserID) (string, error)
}

// CallbackPath is where providers send the browser back to.
const CallbackPath = "/_roomline/sso/callback"

// cookieName is the cookie that binds a sign-in to a browser. With the prefix browsers take it from this host only, not from one of
// the same domain; it needs https.
func (s *Server) cookieName() string {
	if strings.HasPrefix(s.cfg.BaseURL, "https://") {
		return "__Host-roomline_sso"
	}
	return "roomline_sso"
}

// Server serves the endpoints.
type Server struct {
	cfg       Config
	providers []*provider
}

// provider is a Provider whose metadata is fetched when it is first needed, and again after a failure.
type provider struct {
	Provider
	mu         sync.Mutex
	discovered *oidc.Provider
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg}
	if len(cfg.Providers) > 0 && cfg.BaseURL == "" {
		return nil, errors.New("oidc.providers: public_base_url is needed, because the provider sends browsers back there")
	}
	for _, p := range cfg.Providers {
		s.providers = append(s.providers, &provider{Provider: p})
	}
	return s, nil
}

// IdentityProvider is a provider as GET /login lists it.
type IdentityProvider struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Icon string `json:"icon,omitempty"`
}

// IdentityProviders lists the providers in the order of the configuration.
func (s *Server) IdentityProviders() []IdentityProvider {
	list := make([]IdentityProvider, len(s.providers))
	for i, p := range s.providers {
		list[i] = IdentityProvider{p.ID, p.Name, p.Icon}
	}
	return list
}

// oauth returns what is needed to talk to the provider.
func (s *Server) oauth(ctx context.Context, p *provider) (*oauth2.Config, *oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.discovered == nil {
		// The provider keeps the context for fetching its keys later.
		d, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), s.cfg.HTTP), p.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("fetch the metadata of OpenID provider %s: %w", p.ID, err)
		}
		p.discovered = d
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: p.discovered.Endpoint(),
		RedirectURL: strings.TrimSuffix(s.cfg.BaseURL, "/") + CallbackPath, Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}, p.discovered, nil
}

// Redirect sends the browser to the provider, or lets the user choose one.
//
// Spec: client-server v1.19 §client-login-via-sso, GET /_matrix/client/v3/login/sso/redirect
// Spec: client-server v1.19 §client-login-via-sso, GET /_matrix/client/v3/login/sso/redirect/{idpId}
func (s *Server) Redirect(ctx context.Context, c *httpapi.Call) (any, error) {
	if len(s.providers) == 0 {
		return nil, matrix.NotFound("there is no single sign-on here")
	}
	target := c.Query("redirectUrl")
	if target == "" {
		return nil, matrix.MissingParam("redirectUrl is missing")
	}
	if _, ok := parseTarget(target); !ok {
		return nil, matrix.InvalidParam("redirectUrl must be the URL of a client, with at most %d bytes", limits.SSORedirectURL)
	}
	action := c.Query("action")
	if action != "" && action != "login" && action != "register" {
		return nil, matrix.InvalidParam("action must be login or register")
	}
	id := c.Path("idpId")
	if id == "" && len(s.providers) > 1 {
		return nil, s.choose(c, target, action)
	}
	p := s.providers[0]
	if id != "" {
		i := slices.IndexFunc(s.providers, func(p *provider) bool { return p.ID == id })
		if i < 0 {
			return nil, matrix.NotFound("idpId: there is no such identity provider")
		}
		p = s.providers[i]
	}
	oauth, _, err := s.oauth(ctx, p)
	if err != nil {
		s.cfg.Log.Warn("single sign-on", "err", err)
		return nil, matrix.Unavailable(0)
	}
	state, browser := random(), s.cookie(c)
	if browser == "" {
		browser = random()
	}
	err = s.cfg.Store.PutSSOLogin(ctx, store.SSOLogin{StateHash: hash(state), BrowserHash: hash(browser), Provider: p.ID,
		RedirectURL: target, ExpiresTS: matrix.TimestampOf(s.cfg.Clock.Now().Add(limits.SSOLogin))})
	if err != nil {
		return nil, fmt.Errorf("store a sign-in: %w", err)
	}
	http.SetCookie(c.W, &http.Cookie{Name: s.cookieName(), Value: browser, Path: "/", MaxAge: int(limits.SSOLogin.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(s.cfg.BaseURL, "https://")})
	options := []oauth2.AuthCodeOption{oidc.Nonce(derive("nonce", state, browser)), oauth2.S256ChallengeOption(derive("verifier", state, browser))}
	if action == "register" {
		options = append(options, oauth2.SetAuthURLParam("prompt", "create"))
	}
	redirect(c, oauth.AuthCodeURL(state, options...))
	return nil, nil
}

func redirect(c *httpapi.Call, location string) {
	c.W.Header().Set("Location", location)
	c.W.WriteHeader(http.StatusFound)
}

// cookie is the browser's cookie, if it is one of ours.
func (s *Server) cookie(c *httpapi.Call) string {
	found, err := c.Request.Cookie(s.cookieName())
	if err != nil || len(found.Value) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return ""
	}
	return found.Value
}

const secretBytes = 32

func random() string {
	var b [secretBytes]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hash(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// derive makes the nonce and the PKCE verifier. Each takes both secrets to know.
func derive(what, state, browser string) string {
	h := hmac.New(sha256.New, []byte(state))
	h.Write([]byte(what + " " + browser))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// parseTarget reads a redirectUrl. Apps have schemes of their own; those that run something in the browser are refused.
func parseTarget(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || len(text) > limits.SSORedirectURL || u.Scheme == "" || u.Opaque != "" || u.User != nil {
		return nil, false
	}
	switch u.Scheme {
	case "javascript", "data", "vbscript", "blob", "about", "file", "filesystem", "view-source":
		return nil, false
	case "http", "https":
		return u, u.Host != ""
	}
	return u, true
}

// listed reports whether the operator has listed the URL, or a beginning of it that ends where a part of its path ends.
func (s *Server) listed(u *url.URL) bool {
	return slices.ContainsFunc(s.cfg.Allowed, func(text string) bool {
		a, err := url.Parse(text)
		if err != nil || a.Scheme != u.Scheme || !strings.EqualFold(a.Host, u.Host) || strings.Contains(u.Path, "..") {
			return false
		}
		base := strings.TrimSuffix(a.Path, "/")
		return u.Path == a.Path || u.Path == base || strings.HasPrefix(u.Path, base+"/")
	})
}

// withToken adds the login token to a redirectUrl, and keeps the rest as it is.
func withToken(u *url.URL, token string) string {
	with := *u
	q := with.Query()
	q.Set("loginToken", token)
	with.RawQuery = q.Encode()
	return with.String()
}
