package admin

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type synapseDevice struct {
	DeviceID     matrix.DeviceID  `json:"device_id"`
	DisplayName  *string          `json:"display_name"`
	LastSeenIP   *string          `json:"last_seen_ip"`
	LastSeenTS   matrix.Timestamp `json:"last_seen_ts"`
	LastSeenUser string           `json:"last_seen_user_agent"`
	UserID       matrix.UserID    `json:"user_id"`
}

func synapseDeviceOf(d *store.Device) synapseDevice {
	return synapseDevice{d.DeviceID, orNull(d.DisplayName), orNull(d.LastSeenIP), d.LastSeenTS, "", d.UserID}
}

func (s *Server) synapseDevices(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListDevices(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", a.UserID, err)
	}
	devices := []synapseDevice{}
	for i := range list {
		devices = append(devices, synapseDeviceOf(&list[i]))
	}
	return map[string]any{"devices": devices, "total": len(devices)}, nil
}

type synapseDeviceRequest struct {
	DeviceID    string  `json:"device_id"`
	DisplayName *string `json:"display_name"`
}

// synapseCreateDevice is refused: a device without a session is of no use to anybody.
func (s *Server) synapseCreateDevice(ctx context.Context, c *httpapi.Call, _ *synapseDeviceRequest) (any, error) {
	if _, _, err := s.target(ctx, c); err != nil {
		return nil, err
	}
	return nil, matrix.Forbidden("devices are made by signing in")
}

// device is the device of the path.
func (s *Server) device(ctx context.Context, c *httpapi.Call) (*store.Device, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	d, err := s.cfg.Store.GetDevice(ctx, a.UserID, matrix.DeviceID(c.Path("deviceId")))
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("No device found")
	}
	if err != nil {
		return nil, fmt.Errorf("look up a device of %s: %w", a.UserID, err)
	}
	return &d, nil
}

func (s *Server) synapseDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	d, err := s.device(ctx, c)
	if err != nil {
		return nil, err
	}
	return synapseDeviceOf(d), nil
}

func (s *Server) synapsePutDevice(ctx context.Context, c *httpapi.Call, req *synapseDeviceRequest) (any, error) {
	d, err := s.device(ctx, c)
	if err != nil || req.DisplayName == nil {
		return nil, err
	}
	if len(*req.DisplayName) > limits.DeviceName {
		return nil, matrix.InvalidParam("display_name is longer than %d bytes", limits.DeviceName)
	}
	_, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, found(s.cfg.People.NameDevice(ctx, by, d.UserID, d.DeviceID, *req.DisplayName))
}

func (s *Server) endDevices(ctx context.Context, c *httpapi.Call, devices []matrix.DeviceID) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, found(s.cfg.People.EndSessions(ctx, by, a.UserID, devices))
}

func (s *Server) synapseDeleteDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.endDevices(ctx, c, []matrix.DeviceID{matrix.DeviceID(c.Path("deviceId"))})
}

type synapseDevicesRequest struct {
	Devices *[]matrix.DeviceID `json:"devices"`
}

func (s *Server) synapseDeleteDevices(ctx context.Context, c *httpapi.Call, req *synapseDevicesRequest) (any, error) {
	if req.Devices == nil {
		return nil, matrix.MissingParam("devices is missing")
	}
	return s.endDevices(ctx, c, append([]matrix.DeviceID{}, *req.Devices...))
}

var tokenGrammar = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

func (s *Server) synapseWhois(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	devices, err := s.cfg.Store.ListDevices(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", a.UserID, err)
	}
	connections := []map[string]any{}
	for _, d := range devices {
		if d.LastSeenTS != 0 {
			connections = append(connections, map[string]any{"ip": d.LastSeenIP, "last_seen": d.LastSeenTS, "user_agent": ""})
		}
	}
	return map[string]any{"user_id": a.UserID, "devices": map[string]any{"": map[string]any{"sessions": []any{map[string]any{"connections": connections}}}}}, nil
}
