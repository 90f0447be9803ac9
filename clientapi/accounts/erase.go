package accounts

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Delete closes the account of a person of the organisation for good and erases what is the person's.
func (s *Server) Delete(ctx context.Context, a Actor, user matrix.UserID) error {
	u, err := s.cfg.Store.GetUser(ctx, user)
	if err == nil && (u.OrganisationID != a.Org || u.Deactivated()) {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", user, err)
	}
	if err := s.cfg.Rooms.LeaveRooms(ctx, user); err != nil {
		return err
	}
	return s.cfg.Accounts.Deactivate(ctx, user, true)
}
