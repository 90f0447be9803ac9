package meetings

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/roomline/roomline/internal/fedclient"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
)

const federated = "/_matrix/federation/v1/rtc/livekit/get_token"

// FederationRoutes are the endpoints for other servers.
func (s *Server) FederationRoutes() []httpapi.Route {
	return []httpapi.Route{{
		Method: post, Path: federated, Limit: ratelimit.CallOpenID, MaxBody: limits.CallBody, Handle: httpapi.JSON(s.getTokenForServer),
	}}
}

// serverInRoom reports whether a user of another server is in a room: only then is that server asked anything, or told anything, of the room.
func (s *Server) serverInRoom(ctx context.Context, server matrix.ServerName, room matrix.RoomID) (bool, error) {
	in, err := s.cfg.Store.HasJoinedOf(ctx, room, server)
	if err != nil {
		return false, fmt.Errorf("look for users of %s: %w", server, err)
	}
	return in && s.cfg.Others != nil, nil
}

// openIDUserOfOther asks another server whose an OpenID token is.
//
// Spec: server-server v1.19 §openid
func (s *Server) openIDUserOfOther(ctx context.Context, server matrix.ServerName, token string, room matrix.RoomID) (matrix.UserID, error) {
	if in, err := s.serverInRoom(ctx, server, room); err != nil || !in {
		return "", orElse(err, badOpenID())
	}
	ctx, cancel := context.WithTimeout(ctx, limits.CallOtherServer)
	defer cancel()
	answer, err := s.cfg.Others.Do(ctx, server, http.MethodGet, "/_matrix/federation/v1/openid/userinfo?access_token="+url.QueryEscape(token), "", nil)
	if err != nil || answer.Status != http.StatusOK {
		s.cfg.Log.Info("another server did not say whose an OpenID token is", "server", server, "status", answer.Status)
		return "", badOpenID()
	}
	var info struct {
		Sub string `json:"sub"`
	}
	if json.Unmarshal(answer.Body, &info) != nil {
		return "", badOpenID()
	}
	user, err := matrix.ParseUserID(info.Sub)
	if err != nil || user.Domain() != server {
		return "", badOpenID()
	}
	return user, nil
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// serverTokenRequest is what servers ask each other. The user stands where older drafts have it, too.
type serverTokenRequest struct {
	RoomID string `json:"room_id"`
	SlotID string `json:"slot_id"`
	UserID string `json:"user_id,omitempty"`
	Member member `json:"member"`
}

// tokenOfOther asks another server for a token for its SFU, in the name of a member of the room.
//
// Spec: MSC4195, acquiring-a-token-for-the-sfu
func (s *Server) tokenOfOther(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, req *tokenRequest) (any, error) {
	if _, err := s.Entitled(ctx, room, who.User, string(who.Device)); err != nil {
		return nil, unauthorised(err)
	}
	server, err := matrix.ParseServerName(req.ServerName)
	if err != nil {
		return nil, matrix.BadJSON("server_name is not the name of a server")
	}
	if in, err := s.serverInRoom(ctx, server, room); err != nil || !in {
		return nil, orElse(err, unauthorised(notThere()))
	}
	ask := serverTokenRequest{RoomID: string(room), SlotID: req.SlotID, UserID: string(who.User), Member: req.Member}
	ask.Member.ClaimedUserID = string(who.User)
	content, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limits.CallOtherServer)
	defer cancel()
	answer, err := s.cfg.Others.Signed(ctx, who.User.Domain(), server, http.MethodPost, federated, content)
	if err != nil {
		s.cfg.Log.Info("another server did not answer for a token", "server", server, "error", err)
		return nil, Unavailable()
	}
	var token tokenResponse
	if answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &token) != nil || token.JWT == "" || !isSFU(token.URL) {
		return nil, unauthorised(notThere())
	}
	return token, nil
}

func isSFU(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "wss" || u.Scheme == "https")
}

// getTokenForServer gives a token to a user of another server. The user has to be in the room, which the server is then, too; before that is
// known the server is not even asked for its keys.
//
// Spec: MSC4195, POST /_matrix/federation/v1/rtc/livekit/get_token
func (s *Server) getTokenForServer(ctx context.Context, c *httpapi.Call, req *serverTokenRequest) (any, error) {
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
	signature, ok := fedclient.ParseAuthorization(c.Request.Header.Get("Authorization"))
	user := matrix.UserID(req.Member.ClaimedUserID)
	if user == "" {
		user = matrix.UserID(req.UserID)
	}
	if !ok || s.cfg.Others == nil || !s.cfg.IsLocal(signature.Destination) || s.cfg.IsLocal(signature.Origin) || user.Domain() != signature.Origin {
		return nil, unauthorised(notThere())
	}
	if _, err := s.Entitled(ctx, room, user, req.Member.ClaimedDeviceID); err != nil {
		if _, refused := matrix.AsError(err); refused {
			err = unauthorised(notThere()) // nobody has shown yet who asks
		}
		return nil, err
	}
	verifying, cancel := context.WithTimeout(ctx, limits.CallOtherServer)
	defer cancel()
	if err := s.cfg.Others.Verify(verifying, signature, c.Request.Method, c.Request.URL.RequestURI(), c.Body); err != nil {
		s.cfg.Log.Info("a request for a token is not signed as it should be", "server", signature.Origin, "error", err)
		return nil, unauthorised(notThere())
	}
	token, err := s.Mint(ctx, MintRequest{Room: room, Slot: req.SlotID, User: user, Device: req.Member.ClaimedDeviceID, MemberID: req.Member.ID})
	if err != nil {
		return nil, unauthorised(err)
	}
	return tokenResponse{URL: token.URL, JWT: token.JWT}, nil
}
