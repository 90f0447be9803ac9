// Package event makes, reads and judges room events (PDUs).
//
// Spec: room versions v1–v12, server-server v1.19 §pdus, §signing-events, §auth-events-selection, appendices §canonical-json.
//
// The package is pure: bytes in, bytes out. It knows no database, no network and no clock.
//
// What holds:
//   - A signature is only ever made by [Build], over bytes that Build assembled itself from a [Proto], for a sender on the
//     signing server, and by [Built.AddSignature] over the same bytes. Nothing that another server sent can reach the private key.
//   - Event bytes are canonical JSON. [Redact], [AppendClient] and the scanner below them rely on it.
//   - Room versions are data ([Version]); code asks for a property, not for a number.
//
// Start reading at [Build]; assemble.go holds the layout of the bytes, check.go the authorisation rules.
package event

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/roomline/roomline/internal/matrix"
)

// The types that the rules of the room versions speak of.
const (
	typeCreate           = "m.room.create"
	typeMember           = "m.room.member"
	typePowerLevels      = "m.room.power_levels"
	typeJoinRules        = "m.room.join_rules"
	typeThirdPartyInvite = "m.room.third_party_invite"
	typeRedaction        = "m.room.redaction"
	typeAliases          = "m.room.aliases"
)

// Bounds of an event.
//
// Spec: client-server v1.19 §size-limits; server-server v1.19 §pdus (prev_events, auth_events).
const (
	maxEventBytes = 65536
	maxFieldBytes = 255
	maxPrevEvents = 20
	maxAuthEvents = 10
)

// The largest depth: that of the JSON format of the room version.
const (
	maxCanonicalInt = 1<<53 - 1
	maxLooseInt     = 1<<63 - 1
)

// A Proto is an event that was not yet hashed and signed: what the sender says and where the event stands in the room.
type Proto struct {
	Version Version
	RoomID  matrix.RoomID // "" for the create event of a version with DomainlessRoomIDs
	Sender  matrix.UserID
	Type    string
	// StateKey is nil for a message event.
	StateKey *string
	// Content is an object in canonical JSON.
	Content []byte
	// Redacts is set for a redaction only. Build writes it where the room version keeps it.
	Redacts        matrix.EventID
	PrevEvents     []matrix.EventID
	AuthEvents     []matrix.EventID
	Depth          int64
	OriginServerTS matrix.Timestamp
	// Sticky is for how long the event is sticky (MSC4354), 0 for not at all.
	Sticky time.Duration
}

// Built is a finished event.
type Built struct {
	EventID matrix.EventID
	// RoomID is the room of the event; of a create event without room ID, the one that its hash gives.
	RoomID matrix.RoomID
	// JSON is the canonical, signed event. It must not be changed.
	JSON []byte

	version Version
	pdu     gomatrixserverlib.PDU
}

// PDU gives the event as the library's type. It is parsed at each call, because most events never need it.
func (b *Built) PDU() (gomatrixserverlib.PDU, error) {
	if b.pdu != nil {
		return b.pdu, nil
	}
	return Parse(b.version, b.EventID, b.JSON)
}

// Build hashes the event and signs it with the key of server.
//
// Spec: server-server v1.19 §adding-hashes-and-signatures-to-outgoing-events
func Build(p *Proto, server matrix.ServerName, keyID string, key ed25519.PrivateKey) (*Built, error) {
	if err := checkProto(p, server, key); err != nil {
		return nil, err
	}
	if p.Redacts != "" && p.Version.RedactsInContent {
		content, err := contentWithRedacts(p.Content, p.Redacts)
		if err != nil {
			return nil, err
		}
		moved := *p
		moved.Content, moved.Redacts = content, ""
		p = &moved
	}
	if p.Version.EventFormat == EventReferences {
		return buildWithLibrary(p, server, keyID, key)
	}
	return assemble(p, server, keyID, key)
}

// checkProto refuses what must not be signed. Fields that a client can choose lead to a *matrix.Error, a wrong reference to
// an ordinary error: the room server chose it.
func checkProto(p *Proto, server matrix.ServerName, key ed25519.PrivateKey) error {
	if len(key) != ed25519.PrivateKeySize {
		return errors.New("event: signing key has the wrong length")
	}
	if d := p.Sender.Domain(); d == "" || d != server {
		return fmt.Errorf("event: %s may not sign for sender %s", server, p.Sender)
	}
	if p.Version.DomainlessRoomIDs && p.isCreate() {
		if p.RoomID != "" {
			return fmt.Errorf("event: a create event of room version %s has no room ID, got %s", p.Version.ID, p.RoomID)
		}
	} else if len(p.RoomID) < 2 || p.RoomID[0] != '!' {
		return fmt.Errorf("event: %q is not a room ID", string(p.RoomID))
	}
	if len(p.PrevEvents) > maxPrevEvents || len(p.AuthEvents) > maxAuthEvents {
		return fmt.Errorf("event: %d prev_events and %d auth_events, allowed are %d and %d",
			len(p.PrevEvents), len(p.AuthEvents), maxPrevEvents, maxAuthEvents)
	}
	if p.Version.DomainlessRoomIDs {
		for _, id := range p.AuthEvents {
			if len(id) > 0 && len(p.RoomID) > 0 && id[1:] == matrix.EventID(p.RoomID[1:]) {
				return fmt.Errorf("event: auth_events of room version %s must not hold the create event", p.Version.ID)
			}
		}
	}
	if p.Depth < 0 || p.OriginServerTS < 0 || p.OriginServerTS > maxCanonicalInt {
		return fmt.Errorf("event: depth %d or origin_server_ts %d out of range", p.Depth, p.OriginServerTS)
	}
	// Why: text behind the end of the object would become fields of the event, under our signature.
	if len(p.Content) < 2 || p.Content[0] != '{' || skipNested(p.Content, 0) != len(p.Content) {
		return matrix.BadJSON("content must be an object")
	}
	return checkFields(p)
}

func checkFields(p *Proto) error {
	if err := checkField("type", p.Type); err != nil {
		return err
	}
	if p.StateKey != nil {
		if err := checkField("state_key", *p.StateKey); err != nil {
			return err
		}
	}
	if err := checkField("sender", string(p.Sender)); err != nil {
		return err
	}
	if err := checkField("room_id", string(p.RoomID)); err != nil {
		return err
	}
	return checkField("redacts", string(p.Redacts))
}

// Why: a NUL cannot be stored by PostgreSQL, and bytes that are not UTF-8 are not JSON. Both can come in through a URL.
func checkField(name, value string) error {
	if len(value) > maxFieldBytes {
		return matrix.TooLarge("%s is longer than %d bytes", name, maxFieldBytes)
	}
	if strings.IndexByte(value, 0) >= 0 || !utf8.ValidString(value) {
		return matrix.InvalidParam("%s must be UTF-8 without NUL", name)
	}
	return nil
}

func (p *Proto) isCreate() bool {
	return p.Type == typeCreate && p.StateKey != nil && *p.StateKey == ""
}

// depth is the depth as it may be written: at the limit it stays there.
func (p *Proto) depth() int64 {
	limit := int64(maxLooseInt)
	if p.Version.StrictJSON {
		limit = maxCanonicalInt
	}
	return min(p.Depth, limit)
}

// contentWithRedacts puts the redacted event's ID into the content, where room versions from 11 on keep it.
//
// Spec: room v11 §moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
func contentWithRedacts(content []byte, redacts matrix.EventID) ([]byte, error) {
	value := appendString(nil, string(redacts))
	if have, ok := memberOf(content, "redacts"); ok && string(have) != string(value) {
		return nil, matrix.InvalidParam("content.redacts does not name the event that is redacted")
	}
	return withMember(content, "redacts", value)
}
