package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/view"
)

// roomInfo is what the old ways of a first sync tell of a room.
type roomInfo struct {
	*reader
	membership string // empty for who only looks in
	invite     *store.Event
	messages   []*store.Event // oldest first
	state      []*store.Event
	data       []store.Update
	public     bool
}

// initialSync gives the requester's rooms with their state and latest messages.
//
// Spec: client-server v1.19 §syncing, GET /_matrix/client/v3/initialSync
func (s *Server) initialSync(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", limits.PageDefault, 0, limits.TimelineMax)
	if err != nil {
		return nil, err
	}
	// What happens from here on, /events tells.
	now := s.journal.Head()
	list, err := s.ownRooms(ctx, c.Requester, c.QueryBool("archived"))
	if err != nil {
		return nil, err
	}
	related, err := s.fillRoomInfos(ctx, c.Requester, list, limit)
	if err != nil {
		return nil, err
	}
	data, err := s.store.ListAccountData(ctx, c.Requester.User, -1, store.CurrentState, nil)
	if err != nil {
		return nil, fmt.Errorf("load account data: %w", err)
	}
	var people []store.Update
	if s.presence.Enabled() {
		if people, err = s.store.ListSharedPresence(ctx, c.Requester.User, -1, store.CurrentState, limits.SyncPresence); err != nil {
			return nil, fmt.Errorf("load presence: %w", err)
		}
	}
	dst := fmt.Appendf(nil, `{"end":%q,"rooms":[`, journal.Token(now))
	for i, r := range list {
		dst = r.append(separate(dst, i), related)
	}
	dst = append(dst, `],"account_data":`...)
	dst = appendData(dst, slices.DeleteFunc(data, func(u store.Update) bool { return u.RoomNID != 0 }))
	dst = append(dst, `,"presence":[`...)
	for i, u := range people {
		dst = append(separate(dst, i), `{"type":"m.presence","sender":`...)
		dst = append(appendJSONText(dst, string(u.UserID)), `,"content":`...)
		dst = append(append(dst, presence.EventContent(u.Body, s.now())...), '}')
	}
	return httpapi.Raw(append(dst, "]}"...)), nil
}

// roomInitialSync gives a room with its state and latest messages.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v3/rooms/{roomId}/initialSync
func (s *Server) roomInitialSync(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", limits.PageDefault, 0, limits.TimelineMax)
	if err != nil {
		return nil, err
	}
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	info := &roomInfo{reader: r}
	if r.own.EverJoined() || r.own.MembershipAt(store.CurrentState) != "leave" {
		info.membership = r.own.MembershipAt(store.CurrentState)
	}
	related, err := s.fillRoomInfos(ctx, c.Requester, []*roomInfo{info}, limit)
	if err != nil {
		return nil, err
	}
	return httpapi.Raw(info.append(nil, related)), nil
}

// ownRooms lists the rooms that the requester is in or invited to, with archived those that the requester has left as well.
func (s *Server) ownRooms(ctx context.Context, who *httpapi.Requester, archived bool) ([]*roomInfo, error) {
	memberships, err := s.store.ListMemberships(ctx, who.User)
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	memberships = slices.DeleteFunc(memberships, func(m store.Membership) bool {
		left := m.Membership == "leave" || m.Membership == "ban"
		return m.Membership == "knock" || left && !archived
	})
	nids, invites := make([]int64, len(memberships)), []int64{}
	for i, m := range memberships {
		nids[i] = m.RoomNID
		if m.Membership == "invite" {
			invites = append(invites, m.Position)
		}
	}
	visible, err := s.rooms.Visibilities(ctx, nids, who.User)
	if err != nil {
		return nil, err
	}
	invitations, err := s.store.ListEventsAt(ctx, invites)
	if err != nil {
		return nil, fmt.Errorf("load invitations: %w", err)
	}
	var list []*roomInfo
	for _, m := range memberships {
		own := visible[m.RoomNID]
		r := &roomInfo{membership: m.Membership, reader: &reader{
			s: s, who: who, room: roomserver.Info{NID: m.RoomNID, ID: m.RoomID}, upTo: store.CurrentState, sight: own, own: own,
		}}
		switch stays := own.Stays(); {
		case m.Membership == "invite":
			i := slices.IndexFunc(invitations, func(e store.Event) bool { return e.RoomNID == m.RoomNID })
			if i < 0 {
				continue
			}
			r.invite = &invitations[i]
		case m.Membership != joined && len(stays) == 0:
			continue
		case m.Membership != joined:
			r.upTo = stays[len(stays)-1].Until
		}
		list = append(list, r)
	}
	return list, nil
}

// fillRoomInfos reads what is told of the rooms, of all of them at once.
func (s *Server) fillRoomInfos(ctx context.Context, who *httpapi.Requester, list []*roomInfo, limit int) (view.Related, error) {
	byNID := make(map[int64]*roomInfo, len(list))
	var nids []int64
	var windows []store.Window
	var states []store.StateWindow
	for _, r := range list {
		if r.invite == nil {
			nid := r.room.NID
			byNID[nid], nids = r, append(nids, nid)
			windows = append(windows, store.Window{RoomNID: nid, UpTo: r.upTo})
			states = append(states, store.StateWindow{RoomNID: nid, Start: r.upTo, UpTo: r.upTo})
		}
	}
	ignored, err := s.ignored(ctx, who.User)
	if err != nil {
		return view.Related{}, err
	}
	var without store.TimelineFilter
	for _, user := range ignored {
		without.Ignored = append(without.Ignored, string(user))
	}
	events, err := s.store.ListWindows(ctx, windows, without, limit, limits.TimelineScan)
	if err != nil {
		return view.Related{}, fmt.Errorf("load messages: %w", err)
	}
	shown := make([]*store.Event, 0, len(events))
	for i := range slices.Backward(events) {
		e := &events[i]
		if r := byNID[e.RoomNID]; r.sight.CanSee(e.Position) {
			r.messages = append(r.messages, e)
			shown = append(shown, e)
		}
	}
	state, err := s.store.ListStateWindows(ctx, states, true, false)
	if err != nil {
		return view.Related{}, fmt.Errorf("load state: %w", err)
	}
	for i := range state {
		r := byNID[state[i].RoomNID]
		r.state = append(r.state, &state[i].Event)
	}
	public, err := s.store.ListPublished(ctx, nids)
	if err != nil {
		return view.Related{}, fmt.Errorf("look up published rooms: %w", err)
	}
	for _, nid := range public {
		byNID[nid].public = true
	}
	data, err := s.store.ListAccountData(ctx, who.User, store.CurrentState, store.CurrentState, nids)
	if err != nil {
		return view.Related{}, fmt.Errorf("load account data: %w", err)
	}
	for _, u := range data {
		if r := byNID[u.RoomNID]; r != nil {
			r.data = append(r.data, u)
		}
	}
	return view.Load(ctx, s.store, shown...)
}

// append appends the room as the spec's RoomInfo.
func (r *roomInfo) append(dst []byte, related view.Related) []byte {
	dst = fmt.Appendf(dst, `{"room_id":%q`, string(r.room.ID))
	if r.membership != "" {
		dst = fmt.Appendf(dst, `,"membership":%q`, r.membership)
	}
	if r.invite != nil {
		dst = append(dst, `,"invite":`...)
		return append(r.appendEvent(dst, r.invite, view.Related{}, r.s.now()), '}')
	}
	start, end := min(r.upTo, r.s.journal.Head()), min(r.upTo, r.s.journal.Head())
	if n := len(r.messages); n > 0 {
		start, end = r.messages[0].Position-1, r.messages[n-1].Position
	}
	dst = fmt.Appendf(dst, `,"messages":{"start":%q,"end":%q,"chunk":`, journal.Token(start), journal.Token(end))
	dst = r.appendEvents(dst, r.messages, related)
	dst = r.appendEvents(append(dst, `},"state":`...), r.state, view.Related{})
	dst = fmt.Appendf(dst, `,"visibility":%q,"account_data":`, map[bool]string{false: "private", true: "public"}[r.public])
	return append(appendData(dst, r.data), '}')
}

// appendData appends account data as a list of events. What was deleted is left out.
func appendData(dst []byte, list []store.Update) []byte {
	dst = append(dst, '[')
	n := 0
	for _, u := range list {
		if len(u.Body) == 0 {
			continue
		}
		dst = append(separate(dst, n), `{"type":`...)
		dst = append(appendJSONText(dst, u.Key), `,"content":`...)
		dst = append(append(dst, u.Body...), '}')
		n++
	}
	return append(dst, ']')
}

// separate appends the comma before all but the first item of a list.
func separate(dst []byte, i int) []byte {
	if i == 0 {
		return dst
	}
	return append(dst, ',')
}

func appendJSONText(dst []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("clientapi: a string can always be encoded: " + err.Error())
	}
	return append(dst, text...)
}
