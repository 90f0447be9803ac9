package clientapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type whoisResponse struct {
	UserID  matrix.UserID                   `json:"user_id"`
	Devices map[matrix.DeviceID]whoisDevice `json:"devices"`
}

type whoisDevice struct {
	Sessions []whoisSession `json:"sessions"`
}

type whoisSession struct {
	Connections []whoisConnection `json:"connections"`
}

type whoisConnection struct {
	IP       string           `json:"ip,omitempty"`
	LastSeen matrix.Timestamp `json:"last_seen,omitempty"`
}

// getWhoIs says where a user is signed in: users may ask about themselves, administrators about those of their organisation.
//
// Spec: client-server v1.19 §server-administration, GET /_matrix/client/v3/admin/whois/{userId}
func (s *Server) getWhoIs(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	if user != c.Requester.User {
		if err := mustManagePeople(c); err != nil {
			return nil, err
		}
		if _, err := s.moderated(ctx, c, user); err != nil {
			return nil, err
		}
		if err := s.store.AppendAudit(ctx, s.entry(c, "account.whois", string(user))); err != nil {
			return nil, err
		}
	}
	devices, err := s.store.ListDevices(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", user, err)
	}
	answer := whoisResponse{UserID: user, Devices: make(map[matrix.DeviceID]whoisDevice, len(devices))}
	for _, d := range devices {
		session := whoisSession{Connections: []whoisConnection{}}
		if d.LastSeenTS != 0 {
			session.Connections = append(session.Connections, whoisConnection{d.LastSeenIP, d.LastSeenTS})
		}
		answer.Devices[d.DeviceID] = whoisDevice{Sessions: []whoisSession{session}}
	}
	return answer, nil
}

// mustManagePeople comes before anything is looked up, so that nobody else learns who has an account.
func mustManagePeople(c *httpapi.Call) error {
	if !c.Requester.ManagesPeople() {
		return matrix.Forbidden("only administrators may do this")
	}
	return nil
}

// moderated is the account that an administrator asks about.
func (s *Server) moderated(ctx context.Context, c *httpapi.Call, user matrix.UserID) (store.User, error) {
	domain, err := s.store.GetHostedDomain(ctx, user.Domain())
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, matrix.InvalidParam("userId: the user does not belong to this server")
	}
	if err != nil {
		return store.User{}, fmt.Errorf("look up hosted domain %s: %w", user.Domain(), err)
	}
	if domain.OrganisationID != c.Requester.Org {
		return store.User{}, noSuchAccount()
	}
	account, err := s.store.GetUser(ctx, user)
	if errors.Is(err, store.ErrNotFound) || err == nil && (account.Deactivated() || account.OrganisationID != c.Requester.Org) {
		return store.User{}, noSuchAccount()
	}
	return account, err
}

// noSuchAccount is also what is said of accounts of other organisations.
func noSuchAccount() *matrix.Error { return matrix.NotFound("there is no such account") }

// restriction answers whether an account is under a restriction. Administrators do not learn that of each other.
func (s *Server) restriction(ctx context.Context, c *httpapi.Call, of func(store.User) any) (any, error) {
	if err := mustManagePeople(c); err != nil {
		return nil, err
	}
	user, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	account, err := s.moderated(ctx, c, user)
	if err != nil {
		return nil, err
	}
	if user != c.Requester.User && outranks(c.Requester, account) {
		return nil, otherAdmin()
	}
	return of(account), nil
}

// outranks reports an account that the requester may not restrict: owners restrict everybody but owners, others who manage people only who
// has no role.
func outranks(who *httpapi.Requester, u store.User) bool {
	return u.Role == string(httpapi.RoleOwner) || u.Role != "" && who.Role != httpapi.RoleOwner
}

func otherAdmin() *matrix.Error { return matrix.Forbidden("the user is an administrator as well") }

// restrict puts a restriction on an account or takes it off.
func (s *Server) restrict(ctx context.Context, c *httpapi.Call, what auth.Restriction, on bool) error {
	if err := mustManagePeople(c); err != nil {
		return err
	}
	user, err := c.UserID("userId")
	if err != nil {
		return err
	}
	if user == c.Requester.User {
		return matrix.Forbidden("administrators cannot do this to themselves")
	}
	if _, err := s.moderated(ctx, c, user); err != nil {
		return err
	}
	return s.accounts.RestrictWith(ctx, user, what, on, func(tx *store.Tx, u store.User) error {
		switch {
		case u.Deactivated():
			return noSuchAccount()
		case outranks(c.Requester, u):
			return otherAdmin()
		}
		return tx.AppendAudit(ctx, s.entry(c, restrictionAct(what, on), string(user)))
	})
}

func restrictionAct(what auth.Restriction, on bool) string {
	switch {
	case what == auth.Suspended && on:
		return "account.suspend"
	case what == auth.Suspended:
		return "account.unsuspend"
	case on:
		return "account.lock"
	}
	return "account.unlock"
}

// entry is what the audit log of the requester's organisation says of a request.
func (s *Server) entry(c *httpapi.Call, action, target string) store.AuditEntry {
	return store.AuditEntry{
		OrganisationID: c.Requester.Org, TS: s.now(), Actor: c.Requester.Actor(), IP: c.ClientAddr(), Action: action, Target: target,
	}
}

type suspendedStatus struct {
	Suspended bool `json:"suspended"`
}

type lockedStatus struct {
	Locked bool `json:"locked"`
}

// getAdminSuspendUser says whether an account is suspended.
//
// Spec: client-server v1.19 §account-suspension, GET /_matrix/client/v1/admin/suspend/{userId}
func (s *Server) getAdminSuspendUser(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.restriction(ctx, c, func(u store.User) any { return suspendedStatus{u.Suspended} })
}

type suspendRequest struct {
	Suspended *bool `json:"suspended"`
}

// setAdminSuspendUser suspends an account, or lets it act again.
//
// Spec: client-server v1.19 §account-suspension, PUT /_matrix/client/v1/admin/suspend/{userId}
func (s *Server) setAdminSuspendUser(ctx context.Context, c *httpapi.Call, req *suspendRequest) (any, error) {
	if req.Suspended == nil {
		return nil, matrix.MissingParam("suspended is missing")
	}
	return suspendedStatus{*req.Suspended}, s.restrict(ctx, c, auth.Suspended, *req.Suspended)
}

// getAdminLockUser says whether an account is locked.
//
// Spec: client-server v1.19 §account-locking, GET /_matrix/client/v1/admin/lock/{userId}
func (s *Server) getAdminLockUser(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.restriction(ctx, c, func(u store.User) any { return lockedStatus{u.Locked} })
}

type lockRequest struct {
	Locked *bool `json:"locked"`
}

// setAdminLockUser locks or unlocks an account.
//
// Spec: client-server v1.19 §account-locking, PUT /_matrix/client/v1/admin/lock/{userId}
func (s *Server) setAdminLockUser(ctx context.Context, c *httpapi.Call, req *lockRequest) (any, error) {
	if req.Locked == nil {
		return nil, matrix.MissingParam("locked is missing")
	}
	return lockedStatus{*req.Locked}, s.restrict(ctx, c, auth.Locked, *req.Locked)
}
