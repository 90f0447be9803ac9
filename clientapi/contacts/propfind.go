package contacts

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// property is a property of a resource. value is XML.
type property struct {
	name  xml.Name
	value string
	// unasked: it is not among all properties, but has to be named.
	unasked bool
}

// properties are those of one resource.
type properties []property

func (p properties) get(name xml.Name) (string, bool) {
	for _, one := range p {
		if one.name == name {
			return one.value, true
		}
	}
	return "", false
}

// propRequest is which properties a request asks for.
type propRequest struct {
	names []xml.Name
	// all asks for all, namesOnly for the names of all.
	all, namesOnly bool
	// data is how vCards are wanted; nil if they are not.
	data *addressData
}

// addressData is a CARDDAV:address-data of a request.
type addressData struct {
	version string
	props   []string
}

func (r *propRequest) namesOf(p properties) []xml.Name {
	if !r.all {
		return r.names
	}
	var names []xml.Name
	for _, one := range p {
		if !one.unasked {
			names = append(names, one.name)
		}
	}
	return names
}

// parseProps reads prop, allprop or propname, which stand in a propfind and in reports (RFC 4918 §14).
func parseProps(e *element) (*propRequest, error) {
	r := &propRequest{}
	switch {
	case e.child(nsDAV, "propname") != nil:
		r.all, r.namesOnly = true, true
	case e.child(nsDAV, "allprop") != nil:
		r.all = true
	case e.child(nsDAV, "prop") != nil:
		for _, c := range e.child(nsDAV, "prop").children {
			r.names = append(r.names, c.name)
			if c.is(nsCardDAV, "address-data") {
				r.data = parseAddressData(c)
			}
		}
	default:
		return nil, badXML("the request asks for no properties: prop, allprop or propname is missing")
	}
	return r, nil
}

// parseAddressData reads how vCards are wanted.
//
// Spec: RFC 6352 §10.4
func parseAddressData(e *element) *addressData {
	d := &addressData{version: e.attr("version")}
	if d.version == "" {
		d.version = "3.0"
	}
	for _, c := range e.children {
		if c.is(nsCardDAV, "prop") {
			d.props = append(d.props, strings.ToUpper(c.attr("name")))
		}
	}
	return d
}

// propfindBody reads the body of a PROPFIND; none asks for everything.
func propfindBody(c *httpapi.Call) (*propRequest, error) {
	if len(strings.TrimSpace(string(c.Body))) == 0 {
		return &propRequest{all: true}, nil
	}
	root, err := parseXML(c.Body)
	if err != nil {
		return nil, err
	}
	if !root.is(nsDAV, "propfind") {
		return nil, badXML("the root of the XML must be DAV:propfind")
	}
	return parseProps(root)
}

// depth is the header of that name. A whole tree is given to nobody (RFC 4918 §9.1).
func depth(c *httpapi.Call) (int, error) {
	switch c.Request.Header.Get("Depth") {
	case "0":
		return 0, nil
	case "1":
		return 1, nil
	}
	return 0, matrix.Forbidden("Depth must be 0 or 1")
}

// prepare reads what all PROPFINDs have in common.
func prepare(c *httpapi.Call) (*propRequest, int, error) {
	asked, err := propfindBody(c)
	if err != nil {
		return nil, 0, err
	}
	d, err := depth(c)
	return asked, d, err
}

func href(path string) string { return `<d:href>` + escape(path) + `</d:href>` }

// propfindRoot says who the requester is.
//
// Spec: RFC 5397 §3, RFC 6764 §6
func (s *Server) propfindRoot(_ context.Context, c *httpapi.Call) (any, error) {
	asked, _, err := prepare(c)
	if err != nil {
		return nil, err
	}
	m := newMultistatus(c)
	m.response(davRoot, append(common(c), property{name: dav("resourcetype"), value: `<d:collection/>`}), asked)
	return m.close("")
}

// common are the properties of every resource.
func common(c *httpapi.Call) properties {
	principal := href(principalPath(c.Requester.User))
	return properties{
		{name: dav("current-user-principal"), value: principal, unasked: true},
		{name: dav("principal-collection-set"), value: href(davRoot + "principals/"), unasked: true},
		{name: dav("owner"), value: principal, unasked: true},
	}
}

// propfindPrincipal says where the requester's address books are.
//
// Spec: RFC 3744 §4, RFC 6352 §7.1.1
func (s *Server) propfindPrincipal(ctx context.Context, c *httpapi.Call) (any, error) {
	asked, _, err := prepare(c)
	if err != nil {
		return nil, err
	}
	if c.Path("user") != pathUser(c.Requester.User) {
		return nil, noResource()
	}
	name, err := s.displayName(ctx, c.Requester.User)
	if err != nil {
		return nil, err
	}
	path := principalPath(c.Requester.User)
	m := newMultistatus(c)
	m.response(path, append(common(c),
		property{name: dav("resourcetype"), value: `<d:principal/>`},
		property{name: dav("displayname"), value: escape(name)},
		property{name: dav("principal-URL"), value: href(path), unasked: true},
		property{name: dav("supported-report-set")},
		property{name: card("addressbook-home-set"), value: href(homePath(c.Requester.User)), unasked: true},
	), asked)
	return m.close("")
}

// propfindHome lists the address books.
//
// Spec: RFC 6352 §7.1.1
func (s *Server) propfindHome(ctx context.Context, c *httpapi.Call) (any, error) {
	asked, depth, err := prepare(c)
	if err != nil {
		return nil, err
	}
	if c.Path("user") != pathUser(c.Requester.User) {
		return nil, noResource()
	}
	var books []properties
	if depth == 1 {
		for _, b := range s.books(c) {
			p, err := s.bookProperties(ctx, c, b)
			if err != nil {
				return nil, err
			}
			books = append(books, p)
		}
	}
	m := newMultistatus(c)
	m.response(homePath(c.Requester.User), append(common(c), property{name: dav("resourcetype"), value: `<d:collection/>`}), asked)
	for i, p := range books {
		m.response(bookPath(c.Requester.User, s.books(c)[i]), p, asked)
	}
	return m.close("")
}

// propfindBook is the properties of an address book and, one level down, of its objects.
//
// Spec: RFC 6352 §6.2
func (s *Server) propfindBook(ctx context.Context, c *httpapi.Call) (any, error) {
	asked, depth, err := prepare(c)
	if err != nil {
		return nil, err
	}
	b, err := s.book(c)
	if err != nil {
		return nil, err
	}
	p, err := s.bookProperties(ctx, c, b)
	if err != nil {
		return nil, err
	}
	var objects []object
	if depth == 1 {
		if objects, err = b.all(ctx); err != nil {
			return nil, err
		}
	}
	path := bookPath(c.Requester.User, b)
	m := newMultistatus(c)
	m.response(path, p, asked)
	for i := range objects {
		m.response(path+url.PathEscape(objects[i].name), objectProperties(c, b, &objects[i]), asked)
	}
	return m.close("")
}

func (s *Server) bookProperties(ctx context.Context, c *httpapi.Call, b book) (properties, error) {
	token, err := b.state(ctx)
	if err != nil {
		return nil, fmt.Errorf("the state of an address book: %w", err)
	}
	about := b.about()
	return append(common(c),
		property{name: dav("resourcetype"), value: `<d:collection/><c:addressbook/>`},
		property{name: dav("displayname"), value: escape(about.name)},
		property{name: card("addressbook-description"), value: escape(about.description), unasked: true},
		property{name: dav("current-user-privilege-set"), value: privileges(about.readOnly), unasked: true},
		property{name: dav("supported-report-set"), value: supportedReports, unasked: true},
		property{name: dav("sync-token"), value: escape(token), unasked: true},
		property{name: xml.Name{Space: nsCS, Local: "getctag"}, value: escape(token), unasked: true},
		property{name: card("supported-address-data"), unasked: true, value: `<c:address-data-type content-type="text/vcard" version="3.0"/>` +
			`<c:address-data-type content-type="text/vcard" version="4.0"/>`},
		property{name: card("supported-collation-set"), unasked: true, value: `<c:supported-collation>i;ascii-casemap</c:supported-collation>` +
			`<c:supported-collation>i;unicode-casemap</c:supported-collation><c:supported-collation>i;octet</c:supported-collation>`},
		property{name: card("max-resource-size"), value: strconv.Itoa(limits.VCard), unasked: true},
	), nil
}

const supportedReports = `<d:supported-report><d:report><c:addressbook-query/></d:report></d:supported-report>` +
	`<d:supported-report><d:report><c:addressbook-multiget/></d:report></d:supported-report>` +
	`<d:supported-report><d:report><d:sync-collection/></d:report></d:supported-report>`

// privileges are what clients go by to tell whether they may write.
//
// Spec: RFC 3744 §5.4
func privileges(readOnly bool) string {
	list := []string{"read", "read-current-user-privilege-set"}
	if !readOnly {
		list = append(list, "write", "write-content", "bind", "unbind")
	}
	var b strings.Builder
	for _, p := range list {
		b.WriteString(`<d:privilege><d:` + p + `/></d:privilege>`)
	}
	return b.String()
}

// objectProperties are those of a contact, its vCard left out.
func objectProperties(c *httpapi.Call, b book, o *object) properties {
	return append(common(c),
		property{name: dav("resourcetype")},
		property{name: dav("getetag"), value: escape(o.etag)},
		property{name: dav("getcontenttype"), value: "text/vcard; charset=utf-8"},
		property{name: dav("getcontentlength"), value: strconv.FormatInt(o.size, 10)},
		property{name: dav("current-user-privilege-set"), value: privileges(b.about().readOnly), unasked: true},
	)
}

// propfindObject is the properties of a contact.
func (s *Server) propfindObject(ctx context.Context, c *httpapi.Call) (any, error) {
	asked, _, err := prepare(c)
	if err != nil {
		return nil, err
	}
	b, o, err := s.object(ctx, c)
	if err != nil {
		return nil, err
	}
	m := newMultistatus(c)
	m.response(bookPath(c.Requester.User, b)+url.PathEscape(o.name), objectProperties(c, b, o), asked)
	return m.close("")
}

// proppatch changes nothing: the properties of address books are fixed.
//
// Spec: RFC 4918 §9.2
func (s *Server) proppatch(_ context.Context, c *httpapi.Call) (any, error) {
	if _, err := s.book(c); err != nil {
		return nil, err
	}
	root, err := parseXML(c.Body)
	if err != nil {
		return nil, err
	}
	var names strings.Builder
	for _, change := range root.children {
		if prop := change.child(nsDAV, "prop"); prop != nil {
			for _, p := range prop.children {
				tag, declaration := prefixed(p.name)
				names.WriteString(`<` + tag + declaration + `/>`)
			}
		}
	}
	body := xml.Header + `<d:multistatus ` + namespaces + `><d:response>` + href(c.Request.URL.EscapedPath()) + `<d:propstat><d:prop>` + names.String() +
		`</d:prop><d:status>` + statusLine(http.StatusForbidden) + `</d:status></d:propstat></d:response></d:multistatus>`
	return httpapi.Status{Code: http.StatusMultiStatus, Body: httpapi.Content{Type: xmlType, Bytes: []byte(body)}}, nil
}
