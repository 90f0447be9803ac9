package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

const (
	typeDirect    = "m.direct"
	typeTombstone = "m.room.tombstone"
)

type upgradeRequest struct {
	NewVersion         *string  `json:"new_version"`
	AdditionalCreators []string `json:"additional_creators"`
}

type upgradeResponse struct {
	ReplacementRoom matrix.RoomID `json:"replacement_room"`
}

// upgradeRoom puts a room of another version in the place of a room.
//
// Spec: client-server v1.19 §room-upgrades, POST /_matrix/client/v3/rooms/{roomId}/upgrade
func (s *Server) upgradeRoom(ctx context.Context, c *httpapi.Call, req *upgradeRequest) (any, error) {
	if c.Requester.Guest {
		return nil, guestsMayNot()
	}
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	if req.NewVersion == nil {
		return nil, matrix.MissingParam("new_version is missing")
	}
	if len(req.AdditionalCreators) > limits.AdditionalCreators {
		return nil, matrix.InvalidParam("additional_creators has more than %d users", limits.AdditionalCreators)
	}
	u := roomserver.Upgrade{Room: id, Sender: c.Requester.User, Version: *req.NewVersion}
	for _, name := range req.AdditionalCreators {
		user, err := matrix.ParseUserID(name)
		if err != nil {
			return nil, matrix.InvalidParam("additional_creators must be a list of user ids")
		}
		u.AdditionalCreators = append(u.AdditionalCreators, user)
	}
	if err := s.mustBeJoined(ctx, id, c.Requester.User); err != nil {
		return nil, err
	}
	room, err := s.rooms.Upgrade(ctx, u)
	if err != nil {
		return nil, err
	}
	if listed, err := s.store.ListInDirectory(ctx, []int64{room.NID}); err == nil && len(listed) > 0 {
		// The directory's follower would come to it by itself, a moment later.
		if err := s.listRooms(ctx, []roomserver.Info{room}); err != nil {
			return nil, err
		}
	}
	s.carryOver(ctx, c.Requester.User, room.ID)
	return upgradeResponse{room.ID}, nil
}

// carryOver gives the user, who has just come into a room, what the user had set for the room that it replaces. The join holds
// whether this works or not.
//
// Spec: client-server v1.19 §room-upgrades
func (s *Server) carryOver(ctx context.Context, user matrix.UserID, room matrix.RoomID) {
	if err := s.carryOverSettings(ctx, user, room); err != nil && ctx.Err() == nil {
		httpapi.Log(ctx).Warn("the settings of a room were not taken over into the room that replaces it", "room", room, "error", err)
	}
}

// carryOverByHand does the same for those who were in the new room before the old one's end named it, as when a client makes an upgrade
// of its own. Who comes later gets it when joining.
func (s *Server) carryOverByHand(ctx context.Context, tombstone roomserver.NewEvent) {
	next, err := s.rooms.Room(ctx, matrix.RoomID(gjson.GetBytes(tombstone.Content, "replacement_room").String()))
	if _, unknown := matrix.AsError(err); unknown {
		return
	}
	var members []matrix.UserID
	if err == nil {
		members, err = s.store.ListSomeMembers(ctx, next.NID, limits.CarriedOver)
	}
	if err != nil {
		if ctx.Err() == nil {
			httpapi.Log(ctx).Warn("the settings of a room were not taken over into the room that replaces it", "room", tombstone.Room, "error", err)
		}
		return
	}
	for _, user := range members {
		s.carryOver(ctx, user, next.ID)
	}
}

func (s *Server) carryOverSettings(ctx context.Context, user matrix.UserID, id matrix.RoomID) error {
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return err
	}
	old, ok, err := s.predecessor(ctx, user, room)
	if err != nil || !ok {
		return err
	}
	tags, _, err := s.readTags(ctx, user, old.NID)
	if err != nil {
		return err
	}
	if len(tags.Tags) > 0 {
		err := s.editTags(ctx, user, room.NID, func(present map[string]json.RawMessage) (bool, error) {
			missing := maps.Clone(tags.Tags)
			maps.DeleteFunc(missing, func(tag string, _ json.RawMessage) bool { _, ok := present[tag]; return ok })
			maps.Copy(present, missing)
			return len(missing) > 0, nil
		})
		if err != nil {
			return err
		}
	}
	if err := s.push.CopyRoomRules(ctx, user, old.ID, id); err != nil {
		return fmt.Errorf("copy push rules: %w", err)
	}
	return s.carryOverDirect(ctx, user, old.ID, id)
}

// predecessor is the room that the room replaces, if both say so and the user was in it. Why both: anybody can make a room that says it
// replaces another one.
func (s *Server) predecessor(ctx context.Context, user matrix.UserID, room roomserver.Info) (old roomserver.Info, ok bool, err error) {
	create, err := s.store.GetStateEvent(ctx, room.NID, store.CurrentState, typeCreate, "")
	if err != nil {
		return old, false, fmt.Errorf("load create event of %s: %w", room.ID, err)
	}
	id, err := matrix.ParseRoomID(gjson.GetBytes(create.JSON, "content.predecessor.room_id").String())
	if err != nil {
		return old, false, nil
	}
	old, err = s.rooms.Room(ctx, id)
	if _, unknown := matrix.AsError(err); unknown {
		return old, false, nil
	}
	if err != nil {
		return old, false, err
	}
	tombstone, err := s.store.GetStateEvent(ctx, old.NID, store.CurrentState, typeTombstone, "")
	if errors.Is(err, store.ErrNotFound) {
		return old, false, nil
	}
	if err != nil {
		return old, false, fmt.Errorf("load tombstone of %s: %w", id, err)
	}
	_, err = s.store.GetMembership(ctx, old.NID, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return old, false, fmt.Errorf("load membership of %s: %w", id, err)
	}
	return old, err == nil && gjson.GetBytes(tombstone.JSON, "content.replacement_room").String() == string(room.ID), nil
}

// carryOverDirect makes the room a direct chat with the same people as the old one.
func (s *Server) carryOverDirect(ctx context.Context, user matrix.UserID, old, room matrix.RoomID) error {
	for range tagAttempts {
		value, err := s.store.GetUpdate(ctx, store.KindAccountData, 0, user, typeDirect)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read direct chats: %w", err)
		}
		var direct map[string]json.RawMessage
		if json.Unmarshal(value.Body, &direct) != nil {
			return nil // a client stored something else
		}
		changed := false
		for who, raw := range direct {
			var rooms []string
			if json.Unmarshal(raw, &rooms) != nil || !slices.Contains(rooms, string(old)) || slices.Contains(rooms, string(room)) {
				continue
			}
			if direct[who], err = json.Marshal(append(rooms, string(room))); err != nil {
				return fmt.Errorf("encode direct chats: %w", err)
			}
			changed = true
		}
		if !changed {
			return nil
		}
		body, err := json.Marshal(direct)
		if err != nil {
			return fmt.Errorf("encode direct chats: %w", err)
		}
		stored, err := s.journal.Replace(ctx, store.Update{
			Kind: store.KindAccountData, UserID: user, Key: typeDirect, Body: body, Replaces: value.Position,
		})
		if err != nil {
			return fmt.Errorf("store direct chats: %w", err)
		}
		if stored[0] {
			return nil
		}
	}
	return errors.New("the user's direct chats change too often")
}
