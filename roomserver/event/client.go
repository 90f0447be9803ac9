package event

import (
	"strconv"

	"github.com/roomline/roomline/internal/matrix"
)

// ClientEvent is a stored event on its way to a client.
type ClientEvent struct {
	EventID matrix.EventID
	// RoomID is left out of the result when it is "": /sync does not repeat it.
	RoomID         matrix.RoomID
	Type           string
	Sender         matrix.UserID
	StateKey       *string
	OriginServerTS matrix.Timestamp
	// Sticky is what the event says of its being sticky, nil for an event that is not.
	Sticky []byte
	// PDU is the event as stored.
	PDU []byte
}

// AppendClient appends the event in the format of the client-server API. unsigned is a JSON object, or nil.
//
// A redaction gets redacts in both places, at the top and in content, whichever the room version uses.
//
// Spec: client-server v1.19 §room-event-format; room v11 §moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
func AppendClient(dst []byte, e ClientEvent, unsigned []byte) []byte {
	content, ok := memberOf(e.PDU, "content")
	if !ok || content[0] != '{' {
		content = []byte("{}")
	}
	redacts := ""
	if e.Type == typeRedaction && e.StateKey == nil {
		content, redacts = redactsForClients(e.PDU, content)
	}
	dst = append(append(dst, `{"content":`...), content...)
	dst = append(dst, `,"event_id":`...)
	dst = appendString(dst, string(e.EventID))
	if e.Sticky != nil {
		dst = append(append(dst, `,"msc4354_sticky":`...), e.Sticky...)
	}
	dst = append(dst, `,"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, int64(e.OriginServerTS), 10)
	if redacts != "" {
		dst = append(dst, `,"redacts":`...)
		dst = appendString(dst, redacts)
	}
	if e.RoomID != "" {
		dst = append(dst, `,"room_id":`...)
		dst = appendString(dst, string(e.RoomID))
	}
	dst = append(dst, `,"sender":`...)
	dst = appendString(dst, string(e.Sender))
	if e.StateKey != nil {
		dst = append(dst, `,"state_key":`...)
		dst = appendString(dst, *e.StateKey)
	}
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, e.Type)
	if len(unsigned) > 0 {
		dst = append(append(dst, `,"unsigned":`...), unsigned...)
	}
	return append(dst, '}')
}

// redactsForClients copies redacts from the place where the event has it to the other one. What is in both places already is
// left as it is.
func redactsForClients(pdu, content []byte) (newContent []byte, top string) {
	top = stringMember(pdu, "redacts")
	_, inContent := memberOf(content, "redacts")
	switch {
	case top == "":
		return content, stringMember(content, "redacts")
	case inContent:
		return content, top
	}
	both, err := withMember(content, "redacts", appendString(nil, top))
	if err != nil {
		return content, top
	}
	return both, top
}

// Content gives the content of a stored event without parsing the rest of it, "{}" when there is none. It shares memory with pdu.
func Content(pdu []byte) []byte {
	content, ok := memberOf(pdu, "content")
	if !ok || content[0] != '{' {
		return []byte("{}")
	}
	return content
}

// Redacts is the event that a redaction names.
func Redacts(version Version, pdu []byte) matrix.EventID {
	if version.RedactsInContent {
		return matrix.EventID(stringMember(Content(pdu), "redacts"))
	}
	return matrix.EventID(stringMember(pdu, "redacts"))
}

// StrippedKeys are the events of a room's state that an invited or knocking user is shown.
//
// Spec: client-server v1.19 §stripped-state
var StrippedKeys = []StateKey{
	{typeCreate, ""}, {"m.room.name", ""}, {"m.room.avatar", ""}, {"m.room.topic", ""}, {typeJoinRules, ""},
	{"m.room.canonical_alias", ""}, {"m.room.encryption", ""},
}

// AppendStripped appends a state event with nothing but content, sender, state_key and type.
//
// Spec: client-server v1.19 §stripped-state
func AppendStripped(dst []byte, e ClientEvent) []byte {
	dst = append(append(dst, `{"content":`...), Content(e.PDU)...)
	dst = append(dst, `,"sender":`...)
	dst = appendString(dst, string(e.Sender))
	dst = append(dst, `,"state_key":`...)
	if e.StateKey != nil {
		dst = appendString(dst, *e.StateKey)
	} else {
		dst = append(dst, '"', '"')
	}
	dst = append(dst, `,"type":`...)
	return append(appendString(dst, e.Type), '}')
}

// StrippedState gives the events in stripped form as a JSON array.
func StrippedState(events []ClientEvent) []byte {
	dst := []byte{'['}
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendStripped(dst, e)
	}
	return append(dst, ']')
}
