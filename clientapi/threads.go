package clientapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// getThreadRoots lists the threads of a room, those with the latest replies first. The roots of ignored users are shown as if they
// had been redacted.
//
// Spec: client-server v1.19 §querying-threads-in-a-room, GET /_matrix/client/v1/rooms/{roomId}/threads
func (s *Server) getThreadRoots(ctx context.Context, c *httpapi.Call) (any, error) {
	q := store.ThreadQuery{}
	switch c.Query("include") {
	case "", "all":
	case "participated":
		q.Participant = c.Requester.User
	default:
		return nil, matrix.InvalidParam("include must be all or participated")
	}
	var err error
	if q.UpTo, err = queryToken(c, "from", store.CurrentState); err != nil {
		return nil, err
	}
	limit, err := c.QueryInt("limit", limits.PageDefault, 1, limits.ThreadsMax)
	if err != nil {
		return nil, err
	}
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	if q.Ignored, err = s.ignored(ctx, r.who.User); err != nil {
		return nil, err
	}
	q.RoomNID, q.Limit, q.Sight = r.room.NID, limit+1, r.sees(0)
	threads, err := s.store.ListThreads(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list threads of %s: %w", r.room.ID, err)
	}
	more := len(threads) > limit
	threads = threads[:min(limit, len(threads))]
	roots := make([]*store.Event, len(threads))
	for i := range threads {
		if roots[i], err = veiled(r.room.Version, &threads[i].Root, q.Ignored); err != nil {
			return nil, err
		}
	}
	related, err := r.related(ctx, roots...)
	if err != nil {
		return nil, err
	}
	dst := r.appendEvents([]byte(`{"chunk":`), roots, related)
	if more {
		dst = fmt.Appendf(dst, `,"next_batch":%q`, journal.Token(threads[len(threads)-1].Latest-1))
	}
	return httpapi.Raw(append(dst, '}')), nil
}

// veiled is an event as it would be left by a redaction, if its sender is ignored.
func veiled(version event.Version, e *store.Event, ignored []matrix.UserID) (*store.Event, error) {
	if !slices.Contains(ignored, e.Sender) {
		return e, nil
	}
	kept, err := event.Redact(version, e.JSON)
	if err != nil {
		return nil, fmt.Errorf("veil %s: %w", e.EventID, err)
	}
	hidden := *e
	hidden.JSON = kept
	return &hidden, nil
}
