package recording

import (
	"context"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// actor is who does something to a recording.
type actor struct {
	user     matrix.UserID
	name, ip string
	level    int64
}

// enter is the room of a request whose requester is in it.
func (s *Server) enter(ctx context.Context, c *httpapi.Call) (room roomserver.Info, a actor, err error) {
	notThere := matrix.Forbidden("you are not in this room")
	if s.cfg.SFU == nil {
		return room, a, matrix.Unrecognized()
	}
	id, err := c.RoomID("roomId")
	if err != nil {
		return room, a, err
	}
	room, err = s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return room, a, notThere
	}
	if err != nil {
		return room, a, err
	}
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, c.Requester.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return room, a, fmt.Errorf("load membership of %s: %w", room.ID, err)
	}
	if m.Membership != spec.Join {
		return room, a, notThere
	}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return room, a, err
	}
	return room, actor{user: c.Requester.User, name: c.Requester.Actor(), ip: c.ClientAddr(), level: rules.UserLevel(c.Requester.User)}, nil
}

// govern is enter for somebody who may have the meeting recorded.
func (s *Server) govern(ctx context.Context, c *httpapi.Call) (roomserver.Info, actor, Policy, error) {
	if err := c.Requester.MayAct(); err != nil {
		return roomserver.Info{}, actor{}, Policy{}, err
	}
	room, a, err := s.enter(ctx, c)
	if err != nil {
		return room, a, Policy{}, err
	}
	var p Policy
	if s.cfg.Policy != nil {
		if p, err = s.cfg.Policy(ctx, room.OrganisationID); err != nil {
			return room, a, p, err
		}
	}
	p.Level = max(p.Level, meetings.Moderator)
	if a.level < p.Level {
		return room, a, p, matrix.Forbidden("having a meeting recorded needs power level %d", p.Level)
	}
	return room, a, p, nil
}
