package view

import (
	"bytes"
	"encoding/json"
	"strings"
)

// appendFields appends what is left of an event when only some fields are asked for.
//
// Spec: client-server v1.19 §filtering, event_fields: dots separate levels, a dot that is part of a name is escaped with a
// backslash, as is a backslash.
func appendFields(dst, event []byte, fields []string) []byte {
	var whole map[string]json.RawMessage
	if json.Unmarshal(event, &whole) != nil {
		return append(dst, "{}"...)
	}
	kept := make(map[string]any)
	for _, f := range fields {
		keep(kept, whole, SplitPath(f))
	}
	return append(dst, marshal(kept)...)
}

// keep copies the value at path, if there is one, from an object to another.
func keep(to map[string]any, from map[string]json.RawMessage, path []string) {
	value, ok := from[path[0]]
	if !ok {
		return
	}
	if len(path) == 1 {
		to[path[0]] = value
		return
	}
	var inner map[string]json.RawMessage
	if json.Unmarshal(value, &inner) != nil || inner == nil {
		return
	}
	switch have := to[path[0]].(type) {
	case json.RawMessage: // kept whole by another path
	case map[string]any:
		keep(have, inner, path[1:])
	default:
		part := make(map[string]any)
		keep(part, inner, path[1:])
		if len(part) > 0 {
			to[path[0]] = part
		}
	}
}

// SplitPath cuts a path of properties at its dots. A backslash makes the dot or backslash behind it part of the name.
//
// Spec: appendices §dot-separated-property-paths
func SplitPath(path string) []string {
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			name.WriteByte(path[i])
		case c == '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(c)
		}
	}
	return append(names, name.String())
}

// marshal is JSON without the escapes that only matter inside HTML.
func marshal(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return []byte("null") // strings, and objects that were JSON before: there is nothing to fail
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
