package clientapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
)

// getEventContext gives an event with those just before and after it, and the room's state at the last of them.
//
// Spec: client-server v1.19 §event-context, GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
func (s *Server) getEventContext(ctx context.Context, c *httpapi.Call) (any, error) {
	f, err := filter.ParseRoomEvents(c.Query("filter"))
	if err != nil {
		return nil, err
	}
	limit, err := c.QueryInt("limit", limits.PageDefault, 0, limits.PageMax)
	if err != nil {
		return nil, err
	}
	r, e, err := s.visibleEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	r.upTo = store.CurrentState // of what came since, the history visibility decides
	before, err := r.around(ctx, backwards, e.Position, limit/2, f)
	if err != nil {
		return nil, err
	}
	after, err := r.around(ctx, forwards, e.Position, limit-limit/2, f)
	if err != nil {
		return nil, err
	}
	state, err := r.contextState(ctx, f, slices.Concat(before.events, []*store.Event{e}, after.events))
	if err != nil {
		return nil, err
	}
	related, err := r.related(ctx, slices.Concat(before.events, []*store.Event{e}, after.events)...)
	if err != nil {
		return nil, err
	}
	dst := fmt.Appendf(nil, `{"end":%q,"event":`, after.end())
	dst = r.appendEvent(dst, e, related, s.now())
	dst = r.appendEvents(append(dst, `,"events_after":`...), after.events, related)
	dst = r.appendEvents(append(dst, `,"events_before":`...), before.events, related)
	dst = fmt.Appendf(dst, `,"start":%q,"state":`, before.end())
	return r.stateAnswer(ctx, dst, state, "}")
}

// around reads events on one side of a position.
func (r *reader) around(ctx context.Context, d direction, position int64, limit int, f *filter.RoomEventFilter) (page, error) {
	q := pageQuery{direction: d, from: position, to: store.CurrentState, limit: limit, filter: f}
	if d == backwards {
		q.from, q.to = position-1, 0
	}
	if limit == 0 || !f.MatchRoom(r.room.ID) {
		return page{direction: d, next: q.from}, nil
	}
	return r.read(ctx, q)
}

// contextState loads the state at the last of the events, as far as the filter lets it through. When members are loaded lazily,
// those are given who sent one of the events.
func (r *reader) contextState(ctx context.Context, f *filter.RoomEventFilter, events []*store.Event) ([]*store.Event, error) {
	position := events[len(events)-1].Position
	list, err := r.s.store.ListStateEvents(ctx, r.room.NID, position, nil, f.LazyLoadMembers)
	if err != nil {
		return nil, fmt.Errorf("load state of %s: %w", r.room.ID, err)
	}
	state := pointers(list)
	if f.LazyLoadMembers {
		members, err := r.members(ctx, events, position)
		if err != nil {
			return nil, err
		}
		state = append(state, members...)
	}
	return slices.DeleteFunc(state, func(e *store.Event) bool { return !f.Match(e) }), nil
}
