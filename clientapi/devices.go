package clientapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type clientDevice struct {
	DeviceID    matrix.DeviceID  `json:"device_id"`
	DisplayName string           `json:"display_name,omitempty"`
	LastSeenIP  string           `json:"last_seen_ip,omitempty"`
	LastSeenTS  matrix.Timestamp `json:"last_seen_ts,omitempty"`
}

func deviceAnswer(d store.Device) clientDevice {
	return clientDevice{DeviceID: d.DeviceID, DisplayName: d.DisplayName, LastSeenIP: d.LastSeenIP, LastSeenTS: d.LastSeenTS}
}

type devicesResponse struct {
	Devices []clientDevice `json:"devices"`
}

// listDevices lists the requester's devices.
//
// Spec: client-server v1.19 §device-management, GET /_matrix/client/v3/devices
func (s *Server) listDevices(ctx context.Context, c *httpapi.Call) (any, error) {
	devices, err := s.store.ListDevices(ctx, c.Requester.User)
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", c.Requester.User, err)
	}
	answer := devicesResponse{Devices: make([]clientDevice, 0, len(devices))}
	for _, d := range devices {
		answer.Devices = append(answer.Devices, deviceAnswer(d))
	}
	return answer, nil
}

func noSuchDevice() *matrix.Error { return matrix.NotFound("you have no device with this id") }

// getDevice returns one of the requester's devices.
//
// Spec: client-server v1.19 §device-management, GET /_matrix/client/v3/devices/{deviceId}
func (s *Server) getDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	device, err := s.store.GetDevice(ctx, c.Requester.User, matrix.DeviceID(c.Path("deviceId")))
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchDevice()
	}
	if err != nil {
		return nil, fmt.Errorf("get a device of %s: %w", c.Requester.User, err)
	}
	return deviceAnswer(device), nil
}

type putDeviceRequest struct {
	DisplayName *string `json:"display_name"`
}

// putDevice renames a device. An application service makes one that does not exist.
//
// Spec: client-server v1.19 §device-management, PUT /_matrix/client/v3/devices/{deviceId}; application-service v1.19 §creating-devices
func (s *Server) putDevice(ctx context.Context, c *httpapi.Call, req *putDeviceRequest) (any, error) {
	if c.Requester.Appservice != "" {
		made, err := s.makeDevice(ctx, c, req)
		if made || err != nil {
			return httpapi.Status{Code: http.StatusCreated, Body: empty{}}, err
		}
	}
	if req.DisplayName == nil {
		_, err := s.getDevice(ctx, c)
		return nil, err
	}
	if len(*req.DisplayName) > limits.DeviceName {
		return nil, matrix.InvalidParam("display_name must have at most %d bytes", limits.DeviceName)
	}
	return nil, s.journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		shown, err := tx.PutDeviceName(ctx, c.Requester.User, matrix.DeviceID(c.Path("deviceId")), *req.DisplayName)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, noSuchDevice()
		case err != nil:
			return nil, fmt.Errorf("rename a device of %s: %w", c.Requester.User, err)
		case !shown:
			return nil, nil
		}
		return []store.Update{{Kind: store.KindDeviceList, UserID: c.Requester.User, Body: []byte("{}")}}, nil
	})
}

// makeDevice makes a device of a user of an application service, without a session. It reports false for one that exists.
func (s *Server) makeDevice(ctx context.Context, c *httpapi.Call, req *putDeviceRequest) (bool, error) {
	device, err := matrix.ParseDeviceID(c.Path("deviceId"))
	if err != nil {
		return false, err
	}
	name := ""
	if req.DisplayName != nil {
		name = *req.DisplayName
	}
	if len(name) > limits.DeviceName {
		return false, matrix.InvalidParam("display_name must have at most %d bytes", limits.DeviceName)
	}
	return s.sessions.MakeDevice(ctx, auth.NewSession{User: c.Requester.User, Device: device, DeviceName: name, Address: c.ClientAddr()})
}

type deleteDeviceRequest struct {
	Auth json.RawMessage `json:"auth"`
}

// deleteDevice ends the session of one of the requester's devices and forgets the device.
//
// Spec: client-server v1.19 §device-management, DELETE /_matrix/client/v3/devices/{deviceId}
func (s *Server) deleteDevice(ctx context.Context, c *httpapi.Call, req *deleteDeviceRequest) (any, error) {
	device := matrix.DeviceID(c.Path("deviceId"))
	proof, answer, err := s.confirm(ctx, c, "DELETE /devices/"+string(device), req.Auth)
	if proof == nil {
		return answer, err
	}
	return nil, s.sessions.DeleteDevices(ctx, c.Requester.User, []matrix.DeviceID{device})
}

type deleteDevicesRequest struct {
	Devices []matrix.DeviceID `json:"devices"`
	Auth    json.RawMessage   `json:"auth"`
}

// deleteDevices does the same for several devices.
//
// Spec: client-server v1.19 §device-management, POST /_matrix/client/v3/delete_devices
func (s *Server) deleteDevices(ctx context.Context, c *httpapi.Call, req *deleteDevicesRequest) (any, error) {
	if req.Devices == nil {
		return nil, matrix.MissingParam("devices is missing")
	}
	if len(req.Devices) > limits.DeletedDevices {
		return nil, matrix.InvalidParam("devices must have at most %d entries", limits.DeletedDevices)
	}
	proof, answer, err := s.confirm(ctx, c, "POST /delete_devices "+fingerprint(req.Devices), req.Auth)
	if proof == nil {
		return answer, err
	}
	return nil, s.sessions.DeleteDevices(ctx, c.Requester.User, req.Devices)
}

// fingerprint stands for a set of devices, so that what is confirmed for one set isn't done to another.
func fingerprint(devices []matrix.DeviceID) string {
	var b strings.Builder
	for _, d := range slices.Sorted(slices.Values(devices)) {
		fmt.Fprintf(&b, "%q ", d)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}
