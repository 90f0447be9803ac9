package recording

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

// Routes are the endpoints.
func (s *Server) Routes() []httpapi.Route {
	const ofRoom = "/_roomline/client/v1/rooms/{roomId}/meeting/recording"
	table := []struct {
		path   string
		handle httpapi.Handler
		doc    httpapi.Doc
	}{
		{ofRoom + "/start", httpapi.OptionalJSON(s.start), httpapi.Doc{
			Summary: "Have the meeting recorded when those in it have answered whether they agree.", Who: "whom the organisation's policy lets", Request: startRequest{}, Response: startResponse{}}},
		{ofRoom + "/stop", httpapi.OptionalJSON(s.stop), httpapi.Doc{Summary: "End the recording.", Who: "who started it, and whom the policy lets"}},
		{ofRoom + "/consent", httpapi.JSON(s.postConsent), httpapi.Doc{
			Summary: "Say whether one agrees, yes or no. Who does not agree may listen and not send while the meeting is recorded.", Who: "who is in the room", Request: consentRequest{}}},
		{"/_roomline/record/v1/rooms/{roomId}/token", s.postToken, httpapi.Doc{
			Summary: "A token for the call of a room that is being recorded, to hear and see it.", Who: "the application service that records it", Response: tokenResponse{}}},
	}
	var routes []httpapi.Route
	for _, r := range table {
		routes = append(routes, httpapi.Route{
			Method: http.MethodPost, Path: r.path, Auth: httpapi.AccessToken, Limit: ratelimit.Room, MaxBody: limits.SmallBody, Handle: r.handle, Doc: &r.doc,
		})
	}
	return routes
}
