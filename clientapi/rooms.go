package clientapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/roomline/roomline/clientapi/invites"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
	"github.com/roomline/roomline/roomserver/view"
)

// Event types and memberships that the handlers of rooms speak of.
const (
	typeMember         = "m.room.member"
	typeCreate         = "m.room.create"
	typeRedaction      = "m.room.redaction"
	typeCanonicalAlias = "m.room.canonical_alias"
	typePowerLevels    = "m.room.power_levels"
	typeVisibility     = "m.room.history_visibility"

	joined = "join"
)

// forbiddenRoom is said of a room that the user has no part in, whether there is one or not.
func forbiddenRoom() *matrix.Error { return matrix.Forbidden("you are not in this room") }

// sameForUnknown says of an unknown room what is said of a room that the user is not in.
func sameForUnknown(err error) error {
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return forbiddenRoom()
	}
	return err
}

// reader is a user looking at a room. Every endpoint that gives events of a room asks it, and nothing else, what may be given.
type reader struct {
	s    *Server
	who  *httpapi.Requester
	room roomserver.Info
	// upTo is the last position whose state and events are the user's business.
	upTo int64
	// sight says what may be seen. own is the requester's history in the room; the two differ for who has never joined.
	sight, own *roomserver.Visibility
}

// readRoom returns the requester's view of the room in the path, or M_FORBIDDEN.
func (s *Server) readRoom(ctx context.Context, c *httpapi.Call) (*reader, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return s.readRoomByID(ctx, c.Requester, id)
}

// readRoomByID is readRoom for a room that is not in the path.
func (s *Server) readRoomByID(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) (*reader, error) {
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return nil, sameForUnknown(err)
	}
	r := &reader{s: s, who: who, room: room, upTo: store.CurrentState}
	if err := r.look(ctx); err != nil || r.isMember() {
		return r, err
	}
	_, r.upTo, err = s.rooms.MayRead(ctx, id, viewer(who))
	return r, err
}

// isMember reports whether the requester is in the room now.
func (r *reader) isMember() bool { return r.own.MembershipAt(store.CurrentState) == joined }

// look loads what the user may see.
//
// A user who has never joined, or has forgotten the room, sees what a stranger sees: what was sent while the world could read
// it, if the stranger is inside. The rules for single events would show an invited user some more, but "in all cases except world_readable, a user needs
// to join a room to view events in that room".
//
// Spec: client-server v1.19 §room-history-visibility, §leaving-rooms
func (r *reader) look(ctx context.Context) error {
	var err error
	if r.own, err = r.s.rooms.Visibility(ctx, r.room.NID, r.who.User); err != nil {
		return err
	}
	if r.sight = r.own; r.isMember() {
		return nil
	}
	m, err := r.s.store.GetMembership(ctx, r.room.NID, r.who.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load membership of %s: %w", r.room.ID, err)
	}
	if !r.own.EverJoined() || m.Forgotten {
		r.sight = r.own.Stranger()
		if !viewer(r.who).Inside(r.room) {
			r.sight = &roomserver.Visibility{}
		}
	}
	return nil
}

// appendEvent appends one event as the requester sees it.
func (r *reader) appendEvent(dst []byte, e *store.Event, related view.Related, now matrix.Timestamp) []byte {
	opts := view.Options{
		IncludeRoomID: true, Now: now, Viewer: r.who.User, Device: r.who.Device, Membership: r.own.MembershipAt(e.Position),
	}
	related.Add(&opts, e, r.sight.CanSee)
	return view.Render(dst, e, opts)
}

// appendEvents appends events as a JSON array.
func (r *reader) appendEvents(dst []byte, events []*store.Event, related view.Related) []byte {
	now := r.s.now()
	size := 2
	for _, e := range events {
		size += len(e.JSON) // a client is told some things and spared others, which come to about the same
	}
	dst = append(slices.Grow(dst, size), '[')
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = r.appendEvent(dst, e, related, now)
	}
	return append(dst, ']')
}

// visibleEvent loads the event in the path, if the requester may see it: otherwise M_NOT_FOUND, as for an event that there
// is not.
func (s *Server) visibleEvent(ctx context.Context, c *httpapi.Call) (*reader, *store.Event, error) {
	roomID, err := c.RoomID("roomId")
	if err != nil {
		return nil, nil, err
	}
	id, err := c.EventID("eventId")
	if err != nil {
		return nil, nil, err
	}
	unknown := matrix.NotFound("event not found")
	room, err := s.rooms.Room(ctx, roomID)
	if _, ok := matrix.AsError(err); ok {
		return nil, nil, unknown
	}
	if err != nil {
		return nil, nil, err
	}
	e, err := s.store.GetEvent(ctx, room.NID, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, unknown
	}
	if err != nil {
		return nil, nil, fmt.Errorf("load event %s: %w", id, err)
	}
	r := &reader{s: s, who: c.Requester, room: room}
	if err := r.look(ctx); err != nil {
		return nil, nil, err
	}
	if !r.sight.CanSee(e.Position) {
		return nil, nil, unknown
	}
	return r, &e, nil
}

// canonicalContent brings a body into the form in which it is hashed, by the rules of the room's version.
func canonicalContent(version event.Version, body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, matrix.NotJSON("the body is empty; the content of the event is expected")
	}
	if version.StrictJSON {
		return strictjson.Canonical(body)
	}
	return strictjson.CanonicalLax(body)
}

// checkReason refuses a reason that is too long to become part of an event.
func checkReason(reason string) error {
	if len(reason) > limits.Reason {
		return matrix.InvalidParam("reason is longer than %d bytes", limits.Reason)
	}
	return nil
}

// MayInvite refuses to invite who cannot be: accounts that do not exist, are closed, or belong to an organisation that is not linked, or
// whose link allows no invites, get the same answer, and so do those of other servers as long as this one does not speak to any.
func (s *Server) MayInvite(ctx context.Context, who *httpapi.Requester, users []matrix.UserID) error {
	if len(users) == 0 {
		return nil
	}
	if err := s.askForUsers(ctx, who, users...); err != nil {
		return err
	}
	sights, err := s.store.ListPersonSights(ctx, onlooker(who), users)
	if err != nil {
		return fmt.Errorf("look up invited users: %w", err)
	}
	invitable := make(map[matrix.UserID]bool, len(sights))
	for _, sight := range sights {
		invitable[sight.UserID] = sight.Invitable()
	}
	for _, u := range users {
		if !invitable[u] && !(s.cfg.Serves != nil && s.cfg.Serves(u)) {
			return matrix.NotFound("user %s not found", u)
		}
	}
	return s.checkPolicies(ctx, who.User, users)
}

// checkPolicies refuses to invite users who do not want to be invited by the inviter.
//
// Spec: client-server v1.19 §invite-permission
func (s *Server) checkPolicies(ctx context.Context, inviter matrix.UserID, users []matrix.UserID) error {
	settings, err := s.store.ListGlobalAccountData(ctx, users, invites.Types)
	if err != nil {
		return fmt.Errorf("look up who may invite: %w", err)
	}
	policies := map[matrix.UserID]invites.Policy{}
	for _, up := range settings {
		policies[up.UserID] = policies[up.UserID].With(up.Key, up.Body)
	}
	for _, u := range users {
		if policies[u].Decide(inviter) == invites.Block {
			return matrix.NewError(http.StatusForbidden, matrix.ErrInviteBlocked, "%s does not accept your invites", u)
		}
	}
	return nil
}
