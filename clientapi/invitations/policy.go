package invitations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
)

// PolicyName is what an organisation's decisions about invitations and guests are called in its policies.
const PolicyName = "invitations"

// Who may invite outsiders.
const (
	Everyone = "everyone"
	// Managers are owners and those who manage people.
	Managers = "managers"
	Nobody   = "nobody"
)

// What becomes of a guest's data when the guest's time is over.
const (
	Keep  = "keep"
	Erase = "erase"
)

// Languages are those that invitations are written in.
var Languages = []string{"en", "fr", "nl", "de"}

// Policy is what an organisation may decide about inviting people who have no account with it. A missing field leaves it as in DefaultPolicy.
type Policy struct {
	// Who may invite outsiders: everyone, managers (owners and those who manage people), or nobody.
	Who string `json:"who,omitempty"`
	// Email, Phone and Links say in which ways.
	Email *bool `json:"email,omitempty"`
	Phone *bool `json:"phone,omitempty"`
	Links *bool `json:"links,omitempty"`
	// LinkLifetime is how long a link holds if the inviter does not say, and LinkLifetimeMax how long at most, in ms; not above 14 days.
	LinkLifetime    *int64 `json:"link_lifetime_ms,omitempty"`
	LinkLifetimeMax *int64 `json:"link_lifetime_max_ms,omitempty"`
	// LinkUsesMax is how many guests may come by one link that the inviter passes on.
	LinkUsesMax *int `json:"link_uses_max,omitempty"`
	// GuestLifetime is how long guests may stay if the inviter does not say, and GuestLifetimeMax how long at most, in ms.
	GuestLifetime    *int64 `json:"guest_lifetime_ms,omitempty"`
	GuestLifetimeMax *int64 `json:"guest_lifetime_max_ms,omitempty"`
	// Proof asks everybody who comes by an address for a code that is sent to it; otherwise the inviter decides.
	Proof *bool `json:"proof,omitempty"`
	// AllowDomains are the domains of e-mail addresses that may be invited, with those below them; empty: all but DenyDomains.
	AllowDomains []string `json:"allow_domains,omitempty"`
	DenyDomains  []string `json:"deny_domains,omitempty"`
	// Language is what invitations are written in if the inviter does not say: en, fr, nl or de. Empty: the organisation's first one.
	Language string `json:"language,omitempty"`
	// GuestData is what becomes of a guest's data when the guest's time is over: keep, or erase.
	GuestData string `json:"guest_data,omitempty"`
	// GuestGrace is how long guests of a meeting may stay after its end, in ms.
	GuestGrace *int64 `json:"guest_grace_ms,omitempty"`
	// GuestUploadSize is the largest file of a guest, in bytes; GuestQuota and GuestFiles bound all files of one together.
	GuestUploadSize *int64 `json:"guest_upload_size,omitempty"`
	GuestQuota      *int64 `json:"guest_quota,omitempty"`
	GuestFiles      *int64 `json:"guest_files,omitempty"`
	// GuestAccess opens the specification's way of becoming a guest, without an invitation.
	GuestAccess *bool `json:"guest_access,omitempty"`
}

// DefaultPolicy is what holds where an organisation has decided nothing. Every field that bounds something is set.
func DefaultPolicy() Policy {
	day := (24 * time.Hour).Milliseconds()
	return Policy{
		Who: Everyone, Email: new(true), Phone: new(true), Links: new(true),
		LinkLifetime: new(3 * day), LinkLifetimeMax: new(limits.InvitationLink.Milliseconds()), LinkUsesMax: new(100),
		GuestLifetime: new(7 * day), GuestLifetimeMax: new(90 * day), Proof: new(false),
		GuestData: Keep, GuestGrace: new(time.Hour.Milliseconds()),
		GuestUploadSize: new(int64(25 << 20)), GuestQuota: new(int64(100 << 20)), GuestFiles: new(int64(200)), GuestAccess: new(false),
	}
}

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if err := strictjson.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	for _, f := range []struct {
		name, value string
		allowed     []string
	}{
		{"who", p.Who, []string{Everyone, Managers, Nobody}}, {"guest_data", p.GuestData, []string{Keep, Erase}}, {"language", p.Language, Languages},
	} {
		if f.value != "" && !slices.Contains(f.allowed, f.value) {
			return Policy{}, matrix.BadJSON("%s must be one of %s", f.name, strings.Join(f.allowed, ", "))
		}
	}
	for _, f := range []struct {
		name  string
		value *int64
		most  time.Duration
	}{
		{"link_lifetime_ms", p.LinkLifetime, limits.InvitationLink}, {"link_lifetime_max_ms", p.LinkLifetimeMax, limits.InvitationLink},
		{"guest_lifetime_ms", p.GuestLifetime, limits.GuestStay}, {"guest_lifetime_max_ms", p.GuestLifetimeMax, limits.GuestStay},
	} {
		if f.value != nil && (*f.value < limits.InvitationShortest.Milliseconds() || *f.value > f.most.Milliseconds()) {
			return Policy{}, matrix.BadJSON("%s must be between %d and %d", f.name, limits.InvitationShortest.Milliseconds(), f.most.Milliseconds())
		}
	}
	for name, n := range map[string]*int64{
		"guest_grace_ms": p.GuestGrace, "guest_upload_size": p.GuestUploadSize, "guest_quota": p.GuestQuota, "guest_files": p.GuestFiles,
	} {
		if n != nil && (*n < 0 || *n > limits.MaxInteger) {
			return Policy{}, matrix.BadJSON("%s must not be negative", name)
		}
	}
	if n := p.GuestGrace; n != nil && *n > limits.GuestStay.Milliseconds() {
		return Policy{}, matrix.BadJSON("guest_grace_ms must be at most %d", limits.GuestStay.Milliseconds())
	}
	if n := p.LinkUsesMax; n != nil && (*n < 1 || *n > limits.InvitationUses) {
		return Policy{}, matrix.BadJSON("link_uses_max must be between 1 and %d", limits.InvitationUses)
	}
	if err := checkDomains("allow_domains", p.AllowDomains); err != nil {
		return Policy{}, err
	}
	return p, checkDomains("deny_domains", p.DenyDomains)
}

func checkDomains(field string, domains []string) error {
	if len(domains) > limits.InvitationDomains {
		return matrix.BadJSON("%s has more than %d domains", field, limits.InvitationDomains)
	}
	for _, d := range domains {
		if d == "" || len(d) > 253 || d != strings.ToLower(d) || strings.ContainsAny(d, "@*/: \t\r\n") || strings.HasPrefix(d, ".") {
			return matrix.BadJSON("%s: %q is not a domain in lower case", field, d)
		}
	}
	return nil
}

// PolicyOf is what holds for an organisation. Every field is set.
func (s *Server) PolicyOf(ctx context.Context, org int64) (Policy, error) {
	p := DefaultPolicy()
	value, err := s.cfg.Store.GetPolicy(ctx, org, PolicyName)
	if err != nil {
		return p, fmt.Errorf("load the policy of invitations: %w", err)
	}
	if value != nil {
		// What the organisation has not decided is not in the JSON, and stays.
		if err := json.Unmarshal(value, &p); err != nil {
			return p, fmt.Errorf("stored policy of invitations: %w", err)
		}
	}
	if p.Language == "" {
		if p.Language, err = s.language(ctx, org); err != nil {
			return p, err
		}
	}
	*p.LinkLifetime = min(*p.LinkLifetime, *p.LinkLifetimeMax)
	*p.GuestLifetime = min(*p.GuestLifetime, *p.GuestLifetimeMax)
	return p, nil
}

// language is the first one of an organisation's.
func (s *Server) language(ctx context.Context, org int64) (string, error) {
	if s.cfg.Languages == nil {
		return Languages[0], nil
	}
	spoken, err := s.cfg.Languages(ctx, org)
	if err != nil {
		return "", fmt.Errorf("look up the languages of an organisation: %w", err)
	}
	for _, l := range spoken {
		if slices.Contains(Languages, l) {
			return l, nil
		}
	}
	return Languages[0], nil
}

// admits refuses who may not invite outsiders, and how they may not be invited.
func (p *Policy) admits(who *httpapi.Requester, medium, address string) error {
	switch {
	case p.Who == Nobody:
		return matrix.Forbidden("the organisation does not invite people from outside")
	case p.Who == Managers && !who.ManagesPeople():
		return matrix.Forbidden("only those who manage people may invite people from outside")
	}
	allowed := map[string]*bool{"": p.Links, "email": p.Email, "msisdn": p.Phone}[medium]
	if !*allowed {
		return denied("the organisation does not invite people from outside in this way")
	}
	if medium == "email" && !p.admitsDomain(address[strings.LastIndexByte(address, '@')+1:]) {
		return denied("the organisation does not invite people of this domain")
	}
	return nil
}

func (p *Policy) admitsDomain(domain string) bool {
	covers := func(list []string) bool {
		return slices.ContainsFunc(list, func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) })
	}
	return !covers(p.DenyDomains) && (len(p.AllowDomains) == 0 || covers(p.AllowDomains))
}

// denied refuses an address or a medium.
func denied(format string, a ...any) *matrix.Error {
	return matrix.NewError(403, matrix.ErrThreepidDenied, format, a...)
}
