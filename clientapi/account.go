package clientapi

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// passwordOnly is the flow of those who have an account.
var passwordOnly = [][]string{{auth.StagePassword}}

// confirm asks the requester for the password before something that can't be undone. Where proof is nil, answer is what the client
// gets.
func (s *Server) confirm(ctx context.Context, c *httpapi.Call, operation string, data json.RawMessage) (proof *auth.Proof, answer any, err error) {
	if c.Requester.Appservice != "" {
		// It has no password, and its token says that the users are its own (application-service v1.19 §device-management).
		return &auth.Proof{}, nil, nil
	}
	if c.Requester.Guest {
		return nil, nil, matrix.NewError(403, matrix.ErrGuestAccessForbidden, "guests may not do this")
	}
	return s.interactive.Authenticate(ctx, auth.Challenge{
		Operation: operation, User: c.Requester.User, Flows: passwordOnly, Address: c.ClientAddr(),
	}, data)
}

type whoamiResponse struct {
	UserID   matrix.UserID   `json:"user_id"`
	DeviceID matrix.DeviceID `json:"device_id,omitempty"`
	IsGuest  bool            `json:"is_guest"`
}

// getTokenOwner says whose access token it is.
//
// Spec: client-server v1.19 §current-account-information, GET /_matrix/client/v3/account/whoami
func (s *Server) getTokenOwner(ctx context.Context, c *httpapi.Call) (any, error) {
	return whoamiResponse{UserID: c.Requester.User, DeviceID: c.Requester.Device, IsGuest: c.Requester.Guest}, nil
}

type changePasswordRequest struct {
	NewPassword   *string         `json:"new_password"`
	LogoutDevices *bool           `json:"logout_devices"`
	Auth          json.RawMessage `json:"auth"`
}

// changePassword gives the account another password. Unless told otherwise it signs all other devices out.
//
// Without an access token it is set anew by who has an address of the account; then all sessions end, whatever the client says of them.
//
// Spec: client-server v1.19 §password-management, POST /_matrix/client/v3/account/password
func (s *Server) changePassword(ctx context.Context, c *httpapi.Call, req *changePasswordRequest) (any, error) {
	if req.NewPassword == nil {
		return nil, matrix.MissingParam("new_password is missing")
	}
	if err := s.accounts.CheckPassword(*req.NewPassword); err != nil {
		return nil, fmt.Errorf("new_password: %w", err)
	}
	if c.Requester == nil {
		return s.resetPassword(ctx, c, req)
	}
	proof, answer, err := s.confirm(ctx, c, "POST /account/password", req.Auth)
	if proof == nil {
		return answer, err
	}
	return nil, s.accounts.SetPassword(ctx, auth.NewPassword{
		User: c.Requester.User, Password: *req.NewPassword,
		EndSessions: req.LogoutDevices == nil || *req.LogoutDevices, Keep: c.Requester.Device,
	})
}

// addressStages are the stages in which an address is proved, as far as something can be sent to one.
func (s *Server) addressStages() (stages []string) {
	if s.verifier.Sends("email") {
		stages = append(stages, auth.StageEmail)
	}
	if s.verifier.Sends("msisdn") {
		stages = append(stages, auth.StageMsisdn)
	}
	return stages
}

// resetPassword is changePassword for who is not signed in.
func (s *Server) resetPassword(ctx context.Context, c *httpapi.Call, req *changePasswordRequest) (any, error) {
	var flows [][]string
	for _, stage := range s.addressStages() {
		flows = append(flows, []string{stage})
	}
	if flows == nil {
		return nil, matrix.MissingToken()
	}
	proof, answer, err := s.interactive.Authenticate(ctx, auth.Challenge{
		Operation: "POST /account/password by address", Flows: flows, Address: c.ClientAddr(), Purpose: verify.Password,
	}, req.Auth)
	if proof == nil {
		return answer, err
	}
	found := proof.Validation
	if found.UserID == "" {
		return nil, authFailed(nil)
	}
	return nil, s.accounts.SetPassword(ctx, auth.NewPassword{
		User: found.UserID, Password: *req.NewPassword, EndSessions: true, Action: "password.reset",
		Also: func(ctx context.Context, tx *store.Tx, u store.User) error {
			if err := s.verifier.Use(ctx, tx, found); err != nil {
				return err
			}
			// Much may have happened since the code was sent.
			has, err := tx.HasThreePID(ctx, u.UserID, found.Medium, found.Address)
			if err == nil && !(has && mayReset(u)) {
				err = authFailed(nil)
			}
			return err
		},
	})
}

// mayDeactivate refuses where accounts are the organisation's to close. What an application service has made it may close.
func (s *Server) mayDeactivate(ctx context.Context, c *httpapi.Call) error {
	if c.Requester.Appservice != "" {
		return nil
	}
	allowed := false
	if s.cfg.MayDeactivate != nil {
		var err error
		if allowed, err = s.cfg.MayDeactivate(ctx, c.Requester.Org); err != nil {
			return err
		}
	}
	if !allowed {
		return matrix.Forbidden("accounts are closed by the organisation")
	}
	return nil
}

type deactivateRequest struct {
	Erase bool            `json:"erase"`
	Auth  json.RawMessage `json:"auth"`
}

type deactivateResponse struct {
	IDServerUnbindResult string `json:"id_server_unbind_result"`
}

// deactivateAccount closes the requester's account for good.
//
// Differs: with erase, what the requester has written is redacted for everybody or for nobody, as the organisation's policy says, and not for
// those alone who join a room later.
//
// Spec: client-server v1.19 §account-deactivation, POST /_matrix/client/v3/account/deactivate
func (s *Server) deactivateAccount(ctx context.Context, c *httpapi.Call, req *deactivateRequest) (any, error) {
	if err := s.mayDeactivate(ctx, c); err != nil {
		return nil, err
	}
	proof, answer, err := s.confirm(ctx, c, "POST /account/deactivate", req.Auth)
	if proof == nil {
		return answer, err
	}
	// The rooms come first: if leaving them fails half-way, there is still somebody who can ask again.
	if err := s.cfg.LeaveRooms(ctx, c.Requester.User); err != nil {
		return nil, fmt.Errorf("leave rooms: %w", err)
	}
	if err := s.closeOwn(ctx, c, req.Erase); err != nil {
		return nil, err
	}
	// The account's addresses are gone with it, so that nobody finds it by them.
	return deactivateResponse{IDServerUnbindResult: "success"}, nil
}

func (s *Server) closeOwn(ctx context.Context, c *httpapi.Call, erase bool) error {
	if erase && s.cfg.DeleteOwn != nil {
		return s.cfg.DeleteOwn(ctx, c)
	}
	return s.accounts.Deactivate(ctx, c.Requester.User, erase)
}
