package clientapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
)

// TURNConfig says where calls between two find a relay.
type TURNConfig struct {
	// URIs of the relays; none if empty.
	URIs []string
	// SharedSecret is that of the relays (coturn: static-auth-secret). Without it everybody gets Username and Password.
	SharedSecret       string
	Username, Password string
	// Lifetime is how long credentials are good.
	Lifetime time.Duration
}

type turnServer struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	URIs     []string `json:"uris"`
	TTL      int64    `json:"ttl"`
}

// getTURNServer gives the requester credentials for a relay. With the relay's shared secret they are the requester's own and
// end after a while: the user name says when, and the password is its HMAC.
//
// Differs: without a relay the answer is an empty object, which the spec does not provide for and clients take for what it is.
//
// Spec: client-server v1.19 §voice-over-ip, GET /_matrix/client/v3/voip/turnServer
func (s *Server) getTURNServer(_ context.Context, c *httpapi.Call) (any, error) {
	turn := &s.cfg.TURN
	if len(turn.URIs) == 0 {
		return empty{}, nil
	}
	answer := turnServer{Username: turn.Username, Password: turn.Password, URIs: turn.URIs, TTL: int64(turn.Lifetime.Seconds())}
	if turn.SharedSecret != "" {
		// Why SHA-1: relays that follow the draft "A REST API for access to TURN services" (2013) know nothing else.
		answer.Username = strconv.FormatInt(s.clock.Now().Add(turn.Lifetime).Unix(), 10) + ":" + string(c.Requester.User)
		mac := hmac.New(sha1.New, []byte(turn.SharedSecret))
		mac.Write([]byte(answer.Username))
		answer.Password = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return answer, nil
}
