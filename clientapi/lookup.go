package clientapi

import (
	"context"
	"fmt"
	"net/url"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
)

// Third-party lookups in the directory of people. The endpoints are those of application services (appservices/thirdparty.go), which have
// networks of their own beside it.
//
// Spec: client-server v1.19 §third-party-networks

// DirectoryUser is somebody in the directory, as far as the one who asks may see them.
type DirectoryUser struct {
	UserID matrix.UserID
	Fields map[string]any
}

// FindPeople finds people by fields: query is what the user directory is searched for; name, email and phone look for these only, and the last two
// for the whole of it. Of several fields all have to fit.
func (s *Server) FindPeople(ctx context.Context, who *httpapi.Requester, fields url.Values) ([]DirectoryUser, error) {
	if who.Guest {
		return nil, guestsMayNot()
	}
	region, err := s.region(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	var query people.Query
	for _, field := range []struct {
		name  string
		parse func(text string) people.Query
	}{
		{"query", func(text string) people.Query { return people.ParseQuery(text, region) }},
		{"name", people.NameQuery},
		{"email", people.EmailQuery},
		{"phone", func(text string) people.Query { return people.PhoneQuery(text, region) }},
	} {
		text := fields.Get(field.name)
		if text == "" {
			continue
		}
		if len(text) > limits.SearchTerm {
			return nil, matrix.InvalidParam("%s is longer than %d bytes", field.name, limits.SearchTerm)
		}
		part := field.parse(text)
		if part.Empty() {
			return nil, nil
		}
		query.Terms = append(query.Terms, part.Terms...)
	}
	if query.Empty() {
		return nil, matrix.MissingParam("one of query, name, email and phone is needed")
	}
	contacts, err := s.privateContacts(ctx, who, query, limits.UsersMax)
	if err != nil {
		return nil, err
	}
	found, err := s.findUsers(ctx, who, userSearch{query: query, contacts: contacts, limit: limits.UsersMax})
	if err != nil {
		return nil, fmt.Errorf("look people up: %w", err)
	}
	return thirdParty(found), nil
}

// FindPerson says who a user is.
func (s *Server) FindPerson(ctx context.Context, who *httpapi.Requester, user matrix.UserID) ([]DirectoryUser, error) {
	if who.Guest {
		return nil, nil
	}
	found, err := s.describeUsers(ctx, who, []matrix.UserID{user})
	return thirdParty(found), err
}

// thirdParty are results in the form of a lookup. Of somebody who gives none of the fields there is nothing to tell.
func thirdParty(found []foundUser) []DirectoryUser {
	var list []DirectoryUser
	for _, u := range found {
		fields := map[string]any{}
		for name, value := range map[string]string{
			"name": u.DisplayName, "avatar_url": u.AvatarURL, "organisation": u.Organisation, "department": u.Department, "title": u.Title,
		} {
			if value != "" {
				fields[name] = value
			}
		}
		if len(u.Emails) > 0 {
			fields["email"], fields["emails"] = u.Emails[0], u.Emails
		}
		if len(u.Phones) > 0 {
			fields["phone"], fields["phones"] = u.Phones[0], u.Phones
		}
		if u.Presence != nil {
			fields["presence"] = u.Presence
		}
		if len(fields) > 0 {
			list = append(list, DirectoryUser{UserID: u.UserID, Fields: fields})
		}
	}
	return list
}
