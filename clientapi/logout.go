package clientapi

import (
	"context"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// logout ends the session that asks, and forgets its device.
//
// Spec: client-server v1.19 §legacy-login, POST /_matrix/client/v3/logout
func (s *Server) logout(ctx context.Context, c *httpapi.Call) (any, error) {
	return nil, s.sessions.DeleteDevices(ctx, c.Requester.User, []matrix.DeviceID{c.Requester.Device})
}

// logoutAll ends all sessions of the user.
//
// Spec: client-server v1.19 §legacy-login, POST /_matrix/client/v3/logout/all
func (s *Server) logoutAll(ctx context.Context, c *httpapi.Call) (any, error) {
	return nil, s.sessions.DeleteAllDevices(ctx, c.Requester.User)
}
