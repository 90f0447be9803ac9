package phones

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// Routes are the endpoints.
func (s *Server) Routes() []httpapi.Route {
	const client = "/_roomline/client/v1/rooms/{roomId}/meeting/phone"
	return slices.Concat(s.bridgeRoutes(), []httpapi.Route{
		{Method: http.MethodGet, Path: client, Auth: httpapi.AccessToken, Limit: ratelimit.Read, Handle: s.show},
		{Method: http.MethodPost, Path: client + "/call", Auth: httpapi.AccessToken, Limit: ratelimit.PhoneCall, MaxBody: limits.SmallBody, Handle: httpapi.JSON(s.call)},
		{Method: http.MethodDelete, Path: client + "/calls/{callId}", Auth: httpapi.AccessToken, Limit: ratelimit.Account, Handle: s.hangUp},
	}, s.adminRoutes())
}

type showResponse struct {
	// Numbers are those to call, PIN is what the requester types then.
	Numbers []numberItem `json:"numbers"`
	PIN     string       `json:"pin,omitempty"`
	// Encrypted says why there are no numbers: a phone can't be in an encrypted meeting.
	Encrypted bool `json:"encrypted,omitempty"`
	// DialOut says that the requester may have people called.
	DialOut bool `json:"dial_out"`
	// Calls are the phones that are in the meeting, or on their way into it.
	Calls []phoneItem `json:"calls"`
}

type numberItem struct {
	Country  string `json:"country"`
	Number   string `json:"number"`
	Language string `json:"language"`
}

type phoneItem struct {
	CallID      string        `json:"call_id"`
	Direction   string        `json:"direction"`
	State       string        `json:"state"`
	Name        string        `json:"name"`
	UserID      matrix.UserID `json:"user_id"`
	RequestedBy matrix.UserID `json:"requested_by,omitempty"`
}

// show says how the requester gets into a room's meeting by phone. The PIN is made when it is first asked for.
func (s *Server) show(ctx context.Context, c *httpapi.Call) (any, error) {
	room, err := s.roomOf(ctx, c, false)
	if err != nil {
		return nil, err
	}
	answer := showResponse{Numbers: []numberItem{}, Calls: []phoneItem{}}
	calls, err := s.cfg.Store.ListPhoneCallsIn(ctx, room.NID)
	if err != nil {
		return nil, fmt.Errorf("list the phones of a room: %w", err)
	}
	for i := range calls {
		call := &calls[i]
		answer.Calls = append(answer.Calls, phoneItem{call.ID, call.Direction, call.State, call.Name, call.UserID, call.RequestedBy})
	}
	if answer.Encrypted, err = s.isEncrypted(ctx, room.NID); err != nil || answer.Encrypted {
		return answer, err
	}
	numbers, err := s.numbersOf(ctx, s.cfg.Store, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		answer.Numbers = append(answer.Numbers, numberItem{n.Country, n.Number, language(n.Language)})
	}
	if len(numbers) > 0 && !c.Requester.Suspended {
		if answer.PIN, err = s.pinOf(ctx, c.Requester, room.NID); err != nil {
			return nil, err
		}
	}
	if c.Requester.Guest {
		return answer, nil
	}
	r, err := s.rulesFor(ctx, s.cfg.Store, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	trunk, err := s.outTrunk(ctx, c.Requester.Org)
	answer.DialOut = r.dialOut && trunk != nil && s.cfg.Mint != nil
	return answer, err
}

// pinOf is the requester's own PIN: a guest's is that of the invitation.
func (s *Server) pinOf(ctx context.Context, who *httpapi.Requester, room int64) (string, error) {
	if !who.Guest {
		return s.ownPIN(ctx, who.Org, room, who.User)
	}
	g, err := s.cfg.Store.GetGuest(ctx, who.User)
	if err != nil || g.InvitationID == "" {
		return "", err
	}
	i, err := s.cfg.Store.GetInvitation(ctx, g.InvitationID)
	if err != nil || i.RoomNID != room || i.EndedTS != 0 {
		return "", err
	}
	var digits string
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		digits, err = s.ensurePIN(ctx, tx, store.PhonePIN{
			OrganisationID: i.OrganisationID, RoomNID: room, InvitationID: i.ID, CreatedTS: s.now(), ExpiresTS: i.ExpiresTS,
		})
		return err
	})
	return digits, err
}
