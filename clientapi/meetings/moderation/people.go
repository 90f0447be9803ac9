package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// audit notes what was done in a meeting, in the log of the room's organisation.
func (s *Server) audit(ctx context.Context, room roomserver.Info, actor, ip, action string, target string, detail map[string]any) error {
	detail["room_id"] = room.ID
	raw, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	err = s.cfg.Store.AppendAudit(ctx, store.AuditEntry{
		OrganisationID: room.OrganisationID, TS: s.now(), Actor: actor, IP: ip, Action: action, Target: target, Detail: raw,
	})
	if err != nil {
		return fmt.Errorf("note what was done in a meeting: %w", err)
	}
	return nil
}

type removeRequest struct {
	UserID string `json:"user_id"`
	Ban    bool   `json:"ban"`
	Reason string `json:"reason"`
}

// postRemove takes somebody out of the room, and so out of the meeting: who may be in the one is who may be in the other.
func (s *Server) postRemove(ctx context.Context, c *httpapi.Call, req *removeRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	user, err := userOf(req.UserID)
	if err != nil {
		return nil, err
	}
	if len(req.Reason) > limits.Reason {
		return nil, matrix.TooLarge("reason is longer than %d bytes", limits.Reason)
	}
	if user == h.user {
		return nil, matrix.InvalidParam("you can leave")
	}
	if err := h.over(user); err != nil {
		return nil, err
	}
	m, err := s.membership(ctx, h.Info, user)
	if err != nil {
		return nil, err
	}
	change := roomserver.Membership{Room: h.ID, Sender: h.user, Target: user, Reason: req.Reason}
	switch {
	case m.Membership == spec.Ban, m.Membership == spec.Leave && m.Sender != user && !req.Ban:
		return nil, nil
	case req.Ban && m.Membership != "":
		err = s.cfg.Rooms.Ban(ctx, change)
	case m.Membership == "" || m.Membership == spec.Leave:
		return nil, notThere(user)
	default:
		err = s.cfg.Rooms.Kick(ctx, change)
	}
	if err != nil {
		return nil, err
	}
	return nil, s.audit(context.WithoutCancel(ctx), h.Info, h.actor, h.ip, "meeting.remove", string(user), map[string]any{"ban": req.Ban})
}

type roleRequest struct {
	UserID string `json:"user_id"`
	Role   string `json:"role"`
}

// postRole makes somebody an attendee, a presenter, a moderator or an organiser: nobody gives more than they have. The room's power levels say who
// may change them.
func (s *Server) postRole(ctx context.Context, c *httpapi.Call, req *roleRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	user, err := userOf(req.UserID)
	if err != nil {
		return nil, err
	}
	level, ok := levelOf[req.Role]
	if !ok {
		return nil, matrix.InvalidParam("role must be %s, %s, %s or %s", Attendee, Presenter, Moderator, Organiser)
	}
	if level > h.level {
		return nil, matrix.Forbidden("you have less power than a %s", req.Role)
	}
	if err := h.over(user); err != nil {
		return nil, err
	}
	if err := s.mayHave(ctx, h, user, level); err != nil {
		return nil, err
	}
	before := h.rules.UserLevel(user)
	if RoleOf(before) == req.Role {
		return nil, nil
	}
	err = s.cfg.Rooms.ChangeState(ctx, roomserver.StateChange{Room: h.ID, Sender: h.user, Type: spec.MRoomPowerLevels, Change: func(content map[string]any) error {
		users, _ := content["users"].(map[string]any)
		if users == nil {
			users = map[string]any{}
		}
		users[string(user)] = level
		content["users"] = users
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return nil, s.audit(context.WithoutCancel(ctx), h.Info, h.actor, h.ip, "meeting.role", string(user), map[string]any{"role": req.Role, "was": RoleOf(before)})
}

// mayHave refuses a role to who is not in the room, and to guests the leading of it.
func (s *Server) mayHave(ctx context.Context, h *hall, user matrix.UserID, level int64) error {
	m, err := s.membership(ctx, h.Info, user)
	if err != nil {
		return err
	}
	if m.Membership != spec.Join && m.Membership != spec.Invite {
		return notThere(user)
	}
	if level < ModeratorLevel || !s.cfg.IsLocal(user.Domain()) {
		return nil
	}
	u, err := s.cfg.Store.GetUser(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return notThere(user)
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", user, err)
	}
	if u.Guest {
		return matrix.Forbidden("a guest leads no meeting").With("org.roomline.reason", "guest")
	}
	return nil
}

// administers reports whether the requester manages the people of the room's organisation.
func (s *Server) administers(c *httpapi.Call, room roomserver.Info) bool {
	return c.Requester.Org == room.OrganisationID && c.Requester.ManagesPeople() && !c.Requester.Suspended
}

// postEnd ends the meeting for all: everybody is out of the call. They stay in the room, guests too, for as long as they may: what was written
// there is theirs to read. Whoever manages people of the organisation may do it without being in the room.
func (s *Server) postEnd(ctx context.Context, c *httpapi.Call, _ *struct{}) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	room, err := s.cfg.Rooms.Room(ctx, id)
	if err != nil || !s.administers(c, room) {
		h, err := s.lead(ctx, c)
		if err != nil {
			return nil, err
		}
		room = h.Info
	}
	if s.cfg.SFU == nil {
		return nil, matrix.Unrecognized()
	}
	for _, before := range s.cfg.BeforeEnd {
		if err := before(ctx, room, c.Requester.Actor()); err != nil {
			return nil, err
		}
	}
	if err := s.cfg.EndRoom(ctx, room.NID); err != nil {
		return nil, err
	}
	return nil, s.audit(context.WithoutCancel(ctx), room, c.Requester.Actor(), c.ClientAddr(), "meeting.end", string(room.ID), map[string]any{})
}
