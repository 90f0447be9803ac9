package scim

import (
	"encoding/json"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
)

// resource is a user or a group as JSON has it, its keys spelled as in the schema.
type resource = map[string]any

// decode reads an object.
func decode(raw []byte) (resource, error) {
	if len(raw) == 0 {
		return nil, invalid("invalidSyntax", "the body is empty; a JSON object is expected")
	}
	var r resource
	if err := strictjson.Decode(raw, &r); err != nil || r == nil {
		if _, ok := matrix.AsError(err); err != nil && !ok {
			return nil, err
		}
		return nil, invalid("invalidSyntax", "the body is not a JSON object")
	}
	return r, nil
}

// normal is a resource as it is kept: keys spelled as in the schema, values of the schema's types. What the schema does not know, and
// what only the server may say, is left out.
//
// Spec: RFC 7644 §3.3, §3.5.1
func (r *resourceType) normal(in resource) (resource, error) {
	out := resource{}
	for key, value := range in {
		if e := r.extensionOf(key); e != nil {
			members, ok := value.(map[string]any)
			if value == nil {
				continue
			}
			if !ok {
				return nil, invalid("invalidValue", "%s must be an object", e.URN)
			}
			inner, err := normalObject(e.Attributes, members)
			if err != nil {
				return nil, err
			}
			if len(inner) > 0 {
				out[e.URN] = inner
			}
			continue
		}
		a := find(r.Attributes, key)
		if a == nil {
			a = find(commonAttributes, key)
		}
		if a == nil || a.Name == "schemas" {
			continue
		}
		if err := put(out, a, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// put sets an attribute to a value that somebody has sent, unless it is not theirs to set.
func put(out map[string]any, a *attribute, value any) error {
	if a.Mutability == readOnly {
		return nil
	}
	v, err := normalValue(a, value)
	if err == nil && v != nil {
		out[a.Name] = v
	}
	return err
}

func normalObject(list []attribute, in map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for key, value := range in {
		a := find(list, key)
		if a == nil {
			continue
		}
		if err := put(out, a, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// normalValue checks a value; nil is the same as none.
//
// Spec: RFC 7643 §2.5
func normalValue(a *attribute, value any) (any, error) {
	if value == nil {
		return nil, nil
	}
	if !a.Multi {
		return single(a, value)
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	if len(list) > limits.ScimValues && a.Name != "members" {
		return nil, invalid("invalidValue", "%s has more than %d values", a.Name, limits.ScimValues)
	}
	var out []any
	for _, v := range list {
		one, err := single(a, v)
		if err != nil {
			return nil, err
		}
		if one != nil {
			out = append(out, one)
		}
	}
	if out == nil {
		return nil, nil
	}
	return onePrimary(out), nil
}

// single is one value of an attribute.
func single(a *attribute, value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		switch {
		case a.Type == typeBoolean:
			// Interop: Entra ID sends "True" and "False".
			switch strings.ToLower(v) {
			case "true":
				return true, nil
			case "false":
				return false, nil
			}
			return nil, invalid("invalidValue", "%s must be true or false", a.Name)
		case a.Type == typeComplex && find(a.Sub, "value") != nil:
			// Interop: Entra ID sends a manager, and others an e-mail address, as its value alone.
			return single(a, map[string]any{"value": v})
		case a.Type == typeComplex:
			return nil, invalid("invalidValue", "%s must be an object", a.Name)
		case len(v) > limits.ScimString && a.Name != "value":
			return nil, invalid("invalidValue", "%s is longer than %d bytes", a.Name, limits.ScimString)
		case strings.ContainsRune(v, 0):
			return nil, invalid("invalidValue", "%s must not have the character NUL", a.Name)
		}
		if v == "" {
			return nil, nil
		}
		return v, nil
	case bool:
		if a.Type != typeBoolean {
			return nil, invalid("invalidValue", "%s must not be a boolean", a.Name)
		}
		return v, nil
	case map[string]any:
		if a.Type != typeComplex {
			return nil, invalid("invalidValue", "%s must not be an object", a.Name)
		}
		inner, err := normalObject(a.Sub, v)
		if err != nil || len(inner) == 0 {
			return nil, err
		}
		return inner, nil
	case float64, json.Number:
		if a.Type == typeBoolean || a.Type == typeComplex {
			return nil, invalid("invalidValue", "%s must not be a number", a.Name)
		}
		raw, err := json.Marshal(v)
		return string(raw), err
	}
	return nil, invalid("invalidValue", "%s has one value", a.Name)
}

// onePrimary leaves primary to the last value that has it.
//
// Spec: RFC 7643 §2.4
func onePrimary(list []any) []any {
	seen := false
	for i := len(list) - 1; i >= 0; i-- {
		m, ok := list[i].(map[string]any)
		if !ok || m["primary"] != true {
			continue
		}
		if seen {
			delete(m, "primary")
		}
		seen = true
	}
	return list
}

// textAt is the string at the end of the keys, empty if there is none.
func textAt(r resource, keys ...string) string {
	for _, key := range keys[:len(keys)-1] {
		r, _ = r[key].(map[string]any)
	}
	s, _ := r[keys[len(keys)-1]].(string)
	return s
}

// valuesOf are the values of a multi-valued attribute, the primary one first.
func valuesOf(r resource, name string) []string {
	list, _ := r[name].([]any)
	var out []string
	for _, v := range list {
		m, _ := v.(map[string]any)
		s, _ := m["value"].(string)
		switch {
		case s == "":
		case m["primary"] == true:
			out = append([]string{s}, out...)
		default:
			out = append(out, s)
		}
	}
	return out
}
