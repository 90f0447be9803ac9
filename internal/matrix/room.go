package matrix

import "strings"

// hashLength is the length of a SHA-256 hash in unpadded base64: all that follows the sigil of an id without a domain.
const hashLength = 43

// RoomID is "!opaque:domain", or in room version 12 and later "!" and the hash of the create event.
type RoomID string

// ParseRoomID accepts both forms.
//
// Spec: appendices v1.19 §room-ids
func ParseRoomID(s string) (RoomID, error) {
	if err := checkIdentifier(s, '!', "room id"); err != nil {
		return "", err
	}
	if strings.IndexByte(s, ':') < 0 {
		if !isHash(s[1:], "-_") {
			return "", InvalidParam("room id must have a domain, or be the hash of a create event")
		}
		return RoomID(s), nil
	}
	if err := checkDomain(s, "room id"); err != nil {
		return "", err
	}
	return RoomID(s), nil
}

// Domain is the server that made the room id, "" for rooms of version 12 and later. It says nothing about where the
// room can be found today.
func (r RoomID) Domain() ServerName { return domain(string(r)) }

// String returns the id as it stands on the wire.
func (r RoomID) String() string { return string(r) }

// EventID is "$opaque:domain" in room versions 1 and 2, afterwards "$" and the hash of the event.
type EventID string

// ParseEventID accepts the forms of all room versions: with a domain (1, 2), standard base64 (3), url-safe base64 (4 and
// later).
//
// Spec: appendices v1.19 §event-ids; room v3 §event-ids; room v4 §event-ids
func ParseEventID(s string) (EventID, error) {
	if err := checkIdentifier(s, '$', "event id"); err != nil {
		return "", err
	}
	if strings.IndexByte(s, ':') < 0 {
		if !isHash(s[1:], "-_") && !isHash(s[1:], "+/") {
			return "", InvalidParam("event id must have a domain, or be the hash of an event")
		}
		return EventID(s), nil
	}
	if err := checkDomain(s, "event id"); err != nil {
		return "", err
	}
	return EventID(s), nil
}

// String returns the id as it stands on the wire.
func (e EventID) String() string { return string(e) }

// RoomAlias is "#localpart:domain".
type RoomAlias string

// ParseRoomAlias checks an alias.
//
// Differs: control characters in the localpart are refused, as in ParseUserID.
//
// Spec: appendices v1.19 §room-aliases
func ParseRoomAlias(s string) (RoomAlias, error) {
	if err := checkIdentifier(s, '#', "room alias"); err != nil {
		return "", err
	}
	if err := checkDomain(s, "room alias"); err != nil {
		return "", err
	}
	return RoomAlias(s), nil
}

// Localpart is the part between the sigil and the first colon.
func (a RoomAlias) Localpart() string { return localpart(string(a)) }

// Domain is the server that answers for the alias.
func (a RoomAlias) Domain() ServerName { return domain(string(a)) }

// String returns the alias as it stands on the wire.
func (a RoomAlias) String() string { return string(a) }

// isHash reports 43 characters of unpadded base64 whose 63rd and 64th characters are those of special.
func isHash(s, special string) bool {
	if len(s) != hashLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlpha(c) && !isDigit(c) && strings.IndexByte(special, c) < 0 {
			return false
		}
	}
	return true
}
