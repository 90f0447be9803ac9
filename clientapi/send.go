package clientapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// eventResponse names the event that a request made.
type eventResponse struct {
	EventID matrix.EventID `json:"event_id"`
}

// sendMessage appends a message event to a room. The body is the content of the event. A redaction may come this way too,
// and then names what it removes in redacts.
//
// Spec: client-server v1.19 §sending-events-to-a-room, PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
func (s *Server) sendMessage(ctx context.Context, c *httpapi.Call) (any, error) {
	if c.HasQuery(delayQuery) {
		return s.delayMessage(ctx, c)
	}
	room, err := s.roomToSend(ctx, c)
	if err != nil {
		return nil, err
	}
	e := roomserver.NewEvent{Room: room.ID, Sender: c.Requester.User, Type: c.Path("eventType")}
	if err := checkEventType(e.Type); err != nil {
		return nil, err
	}
	if e.Txn, err = transaction(c, "send|"+string(room.ID)+"|"+e.Type); err != nil {
		return nil, err
	}
	if e.Content, err = canonicalContent(room.Version, c.Body); err != nil {
		return nil, err
	}
	if e.Sticky, err = s.stickyFor(ctx, c); err != nil {
		return nil, err
	}
	if e.Timestamp, err = timestampOf(c); err != nil {
		return nil, err
	}
	if e.Attached, err = s.attached(ctx, c); err != nil {
		return s.sentBefore(ctx, e, err)
	}
	if e.Type == typeRedaction {
		id, err := matrix.ParseEventID(gjson.GetBytes(e.Content, "redacts").String())
		if err != nil {
			return nil, matrix.InvalidParam("redacts must be the id of the event to redact")
		}
		return s.redact(ctx, e, id)
	}
	return s.sendOnce(ctx, e)
}

// redactEvent removes the content of an event.
//
// Spec: client-server v1.19 §redactions, PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
func (s *Server) redactEvent(ctx context.Context, c *httpapi.Call) (any, error) {
	room, err := s.roomToSend(ctx, c)
	if err != nil {
		return nil, err
	}
	target, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	e := roomserver.NewEvent{Room: room.ID, Sender: c.Requester.User, Type: typeRedaction}
	if e.Txn, err = transaction(c, "redact|"+string(room.ID)+"|"+string(target)); err != nil {
		return nil, err
	}
	body := c.Body
	if len(body) == 0 {
		body = []byte("{}")
	}
	if e.Content, err = canonicalContent(room.Version, body); err != nil {
		return nil, err
	}
	reason := gjson.GetBytes(e.Content, "reason")
	if reason.Exists() && reason.Type != gjson.String {
		return nil, matrix.BadJSON("reason must be a string")
	}
	if err := checkReason(reason.String()); err != nil {
		return nil, err
	}
	return s.redact(ctx, e, target)
}

// redact sends a redaction. Where the room version keeps the target is the room server's business, so it leaves the content.
func (s *Server) redact(ctx context.Context, e roomserver.NewEvent, target matrix.EventID) (any, error) {
	content, err := sjson.DeleteBytes(e.Content, "redacts")
	if err != nil {
		return nil, fmt.Errorf("take redacts out of the content: %w", err)
	}
	e.Content, e.Redacts = content, target
	return s.sendOnce(ctx, e)
}

// sendOnce sends an event of a transaction. When it is refused, it may have been sent before: a repeated request is answered
// as the first one was, although the sender may have left the room since.
//
// Why afterwards: the journal finds repeated transactions in the same round trip that stores the event, so that the common
// case pays for nothing.
func (s *Server) sendOnce(ctx context.Context, e roomserver.NewEvent) (any, error) {
	id, err := s.rooms.Send(ctx, e)
	if err == nil {
		return eventResponse{id}, nil
	}
	if _, refused := matrix.AsError(err); !refused {
		return nil, err
	}
	return s.sentBefore(ctx, e, err)
}

// sentBefore answers a transaction that is refused by now as it was answered before, if it was.
func (s *Server) sentBefore(ctx context.Context, e roomserver.NewEvent, err error) (any, error) {
	id, found := s.store.GetTransaction(ctx, e.Sender, e.Txn.Device, e.Txn.Scope, e.Txn.ID)
	switch {
	case found == nil:
		return eventResponse{id}, nil
	case errors.Is(found, store.ErrNotFound):
		return nil, s.refusal(ctx, e, err)
	}
	return nil, fmt.Errorf("look up transaction: %w", found)
}

// attachMedia names media that hangs on an event although its content may not show it.
const attachMedia = "attach_media"

// attached is the media that the client attaches to an event.
//
// Spec: MSC3911 §detailed-spec-changes
func (s *Server) attached(ctx context.Context, c *httpapi.Call) ([]matrix.ContentURI, error) {
	if !c.HasQuery(attachMedia) {
		return nil, nil
	}
	var uris []matrix.ContentURI
	for _, text := range c.QueryAll(attachMedia) {
		uri, err := matrix.ParseContentURI(text)
		if err != nil {
			return nil, matrix.InvalidParam("%s must be an mxc:// URI", attachMedia)
		}
		if uris = append(uris, uri); len(uris) > limits.MediaPerEvent {
			return nil, matrix.InvalidParam("at most %d media can be attached", limits.MediaPerEvent)
		}
	}
	return uris, s.rooms.CheckAttached(ctx, c.Requester.User, uris)
}

// refusal is what the sender is told of a refused event. Who is not in the room is told that and nothing else: not whether
// there is such a room, nor what is in it.
func (s *Server) refusal(ctx context.Context, e roomserver.NewEvent, err error) error {
	if _, refused := matrix.AsError(err); !refused {
		return err
	}
	if outside := s.mustBeJoined(ctx, e.Room, e.Sender); outside != nil {
		return outside
	}
	return err
}

// roomToSend is the room in the path; an unknown one is refused like one that the sender is not in.
func (s *Server) roomToSend(ctx context.Context, c *httpapi.Call) (roomserver.Info, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return roomserver.Info{}, err
	}
	s.presence.Active(c.Requester.User, c.Requester.Device)
	room, err := s.rooms.Room(ctx, id)
	return room, sameForUnknown(err)
}

// transaction reads the transaction id in the path. scope names the endpoint and what else is in its path.
//
// Spec: client-server v1.19 §transaction-identifiers
func transaction(c *httpapi.Call, scope string) (*roomserver.Txn, error) {
	id := c.Path("txnId")
	if id == "" || len(id) > limits.TxnID {
		return nil, matrix.InvalidParam("txnId must have 1 to %d bytes", limits.TxnID)
	}
	return &roomserver.Txn{Device: c.Requester.Device, Scope: scope, ID: id}, nil
}

func checkEventType(t string) error {
	if t == "" {
		return matrix.InvalidParam("eventType must not be empty")
	}
	if len(t) > limits.EventType {
		return matrix.TooLarge("eventType is longer than %d bytes", limits.EventType)
	}
	if t == typeCreate {
		return matrix.InvalidParam("a room has one %s, and has it already", typeCreate)
	}
	return nil
}
