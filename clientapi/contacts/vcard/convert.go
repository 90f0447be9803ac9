package vcard

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// As makes a card of another version of a card. The card itself is not changed.
func (c *Card) As(version string) *Card {
	out := &Card{Version: version}
	for _, p := range c.Properties {
		p.Params = cloneParams(p.Params)
		out.Properties = append(out.Properties, p)
	}
	switch {
	case version == c.Version:
	case version == V4:
		out.upgrade()
	case c.Version == V4:
		out.downgrade()
	}
	out.complete()
	return out
}

func cloneParams(params []Param) []Param {
	params = slices.Clone(params)
	for i := range params {
		params[i].Values = slices.Clone(params[i].Values)
	}
	return params
}

// complete adds what every reader expects: a name to show and, before 4.0, one in parts (RFC 2426 §3.1, RFC 6350 §6.2.1).
func (c *Card) complete() {
	if c.Get("FN") == nil {
		c.Properties = append([]Property{{Name: "FN", Value: Escape(c.shownName())}}, c.Properties...)
	}
	if c.Get("N") == nil && c.Version != V4 {
		c.Properties = append([]Property{{Name: "N", Value: Escape(Unescape(c.Get("FN").Value)) + ";;;;"}}, c.Properties...)
	}
}

// shownName is made of what there is.
func (c *Card) shownName() string {
	if n := c.Get("N"); n != nil {
		parts := append(Split(n.Value, ';'), "", "", "", "", "")
		name := strings.Join(strings.Fields(strings.Join([]string{parts[3], parts[1], parts[2], parts[0], parts[4]}, " ")), " ")
		if name != "" {
			return name
		}
	}
	for _, name := range []string{"ORG", "NICKNAME", "EMAIL", "TEL"} {
		if p := c.Get(name); p != nil {
			return strings.TrimRight(Split(p.Value, ';')[0], " ")
		}
	}
	return ""
}

// renamed are properties of 4.0 that programs write into 3.0 under another name.
var renamed = map[string]string{"ANNIVERSARY": "X-ANNIVERSARY", "KIND": "X-ADDRESSBOOKSERVER-KIND", "MEMBER": "X-ADDRESSBOOKSERVER-MEMBER"}

// dropped are properties that have no meaning in 4.0 (RFC 6350 §A.2); gone are those that have one there only.
var (
	dropped = []string{"PROFILE", "MAILER", "AGENT", "CLASS", "NAME"}
	gone    = []string{"CLIENTPIDMAP", "XML"}
	newer   = []string{"PREF", "ALTID", "PID", "MEDIATYPE", "CALSCALE", "SORT-AS", "TZ", "GEO"} // parameters of 4.0
)

// upgrade makes 4.0 of the properties of an older card.
func (c *Card) upgrade() {
	c.Properties = slices.DeleteFunc(c.Properties, func(p Property) bool { return slices.Contains(dropped, p.Name) })
	for i := range c.Properties {
		p := &c.Properties[i]
		for now, before := range renamed {
			if p.Name == before {
				p.Name = now
			}
		}
		p.preferenceFromType()
		switch {
		case binary[p.Name]:
			p.fileToURI()
		case p.Name == "BDAY" || p.Name == "ANNIVERSARY":
			p.dateToBasic()
		case p.Name == "REV":
			p.Value = withoutDashes(p.Value)
		case p.Name == "GEO" && !strings.Contains(p.Value, ":"):
			p.Value = "geo:" + strings.Replace(strings.ReplaceAll(p.Value, `\`, ""), ";", ",", 1)
		}
	}
}

// preferenceFromType makes PREF=1 of TYPE=pref, and of the other types small letters.
func (p *Property) preferenceFromType() {
	types := p.Types()
	if binary[p.Name] || len(types) == 0 {
		return
	}
	p.removeParam("TYPE")
	preferred := slices.Contains(types, "pref")
	types = slices.DeleteFunc(types, func(t string) bool { return t == "pref" || t == "internet" && p.Name == "EMAIL" })
	if len(types) > 0 {
		p.Params = append(p.Params, Param{"TYPE", types})
	}
	if preferred {
		p.Params = append(p.Params, Param{"PREF", []string{"1"}})
	}
}

// fileToURI writes a file as 4.0 does.
func (p *Property) fileToURI() {
	if len(p.Param("ENCODING")) > 0 {
		p.Value = "data:" + p.media() + ";base64," + p.Value
	}
	p.removeParam("ENCODING", "TYPE", "VALUE")
}

var extendedDate = regexp.MustCompile(`^(\d{4}|-)-(\d\d)-(\d\d)(T.*)?$`)

// dateToBasic writes a date as 4.0 does: 19961022, --1022. Apple's programs give a date without a year the year 1604.
func (p *Property) dateToBasic() {
	omitted := strings.Join(p.Param("X-APPLE-OMIT-YEAR"), "")
	p.removeParam("X-APPLE-OMIT-YEAR")
	if strings.EqualFold(strings.Join(p.Param("VALUE"), ""), "date") {
		p.removeParam("VALUE")
	}
	m := extendedDate.FindStringSubmatch(p.Value)
	switch {
	case m == nil:
	case m[1] == "-" || m[1] == omitted:
		p.Value = "--" + m[2] + m[3]
	default:
		p.Value = withoutDashes(p.Value)
	}
}

// withoutDashes is a date or a time in the basic format of ISO 8601.
func withoutDashes(value string) string {
	date, clock, ok := strings.Cut(value, "T")
	date = strings.ReplaceAll(date, "-", "")
	if !ok {
		return date
	}
	return date + "T" + strings.ReplaceAll(clock, ":", "")
}

// downgrade makes 3.0 of the properties of a card of 4.0. It is right for 2.1 as well, which is written with other escapes.
func (c *Card) downgrade() {
	c.Properties = slices.DeleteFunc(c.Properties, func(p Property) bool { return slices.Contains(gone, p.Name) })
	c.keepOne("FN")
	c.keepOne("N")
	for i := range c.Properties {
		p := &c.Properties[i]
		if name, ok := renamed[p.Name]; ok {
			p.Name = name
		}
		p.preferenceToType()
		switch {
		case binary[p.Name]:
			p.uriToFile()
		case p.Name == "BDAY" || p.Name == "X-ANNIVERSARY":
			p.dateToExtended()
		case p.Name == "TEL" && strings.HasPrefix(strings.ToLower(p.Value), "tel:"):
			p.Value = p.Value[len("tel:"):]
			p.removeParam("VALUE")
		case p.Name == "GEO" && strings.HasPrefix(strings.ToLower(p.Value), "geo:"):
			p.Value = strings.Replace(strings.ReplaceAll(p.Value[len("geo:"):], `\`, ""), ",", ";", 1)
		}
		p.removeParam(newer...)
	}
}

// keepOne leaves one property of a name, the preferred one: 4.0 may have several.
func (c *Card) keepOne(name string) {
	best, rank := -1, 0
	for i := range c.Properties {
		if c.Properties[i].Name == name {
			if r := c.Properties[i].preference(); best < 0 || r < rank {
				best, rank = i, r
			}
		}
	}
	i := -1
	c.Properties = slices.DeleteFunc(c.Properties, func(p Property) bool {
		i++
		return p.Name == name && i != best
	})
}

// preference is the property's PREF: 1 is the most preferred.
func (p *Property) preference() int {
	for _, v := range p.Param("PREF") {
		if n, err := strconv.Atoi(v); err == nil && n >= 1 && n <= 100 {
			return n
		}
	}
	return 101
}

func (p *Property) preferenceToType() {
	if p.preference() == 1 {
		p.Params = append(p.Params, Param{"TYPE", []string{"pref"}})
	}
}

// uriToFile writes a file as 3.0 does.
func (p *Property) uriToFile() {
	media, data, ok := strings.Cut(strings.TrimPrefix(p.Value, "data:"), ";base64,")
	if !strings.HasPrefix(p.Value, "data:") || !ok {
		p.removeParam("VALUE")
		p.Params = append(p.Params, Param{"VALUE", []string{"uri"}})
		return
	}
	p.removeParam("VALUE", "TYPE")
	p.Params = append(p.Params, Param{"ENCODING", []string{"b"}})
	media = strings.ReplaceAll(media, `\`, "")
	if _, kind, ok := strings.Cut(media, "/"); ok && isName(kind) && (p.Name != "KEY") {
		p.Params = append(p.Params, Param{"TYPE", []string{strings.ToUpper(kind)}})
	}
	p.Value = data
}

var (
	basicDate = regexp.MustCompile(`^(\d{4})(\d\d)(\d\d)(T.*)?$`)
	noYear    = regexp.MustCompile(`^--(\d\d)-?(\d\d)$`)
)

// dateToExtended writes a date as 3.0 does: 1996-10-22.
func (p *Property) dateToExtended() {
	if m := basicDate.FindStringSubmatch(p.Value); m != nil {
		p.Value = m[1] + "-" + m[2] + "-" + m[3] + m[4]
	} else if m := noYear.FindStringSubmatch(p.Value); m != nil {
		p.Value = "1604-" + m[1] + "-" + m[2]
		p.Params = append(p.Params, Param{"X-APPLE-OMIT-YEAR", []string{"1604"}})
	}
}
