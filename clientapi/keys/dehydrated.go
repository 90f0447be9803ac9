package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// A dehydrated device has keys but no session: it receives room keys while the user has no other device. A later login fetches it and
// the messages that were sent to it. It is a device like others, in the device list and where devices are deleted, except
// that no login takes its place.
//
// Spec: MSC3814

type dehydratedRequest struct {
	DeviceID    matrix.DeviceID `json:"device_id"`
	DeviceData  json.RawMessage `json:"device_data"`
	DisplayName string          `json:"initial_device_display_name"`
	uploadRequest
}

type dehydratedResponse struct {
	DeviceID   matrix.DeviceID `json:"device_id"`
	DeviceData json.RawMessage `json:"device_data,omitempty"`
}

// PutDehydratedDevice stores a dehydrated device with its keys. The one before is deleted. A request that is made again, for the same
// device, keeps the messages that it was sent meanwhile.
//
// Spec: MSC3814, dehydrating a device, PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device
func (s *Server) PutDehydratedDevice(ctx context.Context, c *httpapi.Call, req *dehydratedRequest) (any, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	owner := &httpapi.Requester{User: c.Requester.User, Device: req.DeviceID}
	up, err := parseUpload(owner, &req.uploadRequest)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		return s.dehydrate(ctx, tx, req, up)
	})
	if err != nil {
		return nil, fmt.Errorf("store a dehydrated device of %s: %w", owner.User, err)
	}
	return dehydratedResponse{DeviceID: req.DeviceID}, nil
}

func (r *dehydratedRequest) check() error {
	var data struct {
		Algorithm string `json:"algorithm"`
	}
	switch {
	case r.DeviceID == "":
		return matrix.MissingParam("device_id is missing")
	case len(r.DeviceID) > limits.DeviceID:
		return matrix.InvalidParam("device_id must have at most %d bytes", limits.DeviceID)
	case len(r.DisplayName) > limits.DeviceName:
		return matrix.InvalidParam("initial_device_display_name must have at most %d bytes", limits.DeviceName)
	case r.DeviceData == nil:
		return matrix.MissingParam("device_data is missing")
	case len(r.DeviceData) > limits.DehydratedDevice:
		return matrix.TooLarge("device_data must have at most %d bytes", limits.DehydratedDevice)
	case json.Unmarshal(r.DeviceData, &data) != nil || data.Algorithm == "":
		return matrix.BadJSON("device_data must be an object with an algorithm")
	case len(r.DeviceKeys) == 0 || string(r.DeviceKeys) == "null":
		return matrix.MissingParam("device_keys is missing")
	}
	return nil
}

// dehydrate stores a dehydrated device in the place of the one before.
func (s *Server) dehydrate(ctx context.Context, tx *store.Tx, req *dehydratedRequest, up *upload) ([]store.Update, error) {
	if _, err := tx.LockUser(ctx, up.user); err != nil {
		return nil, err
	}
	before, err := tx.GetDehydratedDevice(ctx, up.user)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	var updates []store.Update
	if !known || before.DeviceID != up.device {
		if known {
			if _, err := tx.DeleteDevices(ctx, up.user, []matrix.DeviceID{before.DeviceID}); err != nil {
				return nil, err
			}
			updates = append(updates, deviceListChanged(up.user))
		}
		there, err := tx.LockDevice(ctx, up.user, up.device)
		if err != nil {
			return nil, err
		}
		if there { // its keys would be lost to whoever uses it
			return nil, matrix.InvalidParam("device_id is that of another device")
		}
		err = tx.PutDevice(ctx, store.Device{UserID: up.user, DeviceID: up.device, DisplayName: req.DisplayName, CreatedTS: s.now()})
		if err != nil {
			return nil, err
		}
	}
	err = tx.PutDehydratedDevice(ctx, store.DehydratedDevice{UserID: up.user, DeviceID: up.device, Data: req.DeviceData})
	if err != nil {
		return nil, err
	}
	more, err := up.store(ctx, tx)
	return append(updates, more...), err
}

// GetDehydratedDevice gives the user's dehydrated device.
//
// Spec: MSC3814, rehydrating a device, GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device
func (s *Server) GetDehydratedDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	d, err := s.dehydrated(ctx, c.Requester.User)
	if err != nil {
		return nil, err
	}
	return dehydratedResponse{d.DeviceID, d.Data}, nil
}

// dehydrated returns the user's dehydrated device.
func (s *Server) dehydrated(ctx context.Context, user matrix.UserID) (store.DehydratedDevice, error) {
	d, err := s.cfg.Store.GetDehydratedDevice(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return d, matrix.NotFound("there is no dehydrated device")
	}
	if err != nil {
		return d, fmt.Errorf("get the dehydrated device of %s: %w", user, err)
	}
	return d, nil
}

// DeleteDehydratedDevice deletes the user's dehydrated device with what it was sent.
//
// Spec: MSC3814, deleting a dehydrated device, DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device
func (s *Server) DeleteDehydratedDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	user := c.Requester.User
	d, err := s.dehydrated(ctx, user)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		// Another one may have taken its place; that one was not meant.
		deleted, err := tx.DeleteDevices(ctx, user, []matrix.DeviceID{d.DeviceID})
		if err != nil || len(deleted) == 0 {
			return nil, err
		}
		return []store.Update{deviceListChanged(user)}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("delete the dehydrated device of %s: %w", user, err)
	}
	return dehydratedResponse{DeviceID: d.DeviceID}, nil
}

type dehydratedEventsRequest struct {
	NextBatch string `json:"next_batch"`
}

type dehydratedEvents struct {
	Events    []dehydratedEvent `json:"events"`
	NextBatch string            `json:"next_batch,omitempty"`
}

type dehydratedEvent struct {
	Sender  matrix.UserID   `json:"sender"`
	Type    string          `json:"type"`
	Content json.RawMessage `json:"content"`
}

// PostDehydratedEvents gives the messages that were sent to the dehydrated device, in parts. They stay until the device is deleted.
//
// Interop: this is the form that the SDKs use. They ask until there are no more events, and begin anew without a next_batch, so
// that every answer has one.
//
// Spec: MSC3814, rehydrating a device, POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events
func (s *Server) PostDehydratedEvents(ctx context.Context, c *httpapi.Call, req *dehydratedEventsRequest) (any, error) {
	part, next, _, err := s.dehydratedEvents(ctx, c, req.NextBatch)
	if err != nil {
		return nil, err
	}
	return dehydratedEvents{part, next}, nil
}

// GetDehydratedEvents is the proposal's present form: next_batch is there if more follows.
//
// Spec: MSC3814, rehydrating a device, GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events
func (s *Server) GetDehydratedEvents(ctx context.Context, c *httpapi.Call) (any, error) {
	part, next, more, err := s.dehydratedEvents(ctx, c, c.Query("from"))
	if err != nil {
		return nil, err
	}
	if !more {
		next = ""
	}
	return dehydratedEvents{part, next}, nil
}

// dehydratedEvents returns a part of the messages and the token for the next.
func (s *Server) dehydratedEvents(ctx context.Context, c *httpapi.Call, from string) (part []dehydratedEvent, next string, more bool, err error) {
	after := int64(0)
	if from != "" {
		if after, err = strconv.ParseInt(from, 10, 64); err != nil || after < 0 {
			return nil, "", false, matrix.InvalidParam("the token is none of this server's")
		}
	}
	user := c.Requester.User
	d, err := s.dehydrated(ctx, user)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound || err == nil && string(d.DeviceID) != c.Path("deviceId") {
		return nil, "", false, matrix.Forbidden("this is not your dehydrated device")
	}
	if err != nil {
		return nil, "", false, err
	}
	list, more, err := s.cfg.Store.ListToDevice(ctx, user, d.DeviceID, after, limits.MaxInteger, limits.SyncToDevice, limits.SyncToDeviceBytes)
	if err != nil {
		return nil, "", false, fmt.Errorf("list messages to a dehydrated device: %w", err)
	}
	part = make([]dehydratedEvent, len(list))
	for i, m := range list {
		part[i] = dehydratedEvent{m.Sender, m.Type, m.Content}
		after = m.Position
	}
	return part, strconv.FormatInt(after, 10), more, nil
}
