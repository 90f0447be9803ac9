package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// delayQuery asks …/send and …/state to send the event later, the way of clients before 2026.
const delayQuery = "org.matrix.msc4140.delay"

// delayResponse names the delayed event that a request scheduled.
type delayResponse struct {
	DelayID string `json:"delay_id"`
}

// delayedRequest is a request that schedules an event, whichever way it came.
type delayedRequest struct {
	room  roomserver.Info
	event store.DelayedEvent
	// inQuery says that the delay is in the query and the body is the content.
	inQuery bool
}

// delayMessage schedules a message event: PUT …/send/… with a delay in the query.
//
// Spec: MSC4140, reusing the send/state endpoints
func (s *Server) delayMessage(ctx context.Context, c *httpapi.Call) (any, error) {
	r, known, err := s.delayedRequest(ctx, c, "delay|send|")
	if err != nil || known != nil {
		return known, err
	}
	r.inQuery = true
	if r.event.Content, err = canonicalContent(r.room.Version, c.Body); err != nil {
		return nil, err
	}
	return s.schedule(ctx, c, r)
}

// delayState schedules a state event: PUT …/state/… with a delay in the query.
//
// Spec: MSC4140, reusing the send/state endpoints
func (s *Server) delayState(ctx context.Context, c *httpapi.Call) (any, error) {
	room, err := s.roomToSend(ctx, c)
	if err != nil {
		return nil, err
	}
	key := c.Path("stateKey")
	r := &delayedRequest{room: room, inQuery: true}
	r.event = store.DelayedEvent{User: c.Requester.User, Device: c.Requester.Device, RoomID: room.ID, Type: c.Path("eventType"), StateKey: &key}
	if r.event.Content, err = canonicalContent(room.Version, c.Body); err != nil {
		return nil, err
	}
	return s.schedule(ctx, c, r)
}

type delayedEventBody struct {
	DelayMS  *int64          `json:"delay_ms"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// scheduleEvent schedules a message or state event.
//
// Spec: MSC4140, scheduling a delayed event, PUT /_matrix/client/unstable/org.matrix.msc4140/rooms/{roomId}/delayed_event/{eventType}/{txnId}
func (s *Server) scheduleEvent(ctx context.Context, c *httpapi.Call, req *delayedEventBody) (any, error) {
	r, known, err := s.delayedRequest(ctx, c, "delayed_event|")
	if err != nil || known != nil {
		return known, err
	}
	switch {
	case req.DelayMS == nil:
		return nil, matrix.MissingParam("delay_ms is missing")
	case len(req.Content) == 0:
		return nil, matrix.MissingParam("content is missing")
	}
	r.event.Delay, r.event.StateKey = milliseconds(*req.DelayMS), req.StateKey
	if r.event.Content, err = canonicalContent(r.room.Version, req.Content); err != nil {
		return nil, err
	}
	return s.schedule(ctx, c, r)
}

// delayedRequest reads the path of a request with a transaction id. When the transaction has scheduled an event before, known is the
// answer of then, whatever the body says now.
func (s *Server) delayedRequest(ctx context.Context, c *httpapi.Call, scope string) (r *delayedRequest, known any, err error) {
	room, err := s.roomToSend(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	e := store.DelayedEvent{User: c.Requester.User, Device: c.Requester.Device, RoomID: room.ID, Type: c.Path("eventType")}
	txn, err := transaction(c, scope+string(room.ID)+"|"+e.Type)
	if err != nil {
		return nil, nil, err
	}
	e.Scope, e.TxnID = txn.Scope, txn.ID
	id, err := s.store.GetDelayedTransaction(ctx, e.User, e.Device, e.Scope, e.TxnID)
	switch {
	case err == nil:
		return nil, delayResponse{id}, nil
	case !errors.Is(err, store.ErrNotFound):
		return nil, nil, fmt.Errorf("look up transaction: %w", err)
	}
	return &delayedRequest{room: room, event: e}, nil, nil
}

// schedule checks what can be checked before the event's time and schedules it.
func (s *Server) schedule(ctx context.Context, c *httpapi.Call, r *delayedRequest) (any, error) {
	e := &r.event
	if r.inQuery {
		ms, err := strconv.ParseInt(c.Query(delayQuery), 10, 64)
		if err != nil {
			return nil, matrix.InvalidParam("%s must be a whole number of milliseconds", delayQuery)
		}
		e.Delay = milliseconds(ms)
	}
	if err := s.delayed.CheckDelay(e.Delay, r.inQuery); err != nil {
		return nil, err
	}
	if err := s.checkDelayed(ctx, c.Requester, r); err != nil {
		return nil, err
	}
	if err := s.mustBeJoined(ctx, e.RoomID, e.User); err != nil {
		return nil, err
	}
	var err error
	if e.Sticky, err = s.stickyFor(ctx, c); err != nil {
		return nil, err
	}
	if e.Timestamp, err = timestampOf(c); err != nil {
		return nil, err
	}
	id, err := s.delayed.Schedule(ctx, *e)
	if err != nil {
		return nil, err
	}
	return delayResponse{id}, nil
}

// milliseconds is a duration that does not overflow: no delay may be as long as its bound.
func milliseconds(ms int64) time.Duration {
	const most = int64(limits.DelayedFor/time.Millisecond) + 1
	return time.Duration(min(max(ms, -1), most)) * time.Millisecond
}

// checkDelayed refuses an event that the endpoint for events that are sent at once would refuse for its form. Members can be taken out
// of a room later, but not brought in: that takes more than an event.
func (s *Server) checkDelayed(ctx context.Context, who *httpapi.Requester, r *delayedRequest) error {
	e := &r.event
	if !gjson.ParseBytes(e.Content).IsObject() {
		return matrix.BadJSON("the content must be an object")
	}
	if len(e.Content) > limits.Event {
		return matrix.TooLarge("the event is larger than %d bytes", limits.Event)
	}
	if e.StateKey == nil {
		if err := checkEventType(e.Type); err != nil || e.Type != typeRedaction {
			return err
		}
		if _, err := matrix.ParseEventID(gjson.GetBytes(e.Content, "redacts").String()); err != nil {
			return matrix.InvalidParam("redacts must be the id of the event to redact")
		}
		return nil
	}
	if err := checkStateKey(e.Type, *e.StateKey); err != nil {
		return err
	}
	switch e.Type {
	case typeMember:
		m, err := checkMemberContent(e.Content, *e.StateKey)
		if err != nil {
			return err
		}
		if m.Membership != "leave" && m.Membership != "ban" {
			return matrix.Forbidden("only leaving and banning can be delayed, not %s", m.Membership)
		}
		e.Content, err = sjson.DeleteBytes(e.Content, voucherKey)
		return err
	case typeCanonicalAlias:
		return s.checkCanonicalAlias(ctx, who, r.room, e.Content)
	}
	return nil
}

// sendDelayed sends a delayed event whose time has come.
func (s *Server) sendDelayed(ctx context.Context, d *store.DelayedEvent) (matrix.EventID, error) {
	e := roomserver.NewEvent{
		Room: d.RoomID, Sender: d.User, Type: d.Type, StateKey: d.StateKey, Content: d.Content, Timestamp: d.Timestamp, Sticky: d.Sticky,
		Txn: &roomserver.Txn{Device: store.DelayedDevice, Scope: "delayed", ID: d.DelayID},
	}
	var sent any
	var err error
	if e.Type == typeRedaction && e.StateKey == nil {
		sent, err = s.redact(ctx, e, matrix.EventID(gjson.GetBytes(e.Content, "redacts").String()))
	} else {
		sent, err = s.sendOnce(ctx, e)
	}
	if err != nil {
		return "", err
	}
	return sent.(eventResponse).EventID, nil
}
