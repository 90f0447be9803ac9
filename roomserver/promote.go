package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// presentState is a position after all others.
const presentState = math.MaxInt64 - 1

// Promote gives a local user as much power in a room as the most powerful local member can give, in that member's name, and invites the user
// who is not in the room.
func (s *Server) Promote(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	rules, err := s.Rules(ctx, room)
	if err != nil {
		return err
	}
	able, err := s.joinedLocals(ctx, room, rules, rules.EventLevel(spec.MRoomPowerLevels, true))
	if err != nil {
		return err
	}
	if len(able) == 0 {
		return matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "nobody in the room may give power")
	}
	giver := able[0]
	for _, who := range able {
		if rules.UserLevel(who) > rules.UserLevel(giver) {
			giver = who
		}
	}
	// Creators have more than any number in some versions, and can't be given it.
	const most = 100
	level := min(rules.UserLevel(giver), most)
	if rules.UserLevel(user) < level {
		if err := s.putLevel(ctx, room, giver, user, level); err != nil {
			return err
		}
	}
	present, err := s.cfg.Store.ListMembershipsOf(ctx, user, []matrix.RoomID{id})
	if err != nil {
		return fmt.Errorf("load membership: %w", err)
	}
	if len(present) > 0 && (present[0].Membership == spec.Join || present[0].Membership == spec.Invite) {
		return nil
	}
	return s.Invite(ctx, Membership{Room: id, Sender: giver, Target: user})
}

// SetLevel gives a user a power level in a room, in the name of a member, whom the room's rules have to let do that.
func (s *Server) SetLevel(ctx context.Context, id matrix.RoomID, giver, user matrix.UserID, level int64) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	rules, err := s.Rules(ctx, room)
	if err != nil || rules.UserLevel(user) == level {
		return err
	}
	return s.putLevel(ctx, room, giver, user, level)
}

func (s *Server) putLevel(ctx context.Context, room Info, giver, user matrix.UserID, level int64) error {
	content := map[string]any{}
	e, err := s.cfg.Store.GetStateEvent(ctx, room.NID, presentState, spec.MRoomPowerLevels, "")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load power levels: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal([]byte(gjson.GetBytes(e.JSON, "content").Raw), &content); err != nil {
			return fmt.Errorf("stored power levels: %w", err)
		}
	}
	users, _ := content["users"].(map[string]any)
	if users == nil {
		users = map[string]any{}
	}
	users[string(user)] = level
	content["users"] = users
	raw, err := canonical(content)
	if err != nil {
		return err
	}
	key := ""
	_, err = s.Send(ctx, NewEvent{Room: room.ID, Sender: giver, Type: spec.MRoomPowerLevels, StateKey: &key, Content: raw})
	return err
}
