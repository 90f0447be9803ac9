package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// maxSegments bounds the depth of a path; the spec's deepest route has nine segments.
const maxSegments = 16

// route is a Route in the tree.
type route struct {
	Route
	names   []string // of the variable segments, in order
	figures *figures
	guests  GuestAccess
}

// node is one segment of the tree. An empty literal is a trailing slash and has no children.
type node struct {
	literal  map[string]*node
	variable *node
	routes   map[string]*route // by method
	methods  methodSet
}

// methodSet is a set of HTTP methods, one bit each.
type methodSet uint16

// The methods of WebDAV that are served (RFC 4918 §9, RFC 3253 §3.6).
const (
	MethodPropfind  = "PROPFIND"
	MethodProppatch = "PROPPATCH"
	MethodReport    = "REPORT"
)

// methods gives each its bit; the order is that of the Allow header.
var methods = []string{
	http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodPost,
	MethodPropfind, MethodProppatch, http.MethodPut, MethodReport,
}

func methodBit(method string) methodSet {
	if i := slices.Index(methods, method); i >= 0 {
		return 1 << i
	}
	return 0
}

// String is the value of an Allow header.
func (m methodSet) String() string {
	var names []string
	for i, name := range methods {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// add puts a route into the tree.
func (s *server) add(r Route) {
	at := r.Method + " " + r.Path
	s.checkRoute(r, at)
	if r.MaxBody == 0 {
		r.MaxBody = limits.DefaultBody
	}
	entry := &route{Route: r, figures: s.metrics.forRoute(at)}
	if s.guests != nil {
		entry.guests = s.guests(r.Method, r.Path)
	}
	n := &s.root
	segments := strings.Split(r.Path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch {
		case segment == "{$}" || segment == "":
			if !last {
				panic("httpapi: empty segment inside " + at)
			}
			n = n.child("")
		case strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}"):
			entry.names = append(entry.names, segment[1:len(segment)-1])
			if n.variable == nil {
				n.variable = &node{}
			}
			n = n.variable
		case strings.ContainsAny(segment, "{}%"):
			panic("httpapi: segment neither literal nor variable in " + at)
		default:
			n = n.child(segment)
		}
	}
	if len(segments) > maxSegments || len(entry.names) > limits.PathValues {
		panic("httpapi: too many segments in " + at)
	}
	n.put(entry, at)
}

func (s *server) checkRoute(r Route, at string) {
	switch {
	case methodBit(r.Method) == 0:
		panic("httpapi: method of " + at)
	case !strings.HasPrefix(r.Path, "/"):
		panic("httpapi: path must start with a slash: " + at)
	case r.Handle == nil:
		panic("httpapi: no handler for " + at)
	case r.Auth == SignedRequest:
		panic("httpapi: nothing verifies signed requests: " + at)
	case r.Auth == AppPassword && s.basic == nil:
		panic("httpapi: nothing verifies app passwords: " + at)
	case r.Auth == IdentityToken && s.identity == nil:
		panic("httpapi: nothing verifies tokens of the identity service: " + at)
	case r.Auth != NoAuth && r.Auth != SharedSecret && r.Auth != AppPassword && r.Auth != IdentityToken && s.auth == nil:
		panic("httpapi: no authenticator for " + at)
	}
}

func (n *node) child(segment string) *node {
	if n.literal == nil {
		n.literal = make(map[string]*node)
	}
	next := n.literal[segment]
	if next == nil {
		next = &node{}
		n.literal[segment] = next
	}
	return next
}

func (n *node) put(entry *route, at string) {
	if n.routes == nil {
		n.routes = make(map[string]*route)
	}
	if old := n.routes[entry.Method]; old != nil {
		panic(fmt.Sprintf("httpapi: %s and %s %s are the same route", at, old.Method, old.Path))
	}
	n.routes[entry.Method] = entry
	n.methods |= methodBit(entry.Method) | methodBit(http.MethodOptions)
	if entry.Method == http.MethodGet {
		n.methods |= methodBit(http.MethodHead)
	}
}

// search is one look-up: what is sought, and what has been found on the way.
type search struct {
	segments []string
	method   string
	values   *[limits.PathValues]string
	allowed  methodSet // methods of nodes that fit the path but not the method
}

// find looks from node n for the segments from depth on. A literal segment is preferred to a variable one; when it leads
// nowhere, the variable one is tried.
func (q *search) find(n *node, depth, variables int) *route {
	if depth == len(q.segments) {
		if r := n.routes[q.method]; r != nil {
			return r
		}
		if r := n.routes[http.MethodGet]; r != nil && q.method == http.MethodHead {
			return r
		}
		q.allowed |= n.methods
		return nil
	}
	segment := q.segments[depth]
	if next := n.literal[segment]; next != nil {
		if r := q.find(next, depth+1, variables); r != nil {
			return r
		}
	}
	if n.variable == nil || segment == "" {
		return nil
	}
	r := q.find(n.variable, depth+1, variables+1)
	if r != nil {
		q.values[variables] = segment
	}
	return r
}

// match finds the route of a request and stores its path values in the call. Without a route it returns 404, or 405 and
// the methods that the path does take.
func (s *server) match(c *Call) (methodSet, error) {
	var space [maxSegments]string
	segments, ok := splitPath(c.Request.URL, space[:0])
	if !ok {
		return 0, matrix.Unrecognized()
	}
	// Interop: before v1.1 of the spec the paths began with r0, and old clients still ask for these. What the two versions have in common
	// is the same.
	if len(segments) > 3 && segments[2] == "r0" && segments[1] == "client" && segments[0] == "_matrix" {
		segments[2] = "v3"
	}
	q := search{segments: segments, method: c.Request.Method, values: &c.values}
	c.route = q.find(&s.root, 0, 0)
	if c.route == nil {
		if q.allowed != 0 {
			return q.allowed, matrix.MethodNotAllowed()
		}
		return 0, matrix.Unrecognized()
	}
	for i, name := range c.route.names {
		if !storable(c.values[i]) {
			return 0, matrix.InvalidParam("%s must be valid UTF-8 without NUL", name)
		}
	}
	return 0, nil
}

// splitPath cuts a path at its real slashes and decodes the segments. It refuses dot segments and too long paths.
//
// url.URL sets RawPath only when escaping the decoded path would not give back what came; without it, each slash in
// Path was a slash on the wire too.
func splitPath(u *url.URL, segments []string) (_ []string, ok bool) {
	path, escaped := u.Path, false
	if u.RawPath != "" {
		path, escaped = u.RawPath, true
	}
	if len(path) > limits.Path || !strings.HasPrefix(path, "/") {
		return nil, false
	}
	for rest := path[1:]; ; {
		segment, tail, more := strings.Cut(rest, "/")
		if segment == "." || segment == ".." || len(segments) == maxSegments {
			return nil, false
		}
		if escaped {
			decoded, err := url.PathUnescape(segment)
			if err != nil {
				return nil, false
			}
			segment = decoded
		}
		segments = append(segments, segment)
		if !more {
			return segments, true
		}
		rest = tail
	}
}
