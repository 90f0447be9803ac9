package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// roleEndpoints are those about who administers an organisation. Owners give and take roles; the operator may, for an organisation whose owners
// are lost.
func (s *Server) roleEndpoints() []endpoint {
	const others = operator + "/organisations/{organisationId}/roles"
	giving := httpapi.Doc{Summary: "Give a member of the organisation a role: owner, people (manages accounts) or auditor (reads what was done).",
		Request: roleRequest{}, Response: Role{}}
	taking := httpapi.Doc{Summary: "Take a member's role. The last owner keeps it."}
	return []endpoint{
		{method: get, path: own + "/roles", may: auditors, handle: s.listOwnRoles, doc: httpapi.Doc{
			Summary: "Who has a role in the own organisation.", Response: rolesResponse{}}},
		{method: put, path: own + "/roles/{userId}", may: owners, limit: ratelimit.Account, handle: httpapi.JSON(s.giveOwnRole), doc: giving},
		{method: remove, path: own + "/roles/{userId}", may: owners, limit: ratelimit.Account, handle: s.takeOwnRole, doc: taking},
		{method: get, path: others, may: operators, handle: s.listRoles, doc: httpapi.Doc{
			Summary: "Who has a role in an organisation.", Response: rolesResponse{}}},
		{method: put, path: others + "/{userId}", may: operators, limit: ratelimit.Account, handle: httpapi.JSON(s.giveRole), doc: giving},
		{method: remove, path: others + "/{userId}", may: operators, limit: ratelimit.Account, handle: s.takeRole, doc: taking},
	}
}

// Role is what somebody is in an organisation.
type Role struct {
	UserID matrix.UserID `json:"user_id"`
	Role   httpapi.Role  `json:"role"`
}

type rolesResponse struct {
	Roles []Role `json:"roles"`
}

type roleRequest struct {
	Role httpapi.Role `json:"role"`
}

func (s *Server) listOwnRoles(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.rolesOf(ctx, c.Requester.Org)
}

func (s *Server) listRoles(ctx context.Context, c *httpapi.Call) (any, error) {
	o, err := s.organisation(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.rolesOf(ctx, o.ID)
}

func (s *Server) rolesOf(ctx context.Context, org int64) (any, error) {
	users, err := s.cfg.Store.ListRoles(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	answer := rolesResponse{Roles: []Role{}}
	for _, u := range users {
		answer.Roles = append(answer.Roles, Role{u.UserID, httpapi.Role(u.Role)})
	}
	return answer, nil
}

func (s *Server) giveOwnRole(ctx context.Context, c *httpapi.Call, req *roleRequest) (any, error) {
	return s.putRole(ctx, c, whoOf(c), c.Requester.Org, req.Role)
}

func (s *Server) takeOwnRole(ctx context.Context, c *httpapi.Call) (any, error) {
	_, err := s.putRole(ctx, c, whoOf(c), c.Requester.Org, httpapi.RoleNone)
	return nil, err
}

func (s *Server) giveRole(ctx context.Context, c *httpapi.Call, req *roleRequest) (any, error) {
	id, err := organisationID(c)
	if err != nil {
		return nil, err
	}
	return s.putRole(ctx, c, operatorOf(c), id, req.Role)
}

func (s *Server) takeRole(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := organisationID(c)
	if err != nil {
		return nil, err
	}
	_, err = s.putRole(ctx, c, operatorOf(c), id, httpapi.RoleNone)
	return nil, err
}

// putRole gives the user of the path a role. A missing one is refused: taking a role is another request.
func (s *Server) putRole(ctx context.Context, c *httpapi.Call, who Who, org int64, role httpapi.Role) (any, error) {
	if role == httpapi.RoleNone && c.Request.Method == put {
		return nil, matrix.MissingParam("role is missing")
	}
	user, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	return Role{user, role}, s.SetRole(ctx, who, org, user, role)
}

// SetRole gives a member of an organisation a role, or takes it with httpapi.RoleNone. It holds on every process within a second.
func (s *Server) SetRole(ctx context.Context, who Who, org int64, user matrix.UserID, role httpapi.Role) error {
	switch role {
	case httpapi.RoleNone, httpapi.RoleOwner, httpapi.RolePeople, httpapi.RoleAuditor:
	default:
		return matrix.InvalidParam("role must be owner, people or auditor")
	}
	return s.change(ctx, who, func(tx *store.Tx) (act, []store.Update, error) {
		u, err := tx.LockUser(ctx, user)
		if errors.Is(err, store.ErrNotFound) || err == nil && (u.OrganisationID != org || u.Deactivated() || u.Machine) {
			return act{}, nil, matrix.NotFound("there is no such account")
		}
		if err != nil || u.Role == string(role) {
			return act{}, nil, err
		}
		if u.Guest {
			return act{}, nil, matrix.Forbidden("a guest has no role")
		}
		last, err := tx.IsLastOwner(ctx, u)
		if err != nil {
			return act{}, nil, err
		}
		if last {
			return act{}, nil, matrix.Forbidden("this is the last owner; make somebody else an owner first")
		}
		updates := []store.Update{{Kind: store.KindSession, UserID: user, Body: []byte("{}")}}
		return act{organisation: org, action: "role.change", target: string(user), detail: map[string]any{"from": u.Role, "to": role}},
			updates, tx.PutUserRole(ctx, user, string(role))
	})
}
