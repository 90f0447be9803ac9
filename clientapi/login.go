package clientapi

import (
	"context"
	"net/http"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/sso"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

type loginFlow struct {
	Type string `json:"type"`
	// GetLoginToken says that a signed-in device can ask for the token.
	GetLoginToken bool `json:"get_login_token,omitempty"`
	// IdentityProviders are there for m.login.sso.
	IdentityProviders []sso.IdentityProvider `json:"identity_providers,omitempty"`
}

type loginFlowsResponse struct {
	Flows []loginFlow `json:"flows"`
}

// getLoginFlows lists the ways to sign in.
//
// Spec: client-server v1.19 §legacy-login, GET /_matrix/client/v3/login
func (s *Server) getLoginFlows(ctx context.Context, c *httpapi.Call) (any, error) {
	flows := []loginFlow{{Type: auth.StagePassword}, {Type: auth.StageToken, GetLoginToken: true}}
	if providers := s.sso.IdentityProviders(); len(providers) > 0 {
		flows = append(flows, loginFlow{Type: auth.StageSSO, IdentityProviders: providers})
	}
	if s.cfg.Appservice != nil {
		flows = append(flows, loginFlow{Type: asAppservice})
	}
	return loginFlowsResponse{Flows: flows}, nil
}

type loginRequest struct {
	Type       string           `json:"type"`
	Identifier *auth.Identifier `json:"identifier"`
	Password   *string          `json:"password"`
	Token      string           `json:"token"`
	deviceRequest

	// Where the user stood before there was an identifier.
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// deviceRequest is how login and register describe the device that signs in.
type deviceRequest struct {
	DeviceID     string `json:"device_id"`
	DisplayName  string `json:"initial_device_display_name"`
	RefreshToken bool   `json:"refresh_token"`
}

// check returns the device's id, empty for a new one.
func (d *deviceRequest) check() (matrix.DeviceID, error) {
	if len(d.DisplayName) > limits.DeviceName {
		return "", matrix.InvalidParam("initial_device_display_name must have at most %d bytes", limits.DeviceName)
	}
	if d.DeviceID == "" {
		return "", nil
	}
	return matrix.ParseDeviceID(d.DeviceID)
}

// sessionResponse is what a client gets that has signed in. In the answer of register all but the user id may be missing.
type sessionResponse struct {
	UserID       matrix.UserID     `json:"user_id"`
	HomeServer   matrix.ServerName `json:"home_server"`
	DeviceID     matrix.DeviceID   `json:"device_id,omitempty"`
	AccessToken  string            `json:"access_token,omitempty"`
	RefreshToken string            `json:"refresh_token,omitempty"`
	ExpiresInMS  int64             `json:"expires_in_ms,omitempty"`
	WellKnown    *wellKnownClient  `json:"well_known,omitempty"`
}

// login signs a user in.
//
// Spec: client-server v1.19 §legacy-login, POST /_matrix/client/v3/login
func (s *Server) login(ctx context.Context, c *httpapi.Call, req *loginRequest) (any, error) {
	device, err := req.check()
	if err != nil {
		return nil, err
	}
	user, err := s.verifyLogin(ctx, c, req)
	if err != nil {
		return nil, err
	}
	answer, err := s.signIn(ctx, c, user, device, &req.deviceRequest)
	if err != nil {
		return nil, err
	}
	answer.WellKnown, err = s.discovery(ctx, user.Domain())
	return answer, err
}

// verifyLogin returns whom a request to sign in proves to be there.
func (s *Server) verifyLogin(ctx context.Context, c *httpapi.Call, req *loginRequest) (matrix.UserID, error) {
	switch req.Type {
	case auth.StagePassword:
		if req.Password == nil {
			return "", matrix.MissingParam("password is missing")
		}
		id := req.Identifier
		if id == nil {
			id = auth.LegacyIdentifier(req.User, req.Medium, req.Address)
		}
		user, err := s.accounts.VerifyPassword(ctx, id, *req.Password, c.ClientAddr())
		return user.UserID, err
	case auth.StageToken:
		return s.takeLoginToken(ctx, req.Token)
	case asAppservice:
		return s.verifyAppserviceLogin(ctx, c, req)
	case "":
		return "", matrix.MissingParam("type is missing")
	}
	return "", matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "type: this way to sign in is not supported")
}

// signIn makes a session.
func (s *Server) signIn(ctx context.Context, c *httpapi.Call, user matrix.UserID, device matrix.DeviceID, req *deviceRequest) (sessionResponse, error) {
	tokens, err := s.sessions.Login(ctx, auth.NewSession{
		User: user, Device: device, DeviceName: req.DisplayName, Refreshable: req.RefreshToken, Address: c.ClientAddr(),
	})
	if err != nil {
		return sessionResponse{}, err
	}
	return sessionResponse{
		UserID: user, HomeServer: user.Domain(), DeviceID: tokens.Device,
		AccessToken: tokens.Access, RefreshToken: tokens.Refresh, ExpiresInMS: tokens.ExpiresIn.Milliseconds(),
	}, nil
}
