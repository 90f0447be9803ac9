package contacts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/contacts/vcard"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/store"
)

// listedContact is a private contact as the app sees it.
type listedContact struct {
	ID   string `json:"id"`
	ETag string `json:"etag"`
	vcard.Fields
}

// displayName is the user's name, the localpart if there is none.
func (s *Server) displayName(ctx context.Context, user matrix.UserID) (string, error) {
	value, err := s.store.GetProfileField(ctx, user, "displayname")
	if errors.Is(err, store.ErrNotFound) {
		return user.Localpart(), nil
	}
	if err != nil {
		return "", fmt.Errorf("read the display name: %w", err)
	}
	var name string
	if json.Unmarshal(value, &name) != nil || name == "" {
		name = user.Localpart()
	}
	return name, nil
}

// listContacts gives the requester's private contacts in the order of their names, those that a search term finds if there is one. from is
// the number of contacts to leave out.
func (s *Server) listContacts(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", 100, 1, limits.ContactsPage)
	if err != nil {
		return nil, err
	}
	from, err := c.QueryInt("from", 0, 0, limits.ContactsPerUser)
	if err != nil {
		return nil, err
	}
	term := c.Query("search")
	if len(term) > limits.SearchTerm {
		return nil, matrix.InvalidParam("search is longer than %d bytes", limits.SearchTerm)
	}
	found, err := s.contactsOf(ctx, c.Requester.Org, c.Requester.User)
	if err != nil {
		return nil, err
	}
	list := found
	if term != "" {
		region, err := s.region(ctx, c.Requester.Org)
		if err != nil {
			return nil, err
		}
		query := people.ParseQuery(term, region)
		list = slices.DeleteFunc(slices.Clone(found), func(k *known) bool { return !query.Meets(k.keys) })
	}
	answer := struct {
		Contacts []listedContact `json:"contacts"`
		Total    int             `json:"total"`
		Next     int             `json:"next_from,omitempty"`
	}{Contacts: []listedContact{}, Total: len(list)}
	for _, k := range list[min(from, len(list)):min(from+limit, len(list))] {
		answer.Contacts = append(answer.Contacts, listedContact{k.name, k.etag, k.fields})
	}
	if from+limit < len(list) {
		answer.Next = from + limit
	}
	return answer, nil
}

// region is the country whose notation the organisation's people dial in.
func (s *Server) region(ctx context.Context, org int64) (string, error) {
	o, err := s.store.GetOrganisation(ctx, org)
	if err != nil {
		return "", fmt.Errorf("look up the organisation: %w", err)
	}
	return o.DefaultRegion, nil
}

func (s *Server) personalOf(c *httpapi.Call) *personal {
	return &personal{s: s, user: c.Requester.User, org: c.Requester.Org}
}

// getContact gives one private contact.
func (s *Server) getContact(ctx context.Context, c *httpapi.Call) (any, error) {
	o, parsed, err := s.loadContact(ctx, c)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, noResource()
	}
	return listedContact{o.name, o.etag, parsed.Fields()}, nil
}

// loadContact is nil, and an empty card, when there is none.
func (s *Server) loadContact(ctx context.Context, c *httpapi.Call) (*object, *vcard.Card, error) {
	list, err := s.personalOf(c).load(ctx, []string{c.Path("contactId")})
	if err != nil || len(list) == 0 {
		return nil, &vcard.Card{Version: vcard.V3}, err
	}
	parsed, err := vcard.Parse(list[0].card)
	if err != nil {
		return nil, nil, fmt.Errorf("a stored contact can't be read: %w", err)
	}
	return &list[0], parsed, nil
}

// putContact makes a private contact, or changes what the request speaks of: what a phone has stored besides, such as a picture, stays.
func (s *Server) putContact(ctx context.Context, c *httpapi.Call, req *vcard.Fields) (any, error) {
	id := c.Path("contactId")
	if len(id) > limits.ContactName {
		return nil, matrix.InvalidParam("the id of a contact has at most %d bytes", limits.ContactName)
	}
	if req.Name == "" && req.Given == "" && req.Family == "" {
		return nil, matrix.MissingParam("name is missing")
	}
	present, parsed, err := s.loadContact(ctx, c)
	if err != nil {
		return nil, err
	}
	when := conditionOf(c.Request.Header)
	switch {
	case present == nil && when == condition{}:
		when.ifNoneMatch = "*"
	case present != nil && when == condition{}:
		when.ifMatch = present.etag // what was read is what is changed
	}
	if parsed.Get("UID") == nil {
		parsed.Add("UID", vcard.Escape(strings.TrimSuffix(id, ".vcf")))
	}
	parsed.SetFields(*req)
	body := parsed.Bytes()
	if len(body) > limits.VCard {
		return nil, matrix.TooLarge("a contact has at most %d bytes", limits.VCard)
	}
	if _, err := vcard.Parse(body); err != nil {
		return nil, matrix.InvalidParam("the contact can't be written as a vCard: %s", err.Error())
	}
	etag, _, err := s.personalOf(c).put(ctx, id, uidOf(parsed, id), body, when)
	if conflict, ok := errors.AsType[*uidConflict](err); ok {
		return nil, matrix.InvalidParam("another contact has this id: %s", conflict.name)
	}
	if err != nil {
		return nil, err
	}
	return listedContact{id, etag, parsed.Fields()}, nil
}

// deleteContact deletes a private contact.
func (s *Server) deleteContact(ctx context.Context, c *httpapi.Call) (any, error) {
	return nil, s.personalOf(c).remove(ctx, c.Path("contactId"), conditionOf(c.Request.Header))
}

// byName is the order in which lists show contacts.
func byName(a, b *known) int {
	return cmp.Or(cmp.Compare(a.sortKey, b.sortKey), cmp.Compare(a.name, b.name))
}
