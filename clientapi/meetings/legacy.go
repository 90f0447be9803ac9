package meetings

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// openIDToken is what a client got from its server to prove who it is.
type openIDToken struct {
	AccessToken string `json:"access_token"`
	ServerName  string `json:"matrix_server_name"`
}

// delegated is a delayed event that ends the membership, which the client hands over with its request.
type delegated struct {
	DelayID string `json:"delay_id"`
	// Timeout is in ms. It is told here because the older service did not own the delayed events.
	Timeout int64  `json:"delay_timeout"`
	API     string `json:"delay_cs_api_url"`
}

type openIDRequest struct {
	Room     string      `json:"room"`
	DeviceID string      `json:"device_id"`
	OpenID   openIDToken `json:"openid_token"`
	delegated
}

type openIDTokenRequest struct {
	RoomID string      `json:"room_id"`
	SlotID string      `json:"slot_id"`
	Member member      `json:"member"`
	OpenID openIDToken `json:"openid_token"`
	delegated
}

// getByOpenID gives a token for a room's default slot, as clients ask that know of no slots.
//
// Spec: MSC4195, as it was before the endpoints became the homeserver's: POST /sfu/get
func (s *Server) getByOpenID(ctx context.Context, c *httpapi.Call, req *openIDRequest) (any, error) {
	room, err := readTarget(req.Room, CallDefaultSlot)
	if err != nil {
		return nil, err
	}
	if req.DeviceID == "" || len(req.DeviceID) > limits.CallMember {
		return nil, matrix.BadJSON("device_id must have 1 to %d bytes", limits.CallMember)
	}
	return s.byOpenID(ctx, &req.OpenID, &req.delegated, MintRequest{Room: room, Slot: CallDefaultSlot, Device: req.DeviceID, Legacy: true})
}

// getTokenByOpenID gives a token for a slot.
//
// Spec: MSC4195, as it was before the endpoints became the homeserver's: POST /get_token
func (s *Server) getTokenByOpenID(ctx context.Context, c *httpapi.Call, req *openIDTokenRequest) (any, error) {
	room, err := readTarget(req.RoomID, req.SlotID)
	if err != nil {
		return nil, err
	}
	if err := req.Member.check(); err != nil {
		return nil, err
	}
	return s.byOpenID(ctx, &req.OpenID, &req.delegated, MintRequest{
		Room: room, Slot: req.SlotID, User: matrix.UserID(req.Member.ClaimedUserID), Device: req.Member.ClaimedDeviceID, MemberID: req.Member.ID,
	})
}

func (s *Server) byOpenID(ctx context.Context, token *openIDToken, d *delegated, r MintRequest) (any, error) {
	if !s.On() {
		return nil, matrix.Unrecognized()
	}
	if d.DelayID != "" && s.delegate == nil {
		return nil, matrix.BadJSON("delay_id: delayed events are not taken over here")
	}
	user, err := s.openIDUser(ctx, token, r.Room)
	if err != nil {
		return nil, err
	}
	if r.User != "" && r.User != user {
		return nil, matrix.Forbidden("member.claimed_user_id is not whom the OpenID token belongs to")
	}
	r.User = user
	minted, err := s.Mint(ctx, r)
	if err != nil {
		return nil, err
	}
	if d.DelayID != "" {
		if err := s.delegate(ctx, r, minted, d.DelayID, time.Duration(d.Timeout)*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return tokenResponse{URL: minted.URL, JWT: minted.JWT}, nil
}

func badOpenID() *matrix.Error {
	return matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "openid_token is unknown or has expired")
}

// openIDUser is whom an OpenID token belongs to. Another server is asked only about rooms that users of it are in: a stranger's word is not
// enough for a request to wherever the stranger likes.
func (s *Server) openIDUser(ctx context.Context, token *openIDToken, room matrix.RoomID) (matrix.UserID, error) {
	if token.AccessToken == "" {
		return "", matrix.BadJSON("openid_token.access_token is missing")
	}
	if len(token.AccessToken) > limits.AccessToken {
		return "", badOpenID()
	}
	server, err := matrix.ParseServerName(token.ServerName)
	if err != nil {
		return "", matrix.BadJSON("openid_token.matrix_server_name is not the name of a server")
	}
	if !s.cfg.IsLocal(server) {
		return s.openIDUserOfOther(ctx, server, token.AccessToken, room)
	}
	hash := sha256.Sum256([]byte(token.AccessToken))
	user, err := s.cfg.Store.GetOpenIDUser(ctx, hash[:], s.now())
	if errors.Is(err, store.ErrNotFound) {
		return "", badOpenID()
	}
	if err != nil {
		return "", fmt.Errorf("look up an OpenID token: %w", err)
	}
	return user, nil
}
