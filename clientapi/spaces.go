package clientapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

const (
	typeSpaceChild = "m.space.child"
	roomTypeSpace  = "m.space"
)

// hierarchyRoom is a room of a space as the client gets it.
type hierarchyRoom struct {
	roomSummary
	ChildrenState []childState `json:"children_state"`
}

// childState is an m.space.child event, stripped.
type childState struct {
	Type           string           `json:"type"`
	StateKey       string           `json:"state_key"`
	Content        json.RawMessage  `json:"content"`
	Sender         matrix.UserID    `json:"sender"`
	OriginServerTS matrix.Timestamp `json:"origin_server_ts"`
}

type hierarchyResponse struct {
	Rooms     []hierarchyRoom `json:"rooms"`
	NextBatch string          `json:"next_batch,omitempty"`
}

// spaceWalk is how far a walk through a space has come. It is kept in the database between pages, because it may go on in another
// process, and because a token that held it would not fit into a path.
type spaceWalk struct {
	SuggestedOnly bool `json:"suggested_only"`
	MaxDepth      int  `json:"max_depth"`
	// Next are the rooms to come, the next one last.
	Next []spaceStep `json:"next"`
	// Seen are all rooms that were ever put into Next: each is told of once, and a space that contains itself ends.
	Seen []matrix.RoomID `json:"seen"`
	seen map[matrix.RoomID]bool
}

type spaceStep struct {
	Room  matrix.RoomID `json:"room"`
	Depth int           `json:"depth"`
}

// push puts rooms in front of those to come, unless they are there or were.
func (w *spaceWalk) push(depth int, rooms []matrix.RoomID) {
	var steps []spaceStep
	for _, id := range rooms {
		if !w.seen[id] && len(w.Seen) < limits.SpaceWalk {
			w.seen[id] = true
			w.Seen = append(w.Seen, id)
			steps = append(steps, spaceStep{id, depth})
		}
	}
	slices.Reverse(steps)
	w.Next = append(w.Next, steps...)
}

// getSpaceHierarchy walks through a space depth first, and gives of it what the requester may know.
//
// Spec: client-server v1.19 §discovering-rooms-within-spaces, GET /_matrix/client/v1/rooms/{roomId}/hierarchy
func (s *Server) getSpaceHierarchy(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	limit, err := c.QueryInt("limit", limits.SpaceRooms, 0, limits.SpaceRooms)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		return nil, matrix.InvalidParam("limit must be greater than zero")
	}
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return nil, sameForUnknown(err)
	}
	walk, err := s.spaceWalk(ctx, c, room)
	if err != nil {
		return nil, err
	}
	p := &spacePage{s: s, ctx: ctx, who: viewerOf(c), walk: walk, loaded: map[matrix.RoomID]*spaceRoom{}}
	// The space itself is looked at for every page: who has lost sight of it may not go on.
	if err := p.load([]matrix.RoomID{id}); err != nil {
		return nil, err
	}
	if r := p.loaded[id]; r == nil || !r.sight.Accessible {
		return nil, forbiddenRoom()
	}
	answer := hierarchyResponse{}
	if answer.Rooms, err = p.take(limit); err != nil || len(walk.Next) == 0 {
		return answer, err
	}
	answer.NextBatch, err = s.keepSpaceWalk(ctx, c.Requester.User, room, walk)
	return answer, err
}

// spaceWalk begins a walk, or takes up the one of the token in from.
func (s *Server) spaceWalk(ctx context.Context, c *httpapi.Call, room roomserver.Info) (*spaceWalk, error) {
	switch c.Query("suggested_only") {
	case "", "true", "false":
	default:
		return nil, matrix.InvalidParam("suggested_only must be true or false")
	}
	depth, err := c.QueryInt("max_depth", limits.SpaceDepth, 0, limits.SpaceDepth)
	if err != nil {
		return nil, err
	}
	from := c.Query("from")
	if from == "" {
		w := &spaceWalk{SuggestedOnly: c.QueryBool("suggested_only"), MaxDepth: depth, seen: map[matrix.RoomID]bool{}}
		w.push(0, []matrix.RoomID{room.ID})
		return w, nil
	}
	row, err := s.store.GetSpaceWalk(ctx, from, c.Requester.User, room.NID, s.now())
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.InvalidParam("from is not a token for this room, or has expired")
	}
	if err != nil {
		return nil, fmt.Errorf("load the walk through %s: %w", room.ID, err)
	}
	w := &spaceWalk{}
	if err := json.Unmarshal(row.Walk, w); err != nil {
		return nil, fmt.Errorf("read the walk through %s: %w", room.ID, err)
	}
	if c.Query("suggested_only") != "" && c.QueryBool("suggested_only") != w.SuggestedOnly || c.Query("max_depth") != "" && depth != w.MaxDepth {
		return nil, matrix.InvalidParam("suggested_only and max_depth cannot change between pages")
	}
	w.seen = make(map[matrix.RoomID]bool, len(w.Seen))
	for _, id := range w.Seen {
		w.seen[id] = true
	}
	return w, nil
}

func (s *Server) keepSpaceWalk(ctx context.Context, user matrix.UserID, room roomserver.Info, w *spaceWalk) (string, error) {
	raw, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("encode the walk through %s: %w", room.ID, err)
	}
	token := rand.Text()
	row := store.SpaceWalk{Token: token, UserID: user, RoomNID: room.NID, Walk: raw}
	expires := matrix.TimestampOf(s.clock.Now().Add(limits.SpaceWalkKept))
	if err := s.store.InsertSpaceWalk(ctx, row, expires, limits.SpaceWalks); err != nil {
		return "", fmt.Errorf("keep the walk through %s: %w", room.ID, err)
	}
	return token, nil
}

// spacePage is the work on one page.
type spacePage struct {
	s      *Server
	ctx    context.Context
	who    roomserver.Viewer
	walk   *spaceWalk
	loaded map[matrix.RoomID]*spaceRoom // nil for rooms that are not here
}

// spaceRoom is a room with what a walk needs of it.
type spaceRoom struct {
	summary  *roomserver.Summary
	sight    roomserver.Sight
	children []*store.Event
}

// take walks on until it has limit rooms or comes to the end.
func (p *spacePage) take(limit int) ([]hierarchyRoom, error) {
	rooms := []hierarchyRoom{}
	for looked := 0; len(rooms) < limit && len(p.walk.Next) > 0 && looked < limits.SpaceLookups; looked++ {
		step := p.walk.Next[len(p.walk.Next)-1]
		if _, ok := p.loaded[step.Room]; !ok {
			if err := p.loadNext(limit - len(rooms)); err != nil {
				return nil, err
			}
		}
		p.walk.Next = p.walk.Next[:len(p.walk.Next)-1]
		r := p.loaded[step.Room]
		if r == nil || !r.sight.Accessible {
			continue
		}
		children := p.childrenOf(r)
		room := hierarchyRoom{roomSummary: roomSummaryOf(r.summary), ChildrenState: []childState{}}
		ids := make([]matrix.RoomID, len(children))
		for i, e := range children {
			ids[i] = matrix.RoomID(*e.StateKey)
			room.ChildrenState = append(room.ChildrenState, childState{
				Type: e.Type, StateKey: *e.StateKey, Content: event.Content(e.JSON), Sender: e.Sender, OriginServerTS: e.OriginServerTS,
			})
		}
		rooms = append(rooms, room)
		if step.Depth < p.walk.MaxDepth {
			p.walk.push(step.Depth+1, ids)
		}
	}
	return rooms, nil
}

// loadNext loads the next n rooms to come, in few queries.
func (p *spacePage) loadNext(n int) error {
	var ids []matrix.RoomID
	for i := len(p.walk.Next) - 1; i >= 0 && len(ids) < n; i-- {
		if id := p.walk.Next[i].Room; !p.has(id) {
			ids = append(ids, id)
		}
	}
	return p.load(ids)
}

func (p *spacePage) has(id matrix.RoomID) bool { _, ok := p.loaded[id]; return ok }

func (p *spacePage) load(ids []matrix.RoomID) error {
	for _, id := range ids {
		p.loaded[id] = nil
	}
	infos, err := p.s.rooms.RoomsByID(p.ctx, ids)
	if err != nil || len(infos) == 0 {
		return err
	}
	summaries, err := p.s.rooms.Summaries(p.ctx, infos)
	if err != nil {
		return err
	}
	sights, err := p.s.rooms.Sights(p.ctx, p.who, summaries)
	if err != nil {
		return err
	}
	var spaces []int64
	for nid, m := range summaries {
		p.loaded[m.Room.ID] = &spaceRoom{summary: m, sight: sights[nid]}
		if m.Type == roomTypeSpace && sights[nid].Accessible {
			spaces = append(spaces, nid)
		}
	}
	if len(spaces) == 0 {
		return nil
	}
	children, err := p.s.store.ListStateOfType(p.ctx, spaces, typeSpaceChild, limits.SpaceChildren)
	if err != nil {
		return fmt.Errorf("list the children of spaces: %w", err)
	}
	for i := range children {
		r := p.loaded[children[i].RoomID]
		r.children = append(r.children, &children[i])
	}
	return nil
}

// childrenOf lists the valid children of a space in their order.
//
// Spec: client-server v1.19 §ordering-of-children-within-a-space
func (p *spacePage) childrenOf(r *spaceRoom) []*store.Event {
	list := slices.DeleteFunc(slices.Clone(r.children), func(e *store.Event) bool {
		if _, err := matrix.ParseRoomID(*e.StateKey); err != nil {
			return true
		}
		return !isChild(e.JSON) || p.walk.SuggestedOnly && gjson.GetBytes(e.JSON, "content.suggested").Type != gjson.True
	})
	slices.SortFunc(list, func(a, b *store.Event) int {
		x, xOK := childOrder(a.JSON)
		y, yOK := childOrder(b.JSON)
		if xOK != yOK {
			if xOK {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.OriginServerTS, b.OriginServerTS), cmp.Compare(*a.StateKey, *b.StateKey))
	})
	return list
}

// isChild reports whether an m.space.child event makes a child: it says through which servers the room can be reached.
func isChild(eventJSON []byte) bool {
	via := gjson.GetBytes(eventJSON, "content.via")
	return via.IsArray() && len(via.Array()) > 0 &&
		!slices.ContainsFunc(via.Array(), func(v gjson.Result) bool { return v.Type != gjson.String })
}

// childOrder is the order of a child; false when it has none that is valid.
func childOrder(eventJSON []byte) (string, bool) {
	order := gjson.GetBytes(eventJSON, "content.order")
	if order.Type != gjson.String || order.Str == "" || len(order.Str) > 50 {
		return "", false
	}
	for i := range len(order.Str) {
		if order.Str[i] < ' ' || order.Str[i] > '~' {
			return "", false
		}
	}
	return order.Str, true
}
