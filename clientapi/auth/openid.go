package auth

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// openIDPrefix begins an OpenID token. What is stored is the SHA-256 of the whole token.
const openIDPrefix = "rlo_"

// NewOpenIDToken makes a token with which a service can ask who the requester is, for limits.OpenIDToken. It opens nothing else, and
// ends with the session.
func (s *Sessions) NewOpenIDToken(ctx context.Context, r *httpapi.Requester) (string, error) {
	secret, err := randomBytes(s.cfg.Rand, accessBytes)
	if err != nil {
		return "", err
	}
	token := formatToken(openIDPrefix, secret)
	hash := sha256.Sum256([]byte(token))
	err = s.cfg.Store.InsertOpenIDToken(ctx, store.OpenIDToken{
		Hash: hash[:], UserID: r.User, SessionID: r.SessionID, ExpiresTS: matrix.TimestampOf(s.cfg.Clock.Now().Add(limits.OpenIDToken)),
	})
	if err != nil {
		return "", fmt.Errorf("store an OpenID token: %w", err)
	}
	return token, nil
}
