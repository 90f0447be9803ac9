package event

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/matrix"
)

// The bytes of an event, room versions 3 and later. Three texts are needed, and all are made of the same pieces in the order of
// their keys:
//
//	            hashed   redacted and signed   sent
//	head          ×              ×               ×     auth_events, "content":
//	content       ×       what redaction keeps   ×
//	depth         ×              ×               ×
//	hashes                       ×               ×
//	sticky        ×                              ×     msc4354_sticky, of few events
//	middle        ×              ×               ×     origin_server_ts, prev_events
//	redacts       ×                              ×     room versions 3–10 only
//	place         ×              ×               ×     room_id, sender
//	signatures                                   ×
//	tail          ×              ×               ×     state_key, type
//
// Why: a general builder encodes, parses, sorts and compacts JSON several times over, which costs more than the signature. Here the pieces are
// written once, hashed, and copied.

// pieces are the ends of the pieces in the hashed text.
type pieces struct{ head, content, depth, sticky, middle, redacts, place, tail int }

// scratch buffers hold the hashed and the signed text while an event is made.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

const (
	// The lengths of a SHA-256 hash and of an Ed25519 signature in unpadded Base64.
	hashLen      = 43
	signatureLen = 86
)

func assemble(p *Proto, server matrix.ServerName, keyID string, key ed25519.PrivateKey) (*Built, error) {
	pooled := scratch.Get().(*[]byte)
	defer scratch.Put(pooled)

	buf, at := appendHashed((*pooled)[:0], p)
	// Server names and key IDs are plain ASCII without quotes; appendString below would not change them.
	size := len(buf) + len(`,"hashes":{"sha256":""}`) + hashLen + len(`,"signatures":{"":{"":""}}`) + len(server) + len(keyID) + signatureLen
	if size > maxEventBytes {
		*pooled = buf
		return nil, matrix.TooLarge("the event is %d bytes long, allowed are %d", size, maxEventBytes)
	}
	hashed := buf
	var hash [hashLen]byte
	sum := sha256.Sum256(hashed)
	base64.RawStdEncoding.Encode(hash[:], sum[:])

	buf, err := appendRedacted(buf, p, at, hash[:])
	if err != nil {
		return nil, err
	}
	*pooled = buf
	redacted := buf[len(hashed):]
	// The append may have moved the text.
	hashed = buf[:len(hashed)]
	reference := sha256.Sum256(redacted)
	var signature [signatureLen]byte
	base64.RawStdEncoding.Encode(signature[:], sign(key, redacted))

	out := make([]byte, 0, size)
	out = append(out, hashed[:at.depth]...)
	out = appendHashes(out, hash[:])
	out = append(out, hashed[at.depth:at.place]...)
	out = append(out, `,"signatures":{`...)
	out = append(appendString(out, string(server)), ':', '{')
	out = append(appendString(out, keyID), ':', '"')
	out = append(append(out, signature[:]...), '"', '}', '}')
	out = append(out, hashed[at.place:]...)

	built := &Built{EventID: p.Version.eventID(reference), RoomID: p.RoomID, JSON: out, version: p.Version}
	if p.RoomID == "" {
		built.RoomID = matrix.RoomID("!" + built.EventID[1:])
	}
	return built, nil
}

// eventID is the ID that the reference hash of an event gives.
//
// Spec: room v3 §event-ids, room v4 §event-ids
func (v *Version) eventID(reference [sha256.Size]byte) matrix.EventID {
	var id [1 + hashLen]byte
	id[0] = '$'
	if v.URLSafeEventIDs {
		base64.RawURLEncoding.Encode(id[1:], reference[:])
	} else {
		base64.RawStdEncoding.Encode(id[1:], reference[:])
	}
	return matrix.EventID(id[:])
}

// appendHashed appends the text that the content hash covers.
//
// Spec: server-server v1.19 §calculating-the-content-hash-for-an-event
func appendHashed(dst []byte, p *Proto) ([]byte, pieces) {
	var at pieces
	dst = append(dst, `{"auth_events":`...)
	dst = appendIDs(dst, p.AuthEvents)
	dst = append(dst, `,"content":`...)
	at.head = len(dst)
	dst = append(dst, p.Content...)
	at.content = len(dst)
	dst = append(dst, `,"depth":`...)
	dst = strconv.AppendInt(dst, p.depth(), 10)
	at.depth = len(dst)
	if p.Sticky > 0 {
		dst = append(dst, `,"msc4354_sticky":{"duration_ms":`...)
		dst = append(strconv.AppendInt(dst, p.Sticky.Milliseconds(), 10), '}')
	}
	at.sticky = len(dst)
	dst = append(dst, `,"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, int64(p.OriginServerTS), 10)
	dst = append(dst, `,"prev_events":`...)
	dst = appendIDs(dst, p.PrevEvents)
	at.middle = len(dst)
	if p.Redacts != "" {
		dst = append(dst, `,"redacts":`...)
		dst = appendString(dst, string(p.Redacts))
	}
	at.redacts = len(dst)
	if p.RoomID != "" {
		dst = append(dst, `,"room_id":`...)
		dst = appendString(dst, string(p.RoomID))
	}
	dst = append(dst, `,"sender":`...)
	dst = appendString(dst, string(p.Sender))
	at.place = len(dst)
	if p.StateKey != nil {
		dst = append(dst, `,"state_key":`...)
		dst = appendString(dst, *p.StateKey)
	}
	dst = append(dst, `,"type":`...)
	dst = append(appendString(dst, p.Type), '}')
	at.tail = len(dst)
	return dst, at
}

// appendRedacted appends the text that the reference hash and the signature cover, made from the pieces of the hashed text that
// buf holds.
func appendRedacted(buf []byte, p *Proto, at pieces, hash []byte) ([]byte, error) {
	buf = append(buf, buf[:at.head]...)
	if _, keeps := p.Version.redaction.content[p.Type]; keeps {
		var err error
		if buf, err = p.Version.redaction.appendContent(buf, p.Type, p.Content); err != nil {
			return nil, matrix.BadJSON("content is not an object")
		}
	} else {
		buf = append(buf, '{', '}')
	}
	buf = append(buf, buf[at.content:at.depth]...)
	buf = appendHashes(buf, hash)
	buf = append(buf, buf[at.sticky:at.middle]...)
	return append(buf, buf[at.redacts:at.tail]...), nil
}

func appendHashes(dst, hash []byte) []byte {
	dst = append(dst, `,"hashes":{"sha256":"`...)
	return append(append(dst, hash...), '"', '}')
}

func appendIDs(dst []byte, ids []matrix.EventID) []byte {
	dst = append(dst, '[')
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, string(id))
	}
	return append(dst, ']')
}

// buildWithLibrary makes events of room versions 1 and 2, whose references are pairs and whose IDs are random.
func buildWithLibrary(p *Proto, server matrix.ServerName, keyID string, key ed25519.PrivateKey) (*Built, error) {
	if p.Sticky > 0 {
		return nil, matrix.InvalidParam("events of room version %s can't be sticky", p.Version.ID)
	}
	// Why: the library writes keys without their escapes. Such content would be broken, or another than the sender's.
	if same, err := gomatrixserverlib.CanonicalJSON(p.Content); err != nil || !bytes.Equal(same, p.Content) {
		return nil, matrix.BadJSON("content has keys or numbers that room version %s cannot hold here", p.Version.ID)
	}
	builder := p.Version.Library.NewEventBuilder()
	builder.SenderID = string(p.Sender)
	builder.RoomID = string(p.RoomID)
	builder.Type = p.Type
	builder.StateKey = p.StateKey
	builder.PrevEvents = libraryIDs(p.PrevEvents)
	builder.AuthEvents = libraryIDs(p.AuthEvents)
	builder.Redacts = string(p.Redacts)
	builder.Depth = p.depth()
	builder.Content = spec.RawJSON(p.Content)

	pdu, err := builder.Build(p.OriginServerTS.Time(), spec.ServerName(server), gomatrixserverlib.KeyID(keyID), key)
	var invalid gomatrixserverlib.EventValidationError
	if errors.As(err, &invalid) && invalid.Code == gomatrixserverlib.EventValidationTooLarge {
		return nil, matrix.TooLarge("the event is longer than %d bytes", maxEventBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("event: build in room version %s: %w", p.Version.ID, err)
	}
	return &Built{EventID: matrix.EventID(pdu.EventID()), RoomID: p.RoomID, JSON: pdu.JSON(), version: p.Version, pdu: pdu}, nil
}

func libraryIDs(ids []matrix.EventID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}
