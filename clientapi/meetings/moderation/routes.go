package moderation

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

// ofRoom is the meeting of a room.
const ofRoom = "/_roomline/client/v1/rooms/{roomId}/meeting"

// Routes are the endpoints.
func (s *Server) Routes() []httpapi.Route {
	const forModerators = "who has power level 50 in the room"
	table := []struct {
		action string
		handle httpapi.Handler
		doc    httpapi.Doc
	}{
		{"lobby", httpapi.JSON(s.postLobby), httpapi.Doc{
			Summary: "Say who has to wait to be let in: nobody, guests, or everybody. Where nobody has to any more all are let in.", Request: lobbyRequest{}}},
		{"admit", httpapi.JSON(s.postAdmit), httpapi.Doc{Summary: "Let in somebody who waits, or all.", Request: admitRequest{}}},
		{"deny", httpapi.JSON(s.postDeny), httpapi.Doc{Summary: "Send away somebody who waits. They need an invite to come again.", Request: denyRequest{}}},
	}
	var routes []httpapi.Route
	for _, r := range table {
		r.doc.Who = forModerators
		routes = append(routes, httpapi.Route{
			Method: http.MethodPost, Path: ofRoom + "/" + r.action, Auth: httpapi.AccessToken, Limit: ratelimit.Room, MaxBody: limits.SmallBody,
			Handle: r.handle, Doc: &r.doc,
		})
	}
	return routes
}
