package accounts

import (
	"context"
	"encoding/json"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Actor is who changes accounts.
type Actor struct {
	Org int64
	// Name is what the audit log calls it.
	Name string
	// User is empty for those who are nobody's account.
	User  matrix.UserID
	IP    string
	Owner bool
}

// ActorOf is who sends a request.
func ActorOf(c *httpapi.Call) Actor {
	r := c.Requester
	a := Actor{Org: r.Org, Name: r.Actor(), IP: c.ClientAddr(), Owner: r.Role == httpapi.RoleOwner}
	if r.Appservice == "" {
		a.User = r.User
	}
	return a
}

// mayChange keeps those who manage people from becoming owners by way of an owner's account: with another password, or with an address of
// their own, by which an identity provider's login finds the account. A directory may lock owners out and say where they are reached: they
// leave and move as others do.
func (a Actor) mayChange(u store.User, ch *Change) error {
	if u.Role == "" || a.Owner || u.UserID == a.User && a.User != "" {
		return nil
	}
	person := a.User != ""
	if ch.Password != nil || ch.Suspended != nil || person && (ch.Emails != nil || ch.Phones != nil || ch.Locked != nil && *ch.Locked != u.Locked) {
		return matrix.Forbidden("only owners may do this to the account of somebody with a role")
	}
	return nil
}

// mayClose keeps the accounts of those who have a role from everybody but owners, and one's own from oneself.
func (a Actor) mayClose(u store.User) error {
	switch {
	case u.UserID == a.User:
		return matrix.Forbidden("administrators cannot do this to themselves")
	case u.Role != "" && !a.Owner:
		return matrix.Forbidden("only owners may do this to the account of somebody with a role")
	}
	return nil
}

// detail is what the audit log says of a change: what was touched, not what it became.
func (ch *Change) detail() map[string]any {
	d := map[string]any{}
	if ch.Locked != nil {
		d["locked"] = *ch.Locked
	}
	if ch.Suspended != nil {
		d["suspended"] = *ch.Suspended
	}
	for name, touched := range map[string]bool{
		"displayname": ch.DisplayName != nil, "avatar": ch.Avatar != nil, "emails": ch.Emails != nil, "phones": ch.Phones != nil,
		"password": ch.Password != nil,
	} {
		if touched {
			d[name] = true
		}
	}
	return d
}

// audit notes an act in the transaction of the act.
func (s *Server) audit(ctx context.Context, tx *store.Tx, a Actor, action, target string, detail map[string]any) error {
	e := store.AuditEntry{OrganisationID: a.Org, TS: s.now(), Actor: a.Name, IP: a.IP, Action: action, Target: target}
	if detail != nil {
		raw, err := json.Marshal(detail)
		if err != nil {
			return err
		}
		e.Detail = raw
	}
	return tx.AppendAudit(ctx, e)
}
