package mediaapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi/preview"
	"github.com/roomline/roomline/roomserver"
)

// previewURL says what is behind a link. The page is fetched once for an organisation, until it expires.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/client/v1/media/preview_url
func (s *Server) previewURL(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.rulesOf(ctx, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	// Spec: MSC4452
	if !r.previews || s.cfg.Fetcher == nil {
		return nil, matrix.Forbidden("previews of links are switched off")
	}
	raw, language := c.Query("url"), c.Request.Header.Get("Accept-Language")
	if raw == "" {
		return nil, matrix.MissingParam("url is missing")
	}
	if len(language) > maxLanguage {
		language = ""
	}
	// What was fetched before is not told either, once a domain is denied.
	if u, err := url.Parse(raw); err == nil && !r.mayPreview(u) {
		return nil, matrix.NotFound("there is no preview of this URL")
	}
	hash := sha256.Sum256([]byte(language + "\x00" + raw))
	known, err := s.cfg.Store.GetURLPreview(ctx, c.Requester.Org, hash[:], s.now())
	if err == nil {
		return httpapi.Raw(known.Body), nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up a preview: %w", err)
	}
	found, err := s.cfg.Fetcher.Within(r.mayPreview).Fetch(ctx, raw, language)
	if err != nil {
		return nil, err
	}
	p := store.URLPreview{OrganisationID: c.Requester.Org, URLHash: hash[:], ExpiresTS: matrix.TimestampOf(found.Expires)}
	if err := s.keepPreview(ctx, &p, found, r); err != nil {
		return nil, err
	}
	return httpapi.Raw(p.Body), nil
}

// maxLanguage bounds the languages that a client wants a page in.
const maxLanguage = 100

// previewURLLegacy is previewURL at its older path.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/media/v3/preview_url
func (s *Server) previewURLLegacy(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.previewURL(ctx, c)
}

// keepPreview stores what was found, with its picture as media of the organisation that goes when the preview does.
func (s *Server) keepPreview(ctx context.Context, p *store.URLPreview, found preview.Preview, r rules) error {
	answer := maps.Clone(found.Properties)
	if answer == nil {
		answer = map[string]any{}
	}
	if image := found.Image; image != nil {
		org, err := s.cfg.Store.GetOrganisationDomain(ctx, p.OrganisationID)
		if err != nil {
			return fmt.Errorf("find a domain of the organisation: %w", err)
		}
		m := store.Media{
			URI: matrix.ContentURI{Server: org, MediaID: newID()}, OrganisationID: p.OrganisationID, ContentType: cleanType(image.ContentType),
			Kind: roomserver.MediaPreview, CreatedTS: s.now(), ExpiresTS: p.ExpiresTS,
		}
		err = s.take(ctx, incoming{media: m, size: int64(len(image.Data)), body: bytes.NewReader(image.Data), rules: r})
		switch {
		case err == nil:
			p.Image, answer["og:image"] = m.URI, m.URI.String()
		default:
			// A page without its picture is better than none: the store may be away, the picture have a virus.
			s.cfg.Log.Info("media: the picture of a page is left out", "error", err)
		}
	}
	if p.Image == (matrix.ContentURI{}) {
		for _, name := range []string{"og:image", "og:image:width", "og:image:height", "og:image:type", "matrix:image:size"} {
			delete(answer, name)
		}
	}
	var err error
	if p.Body, err = json.Marshal(answer); err != nil {
		return err
	}
	if err := s.cfg.Store.PutURLPreview(ctx, *p); err != nil {
		return fmt.Errorf("store a preview: %w", err)
	}
	return nil
}
