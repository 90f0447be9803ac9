package admin

import (
	"context"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// What existing tools ask for, in the shapes that they know. An owner sees and changes what is the organisation's, the operator what is anybody's.
//
// Differs: an account that was closed stays closed; nobody signs in as somebody else; shadow bans and rate limits of single users do not exist.

const (
	synapse1 = "/_synapse/admin/v1"
	synapse2 = "/_synapse/admin/v2"
)

// synapseUserEndpoints are those about accounts.
func (s *Server) synapseUserEndpoints() []endpoint {
	const one, two = synapse1 + "/users/{userId}", synapse2 + "/users/{userId}"
	table := []struct {
		method, path string
		may          access
		handle       httpapi.Handler
		summary      string
	}{
		{get, synapse1 + "/server_version", administrators, s.synapseVersion, "The server's version."},
		{get, synapse2 + "/users", peopleReaders, s.synapseListUsers, "List accounts."},
		{get, "/_synapse/admin/v3/users", peopleReaders, s.synapseListUsers, "List accounts."},
		{get, two, peopleReaders, s.synapseGetUser, "An account."},
		{put, two, peopleManagers, httpapi.JSON(s.synapsePutUser), "Make or change an account."},
		{post, synapse1 + "/deactivate/{userId}", peopleManagers, httpapi.OptionalJSON(s.synapseDeactivate), "Close an account."},
		{put, synapse1 + "/suspend/{userId}", peopleManagers, httpapi.JSON(s.synapseSuspend), "Suspend an account."},
		{post, synapse1 + "/reset_password/{userId}", peopleManagers, httpapi.JSON(s.synapseResetPassword), "Give an account another password."},
		{get, one + "/admin", peopleReaders, s.synapseIsAdmin, "Whether somebody is an owner."},
		{put, one + "/admin", owners, httpapi.JSON(s.synapsePutAdmin), "Make somebody an owner, or no owner any more."},
		{get, one + "/joined_rooms", owners, s.synapseJoinedRooms, "The rooms that somebody is in."},
		{get, one + "/memberships", owners, s.synapseMemberships, "The rooms that somebody has to do with."},
		{get, one + "/accountdata", owners, s.synapseAccountData, "Somebody's account data."},
		{get, one + "/pushers", owners, s.synapsePushers, "Where somebody's notifications are sent."},
		{post, one + "/login", owners, s.synapseLogin, "Refused: nobody signs in as somebody else."},
		{get, synapse1 + "/whois/{userId}", peopleReaders, s.synapseWhois, "Where an account is signed in."},
		{get, two + "/devices", peopleReaders, s.synapseDevices, "Where an account is signed in."},
		{post, two + "/devices", peopleManagers, httpapi.JSON(s.synapseCreateDevice), "Refused: devices are made by signing in."},
		{get, two + "/devices/{deviceId}", peopleReaders, s.synapseDevice, "A device."},
		{put, two + "/devices/{deviceId}", peopleManagers, httpapi.JSON(s.synapsePutDevice), "Name a device."},
		{remove, two + "/devices/{deviceId}", peopleManagers, s.synapseDeleteDevice, "Sign a device out."},
		{post, two + "/delete_devices", peopleManagers, httpapi.JSON(s.synapseDeleteDevices), "Sign devices out."},
		{get, synapse1 + "/username_available", peopleReaders, s.synapseAvailable, "Whether a name is free."},
		{get, synapse1 + "/threepid/{medium}/users/{address}", peopleReaders, s.synapseFindThreePID, "Who has an address."},
		{get, synapse1 + "/auth_providers/{provider}/users/{externalId}", peopleReaders, s.synapseFindSubject, "Who an identity provider's subject is."},
		{get, synapse1 + "/registration_tokens", owners, s.synapseListTokens, "List registration tokens."},
		{post, synapse1 + "/registration_tokens/new", owners, httpapi.OptionalJSON(s.synapseNewToken), "Make a registration token."},
		{get, synapse1 + "/registration_tokens/{token}", owners, s.synapseGetToken, "A registration token."},
		{put, synapse1 + "/registration_tokens/{token}", owners, httpapi.JSON(s.synapsePutToken), "Change a registration token."},
		{remove, synapse1 + "/registration_tokens/{token}", owners, s.synapseDeleteToken, "Remove a registration token."},
	}
	var all []endpoint
	for _, r := range table {
		limit := ratelimit.Read
		if r.method != get {
			limit = ratelimit.Account
		}
		all = append(all, endpoint{method: r.method, path: r.path, may: r.may, limit: limit, handle: r.handle, doc: httpapi.Doc{Summary: r.summary}})
	}
	return all
}

// scope is the organisation that a list is about: 0 for the operator, who sees all.
func scope(c *httpapi.Call) int64 {
	if c.Requester.Operator() {
		return 0
	}
	return c.Requester.Org
}

// target is the account of the path and who acts on it, in the account's organisation.
func (s *Server) target(ctx context.Context, c *httpapi.Call) (store.Account, accounts.Actor, error) {
	by := accounts.ActorOf(c)
	id, err := c.UserID("userId")
	if err != nil {
		return store.Account{}, by, err
	}
	a, err := s.account(ctx, scope(c), id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		err = matrix.NotFound("User not found")
	}
	by.Org = a.OrganisationID
	return a, by, err
}

func (s *Server) synapseVersion(context.Context, *httpapi.Call) (any, error) {
	return map[string]string{"server_version": s.cfg.Version}, nil
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// flag reads a parameter of the query that is true, false or missing.
func flag(c *httpapi.Call, name string) (*bool, error) {
	switch c.Query(name) {
	case "":
		return nil, nil
	case "true":
		yes := true
		return &yes, nil
	case "false":
		no := false
		return &no, nil
	}
	return nil, matrix.InvalidParam("%s must be true or false", name)
}

// pageOf is which part of a list is asked for.
func pageOf(c *httpapi.Call) (from, limit int, err error) {
	if from, err = c.QueryInt("from", 0, 0, 1<<30); err != nil {
		return 0, 0, err
	}
	limit, err = c.QueryInt("limit", 100, 1, limits.PageMax)
	return from, limit, err
}
