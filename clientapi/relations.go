package clientapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

// getRelatingEvents gives the events that relate to another one, with one relation type or all, of one type or all. It serves three
// paths.
//
// Spec: client-server v1.19 §relationships-api, GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
// Spec: client-server v1.19 §relationships-api, GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}
// Spec: client-server v1.19 §relationships-api, GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}
func (s *Server) getRelatingEvents(ctx context.Context, c *httpapi.Call) (any, error) {
	q, err := readRelationQuery(c)
	if err != nil {
		return nil, err
	}
	r, parent, err := s.visibleEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	q.RoomNID, q.Parent, q.Sight = r.room.NID, parent.EventID, r.sees(parent.Position)
	if q.Ignored, err = s.ignored(ctx, r.who.User); err != nil {
		return nil, err
	}
	limit := q.Limit
	q.Limit++ // the one too many says that there are more
	events, err := s.store.ListRelations(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list relations of %s: %w", parent.EventID, err)
	}
	more := len(events) > limit
	page := pointers(events[:min(limit, len(events))])
	related, err := r.related(ctx, page...)
	if err != nil {
		return nil, err
	}
	dst := r.appendEvents([]byte(`{"chunk":`), page, related)
	if more {
		dst = fmt.Appendf(dst, `,"next_batch":%q`, nextBatch(page, q.Forwards))
	}
	if from := c.Query("from"); from != "" {
		dst = fmt.Appendf(dst, `,"prev_batch":%q`, from)
	}
	if c.HasQuery("recurse") {
		dst = fmt.Appendf(dst, `,"recursion_depth":%d`, q.Depth)
	}
	return httpapi.Raw(append(dst, '}')), nil
}

// readRelationQuery reads what of the query is the client's to say. Tokens are positions, as everywhere.
func readRelationQuery(c *httpapi.Call) (store.RelationQuery, error) {
	q := store.RelationQuery{RelType: c.Path("relType"), EventType: c.Path("eventType"), Depth: 1}
	switch c.Query("dir") {
	case "", "b":
	case "f":
		q.Forwards = true
	default:
		return q, matrix.InvalidParam("dir must be b or f")
	}
	switch c.Query("recurse") {
	case "", "false":
	case "true":
		q.Depth = limits.RelationDepth
	default:
		return q, matrix.InvalidParam("recurse must be true or false")
	}
	begin, end := store.CurrentState, int64(0)
	if q.Forwards {
		begin, end = end, begin
	}
	from, err := queryToken(c, "from", begin)
	if err != nil {
		return q, err
	}
	to, err := queryToken(c, "to", end)
	if err != nil {
		return q, err
	}
	if q.After, q.UpTo = to, from; q.Forwards {
		q.After, q.UpTo = from, to
	}
	q.Limit, err = c.QueryInt("limit", limits.PageDefault, 1, limits.RelationsMax)
	return q, err
}

// nextBatch is the token behind the last event of a page.
func nextBatch(page []*store.Event, forwards bool) string {
	last := page[len(page)-1].Position
	if !forwards {
		last--
	}
	return journal.Token(last)
}

// sees is what the requester may see of the room, nil for all that came after a position.
func (r *reader) sees(after int64) store.Sight {
	sight := r.sight.Sight()
	if n := len(sight); n > 0 && sight[n-1].First <= after && sight[n-1].Last == store.CurrentState {
		return nil
	}
	return sight
}

// related loads what events say of others, and others of them.
func (r *reader) related(ctx context.Context, events ...*store.Event) (view.Related, error) {
	related, err := view.Load(ctx, r.s.store, events...)
	if err != nil {
		return related, err
	}
	err = related.Aggregate(ctx, r.s.store, view.Viewer{
		User:    r.who.User,
		Ignored: func(ctx context.Context) ([]matrix.UserID, error) { return r.s.ignored(ctx, r.who.User) },
		Sight:   func(int64) store.Sight { return r.sight.Sight() },
	}, events...)
	return related, err
}

// typeIgnored is the account data with the users whom its owner ignores.
const typeIgnored = "m.ignored_user_list"

// ignored lists the users whom a user ignores; nobody can be deaf to themselves.
//
// Spec: client-server v1.19 §ignoring-users
func (s *Server) ignored(ctx context.Context, user matrix.UserID) ([]matrix.UserID, error) {
	data, err := s.store.GetUpdate(ctx, store.KindAccountData, 0, user, typeIgnored)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load ignored users: %w", err)
	}
	var users []matrix.UserID
	gjson.GetBytes(data.Body, "ignored_users").ForEach(func(id, _ gjson.Result) bool {
		// What is no user id ignores nobody, and may be text that can't be compared in the database.
		if other, err := matrix.ParseUserID(id.String()); err == nil && other != user {
			users = append(users, other)
		}
		return true
	})
	return users, nil
}
