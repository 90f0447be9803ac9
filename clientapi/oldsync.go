package clientapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/view"
)

// The ways of following what happens from before /sync: deprecated, and still in the spec. Nobody's client of today uses them, so they
// are simple rather than fast: who waits is woken by whatever is stored, a few times a second at most, and looks.

// eventsPause is how often a waiting request looks at most.
const eventsPause = 250 * time.Millisecond

// getEvents gives what is sent in the requester's rooms after a token, oldest first, and waits for it. With room_id it gives what is sent
// in that room, which the requester need not have joined if the world may read it.
//
// Spec: client-server v1.19 §syncing, GET /_matrix/client/v3/events
func (s *Server) getEvents(ctx context.Context, c *httpapi.Call) (any, error) {
	from, err := queryToken(c, "from", s.journal.Head())
	if err != nil {
		return nil, err
	}
	milliseconds, err := c.QueryInt("timeout", 0, 0, int(limits.SyncTimeout/time.Millisecond))
	if err != nil {
		return nil, err
	}
	collect := func(after, upTo int64) (news, error) { return s.newEvents(ctx, c.Requester, after, upTo) }
	if c.HasQuery("room_id") {
		id, err := matrix.ParseRoomID(c.Query("room_id"))
		if err != nil {
			return nil, matrix.InvalidParam("room_id: %s", err.Error())
		}
		if _, err := s.readRoomByID(ctx, c.Requester, id); err != nil {
			return nil, err
		}
		collect = func(after, upTo int64) (news, error) { return s.newEventsOf(ctx, c.Requester, id, after, upTo) }
	}
	wait, cancel := context.WithTimeout(ctx, time.Duration(milliseconds)*time.Millisecond)
	defer cancel()
	for after := from; ; {
		head := max(s.journal.Head(), after)
		found, err := collect(after, head)
		if err != nil {
			return nil, err
		}
		if after = found.upTo; found.count > 0 {
			return httpapi.Raw(fmt.Appendf(nil, `{"chunk":[%s],"end":%q,"start":%q}`, found.events, journal.Token(after), journal.Token(from))), nil
		}
		if after < head {
			continue // a page of what is not for the requester
		}
		wake.Pause(wait, eventsPause)
		if _, err := s.journal.Wait(wait, after); err == nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return httpapi.Raw(fmt.Appendf(nil, `{"chunk":[],"end":%q,"start":%q}`, journal.Token(after), journal.Token(from))), nil
	}
}

// news are rendered events up to a position.
type news struct {
	events []byte
	count  int
	upTo   int64
}

// newEvents collects what happened with after < position <= upTo in the rooms that the user was in then, and what became of the
// user's own memberships.
func (s *Server) newEvents(ctx context.Context, who *httpapi.Requester, after, upTo int64) (news, error) {
	list, err := s.store.ListMemberships(ctx, who.User)
	if err != nil {
		return news{}, fmt.Errorf("list rooms: %w", err)
	}
	var nids []int64
	for _, m := range list {
		if m.Membership == joined || m.Position > after {
			nids = append(nids, m.RoomNID)
		}
	}
	events, err := s.store.ListEventsIn(ctx, nids, after, upTo, limits.PageMax)
	if err != nil {
		return news{}, fmt.Errorf("list new events: %w", err)
	}
	var of []int64
	for i := range events {
		of = append(of, events[i].RoomNID)
	}
	slices.Sort(of)
	visible, err := s.rooms.Visibilities(ctx, slices.Compact(of), who.User)
	if err != nil {
		return news{}, err
	}
	return s.tell(ctx, who, events, upTo, func(e *store.Event) *reader {
		own := visible[e.RoomNID]
		r := &reader{s: s, who: who, sight: own, own: own}
		if e.Type == typeMember && e.StateKey != nil && *e.StateKey == string(who.User) {
			return r
		}
		if in := own.MembershipAt(e.Position) == joined || own.MembershipAt(e.Position-1) == joined; !in || !own.CanSee(e.Position) {
			return nil
		}
		return r
	})
}

// newEventsOf collects what happened with after < position <= upTo in one room.
func (s *Server) newEventsOf(ctx context.Context, who *httpapi.Requester, id matrix.RoomID, after, upTo int64) (news, error) {
	r, err := s.readRoomByID(ctx, who, id)
	if err != nil {
		return news{}, err
	}
	events, err := s.store.ListEventsIn(ctx, []int64{r.room.NID}, after, upTo, limits.PageMax)
	if err != nil {
		return news{}, fmt.Errorf("list new events of %s: %w", id, err)
	}
	return s.tell(ctx, who, events, upTo, func(e *store.Event) *reader {
		if e.Position > r.upTo || !r.sight.CanSee(e.Position) {
			return nil
		}
		return r
	})
}

// tell renders those events for which as returns somebody who may see them.
func (s *Server) tell(ctx context.Context, who *httpapi.Requester, events []store.Event, upTo int64, as func(e *store.Event) *reader) (news, error) {
	found := news{upTo: upTo}
	if len(events) == limits.PageMax {
		found.upTo = events[len(events)-1].Position
	}
	if len(events) == 0 {
		return found, nil
	}
	ignored, err := s.ignored(ctx, who.User)
	if err != nil {
		return news{}, err
	}
	related, err := view.Load(ctx, s.store, pointers(events)...)
	if err != nil {
		return news{}, err
	}
	now := s.now()
	for i := range events {
		e := &events[i]
		r := as(e)
		if r == nil || e.StateKey == nil && slices.Contains(ignored, e.Sender) {
			continue
		}
		if found.count++; found.count > 1 {
			found.events = append(found.events, ',')
		}
		found.events = r.appendEvent(found.events, e, related, now)
	}
	return found, nil
}

// getOneEvent gives an event of whichever room the requester may see it in.
//
// Spec: client-server v1.19 §syncing, GET /_matrix/client/v3/events/{eventId}
func (s *Server) getOneEvent(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	unknown := matrix.NotFound("event not found")
	e, err := s.store.GetEventByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, fmt.Errorf("load event %s: %w", id, err)
	}
	r := &reader{s: s, who: c.Requester, room: roomserver.Info{NID: e.RoomNID, ID: e.RoomID}}
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	if !r.sight.CanSee(e.Position) {
		return nil, unknown
	}
	return r.eventAnswer(ctx, &e)
}
