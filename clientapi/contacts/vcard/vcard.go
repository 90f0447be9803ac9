// Package vcard reads and writes vCards: 2.1 (what old phones and Outlook export), 3.0 (RFC 2426) and 4.0 (RFC 6350), and makes one version
// of another.
//
// A card is a list of properties in the order in which they came. Values stay as they are written, with their escapes, and what is not
// known is kept, so that a contact which goes through a server loses nothing. What is read of 2.1 has the escapes of 3.0 afterwards.
//
// Why not go-vcard's decoder and encoder: they know 3.0 and 4.0 only, and what they read and write is not the same afterwards. A list's
// commas become text, parameters lose their quotes, lines that are not understood are dropped without a word. Tests read what is written here
// with it.
//
// Start reading at Parse; convert.go is the differences between 3.0 and 4.0, old.go is 2.1, fields.go what people see of a card.
package vcard

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/limits"
)

// The versions.
const (
	V21 = "2.1"
	V3  = "3.0"
	V4  = "4.0"
)

// Card is a vCard. BEGIN, VERSION and END are not among its properties.
type Card struct {
	Version    string
	Properties []Property
}

// Property is a line of a card.
type Property struct {
	Group string // what stands before the name and a dot, or ""
	Name  string // in capitals
	// Params are in order. A name may come several times.
	Params []Param
	// Value is escaped.
	Value string
}

// Param is a parameter of a property. Values have no quotes.
type Param struct {
	Name   string // in capitals
	Values []string
}

// Get returns the first property of a name, or nil.
func (c *Card) Get(name string) *Property {
	for i := range c.Properties {
		if c.Properties[i].Name == name {
			return &c.Properties[i]
		}
	}
	return nil
}

// Text is the first value of a property, without escapes, or "".
func (c *Card) Text(name string) string {
	if p := c.Get(name); p != nil {
		return Unescape(p.Value)
	}
	return ""
}

// Remove takes out all properties of some names, and the labels of what was taken out.
func (c *Card) Remove(names ...string) {
	groups := map[string]bool{}
	c.Properties = slices.DeleteFunc(c.Properties, func(p Property) bool {
		gone := slices.Contains(names, p.Name)
		if gone && p.Group != "" {
			groups[strings.ToLower(p.Group)] = true
		}
		return gone
	})
	for _, p := range c.Properties {
		if p.Name != "X-ABLABEL" {
			delete(groups, strings.ToLower(p.Group))
		}
	}
	c.Properties = slices.DeleteFunc(c.Properties, func(p Property) bool {
		return p.Name == "X-ABLABEL" && groups[strings.ToLower(p.Group)]
	})
}

// Add appends a property.
func (c *Card) Add(name, value string, params ...Param) {
	c.Properties = append(c.Properties, Property{Name: name, Value: value, Params: params})
}

// Param returns all values of a parameter.
func (p *Property) Param(name string) []string {
	var values []string
	for _, param := range p.Params {
		if param.Name == name {
			values = append(values, param.Values...)
		}
	}
	return values
}

func (p *Property) removeParam(names ...string) {
	p.Params = slices.DeleteFunc(p.Params, func(param Param) bool { return slices.Contains(names, param.Name) })
}

// Types are the values of TYPE in small letters.
func (p *Property) Types() []string {
	types := p.Param("TYPE")
	for i, t := range types {
		types[i] = strings.ToLower(t)
	}
	return types
}

// ErrNone says that there is no vCard.
var ErrNone = errors.New("there is no vCard")

// Parse reads exactly one card.
func Parse(text []byte) (*Card, error) {
	s := NewScanner(text)
	card, err := s.Next()
	if err != nil {
		return nil, err
	}
	if _, err := s.Next(); !errors.Is(err, ErrNone) {
		return nil, errors.New("there is more than one vCard")
	}
	return card, nil
}

// Scanner reads the cards of a file, one after the other.
type Scanner struct {
	lines lines
}

// NewScanner begins with a file.
func NewScanner(text []byte) *Scanner {
	return &Scanner{lines{rest: bytes.TrimPrefix(text, []byte("\ufeff"))}}
}

// Next reads a card. After the last one it returns ErrNone; another error is about this card, and the next one can be read.
func (s *Scanner) Next() (*Card, error) {
	for {
		line, ok := s.lines.next()
		if !ok {
			return nil, ErrNone
		}
		if isMark(line, "BEGIN") {
			return s.card()
		}
		// What stands between cards is of nobody's interest.
	}
}

// card reads a card after its BEGIN.
func (s *Scanner) card() (*Card, error) {
	c := &Card{}
	var problem error
	for nested := 0; ; {
		line, ok := s.lines.next()
		switch {
		case !ok:
			return nil, errors.New("the vCard has no END")
		case isMark(line, "BEGIN"): // an AGENT of 2.1, which is a card itself
			nested++
		case isMark(line, "END") && nested > 0:
			nested--
		case isMark(line, "END"):
			if problem == nil {
				problem = c.finish()
			}
			return c, problem
		case nested == 0 && problem == nil && strings.TrimSpace(line) != "":
			problem = c.addLine(line)
		}
	}
}

// isMark reports a line such as BEGIN:VCARD.
func isMark(line, name string) bool {
	key, value, ok := strings.Cut(line, ":")
	return ok && strings.EqualFold(strings.TrimSpace(key), name) && strings.EqualFold(strings.TrimSpace(value), "VCARD")
}

func (c *Card) addLine(line string) error {
	p, err := parseLine(line)
	if err != nil {
		return err
	}
	if p.Name == "VERSION" {
		c.Version = strings.TrimSpace(p.Value)
		return nil
	}
	if len(c.Properties) >= limits.VCardProperties {
		return fmt.Errorf("the vCard has more than %d properties", limits.VCardProperties)
	}
	c.Properties = append(c.Properties, p)
	return nil
}

// finish brings what was read into the form of the card's version.
func (c *Card) finish() error {
	switch c.Version {
	case V3, V4:
	case V21, "":
		c.Version = V21
		return c.decodeOld()
	default:
		return fmt.Errorf("version %.10q is not known", c.Version)
	}
	for _, p := range c.Properties {
		if !utf8.ValidString(p.Value) {
			return errors.New("the vCard is not UTF-8")
		}
	}
	return nil
}

// lines gives the lines of a file, unfolded.
type lines struct{ rest []byte }

func (l *lines) physical() (string, bool) {
	if len(l.rest) == 0 {
		return "", false
	}
	line, rest, _ := bytes.Cut(l.rest, []byte("\n"))
	l.rest = rest
	return strings.TrimSuffix(string(line), "\r"), true
}

// next joins what was folded (RFC 6350 §3.2), and the soft breaks of quoted-printable, which stand for nothing either.
func (l *lines) next() (string, bool) {
	line, ok := l.physical()
	if !ok {
		return "", false
	}
	var whole strings.Builder
	whole.WriteString(line)
	for len(l.rest) > 0 && (l.rest[0] == ' ' || l.rest[0] == '\t') {
		more, _ := l.physical()
		whole.WriteString(more[1:])
	}
	line = whole.String()
	if !strings.HasSuffix(line, "=") || !isQuotedPrintable(line) {
		return line, true
	}
	whole.Reset()
	for strings.HasSuffix(line, "=") {
		whole.WriteString(strings.TrimSuffix(line, "="))
		if line, ok = l.physical(); !ok {
			break
		}
	}
	whole.WriteString(line)
	return whole.String(), true
}

func isQuotedPrintable(line string) bool {
	head, _, _ := strings.Cut(line, ":")
	return strings.Contains(strings.ToUpper(head), "QUOTED-PRINTABLE")
}

// parseLine reads [group "."] name *(";" param) ":" value (RFC 6350 §3.3).
func parseLine(line string) (Property, error) {
	end := strings.IndexAny(line, ";:")
	if end <= 0 {
		return Property{}, fmt.Errorf("a line without a value: %.40q", line)
	}
	var p Property
	p.Name = strings.ToUpper(strings.TrimSpace(line[:end]))
	if dot := strings.LastIndexByte(p.Name, '.'); dot >= 0 {
		p.Group, p.Name = strings.TrimSpace(line[:end])[:dot], p.Name[dot+1:]
	}
	if !isName(p.Name) || p.Group != "" && !isName(p.Group) {
		return Property{}, fmt.Errorf("%.40q is not the name of a property", line[:end])
	}
	rest := line[end:]
	for rest[0] == ';' {
		var param Param
		var err error
		if param, rest, err = parseParam(rest[1:]); err != nil {
			return Property{}, err
		}
		if param.Name != "" {
			p.Params = append(p.Params, param)
		}
		if len(p.Params) > limits.VCardParams {
			return Property{}, fmt.Errorf("%s has more than %d parameters", p.Name, limits.VCardParams)
		}
	}
	p.Value = rest[1:]
	return p, nil
}

func isName(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return s != ""
}

// parseParam reads a parameter and returns what stands behind it, from the next ";" or ":" on. In 2.1 one may be a value only: its name
// is found later.
func parseParam(s string) (Param, string, error) {
	end := strings.IndexAny(s, "=;:")
	if end < 0 {
		return Param{}, "", errors.New("a line ends in its parameters")
	}
	name := strings.ToUpper(strings.TrimSpace(s[:end]))
	if s[end] != '=' {
		if name == "" {
			return Param{}, s[end:], nil
		}
		return nude(name), s[end:], nil
	}
	if !isName(name) {
		return Param{}, "", fmt.Errorf("%.40q is not the name of a parameter", name)
	}
	p := Param{Name: name}
	rest := s[end+1:]
	for {
		var value string
		if strings.HasPrefix(rest, `"`) {
			i := strings.IndexByte(rest[1:], '"')
			if i < 0 {
				return Param{}, "", fmt.Errorf("the quotes of %s are not closed", name)
			}
			value, rest = rest[1:1+i], rest[i+2:]
		} else {
			i := strings.IndexAny(rest, ",;:")
			if i < 0 {
				return Param{}, "", errors.New("a line ends in its parameters")
			}
			value, rest = rest[:i], rest[i:]
		}
		if name == "TYPE" { // also when the whole list stands in quotes
			p.Values = append(p.Values, strings.Split(value, ",")...)
		} else {
			p.Values = append(p.Values, value)
		}
		switch {
		case rest == "":
			return Param{}, "", errors.New("a line ends in its parameters")
		case rest[0] == ',':
			rest = rest[1:]
		case rest[0] == ';' || rest[0] == ':':
			return p, rest, nil
		default:
			return Param{}, "", fmt.Errorf("text behind the quotes of %s", name)
		}
	}
}

// nude is a parameter of 2.1 that is a value only: an encoding, or a type.
func nude(value string) Param {
	switch value {
	case "QUOTED-PRINTABLE", "BASE64", "8BIT", "7BIT":
		return Param{Name: "ENCODING", Values: []string{value}}
	case "URL", "CID", "CONTENT-ID", "INLINE":
		return Param{Name: "VALUE", Values: []string{value}}
	}
	return Param{Name: "TYPE", Values: []string{value}}
}

// Unescape takes the escapes out of a text value (RFC 6350 §3.4).
func Unescape(value string) string {
	if !strings.Contains(value, `\`) {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' || i+1 == len(value) {
			b.WriteByte(value[i])
			continue
		}
		i++
		switch value[i] {
		case 'n', 'N':
			b.WriteByte('\n')
		case '\\', ',', ';', ':':
			b.WriteByte(value[i])
		default: // not an escape: a path of Windows, more often than not
			b.WriteByte('\\')
			b.WriteByte(value[i])
		}
	}
	return b.String()
}

var escapes = strings.NewReplacer("\\", `\\`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`, ",", `\,`, ";", `\;`)

// Escape is the opposite of Unescape.
func Escape(text string) string { return escapes.Replace(text) }

// Split cuts a structured or a list value at the separators that are not escaped, and takes the escapes out of the parts.
func Split(value string, separator byte) []string {
	parts := splitRaw(value, separator)
	for i, p := range parts {
		parts[i] = Unescape(p)
	}
	return parts
}

func splitRaw(value string, separator byte) []string {
	var parts []string
	start := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, value[start:i])
			start = i + 1
		}
	}
	return append(parts, value[start:])
}

// Join makes a structured or a list value of texts.
func Join(separator string, parts ...string) string {
	for i, p := range parts {
		parts[i] = Escape(p)
	}
	return strings.Join(parts, separator)
}
