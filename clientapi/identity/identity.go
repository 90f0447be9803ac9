// Package identity is the identity service: what clients and rooms ask to find out who has an e-mail address or a phone number.
//
// Spec: identity v1.19
//
// It is the homeserver's own, for the people of this deployment and nobody else, and has no list of its own: an address is bound to an account
// when the account has it. So:
//   - Only who has an account here, and is no guest, gets a token (account.go).
//   - A lookup finds those whose addresses the asker may see: people of the own organisation, and of linked ones as far as they give e-mail
//     addresses and phone numbers. Of everybody else it is told the same as of nobody (lookup.go).
//   - Binding an address that the account does not have is refused. A token of this service comes from an OpenID token, which people give to
//     all kinds of services; an address opens the account. It is added with the password (POST /account/3pid/add, clientapi/threepids.go).
//   - An invitation that is stored here is the one that POST /rooms/{roomId}/invite makes, by the token's owner. Other homeservers cannot store
//     any: they find no account of theirs here.
//   - There is one key. It signs associations and third-party invites; none is made for a single invitation.
//
// Start reading at Routes.
package identity

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// KeyID is what the service calls its key.
const KeyID = "ed25519:0"

// Config of a Server. All is required.
type Config struct {
	Store    *store.Store
	Clock    matrix.Clock
	Verifier *verify.Verifier
	// Key signs, in the name of ServerName.
	Key        ed25519.PrivateKey
	ServerName matrix.ServerName
	// PepperKey makes the peppers of lookups.
	PepperKey []byte
	// BaseURL is where clients reach the server, for the addresses of keys.
	BaseURL string
	// MayChangeThreePIDs reports whether somebody may add and remove addresses.
	MayChangeThreePIDs func(ctx context.Context, org int64, user matrix.UserID) (bool, error)
	// Invite invites an address into a room as the requester.
	Invite func(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, medium, address string) (Invited, error)
	// Inviter returns who sent an invitation that is open; false if there is none with this token.
	Inviter func(ctx context.Context, token string) (matrix.UserID, bool, error)
}

// Invited is what an invitation is in its room.
type Invited struct {
	Token       string
	DisplayName string
	// User is set when the address turned out to be that of an account, which was invited itself.
	User matrix.UserID
}

// Server serves the endpoints. It is safe for concurrent use.
type Server struct {
	cfg       Config
	publicKey string
	index     index
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Verifier == nil || len(cfg.Key) != ed25519.PrivateKeySize || cfg.ServerName == "" ||
		len(cfg.PepperKey) == 0 || cfg.MayChangeThreePIDs == nil || cfg.Invite == nil || cfg.Inviter == nil {
		return nil, errors.New("identity: a field of Config is missing")
	}
	return &Server{cfg: cfg, publicKey: base64.RawStdEncoding.EncodeToString(cfg.Key.Public().(ed25519.PublicKey))}, nil
}

// Routes are the endpoints in the order of the specification.
func (s *Server) Routes() []httpapi.Route {
	const (
		get, post = http.MethodGet, http.MethodPost
		v2        = "/_matrix/identity/v2"
		nobody    = httpapi.NoAuth
		token     = httpapi.IdentityToken
	)
	table := []struct {
		method, path string
		auth         httpapi.AuthClass
		limit        string
		handle       httpapi.Handler
	}{
		{get, "/_matrix/identity/versions", nobody, "", s.getVersions},
		{get, v2, nobody, "", s.ping},

		// §authentication
		{get, v2 + "/account", token, ratelimit.Read, s.getAccount},
		{post, v2 + "/account/logout", token, ratelimit.Read, s.logout},
		{post, v2 + "/account/register", nobody, ratelimit.Login, httpapi.JSON(s.register)},

		// §terms-of-service
		{get, v2 + "/terms", nobody, ratelimit.Read, s.getTerms},
		{post, v2 + "/terms", token, ratelimit.Account, httpapi.JSON(s.agreeToTerms)},

		// §key-management
		{get, v2 + "/pubkey/ephemeral/isvalid", nobody, ratelimit.Read, s.isEphemeralPubKeyValid},
		{get, v2 + "/pubkey/isvalid", nobody, ratelimit.Read, s.isPubKeyValid},
		{get, v2 + "/pubkey/{keyId}", nobody, ratelimit.Read, s.getPubKey},

		// §association-lookup
		{get, v2 + "/hash_details", token, ratelimit.Read, s.getHashDetails},
		{post, v2 + "/lookup", token, ratelimit.Lookup, httpapi.JSON(s.lookup)},

		// §establishing-associations
		{post, v2 + "/validate/email/requestToken", token, ratelimit.CodeCheck, active(httpapi.JSON(s.emailRequestToken))},
		{post, v2 + "/validate/email/submitToken", token, ratelimit.CodeCheck, s.emailSubmitToken},
		{get, v2 + "/validate/email/submitToken", nobody, ratelimit.CodeCheck, s.showEmailSubmitToken},
		{post, v2 + "/validate/msisdn/requestToken", token, ratelimit.CodeCheck, active(httpapi.JSON(s.msisdnRequestToken))},
		{post, v2 + "/validate/msisdn/submitToken", token, ratelimit.CodeCheck, s.msisdnSubmitToken},
		{get, v2 + "/validate/msisdn/submitToken", nobody, ratelimit.CodeCheck, s.showMsisdnSubmitToken},
		{get, v2 + "/3pid/getValidated3pid", token, ratelimit.Read, s.getValidated3PID},
		{post, v2 + "/3pid/bind", token, ratelimit.Account, active(httpapi.JSON(s.bind))},
		{post, v2 + "/3pid/unbind", token, ratelimit.Account, active(httpapi.JSON(s.unbind))},

		// §invitation-storage, §ephemeral-invitation-signing
		{post, v2 + "/store-invite", token, ratelimit.Room, active(httpapi.JSON(s.storeInvite))},
		{post, v2 + "/sign-ed25519", token, ratelimit.Account, active(httpapi.JSON(s.blindlySignStuff))},
	}
	routes := make([]httpapi.Route, len(table))
	for i, line := range table {
		routes[i] = httpapi.Route{Method: line.method, Path: line.path, Auth: line.auth, Limit: line.limit, Handle: line.handle, MaxBody: limits.SmallBody}
		if line.limit == ratelimit.Lookup {
			routes[i].MaxBody = limits.DefaultBody
		}
	}
	return routes
}

// active refuses suspended users, who may look.
func active(handle httpapi.Handler) httpapi.Handler {
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		if c.Requester.Suspended {
			return nil, matrix.UserSuspended()
		}
		return handle(ctx, c)
	}
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

type versionsResponse struct {
	Versions []string `json:"versions"`
}

// versions are those of the specification whose identity API is the present one.
var versions = []string{"r0.3.0", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13", "v1.14",
	"v1.15", "v1.16", "v1.17", "v1.18", "v1.19"}

// getVersions says which versions of the specification the service speaks.
//
// Spec: identity v1.19 §api-version-check, GET /_matrix/identity/versions
func (s *Server) getVersions(context.Context, *httpapi.Call) (any, error) {
	return versionsResponse{versions}, nil
}

// ping says that the service is there.
//
// Spec: identity v1.19 §status-check, GET /_matrix/identity/v2
func (s *Server) ping(context.Context, *httpapi.Call) (any, error) { return nil, nil }

type publicKeyResponse struct {
	PublicKey string `json:"public_key"`
}

// getPubKey gives the key.
//
// Spec: identity v1.19 §key-management, GET /_matrix/identity/v2/pubkey/{keyId}
func (s *Server) getPubKey(_ context.Context, c *httpapi.Call) (any, error) {
	if c.Path("keyId") != KeyID {
		return nil, matrix.NotFound("there is no such key")
	}
	return publicKeyResponse{s.publicKey}, nil
}

type validResponse struct {
	Valid bool `json:"valid"`
}

// isPubKeyValid says whether a key is the service's, in either alphabet of base64.
//
// Spec: identity v1.19 §key-management, GET /_matrix/identity/v2/pubkey/isvalid
func (s *Server) isPubKeyValid(_ context.Context, c *httpapi.Call) (any, error) {
	given := c.Query("public_key")
	if given == "" {
		return nil, matrix.MissingParam("public_key is missing")
	}
	key, ok := decodeBase64(given)
	return validResponse{ok && string(key) == string(s.cfg.Key.Public().(ed25519.PublicKey))}, nil
}

// isEphemeralPubKeyValid says that a key is none of those which are made for single invitations: this service makes none.
//
// Spec: identity v1.19 §key-management, GET /_matrix/identity/v2/pubkey/ephemeral/isvalid
func (s *Server) isEphemeralPubKeyValid(_ context.Context, c *httpapi.Call) (any, error) {
	if c.Query("public_key") == "" {
		return nil, matrix.MissingParam("public_key is missing")
	}
	return validResponse{}, nil
}

// decodeBase64 reads unpadded base64 in the standard or the URL-safe alphabet, with its padding or without.
func decodeBase64(text string) ([]byte, bool) {
	for len(text) > 0 && text[len(text)-1] == '=' {
		text = text[:len(text)-1]
	}
	if b, err := base64.RawStdEncoding.DecodeString(text); err == nil {
		return b, true
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	return b, err == nil
}

// sign signs an object with a key, in the name of the service.
func (s *Server) sign(object any, key ed25519.PrivateKey) (json.RawMessage, error) {
	raw, err := json.Marshal(object)
	if err == nil {
		raw, err = strictjson.Canonical(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("encode what is to be signed: %w", err)
	}
	signed, err := gomatrixserverlib.SignJSON(string(s.cfg.ServerName), KeyID, key, raw)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signed, nil
}
