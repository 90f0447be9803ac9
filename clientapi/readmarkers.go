package clientapi

import (
	"context"
	"errors"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// readMarkersRequest names the events at which the markers shall stand; each may be missing.
type readMarkersRequest struct {
	FullyRead   *string `json:"m.fully_read"`
	Read        *string `json:"m.read"`
	ReadPrivate *string `json:"m.read.private"`
}

// setReadMarker moves the requester's fully-read marker and receipts of a room.
//
// Spec: client-server v1.19 §fully-read-markers, POST /_matrix/client/v3/rooms/{roomId}/read_markers
func (s *Server) setReadMarker(ctx context.Context, c *httpapi.Call, req *readMarkersRequest) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var markers []marker
	for _, line := range []struct {
		name  string
		event *string
		kind  store.Kind
		key   string
	}{
		{typeFullyRead, req.FullyRead, store.KindAccountData, typeFullyRead},
		{receiptRead, req.Read, store.KindReceipt, receiptRead + "|"},
		{receiptReadPrivate, req.ReadPrivate, store.KindReceipt, receiptReadPrivate + "|"},
	} {
		if line.event == nil {
			continue
		}
		event, err := matrix.ParseEventID(*line.event)
		if err != nil {
			return nil, matrix.InvalidParam("%s must be an event id", line.name)
		}
		markers = append(markers, marker{user: c.Requester.User, room: room, event: event, kind: line.kind, key: line.key})
	}
	if len(markers) == 0 {
		// Nothing to move; the room must be one of the requester's all the same.
		_, membership, err := s.store.GetRoomMembership(ctx, room, c.Requester.User)
		if errors.Is(err, store.ErrNotFound) || err == nil && membership != "join" {
			return nil, matrix.Forbidden("you are not in this room")
		}
		return nil, err
	}
	s.presence.Active(c.Requester.User, c.Requester.Device)
	for _, m := range markers {
		if err := s.move(ctx, m); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
