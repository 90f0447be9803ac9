package clientapi

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

type mutualRoomsResponse struct {
	Joined    []matrix.RoomID `json:"joined"`
	Count     int             `json:"count"`
	NextBatch string          `json:"next_batch,omitempty"`
}

// getMutualRooms lists the rooms that the requester is in together with another user.
//
// Spec: client-server v1.19 §mutual-rooms, GET /_matrix/client/v1/mutual_rooms
func (s *Server) getMutualRooms(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.mutualRooms(ctx, c, c.Query("from"))
}

// getMutualRoomsUnstable is getMutualRooms under the names that it had as a proposal, which clients still use.
//
// Spec: MSC2666
func (s *Server) getMutualRoomsUnstable(ctx context.Context, c *httpapi.Call) (any, error) {
	from := c.Query("from")
	if from == "" {
		from = c.Query("batch_token")
	}
	answer, err := s.mutualRooms(ctx, c, from)
	if err != nil || answer.NextBatch == "" {
		return answer, err
	}
	return struct {
		*mutualRoomsResponse
		NextBatchToken string `json:"next_batch_token"`
	}{answer, answer.NextBatch}, nil
}

func (s *Server) mutualRooms(ctx context.Context, c *httpapi.Call, from string) (*mutualRoomsResponse, error) {
	name := c.Query("user_id")
	if name == "" {
		return nil, matrix.MissingParam("user_id is missing")
	}
	other, err := matrix.ParseUserID(name)
	if err != nil {
		return nil, matrix.InvalidParam("user_id is not a user id")
	}
	if other == c.Requester.User {
		return nil, matrix.InvalidParam("user_id must be another user's")
	}
	var after matrix.RoomID
	if from != "" {
		raw, err := base64.RawURLEncoding.DecodeString(from)
		if err != nil {
			return nil, matrix.InvalidParam("from is not a token of this server")
		}
		if after, err = matrix.ParseRoomID(string(raw)); err != nil {
			return nil, matrix.InvalidParam("from is not a token of this server")
		}
	}
	rooms, err := s.store.ListMutualRooms(ctx, c.Requester.User, other, after, limits.MutualRooms+1)
	if err != nil {
		return nil, fmt.Errorf("list mutual rooms: %w", err)
	}
	answer := &mutualRoomsResponse{Joined: []matrix.RoomID{}, Count: len(rooms)}
	answer.Joined = append(answer.Joined, rooms[:min(len(rooms), limits.MutualRooms)]...)
	if len(rooms) > limits.MutualRooms {
		answer.NextBatch = base64.RawURLEncoding.EncodeToString([]byte(rooms[limits.MutualRooms-1]))
	}
	if from == "" && answer.NextBatch == "" {
		return answer, nil
	}
	if answer.Count, err = s.store.CountMutualRooms(ctx, c.Requester.User, other); err != nil {
		return nil, fmt.Errorf("count mutual rooms: %w", err)
	}
	return answer, nil
}
