package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
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

func (c *Config) checkMedia(l *complaints) {
	m := &c.Media
	for _, one := range []struct {
		field, value string
		words        []string
	}{
		{"media.store", string(m.Store), []string{string(MediaFolder), string(MediaS3)}},
		{"media.url_previews", string(m.URLPreviews), []string{string(URLPreviewsOff), string(URLPreviewsAsked), string(URLPreviewsOn)}},
		{"media.clamav.oversize", m.ClamAV.Oversize, []string{"refuse", "accept"}},
		{"deletion.file", c.Deletion.File, []string{"sender", "owner"}},
		{"deletion.text", c.Deletion.Text, []string{"sender", "owner"}},
		{"deletion.voice", c.Deletion.Voice, []string{"sender", "owner"}},
		{"deletion.encrypted", c.Deletion.Encrypted, []string{"sender", "owner"}},
		{"deletion.encrypted_media", c.Deletion.EncryptedMedia, []string{"sender", "owner"}},
	} {
		if !slices.Contains(one.words, one.value) {
			l.add(one.field, "must be %s, not %q", strings.Join(one.words, " or "), one.value)
		}
	}
	if m.Store == MediaS3 {
		if !isBaseURL(m.S3.Endpoint) {
			l.add("media.s3.endpoint", "must be an http or https URL, not %q", m.S3.Endpoint)
		}
		if m.S3.Bucket == "" || m.S3.AccessKey == "" || m.S3.SecretKey == "" {
			l.add("media.s3", "needs bucket, access_key and secret_key")
		}
		switch public := m.S3.PublicEndpoint; {
		case public == "":
		case !isBaseURL(public):
			l.add("media.s3.public_endpoint", "must be an http or https URL, not %q", public)
		case m.S3.Region == "":
			l.add("media.s3.public_endpoint", "needs media.s3.region")
		}
		if e := m.S3.Encryption; e != "" && e != "SSE-S3" && !strings.HasPrefix(e, "SSE-KMS:") {
			l.add("media.s3.encryption", "must be empty, SSE-S3 or SSE-KMS: with the id of a key, not %q", e)
		}
	}
	if m.MaxUploadSize < 1 || m.MaxUploadSize > 5<<30 {
		l.add("media.max_upload_size", "must be between 1 byte and 5 GiB, not %d", m.MaxUploadSize)
	}
	if m.UserQuota < 0 || m.OrganisationQuota < 0 || m.UserFiles < 0 {
		l.add("media", "user_quota, organisation_quota and user_files must not be negative")
	}
	if m.UnusedFor < time.Minute || m.UnusedFor > 366*24*time.Hour {
		l.add("media.unused_for", "must be between a minute and a year, not %s", m.UnusedFor)
	}
	if m.UnauthenticatedUntil != "" {
		if _, err := time.Parse(time.RFC3339, m.UnauthenticatedUntil); err != nil {
			l.add("media.unauthenticated_until", "must be a time such as 2024-09-01T00:00:00Z, not %q", m.UnauthenticatedUntil)
		}
	}
	for i, network := range m.URLPreviewAddresses {
		if _, err := Network(network); err != nil {
			l.add(fmt.Sprintf("media.url_preview_addresses[%d]", i), "must be an address or a network such as 10.30.0.0/16, not %q", network)
		}
	}
	for name, domains := range map[string][]string{"url_preview_allow": m.URLPreviewAllow, "url_preview_deny": m.URLPreviewDeny} {
		for i, domain := range domains {
			if domain == "" || strings.ContainsAny(domain, "/*@ ") {
				l.add(fmt.Sprintf("media.%s[%d]", name, i), "must be a domain such as example.org, not %q", domain)
			}
		}
	}
	for kind, age := range m.Retention {
		if !slices.Contains([]string{"file", "image", "video", "audio", "voice", "sticker", "encrypted", "other"}, kind) {
			l.add("media.retention."+kind, "is no kind of media")
		} else if age < time.Hour {
			l.add("media.retention."+kind, "must be at least an hour, not %s", age)
		}
	}
}

// What UserDirectory may be.
const (
	DirectoryOrganisation = "organisation"
	DirectoryRooms        = "rooms"
)

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

func (c *Config) checkListeners(l *complaints) {
	if len(c.Listeners) == 0 {
		l.add("listeners", "at least one is needed, such as {address: \"127.0.0.1:8008\", serve: [client]}")
		return
	}
	client := false
	for i, listener := range c.Listeners {
		field := fmt.Sprintf("listeners[%d]", i)
		if _, port, err := net.SplitHostPort(listener.Address); err != nil || !isPort(port) {
			l.add(field+".address", "must be host:port, not %q", listener.Address)
		}
		if (listener.TLS.Cert == "") != (listener.TLS.Key == "") {
			l.add(field+".tls", "needs both cert and key")
		}
		if len(listener.Serve) == 0 {
			l.add(field+".serve", "must name at least one of client, federation, admin")
		}
		for j, service := range listener.Serve {
			if !slices.Contains([]Service{ServeClient, ServeFederation, ServeAdmin}, service) {
				l.add(fmt.Sprintf("%s.serve[%d]", field, j), "must be client, federation or admin, not %q", service)
			}
			client = client || service == ServeClient
		}
	}
	if !client {
		l.add("listeners", "one of them must serve client")
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

func (c *Config) checkRateLimits(l *complaints) {
	for _, name := range slices.Sorted(maps.Keys(c.RateLimits.Classes)) {
		limit := c.RateLimits.Classes[name]
		field := "rate_limits.classes." + name
		if limit.Burst < 1 || limit.Burst > 1_000_000 {
			l.add(field+".burst", "must be between 1 and 1000000, not %d", limit.Burst)
		}
		if limit.Every < time.Microsecond || limit.Every > 10*365*24*time.Hour/time.Duration(max(limit.Burst, 1)) {
			l.add(field+".every", "must be at least 1us, and for the whole burst at most ten years, not %s", limit.Every)
		}
	}
	for i, user := range c.RateLimits.ExemptUsers {
		if !strings.HasPrefix(user, "@") || !strings.Contains(user, ":") {
			l.add(fmt.Sprintf("rate_limits.exempt_users[%d]", i), "must look like @user:example.org, not %q", user)
		}
	}
	for i, id := range c.RateLimits.ExemptAppservices {
		if id == "" {
			l.add(fmt.Sprintf("rate_limits.exempt_appservices[%d]", i), "must be the id of an application service")
		}
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
