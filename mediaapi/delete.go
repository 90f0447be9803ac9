package mediaapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Rules under which media is deleted, as receipts name them.
const (
	ruleUploader  = "uploader"
	ruleSender    = "redaction.sender"
	ruleOwner     = "redaction.owner"
	ruleAdmin     = "admin"
	ruleUnused    = "unused"
	ruleReplaced  = "replaced"
	ruleErased    = "erased"
	ruleLost      = "lost"
	ruleRetention = "retention"
)

// unlinkRules are those of media that has lost its last link.
var unlinkRules = store.UnlinkRules{Sender: ruleSender, Owner: ruleOwner, Admin: ruleAdmin, Replaced: ruleReplaced, Erased: ruleErased}

// deleteMedia deletes what the requester uploaded, whatever it hangs on. What the room's owner alone may delete, such as a voice message,
// can't be deleted this way either.
func (s *Server) deleteMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	uri, err := contentURI(c)
	if err != nil {
		return nil, err
	}
	m, err := s.cfg.Store.GetMedia(ctx, uri)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up %s: %w", uri, err)
	}
	if err != nil || m.OrganisationID != c.Requester.Org {
		return nil, noSuchMedia()
	}
	if m.UserID != c.Requester.User {
		may, err := s.cfg.Rooms.MaySeeMedia(ctx, viewer(c), &m)
		if err != nil {
			return nil, err
		}
		if !may {
			return nil, noSuchMedia()
		}
		return nil, matrix.Forbidden("only who uploaded it, the owner of its room and the administrator may delete this")
	}
	if err := s.cfg.Rooms.MayDeleteMedia(ctx, viewer(c), &m); err != nil {
		return nil, err
	}
	deleted, err := s.cfg.Store.DeleteMedia(ctx, m.OrganisationID, []matrix.ContentURI{uri}, store.Deleting{
		By: c.Requester.User, Rule: ruleUploader, At: s.now(),
	})
	if err != nil {
		return nil, fmt.Errorf("delete %s: %w", uri, err)
	}
	if len(deleted) == 0 {
		return nil, noSuchMedia()
	}
	s.wakeSweeper()
	return nil, nil
}
