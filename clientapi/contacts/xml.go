package contacts

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// The namespaces.
const (
	nsDAV     = "DAV:"
	nsCardDAV = "urn:ietf:params:xml:ns:carddav"
	nsCS      = "http://calendarserver.org/ns/"
)

const xmlType = `application/xml; charset="utf-8"`

// element is an element of a request.
type element struct {
	name     xml.Name
	attrs    []xml.Attr
	text     string
	children []*element
}

// is reports an element of a name.
func (e *element) is(space, local string) bool { return e.name.Space == space && e.name.Local == local }

// child is the first child of a name, or nil.
func (e *element) child(space, local string) *element {
	for _, c := range e.children {
		if c.is(space, local) {
			return c
		}
	}
	return nil
}

func (e *element) attr(local string) string {
	for _, a := range e.attrs {
		if a.Name.Local == local && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// parseXML reads the body of a request. What is refused, or bounded, is what could make little XML much work: declarations with
// entities, depth, numbers of elements. The size is bounded before.
func parseXML(body []byte) (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	var open []*element
	var root *element
	for n := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, badXML("the body is not well-formed XML")
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, badXML("a document type declaration is not allowed")
		case xml.StartElement:
			e := &element{name: t.Name, attrs: t.Copy().Attr}
			if n++; n > limits.DAVElements || len(open) >= limits.DAVDepth || len(t.Attr) > limits.DAVDepth {
				return nil, badXML("the XML has too many elements")
			}
			switch {
			case len(open) > 0:
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			case root != nil:
				return nil, badXML("the XML has more than one root")
			default:
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(t)
			}
		}
	}
	if root == nil {
		return nil, badXML("the body is not XML")
	}
	return root, nil
}

func badXML(format string, a ...any) *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, format, a...)
}

// escape writes text as it may stand in XML.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // writing to a Builder does not fail
	return b.String()
}

const namespaces = `xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav" xmlns:s="http://calendarserver.org/ns/"`

// prefixed is the name of an element with its prefix, and the declaration that it needs.
func prefixed(name xml.Name) (tag, declaration string) {
	switch name.Space {
	case nsDAV:
		return "d:" + name.Local, ""
	case nsCardDAV:
		return "c:" + name.Local, ""
	case nsCS:
		return "s:" + name.Local, ""
	case "":
		return name.Local, ""
	}
	return "x:" + name.Local, ` xmlns:x="` + escape(name.Space) + `"`
}

// precondition is an answer that names the condition which the request did not meet (RFC 4918 §16). content stands in its element.
func precondition(status int, name xml.Name, content string) (any, error) {
	tag, _ := prefixed(name)
	body := xml.Header + `<d:error ` + namespaces + `><` + tag + `>` + content + `</` + tag + `></d:error>`
	return httpapi.Status{Code: status, Body: httpapi.Content{Type: xmlType, Bytes: []byte(body)}}, nil
}

func dav(local string) xml.Name  { return xml.Name{Space: nsDAV, Local: local} }
func card(local string) xml.Name { return xml.Name{Space: nsCardDAV, Local: local} }

// multistatus is an answer that is being written (RFC 4918 §13). Addresses books are large: it leaves in pieces.
type multistatus struct {
	download *httpapi.Download
	w        *bufio.Writer
}

func newMultistatus(c *httpapi.Call) *multistatus {
	c.W.Header().Set("Content-Type", xmlType)
	c.W.WriteHeader(http.StatusMultiStatus)
	m := &multistatus{download: c.Download()}
	m.w = bufio.NewWriterSize(m.download, 64<<10)
	m.w.WriteString(xml.Header + `<d:multistatus ` + namespaces + `>`)
	return m
}

// close ends the answer. token is the sync token, "" for none.
func (m *multistatus) close(token string) (any, error) {
	if token != "" {
		m.w.WriteString(`<d:sync-token>` + escape(token) + `</d:sync-token>`)
	}
	m.w.WriteString(`</d:multistatus>`)
	// A client that has gone is no event.
	_ = m.w.Flush()
	m.download.Close()
	return nil, nil
}

// status writes a response without properties. extra is XML that says more.
func (m *multistatus) status(href string, code int, extra string) {
	fmt.Fprintf(m.w, `<d:response><d:href>%s</d:href><d:status>%s</d:status>%s</d:response>`, escape(href), statusLine(code), extra)
}

// response writes the properties of a resource that are asked for.
func (m *multistatus) response(href string, resource properties, asked *propRequest) {
	m.w.WriteString(`<d:response><d:href>` + escape(href) + `</d:href>`)
	var missing []xml.Name
	found := false
	open := func() {
		if !found {
			found = true
			m.w.WriteString(`<d:propstat><d:prop>`)
		}
	}
	for _, name := range asked.namesOf(resource) {
		value, ok := resource.get(name)
		if !ok {
			missing = append(missing, name)
			continue
		}
		open()
		m.prop(name, value, asked.namesOnly)
	}
	if found || len(missing) == 0 {
		open()
		m.w.WriteString(`</d:prop><d:status>` + statusLine(http.StatusOK) + `</d:status></d:propstat>`)
	}
	if len(missing) > 0 {
		m.w.WriteString(`<d:propstat><d:prop>`)
		for _, name := range missing {
			m.prop(name, "", true)
		}
		m.w.WriteString(`</d:prop><d:status>` + statusLine(http.StatusNotFound) + `</d:status></d:propstat>`)
	}
	m.w.WriteString(`</d:response>`)
}

func (m *multistatus) prop(name xml.Name, value string, empty bool) {
	tag, declaration := prefixed(name)
	m.w.WriteString(`<` + tag + declaration)
	if empty || value == "" {
		m.w.WriteString(`/>`)
		return
	}
	m.w.WriteString(`>` + value + `</` + tag + `>`)
}

func statusLine(code int) string { return fmt.Sprintf("HTTP/1.1 %d %s", code, http.StatusText(code)) }
