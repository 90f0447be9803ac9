package moderation

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/clientapi/guests"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
)

// ruleBefore is, in m.room.join_rules, the rule from before there was a lobby.
const ruleBefore = "org.roomline.before_lobby"

// lobby is who waits.
func (s *Server) lobby(ctx context.Context, room roomserver.Info) (string, error) {
	content, err := s.content(ctx, room, meetings.StateType)
	if err != nil {
		return "", err
	}
	if who, _ := content["lobby"].(string); who == meetings.LobbyGuests || who == meetings.LobbyEverybody {
		return who, nil
	}
	return meetings.LobbyNobody, nil
}

// Wait lets a guest, or a phone that nobody inside answers for, knock on a room with a lobby. It reports whether they have to wait; if not they
// may be let in at once. Waiting again is no mistake.
func (s *Server) Wait(ctx context.Context, room roomserver.Info, user matrix.UserID) (waiting bool, err error) {
	return s.wait(ctx, room, user, meetings.LobbyGuests)
}

// WaitInside is Wait for people of the organisation, who wait where everybody does.
func (s *Server) WaitInside(ctx context.Context, room roomserver.Info, user matrix.UserID) (waiting bool, err error) {
	return s.wait(ctx, room, user, meetings.LobbyEverybody)
}

// wait lets a user knock who waits in a lobby for who.
func (s *Server) wait(ctx context.Context, room roomserver.Info, user matrix.UserID, who string) (bool, error) {
	present, err := s.lobby(ctx, room)
	if err != nil || present != meetings.LobbyEverybody && present != who {
		return false, err
	}
	m, err := s.membership(ctx, room, user)
	if err != nil || m.Membership == spec.Knock {
		return err == nil, err
	}
	if err := s.hasPlace(ctx, room); err != nil {
		return false, err
	}
	if err := s.cfg.Rooms.Knock(ctx, roomserver.Membership{Room: room.ID, Sender: user, Target: user}); err != nil {
		return false, err
	}
	// Whoever switched the lobby off meanwhile has let in those who were waiting then.
	present, err = s.lobby(ctx, room)
	return present != meetings.LobbyNobody, err
}

// hasPlace bounds how many wait.
func (s *Server) hasPlace(ctx context.Context, room roomserver.Info) error {
	n, err := s.cfg.Store.CountWaiting(ctx, room.NID)
	if err != nil {
		return fmt.Errorf("count who waits: %w", err)
	}
	if n >= limits.Waiting {
		return matrix.LimitExceeded(limits.LobbySweep).With("org.roomline.reason", "lobby_full")
	}
	return nil
}

// MayKnock refuses whom a lobby has no place for, and those who were sent away: they need an invite.
func (s *Server) MayKnock(ctx context.Context, user matrix.UserID, id matrix.RoomID) error {
	room, err := s.cfg.Rooms.Room(ctx, id)
	if err != nil {
		return err
	}
	m, err := s.membership(ctx, room, user)
	if err != nil || m.Membership == spec.Knock {
		return err
	}
	who, err := s.lobby(ctx, room)
	if err != nil {
		return err
	}
	if who != meetings.LobbyNobody && m.Membership == spec.Leave && m.Sender != user {
		return matrix.Forbidden("you were not let in, and need an invite").With("org.roomline.reason", "not_let_in")
	}
	return s.hasPlace(ctx, room)
}

// admit lets somebody in who waits: by an invite in the name of whoever lets them in, and, where they are ours, by the join that they asked for.
func (s *Server) admit(ctx context.Context, h *hall, user matrix.UserID) error {
	m, err := s.membership(ctx, h.Info, user)
	if err != nil {
		return err
	}
	switch m.Membership {
	case spec.Join:
		return nil
	case spec.Knock:
		if err := s.cfg.Rooms.Invite(ctx, roomserver.Membership{Room: h.ID, Sender: h.user, Target: user}); err != nil {
			return err
		}
	case spec.Invite:
		answered, err := s.cfg.Store.HasBeenAnswered(ctx, h.NID, user)
		if err != nil {
			return fmt.Errorf("look up a knock: %w", err)
		}
		if !answered {
			return nobodyWaits(user)
		}
	default:
		return nobodyWaits(user)
	}
	return s.follow(ctx, h.ID, user)
}

// follow makes the join that somebody of ours has asked for.
func (s *Server) follow(ctx context.Context, room matrix.RoomID, user matrix.UserID) error {
	if !s.cfg.IsLocal(user.Domain()) {
		return nil
	}
	return s.cfg.Rooms.Join(ctx, roomserver.Membership{Room: room, Sender: user, Target: user})
}

func nobodyWaits(user matrix.UserID) *matrix.Error {
	return matrix.NotFound("%s does not wait to be let in", user)
}

// admitAll lets everybody in who waits.
func (s *Server) admitAll(ctx context.Context, h *hall) error {
	for {
		list, err := s.cfg.Store.ListWaiting(ctx, h.NID, limits.LobbyBatch)
		if err != nil {
			return fmt.Errorf("list who waits: %w", err)
		}
		var g errgroup.Group
		g.SetLimit(limits.LobbyParallel)
		for _, e := range list {
			user := matrix.UserID(*e.StateKey)
			g.Go(func() error {
				err := s.admit(ctx, h, user)
				if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
					// Gone meanwhile.
					return nil
				}
				return err
			})
		}
		if err := g.Wait(); err != nil || len(list) < limits.LobbyBatch {
			return err
		}
	}
}

type admitRequest struct {
	UserID string `json:"user_id"`
	All    bool   `json:"all"`
}

// postAdmit lets one in, or all.
func (s *Server) postAdmit(ctx context.Context, c *httpapi.Call, req *admitRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	if req.All {
		return nil, s.admitAll(ctx, h)
	}
	user, err := userOf(req.UserID)
	if err != nil {
		return nil, err
	}
	return nil, s.admit(ctx, h, user)
}

type denyRequest struct {
	UserID string `json:"user_id"`
	Reason string `json:"reason"`
}

// postDeny sends away who waits.
func (s *Server) postDeny(ctx context.Context, c *httpapi.Call, req *denyRequest) (any, error) {
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
	if err := h.over(user); err != nil {
		return nil, err
	}
	m, err := s.membership(ctx, h.Info, user)
	if err != nil {
		return nil, err
	}
	switch m.Membership {
	case spec.Knock:
		return nil, s.cfg.Rooms.Kick(ctx, roomserver.Membership{Room: h.ID, Sender: h.user, Target: user, Reason: req.Reason})
	case spec.Leave, spec.Ban:
		if m.Sender != user {
			return nil, nil
		}
	}
	return nil, nobodyWaits(user)
}

type lobbyRequest struct {
	Who string `json:"who"`
}

// postLobby says who waits. Where nobody does any more all are let in.
func (s *Server) postLobby(ctx context.Context, c *httpapi.Call, req *lobbyRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.setLobby(ctx, h, req.Who)
}

// SetLobby says who waits, in the name of somebody who is in the room and leads meetings there.
func (s *Server) SetLobby(ctx context.Context, room roomserver.Info, user matrix.UserID, actor, who string) error {
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return err
	}
	return s.setLobby(ctx, &hall{Info: room, rules: rules, user: user, level: rules.UserLevel(user), actor: actor}, who)
}

func (s *Server) setLobby(ctx context.Context, h *hall, who string) error {
	if who != meetings.LobbyNobody && who != meetings.LobbyGuests && who != meetings.LobbyEverybody {
		return matrix.InvalidParam("who must be %s, %s or %s", meetings.LobbyNobody, meetings.LobbyGuests, meetings.LobbyEverybody)
	}
	if who != meetings.LobbyNobody {
		if err := s.openDoor(ctx, h); err != nil {
			return err
		}
	}
	err := s.change(ctx, h, func(content map[string]any) error {
		if present, _ := content["lobby"].(string); present != who && (present != "" || who != meetings.LobbyNobody) {
			content["lobby"] = who
		}
		return nil
	})
	if err != nil || who != meetings.LobbyNobody {
		return err
	}
	if err := s.admitAll(ctx, h); err != nil {
		return err
	}
	return s.closeDoor(ctx, h)
}

// withKnock are the join rules that let people knock, by those that do not.
var withKnock = map[string]string{"": spec.Knock, spec.Invite: spec.Knock, "private": spec.Knock, spec.Restricted: spec.KnockRestricted}

// openDoor lets people knock.
func (s *Server) openDoor(ctx context.Context, h *hall) error {
	return s.cfg.Rooms.ChangeState(ctx, roomserver.StateChange{Room: h.ID, Sender: h.user, Type: spec.MRoomJoinRules, Change: func(content map[string]any) error {
		rule, _ := content["join_rule"].(string)
		wanted, closed := withKnock[rule]
		switch {
		case rule == spec.Knock || rule == spec.KnockRestricted:
			return nil
		case !closed:
			return matrix.BadState("a room that everybody may join has no lobby")
		case !h.Version.KnockAllowed || wanted == spec.KnockRestricted && !h.Version.KnockRestrictedAllowed:
			return matrix.BadState("rooms of version %s have no lobby", h.Version.ID)
		}
		content["join_rule"] = wanted
		content[ruleBefore] = cmp.Or(rule, spec.Invite)
		return nil
	}})
}

// closeDoor takes back what openDoor did.
func (s *Server) closeDoor(ctx context.Context, h *hall) error {
	return s.cfg.Rooms.ChangeState(ctx, roomserver.StateChange{Room: h.ID, Sender: h.user, Type: spec.MRoomJoinRules, Change: func(content map[string]any) error {
		before, _ := content[ruleBefore].(string)
		if rule, _ := content["join_rule"].(string); before == "" || withKnock[before] != rule {
			return nil
		}
		delete(content, ruleBefore)
		content["join_rule"] = before
		return nil
	}})
}

// observe notices guests who are invited.
func (s *Server) observe(entries []journal.Entry, lost bool) {
	for _, e := range entries {
		lost = lost || e.Event != nil && e.Event.Type == spec.MRoomMember && e.Event.StateKey != nil && strings.HasPrefix(*e.Event.StateKey, "@"+guests.Prefix) &&
			gjson.GetBytes(e.Event.JSON, "content.membership").String() == spec.Invite
	}
	if !lost {
		return
	}
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

const (
	leaseName = "lobby"
	// lookAgain is how often a process tries to become the one that lets guests in whose knock was answered by any client.
	lookAgain = time.Second
)

// Run makes the joins of guests whose knock somebody has answered with an invite, until ctx ends: on one process, under a lease.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		lease, ok, err := s.cfg.Store.TryLease(ctx, leaseName)
		if err == nil && ok {
			err = s.work(ctx, lease)
			lease.Release()
		}
		if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("let guests in", "err", err)
		}
		wake.Pause(ctx, lookAgain)
	}
	return nil
}

func (s *Server) work(ctx context.Context, lease *store.Lease) error {
	for ctx.Err() == nil {
		list, err := s.cfg.Store.ListAnswered(ctx, limits.LobbyBatch)
		if err != nil {
			return fmt.Errorf("look for guests who are let in: %w", err)
		}
		for _, m := range list {
			if err := s.follow(ctx, m.RoomID, m.UserID); err != nil {
				if _, refused := matrix.AsError(err); !refused {
					return err
				}
				s.cfg.Log.Info("a guest could not be let in", "user", m.UserID, "room", m.RoomID, "err", err)
			}
		}
		wake.PauseUntil(ctx, s.woken, limits.LobbySweep)
		if err := lease.Check(ctx); err != nil {
			return err
		}
	}
	return nil
}
