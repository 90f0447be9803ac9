package federation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type userInfo struct {
	Sub matrix.UserID `json:"sub"`
}

// exchangeOpenIDToken tells a service that was shown an OpenID token whose it is.
//
// Spec: server-server v1.19 §openid, GET /_matrix/federation/v1/openid/userinfo
func (s *server) exchangeOpenIDToken(ctx context.Context, c *httpapi.Call) (any, error) {
	token := c.Query("access_token")
	if token == "" {
		return nil, matrix.MissingToken()
	}
	unknown := matrix.NewError(401, matrix.ErrUnknownToken, "the token is unknown or has expired")
	if len(token) > limits.AccessToken {
		return nil, unknown
	}
	hash := sha256.Sum256([]byte(token))
	user, err := s.store.GetOpenIDUser(ctx, hash[:], matrix.TimestampOf(s.clock.Now()))
	if errors.Is(err, store.ErrNotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, fmt.Errorf("look up an OpenID token: %w", err)
	}
	return userInfo{Sub: user}, nil
}
