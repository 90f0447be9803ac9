package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate reports everything that is wrong, each as a *FieldError. It looks at no files.
func (c *Config) Validate() error {
	var errs []error
	for _, e := range c.validate() {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// complaints gathers what is wrong.
type complaints []*FieldError

func (l *complaints) add(field, format string, a ...any) {
	*l = append(*l, &FieldError{Field: field, Problem: fmt.Sprintf(format, a...)})
}

func (c *Config) validate() complaints {
	var l complaints
	c.checkNames(&l)
	c.checkListeners(&l)
	c.checkDatabase(&l)
	c.checkSecurity(&l)
	c.checkSupport(&l)
	c.checkTURN(&l)
	c.checkRateLimits(&l)
	c.checkOIDC(&l)
	c.checkMedia(&l)
	c.Telephony.check(&l)
	if t := &c.Telephony; t.Mode != TelephonyOff && t.Voice.ByLiveKit() && (t.Mode != TelephonyInProcess || c.Meetings.LiveKit.URL == "") {
		l.add("telephony.voice.trunks.livekit", "needs telephony.mode in_process and meetings.livekit.url: an embedded LiveKit has no SIP")
	}
	c.checkMeetings(&l)
	if s := c.AddressBooks.ProfileSigning; (s.Cert == "") != (s.Key == "") {
		l.add("address_books.profile_signing", "needs both cert and key")
	}
	if c.PublicBaseURL != "" && !isBaseURL(c.PublicBaseURL) {
		l.add("public_base_url", "must be an http or https URL without query, not %q", c.PublicBaseURL)
	}
	for i, proxy := range c.TrustedProxies {
		if _, err := Network(proxy); err != nil {
			l.add(fmt.Sprintf("trusted_proxies[%d]", i), "must be an address or a network such as 10.0.0.0/8, not %q", proxy)
		}
	}
	for i, network := range c.Outbound.AllowedAddresses {
		if _, err := Network(network); err != nil {
			l.add(fmt.Sprintf("outbound.allowed_addresses[%d]", i), "must be an address or a network such as 10.20.0.0/16, not %q", network)
		}
	}
	for i, path := range c.Appservices.Registrations {
		if path == "" {
			l.add(fmt.Sprintf("appservices.registrations[%d]", i), "must be the path of a file")
		}
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		l.add("log.level", "must be debug, info, warn or error, not %q", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		l.add("log.format", "must be text or json, not %q", c.Log.Format)
	}
	if d := c.DelayedEvents.MaxDelay; d < time.Second || d > 366*24*time.Hour {
		l.add("delayed_events.max_delay", "must be between a second and a year, not %s", d)
	}
	if n := c.DelayedEvents.MaxScheduled; n < 0 || n > 1000 {
		l.add("delayed_events.max_scheduled", "must be between 0 and 1000, not %d", n)
	}
	if c.DataDir == "" {
		l.add("data_dir", "is missing")
	}
	return l
}

func (c *Config) checkNames(l *complaints) {
	if c.UserDirectory != DirectoryOrganisation && c.UserDirectory != DirectoryRooms {
		l.add("user_directory", "must be %s or %s, not %q", DirectoryOrganisation, DirectoryRooms, c.UserDirectory)
	}
	if c.ServerName == "" {
		l.add("server_name", "is missing: the domain of this server's users, such as example.org")
	} else if !isServerName(c.ServerName) {
		l.add("server_name", "%q is not a Matrix server name: a host name or address, with a port if need be", c.ServerName)
	}
	for i, domain := range c.HostedDomains {
		field := fmt.Sprintf("hosted_domains[%d]", i)
		switch {
		case i == 0 && domain != c.ServerName:
			l.add(field, "must be the server_name %q", c.ServerName)
		case !isServerName(domain):
			l.add(field, "%q is not a Matrix server name", domain)
		case slices.Contains(c.HostedDomains[:i], domain):
			l.add(field, "%q is listed twice", domain)
		}
	}
	if s := c.Federation.WellKnownServer; s != "" && !isServerName(s) {
		l.add("federation.well_known_server", "must be host or host:port, not %q", s)
	}
}

func (c *Config) checkDatabase(l *complaints) {
	if text := c.Database.URL.Reveal(); text != "" {
		u, err := url.Parse(text)
		isURL := err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
		isPairs := strings.Contains(text, "=") && !strings.Contains(text, "://")
		if !isURL && !isPairs {
			l.add("database.url", "must begin with postgres://")
		}
	}
	if c.Database.PoolSize < 4 || c.Database.PoolSize > 1000 {
		l.add("database.pool_size", "must be between 4 and 1000, not %d", c.Database.PoolSize)
	}
}

func (c *Config) checkSecurity(l *complaints) {
	if _, _, err := c.SigningKeys.Bytes(); err != nil {
		l.add("signing_keys.encryption_key", "%v", err)
	}
	if !slices.Contains([]RegistrationMode{RegistrationOff, RegistrationToken, RegistrationOpen}, c.Registration.Mode) {
		l.add("registration.mode", "must be off, token or open, not %q", c.Registration.Mode)
	}
	if n := len(c.Registration.SharedSecret); n > 0 && n < 8 {
		l.add("registration.shared_secret", "must have at least 8 characters")
	}
}

func (c *Config) checkTURN(l *complaints) {
	for i, uri := range c.TURN.URIs {
		if !strings.HasPrefix(uri, "turn:") && !strings.HasPrefix(uri, "turns:") {
			l.add(fmt.Sprintf("turn.uris[%d]", i), "must begin with turn: or turns:, not %q", uri)
		}
	}
	secret, static := c.TURN.SharedSecret != "", c.TURN.Username != "" && c.TURN.Password != ""
	if len(c.TURN.URIs) > 0 && secret == static {
		l.add("turn", "needs either a shared_secret, or username and password")
	}
	if d := c.TURN.Lifetime; d < time.Minute || d > 7*24*time.Hour {
		l.add("turn.lifetime", "must be between a minute and a week, not %s", d)
	}
}

func (c *Config) checkSupport(l *complaints) {
	keys := c.PolicyServer.PublicKeys
	if _, ok := keys["ed25519"]; len(keys) > 0 && !ok {
		l.add("policy_server.public_keys", "need one for ed25519")
	}
	for _, algorithm := range slices.Sorted(maps.Keys(keys)) {
		raw, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(keys[algorithm]))
		if err != nil || len(raw) == 0 || algorithm == "ed25519" && len(raw) != 32 {
			l.add("policy_server.public_keys."+algorithm, "must be a key in unpadded base64, not %q", keys[algorithm])
		}
	}
	for i, contact := range c.Support.Contacts {
		field := fmt.Sprintf("support.contacts[%d]", i)
		if contact.Role == "" {
			l.add(field+".role", "is missing, such as m.role.admin")
		}
		if contact.MatrixID == "" && contact.Email == "" {
			l.add(field, "needs a matrix_id or an email")
		}
		if contact.MatrixID != "" && (!strings.HasPrefix(contact.MatrixID, "@") || !strings.Contains(contact.MatrixID, ":")) {
			l.add(field+".matrix_id", "must look like @user:example.org, not %q", contact.MatrixID)
		}
	}
	if c.Support.Page != "" && !isBaseURL(c.Support.Page) {
		l.add("support.page", "must be an http or https URL, not %q", c.Support.Page)
	}
}

// Network reads an address or a network in CIDR notation.
func Network(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Prefix(address.BitLen())
	}
	return netip.ParsePrefix(text)
}

func isBaseURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

var hostName = regexp.MustCompile(`^[0-9A-Za-z.-]{1,230}$`)

// isServerName follows the grammar of server names, roughly: host name, IPv4 or [IPv6], with an optional port.
//
// Spec: appendices v1.19 §server-name
func isServerName(text string) bool {
	host := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		if !isPort(text[i+1:]) || len(text[i+1:]) > 5 {
			return false
		}
		host = text[:i]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && address.Is6() && address.Zone() == "" && strings.HasSuffix(inner, "]")
	}
	return hostName.MatchString(host)
}
