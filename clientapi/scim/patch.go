package scim

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/strictjson"
)

// patchRequest is the body of PATCH.
//
// Spec: RFC 7644 §3.5.2
type patchRequest struct {
	Schemas    []string         `json:"schemas"`
	Operations []patchOperation `json:"Operations"`
}

type patchOperation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

func parsePatch(raw []byte) (patchRequest, error) {
	var p patchRequest
	if err := strictjson.Decode(raw, &p); err != nil {
		return p, invalid("invalidSyntax", "the body is not a PatchOp message: %s", err)
	}
	if !slices.Contains(p.Schemas, messagePatch) {
		return p, invalid("invalidSyntax", "schemas must contain %s", messagePatch)
	}
	if len(p.Operations) == 0 || len(p.Operations) > limits.ScimPatch {
		return p, invalid("invalidSyntax", "Operations must have 1 to %d members", limits.ScimPatch)
	}
	return p, nil
}

// patch changes a resource as the operations say, one after the other.
func (r *resourceType) patch(to resource, p patchRequest) error {
	for _, op := range p.Operations {
		var value any
		if len(op.Value) > 0 {
			if err := json.Unmarshal(op.Value, &value); err != nil {
				return invalid("invalidSyntax", "value is not JSON")
			}
		}
		// Interop: Entra ID writes the operations with a capital.
		if err := r.operate(to, strings.ToLower(op.Op), op.Path, value); err != nil {
			return err
		}
	}
	return nil
}

func (r *resourceType) operate(to resource, op, path string, value any) error {
	if op != "add" && op != "replace" && op != "remove" {
		return invalid("invalidSyntax", "op must be add, replace or remove")
	}
	if path != "" {
		return r.operateAt(to, op, path, value)
	}
	if op == "remove" {
		return invalid("noTarget", "remove needs a path")
	}
	members, ok := value.(map[string]any)
	if !ok {
		return invalid("invalidValue", "without a path value must be an object")
	}
	for key, v := range members {
		e := r.extensionOf(key)
		inner, nested := v.(map[string]any)
		switch {
		case e != nil && nested:
			for name, v := range inner {
				if err := r.operateAt(to, op, e.URN+":"+name, v); err != nil {
					return err
				}
			}
		case strings.EqualFold(key, "schemas"), e != nil, r.isReadOnly(key):
			// Interop: Okta repeats the id.
		default:
			// Interop: Entra ID also writes paths such as name.givenName here.
			if err := r.operateAt(to, op, key, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *resourceType) isReadOnly(name string) bool {
	at, err := r.resolve(name)
	return err == nil && at.Attribute.Mutability == readOnly
}

// operateAt carries an operation out at a path: attribute, attribute.sub, attribute[filter] or attribute[filter].sub.
func (r *resourceType) operateAt(to resource, op, path string, value any) error {
	if len(path) > limits.ScimFilter {
		return invalid("invalidPath", "the path is longer than %d bytes", limits.ScimFilter)
	}
	name, filter, sub := path, "", ""
	if open := strings.IndexByte(path, '['); open >= 0 {
		end := closing(path[open:])
		if end < 0 {
			return invalid("invalidPath", "a bracket is not closed")
		}
		name, filter = path[:open], path[open+1:open+end]
		rest := path[open+end+1:]
		if rest != "" && rest[0] != '.' {
			return invalid("invalidPath", "%q does not belong behind a bracket", head(rest))
		}
		sub = strings.TrimPrefix(rest, ".")
	}
	if e := r.extensionOf(name); e != nil {
		return r.operateExtension(to, op, e, value)
	}
	at, err := r.resolve(name)
	if err != nil {
		return err
	}
	if at.Attribute.Mutability == readOnly || at.leaf().Mutability == readOnly {
		return invalid("mutability", "%s can't be changed", at.leaf().Name)
	}
	object := to
	if at.Extension != "" {
		object, _ = to[at.Extension].(map[string]any)
		if object == nil {
			object = map[string]any{}
			to[at.Extension] = object
		}
		defer func() {
			if len(object) == 0 {
				delete(to, at.Extension)
			}
		}()
	}
	if filter != "" {
		return r.operateOn(object, op, at, filter, sub, value)
	}
	return operateOnAttribute(object, op, at, value)
}

func (r *resourceType) operateExtension(to resource, op string, e *extension, value any) error {
	if op == "remove" {
		delete(to, e.URN)
		return nil
	}
	members, ok := value.(map[string]any)
	if !ok {
		return invalid("invalidValue", "%s must be an object", e.URN)
	}
	if op == "replace" {
		delete(to, e.URN)
	}
	for name, v := range members {
		if err := r.operateAt(to, op, e.URN+":"+name, v); err != nil {
			return err
		}
	}
	return nil
}

func operateOnAttribute(object map[string]any, op string, at place, value any) error {
	a := at.Attribute
	if at.Sub != nil {
		return operateOnPart(object, op, at, value)
	}
	v, err := normalValue(a, value)
	if err != nil {
		return err
	}
	switch {
	case op == "remove" && a.Multi && v != nil:
		// Interop: Entra ID names the values that go, instead of a path with a filter.
		removeValues(object, a.Name, v.([]any))
	case op == "remove", v == nil:
		delete(object, a.Name)
	case a.Multi && op == "add":
		object[a.Name] = addValues(object[a.Name], v.([]any))
	case a.Type == typeComplex && !a.Multi:
		merged, _ := object[a.Name].(map[string]any)
		if merged == nil || a.Name == "manager" {
			merged = map[string]any{}
		}
		for k, part := range v.(map[string]any) {
			merged[k] = part
		}
		object[a.Name] = merged
	default:
		object[a.Name] = v
	}
	return nil
}

// operateOnPart changes a part: of the one value, or of all values.
func operateOnPart(object map[string]any, op string, at place, value any) error {
	v, err := single(at.Sub, value)
	if err != nil {
		return err
	}
	if op == "remove" {
		v = nil
	}
	if !at.Attribute.Multi {
		inner, _ := object[at.Attribute.Name].(map[string]any)
		if inner == nil {
			inner = map[string]any{}
		}
		setPart(inner, at.Sub.Name, v)
		object[at.Attribute.Name] = inner
		if len(inner) == 0 {
			delete(object, at.Attribute.Name)
		}
		return nil
	}
	list, _ := object[at.Attribute.Name].([]any)
	for _, one := range list {
		if m, ok := one.(map[string]any); ok {
			setPart(m, at.Sub.Name, v)
		}
	}
	return nil
}

func setPart(m map[string]any, name string, v any) {
	if v == nil {
		delete(m, name)
	} else {
		m[name] = v
	}
}

// operateOn changes those values that satisfy a filter.
func (r *resourceType) operateOn(object map[string]any, op string, at place, filter, sub string, value any) error {
	if !at.Attribute.Multi || at.Sub != nil {
		return invalid("invalidPath", "%s has no values to choose from", at.leaf().Name)
	}
	f, err := r.parseValueFilter(filter, at)
	if err != nil {
		return err
	}
	part := place{Extension: at.Extension, Attribute: at.Attribute}
	if sub != "" {
		if part.Sub = find(at.Attribute.Sub, sub); part.Sub == nil {
			return invalid("invalidPath", "%s has no %q", at.Attribute.Name, head(sub))
		}
	}
	list, _ := object[at.Attribute.Name].([]any)
	chosen := func(v any) bool {
		m, ok := v.(map[string]any)
		return ok && matches(f, m)
	}
	if op == "remove" && part.Sub == nil {
		keep(object, at.Attribute.Name, slices.DeleteFunc(slices.Clone(list), chosen))
		return nil
	}
	if !slices.ContainsFunc(list, chosen) {
		if op == "remove" {
			return nil
		}
		// Interop: Entra ID replaces emails[type eq "work"].value where there is none, and means that it be made.
		made := implied(f)
		if made == nil {
			return invalid("noTarget", "no value of %s fits the path", at.Attribute.Name)
		}
		list = append(slices.Clone(list), made)
	}
	if list, err = changeChosen(list, chosen, op, part, value); err != nil {
		return err
	}
	keep(object, at.Attribute.Name, onePrimary(list))
	return nil
}

func changeChosen(list []any, chosen func(any) bool, op string, part place, value any) ([]any, error) {
	var out []any
	for _, one := range list {
		if !chosen(one) {
			out = append(out, one)
			continue
		}
		m := one.(map[string]any)
		v, err := single(part.leafOfValue(), value)
		if err != nil {
			return nil, err
		}
		switch {
		case part.Sub != nil && op == "remove":
			delete(m, part.Sub.Name)
		case part.Sub != nil:
			setPart(m, part.Sub.Name, v)
		default:
			changes, _ := v.(map[string]any)
			for k, c := range changes {
				m[k] = c
			}
		}
		// A type without a value says nothing.
		if len(m) > 0 && (m["value"] != nil || find(part.Attribute.Sub, "value") == nil) {
			out = append(out, m)
		}
	}
	return out, nil
}

// leafOfValue is what one value has to be: the part, or the whole.
func (p place) leafOfValue() *attribute {
	if p.Sub != nil {
		return p.Sub
	}
	whole := *p.Attribute
	whole.Multi = false
	return &whole
}

func keep(object map[string]any, name string, list []any) {
	if len(list) == 0 {
		delete(object, name)
	} else {
		object[name] = list
	}
}

// addValues adds those that are not there yet.
func addValues(present any, more []any) []any {
	list, _ := present.([]any)
	known := map[string]int{}
	for i, v := range list {
		known[valueKey(v)] = i
	}
	for _, v := range more {
		if i, ok := known[valueKey(v)]; ok {
			if !reflect.DeepEqual(list[i], v) {
				list[i] = v
			}
			continue
		}
		known[valueKey(v)] = len(list)
		list = append(list, v)
	}
	// The new primary value takes the place of the old one.
	return onePrimary(list)
}

func removeValues(object map[string]any, name string, gone []any) {
	keys := map[string]bool{}
	for _, v := range gone {
		keys[valueKey(v)] = true
	}
	list, _ := object[name].([]any)
	keep(object, name, slices.DeleteFunc(slices.Clone(list), func(v any) bool { return keys[valueKey(v)] }))
}

// valueKey tells the values of an attribute apart: by value, or by type where there is none (addresses).
func valueKey(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	if s, ok := m["value"].(string); ok {
		return "v" + strings.ToLower(s)
	}
	s, _ := m["type"].(string)
	return "t" + s
}
