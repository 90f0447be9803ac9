package clientapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

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
	return taken.UserID, nil
}
