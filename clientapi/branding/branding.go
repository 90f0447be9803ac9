// Package branding is how organisations present themselves to people who are not in them: in invitations, and on the page that these lead to.
//
// Start reading at Brand.
package branding

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// PolicyName is what an organisation's decisions about its appearance are called in its policies.
const PolicyName = "branding"

// Languages are those that invitations are written in.
var Languages = []string{"en", "fr", "nl", "de"}

// Policy is what an organisation may decide about its appearance. A missing field leaves it as it is without.
type Policy struct {
	// Name is what others know the organisation by; its name here, if it is empty.
	Name string `json:"name,omitempty"`
	// Logo is a picture that was uploaded here, an mxc:// URI. It may hang on a profile, and on nothing that is said in a room.
	Logo string `json:"logo,omitempty"`
	// Colour is #rrggbb.
	Colour string `json:"colour,omitempty"`
	// Languages are those that the organisation's people and guests speak; the first is used where nobody says.
	Languages []string `json:"languages,omitempty"`
}

// DefaultPolicy is what holds where an organisation has decided nothing.
func DefaultPolicy() Policy { return Policy{Languages: Languages} }

var colour = regexp.MustCompile(`^#[0-9a-f]{6}$`)

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if err := strictjson.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	p.Name, p.Colour = strings.TrimSpace(p.Name), strings.ToLower(p.Colour)
	if len(p.Name) > limits.BrandName || !utf8.ValidString(p.Name) || strings.ContainsFunc(p.Name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return Policy{}, matrix.BadJSON("name must have at most %d bytes, and nothing in it that is not seen", limits.BrandName)
	}
	if p.Colour != "" && !colour.MatchString(p.Colour) {
		return Policy{}, matrix.BadJSON("colour must be like #1f5fbf")
	}
	if p.Logo != "" {
		if _, err := matrix.ParseContentURI(p.Logo); err != nil {
			return Policy{}, matrix.BadJSON("logo must be an mxc:// URI")
		}
	}
	for i, language := range p.Languages {
		if !slices.Contains(Languages, language) || slices.Contains(p.Languages[:i], language) {
			return Policy{}, matrix.BadJSON("languages must be some of %s, each once", strings.Join(Languages, ", "))
		}
	}
	return p, nil
}

// Config of a Server. All fields but BaseURL are required.
type Config struct {
	Store *store.Store
	Clock matrix.Clock
	// BaseURL is where the server is reached from outside; without it nobody is told where the logo is.
	BaseURL string
	// Logo makes a small picture of media of an organisation. What is none is a *matrix.Error.
	Logo func(ctx context.Context, organisation int64, uri matrix.ContentURI) (contentType string, picture []byte, err error)
}

// Server knows how organisations present themselves. It is safe for concurrent use.
type Server struct{ cfg Config }

// New returns a Server.
func New(cfg Config) *Server { return &Server{cfg} }

// Brand is how an organisation presents itself.
func (s *Server) Brand(ctx context.Context, organisation int64) (outbox.Brand, error) {
	p, err := s.policy(ctx, organisation)
	if err != nil {
		return outbox.Brand{}, err
	}
	b := outbox.Brand{Name: p.Name, Colour: p.Colour, LogoURL: s.logoURL(organisation, p.Logo)}
	if b.Name == "" {
		o, err := s.cfg.Store.GetOrganisation(ctx, organisation)
		if err != nil {
			return outbox.Brand{}, fmt.Errorf("load the organisation: %w", err)
		}
		b.Name = o.Name
	}
	return b, nil
}

// LanguagesOf are those that an organisation's people and guests speak, at least one.
func (s *Server) LanguagesOf(ctx context.Context, organisation int64) ([]string, error) {
	p, err := s.policy(ctx, organisation)
	if err == nil && len(p.Languages) == 0 {
		return Languages, nil
	}
	return p.Languages, err
}

func (s *Server) policy(ctx context.Context, organisation int64) (Policy, error) {
	value, err := s.cfg.Store.GetPolicy(ctx, organisation, PolicyName)
	if err != nil {
		return Policy{}, fmt.Errorf("load the branding policy: %w", err)
	}
	return decode(value)
}

func decode(value []byte) (p Policy, err error) {
	if value == nil {
		return Policy{}, nil
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return Policy{}, fmt.Errorf("stored branding policy: %w", err)
	}
	return p, nil
}

// logoURL is where the logo is, an address that is another one when the logo is.
func (s *Server) logoURL(organisation int64, logo string) string {
	if logo == "" || s.cfg.BaseURL == "" {
		return ""
	}
	return fmt.Sprintf("%s/_roomline/guest/v1/logo/%d?v=%08x", strings.TrimSuffix(s.cfg.BaseURL, "/"), organisation, crc32.ChecksumIEEE([]byte(logo)))
}

// Decided makes the logo hang on the organisation when its policy names it, and the one before no longer. It is called in the transaction that stores the
// policy; before and now are nil where there is none.
func (s *Server) Decided(ctx context.Context, tx *store.Tx, organisation int64, before, now []byte) error {
	old, err := decode(before)
	if err != nil {
		return err
	}
	p, err := decode(now)
	if err != nil || old.Logo == p.Logo {
		return err
	}
	var uris [2]*matrix.ContentURI
	for i, logo := range []string{old.Logo, p.Logo} {
		if logo == "" {
			continue
		}
		uri, err := matrix.ParseContentURI(logo)
		if err != nil {
			return err
		}
		uris[i] = &uri
	}
	err = tx.PutLogo(ctx, organisation, uris[0], uris[1], matrix.TimestampOf(s.cfg.Clock.Now()))
	if errors.Is(err, store.ErrNotFound) {
		return matrix.BadJSON("logo is no picture that can be one: upload it anew, and post it nowhere")
	}
	return err
}

// Routes is where the logo is.
func (s *Server) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/_roomline/guest/v1/logo/{organisation}", Limit: ratelimit.Media, Handle: s.getLogo},
	}
}

// getLogo sends an organisation's logo to anybody, made small and with nothing in it but the picture.
func (s *Server) getLogo(ctx context.Context, c *httpapi.Call) (any, error) {
	none := matrix.NotFound("there is no such logo")
	organisation, err := strconv.ParseInt(c.Path("organisation"), 10, 64)
	if err != nil || organisation <= 0 {
		return nil, none
	}
	p, err := s.policy(ctx, organisation)
	if err != nil {
		return nil, err
	}
	if p.Logo == "" {
		return nil, none
	}
	uri, err := matrix.ParseContentURI(p.Logo)
	if err != nil {
		return nil, err
	}
	contentType, picture, err := s.cfg.Logo(ctx, organisation, uri)
	switch e, refused := matrix.AsError(err); {
	case refused && e.Status < http.StatusInternalServerError:
		return nil, none
	case err != nil:
		return nil, fmt.Errorf("make a logo: %w", err)
	}
	h := c.W.Header()
	h.Set("Cache-Control", "public, max-age=3600")
	// Mails are read on other web sites.
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	return httpapi.Content{Type: contentType, Bytes: picture}, nil
}
