package clientapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
	"github.com/roomline/roomline/roomserver/view"
)

// setRoomState sends a state event. The body is its content; without a key in the path the state key is empty.
//
// Spec: client-server v1.19 §sending-events-to-a-room, PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
func (s *Server) setRoomState(ctx context.Context, c *httpapi.Call) (any, error) {
	if c.HasQuery(delayQuery) {
		return s.delayState(ctx, c)
	}
	room, err := s.roomToSend(ctx, c)
	if err != nil {
		return nil, err
	}
	key := c.Path("stateKey")
	e := roomserver.NewEvent{Room: room.ID, Sender: c.Requester.User, Type: c.Path("eventType"), StateKey: &key}
	if err := checkStateKey(e.Type, key); err != nil {
		return nil, err
	}
	if e.Content, err = canonicalContent(room.Version, c.Body); err != nil {
		return nil, err
	}
	if e.Sticky, err = s.stickyFor(ctx, c); err != nil {
		return nil, err
	}
	if e.Timestamp, err = timestampOf(c); err != nil {
		return nil, err
	}
	if e.Attached, err = s.attached(ctx, c); err != nil {
		return nil, err
	}
	switch e.Type {
	case typeMember:
		return s.setMembership(ctx, c, room, e)
	case typePowerLevels:
		if err := s.checkPowerLevels(ctx, room, e); err != nil {
			return nil, err
		}
	case typeCanonicalAlias:
		if err := s.checkCanonicalAlias(ctx, c.Requester, room, e.Content); err != nil {
			return nil, err
		}
	}
	return s.sendState(ctx, e)
}

// sendState sends a state event. It has no transaction id, and needs none: what the state says already is not sent again.
func (s *Server) sendState(ctx context.Context, e roomserver.NewEvent) (any, error) {
	id, err := s.rooms.Send(ctx, e)
	if err != nil {
		return nil, s.refusal(ctx, e, err)
	}
	if e.Type == typeTombstone && *e.StateKey == "" {
		s.carryOverByHand(ctx, e)
	}
	return eventResponse{id}, nil
}

func checkStateKey(eventType, key string) error {
	if err := checkEventType(eventType); err != nil {
		return err
	}
	if len(key) > limits.StateKey {
		return matrix.TooLarge("stateKey is longer than %d bytes", limits.StateKey)
	}
	if eventType == typeRedaction {
		return matrix.InvalidParam("eventType: a redaction is not a state event")
	}
	return nil
}

// memberships are all values of content.membership.
var memberships = []string{"join", "invite", "knock", "leave", "ban"}

// memberContent is what is looked at of a member event that a client wrote.
type memberContent struct {
	Membership, Reason string
}

// checkMemberContent reads the content of a member event.
func checkMemberContent(content []byte, key string) (memberContent, error) {
	var m memberContent
	if _, err := matrix.ParseUserID(key); err != nil {
		return m, matrix.InvalidParam("stateKey of %s must be a user id", typeMember)
	}
	membership := gjson.GetBytes(content, "membership")
	if membership.Type != gjson.String || !slices.Contains(memberships, membership.String()) {
		return m, matrix.BadJSON("membership must be one of join, invite, knock, leave and ban")
	}
	for _, name := range []string{"reason", "displayname", "avatar_url"} {
		if v := gjson.GetBytes(content, name); !absentOr(v, v.Type == gjson.String) {
			return m, matrix.BadJSON("%s must be a string", name)
		}
	}
	m.Membership, m.Reason = membership.String(), gjson.GetBytes(content, "reason").String()
	return m, checkReason(m.Reason)
}

// voucherKey is set by the server that lets somebody into a restricted room, never by a client: it stands for a check that has
// been made.
const voucherKey = "join_authorised_via_users_server"

// cleanMember takes out of the content of a member event what the server alone says.
func cleanMember(content []byte) ([]byte, error) {
	for _, key := range []string{voucherKey, strings.ReplaceAll(roomserver.GuestKey, ".", `\.`)} {
		var err error
		if content, err = sjson.DeleteBytes(content, key); err != nil {
			return nil, fmt.Errorf("clean member content: %w", err)
		}
	}
	return content, nil
}

// setMembership sends a member event that the client wrote itself. A join goes the way of POST /join: what may be joined, and
// who vouches for it, is not the client's to say. Name and avatar may be others than those of the profile, as for whoever is in the room
// already.
func (s *Server) setMembership(ctx context.Context, c *httpapi.Call, room roomserver.Info, e roomserver.NewEvent) (any, error) {
	m, err := checkMemberContent(e.Content, *e.StateKey)
	if err != nil {
		return nil, err
	}
	if e.Content, err = cleanMember(e.Content); err != nil {
		return nil, err
	}
	target := matrix.UserID(*e.StateKey)
	switch {
	case m.Membership == "join" && target == e.Sender:
		present, err := s.store.GetMembership(ctx, room.NID, target)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("load membership of %s: %w", room.ID, err)
		}
		if present.Membership != joined {
			if err := s.mayEnter(ctx, c.Requester, room.ID); err != nil {
				return nil, sameForUnknown(err)
			}
			return s.joinByState(ctx, room, e, m.Reason, !c.Requester.Guest)
		}
		if c.Requester.Guest {
			// A guest has one name, and it says that it is a guest's.
			return nil, guestsMayNot()
		}
	case m.Membership == "leave" && target == e.Sender:
		if err := s.mayReject(ctx, target, room.ID); err != nil {
			return nil, err
		}
	case m.Membership == "knock":
		if err := s.mayKnock(ctx, c.Requester, room.ID); err != nil {
			return nil, sameForUnknown(err)
		}
	case m.Membership == "invite":
		if err := s.mustBeJoined(ctx, room.ID, e.Sender); err != nil {
			return nil, err
		}
		if err := s.MayInvite(ctx, c.Requester, []matrix.UserID{target}); err != nil {
			return nil, err
		}
	}
	return s.sendState(ctx, e)
}

// joinByState joins and names the event that did it.
func (s *Server) joinByState(ctx context.Context, room roomserver.Info, e roomserver.NewEvent, reason string, ownName bool) (any, error) {
	user := e.Sender
	err := s.rooms.Join(ctx, roomserver.Membership{
		Room: room.ID, Sender: user, Target: user, Reason: reason, Extra: e.Content, OwnName: ownName, Timestamp: e.Timestamp,
	})
	if err != nil {
		return nil, err
	}
	s.carryOver(ctx, user, room.ID)
	present, err := s.store.GetStateEvent(ctx, room.NID, store.CurrentState, typeMember, string(user))
	if err != nil {
		return nil, fmt.Errorf("load own membership of %s: %w", room.ID, err)
	}
	return eventResponse{present.EventID}, nil
}

// getRoomState lists the state of a room: now, or when the requester left.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v3/rooms/{roomId}/state
func (s *Server) getRoomState(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	state, err := s.store.ListStateEvents(ctx, r.room.NID, r.upTo, nil, false)
	if err != nil {
		return nil, fmt.Errorf("load state of %s: %w", r.room.ID, err)
	}
	return r.stateAnswer(ctx, nil, pointers(state), "")
}

// stateAnswer appends state events, and what has to follow them. What they replaced is not told: for the state of a large
// room it would be as much again, and nobody shows it.
func (r *reader) stateAnswer(ctx context.Context, dst []byte, state []*store.Event, end string) (any, error) {
	related, err := view.LoadRedactions(ctx, r.s.store, state...)
	if err != nil {
		return nil, err
	}
	return httpapi.Raw(append(r.appendEvents(dst, state, related), end...)), nil
}

// getRoomStateEvent returns the content of one state event, or with format=event the whole of it.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
func (s *Server) getRoomStateEvent(ctx context.Context, c *httpapi.Call) (any, error) {
	format := c.Query("format")
	if format != "" && format != "content" && format != "event" {
		return nil, matrix.InvalidParam("format must be content or event")
	}
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	eventType, key := c.Path("eventType"), c.Path("stateKey")
	e, err := s.store.GetStateEvent(ctx, r.room.NID, r.upTo, eventType, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("the room has no state of this type and key")
	}
	if err != nil {
		return nil, fmt.Errorf("load state of %s: %w", r.room.ID, err)
	}
	if format == "event" {
		return r.eventAnswer(ctx, &e)
	}
	return httpapi.Raw(event.Content(e.JSON)), nil
}

// getOneRoomEvent returns an event.
//
// Spec: client-server v1.19 §getting-events-for-a-room, GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
func (s *Server) getOneRoomEvent(ctx context.Context, c *httpapi.Call) (any, error) {
	r, e, err := s.visibleEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	return r.eventAnswer(ctx, e)
}

func (r *reader) eventAnswer(ctx context.Context, e *store.Event) (any, error) {
	related, err := r.related(ctx, e)
	if err != nil {
		return nil, err
	}
	return httpapi.Raw(r.appendEvent(nil, e, related, r.s.now())), nil
}

// pointers points at the elements of a list.
func pointers(events []store.Event) []*store.Event {
	list := make([]*store.Event, len(events))
	for i := range events {
		list[i] = &events[i]
	}
	return list
}

// namedAliases lists the aliases that the content of m.room.canonical_alias names; false when it is malformed.
func namedAliases(content []byte) (names []string, ok bool) {
	alias, others := gjson.GetBytes(content, "alias"), gjson.GetBytes(content, "alt_aliases")
	ok = absentOr(alias, alias.Type == gjson.String) && absentOr(others, others.IsArray())
	if alias.String() != "" {
		names = append(names, alias.String())
	}
	for _, o := range others.Array() {
		ok = ok && o.Type == gjson.String
		names = append(names, o.String())
	}
	return names, ok
}

func absentOr(v gjson.Result, valid bool) bool { return !v.Exists() || v.Type == gjson.Null || valid }

// checkCanonicalAlias refuses aliases that are not aliases, or not of this room. What the room's present event names already is not
// looked at again.
//
// Spec: client-server v1.19 §sending-events-to-a-room, PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
func (s *Server) checkCanonicalAlias(ctx context.Context, who *httpapi.Requester, room roomserver.Info, content []byte) error {
	wanted, ok := namedAliases(content)
	if !ok {
		return matrix.BadJSON("alias must be a string and alt_aliases a list of strings")
	}
	present, err := s.presentAliases(ctx, room)
	if err != nil {
		return err
	}
	for _, name := range wanted {
		if slices.Contains(present, name) {
			continue
		}
		alias, err := matrix.ParseRoomAlias(name)
		if err != nil {
			return matrix.InvalidParam("%q is not a room alias", name)
		}
		found, err := s.resolveAlias(ctx, who, alias)
		if _, unknown := matrix.AsError(err); unknown || err == nil && found.RoomID != room.ID {
			return badAlias(alias)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPowerLevels refuses levels for those who stand above all levels. The room's rules would refuse them too, but to somebody who may set power
// levels it is the request that is wrong.
//
// Spec: room v12 §authorisation-rules
func (s *Server) checkPowerLevels(ctx context.Context, room roomserver.Info, e roomserver.NewEvent) error {
	if !room.Version.PrivilegedCreators {
		return nil
	}
	if err := s.mustBeJoined(ctx, room.ID, e.Sender); err != nil {
		return err
	}
	rules, err := s.rooms.Rules(ctx, room)
	if err != nil {
		return err
	}
	var named error
	gjson.GetBytes(e.Content, "users").ForEach(func(user, _ gjson.Result) bool {
		if rules.IsCreator(matrix.UserID(user.String())) {
			named = matrix.InvalidParam("users can't name %s, who is a creator of the room", user.String())
		}
		return named == nil
	})
	return named
}

func badAlias(alias matrix.RoomAlias) error {
	return matrix.NewError(400, matrix.ErrBadAlias, "the alias %s does not point to this room", alias)
}

// presentAliases lists the aliases that the room's canonical alias event names.
func (s *Server) presentAliases(ctx context.Context, room roomserver.Info) ([]string, error) {
	e, err := s.store.GetStateEvent(ctx, room.NID, store.CurrentState, typeCanonicalAlias, "")
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load canonical alias of %s: %w", room.ID, err)
	}
	names, _ := namedAliases(event.Content(e.JSON))
	return names, nil
}
