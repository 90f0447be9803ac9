package contacts

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/clientapi/contacts/vcard"
	"github.com/roomline/roomline/internal/limits"
)

// filter is what an addressbook-query looks for.
//
// Spec: RFC 6352 §10.5
type filter struct {
	all   bool // all of props have to hold; else one
	props []propFilter
}

type propFilter struct {
	name       string
	all        bool
	notDefined bool
	texts      []textMatch
	params     []paramFilter
}

type paramFilter struct {
	name       string
	notDefined bool
	text       *textMatch
}

type textMatch struct {
	text   string
	kind   string
	octet  bool // case counts
	negate bool
}

// errCollation: the client asks for a collation that is not known here.
var errCollation = errors.New("the collation is not supported")

// parseFilter reads a filter; none finds everything.
func parseFilter(e *element) (*filter, error) {
	f := &filter{}
	if e == nil {
		return f, nil
	}
	var err error
	if f.all, err = allOf(e); err != nil {
		return nil, err
	}
	n := 0
	for _, child := range e.children {
		if !child.is(nsCardDAV, "prop-filter") {
			continue
		}
		p, err := parsePropFilter(child)
		if err != nil {
			return nil, err
		}
		if n += 1 + len(p.texts) + len(p.params); n > limits.DAVFilters {
			return nil, badXML("there are more than %d filters", limits.DAVFilters)
		}
		f.props = append(f.props, p)
	}
	return f, nil
}

func allOf(e *element) (bool, error) {
	switch e.attr("test") {
	case "allof":
		return true, nil
	case "anyof", "":
		return false, nil
	}
	return false, badXML("test must be anyof or allof")
}

func parsePropFilter(e *element) (p propFilter, err error) {
	if p.name = strings.ToUpper(e.attr("name")); p.name == "" {
		return p, badXML("a prop-filter has no name")
	}
	if p.all, err = allOf(e); err != nil {
		return p, err
	}
	for _, child := range e.children {
		switch {
		case child.is(nsCardDAV, "is-not-defined"):
			p.notDefined = true
		case child.is(nsCardDAV, "text-match"):
			t, err := parseTextMatch(child)
			if err != nil {
				return p, err
			}
			p.texts = append(p.texts, t)
		case child.is(nsCardDAV, "param-filter"):
			q := paramFilter{name: strings.ToUpper(child.attr("name")), notDefined: child.child(nsCardDAV, "is-not-defined") != nil}
			if text := child.child(nsCardDAV, "text-match"); text != nil {
				t, err := parseTextMatch(text)
				if err != nil {
					return p, err
				}
				q.text = &t
			}
			p.params = append(p.params, q)
		}
	}
	return p, nil
}

func parseTextMatch(e *element) (t textMatch, err error) {
	switch e.attr("collation") {
	case "", "i;unicode-casemap", "i;ascii-casemap", "default":
	case "i;octet":
		t.octet = true
	default:
		return t, errCollation
	}
	switch t.kind = e.attr("match-type"); t.kind {
	case "", "contains", "equals", "starts-with", "ends-with":
	default:
		return t, badXML("match-type must be equals, contains, starts-with or ends-with")
	}
	t.negate = e.attr("negate-condition") == "yes"
	t.text = t.folded(e.text)
	return t, nil
}

var foldCase = cases.Fold()

// folded is a text as it is compared: without case (RFC 5051).
func (t *textMatch) folded(text string) string {
	if t.octet {
		return text
	}
	return norm.NFKD.String(foldCase.String(text))
}

func (t *textMatch) matches(value string) bool {
	value = t.folded(value)
	var ok bool
	switch t.kind {
	case "equals":
		ok = value == t.text
	case "starts-with":
		ok = strings.HasPrefix(value, t.text)
	case "ends-with":
		ok = strings.HasSuffix(value, t.text)
	default:
		ok = strings.Contains(value, t.text)
	}
	return ok != t.negate
}

// matches reports whether a card is found.
func (f *filter) matches(text []byte) bool {
	if len(f.props) == 0 {
		return true
	}
	c, err := vcard.Parse(text)
	if err != nil {
		return false
	}
	for i := range f.props {
		if f.props[i].matches(c) != f.all {
			return !f.all
		}
	}
	return f.all
}

// matches reports whether one of the card's properties of the name meets the conditions.
func (p *propFilter) matches(c *vcard.Card) bool {
	found := false
	for i := range c.Properties {
		property := &c.Properties[i]
		if property.Name != p.name {
			continue
		}
		found = true
		if !p.notDefined && p.meets(property) {
			return true
		}
	}
	return p.notDefined && !found
}

func (p *propFilter) meets(property *vcard.Property) bool {
	var results []bool
	value := vcard.Unescape(property.Value)
	for i := range p.texts {
		results = append(results, p.texts[i].matches(value))
	}
	for i := range p.params {
		results = append(results, p.params[i].matches(property))
	}
	if len(results) == 0 {
		return true
	}
	return slices.Contains(results, !p.all) != p.all
}

func (q *paramFilter) matches(property *vcard.Property) bool {
	values := property.Param(q.name)
	switch {
	case q.notDefined:
		return len(values) == 0
	case q.text == nil:
		return len(values) > 0
	}
	return slices.ContainsFunc(values, q.text.matches)
}
