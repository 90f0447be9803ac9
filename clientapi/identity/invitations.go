package identity

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

type storeInviteRequest struct {
	Medium  string        `json:"medium"`
	Address string        `json:"address"`
	RoomID  string        `json:"room_id"`
	Sender  matrix.UserID `json:"sender"`
}

type publicKey struct {
	PublicKey      string `json:"public_key"`
	KeyValidityURL string `json:"key_validity_url"`
}

type storeInviteResponse struct {
	Token       string      `json:"token"`
	PublicKeys  []publicKey `json:"public_keys"`
	DisplayName string      `json:"display_name"`
}

// storeInvite invites an address into a room, as the token's owner: the message is sent, and the room has its m.room.third_party_invite, when
// it is answered. What the request says of the room is not read; the server knows it.
//
// Spec: identity v1.19 §invitation-storage, POST /_matrix/identity/v2/store-invite
func (s *Server) storeInvite(ctx context.Context, c *httpapi.Call, req *storeInviteRequest) (any, error) {
	if req.Medium == "" || req.Address == "" || req.RoomID == "" || req.Sender == "" {
		return nil, matrix.MissingParam("medium, address, room_id and sender are needed")
	}
	if req.Medium != "email" && req.Medium != "msisdn" {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrUnrecognized, "medium must be email or msisdn")
	}
	address, ok := auth.CanonicalAddress(req.Medium, req.Address, "")
	if !ok {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidAddress, "address is not an address of the medium")
	}
	if req.Sender != c.Requester.User {
		return nil, matrix.Forbidden("sender: the token is another user's")
	}
	room, err := matrix.ParseRoomID(req.RoomID)
	if err != nil {
		return nil, err
	}
	bound, err := s.linkedWith(ctx, c.Requester, req.Medium, address)
	if err != nil {
		return nil, err
	}
	if bound != "" {
		return nil, inUse(bound)
	}
	invited, err := s.cfg.Invite(ctx, c.Requester, room, req.Medium, address)
	if err != nil {
		return nil, err
	}
	if invited.User != "" {
		return nil, inUse(invited.User)
	}
	base := strings.TrimSuffix(s.cfg.BaseURL, "/")
	return storeInviteResponse{
		Token: invited.Token, DisplayName: invited.DisplayName,
		PublicKeys: []publicKey{{s.publicKey, base + "/_matrix/identity/v2/pubkey/isvalid"}},
	}, nil
}

func inUse(user matrix.UserID) *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, matrix.ErrThreepidInUse, "the address belongs to an account").With("mxid", user)
}

type signRequest struct {
	MXID       matrix.UserID `json:"mxid"`
	Token      string        `json:"token"`
	PrivateKey string        `json:"private_key"`
}

type toSign struct {
	MXID   matrix.UserID `json:"mxid"`
	Sender matrix.UserID `json:"sender"`
	Token  string        `json:"token"`
}

// blindlySignStuff signs for a client, with the client's key, that an invitation is the requester's. The service's own key signs nothing here.
//
// Spec: identity v1.19 §ephemeral-invitation-signing, POST /_matrix/identity/v2/sign-ed25519
func (s *Server) blindlySignStuff(ctx context.Context, c *httpapi.Call, req *signRequest) (any, error) {
	if req.MXID == "" || req.Token == "" || req.PrivateKey == "" {
		return nil, matrix.MissingParam("mxid, token and private_key are needed")
	}
	if req.MXID != c.Requester.User {
		return nil, matrix.Forbidden("mxid: the token is another user's")
	}
	key, ok := decodeBase64(req.PrivateKey)
	if !ok || len(key) != ed25519.SeedSize {
		return nil, matrix.InvalidParam("private_key must be the %d bytes of an ed25519 key in unpadded base64", ed25519.SeedSize)
	}
	unknown := matrix.NewError(http.StatusNotFound, matrix.ErrUnrecognized, "there is no invitation with this token")
	if len(req.Token) > limits.StateKey {
		return nil, unknown
	}
	sender, open, err := s.cfg.Inviter(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	if !open {
		return nil, unknown
	}
	return s.sign(toSign{req.MXID, sender, req.Token}, ed25519.NewKeyFromSeed(key))
}
