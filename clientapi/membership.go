package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// joinRequest is the body of both ways to join.
type joinRequest struct {
	Reason           string          `json:"reason"`
	ThirdPartySigned json.RawMessage `json:"third_party_signed"`
}

// joinedResponse names the room that was joined or knocked on.
type joinedResponse struct {
	RoomID matrix.RoomID `json:"room_id"`
}

// joinRoomByID makes the requester a member of a room.
//
// Spec: client-server v1.19 §joining-rooms, POST /_matrix/client/v3/rooms/{roomId}/join
func (s *Server) joinRoomByID(ctx context.Context, c *httpapi.Call, req *joinRequest) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return s.join(ctx, c, room, req)
}

// joinRoom makes the requester a member of a room that is named by its id or by an alias. The query parameters via and
// server_name say through which servers a room could be reached that is not here; a room that is here needs none of them.
//
// Spec: client-server v1.19 §joining-rooms, POST /_matrix/client/v3/join/{roomIdOrAlias}
func (s *Server) joinRoom(ctx context.Context, c *httpapi.Call, req *joinRequest) (any, error) {
	room, err := s.roomIDOrAlias(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.join(ctx, c, room, req)
}

func (s *Server) join(ctx context.Context, c *httpapi.Call, room matrix.RoomID, req *joinRequest) (any, error) {
	if err := checkReason(req.Reason); err != nil {
		return nil, err
	}
	if !isAbsent(req.ThirdPartySigned) {
		if s.cfg.Invitations == nil {
			return nil, matrix.Forbidden("third_party_signed: this server has no third-party invites")
		}
		if err := s.cfg.Invitations.ThirdPartySigned(ctx, c.Requester, room, req.ThirdPartySigned); err != nil {
			return nil, err
		}
	}
	if err := s.mayEnter(ctx, c.Requester, room); err != nil {
		return nil, err
	}
	// What else the body says becomes part of the member event, as clients of other servers are used to; the room server
	// takes out what is not the client's to say.
	err := s.rooms.Join(ctx, roomserver.Membership{
		Room: room, Sender: c.Requester.User, Target: c.Requester.User, Reason: req.Reason, Extra: c.Body,
	})
	if err != nil {
		return nil, err
	}
	s.carryOver(ctx, c.Requester.User, room)
	return joinedResponse{room}, nil
}

// approach refuses who has no part in a room and is not inside of it: there is no such room then.
func (s *Server) approach(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) error {
	_, err := s.membershipFrom(ctx, who, id)
	return err
}

// mayEnter refuses to let anybody join or knock who is not inside of the room, unless they were invited: who may invite whom is said
// by the links between organisations.
func (s *Server) mayEnter(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) error {
	membership, err := s.membershipFrom(ctx, who, id)
	_, refused := matrix.AsError(err)
	if err != nil && !refused || err == nil && membership != "leave" {
		return err
	}
	if who.Guest && s.cfg.MayVisit != nil {
		if may, mayErr := s.cfg.MayVisit(ctx, who, id); may || mayErr != nil {
			return mayErr
		}
	}
	if err == nil {
		err = matrix.Forbidden("you need another invite to this room")
	}
	return err
}

// mayKnock is mayEnter for somebody who asks to be let in.
func (s *Server) mayKnock(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) error {
	if err := s.mayEnter(ctx, who, id); err != nil || s.cfg.MayKnock == nil {
		return err
	}
	return s.cfg.MayKnock(ctx, who.User, id)
}

// membershipFrom is the membership of somebody who is not inside of a room, or M_NOT_FOUND if there is none; "" for who is inside.
func (s *Server) membershipFrom(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) (string, error) {
	room, err := s.rooms.Room(ctx, id)
	if err != nil || viewer(who).Inside(room) {
		return "", err
	}
	m, err := s.store.GetMembership(ctx, room.NID, who.User)
	if errors.Is(err, store.ErrNotFound) {
		return "", unknownRoom()
	}
	if err != nil {
		return "", fmt.Errorf("load membership of %s: %w", id, err)
	}
	return m.Membership, nil
}

// roomIDOrAlias resolves the path value of /join and /knock.
func (s *Server) roomIDOrAlias(ctx context.Context, c *httpapi.Call) (matrix.RoomID, error) {
	if !strings.HasPrefix(c.Path("roomIdOrAlias"), "#") {
		return c.RoomID("roomIdOrAlias")
	}
	alias, err := c.Alias("roomIdOrAlias")
	if err != nil {
		return "", err
	}
	if c.Requester.Guest {
		// A guest has been told of the room; what else there is behind an alias is not the guest's business.
		return "", guestsMayNot()
	}
	found, err := s.resolveAlias(ctx, c.Requester, alias)
	return found.RoomID, err
}

// isAbsent reports a value that was not given, or given as null.
func isAbsent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// reasonRequest is a body with nothing but a reason.
type reasonRequest struct {
	Reason string `json:"reason"`
}

// knockRoom asks for an invite.
//
// Spec: client-server v1.19 §knocking-on-rooms, POST /_matrix/client/v3/knock/{roomIdOrAlias}
func (s *Server) knockRoom(ctx context.Context, c *httpapi.Call, req *reasonRequest) (any, error) {
	room, err := s.roomIDOrAlias(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := checkReason(req.Reason); err != nil {
		return nil, err
	}
	if err := s.mayKnock(ctx, c.Requester, room); err != nil {
		return nil, err
	}
	err = s.rooms.Knock(ctx, roomserver.Membership{Room: room, Sender: c.Requester.User, Target: c.Requester.User, Reason: req.Reason})
	if err != nil {
		return nil, err
	}
	return joinedResponse{room}, nil
}

// leaveRoom ends the requester's membership, turns an invite down or takes a knock back.
//
// Spec: client-server v1.19 §leaving-rooms, POST /_matrix/client/v3/rooms/{roomId}/leave
func (s *Server) leaveRoom(ctx context.Context, c *httpapi.Call, req *reasonRequest) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	if err := checkReason(req.Reason); err != nil {
		return nil, err
	}
	if err := s.mayReject(ctx, c.Requester.User, room); err != nil {
		return nil, err
	}
	return empty{}, sameForUnknown(s.rooms.Leave(ctx, roomserver.Membership{
		Room: room, Sender: c.Requester.User, Target: c.Requester.User, Reason: req.Reason,
	}))
}

// forgetRoom takes a room that the requester has left out of the requester's history.
//
// Spec: client-server v1.19 §leaving-rooms, POST /_matrix/client/v3/rooms/{roomId}/forget
func (s *Server) forgetRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return empty{}, sameForUnknown(s.rooms.Forget(ctx, room, c.Requester.User))
}

// targetRequest is the body of what is done to another user.
type targetRequest struct {
	UserID *string `json:"user_id"`
	Reason string  `json:"reason"`
}

// inviteRequest may name somebody by a third-party identifier instead.
type inviteRequest struct {
	UserID *string `json:"user_id"`
	Reason string  `json:"reason"`
	thirdPartyIdentifier
}

// inviteUser asks a user into a room.
//
// Spec: client-server v1.19 §joining-rooms, POST /_matrix/client/v3/rooms/{roomId}/invite
func (s *Server) inviteUser(ctx context.Context, c *httpapi.Call, req *inviteRequest) (any, error) {
	if req.UserID == nil && (req.Medium != "" || req.Address != "" || req.IDServer != "") {
		return s.inviteThirdParty(ctx, c, req)
	}
	m, err := s.target(c, &targetRequest{UserID: req.UserID, Reason: req.Reason})
	if err != nil {
		return nil, err
	}
	// Who is not in the room learns nothing about who has an account.
	if err := s.mustBeJoined(ctx, m.Room, c.Requester.User); err != nil {
		return nil, err
	}
	if err := s.MayInvite(ctx, c.Requester, []matrix.UserID{m.Target}); err != nil {
		return nil, err
	}
	return empty{}, s.rooms.Invite(ctx, m)
}

// target reads who shall be done what to.
func (s *Server) target(c *httpapi.Call, req *targetRequest) (roomserver.Membership, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return roomserver.Membership{}, err
	}
	if req.UserID == nil {
		return roomserver.Membership{}, matrix.MissingParam("user_id is missing")
	}
	user, err := matrix.ParseUserID(*req.UserID)
	if err != nil {
		return roomserver.Membership{}, matrix.InvalidParam("user_id is not a user id")
	}
	if err := checkReason(req.Reason); err != nil {
		return roomserver.Membership{}, err
	}
	return roomserver.Membership{Room: room, Sender: c.Requester.User, Target: user, Reason: req.Reason}, nil
}

// mustBeJoined refuses who is not in the room.
func (s *Server) mustBeJoined(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return sameForUnknown(err)
	}
	m, err := s.store.GetMembership(ctx, room.NID, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load membership of %s: %w", id, err)
	}
	if m.Membership != joined {
		return forbiddenRoom()
	}
	return nil
}

// kickUser removes a user from a room, or takes the user's invite back.
//
// Spec: client-server v1.19 §leaving-rooms, POST /_matrix/client/v3/rooms/{roomId}/kick
func (s *Server) kickUser(ctx context.Context, c *httpapi.Call, req *targetRequest) (any, error) {
	return s.changeOther(ctx, c, req, s.rooms.Kick)
}

// banUser removes a user from a room for good.
//
// Spec: client-server v1.19 §banning-users-in-a-room, POST /_matrix/client/v3/rooms/{roomId}/ban
func (s *Server) banUser(ctx context.Context, c *httpapi.Call, req *targetRequest) (any, error) {
	return s.changeOther(ctx, c, req, s.rooms.Ban)
}

// unbanUser lets a banned user be invited and join again.
//
// Spec: client-server v1.19 §banning-users-in-a-room, POST /_matrix/client/v3/rooms/{roomId}/unban
func (s *Server) unbanUser(ctx context.Context, c *httpapi.Call, req *targetRequest) (any, error) {
	return s.changeOther(ctx, c, req, s.rooms.Unban)
}

func (s *Server) changeOther(ctx context.Context, c *httpapi.Call, req *targetRequest,
	change func(context.Context, roomserver.Membership) error) (any, error) {
	m, err := s.target(c, req)
	if err != nil {
		return nil, err
	}
	// Who is in the room is told to nobody outside of it: without this the answers for members and others would differ.
	if err := s.mustBeJoined(ctx, m.Room, c.Requester.User); err != nil {
		return nil, err
	}
	return empty{}, change(ctx, m)
}

// listJoinedRooms lists the rooms that the requester is in.
//
// Spec: client-server v1.19 §room-membership, GET /_matrix/client/v3/joined_rooms
func (s *Server) listJoinedRooms(ctx context.Context, c *httpapi.Call) (any, error) {
	all, err := s.store.ListMemberships(ctx, c.Requester.User)
	if err != nil {
		return nil, fmt.Errorf("list the rooms of %s: %w", c.Requester.User, err)
	}
	rooms := []matrix.RoomID{}
	for _, m := range all {
		if m.Membership == joined {
			rooms = append(rooms, m.RoomID)
		}
	}
	return map[string][]matrix.RoomID{"joined_rooms": rooms}, nil
}
