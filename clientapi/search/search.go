// Package search is POST /search: full text over the messages that a user may see, now or then.
//
// Spec: client-server v1.19 §server-side-search
//
// The index is a table of its own (store/search.go), filled by a follower of the journal (index.go) a moment after a message
// is sent; a search waits for that moment, so that whoever has sent a message finds it. What a message says is folded into plain small words (text.go), the same for every language. A message that was edited is found by
// its latest text, and one that was redacted not at all: the answer is checked against the events themselves, so that it
// does not matter how far the follower has come.
//
// Who may see what is decided here for each search anew: rooms the user is or was in, of each the stretches of history that may
// be seen, and nothing of ignored users. Encrypted rooms are not in the index, and are left out even if they once were not.
//
// Bounds. The newest limits.SearchRanked matches are ranked and counted, whatever else matches; order_by recent goes back as far as
// there is history. The index is asked for stretches of positions, newest first (store.Search).
//
// Start reading at Search.
package search

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Config of a Server. All fields but the last are required.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Rooms   *roomserver.Server
	Clock   matrix.Clock
	Log     *slog.Logger
	// Ignored lists the users whom a user ignores.
	Ignored func(ctx context.Context, user matrix.UserID) ([]matrix.UserID, error)
	// IndexPatience is how long a search waits for the index: 1 s if zero. Longer in tests only.
	IndexPatience time.Duration
}

// Server searches.
type Server struct {
	cfg Config
	// hurry tells the follower that a search waits for it.
	hurry chan struct{}
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.IndexPatience == 0 {
		cfg.IndexPatience = time.Second
	}
	return &Server{cfg: cfg, hurry: make(chan struct{}, 1)}
}

// Search finds events.
//
// Spec: client-server v1.19 §server-side-search, POST /_matrix/client/v3/search
func (s *Server) Search(ctx context.Context, c *httpapi.Call, req *request) (any, error) {
	if req.Categories == nil {
		return nil, matrix.MissingParam("search_categories is missing")
	}
	if req.Categories.RoomEvents == nil {
		return httpapi.Raw(`{"search_categories":{}}`), nil
	}
	a := &answer{s: s, who: c.Requester, req: req.Categories.RoomEvents}
	if err := a.parse(c.Query("next_batch")); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{s.caughtUp, a.chooseRooms, a.find, a.load, a.loadContexts, a.loadState} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a.write(ctx)
}

// catchUpPause is how long before a search looks again how far the index is.
const catchUpPause = 4 * time.Millisecond

// caughtUp waits until the index has what this process knew when it was called. A follower that is far behind, or that nobody runs at
// the moment, is not waited for longer than IndexPatience: what is in the index is better than nothing.
func (s *Server) caughtUp(ctx context.Context) error {
	head := s.cfg.Journal.Head()
	patience := time.NewTimer(s.cfg.IndexPatience)
	defer patience.Stop()
	for {
		position, err := s.cfg.Store.GetFollowerPosition(ctx, follower)
		if err != nil {
			return fmt.Errorf("look how far the index is: %w", err)
		}
		if position >= head {
			return nil
		}
		select {
		case s.hurry <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return nil
		case <-time.After(catchUpPause):
		}
	}
}

// chooseRooms finds the rooms that are searched: those that the user is or was in and has not forgotten, and that are not encrypted.
func (a *answer) chooseRooms(ctx context.Context) error {
	list, err := a.s.cfg.Store.ListMemberships(ctx, a.who.User)
	if err != nil {
		return fmt.Errorf("list rooms to search: %w", err)
	}
	var nids []int64
	a.ids = make(map[int64]matrix.RoomID)
	for _, m := range list {
		if m.Membership != "invite" && m.Membership != "knock" && a.filter.MatchRoom(m.RoomID) && (a.at.Room == "" || a.at.Room == m.RoomID) {
			nids = append(nids, m.RoomNID)
			a.ids[m.RoomNID] = m.RoomID
		}
	}
	if len(nids) == 0 {
		return nil
	}
	if a.rooms, err = a.s.cfg.Store.ListSearchableRooms(ctx, nids); err != nil {
		return fmt.Errorf("list rooms to search: %w", err)
	}
	if a.visible, err = a.s.cfg.Rooms.Visibilities(ctx, nids, a.who.User); err != nil {
		return err
	}
	a.rooms = slices.DeleteFunc(a.rooms, func(r store.SearchRoom) bool { return !a.visible[r.RoomNID].EverJoined() })
	for i := range a.rooms {
		sight := a.visible[a.rooms[i].RoomNID].Sight()
		if len(sight) == 1 && sight[0].First == 0 && sight[0].Last == store.CurrentState {
			sight = nil
		}
		a.rooms[i].Sight = sight
	}
	return nil
}

// find asks the index. One more than fits says that there is a following page; for the first one the matches are counted, as far as any
// are ranked.
func (a *answer) find(ctx context.Context) error {
	if len(a.rooms) == 0 || len(a.kinds) == 0 || len(a.query.terms) == 0 {
		return nil
	}
	ignored, err := a.s.cfg.Ignored(ctx, a.who.User)
	if err != nil {
		return err
	}
	a.ignored = ignored
	q := store.SearchQuery{
		Words: a.query.tsquery(), Rooms: a.rooms, Kinds: a.kinds, Senders: a.filter.Senders, HasURL: a.filter.ContainsURL,
		Before: a.at.Before, Limit: a.limit + 1,
	}
	q.NotSenders = slices.Clone(a.filter.NotSenders)
	for _, user := range ignored {
		q.NotSenders = append(q.NotSenders, string(user))
	}
	if a.at.Sender != "" {
		if q.Senders != nil && !slices.Contains(q.Senders, string(a.at.Sender)) {
			return nil
		}
		q.Senders = []string{string(a.at.Sender)}
	}
	if a.ranked() || a.at.Count == 0 {
		q.Limit = limits.SearchRanked
	}
	found, err := a.s.cfg.Store.Search(ctx, q)
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	a.count = max(a.at.Count, a.at.Seen+len(found))
	if a.ranked() {
		a.count = len(found)
		a.rank(&found)
	}
	a.more = len(found) > a.limit
	a.matches = found[:min(a.limit, len(found))]
	return nil
}

// rank brings the best first, and leaves out what earlier pages had.
func (a *answer) rank(found *[]store.SearchMatch) {
	slices.SortFunc(*found, better)
	if a.at.Position == 0 {
		return
	}
	last := store.SearchMatch{Position: a.at.Position, Rank: a.at.Rank}
	*found = slices.DeleteFunc(*found, func(m store.SearchMatch) bool { return better(m, last) <= 0 })
}

// better orders matches by rank, then the newest first.
func better(x, y store.SearchMatch) int {
	switch {
	case x.Rank > y.Rank, x.Rank == y.Rank && x.Position > y.Position:
		return -1
	case x == y, x.Rank == y.Rank && x.Position == y.Position:
		return 0
	}
	return 1
}
