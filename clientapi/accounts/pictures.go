package accounts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Now is the time for what is stored with a change.
func (s *Server) Now() matrix.Timestamp { return s.now() }

// StorePicture stores a picture of a person, unless it is one of those that the person has.
func (s *Server) StorePicture(ctx context.Context, user matrix.UserID, has []string, contentType string, content []byte) (matrix.ContentURI, error) {
	sum := sha256.Sum256(content)
	for _, text := range has {
		uri, err := matrix.ParseContentURI(text)
		if err != nil {
			continue
		}
		m, err := s.cfg.Store.GetMedia(ctx, uri)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return matrix.ContentURI{}, fmt.Errorf("look up a picture: %w", err)
		}
		if err == nil && m.UserID == user && slices.Equal(m.SHA256, sum[:]) {
			return uri, nil
		}
	}
	u, err := s.cfg.Store.GetUser(ctx, user)
	if err != nil {
		return matrix.ContentURI{}, fmt.Errorf("look up %s: %w", user, err)
	}
	return s.cfg.StorePicture(ctx, u, contentType, content)
}
