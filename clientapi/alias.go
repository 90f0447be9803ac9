package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

// resolveAlias finds the room of an alias. An alias of a domain that is not hosted here is as unknown as one that nobody made, and so is
// one of a room that the requester has no part in and is not inside of.
func (s *Server) resolveAlias(ctx context.Context, who *httpapi.Requester, alias matrix.RoomAlias) (store.Alias, error) {
	found, err := s.store.GetAlias(ctx, alias, who.User)
	// The application services of other organisations are not asked.
	if errors.Is(err, store.ErrNotFound) && s.cfg.QueryAlias != nil && s.checkAliasDomain(ctx, who, alias) == nil {
		made, err := s.cfg.QueryAlias(ctx, alias)
		if err != nil {
			return found, err
		}
		if made {
			if found, err = s.store.GetAlias(ctx, alias, who.User); err == nil {
				return found, nil
			}
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return found, unknownAlias(alias)
	}
	if err != nil {
		return found, fmt.Errorf("look up alias: %w", err)
	}
	if err := s.approach(ctx, who, found.RoomID); err != nil {
		if _, refused := matrix.AsError(err); refused {
			return found, unknownAlias(alias)
		}
		return found, err
	}
	return found, nil
}

func unknownAlias(alias matrix.RoomAlias) error {
	return matrix.NotFound("room alias %s not found", alias)
}

// aliasResponse says where an alias leads.
type aliasResponse struct {
	RoomID  matrix.RoomID       `json:"room_id"`
	Servers []matrix.ServerName `json:"servers"`
}

// getRoomIDByAlias tells which room an alias leads to.
//
// Differs: an access token is required, because a room is its organisation's business.
//
// Spec: client-server v1.19 §room-aliases, GET /_matrix/client/v3/directory/room/{roomAlias}
func (s *Server) getRoomIDByAlias(ctx context.Context, c *httpapi.Call) (any, error) {
	alias, err := c.Alias("roomAlias")
	if err != nil {
		return nil, err
	}
	if c.Requester == nil {
		return nil, matrix.MissingToken()
	}
	found, err := s.resolveAlias(ctx, c.Requester, alias)
	if err != nil {
		return nil, err
	}
	return aliasResponse{RoomID: found.RoomID, Servers: []matrix.ServerName{alias.Domain()}}, nil
}

// aliasRequest is the body of PUT directory/room.
type aliasRequest struct {
	RoomID *string `json:"room_id"`
}

// setRoomAlias gives a room another alias. Only a member may, and only an alias of a domain of the own organisation; an alias that exists is
// never moved to another room. An application service need not be in the room, as its namespace is its own.
//
// Spec: client-server v1.19 §room-aliases, PUT /_matrix/client/v3/directory/room/{roomAlias}
func (s *Server) setRoomAlias(ctx context.Context, c *httpapi.Call, req *aliasRequest) (any, error) {
	alias, err := c.Alias("roomAlias")
	if err != nil {
		return nil, err
	}
	if req.RoomID == nil {
		return nil, matrix.MissingParam("room_id is missing")
	}
	id, err := matrix.ParseRoomID(*req.RoomID)
	if err != nil {
		return nil, matrix.InvalidParam("room_id is not a room id")
	}
	if err := s.checkAliasDomain(ctx, c.Requester, alias); err != nil {
		return nil, err
	}
	if err := s.checkAliasNamespace(c.Requester, alias); err != nil {
		return nil, err
	}
	if err := s.mayNameRoom(ctx, c.Requester, id); err != nil {
		return nil, err
	}
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return nil, err
	}
	// Two requests at once may go one over the limit; it is there to bound lists, not to be exact.
	have, err := s.store.ListAliases(ctx, room.NID, limits.AliasesPerRoom)
	if err != nil {
		return nil, fmt.Errorf("list aliases of %s: %w", id, err)
	}
	if len(have) == limits.AliasesPerRoom {
		return nil, matrix.Forbidden("a room can have at most %d aliases", limits.AliasesPerRoom)
	}
	free, err := s.store.InsertAlias(ctx, store.Alias{Alias: alias, RoomNID: room.NID, Creator: c.Requester.User}, s.now())
	if err != nil {
		return nil, fmt.Errorf("store alias: %w", err)
	}
	if !free {
		return nil, matrix.NewError(http.StatusConflict, matrix.ErrUnknown, "room alias %s already exists", alias)
	}
	return empty{}, nil
}

// mayNameRoom refuses who may give a room no alias.
func (s *Server) mayNameRoom(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) error {
	if who.Appservice != "" {
		return s.approach(ctx, who, id)
	}
	return s.mustBeJoined(ctx, id, who.User)
}

// checkAliasDomain refuses aliases of domains that are not the requester's organisation's.
func (s *Server) checkAliasDomain(ctx context.Context, who *httpapi.Requester, alias matrix.RoomAlias) error {
	if alias.Domain() == who.User.Domain() {
		return nil
	}
	d, err := s.store.GetHostedDomain(ctx, alias.Domain())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look up domain of alias: %w", err)
	}
	if err != nil || d.OrganisationID != who.Org {
		return matrix.InvalidParam("roomAlias must be of your own server, %s", who.User.Domain())
	}
	return nil
}

// checkAliasNamespace refuses aliases that an application service keeps for itself, and to an application service all that are not its.
//
// Spec: application-service v1.19 §server-admin-style-permissions
func (s *Server) checkAliasNamespace(who *httpapi.Requester, alias matrix.RoomAlias) error {
	switch {
	case s.cfg.MayName == nil || s.cfg.MayName(who.Appservice, alias):
		return nil
	case who.Appservice != "":
		return matrix.Exclusive("the alias is not in a namespace of the application service")
	}
	return matrix.Exclusive("the alias is kept for an application service")
}

// deleteRoomAlias removes an alias. Its creator may, an application service whose namespace it is in, whoever may change the room's canonical alias, and an administrator of the
// organisation that the alias' domain belongs to.
//
// Spec: client-server v1.19 §room-aliases, DELETE /_matrix/client/v3/directory/room/{roomAlias}
func (s *Server) deleteRoomAlias(ctx context.Context, c *httpapi.Call) (any, error) {
	alias, err := c.Alias("roomAlias")
	if err != nil {
		return nil, err
	}
	found, err := s.resolveAlias(ctx, c.Requester, alias)
	if err != nil {
		return nil, err
	}
	room, err := s.rooms.Room(ctx, found.RoomID)
	if err != nil {
		return nil, err
	}
	if err := s.mayDeleteAlias(ctx, c.Requester, room, found); err != nil {
		return nil, err
	}
	deleted, err := s.store.DeleteAlias(ctx, alias)
	if err != nil {
		return nil, fmt.Errorf("delete alias: %w", err)
	}
	if !deleted {
		return nil, unknownAlias(alias)
	}
	return empty{}, s.withdrawAlias(ctx, c.Requester.User, room, alias)
}

func (s *Server) mayDeleteAlias(ctx context.Context, who *httpapi.Requester, room roomserver.Info, alias store.Alias) error {
	if alias.Creator == who.User || who.Appservice != "" && s.checkAliasNamespace(who, alias.Alias) == nil {
		return nil
	}
	if who.Admin && s.checkAliasDomain(ctx, who, alias.Alias) == nil {
		return nil
	}
	refused := matrix.Forbidden("only the creator of an alias, and who may change the room's canonical alias, may delete it")
	if s.mustBeJoined(ctx, room.ID, who.User) != nil {
		return refused
	}
	rules, err := s.rooms.Rules(ctx, room)
	if err != nil {
		return err
	}
	if rules.UserLevel(who.User) < rules.EventLevel(typeCanonicalAlias, true) {
		return refused
	}
	return nil
}

// withdrawAlias takes a deleted alias out of the room's canonical alias event, if the user may change it.
func (s *Server) withdrawAlias(ctx context.Context, user matrix.UserID, room roomserver.Info, alias matrix.RoomAlias) error {
	e, err := s.store.GetStateEvent(ctx, room.NID, store.CurrentState, typeCanonicalAlias, "")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load canonical alias of %s: %w", room.ID, err)
	}
	content, changed, err := withoutAlias(event.Content(e.JSON), string(alias))
	if err != nil || !changed {
		return err
	}
	if content, err = strictjson.Canonical(content); err != nil {
		return err
	}
	key := ""
	_, err = s.rooms.Send(ctx, roomserver.NewEvent{Room: room.ID, Sender: user, Type: typeCanonicalAlias, StateKey: &key, Content: content})
	if _, refused := matrix.AsError(err); refused {
		return nil // the alias is gone all the same
	}
	return err
}

// withoutAlias takes an alias out of the content of m.room.canonical_alias. Whatever else it holds stays.
func withoutAlias(content []byte, alias string) (rest []byte, changed bool, err error) {
	rest = content
	if gjson.GetBytes(rest, "alias").String() == alias {
		if rest, err = sjson.DeleteBytes(rest, "alias"); err != nil {
			return nil, false, fmt.Errorf("delete alias from content: %w", err)
		}
		changed = true
	}
	var others []string
	if json.Unmarshal([]byte(gjson.GetBytes(rest, "alt_aliases").Raw), &others) != nil || !slices.Contains(others, alias) {
		return rest, changed, nil
	}
	others = slices.DeleteFunc(others, func(a string) bool { return a == alias })
	if rest, err = sjson.SetBytes(rest, "alt_aliases", others); err != nil {
		return nil, false, fmt.Errorf("delete alias from content: %w", err)
	}
	return rest, true, nil
}

// getLocalAliases lists a room's aliases to its members, and to anybody where the world may read.
//
// Spec: client-server v1.19 §room-aliases, GET /_matrix/client/v3/rooms/{roomId}/aliases
func (s *Server) getLocalAliases(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.readRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	if r.upTo != store.CurrentState { // a former member: aliases are not part of the room's history
		return nil, forbiddenRoom()
	}
	aliases, err := s.store.ListAliases(ctx, r.room.NID, limits.AliasesPerRoom)
	if err != nil {
		return nil, fmt.Errorf("list aliases of %s: %w", r.room.ID, err)
	}
	if aliases == nil {
		aliases = []matrix.RoomAlias{}
	}
	return map[string][]matrix.RoomAlias{"aliases": aliases}, nil
}
