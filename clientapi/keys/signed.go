package keys

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
)

// signatures are those of one user: key ids, and what they say.
type signatures map[string]string

// signedObject is a signed JSON object, taken apart.
//
// Spec: appendices v1.19 §signing-json
type signedObject struct {
	// message is what is signed: canonical JSON, without "signatures" and "unsigned".
	message []byte
	members map[string]json.RawMessage
	by      map[matrix.UserID]signatures
}

// parseSigned reads an object of at most max bytes; name is what errors call it.
func parseSigned(name string, raw []byte, max int) (*signedObject, error) {
	if len(raw) > max {
		return nil, matrix.TooLarge("%s must have at most %d bytes", name, max)
	}
	canonical, err := strictjson.Canonical(raw)
	if e, ok := matrix.AsError(err); ok {
		return nil, matrix.BadJSON("%s: %s", name, e.Message)
	}
	if err != nil {
		return nil, err
	}
	o := &signedObject{}
	if err := json.Unmarshal(canonical, &o.members); err != nil {
		return nil, fmt.Errorf("read a signed object: %w", err)
	}
	if text, ok := o.members["signatures"]; ok && json.Unmarshal(text, &o.by) != nil {
		return nil, matrix.BadJSON("%s: signatures must be an object of users, with objects of key ids and strings", name)
	}
	delete(o.members, "signatures")
	delete(o.members, "unsigned")
	o.message, err = encode(o.members)
	return o, err
}

// encode makes canonical JSON.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode a signed object: %w", err)
	}
	return strictjson.Canonical(buf.Bytes())
}

// field reads a member; it reports false when the member is missing or of another kind.
func (o *signedObject) field(name string, v any) bool {
	text, ok := o.members[name]
	return ok && string(text) != "null" && json.Unmarshal(text, v) == nil
}

// with returns the object's JSON with these signatures instead of its own.
func (o *signedObject) with(by map[matrix.UserID]signatures) ([]byte, error) {
	all := make(map[string]any, len(o.members)+1)
	for name, value := range o.members {
		all[name] = value
	}
	all["signatures"] = by
	return encode(all)
}

// public returns the JSON that everybody may see: with the owner's signatures alone.
func (o *signedObject) public(owner matrix.UserID) ([]byte, error) {
	own := o.by[owner]
	if own == nil {
		own = signatures{}
	}
	return o.with(map[matrix.UserID]signatures{owner: own})
}

// add puts signatures of a user to those that there are.
func (o *signedObject) add(user matrix.UserID, more signatures) {
	if o.by == nil {
		o.by = make(map[matrix.UserID]signatures)
	}
	all := maps.Clone(o.by[user])
	if all == nil {
		all = make(signatures)
	}
	maps.Copy(all, more)
	o.by[user] = all
}

// keyPrefix begins the ids of keys that sign.
const keyPrefix = "ed25519:"

// publicKey is a key that signs.
type publicKey []byte

// parsePublicKey reads unpadded base64.
func parsePublicKey(text string) (publicKey, bool) {
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	return key, err == nil && len(key) == ed25519.PublicKeySize
}

// verifies reports whether the signature is the key's of the object.
func (k publicKey) verifies(o *signedObject, signature string) bool {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(signature, "="))
	return err == nil && len(raw) == ed25519.SignatureSize && ed25519.Verify(ed25519.PublicKey(k), o.message, raw)
}

func invalidSignature(format string, a ...any) *matrix.Error {
	return matrix.NewError(400, matrix.ErrInvalidSignature, format, a...)
}
