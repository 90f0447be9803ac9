package presence

import (
	"context"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// sweep forgets devices that no process has seen for GoneAfter and publishes what becomes of their users, in one commit: a
// process that dies in the middle leaves everything to the next sweep.
func (s *Server) sweep(ctx context.Context) error {
	for {
		swept := 0
		err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
			users, err := tx.DeletePresenceDevices(ctx, s.cfg.GoneAfter, atOnce)
			swept = len(users)
			if err != nil || swept == 0 {
				return nil, err
			}
			there, err := tx.ListPresenceDevices(ctx, users, s.cfg.GoneAfter)
			if err != nil {
				return nil, err
			}
			published, err := tx.ListPresence(ctx, users)
			if err != nil {
				return nil, err
			}
			// No pause: nobody would come back to these users. The silence before was longer than a pause.
			updates, _ := s.changes(users, there, published, func(matrix.UserID) time.Duration { return 0 })
			return updates, nil
		})
		if err != nil || swept < atOnce {
			return err
		}
	}
}
