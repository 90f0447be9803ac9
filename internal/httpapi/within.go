package httpapi

import (
	"maps"
	"net/http"
	"slices"

	"github.com/roomline/roomline/internal/limits"
)

// Within is a call of a request that came within another one: the same requester and connection, a body of its own, and headers that nobody is
// sent. values are those of path segments, at most limits.PathValues.
func (c *Call) Within(method string, values map[string]string, body []byte) *Call {
	r := c.Request.Clone(c.Request.Context())
	r.Method, r.Header = method, http.Header{}
	r.URL.RawQuery = ""
	inner := &Call{Request: r, Requester: c.Requester, Body: body, server: c.server, route: &route{Route: c.route.Route}, seq: c.seq}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if n := len(inner.route.names); n < limits.PathValues {
			inner.route.names = append(inner.route.names, name)
			inner.values[n] = values[name]
		}
	}
	inner.writer.ResponseWriter = discard{http.Header{}}
	inner.W = &inner.writer
	inner.ctx = callContext{Context: c.ctx.Context, call: inner}
	return inner
}

// discard is a ResponseWriter whose answer goes nowhere.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
