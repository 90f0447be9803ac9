package push

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

// subject is an event with what conditions ask about it.
type subject struct {
	event *store.Event
	room  matrix.RoomID
	// members is how many are joined, after the event.
	members int
	levels  *levels
	// name is the display name of the user whose rule is asked, in the room.
	name string

	// content is the event's, once somebody has asked for it: most conditions do.
	content gjson.Result
	lower   map[string]string
}

// condition is a compiled condition of a rule.
type condition func(s *subject) bool

func never(*subject) bool { return false }

// compileConditions compiles the conditions of a rule. What is not known, or not as the spec says, never matches.
//
// Spec: client-server v1.19 §push-rules
func compileConditions(raw []json.RawMessage) []condition {
	list := make([]condition, len(raw))
	for i, r := range raw {
		list[i] = compile(gjson.ParseBytes(r))
	}
	return list
}

func compile(c gjson.Result) condition {
	key := c.Get("key").String()
	switch c.Get("kind").String() {
	case "event_match":
		return eventMatch(key, c.Get("pattern"))
	case "event_property_is":
		path, value := view.SplitPath(key), c.Get("value")
		return func(s *subject) bool { return same(s.property(path), value) }
	case "event_property_contains":
		path, value := view.SplitPath(key), c.Get("value")
		return func(s *subject) bool {
			list := s.property(path)
			found := false
			if list.IsArray() {
				list.ForEach(func(_, v gjson.Result) bool {
					found = same(v, value)
					return !found
				})
			}
			return found
		}
	case "contains_display_name":
		return func(s *subject) bool {
			return s.name != "" && (glob{[]string{strings.ToLower(literal.Replace(s.name))}}).matchWords(s.text([]string{"content", "body"}, "content.body"))
		}
	case "room_member_count":
		return memberCount(c.Get("is").String())
	case "sender_notification_permission":
		return func(s *subject) bool { return s.levels != nil && s.levels.mayNotify(s.event.Sender, key) }
	}
	return never
}

// literal keeps the ? of a display name from standing for any character: no text has this one.
var literal = strings.NewReplacer("?", "\uFDD0")

func eventMatch(key string, pattern gjson.Result) condition {
	if pattern.Type != gjson.String {
		return never
	}
	path, g := view.SplitPath(key), newGlob(pattern.String())
	if key == "content.body" {
		return func(s *subject) bool {
			return s.property(path).Type == gjson.String && g.matchWords(s.text(path, key))
		}
	}
	if key == "type" && !strings.ContainsAny(pattern.String(), "*?") {
		typ := pattern.String()
		return func(s *subject) bool { return strings.EqualFold(s.event.Type, typ) }
	}
	return func(s *subject) bool {
		return s.property(path).Type == gjson.String && g.matchAll(s.text(path, key))
	}
}

// same reports whether two values are the same string, integer, boolean or null.
func same(v, want gjson.Result) bool {
	if !v.Exists() || !want.Exists() || v.Type != want.Type {
		return false
	}
	switch v.Type {
	case gjson.String:
		return v.String() == want.String()
	case gjson.Number:
		return v.Raw == want.Raw || isInteger(v.Raw) && isInteger(want.Raw) && v.Int() == want.Int()
	case gjson.True, gjson.False, gjson.Null:
		return true
	}
	return false
}

func isInteger(raw string) bool {
	_, err := strconv.ParseInt(raw, 10, 64)
	return err == nil
}

func memberCount(is string) condition {
	digits := strings.TrimLeft(is, "<>=")
	n, err := strconv.Atoi(digits)
	if err != nil || digits[0] < '0' || digits[0] > '9' {
		return never
	}
	switch is[:len(is)-len(digits)] {
	case "", "==":
		return func(s *subject) bool { return s.members == n }
	case "<":
		return func(s *subject) bool { return s.members < n }
	case ">":
		return func(s *subject) bool { return s.members > n }
	case "<=":
		return func(s *subject) bool { return s.members <= n }
	case ">=":
		return func(s *subject) bool { return s.members >= n }
	}
	return never
}

// property is the value at a path of the event, as clients see it.
func (s *subject) property(path []string) gjson.Result {
	if len(path) == 1 {
		switch path[0] {
		case "type":
			return text(s.event.Type)
		case "sender":
			return text(string(s.event.Sender))
		case "room_id":
			return text(string(s.room))
		case "event_id":
			return text(string(s.event.EventID))
		}
	}
	var v gjson.Result
	if path[0] == "content" {
		if s.content.Raw == "" {
			s.content = gjson.GetBytes(s.event.JSON, "content")
		}
		v, path = s.content, path[1:]
	} else {
		v = gjson.ParseBytes(s.event.JSON)
	}
	for _, name := range path {
		if !v.IsObject() {
			return gjson.Result{}
		}
		v = v.Get(escape(name))
	}
	return v
}

// escape is gjson.Escape, which costs more than the look-up, for names that need it.
func escape(name string) string {
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || c == '_' || 'A' <= c && c <= 'Z') {
			return gjson.Escape(name)
		}
	}
	return name
}

func text(s string) gjson.Result { return gjson.Result{Type: gjson.String, Str: s} }

// text is the string at a path in lower case, made once an event.
func (s *subject) text(path []string, key string) string {
	if t, ok := s.lower[key]; ok {
		return t
	}
	t := strings.ToLower(s.property(path).String())
	if s.lower == nil {
		s.lower = make(map[string]string)
	}
	s.lower[key] = t
	return t
}

func matches(list []condition, s *subject) bool {
	for _, c := range list {
		if !c(s) {
			return false
		}
	}
	return true
}
