package federation

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// keysValidFor is how long others may keep our keys. Notaries come back after half of it.
const keysValidFor = 24 * time.Hour

type serverKeys struct {
	ServerName    matrix.ServerName       `json:"server_name"`
	VerifyKeys    map[string]verifyKey    `json:"verify_keys"`
	OldVerifyKeys map[string]oldVerifyKey `json:"old_verify_keys"`
	ValidUntilTS  matrix.Timestamp        `json:"valid_until_ts"`
}

type verifyKey struct {
	Key string `json:"key"`
}

type oldVerifyKey struct {
	Key       string           `json:"key"`
	ExpiredTS matrix.Timestamp `json:"expired_ts"`
}

// serverKeys publishes the keys of the domain that was asked, signed with its current key.
//
// Spec: server-server v1.19 §publishing-keys, GET /_matrix/key/v2/server
func (s *server) serverKeys(_ context.Context, c *httpapi.Call) (any, error) {
	domain := s.domainOf(c.Request.Host)
	body := serverKeys{
		ServerName:    domain,
		VerifyKeys:    map[string]verifyKey{},
		OldVerifyKeys: map[string]oldVerifyKey{},
		ValidUntilTS:  matrix.TimestampOf(s.clock.Now().Add(keysValidFor)),
	}
	for _, key := range s.keys.VerifyKeys(domain) {
		encoded := base64.RawStdEncoding.EncodeToString(key.Key)
		if key.ExpiredTS == 0 {
			body.VerifyKeys[key.KeyID] = verifyKey{encoded}
		} else {
			body.OldVerifyKeys[key.KeyID] = oldVerifyKey{encoded, key.ExpiredTS}
		}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the keys of %s: %w", domain, err)
	}
	signed, err := s.keys.SignJSON(domain, raw)
	if err != nil {
		return nil, fmt.Errorf("sign the keys of %s: %w", domain, err)
	}
	return httpapi.Raw(signed), nil
}

// domainOf is the hosted domain that a Host header names, with or without its port, else the server's own name: a request that was
// delegated by /.well-known carries the name of the machine.
//
// Spec: server-server v1.19 §resolving-server-names
func (s *server) domainOf(host string) matrix.ServerName {
	name := matrix.ServerName(strings.ToLower(host))
	if s.keys.IsLocal(name) {
		return name
	}
	if bare, _, err := net.SplitHostPort(string(name)); err == nil {
		if strings.Contains(bare, ":") {
			bare = "[" + bare + "]"
		}
		if s.keys.IsLocal(matrix.ServerName(bare)) {
			return matrix.ServerName(bare)
		}
	}
	return s.keys.Domains()[0]
}
