package event

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
)

// AddSignature returns the event with the signature of one more of our domains: that of the user who vouches for a restricted
// join. The event itself, and so its ID, stays.
//
// Spec: room v8 §authorisation-rules, rule 4.2
func (b *Built) AddSignature(server matrix.ServerName, keyID string, key ed25519.PrivateKey) (*Built, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("event: signing key has the wrong length")
	}
	redacted, err := Redact(b.version, b.JSON)
	if err != nil {
		return nil, fmt.Errorf("event: sign %s again: %w", b.EventID, err)
	}
	signature := sign(key, without(redacted, "signatures"))

	all, _ := memberOf(b.JSON, "signatures")
	ours, ok := memberOf(all, string(server))
	if !ok {
		ours = []byte(`{}`)
	}
	ours, err = withMember(ours, keyID, appendString(nil, base64.RawStdEncoding.EncodeToString(signature)))
	if err == nil {
		all, err = withMember(all, string(server), ours)
	}
	again := *b
	again.pdu = nil
	if err == nil {
		again.JSON, err = withMember(b.JSON, "signatures", all)
	}
	if err != nil {
		return nil, fmt.Errorf("event: sign %s again: %w", b.EventID, err)
	}
	if len(again.JSON) > maxEventBytes {
		return nil, matrix.TooLarge("the event is %d bytes long, allowed are %d", len(again.JSON), maxEventBytes)
	}
	return &again, nil
}
