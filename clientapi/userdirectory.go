package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/directory"
	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/store"
)

type userSearchRequest struct {
	SearchTerm *string `json:"search_term"`
	Limit      *int    `json:"limit"`
}

type userSearchResponse struct {
	Results []foundUser `json:"results"`
	Limited bool        `json:"limited"`
	// Contacts are of the requester's own address book. They have no user id, so that clients would not know what to do with them among the
	// results.
	Contacts []people.Card `json:"org.roomline.contacts,omitempty"`
}

// foundUser is somebody in the directory, as far as the requester may see them.
type foundUser struct {
	UserID       matrix.UserID   `json:"user_id"`
	DisplayName  string          `json:"display_name,omitempty"`
	AvatarURL    string          `json:"avatar_url,omitempty"`
	Emails       []string        `json:"org.roomline.emails,omitempty"`
	Phones       []string        `json:"org.roomline.phones,omitempty"`
	Organisation string          `json:"org.roomline.organisation,omitempty"`
	Department   string          `json:"org.roomline.department,omitempty"`
	Title        string          `json:"org.roomline.title,omitempty"`
	Presence     json.RawMessage `json:"org.roomline.presence,omitempty"`
}

// searchUserDirectory finds people of the requester's organisation, of linked ones, and those with whom the requester is in a room: by the
// words of their names, e-mail addresses, phone numbers in any notation, and the digits of a keypad. A term that begins with @ is the
// beginning of a user id. Results have what the requester may see of each. With DirectoryOfRooms not everybody of the organisation is found.
//
// Spec: client-server v1.19 §user-directory, POST /_matrix/client/v3/user_directory/search
func (s *Server) searchUserDirectory(ctx context.Context, c *httpapi.Call, req *userSearchRequest) (any, error) {
	if c.Requester.Guest {
		return nil, guestsMayNot()
	}
	if req.SearchTerm == nil {
		return nil, matrix.MissingParam("search_term is missing")
	}
	if len(*req.SearchTerm) > limits.SearchTerm {
		return nil, matrix.InvalidParam("search_term is longer than %d bytes", limits.SearchTerm)
	}
	limit := limits.UsersDefault
	if req.Limit != nil {
		if *req.Limit < 1 {
			return nil, matrix.InvalidParam("limit must be a positive integer")
		}
		limit = min(*req.Limit, limits.UsersMax)
	}
	region, err := s.region(ctx, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	query := people.ParseQuery(*req.SearchTerm, region)
	contacts, err := s.privateContacts(ctx, c.Requester, query, limit)
	if err != nil {
		return nil, err
	}
	found, err := s.findUsers(ctx, c.Requester, userSearch{term: *req.SearchTerm, query: query, contacts: contacts, limit: limit + 1})
	if err != nil {
		return nil, fmt.Errorf("search users: %w", err)
	}
	return userSearchResponse{Results: found[:min(len(found), limit)], Limited: len(found) > limit, Contacts: contacts}, nil
}

// privateContacts finds people in the requester's own address book.
func (s *Server) privateContacts(ctx context.Context, who *httpapi.Requester, query people.Query, limit int) ([]people.Card, error) {
	if s.cfg.PrivateContacts == nil || query.Empty() {
		return nil, nil
	}
	contacts, err := s.cfg.PrivateContacts(ctx, who.User, query, limit)
	if err != nil {
		return nil, fmt.Errorf("search private contacts: %w", err)
	}
	return contacts, nil
}

// region is the country whose notation an organisation dials phone numbers in.
func (s *Server) region(ctx context.Context, org int64) (string, error) {
	o, err := s.store.GetOrganisation(ctx, org)
	if err != nil {
		return "", fmt.Errorf("look up the organisation's region: %w", err)
	}
	return o.DefaultRegion, nil
}

// userSearch is a search for users.
type userSearch struct {
	// term is what was typed, for user ids, and query what it means.
	term  string
	query people.Query
	// contacts are what the own address book has.
	contacts []people.Card
	limit    int
}

// findUsers returns at most limit people, as far as the one who asks may see them: those whom the directory has under the query, and then
// those who have an address of the contacts, by whatever name these stand in the address book.
func (s *Server) findUsers(ctx context.Context, who *httpapi.Requester, search userSearch) ([]foundUser, error) {
	q := store.PeopleQuery{By: who.User, Organisation: who.Org, Query: search.query, Limit: search.limit}
	links, err := s.store.ListSharings(ctx, who.Org)
	if err != nil {
		return nil, fmt.Errorf("look up linked organisations: %w", err)
	}
	given, err := directory.Given(ctx, s.store, who.Org, who.ManagesPeople())
	if err != nil {
		return nil, fmt.Errorf("look up what people of the organisation see of each other: %w", err)
	}
	q.Links, q.Own = links, &given
	if s.cfg.DirectoryOfRooms {
		q.MetOf = limits.Candidates
	}
	var found []store.FoundPerson
	if term := strings.TrimSpace(search.term); strings.HasPrefix(term, "@") {
		if len(term) > 1 {
			found, err = s.store.SearchUserIDs(ctx, q, strings.ToLower(term))
		}
	} else if !q.Query.Empty() {
		found, err = s.searchPeople(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	if len(search.contacts) > 0 && len(found) < search.limit {
		known, err := s.searchContacts(ctx, q, search.contacts)
		if err != nil {
			return nil, err
		}
		found = append(found, known...)
	}
	users := make([]matrix.UserID, 0, search.limit)
	for _, f := range found {
		// One with two keys that match is found twice, and comes first under the first of them.
		if len(users) < search.limit && !slices.Contains(users, f.UserID) {
			users = append(users, f.UserID)
		}
	}
	return s.describeUsers(ctx, who, users)
}

// searchPeople searches the organisations, and if that is not enough those whom the one who asks shares a room with.
func (s *Server) searchPeople(ctx context.Context, q store.PeopleQuery) ([]store.FoundPerson, error) {
	found, err := s.store.SearchPeople(ctx, q)
	if err != nil || len(found) >= q.Limit {
		return found, err
	}
	others, err := s.store.SearchAcquaintances(ctx, q, limits.Acquaintances)
	return append(found, others...), err
}

// searchContacts finds the people whose addresses contacts have.
func (s *Server) searchContacts(ctx context.Context, q store.PeopleQuery, contacts []people.Card) ([]store.FoundPerson, error) {
	region, err := s.region(ctx, q.Organisation)
	if err != nil {
		return nil, err
	}
	// Whose address one knows one has met.
	q.MetOf = 0
	if q.Query = people.AddressQuery(contacts, region); q.Query.Empty() {
		return nil, nil
	}
	return s.store.SearchPeople(ctx, q)
}

// describeUsers says of users, in their order, what the one who asks may see. Who is none of their business is left out.
func (s *Server) describeUsers(ctx context.Context, who *httpapi.Requester, users []matrix.UserID) ([]foundUser, error) {
	list := []foundUser{}
	if len(users) == 0 {
		return list, nil
	}
	sights, err := s.store.ListPersonSights(ctx, onlooker(who), users)
	if err != nil {
		return nil, fmt.Errorf("look up what may be seen: %w", err)
	}
	persons, err := s.store.ListPersons(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("look up people: %w", err)
	}
	present, err := s.presenceOf(ctx, sights)
	if err != nil {
		return nil, err
	}
	given, err := directory.Given(ctx, s.store, who.Org, who.ManagesPeople())
	if err != nil {
		return nil, fmt.Errorf("look up what people of the organisation see of each other: %w", err)
	}
	seen := make(map[matrix.UserID]store.PersonSight, len(sights))
	for _, sight := range sights {
		if sight.Own && sight.UserID != who.User {
			sight.Sharing = given
		}
		seen[sight.UserID] = sight
	}
	described := make(map[matrix.UserID]foundUser, len(persons))
	for _, p := range persons {
		if sight, ok := seen[p.UserID]; ok {
			described[p.UserID] = describe(p, sight, present[p.UserID])
		}
	}
	for _, id := range users {
		if u, ok := described[id]; ok {
			list = append(list, u)
		}
	}
	return list, nil
}

// describe is a person as far as a sight lets see.
func describe(p store.Person, sight store.PersonSight, present json.RawMessage) foundUser {
	u := foundUser{UserID: p.UserID, Presence: present}
	if sight.Own || sight.Linked {
		u.Organisation = p.Organisation
	}
	if sight.Name {
		u.DisplayName = stringField(p.Name)
	}
	if sight.Avatar {
		u.AvatarURL = stringField(p.Avatar)
	}
	if sight.Email {
		u.Emails = p.Emails
	}
	if sight.Phone {
		for _, digits := range p.Phones {
			u.Phones = append(u.Phones, "+"+digits)
		}
	}
	if sight.Work {
		u.Department, u.Title = p.Department, p.Title
	}
	return u
}

// presenceOf is the presence of those users who give it to the viewer, as content of m.presence.
func (s *Server) presenceOf(ctx context.Context, sights []store.PersonSight) (map[matrix.UserID]json.RawMessage, error) {
	gives := make(map[matrix.UserID]store.PresenceSight)
	var users []matrix.UserID
	for _, sight := range sights {
		if sight.Presence || sight.PhonePresence {
			gives[sight.UserID] = store.PresenceSight{Presence: sight.Presence, Phone: sight.PhonePresence}
			users = append(users, sight.UserID)
		}
	}
	if len(users) == 0 || s.presence != nil && !s.presence.Enabled() {
		return nil, nil
	}
	published, err := s.store.ListPresence(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("look up presence: %w", err)
	}
	list := make(map[matrix.UserID]json.RawMessage, len(published))
	for _, up := range published {
		list[up.UserID] = presence.EventContent(presence.As(up.Body, gives[up.UserID]), s.now())
	}
	return list, nil
}

// onlooker is who asks, as one who looks at people.
func onlooker(who *httpapi.Requester) store.Viewer {
	return store.Viewer{User: who.User, Organisation: who.Org, Guest: who.Guest}
}

// stringField is a profile field that is a string, else "".
func stringField(value []byte) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}
