package meetings

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

const (
	get  = http.MethodGet
	post = http.MethodPost

	client = "/_matrix/client/v1/rtc"
	// Service is where clients of the older kind ask for tokens, below the public URL: they have no access token to give, and prove who they
	// are by an OpenID token.
	Service = "/_roomline/rtc"
)

// Routes are the endpoints.
func (s *Server) Routes() []httpapi.Route {
	var routes []httpapi.Route
	for _, path := range []string{client, "/_matrix/client/unstable/org.matrix.msc4143/rtc"} {
		routes = append(routes, httpapi.Route{Method: get, Path: path + "/transports", Auth: httpapi.AccessToken, Limit: ratelimit.Read, Handle: s.getTransports})
	}
	for _, path := range []string{client, "/_matrix/client/unstable/io.element.msc4195/rtc"} {
		routes = append(routes, httpapi.Route{
			Method: post, Path: path + "/livekit/get_token", Auth: httpapi.AccessToken, Limit: ratelimit.Call, MaxBody: limits.CallBody,
			Handle: httpapi.JSON(s.getToken),
		}, httpapi.Route{
			Method: post, Path: path + "/livekit/delegate_delayed_leave", Auth: httpapi.AccessToken, Limit: ratelimit.Call, MaxBody: limits.CallBody,
			Handle: httpapi.JSON(s.delegateDelayedLeave),
		})
	}
	return append(routes,
		httpapi.Route{Method: post, Path: Service + "/sfu/get", Limit: ratelimit.CallOpenID, MaxBody: limits.CallBody, Handle: httpapi.JSON(s.getByOpenID)},
		httpapi.Route{Method: post, Path: Service + "/get_token", Limit: ratelimit.CallOpenID, MaxBody: limits.CallBody, Handle: httpapi.JSON(s.getTokenByOpenID)},
		httpapi.Route{Method: post, Path: webhookPath, AnyBody: true, MaxBody: limits.SFUWebhook, Handle: s.hear},
	)
}
