package roomserver

import (
	"bytes"
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// erasePage is how many events are looked at at a time.
const erasePage = 500

// EraseInRoom removes from a room what is somebody's whose account was erased: the content of the person's memberships, with the name and the
// picture, and with messages that of all that the person sent. The events stay, as they would be after a redaction: they are links of a
// chain. No redaction is sent: nobody in the room may be left who could.
func (s *Server) EraseInRoom(ctx context.Context, row store.Room, user matrix.UserID, messages bool) error {
	version, ok := event.Lookup(row.Version)
	if !ok {
		return fmt.Errorf("room %s has the unknown version %q", row.ID, row.Version)
	}
	for after := int64(0); ; {
		events, err := s.cfg.Store.ListPersonalEvents(ctx, row.NID, user, messages, after, erasePage)
		if err != nil {
			return fmt.Errorf("list what is of %s in %s: %w", user, row.ID, err)
		}
		for _, e := range events {
			after = e.Position
			redacted, err := event.Redact(version, e.JSON)
			if err != nil {
				return fmt.Errorf("redact %s: %w", e.EventID, err)
			}
			if bytes.Equal(redacted, e.JSON) {
				continue
			}
			if err := s.cfg.Store.PutEventContent(ctx, e.Position, redacted); err != nil {
				return fmt.Errorf("erase %s: %w", e.EventID, err)
			}
		}
		if len(events) < erasePage {
			break
		}
	}
	if err := s.cfg.Store.ForgetTransactions(ctx, row.NID, user); err != nil {
		return fmt.Errorf("forget the devices of %s in %s: %w", user, row.ID, err)
	}
	return nil
}
