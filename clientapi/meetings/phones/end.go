package phones

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// progress notes how far a call out has come.
func (s *Server) progress(ctx context.Context, id string, state phone.State) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		c, err := tx.LockPhoneCall(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case c.Direction != "out", c.State != stateDialling && c.State != stateRinging, c.State == string(state):
			return nil
		}
		if c.State = string(state); state == phone.Answered {
			c.AnsweredTS = s.now()
		}
		return tx.PutPhoneCall(ctx, c)
	})
}

// end ends a call, and gives back what it has not used of the money and the time that were set aside. lapsed: only if nobody has it any more.
func (s *Server) end(ctx context.Context, id, state, cause string, lapsed bool) error {
	now := s.now()
	var c store.PhoneCall
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if c, err = tx.LockPhoneCall(ctx, id); err != nil || !on(&c) {
			return err
		}
		if lapsed && c.State != stateQueued {
			if over, err := tx.PhoneCallLapsed(ctx, id); err != nil || !over {
				return err
			}
		}
		if c.HangupTS == 0 {
			c.Cause = cause
		}
		c.State, c.EndedTS = state, now
		if c.Direction == "out" {
			if err := s.settle(ctx, tx, &c); err != nil {
				return err
			}
		}
		return tx.PutPhoneCall(ctx, c)
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("end a call: %w", err)
	}
	if err == nil {
		s.tellOwner(&c)
	}
	return nil
}

// settle counts what a call out has cost instead of what was set aside for it. A minute that has begun counts.
func (s *Server) settle(ctx context.Context, tx *store.Tx, c *store.PhoneCall) error {
	set := c.Cost
	used := int64(0)
	if c.Cost = 0; c.AnsweredTS != 0 {
		used = max(int64(c.EndedTS-c.AnsweredTS+999)/1000, 1)
		c.Cost = minutes(used) * s.cfg.Limits.price(c.Number[1:])
	}
	return tx.AddPhoneSpending(ctx, c.OrganisationID, c.CreatedTS, used-int64(c.SecondsAllowed), c.Cost-set)
}

func minutes(seconds int64) int64 { return (seconds + 59) / 60 }

// cleaners is how many ghosts are taken out at a time: each holds one connection of the pool while it needs others.
const cleaners = 2

// clean takes the ghost of a call that is over out of the meeting, and then out of the room. Who calls again for the same owner waits until that is
// done, lest the ghost be taken out of the call that comes next. What fails is done again by the sweep.
func (s *Server) clean(ctx context.Context, call store.PhoneCall) {
	if call.Identity == "" {
		return
	}
	select {
	case s.cleaning <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-s.cleaning }()
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.LockPhoneOwner(ctx, call.RoomNID, ownerOf(&call).key()); err != nil {
			return err
		}
		return s.leave(ctx, &call)
	})
	if err != nil {
		s.cfg.Log.Warn("a phone's ghost is not out of its room yet", "room", string(call.RoomID), "error", err)
		return
	}
	if err := s.cfg.Store.PutPhoneGhostGone(ctx, call.ID); err != nil && !store.IsUnavailable(err) {
		s.cfg.Log.Warn("it is not noted that a phone's ghost has left", "room", string(call.RoomID), "error", err)
	}
}

func (s *Server) leave(ctx context.Context, call *store.PhoneCall) error {
	again, err := s.cfg.Store.HasPhoneCallOn(ctx, call.RoomNID, call.UserID, call.ID)
	if err != nil || again {
		return err
	}
	m, err := s.cfg.Store.GetMembership(ctx, call.RoomNID, call.UserID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if m.Membership == spec.Join {
		if err := s.leaveCall(ctx, call); err != nil {
			return err
		}
	}
	if m.Membership == spec.Leave || m.Membership == spec.Ban {
		return nil
	}
	return ignoreRefusal(s.cfg.Rooms.Leave(ctx, roomserver.Membership{Room: call.RoomID, Sender: call.UserID}))
}

// leaveCall ends the membership of the call.
func (s *Server) leaveCall(ctx context.Context, call *store.PhoneCall) error {
	_, err := s.cfg.Store.GetStateEvent(ctx, call.RoomNID, store.CurrentState, memberType, memberKey(call.UserID))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return ignoreRefusal(s.putMembership(ctx, call, map[string]any{}))
}

// ignoreRefusal is for what a room's rules do not let be done any more.
func ignoreRefusal(err error) error {
	if e, refused := matrix.AsError(err); refused && e.Status < 500 {
		return nil
	}
	return err
}

// handKey is what Element Call takes for a raised hand, on the membership of the call.
const handKey = "🖐️"

// hand raises a phone's hand, or takes it down.
func (s *Server) hand(ctx context.Context, call *store.PhoneCall, up bool) error {
	member, err := s.cfg.Store.GetStateEvent(ctx, call.RoomNID, store.CurrentState, memberType, memberKey(call.UserID))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load the membership of a call: %w", err)
	}
	raised, err := s.cfg.Store.ListRelations(ctx, store.RelationQuery{
		RoomNID: call.RoomNID, Parent: member.EventID, RelType: "m.annotation", EventType: "m.reaction", Depth: 1, UpTo: store.CurrentState, Limit: 10,
	})
	if err != nil {
		return fmt.Errorf("look for raised hands: %w", err)
	}
	var own []store.Event
	for _, e := range raised {
		if e.Sender == call.UserID {
			own = append(own, e)
		}
	}
	if up && len(own) > 0 {
		return nil
	}
	if up {
		content, err := json.Marshal(map[string]any{"m.relates_to": map[string]any{"rel_type": "m.annotation", "event_id": member.EventID, "key": handKey}})
		if err != nil {
			return err
		}
		_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: call.RoomID, Sender: call.UserID, Type: "m.reaction", Content: content})
		return ignoreRefusal(err)
	}
	for _, e := range own {
		content, err := json.Marshal(map[string]any{"redacts": e.EventID})
		if err != nil {
			return err
		}
		_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{
			Room: call.RoomID, Sender: call.UserID, Type: spec.MRoomRedaction, Content: content, Redacts: e.EventID,
		})
		if err := ignoreRefusal(err); err != nil {
			return err
		}
	}
	return nil
}
