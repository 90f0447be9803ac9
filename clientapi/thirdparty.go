package clientapi

import (
	"context"
	"net/http"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// thirdPartyIdentifier names somebody who is to be invited by an address.
type thirdPartyIdentifier struct {
	IDServer      string `json:"id_server"`
	IDAccessToken string `json:"id_access_token"`
	Medium        string `json:"medium"`
	Address       string `json:"address"`
}

// inviteThirdParty asks somebody into a room by an e-mail address or a phone number. The answer does not say whether there is such an account.
//
// Spec: client-server v1.19 §third-party-invites, POST /_matrix/client/v3/rooms/{roomId}/invite (third-party identifier)
func (s *Server) inviteThirdParty(ctx context.Context, c *httpapi.Call, req *inviteRequest) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	n, err := s.newInvitation(c.Requester, &req.thirdPartyIdentifier)
	if err != nil {
		return nil, err
	}
	n.Reason = req.Reason
	_, err = s.cfg.Invitations.Invite(ctx, c.Requester, room, n)
	return empty{}, err
}

// firstThirdParty refuses the invitations of a new room that can be refused before there is one, and returns what invites when it is there.
func (s *Server) firstThirdParty(ctx context.Context, who *httpapi.Requester, req *createRoomRequest) (func(context.Context, matrix.RoomID) error, error) {
	if len(req.Invite3PID) == 0 {
		return func(context.Context, matrix.RoomID) error { return nil }, nil
	}
	if len(req.Invite3PID) > limits.FirstThirdPartyInvites {
		return nil, matrix.InvalidParam("invite_3pid has more than %d addresses; invite the others when the room is there", limits.FirstThirdPartyInvites)
	}
	var list []invitations.Request
	for i := range req.Invite3PID {
		n, err := s.newInvitation(who, &req.Invite3PID[i])
		if err != nil {
			return nil, err
		}
		n.IsDirect = req.IsDirect
		list = append(list, n)
	}
	return s.cfg.Invitations.First(ctx, who, list)
}

// newInvitation is the invitation that a third-party identifier asks for.
//
// Differs: invitations are stored here, and never with an identity server that a client names: it would learn who invites whom.
func (s *Server) newInvitation(who *httpapi.Requester, id *thirdPartyIdentifier) (invitations.Request, error) {
	n := invitations.Request{Medium: id.Medium, Address: id.Address}
	switch {
	case s.cfg.Invitations == nil:
		return n, matrix.NewError(http.StatusForbidden, matrix.ErrThreepidDenied,
			"this server does not send invites to e-mail addresses and phone numbers; invite by user_id")
	case id.Medium == "":
		return n, matrix.MissingParam("medium is missing")
	case id.Address == "":
		return n, matrix.MissingParam("address is missing")
	}
	return n, s.checkIDServer(who, id.IDServer)
}
