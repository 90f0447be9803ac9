package appservices

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

// View is the least that an application service needs: what it is told, and what it may do. It holds for transactions and for every answer to
// a request with its token (access.go).
type View struct {
	types  []string
	fields []fieldRule
	// rooms are the only ones, nil for all.
	rooms                 map[matrix.RoomID]bool
	ephemeral, deviceData bool
	acts                  map[string]bool
	// sends are the types of events that it may send.
	sends []string
	// outside is what it is told of in rooms that none of its users is in; nil: of all that its namespaces name.
	outside *outsideView
}

// viewDocument is roomline.view of a registration.
type viewDocument struct {
	// EventTypes are the types that it is told of; "*" stands for any text. There is no default.
	EventTypes []string `json:"event_types"`
	// ContentFields are, by type, the paths of what is left of content. A type that is not here keeps all; [] leaves nothing.
	ContentFields map[string][]string `json:"content_fields"`
	Rooms         []matrix.RoomID     `json:"rooms"`
	Ephemeral     bool                `json:"ephemeral"`
	DeviceData    bool                `json:"device_data"`
	Act           []string            `json:"act"`
	SendTypes     []string            `json:"send_types"`
	// Outside narrows what is told of rooms that none of its users is in.
	Outside *outsideDocument `json:"outside"`
}

// outsideDocument is roomline.view.outside.
type outsideDocument struct {
	// BodyPrefixes are how messages begin that are told, whatever the case of their letters: commands.
	BodyPrefixes []string `json:"body_prefixes"`
	// EventTypes are told whatever they say.
	EventTypes []string `json:"event_types"`
}

// outsideView is outsideDocument, with prefixes in lower case.
type outsideView struct{ prefixes, types []string }

// fieldRule says what is left of the content of some types.
type fieldRule struct {
	pattern string
	paths   [][]string
}

func (d *viewDocument) compile() (*View, []error) {
	v := &View{types: d.EventTypes, ephemeral: d.Ephemeral, deviceData: d.DeviceData, sends: d.SendTypes, acts: make(map[string]bool)}
	var errs []error
	if d.EventTypes == nil {
		errs = append(errs, errors.New(`roomline.view.event_types: is missing; ["*"] is all`))
	}
	if len(d.EventTypes)+len(d.ContentFields)+len(d.Rooms)+len(d.SendTypes) > limits.ViewEntries {
		errs = append(errs, fmt.Errorf("roomline.view: has more than %d entries", limits.ViewEntries))
	}
	for _, pattern := range slices.SortedFunc(maps.Keys(d.ContentFields), longerFirst) {
		rule := fieldRule{pattern: pattern}
		for _, path := range d.ContentFields[pattern] {
			rule.paths = append(rule.paths, view.SplitPath(path))
		}
		v.fields = append(v.fields, rule)
	}
	for i, room := range d.Rooms {
		if _, err := matrix.ParseRoomID(string(room)); err != nil {
			errs = append(errs, fmt.Errorf("roomline.view.rooms[%d]: is not a room id", i))
		}
		if v.rooms == nil {
			v.rooms = make(map[matrix.RoomID]bool)
		}
		v.rooms[room] = true
	}
	if d.Rooms != nil && v.rooms == nil {
		v.rooms = map[matrix.RoomID]bool{}
	}
	for i, act := range d.Act {
		if !slices.Contains(acts, act) {
			errs = append(errs, fmt.Errorf("roomline.view.act[%d]: must be one of %s", i, strings.Join(acts, ", ")))
		}
		v.acts[act] = true
	}
	if v.sends == nil {
		v.sends = []string{"*"}
	}
	if d.Outside != nil {
		v.outside = &outsideView{types: d.Outside.EventTypes}
		if len(d.Outside.BodyPrefixes)+len(d.Outside.EventTypes) > limits.ViewEntries {
			errs = append(errs, fmt.Errorf("roomline.view.outside: has more than %d entries", limits.ViewEntries))
		}
		for i, prefix := range d.Outside.BodyPrefixes {
			if prefix == "" {
				errs = append(errs, fmt.Errorf("roomline.view.outside.body_prefixes[%d]: is empty", i))
			}
			v.outside.prefixes = append(v.outside.prefixes, strings.ToLower(prefix))
		}
	}
	return v, errs
}

// longerFirst puts the more particular pattern before the other.
func longerFirst(a, b string) int {
	if len(a) != len(b) {
		return len(b) - len(a)
	}
	return strings.Compare(a, b)
}

func anyGlob(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matrix.Glob(p, text) })
}

// shows reports whether events of a type are told. What lasts no longer than a moment is a thing of its own.
func (v *View) shows(typ string) bool {
	switch typ {
	case typeTyping, typeReceipt, typePresence:
		return v.ephemeral
	}
	return anyGlob(v.types, typ)
}

// showsOutside reports whether an event is told of a room that none of the application service's users is in.
func (v *View) showsOutside(e *store.Event) bool {
	if v.outside == nil || anyGlob(v.outside.types, e.Type) {
		return true
	}
	if e.Type != typeMessage || e.StateKey != nil {
		return false
	}
	body := strings.ToLower(gjson.GetBytes(e.JSON, "content.body").String())
	return slices.ContainsFunc(v.outside.prefixes, func(prefix string) bool { return strings.HasPrefix(body, prefix) })
}

// showsRoom reports whether a room is told of.
func (v *View) showsRoom(room matrix.RoomID) bool { return v.rooms == nil || v.rooms[room] }

// content is what is left of an event's content.
func (v *View) content(typ string, content map[string]any) map[string]any {
	for _, rule := range v.fields {
		if matrix.Glob(rule.pattern, typ) {
			kept := make(map[string]any)
			for _, path := range rule.paths {
				keep(kept, content, path)
			}
			return kept
		}
	}
	return content
}

// keep copies what a path leads to.
func keep(to, from map[string]any, path []string) {
	value, ok := from[path[0]]
	if !ok {
		return
	}
	if len(path) == 1 {
		to[path[0]] = value
		return
	}
	inner, ok := value.(map[string]any)
	if !ok {
		return
	}
	into, ok := to[path[0]].(map[string]any)
	if !ok {
		into = make(map[string]any)
	}
	if keep(into, inner, path[1:]); len(into) > 0 {
		to[path[0]] = into
	}
}

// event is what is left of an event, or false.
func (v *View) event(text []byte) ([]byte, bool) {
	value, err := decodeAny(text)
	if err != nil {
		return nil, false
	}
	left, ok := v.narrow(value)
	if !ok {
		return nil, false
	}
	out, err := encode(left)
	return out, err == nil
}

// answer is what is left of an answer; false: nothing.
func (v *View) answer(text []byte) ([]byte, bool) { return v.event(text) }

// state is what is left of the content of a state event that is told without the event.
func (v *View) state(typ string, text []byte) ([]byte, bool) {
	value, err := decodeAny(text)
	content, ok := value.(map[string]any)
	if err != nil || !ok || !v.shows(typ) {
		return nil, false
	}
	out, err := encode(v.content(typ, content))
	return out, err == nil
}

func decodeAny(text []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}

func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// narrow goes through whatever an answer is made of. What has a type and a content is an event, wherever it stands: it is left out or
// narrowed. What a room's id leads to goes with the room.
func (v *View) narrow(value any) (any, bool) {
	switch x := value.(type) {
	case map[string]any:
		typ, isEvent := x["type"].(string)
		content, hasContent := x["content"].(map[string]any)
		if isEvent && hasContent {
			return v.narrowEvent(typ, content, x)
		}
		for key, inner := range x {
			left, ok := v.narrow(inner)
			if !ok || key != "" && key[0] == '!' && !v.showsRoom(matrix.RoomID(key)) {
				delete(x, key)
				continue
			}
			x[key] = left
		}
		return x, true
	case []any:
		kept := x[:0]
		for _, inner := range x {
			if left, ok := v.narrow(inner); ok {
				kept = append(kept, left)
			}
		}
		return kept, true
	case string:
		// A room's id in a list.
		if strings.HasPrefix(x, "!") && !v.showsRoom(matrix.RoomID(x)) {
			return nil, false
		}
	}
	return value, true
}

func (v *View) narrowEvent(typ string, content, event map[string]any) (any, bool) {
	if room, ok := event["room_id"].(string); ok && !v.showsRoom(matrix.RoomID(room)) || !v.shows(typ) {
		return nil, false
	}
	event["content"] = v.content(typ, content)
	for _, holder := range []any{event, event["unsigned"]} {
		h, ok := holder.(map[string]any)
		if !ok {
			continue
		}
		if previous, ok := h["prev_content"].(map[string]any); ok {
			h["prev_content"] = v.content(typ, previous)
		}
	}
	if unsigned, ok := event["unsigned"].(map[string]any); ok {
		for key, inner := range unsigned {
			if key == "prev_content" {
				continue
			}
			if left, ok := v.narrow(inner); ok {
				unsigned[key] = left
			} else {
				delete(unsigned, key)
			}
		}
	}
	return event, true
}
