package vcard

import (
	"strings"
	"unicode/utf8"
)

// lineLength is after how many bytes a line is folded (RFC 6350 §3.2).
const lineLength = 75

// Bytes writes a card in its version.
func (c *Card) Bytes() []byte {
	var b strings.Builder
	b.WriteString("BEGIN:VCARD\r\nVERSION:" + c.Version + "\r\n")
	for _, p := range c.Properties {
		if c.Version == V21 {
			writeOld(&b, p)
		} else {
			writeFolded(&b, p.line())
		}
	}
	b.WriteString("END:VCARD\r\n")
	return []byte(b.String())
}

func (p *Property) line() string {
	var b strings.Builder
	p.writeName(&b)
	for _, param := range p.Params {
		b.WriteString(";" + param.Name + "=")
		for i, v := range param.Values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(quoted(v))
		}
	}
	return b.String() + ":" + p.Value
}

func (p *Property) writeName(b *strings.Builder) {
	if p.Group != "" {
		b.WriteString(p.Group + ".")
	}
	b.WriteString(p.Name)
}

// quoted is the value of a parameter as it may be written. What can't be in one at all is left out.
func quoted(v string) string {
	v = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == '"' || r == 0x7f {
			return -1
		}
		return r
	}, v)
	if strings.ContainsAny(v, ":;,") {
		return `"` + v + `"`
	}
	return v
}

// writeFolded breaks a line between characters.
func writeFolded(b *strings.Builder, line string) {
	room := lineLength
	for len(line) > room {
		cut := room
		for cut > 0 && !utf8.RuneStart(line[cut]) {
			cut--
		}
		if cut == 0 {
			cut = room
		}
		b.WriteString(line[:cut] + "\r\n ")
		line = line[cut:]
		room = lineLength - 1
	}
	b.WriteString(line + "\r\n")
}
