package strictjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/roomline/roomline/internal/matrix"
)

// shape is what the scanner must know of a Go type: which keys of which objects are fields. A nil shape knows none:
// values that decode themselves, and all that Go leaves open.
type shape struct {
	fields map[string]*shape // of a struct
	names  []string          // keys of fields
	elem   *shape            // of a map, a slice or an array
}

// field finds the shape of the value under a key. It refuses a key that misses a field by its case alone.
func (sh *shape) field(key []byte) (*shape, error) {
	if sh == nil {
		return nil, nil
	}
	if sh.fields == nil {
		return sh.elem, nil
	}
	if of, ok := sh.fields[string(key)]; ok {
		return of, nil
	}
	for _, name := range sh.names {
		if strings.EqualFold(name, string(key)) {
			return nil, matrix.BadJSON("unknown key %q: keys are case-sensitive, %q is meant", shorten(string(key)), name)
		}
	}
	return nil, nil
}

// element is the shape of an array's elements.
func (sh *shape) element() *shape {
	if sh == nil || sh.fields != nil {
		return nil
	}
	return sh.elem
}

// shapes caches shapeOf by type.
var shapes sync.Map // reflect.Type → *shape

func shapeOf(t reflect.Type) *shape {
	if t == nil {
		return nil
	}
	if sh, ok := shapes.Load(t); ok {
		return sh.(*shape)
	}
	sh := buildShape(t, make(map[reflect.Type]*shape))
	shapes.Store(t, sh)
	return sh
}

// buildShape walks through a type; seen ends the walk at types that contain themselves.
func buildShape(t reflect.Type, seen map[reflect.Type]*shape) *shape {
	for t.Kind() == reflect.Pointer && !decodesItself(t) {
		t = t.Elem()
	}
	if sh, ok := seen[t]; ok {
		return sh
	}
	if decodesItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Map, reflect.Slice, reflect.Array:
		sh := new(shape)
		seen[t] = sh
		sh.elem = buildShape(t.Elem(), seen)
		return sh
	case reflect.Struct:
		sh := &shape{fields: make(map[string]*shape)}
		seen[t] = sh
		sh.addFields(t, seen)
		for name := range sh.fields {
			sh.names = append(sh.names, name)
		}
		return sh
	}
	return nil
}

// addFields adds the fields of a struct. Those of embedded structs belong to the same object; outer ones win.
func (sh *shape) addFields(t reflect.Type, seen map[reflect.Type]*shape, within ...reflect.Type) {
	var embedded []reflect.Type
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case tag == "-":
		case (f.Anonymous || slices.Contains(strings.Split(options, ","), "embed")) && name == "":
			// A map or a raw value that catches all other keys has none of its own.
			if inner.Kind() == reflect.Struct && !slices.Contains(within, inner) {
				embedded = append(embedded, inner)
			}
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			name = strings.Trim(name, "'")
			if _, outer := sh.fields[name]; !outer {
				sh.fields[name] = buildShape(f.Type, seen)
			}
		}
	}
	for _, e := range embedded {
		sh.addFields(e, seen, append(slices.Clip(within), t)...)
	}
}

var itself = []reflect.Type{
	reflect.TypeFor[json.Unmarshaler](),
	reflect.TypeFor[jsonv2.UnmarshalerFrom](),
	reflect.TypeFor[encoding.TextUnmarshaler](),
}

// decodesItself reports a type with a method of its own for decoding.
func decodesItself(t reflect.Type) bool {
	for _, i := range itself {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return false
}
