package scim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// replaceUser makes a person what the body says.
//
// Spec: RFC 7644 §3.5.1
func (s *Server) replaceUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	in, err := decode(c.Body)
	if err != nil {
		return nil, err
	}
	r, err := s.change(ctx, c, id, func(now resource) (resource, error) { return replaced(now, in) })
	if err != nil {
		return nil, err
	}
	return answer(c, http.StatusOK, r, projection{}), nil
}

// replaced is the body of a PUT as the new resource.
func replaced(now, in resource) (resource, error) {
	r, err := userType.normal(in)
	if err != nil {
		return nil, err
	}
	if textAt(r, "userName") == "" {
		return nil, invalid("invalidValue", "userName is missing")
	}
	for _, name := range []string{"localpart", "domain"} {
		if v := textAt(r, schemaRoomline, name); v != "" && !strings.EqualFold(v, textAt(now, schemaRoomline, name)) {
			return nil, invalid("mutability", "%s can't be changed", name)
		}
	}
	if _, given := r["active"]; !given {
		// Nobody is let in again by a directory that says nothing of it.
		r["active"] = now["active"]
	}
	return r, nil
}

// patchUser changes parts of a person.
//
// Spec: RFC 7644 §3.5.2
func (s *Server) patchUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	p, err := parsePatch(c.Body)
	if err != nil {
		return nil, err
	}
	r, err := s.change(ctx, c, id, func(now resource) (resource, error) { return patched(now, p) })
	if err != nil {
		return nil, err
	}
	return answer(c, http.StatusOK, r, projection{}), nil
}

func patched(now resource, p patchRequest) (resource, error) {
	if err := userType.patch(now, p); err != nil {
		return nil, err
	}
	r, err := userType.normal(now)
	if err == nil && textAt(r, "userName") == "" {
		err = invalid("invalidValue", "userName can't be removed")
	}
	if _, given := r["active"]; err == nil && !given {
		r["active"] = true
	}
	return r, err
}

// changeAttempts bounds how often a change begins again because somebody else has changed the person meanwhile.
const changeAttempts = 5

// change changes a person. to makes the new resource of a copy of the present one.
func (s *Server) change(ctx context.Context, c *httpapi.Call, id matrix.UserID, to func(now resource) (resource, error)) (resource, error) {
	for range changeAttempts {
		r, err := s.tryChange(ctx, c, id, to)
		if !errors.Is(err, errChanged) {
			return r, err
		}
	}
	return nil, matrix.NewError(http.StatusConflict, matrix.ErrUnknown, "the resource is changed by others all the time")
}

var errChanged = errors.New("the person was changed meanwhile")

func (s *Server) tryChange(ctx context.Context, c *httpapi.Call, id matrix.UserID, to func(now resource) (resource, error)) (resource, error) {
	org := c.Requester.Org
	u, err := s.cfg.Store.GetScimUser(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	before, err := s.representation(&u)
	if err != nil {
		return nil, err
	}
	if err := mustMatch(c, before["meta"].(map[string]any)["version"].(string)); err != nil {
		return nil, err
	}
	now, err := s.representation(&u)
	if err != nil {
		return nil, err
	}
	r, err := to(now)
	if err != nil {
		return nil, err
	}
	ch := changeOf(r)
	if password := textAt(r, "password"); password != "" {
		ch.Password = &password
	}
	if err := s.storePhotos(ctx, &u, before, r, &ch); err != nil {
		return nil, err
	}
	if u.Managed && ch.Password == nil && s.unchanged(&u, r) {
		return before, nil
	}
	ch.Also = s.putResource(r, org, ch.Locked)
	err = s.cfg.Accounts.Update(ctx, by(c), id, ch, func(ctx context.Context, tx *store.Tx, _ store.User) error {
		present, err := tx.GetScimUser(ctx, org, id)
		if err == nil && (string(present.Resource) != string(u.Resource) || present.Locked != u.Locked) {
			err = errChanged
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.user(ctx, org, id)
}

// unchanged reports whether a person is already as the resource says.
func (s *Server) unchanged(u *store.ScimUser, r resource) bool {
	kept := resource{}
	for key, value := range r {
		if key != "active" && key != schemaRoomline {
			kept[key] = value
		}
	}
	var stored resource
	if json.Unmarshal(u.Resource, &stored) != nil {
		return false
	}
	a, errA := json.Marshal(kept)
	b, errB := json.Marshal(stored)
	return errA == nil && errB == nil && string(a) == string(b) && r["active"] == !u.Locked
}

// changeOf is what a resource says of an account.
func changeOf(r resource) accounts.Change {
	active, given := r["active"].(bool)
	locked := given && !active
	name := textAt(r, "displayName")
	if name == "" {
		name = textAt(r, "name", "formatted")
	}
	if name == "" {
		name = strings.TrimSpace(textAt(r, "name", "givenName") + " " + textAt(r, "name", "familyName"))
	}
	return accounts.Change{DisplayName: &name, Emails: nonNil(valuesOf(r, "emails")), Phones: phonesOf(r), Locked: &locked}
}

// putResource stores what a directory says, in the transaction that changes the account.
func (s *Server) putResource(r resource, org int64, locked *bool) func(context.Context, *store.Tx, store.User) error {
	kept := resource{}
	for key, value := range r {
		if key != "password" && key != "active" && key != schemaRoomline {
			kept[key] = value
		}
	}
	return func(ctx context.Context, tx *store.Tx, u store.User) error {
		raw, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		ok, err := tx.PutScimUser(ctx, store.ScimUser{
			UserID: u.UserID, OrganisationID: org, UserName: strings.ToLower(textAt(r, "userName")), ExternalID: textAt(r, "externalId"),
			Resource: raw, ModifiedTS: s.cfg.Accounts.Now(),
		})
		if err == nil && !ok {
			err = nameTaken()
		}
		if err != nil {
			return err
		}
		return tx.PutPerson(ctx, u.UserID, personFields(r))
	}
}

// personFields is what others find and see of a person besides the profile.
func personFields(r resource) store.PersonFields {
	f := store.PersonFields{
		GivenName: textAt(r, "name", "givenName"), FamilyName: textAt(r, "name", "familyName"), Title: textAt(r, "title"),
		Department: textAt(r, schemaEnterprise, "department"), EmployeeNumber: textAt(r, schemaEnterprise, "employeeNumber"),
	}
	if manager, err := matrix.ParseUserID(textAt(r, schemaEnterprise, "manager", "value")); err == nil {
		f.Manager = manager
	}
	return f
}
