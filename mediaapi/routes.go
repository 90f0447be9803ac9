package mediaapi

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/ratelimit"
)

const (
	get    = http.MethodGet
	put    = http.MethodPut
	post   = http.MethodPost
	remove = http.MethodDelete

	nobody = httpapi.NoAuth
	token  = httpapi.AccessToken

	authed = "/_matrix/client/v1/media"
	// legacy are the paths from before media needed an access token.
	legacy   = "/_matrix/media/v3"
	msc3911  = "/_matrix/client/unstable/org.matrix.msc3911/media"
	roomline = "/_matrix/client/unstable/org.roomline.media"
)

// Routes is every endpoint, in the order of the spec: method, path, who may ask, rate limit, handler.
func (s *Server) Routes() []httpapi.Route {
	table := []struct {
		method, path string
		auth         httpapi.AuthClass
		limit        string
		handle       httpapi.Handler
	}{
		// §content-repository
		{get, authed + "/download/{serverName}/{mediaId}", token, ratelimit.Media, s.download},
		{get, authed + "/download/{serverName}/{mediaId}/{fileName}", token, ratelimit.Media, s.downloadAs},
		{get, authed + "/thumbnail/{serverName}/{mediaId}", token, ratelimit.Media, s.getThumbnail},
		{get, authed + "/preview_url", token, ratelimit.Preview, s.previewURL},
		{get, authed + "/config", token, ratelimit.Read, s.getConfig},
		{post, "/_matrix/media/v1/create", token, ratelimit.Upload, s.create},
		{get, legacy + "/download/{serverName}/{mediaId}", nobody, ratelimit.Media, s.downloadLegacy},
		{get, legacy + "/download/{serverName}/{mediaId}/{fileName}", nobody, ratelimit.Media, s.downloadLegacyAs},
		{get, legacy + "/thumbnail/{serverName}/{mediaId}", nobody, ratelimit.Media, s.getThumbnailLegacy},
		{get, legacy + "/preview_url", token, ratelimit.Preview, s.previewURLLegacy},
		{get, legacy + "/config", token, ratelimit.Read, s.getConfigLegacy},

		// MSC3911, linking media to events
		{post, msc3911 + "/copy/{serverName}/{mediaId}", token, ratelimit.Upload, s.copyMedia},
		{post, authed + "/copy/{serverName}/{mediaId}", token, ratelimit.Upload, s.copyMedia},

		// Ours: deleting what one uploaded
		{remove, roomline + "/{serverName}/{mediaId}", token, ratelimit.Media, s.deleteMedia},
	}
	var routes []httpapi.Route
	for _, r := range table {
		routes = append(routes, httpapi.Route{Method: r.method, Path: r.path, Auth: r.auth, Limit: r.limit, Handle: r.handle})
	}
	for _, r := range []struct {
		method, path string
		handle       httpapi.Handler
	}{
		{post, legacy + "/upload", s.upload},
		{put, legacy + "/upload/{serverName}/{mediaId}", s.uploadTo},
		{post, msc3911 + "/upload", s.uploadRestricted},
		{post, authed + "/upload", s.uploadRestricted},
	} {
		routes = append(routes, httpapi.Route{
			Method: r.method, Path: r.path, Auth: token, Limit: ratelimit.Upload, Handle: r.handle, Stream: true, MaxBody: largestUpload,
		})
	}
	return append(routes, s.adminRoutes()...)
}
