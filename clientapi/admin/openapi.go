package admin

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// The OpenAPI document is made from the route tables and from the types of requests and answers, so that it says what the server does. It is
// served to everybody: it is the same for all, and says nothing of anybody.

func (s *Server) documentEndpoint() httpapi.Route {
	return httpapi.Route{Method: get, Path: own + "/openapi.json", Auth: httpapi.NoAuth, Handle: func(context.Context, *httpapi.Call) (any, error) {
		return s.Document(), nil
	}, Doc: &httpapi.Doc{Summary: "This document.", Who: "anybody", Response: map[string]any{}}}
}

// Document is the OpenAPI document of this package's routes and of the others' that are documented.
func (s *Server) Document() map[string]any {
	return Document(append(s.Routes(), s.cfg.Documented...))
}

// Document is the OpenAPI document of the routes that have a Doc.
func Document(routes []httpapi.Route) map[string]any {
	schemas := schemaSet{}
	paths := map[string]map[string]any{}
	for i := range routes {
		r := &routes[i]
		if r.Doc == nil {
			continue
		}
		if paths[r.Path] == nil {
			paths[r.Path] = map[string]any{}
		}
		paths[r.Path][strings.ToLower(r.Method)] = schemas.operation(r)
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "Roomline administration", "version": "1",
			"description": "Administration of organisations. Errors are Matrix errors: errcode and error."},
		"paths": paths,
		"components": map[string]any{
			"schemas":         schemas.with("Error", errorSchema),
			"securitySchemes": map[string]any{"accessToken": map[string]any{"type": "http", "scheme": "bearer"}},
		},
	}
}

var errorSchema = map[string]any{"type": "object", "required": []string{"errcode", "error"}, "properties": map[string]any{
	"errcode": map[string]any{"type": "string"}, "error": map[string]any{"type": "string"},
}}

// schemaSet are the named schemas of a document, by name.
type schemaSet map[string]any

func (s schemaSet) with(name string, schema any) schemaSet {
	s[name] = schema
	return s
}

func (s schemaSet) operation(r *httpapi.Route) map[string]any {
	kind := r.Doc.ContentType
	if kind == "" {
		kind = "application/json"
	}
	body := map[string]any{"type": "object"}
	if r.Doc.Response != nil {
		body = s.of(reflect.TypeOf(r.Doc.Response))
	}
	op := map[string]any{
		"summary": r.Doc.Summary, "description": "Who may ask: " + r.Doc.Who + ".",
		"operationId": operationID(r),
		"responses": map[string]any{
			"200":     map[string]any{"description": "Done.", "content": map[string]any{kind: map[string]any{"schema": body}}},
			"default": map[string]any{"description": "A Matrix error.", "content": map[string]any{"application/json": map[string]any{"schema": reference("Error")}}},
		},
	}
	if parameters := parameters(r); len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if r.Doc.Request != nil {
		op["requestBody"] = map[string]any{"required": true, "content": map[string]any{
			"application/json": map[string]any{"schema": s.of(reflect.TypeOf(r.Doc.Request))}}}
	}
	if r.Auth != httpapi.NoAuth {
		op["security"] = []any{map[string]any{"accessToken": []string{}}}
	}
	return op
}

// operationID names an operation by method and path.
func operationID(r *httpapi.Route) string {
	name := strings.ToLower(r.Method)
	for segment := range strings.SplitSeq(r.Path, "/") {
		segment = strings.Trim(segment, "{}_.$")
		if segment == "" || segment == "roomline" || segment == "v1" {
			continue
		}
		name += strings.ToUpper(segment[:1]) + strings.ReplaceAll(segment[1:], ".", "")
	}
	return name
}

func parameters(r *httpapi.Route) []any {
	var all []any
	for segment := range strings.SplitSeq(r.Path, "/") {
		if name, is := strings.CutPrefix(segment, "{"); is && segment != "{$}" {
			all = append(all, map[string]any{
				"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
	}
	for _, q := range r.Doc.Query {
		all = append(all, map[string]any{"name": q.Name, "in": "query", "description": q.Summary, "schema": map[string]any{"type": q.Type}})
	}
	return all
}

func reference(name string) map[string]any {
	return map[string]any{"$ref": "#/components/schemas/" + name}
}

// jsonType is the JSON type of a Go type.
func jsonType(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "integer"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "array"
	}
	return "object"
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// of is the schema of a type. Structs with a name become schemas of their own.
func (s schemaSet) of(t reflect.Type) map[string]any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == rawMessage || t.Kind() == reflect.Interface:
		return map[string]any{}
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case t.Kind() != reflect.Struct:
		schema := map[string]any{"type": jsonType(t)}
		if t == reflect.TypeFor[matrix.Timestamp]() {
			schema["description"] = "milliseconds since 1970"
		}
		return schema
	}
	name := schemaName(t)
	if name == "" {
		return s.object(t)
	}
	if _, known := s[name]; !known {
		s[name] = map[string]any{} // for types that contain themselves
		s[name] = s.object(t)
	}
	return reference(name)
}

// schemaName is the name of a type, with its package's unless that is this one.
func schemaName(t reflect.Type) string {
	name := t.Name()
	if name == "" {
		return ""
	}
	name = strings.ToUpper(name[:1]) + name[1:]
	if i := strings.LastIndexByte(t.PkgPath(), '/'); !strings.HasSuffix(t.PkgPath(), "/admin") {
		name = t.PkgPath()[i+1:] + "." + name
	}
	return name
}

func (s schemaSet) object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	required := []string{}
	s.fields(t, properties, &required)
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

func (s schemaSet) fields(t reflect.Type, properties map[string]any, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.fields(f.Type, properties, required)
		case name != "" && name != "-":
			properties[name] = s.of(f.Type)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && f.Type.Kind() != reflect.Pointer {
				*required = append(*required, name)
			}
		}
	}
}
