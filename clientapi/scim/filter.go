package scim

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
)

// Filters. Why an own parser: existing ones neither bound the depth of brackets nor know emails[type eq "work"].value, which
// Entra ID asks by, and what is needed of the result is SQL.
//
// Spec: RFC 7644 §3.4.2.2

// filterParser reads a filter from left to right.
type filterParser struct {
	kind *resourceType
	// inside is the attribute whose values are filtered: names are those of its sub-attributes then.
	inside *place
	rest   string
	depth  int
}

// parseFilter reads a filter over resources.
func (r *resourceType) parseFilter(text string) (*store.ScimFilter, error) {
	return parseWhole(&filterParser{kind: r, rest: text})
}

// parseValueFilter reads a filter over the values of an attribute, what stands between brackets.
func (r *resourceType) parseValueFilter(text string, of place) (*store.ScimFilter, error) {
	return parseWhole(&filterParser{kind: r, inside: &of, rest: text})
}

func parseWhole(p *filterParser) (*store.ScimFilter, error) {
	if len(p.rest) > limits.ScimFilter {
		return nil, badFilter("the filter is longer than %d bytes", limits.ScimFilter)
	}
	f, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, badFilter("the filter does not end at %q", head(p.rest))
	}
	return f, nil
}

func badFilter(format string, a ...any) error { return invalid("invalidFilter", format, a...) }

func head(s string) string { return s[:min(len(s), 20)] }

func (p *filterParser) space() { p.rest = strings.TrimLeft(p.rest, " \t") }

// word consumes a word if it comes next.
func (p *filterParser) word(w string) bool {
	p.space()
	n := len(w)
	if len(p.rest) < n || !strings.EqualFold(p.rest[:n], w) || len(p.rest) > n && !strings.ContainsRune(" \t(", rune(p.rest[n])) {
		return false
	}
	p.rest = p.rest[n:]
	return true
}

func (p *filterParser) or() (*store.ScimFilter, error)  { return p.chain("or", p.and) }
func (p *filterParser) and() (*store.ScimFilter, error) { return p.chain("and", p.not) }

func (p *filterParser) chain(op string, next func() (*store.ScimFilter, error)) (*store.ScimFilter, error) {
	left, err := next()
	for err == nil && p.word(op) {
		if p.depth++; p.depth > limits.ScimFilterDepth {
			return nil, badFilter("the filter has too many parts")
		}
		var right *store.ScimFilter
		if right, err = next(); err == nil {
			left = &store.ScimFilter{Op: op, Left: left, Right: right}
		}
	}
	return left, err
}

func (p *filterParser) not() (*store.ScimFilter, error) {
	negated := p.word("not")
	p.space()
	if !strings.HasPrefix(p.rest, "(") {
		if negated {
			return nil, badFilter("not wants brackets")
		}
		return p.comparison()
	}
	if p.depth++; p.depth > limits.ScimFilterDepth {
		return nil, badFilter("the filter has too many parts")
	}
	p.rest = p.rest[1:]
	f, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); !strings.HasPrefix(p.rest, ")") {
		return nil, badFilter("a bracket is not closed")
	}
	p.rest = p.rest[1:]
	if negated {
		f = &store.ScimFilter{Op: "not", Left: f}
	}
	return f, nil
}

// name consumes an attribute's name.
func (p *filterParser) name() string {
	p.space()
	n := strings.IndexFunc(p.rest, func(r rune) bool {
		return !(r == '$' || r == '-' || r == '_' || r == ':' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	})
	if n < 0 {
		n = len(p.rest)
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name
}

func (p *filterParser) comparison() (*store.ScimFilter, error) {
	name := p.name()
	at, err := p.resolve(name)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(p.rest, "[") {
		return p.valuePath(at)
	}
	return p.compare(at)
}

func (p *filterParser) resolve(name string) (place, error) {
	if p.inside == nil {
		at, err := p.kind.resolve(name)
		if err != nil {
			return at, badFilter("there is no attribute %q", head(name))
		}
		return at, nil
	}
	sub := find(p.inside.Attribute.Sub, name)
	if sub == nil {
		return place{}, badFilter("%s has no %q", p.inside.Attribute.Name, head(name))
	}
	return place{Extension: p.inside.Extension, Attribute: p.inside.Attribute, Sub: sub}, nil
}

// valuePath is emails[type eq "work"], perhaps followed by .value and a comparison.
func (p *filterParser) valuePath(at place) (*store.ScimFilter, error) {
	if p.inside != nil || at.Sub != nil || !at.Attribute.Multi {
		return nil, badFilter("brackets do not belong behind %s", at.leaf().Name)
	}
	end := closing(p.rest)
	if end < 0 {
		return nil, badFilter("a bracket is not closed")
	}
	inner, err := p.kind.parseValueFilter(p.rest[1:end], at)
	if err != nil {
		return nil, err
	}
	p.rest = p.rest[end+1:]
	if strings.HasPrefix(p.rest, ".") {
		p.rest = p.rest[1:]
		sub := find(at.Attribute.Sub, p.name())
		if sub == nil {
			return nil, badFilter("%s has no such part", at.Attribute.Name)
		}
		value, err := p.compare(place{Extension: at.Extension, Attribute: at.Attribute, Sub: sub})
		if err != nil {
			return nil, err
		}
		inner = &store.ScimFilter{Op: "and", Left: inner, Right: value}
	}
	return &store.ScimFilter{Op: "any", Path: at.names(), Left: inner}, nil
}

// closing is where the bracket at the beginning is closed, strings left out.
func closing(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == ']':
			return i
		}
	}
	return -1
}

var orders = map[string]bool{"gt": true, "ge": true, "lt": true, "le": true}

// compare reads the operator and the value.
func (p *filterParser) compare(at place) (*store.ScimFilter, error) {
	leaf := at.leaf()
	if leaf.Returned == "never" {
		return nil, badFilter("%s can't be asked for", leaf.Name)
	}
	f := &store.ScimFilter{Path: at.names(), Multi: at.Attribute.Multi, Exact: leaf.CaseExact}
	if f.Multi && at.Sub == nil {
		f.Path = append(f.Path, "value")
		leaf = find(leaf.Sub, "value")
	}
	if p.word("pr") {
		f.Op = "pr"
		return f, nil
	}
	p.space()
	op, rest, _ := strings.Cut(p.rest, " ")
	f.Op = strings.ToLower(op)
	switch {
	case f.Op == "eq" || f.Op == "ne" || orders[f.Op]:
	case f.Op == "co" || f.Op == "sw" || f.Op == "ew":
	default:
		return nil, badFilter("%q is not an operator", head(op))
	}
	p.rest = rest
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	if leaf.Type == typeComplex {
		return nil, badFilter("%s has parts, and can't be compared as a whole", leaf.Name)
	}
	return f, take(f, value, leaf)
}

// value reads a string, a number or a word.
func (p *filterParser) value() (any, error) {
	p.space()
	decoder := json.NewDecoder(strings.NewReader(p.rest))
	decoder.UseNumber()
	n := strings.IndexAny(p.rest, " )]")
	if n < 0 {
		n = len(p.rest)
	}
	switch word := strings.ToLower(p.rest[:n]); word {
	case "true", "false", "null":
		p.rest = p.rest[n:]
		return map[string]any{"true": true, "false": false, "null": nil}[word], nil
	}
	token, err := decoder.Token()
	if err != nil {
		return nil, badFilter("%q is not a value", head(p.rest))
	}
	p.rest = p.rest[decoder.InputOffset():]
	switch v := token.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	}
	return nil, badFilter("a value must be a string, a number or a word")
}

// take puts a value into a comparison, in the attribute's type.
func take(f *store.ScimFilter, value any, leaf *attribute) error {
	switch v := value.(type) {
	case nil:
		if f.Op != "eq" && f.Op != "ne" {
			return badFilter("null can't be compared")
		}
		// Spec: RFC 7644 §3.4.2.2: no value and null are the same.
		absent := f.Op == "eq"
		f.Op = "pr"
		if absent {
			inner := *f
			*f = store.ScimFilter{Op: "not", Left: &inner}
		}
		return nil
	case bool:
		if leaf.Type != typeBoolean || f.Op != "eq" && f.Op != "ne" {
			return badFilter("%s is not compared so with a boolean", leaf.Name)
		}
		f.Flag, f.IsFlag = v, true
		return nil
	case string:
		f.Text = v
	}
	switch leaf.Type {
	case typeBoolean:
		// Interop: Entra ID writes booleans as strings.
		b, err := single(leaf, f.Text)
		flag, ok := b.(bool)
		if err != nil || !ok || f.Op != "eq" && f.Op != "ne" {
			return badFilter("%s is true or false", leaf.Name)
		}
		f.Flag, f.IsFlag = flag, true
	case typeDateTime:
		t, err := time.Parse(time.RFC3339, f.Text)
		if err != nil || f.Op == "co" || f.Op == "sw" || f.Op == "ew" {
			return badFilter("%s is compared with a time such as 2011-05-13T04:42:34Z", leaf.Name)
		}
		f.Time, f.IsTime = t.UnixMilli(), true
	}
	if strings.ContainsRune(f.Text, 0) {
		return badFilter("a value must not have the character NUL")
	}
	return nil
}

// matches reports whether a value of a multi-valued attribute satisfies a filter over its parts.
func matches(f *store.ScimFilter, value map[string]any) bool {
	switch f.Op {
	case "and":
		return matches(f.Left, value) && matches(f.Right, value)
	case "or":
		return matches(f.Left, value) || matches(f.Right, value)
	case "not":
		return !matches(f.Left, value)
	}
	have := value[f.Path[len(f.Path)-1]]
	if f.Op == "pr" {
		return have != nil
	}
	if f.IsFlag {
		// What is not primary need not say so.
		flag, _ := have.(bool)
		return (flag == f.Flag) == (f.Op == "eq")
	}
	text, ok := have.(string)
	if !ok {
		return f.Op == "ne"
	}
	want := f.Text
	if !f.Exact {
		text, want = strings.ToLower(text), strings.ToLower(want)
	}
	switch f.Op {
	case "eq":
		return text == want
	case "ne":
		return text != want
	case "co":
		return strings.Contains(text, want)
	case "sw":
		return strings.HasPrefix(text, want)
	case "ew":
		return strings.HasSuffix(text, want)
	case "gt":
		return text > want
	case "ge":
		return text >= want
	case "lt":
		return text < want
	}
	return text <= want
}

// implied is the value that a filter of equalities describes, nil for any other filter.
func implied(f *store.ScimFilter) map[string]any {
	switch f.Op {
	case "and":
		left, right := implied(f.Left), implied(f.Right)
		if left == nil || right == nil {
			return nil
		}
		for k, v := range right {
			left[k] = v
		}
		return left
	case "eq":
		key := f.Path[len(f.Path)-1]
		if f.IsFlag {
			return map[string]any{key: f.Flag}
		}
		return map[string]any{key: f.Text}
	}
	return nil
}
