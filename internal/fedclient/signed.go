package fedclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
)

// Signature is what the Authorization header of a signed request says.
type Signature struct {
	Origin, Destination matrix.ServerName
	KeyID, Sig          string
}

var parameter = regexp.MustCompile(`\s*([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]*))\s*(?:,|$)`)

// ParseAuthorization reads the Authorization header of a signed request.
//
// Spec: server-server v1.19 §request-authentication
func ParseAuthorization(header string) (Signature, bool) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "X-Matrix") || len(rest) > limits.RequestSignature {
		return Signature{}, false
	}
	values := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(rest, -1) {
		values[strings.ToLower(m[1])] = m[2] + m[3]
	}
	origin, err := matrix.ParseServerName(values["origin"])
	if err != nil {
		return Signature{}, false
	}
	s := Signature{Origin: origin, Destination: matrix.ServerName(values["destination"]), KeyID: values["key"], Sig: values["sig"]}
	return s, s.KeyID != "" && s.Sig != ""
}

// signable is what is signed of a request, in canonical form.
func signable(method, uri string, origin, destination matrix.ServerName, content []byte) ([]byte, error) {
	object := map[string]any{"method": method, "uri": uri, "origin": origin, "destination": destination}
	if len(content) > 0 {
		object["content"] = json.RawMessage(content)
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return strictjson.CanonicalLax(raw)
}

// Signed sends a request to a server in the name of one of our domains.
func (c *Client) Signed(ctx context.Context, origin, server matrix.ServerName, method, uri string, content []byte) (Answer, error) {
	text, err := signable(method, uri, origin, server, content)
	if err != nil {
		return Answer{}, err
	}
	signed, err := c.cfg.Sign(origin, text)
	if err != nil {
		return Answer{}, err
	}
	header := ""
	gjson.GetBytes(signed, "signatures."+gjson.Escape(string(origin))).ForEach(func(key, sig gjson.Result) bool {
		header = fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="%s",sig="%s"`, origin, server, key.String(), sig.String())
		return false
	})
	return c.Do(ctx, server, method, uri, header, content)
}

// errSignature says nothing of what is wrong.
var errSignature = errors.New("fedclient: the request is not signed by the server that it names")

// Verify checks that the origin of a request to one of our domains has signed it.
func (c *Client) Verify(ctx context.Context, s Signature, method, uri string, content []byte) error {
	text, err := signable(method, uri, s.Origin, s.Destination, content)
	if err != nil {
		return err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	if object["signatures"], err = json.Marshal(map[string]any{string(s.Origin): map[string]string{s.KeyID: s.Sig}}); err != nil {
		return err
	}
	signed, err := json.Marshal(object)
	if err != nil {
		return err
	}
	key, err := c.keys.of(ctx, c, s.Origin, s.KeyID)
	if err != nil {
		return err
	}
	if gomatrixserverlib.VerifyJSON(string(s.Origin), gomatrixserverlib.KeyID(s.KeyID), []byte(key), signed) != nil {
		return errSignature
	}
	return nil
}

// keys are the signing keys of other servers, as they have published them.
type keys struct {
	mu      sync.Mutex
	servers map[matrix.ServerName]published
}

type published struct {
	keys  map[gomatrixserverlib.KeyID]spec.Base64Bytes
	until time.Time
	// asked is when the server was last asked: one that signs with a key that it does not publish is not asked for each request.
	asked time.Time
}

// of is a key that a server publishes.
func (k *keys) of(ctx context.Context, c *Client, server matrix.ServerName, id string) (spec.Base64Bytes, error) {
	now := c.cfg.Clock.Now()
	k.mu.Lock()
	known := k.servers[server]
	k.mu.Unlock()
	key, ok := known.keys[gomatrixserverlib.KeyID(id)]
	if ok && now.Before(known.until) {
		return key, nil
	}
	if now.Sub(known.asked) < limits.ServerKeysAgain {
		return nil, errSignature
	}
	fresh, err := c.fetchKeys(ctx, server, now)
	if err != nil {
		fresh = published{}
	}
	fresh.asked = now
	k.mu.Lock()
	if k.servers == nil || len(k.servers) >= limits.ServerKeysKept {
		k.servers = map[matrix.ServerName]published{}
	}
	k.servers[server] = fresh
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if key, ok := fresh.keys[gomatrixserverlib.KeyID(id)]; ok {
		return key, nil
	}
	return nil, errSignature
}

// fetchKeys asks a server for its keys.
//
// Spec: server-server v1.19 §retrieving-server-keys
func (c *Client) fetchKeys(ctx context.Context, server matrix.ServerName, now time.Time) (published, error) {
	answer, err := c.Do(ctx, server, http.MethodGet, "/_matrix/key/v2/server", "", nil)
	if err != nil {
		return published{}, err
	}
	var document gomatrixserverlib.ServerKeys
	if answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &document) != nil {
		return published{}, fmt.Errorf("fedclient: %s publishes no keys", server)
	}
	checks, list := gomatrixserverlib.CheckKeys(spec.ServerName(server), now, document)
	if !checks.AllChecksOK {
		return published{}, fmt.Errorf("fedclient: the keys of %s are not as they have to be", server)
	}
	until := document.ValidUntilTS.Time()
	if most := now.Add(limits.ServerKeysKnown); until.After(most) {
		until = most
	}
	return published{keys: list, until: until}, nil
}
