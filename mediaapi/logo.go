package mediaapi

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi/thumbnail"
)

// Logo is a small picture of media of an organisation. Who may see it is for the caller to know.
func (s *Server) Logo(ctx context.Context, org int64, uri matrix.ContentURI) (contentType string, picture []byte, err error) {
	m, err := s.cfg.Store.GetMedia(ctx, uri)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", nil, fmt.Errorf("look up %s: %w", uri, err)
	}
	if err != nil || m.OrganisationID != org || m.QuarantinedBy != "" || m.ObjectKey == "" {
		return "", nil, noSuchMedia()
	}
	t, err := s.thumbnailOf(ctx, &m, thumbnail.Request{Size: thumbnail.Choose(320, 240, false)})
	if err != nil {
		return "", nil, thumbnailError(err)
	}
	body, err := s.cfg.Blobs.Get(ctx, t.ObjectKey, 0, -1)
	if err != nil {
		return "", nil, storeError(err)
	}
	defer body.Close()
	picture, err = io.ReadAll(io.LimitReader(body, limits.LogoBytes))
	if err == nil && int64(len(picture)) != t.Size {
		err = io.ErrUnexpectedEOF
	}
	return t.ContentType, picture, storeError(err)
}
