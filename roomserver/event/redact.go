package event

import "fmt"

// redaction is what a room version keeps of a redacted event.
type redaction struct {
	// top are the keys of the event that stay.
	top map[string]bool
	// content are the keys of content that stay, by event type. A type that is not here keeps none.
	content map[string][]string
	// allOfCreate: m.room.create keeps its whole content.
	allOfCreate bool
	// signedOfInvite: of third_party_invite in m.room.member the key signed stays.
	signedOfInvite bool
}

func keySet(keys ...string) map[string]bool {
	set := make(map[string]bool, len(keys))
	for _, k := range keys {
		set[k] = true
	}
	return set
}

var (
	topV1 = keySet("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth",
		"prev_events", "prev_state", "auth_events", "origin", "origin_server_ts", "membership")
	topV11 = keySet("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth",
		"prev_events", "auth_events", "origin_server_ts")
	powerLevelKeys = []string{"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
)

// Spec: room v1 §redactions
var redactionV1 = redaction{top: topV1, content: map[string][]string{
	typeMember:                  {"membership"},
	typeCreate:                  {"creator"},
	typeJoinRules:               {"join_rule"},
	typePowerLevels:             powerLevelKeys,
	typeAliases:                 {"aliases"},
	"m.room.history_visibility": {"history_visibility"},
}}

// Spec: room v6 §redactions
var redactionV6 = redaction{top: topV1, content: map[string][]string{
	typeMember:                  {"membership"},
	typeCreate:                  {"creator"},
	typeJoinRules:               {"join_rule"},
	typePowerLevels:             powerLevelKeys,
	"m.room.history_visibility": {"history_visibility"},
}}

// Spec: room v8 §redactions
var redactionV8 = redaction{top: topV1, content: map[string][]string{
	typeMember:                  {"membership"},
	typeCreate:                  {"creator"},
	typeJoinRules:               {"join_rule", "allow"},
	typePowerLevels:             powerLevelKeys,
	"m.room.history_visibility": {"history_visibility"},
}}

// Spec: room v9 §redactions
var redactionV9 = redaction{top: topV1, content: map[string][]string{
	typeMember:                  {"membership", "join_authorised_via_users_server"},
	typeCreate:                  {"creator"},
	typeJoinRules:               {"join_rule", "allow"},
	typePowerLevels:             powerLevelKeys,
	"m.room.history_visibility": {"history_visibility"},
}}

// Spec: room v11 §redactions
var redactionV11 = redaction{top: topV11, allOfCreate: true, signedOfInvite: true, content: map[string][]string{
	typeMember:                  {"membership", "join_authorised_via_users_server"},
	typeCreate:                  nil,
	typeJoinRules:               {"join_rule", "allow"},
	typePowerLevels:             append([]string{"invite"}, powerLevelKeys...),
	"m.room.history_visibility": {"history_visibility"},
	typeRedaction:               {"redacts"},
}}

// Redact gives the event without all that its room version does not need. The input is canonical JSON, and so is the result.
// Hashes and signatures stay and still hold; unsigned goes.
//
// Spec: client-server v1.19 §redactions and the section of the same name of the room version.
//
// Differs from gomatrixserverlib, which from room version 11 on drops third_party_invite.signed of m.room.member: the event ID and the
// signatures of such an event would then not be those that other servers compute.
func Redact(version Version, json []byte) ([]byte, error) {
	rules := version.redaction
	if rules == nil {
		return nil, fmt.Errorf("event: redact in unknown room version %q", version.ID)
	}
	rawType, ok := memberOf(json, "type")
	if !ok || len(rawType) < 2 || rawType[0] != '"' {
		return nil, fmt.Errorf("event: redact: no type: %w", errNotObject)
	}
	eventType := string(rawType[1 : len(rawType)-1])

	dst := append(make([]byte, 0, len(json)), '{')
	m := membersOf(json)
	for m.next() {
		if !rules.top[string(m.key)] {
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		if string(m.key) != "content" {
			dst = appendMember(dst, m.key, m.value)
			continue
		}
		dst = append(dst, `"content":`...)
		var err error
		if dst, err = rules.appendContent(dst, eventType, m.value); err != nil {
			return nil, fmt.Errorf("event: redact content: %w", err)
		}
	}
	if m.err != nil {
		return nil, fmt.Errorf("event: redact: %w", m.err)
	}
	return append(dst, '}'), nil
}

// appendContent appends what stays of content.
func (r *redaction) appendContent(dst []byte, eventType string, content []byte) ([]byte, error) {
	keep, known := r.content[eventType]
	if eventType == typeCreate && r.allOfCreate {
		return append(dst, content...), nil
	}
	if len(content) == 0 || content[0] != '{' {
		return nil, errNotObject
	}
	dst = append(dst, '{')
	if !known {
		return append(dst, '}'), nil
	}
	first := true
	m := membersOf(content)
	for m.next() {
		invite := r.signedOfInvite && eventType == typeMember && string(m.key) == "third_party_invite" && m.value[0] == '{'
		if !invite && !contains(keep, m.key) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if !invite {
			dst = appendMember(dst, m.key, m.value)
			continue
		}
		dst = append(dst, `"third_party_invite":{`...)
		if signed, ok := memberOf(m.value, "signed"); ok {
			dst = append(append(dst, `"signed":`...), signed...)
		}
		dst = append(dst, '}')
	}
	if m.err != nil {
		return nil, m.err
	}
	return append(dst, '}'), nil
}

func contains(keys []string, key []byte) bool {
	for _, k := range keys {
		if k == string(key) {
			return true
		}
	}
	return false
}
