package clientapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// direction in which events are read.
type direction bool

const (
	forwards  direction = false
	backwards direction = true
)

// getRoomEvents gives a page of a room's events.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v3/rooms/{roomId}/messages
func (s *Server) getRoomEvents(ctx context.Context, c *httpapi.Call) (any, error) {
	// The room first: who has no part in it is told so, whatever is asked.
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	q, err := readPageQuery(c)
	if err != nil {
		return nil, err
	}
	var p page
	if q.filter.MatchRoom(r.room.ID) {
		if p, err = r.read(ctx, q); err != nil {
			return nil, err
		}
	}
	related, err := r.related(ctx, p.events...)
	if err != nil {
		return nil, err
	}
	dst := r.appendEvents([]byte(`{"chunk":`), p.events, related)
	// Forwards, who is in the room goes on from there when more has been sent.
	if p.more || len(p.events) > 0 && q.direction == forwards && q.to == store.CurrentState && r.upTo == store.CurrentState {
		dst = fmt.Appendf(dst, `,"end":%q`, p.end())
	}
	dst = fmt.Appendf(dst, `,"start":%q`, q.start(p))
	if !q.filter.LazyLoadMembers || len(p.events) == 0 {
		return httpapi.Raw(append(dst, '}')), nil
	}
	// The members as they were at the first event given: from there the client comes to the others through the events themselves.
	members, err := r.members(ctx, p.events, p.events[0].Position)
	if err != nil {
		return nil, err
	}
	return r.stateAnswer(ctx, append(dst, `,"state":`...), members, "}")
}

// pageQuery says which events are wanted.
type pageQuery struct {
	direction direction
	// from and to are positions: of what lies after the lower and not after the higher one events are given, beginning at from.
	from, to int64
	limit    int
	filter   *filter.RoomEventFilter
	// token is from as the client gave it, or empty.
	token string
}

func readPageQuery(c *httpapi.Call) (pageQuery, error) {
	q := pageQuery{token: c.Query("from")}
	switch c.Query("dir") {
	case "b":
		q.direction = backwards
	case "f":
		q.direction = forwards
	case "":
		return q, matrix.MissingParam("dir is missing: b or f")
	default:
		return q, matrix.InvalidParam("dir must be b or f")
	}
	oldest, newest := int64(0), store.CurrentState
	begin, end := oldest, newest
	if q.direction == backwards {
		begin, end = newest, oldest
	}
	var err error
	if q.from, err = queryToken(c, "from", begin); err != nil {
		return q, err
	}
	if q.to, err = queryToken(c, "to", end); err != nil {
		return q, err
	}
	if q.filter, err = filter.ParseRoomEvents(c.Query("filter")); err != nil {
		return q, err
	}
	q.limit, err = c.QueryInt("limit", filterLimit(q.filter), 1, limits.PageMax)
	return q, err
}

// filterLimit is the limit where the query has none.
func filterLimit(f *filter.RoomEventFilter) int {
	if f.Limit == nil {
		return limits.PageDefault
	}
	return min(max(*f.Limit, 1), limits.PageMax)
}

// queryToken reads a token of the query as a position.
func queryToken(c *httpapi.Call, name string, missing int64) (int64, error) {
	v := c.Query(name)
	if v == "" {
		return missing, nil
	}
	position, err := journal.ParseToken(v)
	if err != nil {
		return 0, matrix.InvalidParam("%s is not a token of this server", name)
	}
	return position, nil
}

// start is the token where the page begins.
func (q pageQuery) start(p page) string {
	switch {
	case q.token != "":
		return q.token
	case q.direction == backwards:
		return journal.Token(p.newest)
	}
	return journal.Token(0)
}

// page is what was read.
type page struct {
	events    []*store.Event
	direction direction
	// newest is the highest position that was looked at, when reading backwards.
	newest int64
	// next is where the following page begins.
	next int64
	// more says that a following page would have events, or that it would have to look.
	more bool
	// scanned is how many events were looked at.
	scanned int
	// bytes is the size of the events.
	bytes int
}

// end is the token where the following page begins.
func (p page) end() string { return journal.Token(p.next) }

// read collects events that the requester may see and the filter lets through. One query is the rule. There are more when the
// filter leaves events out or the history has gaps for the requester; after limits.PageScan events it is the client's turn to
// ask on.
func (r *reader) read(ctx context.Context, q pageQuery) (page, error) {
	p := page{direction: q.direction, next: q.from}
	after, upTo := q.from, q.to
	if q.direction == backwards {
		after, upTo = upTo, after
	}
	ranges := r.sight.Ranges()
	if q.direction == backwards {
		slices.Reverse(ranges)
	}
	for _, visible := range ranges {
		low, high := max(after, visible.First-1), min(upTo, visible.Last, r.upTo)
		if low >= high {
			continue
		}
		if done, err := p.collect(ctx, r, q, low, high); done || err != nil {
			return p, err
		}
	}
	return p, nil
}

// collect adds to the page what lies after low and not after high. It is done when the page is full and something follows, or when
// enough was looked at.
func (p *page) collect(ctx context.Context, r *reader, q pageQuery, low, high int64) (done bool, err error) {
	all := q.filter.MatchAll()
	size := q.limit + 1 // the one too many says that there are more
	for low < high {
		if p.scanned >= limits.PageScan {
			p.more = true
			return true, nil
		}
		events, cut, err := r.list(ctx, q.direction, low, high, size)
		if err != nil {
			return true, err
		}
		if p.newest == 0 && len(events) > 0 {
			p.newest = events[0].Position
		}
		for i := range events {
			e := &events[i]
			if all || q.filter.Match(e) {
				if len(p.events) == q.limit || p.bytes >= limits.PageBytes {
					p.more = true
					return true, nil
				}
				if !all {
					kept := *e // lest one event in a hundred keep the other 99 in memory
					e = &kept
				}
				p.events = append(p.events, e)
				p.bytes += len(e.JSON)
			}
			p.pass(e.Position)
		}
		if len(events) < size && !cut {
			p.scanned += max(len(events), smallScan)
			return false, nil
		}
		p.scanned += len(events)
		if q.direction == backwards {
			high = p.next
		} else {
			low = p.next
		}
		size = max(size, limits.PageScan/16)
	}
	return false, nil
}

// smallScan is what a query counts that finds next to nothing: a history with a thousand gaps must not cost a thousand queries.
const smallScan = 100

// pass moves the beginning of the next page over an event.
func (p *page) pass(position int64) {
	p.next = position
	if p.direction == backwards {
		p.next--
	}
}

// list reads events; cut says that limits.PageBytes left some out.
func (r *reader) list(ctx context.Context, d direction, after, upTo int64, limit int) (events []store.Event, cut bool, err error) {
	list := r.s.store.ListRoomEvents
	if d == backwards {
		list = r.s.store.ListRoomEventsBack
	}
	events, cut, err = list(ctx, r.room.NID, after, upTo, limit)
	if err != nil {
		return nil, false, fmt.Errorf("list events of %s: %w", r.room.ID, err)
	}
	return events, cut, nil
}

// members loads the member events of the events' senders, as they were at a position.
//
// Spec: client-server v1.19 §lazy-loading-room-members
func (r *reader) members(ctx context.Context, events []*store.Event, position int64) ([]*store.Event, error) {
	seen := make(map[matrix.UserID]bool)
	var keys []store.StateKey
	for _, e := range events {
		if !seen[e.Sender] {
			seen[e.Sender] = true
			keys = append(keys, store.StateKey{Type: typeMember, Key: string(e.Sender)})
		}
	}
	members, err := r.s.store.ListStateEventsFor(ctx, r.room.NID, position, keys)
	if err != nil {
		return nil, fmt.Errorf("load members of %s: %w", r.room.ID, err)
	}
	return pointers(members), nil
}
