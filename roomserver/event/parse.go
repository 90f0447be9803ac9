package event

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/roomline/roomline/internal/matrix"
)

// Parse reads an event that was checked before it was stored. Neither hash nor signatures are looked at again.
func Parse(version Version, id matrix.EventID, json []byte) (gomatrixserverlib.PDU, error) {
	if version.Library == nil {
		return nil, fmt.Errorf("event: parse %s: unknown room version %q", id, version.ID)
	}
	exact, changed := exactKeys(json)
	pdu, err := version.Library.NewEventFromTrustedJSONWithEventID(string(id), exact, false)
	if err != nil {
		return nil, fmt.Errorf("event: parse %s: %w", id, err)
	}
	if changed {
		return &exactPDU{PDU: pdu, json: json}, nil
	}
	return pdu, nil
}

// ReferenceID is the ID that the bytes of an event give in room versions from 3 on.
//
// Spec: server-server v1.19 §calculating-the-reference-hash-for-an-event
func ReferenceID(version Version, json []byte) (matrix.EventID, error) {
	redacted, err := Redact(version, json)
	if err != nil {
		return "", err
	}
	return version.eventID(sha256.Sum256(without(redacted, "signatures"))), nil
}

// exactPDU is an event from which the library was shown only the keys that it may read; JSON gives the bytes as they are stored.
type exactPDU struct {
	gomatrixserverlib.PDU
	json []byte
}

func (e *exactPDU) JSON() []byte { return e.json }

func (e *exactPDU) Redact() {
	e.PDU.Redact()
	e.json = e.PDU.JSON()
}

// lookalikes are the keys that the library reads from events and from the content of state that the authorisation rules look at.
var lookalikes = keySet("auth_events", "content", "depth", "event_id", "hashes", "origin_server_ts", "prev_events", "redacts",
	"room_id", "sender", "signatures", "state_key", "type", "unsigned", "sticky", "msc4354_sticky", "prev_state_events",
	"membership", "displayname", "avatar_url", "reason", "is_direct", "third_party_invite", "join_authorised_via_users_server",
	"mxid_mapping", "creator", "m.federate", "room_version", "predecessor", "additional_creators", "join_rule", "allow",
	"history_visibility", "public_key", "public_keys", "key_validity_url", "display_name", "ban", "events", "events_default", "invite",
	"kick", "notifications", "redact", "state_default", "users", "users_default", "signed", "mxid", "token")

// exactKeys takes out keys of the event and of its content that differ from a key of the spec only in case.
//
// Why: the library decodes with encoding/json, for which "Users" is "users". Every other server, and the rest of this one, holds
// the two apart; an event must not mean one thing to the rules and another to those who read the room.
func exactKeys(json []byte) (exact []byte, changed bool) {
	content, _ := memberOf(json, "content")
	inEvent := hasLookalike(json)
	if !inEvent && !hasLookalike(content) {
		return json, false
	}
	dst := append(make([]byte, 0, len(json)), '{')
	m := membersOf(json)
	for m.next() {
		if isLookalike(m.key) {
			continue
		}
		value := m.value
		if string(m.key) == "content" && value[0] == '{' {
			value = withoutLookalikes(value)
		}
		dst = append(appendMember(dst, m.key, value), ',')
	}
	return closeObject(dst), true
}

func withoutLookalikes(object []byte) []byte {
	dst := append(make([]byte, 0, len(object)), '{')
	m := membersOf(object)
	for m.next() {
		if !isLookalike(m.key) {
			dst = append(appendMember(dst, m.key, m.value), ',')
		}
	}
	return closeObject(dst)
}

func hasLookalike(object []byte) bool {
	m := membersOf(object)
	for m.next() {
		if isLookalike(m.key) {
			return true
		}
	}
	return false
}

// isLookalike says whether encoding/json could take the key for another one. It folds more than ASCII: "ſ" is "s",
// and the Kelvin sign is "k".
func isLookalike(key []byte) bool {
	plain := true
	for _, c := range key {
		if c >= 'A' && c <= 'Z' || c >= 0x80 || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return false
	}
	folded := strings.ReplaceAll(strings.ToLower(string(key)), "ſ", "s")
	return lookalikes[folded] && !lookalikes[string(key)]
}
