package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type notificationsResponse struct {
	NextToken     string         `json:"next_token,omitempty"`
	Notifications []notification `json:"notifications"`
}

type notification struct {
	Actions []json.RawMessage `json:"actions"`
	Event   json.RawMessage   `json:"event"`
	// ProfileTag would name the rules of one device; all rules are the user's.
	ProfileTag string           `json:"profile_tag"`
	Read       bool             `json:"read"`
	RoomID     matrix.RoomID    `json:"room_id"`
	TS         matrix.Timestamp `json:"ts"`
}

// getNotifications lists the events of the requester's rooms that notified them, newest first.
//
// Spec: client-server v1.19 §listing-notifications, GET /_matrix/client/v3/notifications
func (s *Server) getNotifications(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", limits.PageDefault, 1, limits.RelationsMax)
	if err != nil {
		return nil, err
	}
	var before int64
	if from := c.Query("from"); from != "" {
		if before, err = strconv.ParseInt(from, 10, 64); err != nil || before <= 0 {
			return nil, matrix.InvalidParam("from must be a next_token")
		}
	}
	list, next, err := s.push.Notifications(ctx, c.Requester.User, before, limit, c.Query("only") == "highlight")
	if err != nil {
		return nil, err
	}
	answer := notificationsResponse{Notifications: make([]notification, len(list))}
	if next > 0 {
		answer.NextToken = strconv.FormatInt(next, 10)
	}
	byRoom := make(map[matrix.RoomID][]int)
	for i := range list {
		byRoom[list[i].Event.RoomID] = append(byRoom[list[i].Event.RoomID], i)
	}
	now := s.now()
	for room, at := range byRoom {
		r, err := s.readRoomByID(ctx, c.Requester, room)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", room, err)
		}
		events := make([]*store.Event, len(at))
		for n, i := range at {
			events[n] = &list[i].Event
		}
		related, err := r.related(ctx, events...)
		if err != nil {
			return nil, err
		}
		for n, i := range at {
			answer.Notifications[i] = notification{
				Actions: list[i].Actions, Event: r.appendEvent(nil, events[n], related, now), Read: list[i].Read,
				RoomID: room, TS: events[n].OriginServerTS,
			}
		}
	}
	return answer, nil
}
