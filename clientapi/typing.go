package clientapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type typingRequest struct {
	Typing  *bool  `json:"typing"`
	Timeout *int64 `json:"timeout"`
}

// setTyping tells a room that the requester is typing, or has stopped.
//
// Spec: client-server v1.19 §typing-notifications, PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
func (s *Server) setTyping(ctx context.Context, c *httpapi.Call, req *typingRequest) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	user, err := ownUser(c)
	if err != nil {
		return nil, err
	}
	if req.Typing == nil {
		return nil, matrix.MissingParam("typing is missing")
	}
	timeout, err := req.timeout()
	if err != nil {
		return nil, err
	}
	nid, membership, err := s.store.GetRoomMembership(ctx, room, user)
	if errors.Is(err, store.ErrNotFound) || err == nil && membership != "join" {
		return nil, matrix.Forbidden("you are not in this room")
	}
	if err != nil {
		return nil, fmt.Errorf("read membership: %w", err)
	}
	if timeout > 0 {
		s.presence.Active(user, c.Requester.Device)
		return nil, s.typists.start(ctx, nid, user, timeout)
	}
	return nil, s.typists.stop(ctx, nid, user)
}

// timeout is how long the user types from now on, 0 for not at all.
func (r *typingRequest) timeout() (time.Duration, error) {
	switch {
	case !*r.Typing:
		return 0, nil
	case r.Timeout == nil:
		return limits.TypingDefault, nil
	case *r.Timeout < 0:
		return 0, matrix.InvalidParam("timeout must not be negative")
	}
	return time.Duration(min(*r.Timeout, limits.TypingMax.Milliseconds())) * time.Millisecond, nil
}
