package admin

import (
	"context"
	"net/http"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type synapseDeactivateRequest struct {
	Erase bool `json:"erase"`
}

// synapseDeactivate closes an account; with erase all that the organisation's policy says goes too.
func (s *Server) synapseDeactivate(ctx context.Context, c *httpapi.Call, req *synapseDeactivateRequest) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	if req.Erase {
		err = s.cfg.People.Delete(ctx, by, a.UserID)
	} else if !a.Deactivated() {
		err = s.cfg.People.Close(ctx, by, a.UserID)
	}
	return map[string]string{"id_server_unbind_result": "success"}, found(err)
}

type synapseSuspendRequest struct {
	Suspend *bool `json:"suspend"`
}

func (s *Server) synapseSuspend(ctx context.Context, c *httpapi.Call, req *synapseSuspendRequest) (any, error) {
	if req.Suspend == nil {
		return nil, matrix.MissingParam("suspend is missing")
	}
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"user_" + string(a.UserID) + "_suspended": *req.Suspend},
		found(s.cfg.People.Update(ctx, by, a.UserID, accounts.Change{Suspended: req.Suspend}, nil))
}

type synapsePasswordRequest struct {
	NewPassword   *string `json:"new_password"`
	LogoutDevices *bool   `json:"logout_devices"`
}

func (s *Server) synapseResetPassword(ctx context.Context, c *httpapi.Call, req *synapsePasswordRequest) (any, error) {
	if req.NewPassword == nil || *req.NewPassword == "" {
		return nil, matrix.MissingParam("new_password is missing")
	}
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	ch := accounts.Change{Password: req.NewPassword, KeepDevices: req.LogoutDevices != nil && !*req.LogoutDevices}
	return nil, found(s.cfg.People.Update(ctx, by, a.UserID, ch, nil))
}

func (s *Server) synapseIsAdmin(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	return map[string]bool{"admin": a.Role == string(httpapi.RoleOwner)}, err
}

type synapseAdminRequest struct {
	Admin *bool `json:"admin"`
}

func (s *Server) synapsePutAdmin(ctx context.Context, c *httpapi.Call, req *synapseAdminRequest) (any, error) {
	if req.Admin == nil {
		return nil, matrix.MissingParam("admin is missing")
	}
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.setOwner(ctx, c, &a, *req.Admin)
}

// setOwner makes somebody an owner or no owner any more; other roles are left alone by who only wants no owner.
func (s *Server) setOwner(ctx context.Context, c *httpapi.Call, a *store.Account, owner bool) error {
	role := httpapi.RoleNone
	if owner {
		role = httpapi.RoleOwner
	}
	if owner == (a.Role == string(httpapi.RoleOwner)) {
		return nil
	}
	if a.UserID == c.Requester.User {
		return matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "You may not demote yourself.")
	}
	who := whoOf(c)
	who.Operator = a.OrganisationID != c.Requester.Org
	return s.SetRole(ctx, who, a.OrganisationID, a.UserID, role)
}

// synapseLogin is refused. Why: a session in somebody else's name could not be told from the person's own in any room, whatever a log says.
func (s *Server) synapseLogin(ctx context.Context, c *httpapi.Call) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.People.Refused(ctx, by, "account.impersonate", string(a.UserID)); err != nil {
		return nil, err
	}
	return nil, matrix.Forbidden("nobody signs in as somebody else")
}
