// Package strictjson reads JSON so that nobody else can read the same bytes differently: what two readers could
// understand in two ways is refused before it is stored, hashed or acted upon. It also writes canonical JSON.
//
// Spec: appendices v1.19 §canonical-json; client-server v1.19 §common-error-codes (M_NOT_JSON, M_BAD_JSON)
//
// Refused everywhere: a key twice in one object, nesting deeper than limits.JSONDepth, more than limits.JSONKeys keys,
// strings longer than limits.JSONString, integers beyond ±(2^53-1), U+0000 (PostgreSQL cannot hold it), lone surrogates,
// invalid UTF-8, a byte order mark, anything after the value. Keys are compared after their escapes are decoded, exactly:
// "type" and "Type" are two keys. Only Decode minds case, and only where the key could be mistaken for a field.
//
// One hand-written scanner (scan.go) does all of it in one pass; recursion is bounded by the depth limit, so that no
// input can exhaust the stack.
//
// Errors are *matrix.Error with status 400: M_NOT_JSON for what is not JSON, M_BAD_JSON for JSON that is refused.
//
// Start reading here, then scan.go.
package strictjson

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/roomline/roomline/internal/matrix"
)

// Canonical checks an object and returns its canonical form: keys sorted by code point, no white space, shortest
// escapes. Numbers must be integers without fraction and exponent; -0 becomes 0. The result is a new slice.
//
// Spec: appendices v1.19 §canonical-json
func Canonical(raw []byte) ([]byte, error) {
	return canonical(raw, integersOnly)
}

// CanonicalLax is Canonical with fractions and exponents allowed, for bodies that are no events and for room versions 1
// to 5. A number with an exponent that is an integer is written as one (1e10 as 10000000000, as in the spec's example);
// other fractions stay as they were written, which is what other servers hash.
func CanonicalLax(raw []byte) ([]byte, error) {
	return canonical(raw, anyNumbers)
}

// Check checks any JSON value without changing it. Fractions and exponents are allowed.
func Check(raw []byte) error {
	return check(raw, nil)
}

// Decode checks raw and decodes it into v, a pointer. Keys match fields exactly; a key that equals a field only when case
// is ignored is refused by name, for somebody meant it to be that field. Other unknown keys are ignored.
func Decode(raw []byte, v any) error {
	if err := check(raw, shapeOf(reflect.TypeOf(v))); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v, decodeOptions); err != nil {
		return decodeError(err)
	}
	return nil
}

// decodeOptions: the scanner has looked for duplicate names already.
var decodeOptions = jsontext.AllowDuplicateNames(true)

type numbers bool

const (
	integersOnly numbers = false
	anyNumbers   numbers = true
)

var scanners = sync.Pool{New: func() any { return new(scanner) }}

func canonical(raw []byte, n numbers) ([]byte, error) {
	s := scanners.Get().(*scanner)
	defer s.release()
	s.in, s.numbers, s.writing = raw, n, true
	s.out = make([]byte, 0, len(raw))
	s.space()
	if s.pos < len(raw) && raw[s.pos] != '{' {
		if err := check(raw, nil); err != nil {
			return nil, err
		}
		return nil, matrix.BadJSON("a JSON object is expected")
	}
	if err := s.document(nil); err != nil {
		return nil, err
	}
	return s.out, nil
}

func check(raw []byte, sh *shape) error {
	s := scanners.Get().(*scanner)
	defer s.release()
	s.in, s.numbers = raw, anyNumbers
	return s.document(sh)
}

// decodeError turns the decoder's error into one that names the field.
func decodeError(err error) error {
	if e, ok := matrix.AsError(err); ok { // from an UnmarshalJSON of ours
		return e
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok || semantic.JSONKind == jsontext.KindInvalid {
		// The decoder did not come as far as the input: it is the Go type that cannot be filled.
		return fmt.Errorf("decode JSON: %w", err)
	}
	field := strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", ".")
	if field == "" {
		field = "the body"
	}
	field = shorten(field)
	if want := describe(semantic.GoType); want != "" {
		return matrix.BadJSON("%s must be %s", field, want)
	}
	return matrix.BadJSON("%s has a wrong value", field)
}

// describe names a Go type in the words of JSON.
func describe(t reflect.Type) string {
	if t == nil {
		return ""
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "an integer within range"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a non-negative integer within range"
	case reflect.Float32, reflect.Float64:
		return "a number within range"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a base64 string"
		}
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return ""
}

// shorten bounds what an error message repeats of the input.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
