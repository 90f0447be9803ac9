package clientapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type loginTokenRequest struct {
	Auth json.RawMessage `json:"auth"`
}

type loginTokenResponse struct {
	LoginToken  string `json:"login_token"`
	ExpiresInMS int64  `json:"expires_in_ms"`
}

// generateLoginToken gives the requester a token that signs another device in, once. The password is asked for every time.
//
// Spec: client-server v1.19 §legacy-login, POST /_matrix/client/v1/login/get_token
func (s *Server) generateLoginToken(ctx context.Context, c *httpapi.Call, req *loginTokenRequest) (any, error) {
	if c.Requester.SessionID == 0 {
		return nil, matrix.Forbidden("an application service can't sign its users in this way")
	}
	proof, answer, err := s.confirm(ctx, c, "POST /login/get_token", req.Auth)
	if proof == nil {
		return answer, err
	}
	token, err := s.newLoginToken(ctx, c.Requester.User, c.Requester.SessionID, limits.LoginToken)
	if err != nil {
		return nil, err
	}
	return loginTokenResponse{LoginToken: token, ExpiresInMS: limits.LoginToken.Milliseconds()},
		s.store.AppendAudit(ctx, s.entry(c, "login_token.create", string(c.Requester.User)))
}

// loginTokenBytes is the size of a login token before it is written in base64: too many to guess.
const loginTokenBytes = 32

// newLoginToken makes a token that signs a device of the user in, once, within the given time.
//
// Spec: client-server v1.19 §legacy-login
func (s *Server) newLoginToken(ctx context.Context, user matrix.UserID, session int64, lifetime time.Duration) (string, error) {
	var secret [loginTokenBytes]byte
	rand.Read(secret[:])
	token := base64.RawURLEncoding.EncodeToString(secret[:])
	hash := sha256.Sum256([]byte(token))
	err := s.store.PutLoginToken(ctx, store.LoginToken{Hash: hash[:], UserID: user, SessionID: session,
		ExpiresTS: matrix.TimestampOf(s.clock.Now().Add(lifetime))})
	if err != nil {
		return "", fmt.Errorf("store a login token: %w", err)
	}
	return token, nil
}

// takeLoginToken uses a login token up and returns whose it was. Unknown, used and expired ones get the same answer.
func (s *Server) takeLoginToken(ctx context.Context, token string) (matrix.UserID, error) {
	if token == "" {
		return "", matrix.MissingParam("token is missing")
	}
	hash := sha256.Sum256([]byte(token))
	taken, err := s.store.TakeLoginToken(ctx, hash[:], s.now())
	if errors.Is(err, store.ErrNotFound) {
		return "", matrix.Forbidden("the login token is not valid")
	}
	if err != nil {
		return "", fmt.Errorf("use a login token: %w", err)
	}
	user, err := s.store.GetUser(ctx, taken.UserID)
	switch {
	case err != nil:
		return "", fmt.Errorf("look up %s: %w", taken.UserID, err)
	case user.Deactivated():
		return "", matrix.Forbidden("the login token is not valid")
	case user.Locked:
		return "", matrix.NewError(http.StatusUnauthorized, matrix.ErrUserLocked, "this account has been locked").With("soft_logout", true)
	}
	return user.UserID, nil
}
