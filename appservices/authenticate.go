package appservices

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Authenticator knows the tokens of application services, and leaves all others to the next one.
type Authenticator struct {
	registry *Registry
	store    *store.Store
	accesses *accesses
	next     httpapi.Authenticator
}

// Authenticator returns one that asks next for the tokens of people.
func (s *Server) Authenticator(next httpapi.Authenticator) *Authenticator {
	return &Authenticator{registry: s.cfg.Registry, store: s.cfg.Store, accesses: &s.accesses, next: next}
}

// Authenticate returns whom a token acts for. That of an application service acts as the user and device that the query names.
//
// Spec: application-service v1.19 §identity-assertion
func (a *Authenticator) Authenticate(ctx context.Context, token string) (*httpapi.Requester, error) {
	as := a.registry.ofToken(token)
	if as == nil {
		return a.next.Authenticate(ctx, token)
	}
	user, device := as.Sender, matrix.DeviceID("")
	// Interop: bridges name the user whom they register or sign in here, too, whom there may not be yet.
	if call, ok := httpapi.CallOf(ctx); ok && call.Route() != "/_matrix/client/v3/register" && call.Route() != "/_matrix/client/v3/login" {
		if call.HasQuery("user_id") {
			var err error
			if user, err = matrix.ParseUserID(call.Query("user_id")); err != nil {
				return nil, matrix.InvalidParam("user_id is not a user id")
			}
		}
		device = matrix.DeviceID(call.Query("device_id"))
		// Interop: bridges of the time before v1.17 give the device so (MSC3202, MSC4326).
		for _, name := range []string{"org.matrix.msc4326.device_id", "org.matrix.msc3202.device_id"} {
			if device == "" {
				device = matrix.DeviceID(call.Query(name))
			}
		}
	}
	if !as.Covers(user) {
		return nil, notCovered()
	}
	var hash []byte
	if as.stored {
		hash = as.asToken[:]
	}
	account, err := a.store.GetActingUser(ctx, user, as.ID, hash)
	switch {
	case err == nil && !account.Registered:
		// It was removed a moment ago.
		return nil, matrix.UnknownToken(false)
	case errors.Is(err, store.ErrNotFound) || err == nil && account.Deactivated():
		return nil, matrix.Forbidden("the application service has no such user; it has to be registered")
	case err != nil:
		return nil, fmt.Errorf("look up the user of an application service: %w", err)
	case !as.MayActAs(user, account.Made):
		return nil, notCovered()
	case account.Locked:
		return nil, matrix.NewError(401, matrix.ErrUserLocked, "this account has been locked").With("soft_logout", true)
	}
	if device != "" {
		_, err := a.store.GetDevice(ctx, user, device)
		if errors.Is(err, store.ErrNotFound) {
			return nil, matrix.NewError(400, matrix.ErrUnknownDevice, "the user has no such device")
		}
		if err != nil {
			return nil, fmt.Errorf("look up the device of an application service's user: %w", err)
		}
	}
	return &httpapi.Requester{
		User: user, Device: device, Org: account.OrganisationID, Guest: account.Guest, Suspended: account.Suspended,
		Appservice: as.ID, Service: as.document.ID, Grants: as.Grants, Scope: scope{as: as, accesses: a.accesses},
		// The sender is never limited, says the specification of rate_limited. Why only those of the operator: an owner of an organisation can't
		// give its own application services more of what all organisations share.
		Unlimited: as.Operator && (!as.RateLimited || user == as.Sender),
	}, nil
}

func notCovered() *matrix.Error {
	return matrix.NewError(403, matrix.ErrExclusive, "the application service may not act as this user")
}
