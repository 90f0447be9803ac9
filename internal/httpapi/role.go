package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/roomline/roomline/internal/matrix"
)

// Role is what a person is in the organisation besides a member.
type Role string

const (
	RoleNone Role = ""
	// RoleOwner may do everything that an administrator may, and gives and takes roles.
	RoleOwner Role = "owner"
	// RolePeople manages accounts.
	RolePeople Role = "people"
	// RoleAuditor reads what was done, and changes nothing.
	RoleAuditor Role = "auditor"
)

// GrantPeople lets an application service manage accounts.
const GrantPeople = "people"

// operatorOrganisation is store.DefaultOrganisation: the operator's own.
const operatorOrganisation = 1

// Operator reports whether the requester runs the deployment: an owner of the operator's own organisation.
func (r *Requester) Operator() bool { return r.Role == RoleOwner && r.Org == operatorOrganisation }

// ManagesPeople reports whether the requester manages the accounts of the organisation.
func (r *Requester) ManagesPeople() bool {
	return r.Role == RoleOwner || r.Role == RolePeople || r.May(GrantPeople)
}

// Audits reports whether the requester reads the organisation's audit log.
func (r *Requester) Audits() bool { return r.Role == RoleOwner || r.Role == RoleAuditor }

// May reports whether the requester is an application service that has the grant.
func (r *Requester) May(grant string) bool {
	return r.Appservice != "" && slices.Contains(r.Grants, grant)
}

// MayAct keeps guests and suspended accounts from what changes something.
func (r *Requester) MayAct() error {
	if r.Guest {
		return matrix.Forbidden("guests may not do this")
	}
	if r.Suspended {
		return matrix.UserSuspended()
	}
	return nil
}

// Actor is what the audit log calls the requester.
func (r *Requester) Actor() string {
	if r.Appservice != "" {
		return "appservice:" + r.Service
	}
	return string(r.User)
}

// ForManagers keeps out who has no role in the organisation, before anything is looked up. Auditors only read.
func ForManagers(handle Handler) Handler {
	return func(ctx context.Context, c *Call) (any, error) {
		r, reads := c.Requester, c.Request.Method == http.MethodGet
		if !r.ManagesPeople() && !(reads && r.Audits()) {
			return nil, matrix.Forbidden("only administrators with the right role may do this")
		}
		if r.Suspended && !reads {
			return nil, matrix.UserSuspended()
		}
		return handle(ctx, c)
	}
}

// ForThose keeps out who may not, before anything is looked up. Suspended accounts only read.
func ForThose(may func(*Requester) bool, handle Handler) Handler {
	return func(ctx context.Context, c *Call) (any, error) {
		if !may(c.Requester) {
			return nil, matrix.Forbidden("only administrators with the right role may do this")
		}
		if reads := c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead; c.Requester.Suspended && !reads {
			return nil, matrix.UserSuspended()
		}
		return handle(ctx, c)
	}
}
