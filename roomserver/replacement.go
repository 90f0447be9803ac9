package roomserver

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver/event"
)

// buildNew makes the new room's first events.
func (w *upgrade) buildNew(tombstone matrix.EventID) (*store.Unit, error) {
	version := w.room.Version
	create, err := w.createContent(tombstone)
	if err != nil {
		return nil, err
	}
	l := &draftList{sender: w.Sender}
	l.add(spec.MRoomCreate, "", create)
	l.add(spec.MRoomMember, string(w.Sender), w.join)
	for _, typ := range copied {
		e := w.state[typ]
		if e == nil {
			continue
		}
		content := event.Content(e.JSON)
		if typ == spec.MRoomJoinRules {
			content = joinRules(version, content)
		}
		l.copy(version, typ, "", content)
	}
	w.addAliases(l)
	for _, list := range [][]store.Event{w.children, w.parents} {
		for i := range list {
			if e := &list[i]; gjson.GetBytes(e.JSON, "content.via").IsArray() {
				l.copy(version, e.Type, *e.StateKey, event.Content(e.JSON))
			}
		}
	}
	bans, err := w.bans("")
	if err != nil {
		return nil, err
	}
	for i := range bans {
		l.add(spec.MRoomMember, *bans[i].StateKey, banContent(&bans[i]))
	}
	levels, err := w.powerLevels()
	if err != nil {
		return nil, err
	}
	l.add(spec.MRoomPowerLevels, "", levels)
	if l.err != nil {
		return nil, l.err
	}
	return w.s.buildRoom(&w.room, l.drafts)
}

// copy adds an event of the old room, unless its content can't be that of an event in the new one.
func (l *draftList) copy(version event.Version, typ, key string, content []byte) {
	strict := strictjson.Canonical
	if !version.StrictJSON {
		strict = strictjson.CanonicalLax
	}
	if raw, err := strict(content); err == nil {
		l.drafts = append(l.drafts, draft{Type: typ, StateKey: &key, Sender: l.sender, Content: raw})
	}
}

func (w *upgrade) createContent(tombstone matrix.EventID) (map[string]any, error) {
	content := map[string]any{}
	for _, key := range []string{"type", "m.federate"} {
		if v := w.content(spec.MRoomCreate).Get(gjson.Escape(key)); v.Exists() {
			content[key] = v.Value()
		}
	}
	predecessor := map[string]any{"room_id": string(w.old.ID)}
	if tombstone != "" {
		predecessor["event_id"] = string(tombstone)
	}
	content["predecessor"] = predecessor
	if w.room.Version.PrivilegedCreators {
		content["additional_creators"] = w.creators()
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	return createContent(&CreateRoom{Creator: w.Sender, CreationContent: raw}, w.room.Version)
}

// addAliases lets the new room name the aliases that are moved to it.
func (w *upgrade) addAliases(l *draftList) {
	moved := func(name string) bool { return slices.Contains(w.aliases, matrix.RoomAlias(name)) }
	names := w.content(spec.MRoomCanonicalAlias)
	content := map[string]any{}
	if alias := names.Get("alias").String(); moved(alias) {
		content["alias"] = alias
	}
	var others []string
	for _, other := range names.Get("alt_aliases").Array() {
		if moved(other.String()) {
			others = append(others, other.String())
		}
	}
	if len(others) > 0 {
		content["alt_aliases"] = others
	}
	if len(content) > 0 {
		l.add(spec.MRoomCanonicalAlias, "", content)
	}
}

// joinRules replaces a join rule that the version does not know by the nearest one that it does.
func joinRules(version event.Version, content []byte) []byte {
	rule := gjson.GetBytes(content, "join_rule").String()
	if rule == spec.KnockRestricted && !version.KnockRestrictedAllowed {
		rule = spec.Restricted
	}
	if rule == spec.Restricted && !version.RestrictedAllowed || rule == spec.Knock && !version.KnockAllowed {
		rule = spec.Invite
	}
	var all map[string]any
	if json.Unmarshal(content, &all) != nil {
		return content
	}
	all["join_rule"] = rule
	raw, err := json.Marshal(all)
	if err != nil {
		return content
	}
	return raw
}

// powerLevels are those of the old room for the new one: creators of room version 12 stand above them and are not named; where nobody stands
// above them, the old room's creators are named instead.
func (w *upgrade) powerLevels() (map[string]any, error) {
	content := map[string]any{}
	if raw := w.content(spec.MRoomPowerLevels).Raw; raw != "" {
		if err := json.Unmarshal([]byte(raw), &content); err != nil {
			return nil, fmt.Errorf("read power levels of %s: %w", w.old.ID, err)
		}
	}
	integers(content)
	users, _ := content["users"].(map[string]any)
	if users == nil {
		users = map[string]any{}
	}
	content["users"] = users
	events, _ := content["events"].(map[string]any)
	if events == nil {
		events = map[string]any{}
	}
	content["events"] = events
	addCallLevels(content)
	if w.room.Version.PrivilegedCreators {
		delete(users, string(w.Sender))
		for _, c := range w.AdditionalCreators {
			delete(users, string(c))
		}
		// Who ends the room becomes a creator of the next: that takes more than the change of a name.
		if _, ok := events[typeTombstone]; !ok {
			state, _ := content["state_default"].(int64)
			events[typeTombstone] = max(150, state+1)
		}
		return content, nil
	}
	if w.old.Version.PrivilegedCreators {
		highest := int64(100)
		for _, levels := range []map[string]any{users, events} {
			for _, level := range levels {
				if n, ok := level.(int64); ok {
					highest = max(highest, n)
				}
			}
		}
		creators := []string{string(w.state[spec.MRoomCreate].Sender)}
		for _, c := range w.content(spec.MRoomCreate).Get("additional_creators").Array() {
			creators = append(creators, c.String())
		}
		for _, c := range creators {
			users[c] = highest
		}
	}
	if w.state[spec.MRoomPowerLevels] == nil {
		users[string(w.Sender)] = int64(100)
	}
	return content, nil
}

func banContent(e *store.Event) map[string]any {
	content := map[string]any{"membership": spec.Ban}
	if reason := gjson.GetBytes(e.JSON, "content.reason"); reason.Type == gjson.String {
		content["reason"] = reason.String()
	}
	return content
}

// integers makes whole numbers of all levels in the content of m.room.power_levels. Old room versions let them be strings.
func integers(content map[string]any) {
	for key, value := range content {
		switch v := value.(type) {
		case map[string]any:
			integers(v)
		case float64:
			content[key] = int64(v)
		case string:
			if n := gjson.Parse(v); n.Type == gjson.Number {
				content[key] = n.Int()
			}
		}
	}
}
