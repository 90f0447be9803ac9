package sync

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// maxFilterID is the length of a filter's id, and more than enough.
const maxFilterID = 64

type filterResponse struct {
	ID string `json:"filter_id"`
}

// defineFilter stores a filter. The same filter gets the same id, so that clients that define it at each start fill no table.
//
// Spec: client-server v1.19 §filtering, POST /_matrix/client/v3/user/{userId}/filter
func (s *Server) defineFilter(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := ownFilters(c)
	if err != nil {
		return nil, err
	}
	if len(c.Body) == 0 {
		return nil, matrix.NotJSON("the body is empty; a filter is expected")
	}
	f, err := filter.Parse(c.Body)
	if err != nil {
		return nil, err
	}
	canonical, err := strictjson.CanonicalLax(c.Body)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(canonical)
	id := base64.RawURLEncoding.EncodeToString(sum[:12])
	stored, err := s.cfg.Store.PutFilter(ctx, user, id, canonical, limits.FiltersPerUser)
	if err != nil {
		return nil, fmt.Errorf("store filter: %w", err)
	}
	if !stored {
		return nil, matrix.Forbidden("you have stored %d filters already", limits.FiltersPerUser)
	}
	s.filters.put(filterKey{user, id}, f)
	return filterResponse{id}, nil
}

// getFilter returns a stored filter.
//
// Spec: client-server v1.19 §filtering, GET /_matrix/client/v3/user/{userId}/filter/{filterId}
func (s *Server) getFilter(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := ownFilters(c)
	if err != nil {
		return nil, err
	}
	raw, err := s.cfg.Store.GetFilter(ctx, user, c.Path("filterId"))
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("there is no such filter")
	}
	if err != nil {
		return nil, fmt.Errorf("load filter: %w", err)
	}
	return httpapi.Raw(raw), nil
}

// ownFilters returns the path's user, who has to be the requester.
func ownFilters(c *httpapi.Call) (matrix.UserID, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return "", err
	}
	if user != c.Requester.User {
		return "", matrix.Forbidden("filters can be kept for yourself only")
	}
	return user, nil
}
