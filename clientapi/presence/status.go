package presence

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// StatusRequest is the body of PUT …/status.
type StatusRequest struct {
	Presence  *string `json:"presence"`
	StatusMsg *string `json:"status_msg"`
}

// SetStatus sets the requester's own presence and status message. The state is the device's: a sync that follows says
// anew what the device is.
//
// Spec: client-server v1.19 §presence, PUT /_matrix/client/v3/presence/{userId}/status
func (s *Server) SetStatus(ctx context.Context, c *httpapi.Call, req *StatusRequest) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	if id != c.Requester.User {
		return nil, matrix.Forbidden("the presence of another user can't be set")
	}
	if req.Presence == nil {
		return nil, matrix.MissingParam("presence is missing")
	}
	if !Valid(*req.Presence) {
		return nil, matrix.InvalidParam("presence must be online, unavailable, busy or offline")
	}
	message := ""
	if req.StatusMsg != nil {
		message = *req.StatusMsg
	}
	if len(message) > limits.StatusMessage {
		return nil, matrix.InvalidParam("status_msg is longer than %d bytes", limits.StatusMessage)
	}
	if s.cfg.Disabled {
		return nil, nil // as if nobody could see it
	}
	return nil, s.set(ctx, id, c.Requester.Device, *req.Presence, message)
}

// set stores what a device says of itself, and publishes it together with the status message, at once.
func (s *Server) set(ctx context.Context, id matrix.UserID, dev matrix.DeviceID, state, message string) error {
	now := matrix.TimestampOf(s.cfg.Clock.Now())
	active := now
	if state == Offline {
		active = 0
	}
	said := store.PresenceDevice{UserID: id, DeviceID: dev, State: state, ActiveTS: active}
	users := []matrix.UserID{id}
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		if err := tx.PutPresenceDevices(ctx, []store.PresenceDevice{said}); err != nil {
			return nil, err
		}
		there, err := tx.ListPresenceDevices(ctx, users, s.cfg.GoneAfter)
		if err != nil {
			return nil, err
		}
		published, err := tx.ListPresence(ctx, users)
		if err != nil {
			return nil, err
		}
		b := body{StatusMsg: message, ChangedTS: now}
		replaces := int64(0)
		if len(published) > 0 {
			replaces = published[0].Position
			b.LastActiveTS = parse(published[0].Body).LastActiveTS
		}
		var last matrix.Timestamp
		b.Presence, last = sum(there, now, s.cfg.IdleAfter)
		b.LastActiveTS = max(b.LastActiveTS, last)
		b.Active = b.Presence == Online
		return []store.Update{b.update(id, replaces)}, nil
	})
	if err != nil {
		return fmt.Errorf("set presence: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[id]; u != nil && u.devices[dev] != nil {
		d := u.devices[dev]
		d.state, d.active, d.unsaved, d.automatic, d.written = state, max(d.active, active), false, false, s.cfg.Clock.Now()
	}
	return nil
}

// GetStatus answers a user's presence: to the user, inside the organisation, and to linked ones as far as they are given it. To everybody else a
// user who exists is as one who doesn't.
//
// Spec: client-server v1.19 §presence, GET /_matrix/client/v3/presence/{userId}/status
func (s *Server) GetStatus(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	sight, err := s.maySee(ctx, c.Requester, id)
	if err != nil {
		return nil, err
	}
	if s.cfg.Disabled {
		return status{Presence: Offline}, nil
	}
	b := body{Presence: Offline}
	published, err := s.cfg.Store.GetUpdate(ctx, store.KindPresence, 0, id, "")
	switch {
	case err == nil:
		b = parse(published.Body)
	case !errors.Is(err, store.ErrNotFound):
		return nil, fmt.Errorf("read presence: %w", err)
	}
	// What was published says when the user became so; who asks gets the last activity.
	there, err := s.cfg.Store.ListPresenceDevices(ctx, []matrix.UserID{id}, s.cfg.GoneAfter)
	if err != nil {
		return nil, fmt.Errorf("read presence: %w", err)
	}
	for _, d := range there {
		b.LastActiveTS = max(b.LastActiveTS, d.ActiveTS)
	}
	return b.as(sight).at(matrix.TimestampOf(s.cfg.Clock.Now())), nil
}

// maySee says how much of a user's presence may be seen. Guests see that of people of the organisation whom they share a room with.
func (s *Server) maySee(ctx context.Context, who *httpapi.Requester, id matrix.UserID) (store.PresenceSight, error) {
	all := store.PresenceSight{UserID: id, Presence: true, Phone: true}
	if id == who.User {
		return all, nil
	}
	sights, err := s.cfg.Store.ListPresenceSights(ctx, who.Org, who.Guest, []matrix.UserID{id})
	if err != nil {
		return all, fmt.Errorf("read who gives presence to whom: %w", err)
	}
	sight, sees := sights[id]
	if sees && who.Guest {
		if sees, err = s.cfg.Store.SharesRoom(ctx, who.User, id); err != nil {
			return all, fmt.Errorf("read shared rooms: %w", err)
		}
	}
	if !sees {
		return all, matrix.Forbidden("you may not see this user's presence")
	}
	return sight, nil
}
