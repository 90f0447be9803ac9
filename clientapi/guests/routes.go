package guests

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

const (
	get    = http.MethodGet
	put    = http.MethodPut
	post   = http.MethodPost
	remove = http.MethodDelete

	// forPage is what the page asks, which has no token yet. Secrets are in bodies only.
	forPage = "/_roomline/guest/v1"
	client  = "/_roomline/client/v1"
	admin   = "/_roomline/admin/v1"
)

// Routes are the endpoints.
func (s *Server) Routes() []httpapi.Route {
	routes := []httpapi.Route{
		{Method: post, Path: forPage + "/open", Limit: ratelimit.Guests, MaxBody: limits.SmallBody, Handle: httpapi.JSON(s.open)},
		{Method: post, Path: forPage + "/code", Limit: ratelimit.Guests, MaxBody: limits.SmallBody, Handle: httpapi.JSON(s.code)},
		{Method: post, Path: forPage + "/answer", Limit: ratelimit.Guests, MaxBody: limits.SmallBody, Handle: httpapi.JSON(s.answer)},
		{Method: post, Path: forPage + "/redeem", Limit: ratelimit.Guests, MaxBody: limits.SmallBody, Handle: httpapi.JSON(s.redeem)},

		{Method: get, Path: client + "/rooms/{roomId}/guests", Auth: httpapi.AccessToken, Limit: ratelimit.Read, Handle: s.listRoomGuests},
		{Method: put, Path: client + "/guests/{userId}", Auth: httpapi.AccessToken, Limit: ratelimit.Account, Handle: httpapi.JSON(s.extendGuest)},
		{Method: remove, Path: client + "/guests/{userId}", Auth: httpapi.AccessToken, Limit: ratelimit.Account, Handle: s.removeGuest},

		{Method: get, Path: admin + "/guests", Auth: httpapi.AccessToken, Limit: ratelimit.Read, Handle: httpapi.ForManagers(s.listGuests), Doc: &httpapi.Doc{
			Summary: "The guests of the own organisation, those of the past too, newest first.", Who: "owner, people, auditor", Response: guestsResponse{},
			Query: []httpapi.Parameter{
				{Name: "from", Type: "string", Summary: "next_batch of an earlier answer"}, {Name: "limit", Type: "integer", Summary: "at most 1000"}}}},
		{Method: remove, Path: admin + "/guests/{userId}", Auth: httpapi.AccessToken, Limit: ratelimit.Account, Handle: httpapi.ForManagers(s.removeGuestAsAdmin),
			Doc: &httpapi.Doc{Summary: "End a guest: the sessions at once, and the memberships.", Who: "owner, people"}},
	}
	return append(routes, s.pageRoutes()...)
}
