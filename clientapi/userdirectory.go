package clientapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
}

type foundUser struct {
	UserID      matrix.UserID `json:"user_id"`
	DisplayName string        `json:"display_name,omitempty"`
	AvatarURL   string        `json:"avatar_url,omitempty"`
}

// searchUserDirectory finds people by the beginnings of the words of their names: those of the requester's own organisation, and
// those of others with whom the requester is in a room. A term that begins with @ is the beginning of a user id.
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
	found, err := s.findUsers(ctx, c.Requester, *req.SearchTerm, limit+1)
	if err != nil {
		return nil, fmt.Errorf("search users: %w", err)
	}
	answer := userSearchResponse{Results: []foundUser{}, Limited: len(found) > limit}
	for _, u := range found[:min(len(found), limit)] {
		answer.Results = append(answer.Results, foundUser{UserID: u.UserID, DisplayName: stringField(u.Name), AvatarURL: stringField(u.Avatar)})
	}
	return answer, nil
}

// findUsers returns at most limit users.
func (s *Server) findUsers(ctx context.Context, who *httpapi.Requester, term string, limit int) ([]store.FoundUser, error) {
	term = strings.TrimSpace(term)
	if strings.HasPrefix(term, "@") && len(term) > 1 {
		return s.store.SearchUserIDs(ctx, who.User, who.Org, strings.ToLower(term), limit)
	}
	words := people.Words(term)
	if len(words) == 0 {
		return nil, nil
	}
	// The longest word is likely to be the rarest.
	slices.SortStableFunc(words, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	q := store.UserQuery{By: who.User, Organisation: who.Org, Term: words[0], Others: words[1:], Limit: limit}
	found, err := s.store.SearchUsers(ctx, q)
	if err != nil || len(found) == limit {
		return found, err
	}
	q.Limit -= len(found)
	others, err := s.store.SearchAcquaintances(ctx, q, limits.Acquaintances)
	for _, o := range others {
		// One with two words that match is found twice, and comes first under the first of them.
		if !slices.ContainsFunc(found, func(f store.FoundUser) bool { return f.UserID == o.UserID }) {
			found = append(found, o)
		}
	}
	return found, err
}

// stringField is a profile field that is a string, else "".
func stringField(value []byte) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}
