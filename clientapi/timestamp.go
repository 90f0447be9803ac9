package clientapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type timestampResponse struct {
	EventID        matrix.EventID   `json:"event_id"`
	OriginServerTS matrix.Timestamp `json:"origin_server_ts"`
}

// getEventByTimestamp finds the event closest to a moment, among those that the requester may see: the first at or after it, or
// the last at or before it.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event
func (s *Server) getEventByTimestamp(ctx context.Context, c *httpapi.Call) (any, error) {
	dir := c.Query("dir")
	switch dir {
	case "f", "b":
	case "":
		return nil, matrix.MissingParam("dir is missing: b or f")
	default:
		return nil, matrix.InvalidParam("dir must be b or f")
	}
	if c.Query("ts") == "" {
		return nil, matrix.MissingParam("ts is missing: milliseconds since 1970")
	}
	ts, err := strconv.ParseInt(c.Query("ts"), 10, 64)
	if err != nil {
		return nil, matrix.InvalidParam("ts must be an integer")
	}
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	e, err := s.store.GetEventNear(ctx, r.room.NID, matrix.Timestamp(ts), dir == "f", r.sees(0))
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("there is no event on that side of %d", ts)
	}
	if err != nil {
		return nil, fmt.Errorf("find an event of %s near %d: %w", r.room.ID, ts, err)
	}
	return timestampResponse{e.EventID, e.OriginServerTS}, nil
}
