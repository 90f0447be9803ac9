package mediaapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// PolicyName is what an organisation's decisions about media are called in its policies.
const PolicyName = "media"

// PreviewMode says for whom pages are fetched.
type PreviewMode string

// For nobody; for organisations that ask for it; for all but those that don't want it.
const (
	PreviewsOff   PreviewMode = "off"
	PreviewsAsked PreviewMode = "asked"
	PreviewsOn    PreviewMode = "on"
)

// Policy is what an organisation may decide about its media. A missing field leaves it as the configuration has it.
type Policy struct {
	// MaxUploadSize is the largest file, in bytes; not more than the configuration allows.
	MaxUploadSize *int64 `json:"max_upload_size,omitempty"`
	// UserQuota and OrganisationQuota bound the bytes of a user and of all users, UserFiles the files of a user; 0 is no bound.
	UserQuota         *int64 `json:"user_quota,omitempty"`
	OrganisationQuota *int64 `json:"organisation_quota,omitempty"`
	UserFiles         *int64 `json:"user_files,omitempty"`
	// URLPreviews lets members ask what is behind a link.
	URLPreviews *bool `json:"url_previews,omitempty"`
	// URLPreviewAllow are the domains that previews are fetched of, those of the configuration among them; empty: all that those are.
	// URLPreviewDeny are left out, beside those of the configuration.
	URLPreviewAllow []string `json:"url_preview_allow,omitempty"`
	URLPreviewDeny  []string `json:"url_preview_deny,omitempty"`
	// RetentionDays is after how many days media goes, by its kind; 0 is never.
	RetentionDays map[string]int64 `json:"retention_days,omitempty"`
}

// retained are the kinds that may go by age.
var retained = map[string]bool{
	"file": true, "image": true, "video": true, "audio": true, "voice": true, "sticker": true, "encrypted": true, "other": true,
}

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if err := strictjson.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	for name, n := range map[string]*int64{
		"max_upload_size": p.MaxUploadSize, "user_quota": p.UserQuota, "organisation_quota": p.OrganisationQuota, "user_files": p.UserFiles,
	} {
		if n != nil && *n < 0 {
			return Policy{}, matrix.BadJSON("%s must not be negative", name)
		}
	}
	if err := checkDomains("url_preview_allow", p.URLPreviewAllow); err != nil {
		return Policy{}, err
	}
	if err := checkDomains("url_preview_deny", p.URLPreviewDeny); err != nil {
		return Policy{}, err
	}
	for kind, days := range p.RetentionDays {
		if !retained[kind] {
			return Policy{}, matrix.BadJSON("retention_days: %q is no kind of media", kind)
		}
		if days < 0 || days > 100*366 {
			return Policy{}, matrix.BadJSON("retention_days: %s must be between 0 and 36600", kind)
		}
	}
	return p, nil
}

// rules is what holds for an organisation.
type rules struct {
	maxUpload int64
	quota     store.MediaQuota
	previews  bool
	// domains are those of previews: those of the deployment, and what the organisation leaves of them.
	domains   [2]Domains
	retention map[string]time.Duration
}

// rulesOf is what holds for an organisation: what it decided, and for the rest the configuration.
func (s *Server) rulesOf(ctx context.Context, org int64) (rules, error) {
	value, err := s.cfg.Store.GetPolicy(ctx, org, PolicyName)
	if err != nil {
		return rules{}, fmt.Errorf("load the media policy: %w", err)
	}
	var own Policy
	if value != nil {
		if err := json.Unmarshal(value, &own); err != nil {
			return rules{}, fmt.Errorf("stored media policy: %w", err)
		}
	}
	d := &s.cfg.Defaults
	r := rules{
		maxUpload: *d.MaxUploadSize,
		quota: store.MediaQuota{
			UserBytes: decided(own.UserQuota, d.UserQuota), UserFiles: decided(own.UserFiles, d.UserFiles),
			OrganisationBytes: decided(own.OrganisationQuota, d.OrganisationQuota),
		},
		retention: maps.Clone(s.cfg.Retention),
		domains:   [2]Domains{s.cfg.PreviewDomains, {Allow: own.URLPreviewAllow, Deny: own.URLPreviewDeny}},
	}
	if n := own.MaxUploadSize; n != nil && *n > 0 {
		r.maxUpload = min(*n, r.maxUpload)
	}
	if r.retention == nil {
		r.retention = map[string]time.Duration{}
	}
	switch s.cfg.Previews {
	case PreviewsAsked:
		r.previews = own.URLPreviews != nil && *own.URLPreviews
	case PreviewsOn:
		r.previews = own.URLPreviews == nil || *own.URLPreviews
	}
	for kind, days := range own.RetentionDays {
		r.retention[kind] = time.Duration(days) * 24 * time.Hour
	}
	return r, nil
}

// rulesFor is what holds for an uploader: guests have less than others.
func (s *Server) rulesFor(ctx context.Context, who *httpapi.Requester) (rules, error) {
	r, err := s.rulesOf(ctx, who.Org)
	if err != nil || !who.Guest || s.cfg.GuestLimits == nil {
		return r, err
	}
	g, err := s.cfg.GuestLimits(ctx, who.Org)
	if err != nil {
		return r, fmt.Errorf("load the limits of guests: %w", err)
	}
	r.maxUpload = lower(r.maxUpload, g.Upload)
	r.quota.UserBytes, r.quota.UserFiles = lower(r.quota.UserBytes, g.Bytes), lower(r.quota.UserFiles, g.Files)
	return r, nil
}

// lower is the lower of two bounds, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

func (r *rules) mayPreview(u *url.URL) bool {
	return r.domains[0].allowed(u) && r.domains[1].allowed(u)
}

func decided(own, before *int64) int64 {
	switch {
	case own != nil:
		return *own
	case before != nil:
		return *before
	}
	return 0
}

// DefaultPolicy is what holds where an organisation has decided nothing.
func (s *Server) DefaultPolicy() Policy {
	p := s.cfg.Defaults
	previews := s.cfg.Previews == PreviewsOn
	p.URLPreviews = &previews
	p.RetentionDays = map[string]int64{}
	for kind, d := range s.cfg.Retention {
		p.RetentionDays[kind] = int64(d / (24 * time.Hour))
	}
	return p
}

// Quota is how many bytes of media an organisation has, and how many it may have; 0 is no bound.
func (s *Server) Quota(ctx context.Context, org int64) (used, bound int64, err error) {
	r, err := s.rulesOf(ctx, org)
	if err != nil {
		return 0, 0, err
	}
	u, err := s.cfg.Store.GetOrganisationMediaUsage(ctx, org)
	return u.Bytes, r.quota.OrganisationBytes, err
}

type configResponse struct {
	UploadSize int64 `json:"m.upload.size"`
}

// getConfig tells clients how large an upload may be.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/client/v1/media/config
func (s *Server) getConfig(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.rulesFor(ctx, c.Requester)
	return configResponse{r.maxUpload}, err
}

// getConfigLegacy is getConfig at its older path.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/media/v3/config
func (s *Server) getConfigLegacy(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.getConfig(ctx, c)
}

// MayPreview reports whether an organisation's members may ask what is behind a link.
//
// Spec: MSC4452
func (s *Server) MayPreview(ctx context.Context, org int64) (bool, error) {
	r, err := s.rulesOf(ctx, org)
	return r.previews, err
}
