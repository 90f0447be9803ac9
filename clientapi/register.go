package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// RegistrationMode says who may make themselves an account.
type RegistrationMode string

const (
	// RegistrationOff: nobody; accounts are made by the organisation. This is the default.
	RegistrationOff RegistrationMode = "off"
	// RegistrationToken: who has a registration token.
	RegistrationToken RegistrationMode = "token"
	// RegistrationOpen: everybody.
	RegistrationOpen RegistrationMode = "open"
)

// RegistrationConfig says how accounts come into being.
type RegistrationConfig struct {
	// Mode is RegistrationOff if empty.
	Mode RegistrationMode
	// SharedSecret is what tools prove to know that make accounts through /_synapse/admin/v1/register. Empty switches it off.
	SharedSecret string
}

func (r *RegistrationConfig) check() error {
	switch r.Mode {
	case "":
		r.Mode = RegistrationOff
	case RegistrationOff, RegistrationToken, RegistrationOpen:
	default:
		return fmt.Errorf("registration mode %q is none of off, token and open", r.Mode)
	}
	return nil
}

type registerRequest struct {
	Auth         json.RawMessage `json:"auth"`
	Type         string          `json:"type"`
	Username     *string         `json:"username"`
	Password     string          `json:"password"`
	InhibitLogin bool            `json:"inhibit_login"`
	deviceRequest
}

// register makes an account and signs it in.
//
// Spec: client-server v1.19 §legacy-account-registration, POST /_matrix/client/v3/register
func (s *Server) register(ctx context.Context, c *httpapi.Call, req *registerRequest) (any, error) {
	if req.Type == asAppservice {
		return s.registerForAppservice(ctx, c, req)
	}
	if c.Query("kind") == "guest" {
		if s.cfg.RegisterGuest == nil {
			return nil, matrix.NewError(http.StatusForbidden, matrix.ErrGuestAccessForbidden, "guests come by invitation only")
		}
		if len(req.DisplayName) > limits.DeviceName {
			return nil, matrix.InvalidParam("initial_device_display_name must have at most %d bytes", limits.DeviceName)
		}
		return s.cfg.RegisterGuest(ctx, c, req.DisplayName)
	}
	if err := s.mayRegister(c, req); err != nil {
		return nil, err
	}
	account, device, err := s.wanted(ctx, req)
	if err != nil {
		return nil, err
	}
	stage := auth.StageDummy
	if s.cfg.Registration.Mode == RegistrationToken {
		stage = auth.StageRegistrationToken
	}
	proof, answer, err := s.interactive.Authenticate(ctx, auth.Challenge{
		Operation: "POST /register", Flows: s.registrationFlows(stage), Address: c.ClientAddr(), Purpose: verify.Register,
	}, req.Auth)
	if proof == nil {
		return answer, err
	}
	account.RegistrationToken = proof.RegistrationToken
	if found := proof.Validation; found.SID != "" {
		account.Validation = found.SID
		account.ThreePIDs = []store.ThreePID{{Medium: found.Medium, Address: found.Address}}
	}
	user, err := s.accounts.Create(ctx, account)
	if err != nil {
		return nil, err
	}
	if err := s.noteCreation(ctx, c, user, string(user)); err != nil {
		return nil, err
	}
	if req.InhibitLogin {
		return sessionResponse{UserID: user, HomeServer: user.Domain()}, nil
	}
	return s.signIn(ctx, c, user, device, &req.deviceRequest)
}

// wanted is the account that a request asks for, and the device to sign in.
func (s *Server) wanted(ctx context.Context, req *registerRequest) (account auth.NewAccount, device matrix.DeviceID, err error) {
	account.Password = req.Password
	if req.Username != nil {
		if *req.Username == "" {
			return account, "", matrix.InvalidUsername("username must not be empty")
		}
		account.Localpart = *req.Username
		if _, err := s.accounts.CheckAvailable(ctx, account.Localpart, ""); err != nil {
			return account, "", err
		}
	}
	if device, err = req.check(); err != nil {
		return account, "", err
	}
	if req.Password != "" {
		return account, device, s.accounts.CheckPassword(req.Password)
	}
	if auth.Begun(req.Auth) {
		// Clients find the flows out with an empty request; once they begin to authenticate, the request has to be complete.
		return account, "", matrix.MissingParam("password is missing")
	}
	return account, device, nil
}

// registrationFlows are the stages of making an account, with an address or without.
func (s *Server) registrationFlows(stage string) [][]string {
	flows := [][]string{{stage}}
	for _, address := range s.addressStages() {
		flows = append(flows, []string{address, stage})
	}
	return flows
}

func (s *Server) mayRegister(c *httpapi.Call, req *registerRequest) error {
	switch kind := c.Query("kind"); kind {
	case "", "user":
	default:
		return matrix.InvalidParam("kind must be user or guest")
	}
	if s.cfg.Registration.Mode == RegistrationOff {
		return registrationOff()
	}
	if req.Type != "" && req.Type != auth.StageDummy {
		return matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "type: this way to register is not supported")
	}
	return nil
}

func registrationOff() *matrix.Error {
	return matrix.Forbidden("registration is off; accounts are made by the organisation")
}

type availableResponse struct {
	Available bool `json:"available"`
}

// getUsernameAvailable says whether a user name could be registered. Where nobody can register it says nothing about names.
//
// Spec: client-server v1.19 §legacy-account-registration, GET /_matrix/client/v3/register/available
func (s *Server) getUsernameAvailable(ctx context.Context, c *httpapi.Call) (any, error) {
	if s.cfg.Registration.Mode == RegistrationOff {
		return nil, registrationOff()
	}
	name := c.Query("username")
	if name == "" {
		return nil, matrix.MissingParam("username is missing")
	}
	if _, err := s.accounts.CheckAvailable(ctx, name, ""); err != nil {
		return nil, err
	}
	return availableResponse{Available: true}, nil
}

type validityResponse struct {
	Valid bool `json:"valid"`
}

// getRegistrationTokenValidity says whether a registration token is good at the moment.
//
// Spec: client-server v1.19 §token-authenticated-registration, GET /_matrix/client/v1/register/m.login.registration_token/validity
func (s *Server) getRegistrationTokenValidity(ctx context.Context, c *httpapi.Call) (any, error) {
	if s.cfg.Registration.Mode != RegistrationToken {
		return nil, matrix.Forbidden("registration tokens are not used on this server")
	}
	token := c.Query("token")
	if token == "" {
		return nil, matrix.MissingParam("token is missing")
	}
	if len(token) > limits.RegistrationToken {
		return validityResponse{}, nil
	}
	_, err := s.store.GetRegistrationToken(ctx, token, s.now())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up a registration token: %w", err)
	}
	return validityResponse{Valid: err == nil}, nil
}
