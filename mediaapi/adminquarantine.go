package mediaapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Quarantined media is withheld from everybody, its uploader too, and kept: an administrator may look into it and give it back. Nothing of
// media is cached, so that it is so on all processes at once. Protected media is not quarantined.

type quarantineResponse struct {
	Quarantined int64 `json:"num_quarantined"`
}

// quarantine withholds media.
func (s *Server) quarantine(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.setQuarantine(ctx, c, c.Requester.User)
}

// unquarantine gives media back.
func (s *Server) unquarantine(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.setQuarantine(ctx, c, "")
}

func (s *Server) setQuarantine(ctx context.Context, c *httpapi.Call, by matrix.UserID) (any, error) {
	uri, err := contentURI(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.adminMedia(ctx, c, uri); err != nil {
		return nil, err
	}
	n, err := s.cfg.Store.Quarantine(ctx, c.Requester.Org, []matrix.ContentURI{uri}, by)
	if err != nil {
		return nil, fmt.Errorf("quarantine %s: %w", uri, err)
	}
	return quarantineResponse{n}, nil
}

// quarantineRoom withholds all media that hangs in a room.
func (s *Server) quarantineRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	room, err := s.adminRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.quarantineBy(ctx, c, store.MediaFilter{OrganisationID: c.Requester.Org, RoomNID: room.NID})
}

// quarantineUser withholds all media of a user.
func (s *Server) quarantineUser(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := s.adminUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.quarantineBy(ctx, c, store.MediaFilter{OrganisationID: c.Requester.Org, UserID: user})
}

func (s *Server) quarantineBy(ctx context.Context, c *httpapi.Call, f store.MediaFilter) (any, error) {
	n, err := s.cfg.Store.QuarantineBy(ctx, f, c.Requester.User)
	if err != nil {
		return nil, fmt.Errorf("quarantine media: %w", err)
	}
	return quarantineResponse{n}, nil
}

// protect keeps media from quarantine and from removal by age.
func (s *Server) protect(ctx context.Context, c *httpapi.Call) (any, error) {
	return nil, s.setProtected(ctx, c, true)
}

// unprotect takes that back.
func (s *Server) unprotect(ctx context.Context, c *httpapi.Call) (any, error) {
	return nil, s.setProtected(ctx, c, false)
}

// setProtected changes media that was uploaded here, to whichever of the organisation's domains: tools do not name it.
func (s *Server) setProtected(ctx context.Context, c *httpapi.Call, on bool) error {
	err := s.cfg.Store.ProtectMedia(ctx, c.Requester.Org, c.Path("mediaId"), on)
	if errors.Is(err, store.ErrNotFound) {
		return noSuchMedia()
	}
	return err
}
