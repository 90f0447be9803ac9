package meetings

import (
	"context"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// openIDUserOfOther asks another server whose an OpenID token is.
func (s *Server) openIDUserOfOther(ctx context.Context, server matrix.ServerName, token string, room matrix.RoomID) (matrix.UserID, error) {
	return "", badOpenID()
}

// tokenOfOther asks another server for a token for its SFU.
func (s *Server) tokenOfOther(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, req *tokenRequest) (any, error) {
	return nil, unauthorised(notThere())
}
