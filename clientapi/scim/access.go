package scim

import (
	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/internal/httpapi"
)

// mayProvision reports whether somebody manages the people of an organisation: a person with that role, or an application service
// with the grant, in its own name.
func mayProvision(r *httpapi.Requester) bool { return r.ManagesPeople() }

// by is who asks, for the audit log and for what may be done to whom.
func by(c *httpapi.Call) accounts.Actor { return accounts.ActorOf(c) }
