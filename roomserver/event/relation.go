package event

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
)

// The relation types that the server does something about.
const (
	RelReplace    = "m.replace"
	RelThread     = "m.thread"
	RelReference  = "m.reference"
	RelAnnotation = "m.annotation"
)

// Relation is what an event says of another one in content.m.relates_to.
type Relation struct {
	Type      string
	RelatesTo matrix.EventID
	// Key is that of an annotation, else empty.
	Key string
}

// relatesTo is the key as canonical JSON has it.
var relatesTo = []byte(`"m.relates_to":`)

// RelationOf reads the relation that an event's content names. ok is false when there is none, or one that doesn't follow the
// schema: such relations are ignored. So is an edit that can never be valid: one by a state event, or one in clear text
// without m.new_content. A rich reply has no rel_type and is no relation here.
//
// Spec: client-server v1.19 §forming-relationships-between-events, §validity-of-replacement-events
func RelationOf(eventType string, stateKey *string, content []byte) (r Relation, ok bool) {
	if !bytes.Contains(content, relatesTo) {
		return r, false
	}
	related, ok := memberOf(content, "m.relates_to")
	if !ok {
		return r, false
	}
	for m := membersOf(related); m.next(); {
		switch string(m.key) {
		case "rel_type":
			r.Type = identifier(m.value)
		case "event_id":
			r.RelatesTo = matrix.EventID(identifier(m.value))
		case "key":
			r.Key = identifier(m.value)
		}
	}
	if r.Type == "" || len(r.RelatesTo) < 2 || r.RelatesTo[0] != '$' {
		return Relation{}, false
	}
	if r.Type != RelAnnotation {
		r.Key = ""
	}
	if r.Type == RelReplace {
		if stateKey != nil {
			return Relation{}, false
		}
		if changed, _ := memberOf(content, "m.new_content"); eventType != "m.room.encrypted" && (len(changed) == 0 || changed[0] != '{') {
			return Relation{}, false
		}
	}
	return r, true
}

// identifier is the string that a JSON value is, "" when it is none, is longer than the identifiers of the spec may be, or can't be stored.
func identifier(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	s := gjson.ParseBytes(value).String()
	if len(s) > maxFieldBytes || strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return ""
	}
	return s
}
