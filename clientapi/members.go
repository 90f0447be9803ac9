package clientapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// getMembersByRoom lists the member events of a room: now, when the requester left, or at a token.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v3/rooms/{roomId}/members
func (s *Server) getMembersByRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	wanted, err := wantedMemberships(c.Query("membership"), c.Query("not_membership"))
	if err != nil {
		return nil, err
	}
	at, err := queryToken(c, "at", store.CurrentState)
	if err != nil {
		return nil, err
	}
	if at != store.CurrentState {
		// A token from before the room, such as prev_batch of a timeline that has all of it, stands for its beginning: a room without
		// members is of no use to anybody.
		first, err := s.store.GetFirstMember(ctx, r.room.NID)
		if err != nil {
			return nil, fmt.Errorf("look for the first member of %s: %w", r.room.ID, err)
		}
		at = max(at, first)
	}
	position := min(at, r.upTo)
	// Who joined later may ask about now, but about then only where history could be seen.
	if position != r.upTo && !r.sight.CanSeeState(position) {
		return nil, matrix.Forbidden("you may not see the members of this room at this token")
	}
	members, err := s.store.ListMemberEvents(ctx, r.room.NID, position, wanted)
	if err != nil {
		return nil, fmt.Errorf("list members of %s: %w", r.room.ID, err)
	}
	return r.stateAnswer(ctx, []byte(`{"chunk":`), pointers(members), "}")
}

// wantedMemberships are those that are membership, or are not notMembership; nil means all.
func wantedMemberships(membership, notMembership string) ([]string, error) {
	if membership != "" && !slices.Contains(memberships, membership) {
		return nil, matrix.InvalidParam("membership must be one of join, invite, knock, leave and ban")
	}
	if notMembership != "" && !slices.Contains(memberships, notMembership) {
		return nil, matrix.InvalidParam("not_membership must be one of join, invite, knock, leave and ban")
	}
	if membership == "" && notMembership == "" {
		return nil, nil
	}
	return slices.DeleteFunc(slices.Clone(memberships), func(m string) bool {
		return m != membership && (notMembership == "" || m == notMembership)
	}), nil
}

// joinedMember is what joined_members tells of a member. Values that are no strings are null, as clients know it.
type joinedMember struct {
	DisplayName *string `json:"display_name"`
	AvatarURL   *string `json:"avatar_url"`
}

// getJoinedMembersByRoom tells the members of a room who the members are.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v3/rooms/{roomId}/joined_members
func (s *Server) getJoinedMembersByRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	if err := s.mustBeJoined(ctx, id, c.Requester.User); err != nil {
		return nil, err
	}
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return nil, err
	}
	members, err := s.store.ListMemberEvents(ctx, room.NID, store.CurrentState, []string{joined})
	if err != nil {
		return nil, fmt.Errorf("list members of %s: %w", id, err)
	}
	list := make(map[string]joinedMember, len(members))
	for i := range members {
		list[*members[i].StateKey] = joinedMember{
			DisplayName: stringOf(gjson.GetBytes(members[i].JSON, "content.displayname")),
			AvatarURL:   stringOf(gjson.GetBytes(members[i].JSON, "content.avatar_url")),
		}
	}
	return map[string]map[string]joinedMember{"joined": list}, nil
}

// stringOf is a string value, or nil for a value of another kind.
func stringOf(v gjson.Result) *string {
	if v.Type != gjson.String {
		return nil
	}
	return &v.Str
}
