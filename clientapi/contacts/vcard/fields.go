package vcard

import (
	"slices"
	"strings"
)

// Fields are what people see of a contact in a list, and change in a small form.
type Fields struct {
	Name         string  `json:"name"`
	Given        string  `json:"given_name,omitempty"`
	Family       string  `json:"family_name,omitempty"`
	Nickname     string  `json:"nickname,omitempty"`
	Emails       []Value `json:"emails,omitempty"`
	Phones       []Value `json:"phones,omitempty"`
	Organisation string  `json:"organisation,omitempty"`
	Department   string  `json:"department,omitempty"`
	Title        string  `json:"title,omitempty"`
	Note         string  `json:"note,omitempty"`
}

// Value is an address or a number, and what it is: home, work, cell…
type Value struct {
	Value string `json:"value"`
	Type  string `json:"type,omitempty"`
}

// Fields reads them from a card.
func (c *Card) Fields() Fields {
	f := Fields{
		Name: c.Text("FN"), Nickname: c.Text("NICKNAME"), Title: c.Text("TITLE"), Note: c.Text("NOTE"),
		Emails: c.values("EMAIL"), Phones: c.values("TEL"),
	}
	if n := c.Get("N"); n != nil {
		parts := append(Split(n.Value, ';'), "", "")
		f.Family, f.Given = parts[0], parts[1]
	}
	if org := c.Get("ORG"); org != nil {
		parts := append(Split(org.Value, ';'), "")
		f.Organisation, f.Department = parts[0], parts[1]
	}
	if f.Name == "" {
		f.Name = c.shownName()
	}
	return f
}

func (c *Card) values(name string) []Value {
	var list []Value
	for i := range c.Properties {
		p := &c.Properties[i]
		if p.Name != name {
			continue
		}
		v := Value{Value: strings.TrimSpace(strings.TrimPrefix(Unescape(p.Value), "tel:"))}
		for _, t := range p.Types() {
			if t != "pref" && t != "internet" && t != "voice" {
				v.Type = t
				break
			}
		}
		if v.Value != "" {
			list = append(list, v)
		}
	}
	return list
}

// SetFields changes a card to what the fields say. What they do not speak of stays: further parts of names and of organisations, the
// parameters of addresses and numbers that are still there, and all else.
func (c *Card) SetFields(f Fields) {
	was := c.Fields()
	if f.Name == "" {
		f.Name = strings.TrimSpace(f.Given + " " + f.Family)
	}
	if f.Name != was.Name || c.Get("FN") == nil {
		c.setText("FN", f.Name)
	}
	if f.Given != was.Given || f.Family != was.Family || c.Get("N") == nil && c.Version != V4 {
		c.setParts("N", 5, f.Family, f.Given)
	}
	if f.Organisation != was.Organisation || f.Department != was.Department {
		c.setParts("ORG", 1, f.Organisation, f.Department)
	}
	for _, text := range []struct{ name, value, was string }{
		{"NICKNAME", f.Nickname, was.Nickname}, {"TITLE", f.Title, was.Title}, {"NOTE", f.Note, was.Note},
	} {
		if text.value != text.was {
			c.setText(text.name, text.value)
		}
	}
	c.setValues("EMAIL", f.Emails, was.Emails)
	c.setValues("TEL", f.Phones, was.Phones)
}

// setText puts a text in the place of a property's first value; an empty one removes it.
func (c *Card) setText(name, text string) {
	switch p := c.Get(name); {
	case text == "" && name != "FN":
		c.Remove(name)
	case p != nil:
		p.Value = Escape(text)
	default:
		c.Add(name, Escape(text))
	}
}

// setParts changes the first parts of a structured property and leaves the others.
func (c *Card) setParts(name string, least int, first, second string) {
	var parts []string
	if p := c.Get(name); p != nil {
		parts = splitRaw(p.Value, ';')
	}
	for len(parts) < max(least, 2) {
		parts = append(parts, "")
	}
	parts[0], parts[1] = Escape(first), Escape(second)
	for len(parts) > least && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	if name == "ORG" && strings.Join(parts, "") == "" {
		c.Remove(name)
		return
	}
	if p := c.Get(name); p != nil {
		p.Value = strings.Join(parts, ";")
		return
	}
	c.Add(name, strings.Join(parts, ";"))
}

// setValues leaves properties whose value is still wanted as the same kind, and replaces the others.
func (c *Card) setValues(name string, values, was []Value) {
	if slices.Equal(values, was) {
		return
	}
	kept := map[Value]Property{}
	for _, p := range c.Properties {
		if p.Name == name {
			one := Card{Version: c.Version, Properties: []Property{p}}
			if read := one.values(name); len(read) == 1 {
				kept[read[0]] = p
			}
		}
	}
	c.Properties = slices.DeleteFunc(c.Properties, func(p Property) bool { return p.Name == name })
	for _, v := range values {
		p, ok := kept[v]
		if !ok {
			p = Property{Name: name, Value: Escape(v.Value)}
			if v.Type != "" {
				p.Params = []Param{{"TYPE", []string{v.Type}}}
			}
		}
		c.Properties = append(c.Properties, p)
	}
}
