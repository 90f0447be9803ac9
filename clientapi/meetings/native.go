package meetings

import (
	"context"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// transport is what carries the media.
type transport struct {
	Type string `json:"type"`
	// ServiceURL is for clients that ask for tokens without an access token.
	ServiceURL string `json:"livekit_service_url,omitempty"`
}

const liveKit = "livekit"

type transportsResponse struct {
	Transports []transport `json:"rtc_transports"`
}

// ServiceURL is where clients of the older kind ask for tokens, empty where there are no meetings.
func (s *Server) ServiceURL() string {
	if !s.On() || s.cfg.BaseURL == "" {
		return ""
	}
	return s.cfg.BaseURL + Service
}

// getTransports says how media gets from one to the other here. Where it does not, the endpoint is not there: clients take an empty list for
// the word that there are no calls, and ask nowhere else.
//
// Spec: MSC4143, GET /_matrix/client/v1/rtc/transports
func (s *Server) getTransports(ctx context.Context, c *httpapi.Call) (any, error) {
	if !s.On() {
		return nil, matrix.Unrecognized()
	}
	allowed, err := s.limitsOf(ctx, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	if !allowed.Enabled {
		return nil, matrix.Unrecognized()
	}
	return transportsResponse{[]transport{{Type: liveKit, ServiceURL: s.ServiceURL()}}}, nil
}

// member is what m.rtc.member says of itself. Which device it is has had more than one name.
type member struct {
	ID              string `json:"id"`
	ClaimedUserID   string `json:"claimed_user_id,omitempty"`
	ClaimedDeviceID string `json:"claimed_device_id"`
}

type tokenRequest struct {
	ServerName string `json:"server_name"`
	RoomID     string `json:"room_id"`
	SlotID     string `json:"slot_id"`
	Member     member `json:"member"`
}

type tokenResponse struct {
	URL string `json:"url"`
	JWT string `json:"jwt"`
}

// read checks what every kind of request for a token says.
func readTarget(room, slot string) (matrix.RoomID, error) {
	if room == "" {
		return "", matrix.BadJSON("room_id is missing")
	}
	id, err := matrix.ParseRoomID(room)
	if err != nil {
		return "", matrix.BadJSON("room_id is no id of a room")
	}
	if slot == "" || len(slot) > limits.CallSlot {
		return "", matrix.BadJSON("slot_id must have 1 to %d bytes", limits.CallSlot)
	}
	return id, nil
}

func (m *member) check() error {
	if m.ID == "" || len(m.ID) > limits.CallMember {
		return matrix.BadJSON("member.id must have 1 to %d bytes", limits.CallMember)
	}
	if m.ClaimedDeviceID == "" || len(m.ClaimedDeviceID) > limits.CallMember {
		return matrix.BadJSON("member.claimed_device_id must have 1 to %d bytes", limits.CallMember)
	}
	return nil
}

// getToken gives a member of a room a token for its call.
//
// Spec: MSC4195, POST /_matrix/client/v1/rtc/livekit/get_token
func (s *Server) getToken(ctx context.Context, c *httpapi.Call, req *tokenRequest) (any, error) {
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
	if err := mayClaim(c.Requester, &req.Member); err != nil {
		return nil, err
	}
	if req.ServerName != "" && !s.cfg.IsLocal(matrix.ServerName(req.ServerName)) {
		return s.tokenOfOther(ctx, c.Requester, room, req)
	}
	token, err := s.Mint(ctx, MintRequest{
		Room: room, Slot: req.SlotID, User: c.Requester.User, Device: req.Member.ClaimedDeviceID, MemberID: req.Member.ID,
	})
	if err != nil {
		return nil, unauthorised(err)
	}
	return tokenResponse{URL: token.URL, JWT: token.JWT}, nil
}

// mayClaim refuses the name of another device, or of another user. An application service may act as devices that it has not named before.
func mayClaim(who *httpapi.Requester, m *member) error {
	if m.ClaimedUserID != "" && m.ClaimedUserID != string(who.User) {
		return matrix.Forbidden("member.claimed_user_id is not you")
	}
	if string(who.Device) != m.ClaimedDeviceID && (who.Appservice == "" || who.Device != "") {
		return matrix.Forbidden("member.claimed_device_id is not this device")
	}
	return nil
}

// unauthorised is how the newer endpoints say that somebody is not in the room.
//
// Spec: MSC4195, acquiring-a-token-for-the-sfu
func unauthorised(err error) error {
	e, ok := matrix.AsError(err)
	if !ok || e.Status != http.StatusForbidden || e.Fields[reasonKey] != nil {
		return err
	}
	return matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "%s", e.Message)
}
