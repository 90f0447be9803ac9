package roomserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver/event"
)

// Presets of a new room.
const (
	PresetPrivate        = "private_chat"
	PresetTrustedPrivate = "trusted_private_chat"
	PresetPublic         = "public_chat"
)

// CreateRoom is what a new room shall be.
//
// Spec: client-server v1.19 §creation
type CreateRoom struct {
	Creator        matrix.UserID
	OrganisationID int64
	// Version is a room version, the default one if empty.
	Version string
	// Preset is one of the three; if empty Public decides.
	Preset string
	Public bool
	// AliasLocalpart is the alias that the room gets, if any.
	AliasLocalpart string
	Name, Topic    string
	Invite         []matrix.UserID
	IsDirect       bool
	// CreationContent and PowerLevelOverride are objects or nil.
	CreationContent    []byte
	PowerLevelOverride []byte
	InitialState       []StateInput
}

// StateInput is an event of a new room's initial state.
type StateInput struct {
	Type, StateKey string
	// Content is an object.
	Content []byte
}

// CreateRoom makes a room with all of its first events in one unit, and returns its id.
func (s *Server) CreateRoom(ctx context.Context, c CreateRoom) (matrix.RoomID, error) {
	if c.Version == "" {
		c.Version = event.Default
	}
	version, ok := event.Lookup(c.Version)
	if !ok {
		return "", matrix.UnsupportedRoomVersion("room version %q is not supported", c.Version)
	}
	if err := c.check(version); err != nil {
		return "", err
	}
	nid, err := s.cfg.Store.NextRoomNID(ctx)
	if err != nil {
		return "", fmt.Errorf("reserve a room: %w", err)
	}
	drafts, err := s.firstDrafts(ctx, &c, version)
	if err != nil {
		return "", err
	}
	info := Info{NID: nid, Version: version, OrganisationID: c.OrganisationID}
	if !version.DomainlessRoomIDs {
		info.ID = matrix.RoomID("!" + rand.Text()[:18] + ":" + string(c.Creator.Domain()))
	}
	unit, err := s.buildRoom(&info, drafts)
	if err != nil {
		return "", err
	}
	if err := s.claimAlias(ctx, &c, info); err != nil {
		return "", err
	}
	if err := s.storeRoom(ctx, unit); err != nil {
		s.dropAlias(&c)
		return "", err
	}
	s.remember(info)
	return info.ID, nil
}

// check refuses what can't become a room, before anything is reserved.
func (c *CreateRoom) check(version event.Version) error {
	if c.Preset == "" {
		c.Preset = PresetPrivate
		if c.Public {
			c.Preset = PresetPublic
		}
	}
	if c.Preset != PresetPrivate && c.Preset != PresetTrustedPrivate && c.Preset != PresetPublic {
		return matrix.InvalidParam("preset %q is not one of private_chat, trusted_private_chat and public_chat", c.Preset)
	}
	if c.AliasLocalpart != "" {
		if _, err := matrix.ParseRoomAlias(string(c.alias())); err != nil {
			return matrix.InvalidParam("room_alias_name does not make a valid alias")
		}
	}
	return nil
}

func (c *CreateRoom) alias() matrix.RoomAlias {
	return matrix.RoomAlias("#" + c.AliasLocalpart + ":" + string(c.Creator.Domain()))
}

// claimAlias takes the alias for the room that is about to be stored; nobody can see it before the room is there.
func (s *Server) claimAlias(ctx context.Context, c *CreateRoom, info Info) error {
	if c.AliasLocalpart == "" {
		return nil
	}
	free, err := s.cfg.Store.InsertAlias(ctx, store.Alias{Alias: c.alias(), RoomNID: info.NID, Creator: c.Creator}, s.now())
	if err != nil {
		return fmt.Errorf("claim alias: %w", err)
	}
	if !free {
		return matrix.RoomInUse("the alias %s is taken", c.alias())
	}
	return nil
}

func (s *Server) dropAlias(c *CreateRoom) {
	if c.AliasLocalpart == "" {
		return
	}
	if _, err := s.cfg.Store.DeleteAlias(context.Background(), c.alias()); err != nil {
		s.cfg.Log.Warn("could not give back the alias of a room that was not made", "error", err)
	}
}

func (s *Server) storeRoom(ctx context.Context, unit *store.Unit) error {
	result, err := s.cfg.Journal.Append(ctx, *unit)
	if err != nil {
		return err
	}
	if result.Outcome != store.OutcomeStored && result.Outcome != store.OutcomeAlready {
		return fmt.Errorf("create room: outcome %q", result.Outcome)
	}
	return nil
}

// buildRoom builds the first events on nothing, and sets the room's id where the create event makes it.
func (s *Server) buildRoom(info *Info, drafts []draft) (*store.Unit, error) {
	t := &tip{room: *info, complete: true}
	v := &view{tip: t, own: make(map[event.StateKey]*stateEvent)}
	unit := &store.Unit{RoomNID: info.NID}
	var at place
	for i := range drafts {
		e, err := s.buildEvent(v, &at, &drafts[i])
		if err != nil {
			return nil, err
		}
		if i == 0 {
			unit.Head = e.EventID
			if info.Version.DomainlessRoomIDs {
				info.ID = matrix.RoomID("!" + string(e.EventID[1:]))
				t.room.ID = info.ID
			}
		}
		unit.Events = append(unit.Events, e)
	}
	unit.RoomID = info.ID
	unit.Create = &store.NewRoom{RoomID: info.ID, Version: info.Version.ID, OrganisationID: info.OrganisationID}
	return unit, nil
}

// firstDrafts lists the first events of the room in the order that the spec gives.
func (s *Server) firstDrafts(ctx context.Context, c *CreateRoom, version event.Version) ([]draft, error) {
	l := &draftList{sender: c.Creator}
	create, err := createContent(c, version)
	if err != nil {
		return nil, err
	}
	l.add(spec.MRoomCreate, "", create)
	member, err := s.memberContent(ctx, Membership{Sender: c.Creator, Target: c.Creator}, spec.Join, true)
	if err != nil {
		return nil, err
	}
	l.add(spec.MRoomMember, string(c.Creator), member)
	levels, err := powerLevels(c, version, create)
	if err != nil {
		return nil, err
	}
	l.add(spec.MRoomPowerLevels, "", levels)
	if c.AliasLocalpart != "" {
		l.add(spec.MRoomCanonicalAlias, "", map[string]any{"alias": string(c.alias())})
	}
	l.addPreset(c)
	for i := range c.InitialState {
		if err := l.addInitial(c, version, &c.InitialState[i]); err != nil {
			return nil, err
		}
	}
	if c.Name != "" {
		l.add(spec.MRoomName, "", map[string]any{"name": c.Name})
	}
	if c.Topic != "" {
		l.add(spec.MRoomTopic, "", map[string]any{
			"topic":   c.Topic,
			"m.topic": map[string]any{"m.text": []any{map[string]any{"body": c.Topic}}},
		})
	}
	for _, invitee := range c.Invite {
		content, err := s.memberContent(ctx, Membership{Sender: c.Creator, Target: invitee, IsDirect: c.IsDirect}, spec.Invite, true)
		if err != nil {
			return nil, err
		}
		l.add(spec.MRoomMember, string(invitee), content)
	}
	return l.drafts, l.err
}

// draftList gathers drafts; the first error stays.
type draftList struct {
	sender matrix.UserID
	drafts []draft
	err    error
}

func (l *draftList) add(typ, key string, content map[string]any) {
	raw, err := canonical(content)
	if err != nil && l.err == nil {
		l.err = err
	}
	l.drafts = append(l.drafts, draft{Type: typ, StateKey: &key, Sender: l.sender, Content: raw})
}

// addPreset adds what the preset says and the initial state does not.
func (l *draftList) addPreset(c *CreateRoom) {
	joinRule, guests := spec.Invite, "can_join"
	if c.Preset == PresetPublic {
		joinRule, guests = spec.Public, "forbidden"
	}
	for _, e := range []struct{ typ, key, value string }{
		{spec.MRoomJoinRules, "join_rule", joinRule},
		{spec.MRoomHistoryVisibility, "history_visibility", shared},
		{spec.MRoomGuestAccess, "guest_access", guests},
	} {
		if !c.inInitialState(e.typ) {
			l.add(e.typ, "", map[string]any{e.key: e.value})
		}
	}
}

func (c *CreateRoom) inInitialState(typ string) bool {
	for i := range c.InitialState {
		if c.InitialState[i].Type == typ && c.InitialState[i].StateKey == "" {
			return true
		}
	}
	return false
}

// addInitial adds an event of the initial state, unless name or topic overrule it.
func (l *draftList) addInitial(c *CreateRoom, version event.Version, in *StateInput) error {
	if in.StateKey == "" && (in.Type == spec.MRoomName && c.Name != "" || in.Type == spec.MRoomTopic && c.Topic != "") {
		return nil
	}
	if in.Type == spec.MRoomCreate {
		return matrix.BadState("initial_state can't have an m.room.create event; use creation_content")
	}
	strict := strictjson.Canonical
	if !version.StrictJSON {
		strict = strictjson.CanonicalLax
	}
	content, err := strict(in.Content)
	if err != nil {
		return err
	}
	l.drafts = append(l.drafts, draft{Type: in.Type, StateKey: &in.StateKey, Sender: l.sender, Content: content})
	return nil
}

// createContent is the content of m.room.create.
func createContent(c *CreateRoom, version event.Version) (map[string]any, error) {
	content := map[string]any{}
	if len(c.CreationContent) > 0 {
		if err := json.Unmarshal(c.CreationContent, &content); err != nil {
			return nil, matrix.BadJSON("creation_content must be an object")
		}
	}
	content["room_version"] = version.ID
	delete(content, "creator")
	if version.CreatorInContent {
		content["creator"] = string(c.Creator)
	}
	if !version.PrivilegedCreators {
		return content, nil
	}
	creators, err := additionalCreators(c, content["additional_creators"])
	if err != nil {
		return nil, err
	}
	delete(content, "additional_creators")
	// Why: the hash of this event is the room's id. Without it, two rooms that somebody makes in the same millisecond in the same
	// way would be one.
	content["org.roomline.nonce"] = rand.Text()
	if len(creators) > 0 {
		content["additional_creators"] = creators
	}
	return content, nil
}

// additionalCreators are those that the client names, and in a trusted private chat the invited.
func additionalCreators(c *CreateRoom, given any) ([]string, error) {
	var creators []string
	seen := map[string]bool{string(c.Creator): true}
	if given != nil {
		list, ok := given.([]any)
		if !ok {
			return nil, matrix.InvalidParam("creation_content.additional_creators must be a list of user ids")
		}
		for _, one := range list {
			id, _ := one.(string)
			if _, err := matrix.ParseUserID(id); err != nil {
				return nil, matrix.InvalidParam("creation_content.additional_creators must be a list of user ids")
			}
			if !seen[id] {
				seen[id] = true
				creators = append(creators, id)
			}
		}
	}
	if len(creators) > limits.AdditionalCreators {
		return nil, matrix.InvalidParam("creation_content.additional_creators has more than %d users", limits.AdditionalCreators)
	}
	if c.Preset == PresetTrustedPrivate {
		for _, u := range c.Invite {
			if !seen[string(u)] {
				seen[string(u)] = true
				creators = append(creators, string(u))
			}
		}
	}
	return creators, nil
}

// powerLevels is the content of the first m.room.power_levels, after an m.room.create with the content create.
func powerLevels(c *CreateRoom, version event.Version, create map[string]any) (map[string]any, error) {
	users := map[string]any{}
	if !version.PrivilegedCreators {
		users[string(c.Creator)] = 100
		if c.Preset == PresetTrustedPrivate {
			for _, u := range c.Invite {
				users[string(u)] = 100
			}
		}
	}
	tombstone, invite := 100, 0
	if version.PrivilegedCreators {
		tombstone = 150
	}
	if c.Preset == PresetPublic {
		invite = 50
	}
	content := map[string]any{
		"users": users, "users_default": 0, "events_default": 0, "state_default": 50,
		"ban": 50, "kick": 50, "redact": 50, "invite": invite,
		"events": map[string]any{
			spec.MRoomName: 50, spec.MRoomAvatar: 50, spec.MRoomCanonicalAlias: 50, spec.MRoomPowerLevels: 100,
			spec.MRoomHistoryVisibility: 100, spec.MRoomEncryption: 100, "m.room.server_acl": 100,
			"m.room.tombstone": tombstone,
			InvitationType:     invite,
		},
	}
	addCallLevels(content)
	if len(c.PowerLevelOverride) == 0 {
		return content, nil
	}
	override := map[string]any{}
	if err := json.Unmarshal(c.PowerLevelOverride, &override); err != nil {
		return nil, matrix.BadJSON("power_level_content_override must be an object")
	}
	if level, ok := override["invite"]; ok {
		content["events"].(map[string]any)[InvitationType] = level
	}
	for k, v := range override {
		content[k] = v
	}
	// Interop: clients that override the levels of some events do not mean to forbid calls.
	addCallLevels(content)
	return content, refuseCreators(c, version, content["users"], create)
}

// refuseCreators refuses levels for users who stand above all levels.
func refuseCreators(c *CreateRoom, version event.Version, users any, create map[string]any) error {
	levels, ok := users.(map[string]any)
	if !ok {
		return matrix.BadJSON("power_level_content_override.users must be an object")
	}
	if !version.PrivilegedCreators {
		return nil
	}
	additional, _ := create["additional_creators"].([]string)
	for _, creator := range append([]string{string(c.Creator)}, additional...) {
		if _, ok := levels[creator]; ok {
			return matrix.InvalidParam("power_level_content_override.users can't name a creator of the room")
		}
	}
	return nil
}
