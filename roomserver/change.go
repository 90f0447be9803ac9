package roomserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
)

// StateChange changes what a state event without a key says, and leaves what else it says as it is.
type StateChange struct {
	Room   matrix.RoomID
	Sender matrix.UserID
	Type   string
	// Change is given the present content, which is empty if there is none, and may be called several times. An error ends it.
	Change func(content map[string]any) error
}

// ChangeState sends what comes of a change, unless it is what the room says already. Of changes at the same time none is lost.
func (s *Server) ChangeState(ctx context.Context, c StateChange) error {
	room, err := s.Room(ctx, c.Room)
	if err != nil {
		return err
	}
	key := ""
	if err := s.mayGrow(ctx, room, c.Type, key); err != nil {
		return err
	}
	_, err = s.append(ctx, room, nil, func(v *view) ([]draft, error) {
		present := v.content(c.Type, key)
		if len(v.missing) > 0 {
			return nil, nil
		}
		content := map[string]any{}
		if present != nil {
			if err := json.Unmarshal(present, &content); err != nil {
				return nil, fmt.Errorf("stored %s: %w", c.Type, err)
			}
		}
		if err := c.Change(content); err != nil {
			return nil, err
		}
		raw, err := canonical(content)
		if err != nil || present != nil && bytes.Equal(raw, present) {
			return nil, err
		}
		return []draft{{Type: c.Type, StateKey: &key, Sender: c.Sender, Content: raw}}, nil
	})
	return err
}

// SendAsAble sends an event in the name of its sender, or, where the sender may not, of somebody in the room who may.
func (s *Server) SendAsAble(ctx context.Context, e NewEvent) error {
	_, err := s.Send(ctx, e)
	if refusal, ok := matrix.AsError(err); !ok || refusal.Code != matrix.ErrForbidden {
		return err
	}
	room, err := s.Room(ctx, e.Room)
	if err != nil {
		return err
	}
	rules, err := s.Rules(ctx, room)
	if err != nil {
		return err
	}
	able, err := s.joinedLocals(ctx, room, rules, rules.EventLevel(e.Type, e.StateKey != nil))
	if err != nil {
		return err
	}
	if len(able) == 0 {
		return matrix.Forbidden("nobody in the room may send %s", e.Type)
	}
	e.Sender = able[0]
	_, err = s.Send(ctx, e)
	return err
}
