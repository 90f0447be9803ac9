package invitations

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

const (
	get    = http.MethodGet
	post   = http.MethodPost
	remove = http.MethodDelete

	ofRoom = "/_roomline/client/v1/rooms/{roomId}/invitations"
	own    = "/_roomline/client/v1/invitations"
	one    = own + "/{invitationId}"
	admin  = "/_roomline/admin/v1/invitations"
)

// Routes is every endpoint.
func (s *Server) Routes() []httpapi.Route {
	page := []httpapi.Parameter{
		{Name: "from", Type: "string", Summary: "next_batch of an earlier answer"},
		{Name: "limit", Type: "integer", Summary: fmt.Sprintf("at most %d", limits.InvitationsPage)},
		{Name: "open", Type: "boolean", Summary: "true: only those by which somebody can still get in"},
	}
	table := []struct {
		method, path, limit string
		handle              httpapi.Handler
		doc                 httpapi.Doc
	}{
		{post, ofRoom, ratelimit.Room, httpapi.JSON(s.postInvitation), httpapi.Doc{
			Summary: "Ask somebody outside into a room: by e-mail (medium email), by phone (medium msisdn), or by a link (no medium). The answer has the link of the latter, once.",
			Who:     "who may invite to the room", Request: Request{}, Response: answer{}}},
		{get, ofRoom, ratelimit.Read, s.listOfRoom, httpapi.Doc{
			Summary: "The invitations to a room, newest first. Addresses of others' invitations are shortened.", Who: "who is in the room", Response: listResponse{}, Query: page}},
		{get, own, ratelimit.Read, s.listOwn, httpapi.Doc{
			Summary: "The invitations that the requester has made, newest first.", Who: "everybody but guests", Response: listResponse{}, Query: page}},
		{get, one, ratelimit.Read, s.getInvitation, httpapi.Doc{
			Summary: "An invitation.", Who: "its inviter, and who is in its room", Response: answer{}}},
		{remove, one, ratelimit.Room, s.deleteInvitation, httpapi.Doc{
			Summary: "Revoke an invitation: nobody gets in by it any more, and guests who have come by it end.", Who: "its inviter, and who may remove people from the room"}},
		{post, one + "/resend", ratelimit.Room, s.resendInvitation, httpapi.Doc{
			Summary: "Send an invitation again, with another link; the one from before is dead. The answer has the link if there is no address.", Who: "its inviter", Response: answer{}}},
		{get, admin, ratelimit.Read, httpapi.ForManagers(s.adminList), httpapi.Doc{
			Summary: "The invitations that people of the organisation have made, newest first.", Who: "owner, people, auditor", Response: listResponse{},
			Query: append([]httpapi.Parameter{{Name: "inviter", Type: "string", Summary: "the user who has made them"}, {Name: "room_id", Type: "string", Summary: "the room that they are to"}}, page...)}},
		{remove, admin + "/{invitationId}", ratelimit.Account, httpapi.ForManagers(s.adminDelete), httpapi.Doc{
			Summary: "Revoke an invitation of the organisation.", Who: "owner, people"}},
	}
	var routes []httpapi.Route
	for _, r := range table {
		routes = append(routes, httpapi.Route{
			Method: r.method, Path: r.path, Auth: httpapi.AccessToken, Limit: r.limit, MaxBody: limits.SmallBody, Handle: r.handle, Doc: &r.doc,
		})
	}
	return append(routes, s.commandRoutes()...)
}

// answer is an invitation as the API tells of it.
type answer struct {
	ID string `json:"invitation_id,omitempty"`
	// UserID is there instead when the address is that of an account, which was invited.
	UserID  matrix.UserID `json:"user_id,omitempty"`
	RoomID  matrix.RoomID `json:"room_id"`
	Inviter matrix.UserID `json:"inviter"`
	// State is queued, sent, delivered, failed, opened, redeemed, expired, revoked or member.
	State string `json:"state"`
	// Link is there once: when it was made, for an invitation without an address.
	Link    string `json:"link,omitempty"`
	Medium  string `json:"medium,omitempty"`
	Address string `json:"address,omitempty"`

	Language    string           `json:"language,omitempty"`
	Role        string           `json:"role,omitempty"`
	Proof       bool             `json:"proof"`
	Uses        int              `json:"uses"`
	UsesAllowed int              `json:"uses_allowed"`
	CreatedTS   matrix.Timestamp `json:"created_ts,omitempty"`
	ExpiresTS   matrix.Timestamp `json:"expires_ts,omitempty"`
	// GuestLifetime is how long a guest may stay, in ms.
	GuestLifetime int64            `json:"guest_lifetime_ms,omitempty"`
	OpensTS       matrix.Timestamp `json:"opens_ts,omitempty"`
	OpenedTS      matrix.Timestamp `json:"opened_ts,omitempty"`
	RedeemedTS    matrix.Timestamp `json:"redeemed_ts,omitempty"`
	EndedTS       matrix.Timestamp `json:"ended_ts,omitempty"`
	// Delivery is what became of the last message: held, queued, sending, sent, delivered, failed or cancelled.
	Delivery   string           `json:"delivery,omitempty"`
	DeliveryTS matrix.Timestamp `json:"delivery_ts,omitempty"`
	Meeting    json.RawMessage  `json:"meeting,omitempty"`
}

// describe is an invitation as somebody sees it; whole says that the address is theirs to know.
func (s *Server) describe(i *store.Invitation, whole bool) answer {
	a := answer{
		ID: i.ID, RoomID: i.RoomID, Inviter: i.Inviter, State: Progress(i, s.now()), Medium: i.Medium, Address: i.Address, Language: i.Language,
		Role: i.Role, Proof: i.Proof, Uses: i.Uses, UsesAllowed: i.UsesAllowed, CreatedTS: i.CreatedTS, ExpiresTS: i.ExpiresTS,
		GuestLifetime: i.GuestLifetime, OpensTS: i.OpensTS, OpenedTS: i.OpenedTS, RedeemedTS: i.RedeemedTS, EndedTS: i.EndedTS,
		Delivery: i.Delivery, DeliveryTS: i.DeliveryTS, Meeting: i.Meeting,
	}
	if !whole {
		a.Address = Mask(i.Medium, i.Address)
	}
	return a
}

// postInvitation asks somebody into a room.
func (s *Server) postInvitation(ctx context.Context, c *httpapi.Call, req *Request) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	done, err := s.Invite(ctx, c.Requester, room, *req)
	if err != nil {
		return nil, err
	}
	if done.User != "" {
		return answer{UserID: done.User, RoomID: room, Inviter: c.Requester.User, State: string(Member)}, nil
	}
	a := s.describe(&done.Invitation, true)
	a.Link = done.Link
	return a, nil
}

// getInvitation gives one invitation.
func (s *Server) getInvitation(ctx context.Context, c *httpapi.Call) (any, error) {
	i, mine, err := s.Visible(ctx, c.Requester, c.Path("invitationId"))
	if err != nil {
		return nil, err
	}
	return s.describe(&i, mine), nil
}

func (s *Server) deleteInvitation(ctx context.Context, c *httpapi.Call) (any, error) {
	return nil, s.Withdraw(ctx, c.Requester, c.Path("invitationId"))
}

func (s *Server) resendInvitation(ctx context.Context, c *httpapi.Call) (any, error) {
	done, err := s.Resend(ctx, c.Requester, c.Path("invitationId"))
	if err != nil {
		return nil, err
	}
	a := s.describe(&done.Invitation, true)
	a.Link = done.Link
	return a, nil
}

// listResponse is a page.
type listResponse struct {
	Invitations []answer `json:"invitations"`
	// NextBatch is there if there are more: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

// listOfRoom lists the invitations to a room for somebody who is in it.
func (s *Server) listOfRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	if err := mayLook(c.Requester); err != nil {
		return nil, err
	}
	room, err := s.joinedRoom(ctx, c.Requester.User, id)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, c, store.InvitationFilter{RoomNID: room.NID}, func(i *store.Invitation) bool { return i.Inviter == c.Requester.User })
}

// listOwn lists the invitations that the requester has made.
func (s *Server) listOwn(ctx context.Context, c *httpapi.Call) (any, error) {
	if err := mayLook(c.Requester); err != nil {
		return nil, err
	}
	return s.list(ctx, c, store.InvitationFilter{Inviter: c.Requester.User}, func(*store.Invitation) bool { return true })
}

// list gives a page of those that the filter chooses; whole says whose address the requester may know.
func (s *Server) list(ctx context.Context, c *httpapi.Call, f store.InvitationFilter, whole func(*store.Invitation) bool) (any, error) {
	limit, err := c.QueryInt("limit", 50, 1, limits.InvitationsPage)
	if err != nil {
		return nil, err
	}
	if f.BeforeTS, f.BeforeID, err = c.QueryFrom(); err != nil {
		return nil, err
	}
	f.Holding, f.Now = c.QueryBool("open"), s.now()
	found, err := s.cfg.Store.ListInvitations(ctx, f, limit+1)
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	page := listResponse{Invitations: []answer{}}
	for i := range found[:min(limit, len(found))] {
		page.Invitations = append(page.Invitations, s.describe(&found[i], whole(&found[i])))
	}
	if len(found) > limit {
		last := &found[limit-1]
		page.NextBatch = httpapi.NextBatch(last.CreatedTS, last.ID)
	}
	return page, nil
}

// adminList lists the organisation's invitations.
func (s *Server) adminList(ctx context.Context, c *httpapi.Call) (any, error) {
	f := store.InvitationFilter{OrganisationID: c.Requester.Org, Inviter: matrix.UserID(c.Query("inviter"))}
	if id := c.Query("room_id"); id != "" {
		room, err := s.cfg.Rooms.Room(ctx, matrix.RoomID(id))
		if isRefusal(err) {
			return listResponse{Invitations: []answer{}}, nil
		}
		if err != nil {
			return nil, err
		}
		f.RoomNID = room.NID
	}
	return s.list(ctx, c, f, func(*store.Invitation) bool { return true })
}

// adminDelete revokes an invitation of the organisation.
func (s *Server) adminDelete(ctx context.Context, c *httpapi.Call) (any, error) {
	i, err := s.cfg.Store.GetInvitation(ctx, c.Path("invitationId"))
	if err == store.ErrNotFound || err == nil && i.OrganisationID != c.Requester.Org {
		return nil, noInvitation()
	}
	if err != nil {
		return nil, fmt.Errorf("look up an invitation: %w", err)
	}
	return nil, s.end(ctx, c.Requester, &i, store.InvitationRevoked)
}
