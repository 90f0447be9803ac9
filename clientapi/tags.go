package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// tagContent is the content of m.tag, the account data in which a room's tags are kept.
type tagContent struct {
	Tags map[string]json.RawMessage `json:"tags"`
}

// tagRequest is what of a tag has a meaning for the server; the rest is kept as it is.
type tagRequest struct {
	Order json.RawMessage `json:"order"`
}

// getRoomTags answers the requester's tags of a room.
//
// Spec: client-server v1.19 §room-tagging, GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags
func (s *Server) getRoomTags(ctx context.Context, c *httpapi.Call) (any, error) {
	user, room, err := s.ownRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	content, _, err := s.readTags(ctx, user, room)
	return content, err
}

// setRoomTag adds a tag to a room or changes it.
//
// Spec: client-server v1.19 §room-tagging, PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
func (s *Server) setRoomTag(ctx context.Context, c *httpapi.Call, req *tagRequest) (any, error) {
	user, room, err := s.ownRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	tag := c.Path("tag")
	if tag == "" || len(tag) > limits.TagName {
		return nil, matrix.InvalidParam("tag must have 1 to %d bytes", limits.TagName)
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	body := json.RawMessage(c.Body)
	if len(body) == 0 {
		body = json.RawMessage("{}")
	}
	return nil, s.editTags(ctx, user, room, func(tags map[string]json.RawMessage) (bool, error) {
		if _, ok := tags[tag]; !ok && len(tags) >= limits.TagsPerRoom {
			return false, matrix.TooLarge("a room can't have more than %d tags", limits.TagsPerRoom)
		}
		tags[tag] = body
		return true, nil
	})
}

// deleteRoomTag removes a tag from a room.
//
// Spec: client-server v1.19 §room-tagging, DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
func (s *Server) deleteRoomTag(ctx context.Context, c *httpapi.Call) (any, error) {
	user, room, err := s.ownRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	tag := c.Path("tag")
	return nil, s.editTags(ctx, user, room, func(tags map[string]json.RawMessage) (bool, error) {
		_, ok := tags[tag]
		delete(tags, tag)
		return ok, nil
	})
}

func (r *tagRequest) check() error {
	if len(r.Order) == 0 {
		return nil
	}
	var order *float64
	if json.Unmarshal(r.Order, &order) != nil || order == nil || *order < 0 || *order > 1 {
		return matrix.InvalidParam("order must be a number between 0 and 1")
	}
	return nil
}

// readTags returns a room's tags and the position of their present value, 0 if they have none.
func (s *Server) readTags(ctx context.Context, user matrix.UserID, room int64) (tagContent, int64, error) {
	content := tagContent{Tags: map[string]json.RawMessage{}}
	value, err := s.store.GetUpdate(ctx, store.KindAccountData, room, user, typeTag)
	if errors.Is(err, store.ErrNotFound) {
		return content, 0, nil
	}
	if err != nil {
		return content, 0, fmt.Errorf("read tags: %w", err)
	}
	// A client may have stored anything as m.tag; what is no tag counts for nothing.
	var stored tagContent
	if json.Unmarshal(value.Body, &stored) == nil {
		maps.Copy(content.Tags, stored.Tags)
	}
	return content, value.Position, nil
}

// tagAttempts bounds how often an edit is made again because another device's edit came first.
const tagAttempts = 20

// editTags changes a room's tags with edit, which says whether it changed anything. The tags that edit saw are the ones that are
// replaced, so that of two edits at once, on whichever processes, none is lost.
func (s *Server) editTags(ctx context.Context, user matrix.UserID, room int64, edit func(map[string]json.RawMessage) (bool, error)) error {
	for range tagAttempts {
		content, position, err := s.readTags(ctx, user, room)
		if err != nil {
			return err
		}
		changed, err := edit(content.Tags)
		if err != nil || !changed {
			return err
		}
		body, err := json.Marshal(content)
		if err != nil {
			return fmt.Errorf("encode tags: %w", err)
		}
		if position == 0 {
			position = store.ReplacesNone
		}
		stored, err := s.journal.Replace(ctx, store.Update{
			Kind: store.KindAccountData, RoomNID: room, UserID: user, Key: typeTag, Body: body, Replaces: position,
		})
		if err != nil {
			return fmt.Errorf("store tags: %w", err)
		}
		if stored[0] {
			return nil
		}
	}
	return matrix.LimitExceeded(0)
}
