package clientapi

import (
	"context"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

type openIDResponse struct {
	AccessToken      string            `json:"access_token"`
	TokenType        string            `json:"token_type"`
	MatrixServerName matrix.ServerName `json:"matrix_server_name"`
	ExpiresIn        int64             `json:"expires_in"`
}

// requestOpenIDToken gives the requester a token to prove to a service who they are. The service asks this server
// (GET /_matrix/federation/v1/openid/userinfo).
//
// Spec: client-server v1.19 §openid, POST /_matrix/client/v3/user/{userId}/openid/request_token
func (s *Server) requestOpenIDToken(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	if user != c.Requester.User {
		return nil, matrix.Forbidden("a token for another user can't be requested")
	}
	token, err := s.sessions.NewOpenIDToken(ctx, c.Requester)
	if err != nil {
		return nil, err
	}
	return openIDResponse{
		AccessToken: token, TokenType: "Bearer", MatrixServerName: user.Domain(), ExpiresIn: int64(limits.OpenIDToken.Seconds()),
	}, nil
}
