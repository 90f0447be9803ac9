package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Registration says who may make an account.
type Registration struct {
	// Mode is off (accounts are made by the organisation: roomline user create), token (with a registration token) or open
	// (anybody: only for tests).
	Mode RegistrationMode `yaml:"mode"`

	// SharedSecret lets tools that know it make accounts through /_synapse/admin/v1/register, administrators too.
	// Empty: that way is closed.
	SharedSecret Secret `yaml:"shared_secret"`
}

// RegistrationMode says who may make an account.
type RegistrationMode string

// The modes.
const (
	RegistrationOff   RegistrationMode = "off"
	RegistrationToken RegistrationMode = "token"
	RegistrationOpen  RegistrationMode = "open"
)

// OIDC is signing in through OpenID providers (single sign-on).
type OIDC struct {
	// RedirectURLs are addresses of clients, or beginnings of them, such as https://chat.example.org/ or myapp://login. Only they get
	// the user's login token without asking the user.
	RedirectURLs []string `yaml:"redirect_urls"`

	// Providers are offered in this order. They need public_base_url: the callback to register with them is
	// <public_base_url>/_roomline/sso/callback.
	Providers []OIDCProvider `yaml:"providers"`
}

// OIDCProvider is an OpenID provider.
type OIDCProvider struct {
	// ID is part of URLs: letters, digits, - . _ ~ only. Don't change it.
	ID string `yaml:"id" example:"example"`

	// Name is what users read.
	Name string `yaml:"name" example:"Example Ltd"`

	// Icon is an mxc:// URI. Empty: none.
	Icon string `yaml:"icon"`

	// Issuer is the provider's address, below which /.well-known/openid-configuration is.
	Issuer string `yaml:"issuer" example:"https://login.example.org"`

	// ClientID is what the provider calls this server.
	ClientID string `yaml:"client_id" example:"roomline"`

	// ClientSecret is the password that goes with it. Empty: PKCE alone has to do.
	ClientSecret Secret `yaml:"client_secret"`

	// Scopes are asked for besides openid.
	Scopes []string `yaml:"scopes" example:"[profile, email]"`

	// Domain is the hosted domain where the users' accounts are. Empty: server_name.
	Domain string `yaml:"domain"`

	// User is existing-only (the organisation makes the accounts) or create (whoever the provider lets in gets one, named
	// by localpart_claim). Empty: existing-only.
	User OIDCUser `yaml:"user"`

	// LocalpartClaim is the claim with the part of the user id before the colon. Use it only if the provider's users can't choose it:
	// who comes first with the name of an account gets it. Empty: accounts are not found by name.
	LocalpartClaim string `yaml:"localpart_claim" example:"preferred_username"`

	// EmailClaim is the claim with an e-mail address of the account, which counts if the provider says email_verified.
	// Empty: accounts are not found by address.
	EmailClaim string `yaml:"email_claim"`
}

// OIDCUser says whether accounts are made.
type OIDCUser string

// The ways.
const (
	OIDCExisting OIDCUser = "existing-only"
	OIDCCreate   OIDCUser = "create"
)

// Accounts is what holds for accounts.
type Accounts struct {
	// SelfDeactivate lets people close their own accounts in the app. Without it only their organisation closes accounts.
	SelfDeactivate bool `yaml:"self_deactivate"`
	// EraseMessages removes what somebody has written when the organisation deletes the account. Without it the words stay, and
	// the name goes.
	EraseMessages bool `yaml:"erase_messages"`
	// EraseMedia removes the files that somebody has uploaded when the organisation deletes the account.
	EraseMedia bool `yaml:"erase_media"`
}

var idpID = regexp.MustCompile(`^[0-9A-Za-z._~-]{1,255}$`)

func (c *Config) checkOIDC(l *complaints) {
	for i, text := range c.OIDC.RedirectURLs {
		if u, err := url.Parse(text); err != nil || u.Scheme == "" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			l.add(fmt.Sprintf("oidc.redirect_urls[%d]", i), "must be a URL with a host and without query, such as https://chat.example.org/, not %q", text)
		}
	}
	if len(c.OIDC.Providers) > 0 && c.PublicBaseURL == "" {
		l.add("oidc.providers", "need public_base_url, where they send browsers back to")
	}
	for i, p := range c.OIDC.Providers {
		field := fmt.Sprintf("oidc.providers[%d]", i)
		if !idpID.MatchString(p.ID) {
			l.add(field+".id", "must have 1 to 255 letters, digits or - . _ ~, not %q", p.ID)
		}
		if slices.ContainsFunc(c.OIDC.Providers[:i], func(other OIDCProvider) bool { return other.ID == p.ID }) {
			l.add(field+".id", "%q is there twice", p.ID)
		}
		if p.Name == "" {
			l.add(field+".name", "is missing")
		}
		if p.Icon != "" && !strings.HasPrefix(p.Icon, "mxc://") {
			l.add(field+".icon", "must be an mxc:// URI, not %q", p.Icon)
		}
		if !isBaseURL(p.Issuer) {
			l.add(field+".issuer", "must be an http or https URL, not %q", p.Issuer)
		}
		if p.ClientID == "" {
			l.add(field+".client_id", "is missing")
		}
		if p.Domain != "" && !slices.Contains(c.Domains(), p.Domain) {
			l.add(field+".domain", "%q is not a hosted domain", p.Domain)
		}
		if !slices.Contains([]OIDCUser{"", OIDCExisting, OIDCCreate}, p.User) {
			l.add(field+".user", "must be existing-only or create, not %q", p.User)
		}
		if p.LocalpartClaim == "" && (p.EmailClaim == "" || p.User == OIDCCreate) {
			l.add(field+".localpart_claim", "is missing: nothing else says which account is meant")
		}
	}
}
