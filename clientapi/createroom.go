package clientapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

// createRoomRequest is the body of POST createRoom.
type createRoomRequest struct {
	Visibility      string                 `json:"visibility"`
	RoomAliasName   string                 `json:"room_alias_name"`
	Name            string                 `json:"name"`
	Topic           string                 `json:"topic"`
	Invite          []string               `json:"invite"`
	Invite3PID      []thirdPartyIdentifier `json:"invite_3pid"`
	RoomVersion     string                 `json:"room_version"`
	CreationContent json.RawMessage        `json:"creation_content"`
	InitialState    []initialState         `json:"initial_state"`
	Preset          string                 `json:"preset"`
	IsDirect        bool                   `json:"is_direct"`
	PowerLevels     json.RawMessage        `json:"power_level_content_override"`
}

// initialState is an event of a new room's state.
type initialState struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// createRoomResponse names the new room.
type createRoomResponse struct {
	RoomID matrix.RoomID `json:"room_id"`
}

// createRoom makes a room with all that belongs to it, whole or not at all.
//
// Spec: client-server v1.19 §creation, POST /_matrix/client/v3/createRoom
func (s *Server) createRoom(ctx context.Context, c *httpapi.Call, req *createRoomRequest) (any, error) {
	room, err := req.read(c.Requester, s.cfg.DefaultRoomVersion)
	if err != nil {
		return nil, err
	}
	if name := req.RoomAliasName; name != "" {
		if err := s.checkAliasNamespace(c.Requester, matrix.RoomAlias("#"+name+":"+string(c.Requester.User.Domain()))); err != nil {
			return nil, err
		}
	}
	if err := s.MayInvite(ctx, c.Requester, req.invited(room)); err != nil {
		return nil, err
	}
	inviteOutsiders, err := s.firstThirdParty(ctx, c.Requester, req)
	if err != nil {
		return nil, err
	}
	id, err := s.rooms.CreateRoom(ctx, room)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrForbidden {
		// The room's own rules do not let its first events in: the request contradicts itself.
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidRoomState, "the room cannot begin like this: %s", e.Message)
	}
	if err != nil {
		return nil, err
	}
	if room.Public {
		info, err := s.rooms.Room(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := s.publish(ctx, info); err != nil {
			return nil, err
		}
	}
	return createRoomResponse{id}, inviteOutsiders(ctx, id)
}

// read checks the request and turns it into what the room server understands.
func (r *createRoomRequest) read(who *httpapi.Requester, defaultVersion string) (roomserver.CreateRoom, error) {
	room := roomserver.CreateRoom{
		Creator: who.User, OrganisationID: who.Org, Version: r.RoomVersion, Preset: r.Preset, Public: r.Visibility == "public",
		AliasLocalpart: r.RoomAliasName, Name: r.Name, Topic: r.Topic, IsDirect: r.IsDirect,
	}
	if r.Visibility != "" && r.Visibility != "public" && r.Visibility != "private" {
		return room, matrix.InvalidParam("visibility must be public or private")
	}
	if room.Version == "" {
		room.Version = defaultVersion
	}
	version, ok := event.Lookup(room.Version)
	if !ok {
		return room, matrix.UnsupportedRoomVersion("room_version: this server makes no rooms of this version")
	}
	if err := r.checkAliasName(who); err != nil {
		return room, err
	}
	var err error
	if room.Invite, err = r.readInvites(who); err != nil {
		return room, err
	}
	if room.CreationContent, err = r.readCreationContent(version); err != nil {
		return room, err
	}
	if room.PowerLevelOverride, err = readObject("power_level_content_override", r.PowerLevels, version); err != nil {
		return room, err
	}
	room.InitialState, err = r.readInitialState(who, version)
	return room, err
}

// checkAliasName refuses what does not become an alias of the requester's server.
func (r *createRoomRequest) checkAliasName(who *httpapi.Requester) error {
	name := r.RoomAliasName
	if name == "" {
		return nil
	}
	if strings.ContainsAny(name, "#: \t\r\n") {
		return matrix.InvalidParam("room_alias_name must be a localpart, without #, : and white space")
	}
	if _, err := matrix.ParseRoomAlias("#" + name + ":" + string(who.User.Domain())); err != nil {
		return matrix.InvalidParam("room_alias_name does not make a valid room alias")
	}
	return nil
}

// readInvites lists the users to invite, each once and without the creator.
func (r *createRoomRequest) readInvites(who *httpapi.Requester) ([]matrix.UserID, error) {
	if len(r.Invite) > limits.FirstInvites {
		return nil, matrix.InvalidParam("invite has more than %d users; invite the others when the room is there", limits.FirstInvites)
	}
	var users []matrix.UserID
	for _, name := range r.Invite {
		user, err := matrix.ParseUserID(name)
		if err != nil {
			return nil, matrix.InvalidParam("invite must be a list of user ids")
		}
		if user != who.User && !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	return users, nil
}

// readCreationContent checks the keys of m.room.create that have a meaning.
func (r *createRoomRequest) readCreationContent(version event.Version) ([]byte, error) {
	const name = "creation_content"
	content, err := readObject(name, r.CreationContent, version)
	if err != nil || content == nil {
		return nil, err
	}
	if v := gjson.GetBytes(content, `m\.federate`); !absentOr(v, v.IsBool()) {
		return nil, matrix.BadJSON("%s.m.federate must be true or false", name)
	}
	if v := gjson.GetBytes(content, "type"); !absentOr(v, v.Type == gjson.String) {
		return nil, matrix.BadJSON("%s.type must be a string", name)
	}
	predecessor := gjson.GetBytes(content, "predecessor")
	if !absentOr(predecessor, predecessor.IsObject()) {
		return nil, matrix.BadJSON("%s.predecessor must be an object", name)
	}
	for _, key := range []string{"room_id", "event_id"} {
		if v := predecessor.Get(key); !absentOr(v, v.Type == gjson.String) {
			return nil, matrix.BadJSON("%s.predecessor.%s must be a string", name, key)
		}
	}
	return content, nil
}

// readInitialState checks the initial state. Membership of others can only be an invite or a ban; the room's rules see to that.
func (r *createRoomRequest) readInitialState(who *httpapi.Requester, version event.Version) ([]roomserver.StateInput, error) {
	if len(r.InitialState) > limits.InitialState {
		return nil, matrix.InvalidParam("initial_state has more than %d events", limits.InitialState)
	}
	var list []roomserver.StateInput
	for _, in := range r.InitialState {
		if in.Type == "" {
			return nil, matrix.MissingParam("initial_state: an event has no type")
		}
		if in.Type == typeCreate {
			return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidRoomState,
				"initial_state cannot have an %s; use creation_content", typeCreate)
		}
		if err := checkStateKey(in.Type, in.StateKey); err != nil {
			return nil, err
		}
		content, err := readObject("initial_state: content", in.Content, version)
		if err != nil {
			return nil, err
		}
		if content == nil {
			return nil, matrix.MissingParam("initial_state: an event has no content")
		}
		if content, err = r.checkInitialState(who, in, content); err != nil {
			return nil, err
		}
		list = append(list, roomserver.StateInput{Type: in.Type, StateKey: in.StateKey, Content: content})
	}
	return list, nil
}

// checkInitialState applies to an event of the initial state what PUT state would have refused.
func (r *createRoomRequest) checkInitialState(who *httpapi.Requester, in initialState, content []byte) ([]byte, error) {
	switch in.Type {
	case typeMember:
		if _, err := checkMemberContent(content, in.StateKey); err != nil {
			return nil, err
		}
		return cleanMember(content)
	case typeCanonicalAlias:
		names, ok := namedAliases(content)
		if !ok {
			return nil, matrix.BadJSON("initial_state: alias must be a string and alt_aliases a list of strings")
		}
		for _, name := range names {
			alias, err := matrix.ParseRoomAlias(name)
			if err != nil {
				return nil, matrix.InvalidParam("initial_state: %q is not a room alias", name)
			}
			if r.RoomAliasName == "" || name != "#"+r.RoomAliasName+":"+string(who.User.Domain()) {
				return nil, badAlias(alias)
			}
		}
	}
	return content, nil
}

// invited lists everybody whom the room would invite, in whichever way.
func (r *createRoomRequest) invited(room roomserver.CreateRoom) []matrix.UserID {
	users := slices.Clone(room.Invite)
	for _, in := range room.InitialState {
		if in.Type == typeMember && gjson.GetBytes(in.Content, "membership").String() == "invite" {
			users = append(users, matrix.UserID(in.StateKey))
		}
	}
	return users
}

// readObject brings an object inside the body into canonical form; nil when it was not given.
func readObject(name string, raw json.RawMessage, version event.Version) ([]byte, error) {
	if isAbsent(raw) {
		return nil, nil
	}
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return nil, matrix.BadJSON("%s must be an object", name)
	}
	content, err := canonicalContent(version, raw)
	if e, ok := matrix.AsError(err); ok {
		return nil, matrix.NewError(e.Status, e.Code, "%s: %s", name, e.Message)
	}
	return content, err
}
