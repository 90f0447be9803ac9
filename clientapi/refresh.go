package clientapi

import (
	"context"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

type refreshRequest struct {
	RefreshToken *string `json:"refresh_token"`
}

type refreshResponse struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresInMS  int64  `json:"expires_in_ms"`
}

// refresh exchanges a refresh token for new tokens.
//
// Spec: client-server v1.19 §refreshing-access-tokens, POST /_matrix/client/v3/refresh
func (s *Server) refresh(ctx context.Context, c *httpapi.Call, req *refreshRequest) (any, error) {
	if req.RefreshToken == nil {
		return nil, matrix.MissingParam("refresh_token is missing")
	}
	tokens, err := s.sessions.Refresh(ctx, *req.RefreshToken)
	if err != nil {
		return nil, err
	}
	return refreshResponse{AccessToken: tokens.Access, RefreshToken: tokens.Refresh, ExpiresInMS: tokens.ExpiresIn.Milliseconds()}, nil
}
