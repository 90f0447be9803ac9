package delayed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// item is a delayed event as its sender is shown it.
type item struct {
	DelayID     string           `json:"delay_id"`
	RoomID      matrix.RoomID    `json:"room_id"`
	Type        string           `json:"type"`
	StateKey    *string          `json:"state_key,omitempty"`
	DelayMS     int64            `json:"delay_ms"`
	ScheduledAt matrix.Timestamp `json:"scheduled_at"`
	Content     json.RawMessage  `json:"content"`

	Error       json.RawMessage  `json:"error,omitempty"`
	EventID     matrix.EventID   `json:"event_id,omitempty"`
	FinalisedTS matrix.Timestamp `json:"finalised_ts,omitempty"`

	// Interop: clients of the time before delay_ms and scheduled_at (2025) read these.
	Delay        int64            `json:"delay"`
	RunningSince matrix.Timestamp `json:"running_since"`
}

func itemOf(e *store.DelayedEvent) item {
	return item{
		DelayID: e.DelayID, RoomID: e.RoomID, Type: e.Type, StateKey: e.StateKey, DelayMS: e.Delay.Milliseconds(), ScheduledAt: e.ScheduledTS,
		Content: e.Content, Error: e.Error, EventID: e.EventID, FinalisedTS: e.FinalisedTS,
		Delay: e.Delay.Milliseconds(), RunningSince: e.ScheduledTS,
	}
}

type listResponse struct {
	Events []item `json:"delayed_events"`
}

// List lists the requester's scheduled events, the next one first.
//
// Spec: MSC4140, getting a list of delayed events, GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events
func (s *Server) List(ctx context.Context, c *httpapi.Call) (any, error) {
	events, err := s.cfg.Store.ListDelayedEvents(ctx, c.Requester.User, limits.DelayedEvents)
	if err != nil {
		return nil, fmt.Errorf("list delayed events: %w", err)
	}
	answer := listResponse{Events: make([]item, len(events))}
	for i := range events {
		answer.Events[i] = itemOf(&events[i])
	}
	return answer, nil
}

// Get describes one of the requester's delayed events, scheduled or finalised.
//
// Spec: MSC4140, getting a single delayed event, GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}
func (s *Server) Get(ctx context.Context, c *httpapi.Call) (any, error) {
	e, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	return itemOf(&e), nil
}

// find loads the delayed event in the path. One that does not belong to a requester who says who they are is not found.
func (s *Server) find(ctx context.Context, c *httpapi.Call) (store.DelayedEvent, error) {
	e, err := s.cfg.Store.GetDelayedEvent(ctx, c.Path("delayId"))
	if errors.Is(err, store.ErrNotFound) || err == nil && c.Requester != nil && c.Requester.User != e.User {
		return e, notFound()
	}
	if err != nil {
		return e, fmt.Errorf("look up a delayed event: %w", err)
	}
	return e, nil
}

func notFound() *matrix.Error { return matrix.NotFound("there is no such delayed event") }

// manage finds the event in the path and counts the request for its sender, whoever it comes from: a service that manages the events of
// many users is not held back by their number.
func (s *Server) manage(ctx context.Context, c *httpapi.Call) (store.DelayedEvent, error) {
	e, err := s.find(ctx, c)
	if err != nil {
		return e, err
	}
	wait, err := s.cfg.Limiter.Allow(ctx, ratelimit.Delayed, string(e.User))
	if err == nil && wait > 0 {
		err = matrix.LimitExceeded(wait)
	}
	return e, err
}

// Restart counts the event's delay from now on.
//
// Spec: MSC4140, managing scheduled delayed events, POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/restart
func (s *Server) Restart(ctx context.Context, c *httpapi.Call) (any, error) {
	e, err := s.manage(ctx, c)
	if err != nil {
		return nil, err
	}
	restarted, err := s.cfg.Store.RestartDelayedEvent(ctx, e.DelayID)
	if err != nil {
		return nil, fmt.Errorf("restart a delayed event: %w", err)
	}
	if !restarted {
		return nil, s.late(ctx, e.DelayID, func(*store.DelayedEvent) bool { return false })
	}
	s.due(e.Delay)
	return nil, nil
}

// Cancel makes that the event is never sent.
//
// Spec: MSC4140, managing scheduled delayed events, POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/cancel
func (s *Server) Cancel(ctx context.Context, c *httpapi.Call) (any, error) {
	e, err := s.manage(ctx, c)
	if err != nil {
		return nil, err
	}
	cancelled, err := s.cfg.Store.CancelDelayedEvent(ctx, e.DelayID)
	if err != nil {
		return nil, fmt.Errorf("cancel a delayed event: %w", err)
	}
	if !cancelled {
		return nil, s.late(ctx, e.DelayID, func(e *store.DelayedEvent) bool { return e.EventID == "" })
	}
	return nil, nil
}

// late answers a request about an event that is finalised already: with success if it became what was asked for.
func (s *Server) late(ctx context.Context, id string, asAsked func(*store.DelayedEvent) bool) error {
	e, err := s.cfg.Store.GetDelayedEvent(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return notFound()
	case err != nil:
		return fmt.Errorf("look up a delayed event: %w", err)
	}
	return conclude(&e, asAsked(&e))
}

func conclude(e *store.DelayedEvent, asAsked bool) error {
	switch {
	case asAsked:
		return nil
	case e.EventID != "":
		return matrix.NewError(http.StatusConflict, matrix.ErrUnknown, "the delayed event has been sent")
	}
	return matrix.NewError(http.StatusConflict, matrix.ErrUnknown, "the delayed event has been cancelled")
}

// Send sends the event now. When it can't be sent it stays scheduled.
//
// Spec: MSC4140, managing scheduled delayed events, POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/send
func (s *Server) Send(ctx context.Context, c *httpapi.Call) (any, error) {
	found, err := s.manage(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.SendNow(ctx, found.DelayID); err != nil {
		return nil, fmt.Errorf("send a delayed event: %w", err)
	}
	return nil, nil
}

// SendNow sends a scheduled event. One that has been sent is no error.
func (s *Server) SendNow(ctx context.Context, id string) error {
	// A client that goes away does not keep what has been sent from being noted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendPatience)
	defer cancel()
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		e, err := tx.LockDelayedEvent(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return notFound()
		}
		if err != nil || !e.Scheduled() {
			if err == nil {
				err = conclude(&e, e.EventID != "")
			}
			return err
		}
		sender, err := tx.GetUser(ctx, e.User)
		if err != nil {
			return err
		}
		if e.EventID, err = s.send(ctx, &e, sender.Locked, sender.Suspended); err != nil {
			return err
		}
		return tx.PutDelayedOutcomes(ctx, []store.DelayedEvent{e})
	})
}

type updateRequest struct {
	Action *string `json:"action"`
}

// Update is the former shape of the three endpoints, with the action in the body.
//
// Spec: MSC4140, management endpoint action in request body
func (s *Server) Update(ctx context.Context, c *httpapi.Call, req *updateRequest) (any, error) {
	if req.Action == nil {
		return nil, matrix.MissingParam("action is missing")
	}
	switch *req.Action {
	case "send":
		return s.Send(ctx, c)
	case "restart":
		return s.Restart(ctx, c)
	case "cancel":
		return s.Cancel(ctx, c)
	}
	return nil, matrix.InvalidParam("action must be send, restart or cancel")
}
