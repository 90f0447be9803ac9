package vcard

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
)

// structured are the properties whose values are fields separated by semicolons.
var structured = map[string]bool{"N": true, "ADR": true, "ORG": true, "GENDER": true, "CLIENTPIDMAP": true}

// binary are the properties that hold a file.
var binary = map[string]bool{"PHOTO": true, "LOGO": true, "SOUND": true, "KEY": true}

// verbatim are the properties whose values have no escapes.
var verbatim = map[string]bool{"URL": true, "EMAIL": true, "TEL": true, "GEO": true, "REV": true, "BDAY": true, "UID": true, "TZ": true, "SOURCE": true, "IMPP": true}

// decodeOld gives the values of a card of version 2.1 the form that those of 3.0 have: encodings and character sets are undone, and the
// escapes are those of 3.0.
func (c *Card) decodeOld() error {
	for i := range c.Properties {
		if err := c.Properties[i].decodeOld(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Property) decodeOld() error {
	transfer := strings.ToUpper(strings.Join(p.Param("ENCODING"), ""))
	charset := strings.Join(p.Param("CHARSET"), "")
	p.removeParam("ENCODING", "CHARSET")
	if transfer == "BASE64" || transfer == "B" {
		p.Value = strings.Map(func(r rune) rune {
			if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, p.Value)
		p.Params = append(p.Params, Param{"ENCODING", []string{"b"}})
		return nil
	}
	raw := []byte(p.Value)
	if transfer == "QUOTED-PRINTABLE" {
		decoded, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(p.Value)))
		if err != nil {
			return fmt.Errorf("%s is not quoted-printable", p.Name)
		}
		raw = decoded
	}
	text, err := decodeCharset(raw, charset)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	p.Value = p.escapedAnew(text)
	return nil
}

// escapedAnew writes a value of 2.1, where nothing but a semicolon inside a field has an escape, with the escapes of 3.0.
func (p *Property) escapedAnew(text string) string {
	if verbatim[p.Name] || strings.EqualFold(strings.Join(p.Param("VALUE"), ""), "URL") {
		return strings.NewReplacer("\r", "", "\n", " ").Replace(text)
	}
	if !structured[p.Name] {
		return Escape(strings.ReplaceAll(text, `\;`, ";"))
	}
	const mark = "\x00" // in no text
	fields := strings.Split(strings.ReplaceAll(text, `\;`, mark), ";")
	for i, f := range fields {
		fields[i] = Escape(strings.ReplaceAll(f, mark, ";"))
	}
	return strings.Join(fields, ";")
}

// decodeCharset makes UTF-8 of text. Without a name it is UTF-8 if it can be, else what Windows wrote in western Europe.
func decodeCharset(raw []byte, name string) (string, error) {
	var from encoding.Encoding = charmap.Windows1252
	switch {
	case name == "" && utf8.Valid(raw):
		return string(raw), nil
	case name != "":
		var err error
		if from, err = htmlindex.Get(strings.TrimSpace(name)); err != nil {
			return "", fmt.Errorf("the character set %.40q is not known", name)
		}
	}
	decoded, err := from.NewDecoder().Bytes(raw)
	if err != nil {
		return "", fmt.Errorf("it is not written in %.40q", name)
	}
	return strings.ToValidUTF8(string(decoded), "\ufffd"), nil
}

// writeOld writes a property as 2.1 has it. Types stand alone; what is not ASCII is quoted-printable.
func writeOld(b *strings.Builder, p Property) {
	var head strings.Builder
	p.writeName(&head)
	encoded := ""
	for _, param := range p.Params {
		for _, v := range param.Values {
			switch {
			case param.Name == "ENCODING":
				encoded = "BASE64"
			case param.Name == "TYPE":
				head.WriteString(";" + strings.ToUpper(quoted(v)))
			case param.Name == "VALUE" && strings.EqualFold(v, "uri"):
				head.WriteString(";VALUE=URL")
			case !strings.ContainsAny(v, ":;,\""):
				head.WriteString(";" + param.Name + "=" + quoted(v))
			}
		}
	}
	if encoded != "" {
		writeFolded(b, head.String()+";ENCODING=BASE64:"+p.Value)
		b.WriteString("\r\n") // the end of the file is an empty line
		return
	}
	value := p.unescapedOld()
	if isPlain(value) {
		b.WriteString(head.String() + ":" + value + "\r\n")
		return
	}
	b.WriteString(head.String() + ";CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:")
	w := quotedprintable.NewWriter(b)
	w.Binary = true // line breaks are part of the text
	_, _ = io.WriteString(w, strings.ReplaceAll(value, "\n", "\r\n"))
	_ = w.Close()
	b.WriteString("\r\n")
}

// unescapedOld is the value with the only escape that 2.1 has.
func (p *Property) unescapedOld() string {
	if !structured[p.Name] {
		return Unescape(p.Value)
	}
	fields := Split(p.Value, ';')
	for i, f := range fields {
		fields[i] = strings.ReplaceAll(f, ";", `\;`)
	}
	return strings.Join(fields, ";")
}

func isPlain(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return c < ' ' || c > '~' }) && !strings.HasSuffix(s, "=")
}

// media is the type of the file in a property, such as image/jpeg, as well as its name in 3.0 says it.
func (p *Property) media() string {
	kind := map[string]string{"PHOTO": "image", "LOGO": "image", "SOUND": "audio"}[p.Name]
	for _, t := range p.Types() {
		if strings.Contains(t, "/") {
			return t
		}
		if kind != "" && t != "pref" && isName(t) {
			return kind + "/" + t
		}
	}
	if raw, err := base64.StdEncoding.DecodeString(p.Value[:min(len(p.Value), 16)/4*4]); err == nil && kind == "image" {
		switch {
		case strings.HasPrefix(string(raw), "\x89PNG"):
			return "image/png"
		case strings.HasPrefix(string(raw), "GIF8"):
			return "image/gif"
		}
		return "image/jpeg"
	}
	return "application/octet-stream"
}
