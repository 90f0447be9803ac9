package meetings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// A client can hand over the delayed event that ends its membership: it is restarted as long as the media is there, and sent when the media is gone.
// Who took it over is in the database, so that it does not matter which process did.

// restartsAtOnce bounds the delayed events that are restarted between two pulses.
const restartsAtOnce = 500

type delegateRequest struct {
	RoomID  string `json:"room_id"`
	SlotID  string `json:"slot_id"`
	Member  member `json:"member"`
	DelayID string `json:"delay_id"`
}

// delegateDelayedLeave takes over a delayed event.
//
// Spec: MSC4195, POST /_matrix/client/v1/rtc/livekit/delegate_delayed_leave
func (s *Server) delegateDelayedLeave(ctx context.Context, c *httpapi.Call, req *delegateRequest) (any, error) {
	if !s.On() {
		return nil, matrix.Unrecognized()
	}
	room, err := readTarget(req.RoomID, req.SlotID)
	if err != nil {
		return nil, err
	}
	if err := req.Member.check(); err != nil {
		return nil, err
	}
	if err := mayClaim(c.Requester, &req.Member); err != nil {
		return nil, err
	}
	if req.DelayID == "" {
		return nil, matrix.BadJSON("delay_id is missing")
	}
	r := MintRequest{Room: room, Slot: req.SlotID, User: c.Requester.User, Device: req.Member.ClaimedDeviceID, MemberID: req.Member.ID}
	if _, err := s.judge(ctx, r.Room, r.User, r.Device, true); err != nil {
		return nil, unauthorised(err)
	}
	return nil, s.takeOver(ctx, r, Token{Identity: r.identity(), Alias: s.AliasOf(room, req.SlotID)}, req.DelayID, 0)
}

// takeOver has a delayed event managed by us. How long its delay is, is read from the event: what the request says of it is for services that do
// not own it.
func (s *Server) takeOver(ctx context.Context, r MintRequest, t Token, delayID string, _ time.Duration) error {
	if !s.cfg.IsLocal(r.User.Domain()) {
		return matrix.BadJSON("delay_id: events of other servers are not taken over")
	}
	e, err := s.cfg.Store.GetDelayedEvent(ctx, delayID)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && (e.User != r.User || e.RoomID != r.Room):
		return matrix.NotFound("there is no such delayed event")
	case err != nil:
		return fmt.Errorf("look up a delayed event: %w", err)
	case !e.Scheduled():
		return matrix.BadJSON("delay_id: the delayed event has been sent or cancelled")
	case e.Delay < limits.DelegatedDelay:
		return matrix.BadJSON("delay_id: the delay must be %s at least", limits.DelegatedDelay)
	}
	known, err := s.cfg.Store.PutRTCDelegation(ctx, t.Alias, t.Identity, delayID, s.now())
	if err == nil && !known {
		return matrix.NotFound("ask for a token for this member first")
	}
	if err != nil {
		return fmt.Errorf("take over a delayed event: %w", err)
	}
	return nil
}

// restartDelegated restarts the delayed events of those who are there, when four fifths of the delay have passed. While the SFU does not answer
// nobody is known to be there, and the events have their time.
func (w *watcher) restartDelegated(ctx context.Context) error {
	w.mu.Lock()
	away := w.away
	w.mu.Unlock()
	if away {
		return nil
	}
	list, err := w.cfg.Store.ListRTCRestarts(ctx, w.now(), restartsAtOnce)
	if err != nil {
		return fmt.Errorf("list delayed events to restart: %w", err)
	}
	for _, p := range list {
		e, err := w.cfg.Store.GetDelayedEvent(ctx, p.DelayID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look up a delayed event: %w", err)
		}
		restarted := false
		if err == nil {
			if restarted, err = w.cfg.Store.RestartDelayedEvent(ctx, p.DelayID); err != nil {
				return fmt.Errorf("restart a delayed event: %w", err)
			}
		}
		next := matrix.Timestamp(0) // it has been sent or cancelled
		if restarted {
			next = w.now() + matrix.Timestamp((e.Delay * 4 / 5).Milliseconds())
		}
		if err := w.cfg.Store.PutRTCRestart(ctx, p, next); err != nil {
			return fmt.Errorf("note when to restart a delayed event: %w", err)
		}
	}
	return nil
}

// sendDelegated sends the delayed event of somebody whose media is gone. If it can't be sent, the membership is ended without it.
func (s *Server) sendDelegated(ctx context.Context, p store.RTCParticipant) {
	if s.cfg.SendDelayed == nil {
		return
	}
	if err := s.cfg.SendDelayed(ctx, p.DelayID); err != nil && ctx.Err() == nil {
		s.cfg.Log.Debug("a delayed event that was handed over could not be sent", "user", string(p.UserID), "error", err)
	}
}
