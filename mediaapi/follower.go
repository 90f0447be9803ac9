package mediaapi

import (
	"context"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
)

// followerName is the name under which one process presumes which encrypted events name media.
const followerName = "media"

// runFollower links encrypted events to what their device uploaded shortly before, until ctx ends. See roomserver/media.go for why.
func (s *Server) runFollower(ctx context.Context) {
	s.cfg.Journal.Follow(ctx, journal.Follower{Name: followerName, Handle: s.presume, Rest: 200 * time.Millisecond})
}

func (s *Server) presume(ctx context.Context, entries []journal.Entry) error {
	var events []store.OpaqueEvent
	for i := range entries {
		e := entries[i].Event
		if e == nil || e.Type != "m.room.encrypted" || e.StateKey != nil || e.TxnDevice == "" || e.RedactedBy != "" {
			continue
		}
		events = append(events, store.OpaqueEvent{
			RoomNID: e.RoomNID, Position: e.Position, UserID: e.Sender, DeviceID: e.TxnDevice, TS: e.OriginServerTS,
		})
	}
	if len(events) == 0 {
		return nil
	}
	within, maxAge := limits.MediaPresumed.Milliseconds(), s.cfg.UnusedFor.Milliseconds()
	if err := s.cfg.Store.PresumeMedia(ctx, events, within, maxAge); err != nil {
		return fmt.Errorf("link encrypted events to media: %w", err)
	}
	return nil
}
