package httpapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Call is one request on its way through a handler.
type Call struct {
	W         http.ResponseWriter
	Request   *http.Request
	Requester *Requester // nil where the route's AuthClass allows it
	Body      []byte     // strict JSON, or empty; not reused after the call

	server *server
	route  *route
	values [limits.PathValues]string // of the route's variable segments, in order
	seq    uint64
	writer writer
	ctx    callContext
}

// Authenticate finds out who sends the request, where the route asks nobody for a token and one kind of request needs one all the
// same: an application service that registers a user.
func (c *Call) Authenticate() (*Requester, error) {
	if err := c.server.identify(c, AccessToken); err != nil {
		return nil, err
	}
	return c.Requester, nil
}

// Path returns the decoded value of the variable segment {name}, "" when the route has no such segment.
func (c *Call) Path(name string) string {
	for i, n := range c.route.names {
		if n == name {
			return c.values[i]
		}
	}
	return ""
}

// Route is the path of the route's table.
func (c *Call) Route() string { return c.routeLabel() }

// UserID parses the path value {name}.
func (c *Call) UserID(name string) (matrix.UserID, error) {
	return pathValue(c, name, matrix.ParseUserID)
}

// RoomID parses the path value {name}.
func (c *Call) RoomID(name string) (matrix.RoomID, error) {
	return pathValue(c, name, matrix.ParseRoomID)
}

// EventID parses the path value {name}.
func (c *Call) EventID(name string) (matrix.EventID, error) {
	return pathValue(c, name, matrix.ParseEventID)
}

// Alias parses the path value {name}.
func (c *Call) Alias(name string) (matrix.RoomAlias, error) {
	return pathValue(c, name, matrix.ParseRoomAlias)
}

// pathValue puts the name of the segment before the parser's message.
func pathValue[T ~string](c *Call, name string, parse func(string) (T, error)) (T, error) {
	v, err := parse(c.Path(name))
	if e, ok := matrix.AsError(err); ok {
		return "", matrix.InvalidParam("%s: %s", name, e.Message)
	}
	return v, err
}

// Query returns the first value of a query parameter, "" when it is missing.
func (c *Call) Query(name string) string {
	for v := range queryValues(c.Request.URL.RawQuery, name) {
		return v
	}
	return ""
}

// HasQuery reports whether the parameter is there, be it empty.
func (c *Call) HasQuery(name string) bool {
	for range queryValues(c.Request.URL.RawQuery, name) {
		return true
	}
	return false
}

// QueryAll returns all values of a repeated parameter, such as via.
func (c *Call) QueryAll(name string) []string {
	var all []string
	for v := range queryValues(c.Request.URL.RawQuery, name) {
		all = append(all, v)
	}
	return all
}

// QueryInt returns an integer parameter, def when it is missing or empty. Larger values than hi are lowered to hi; what is
// negative or not an integer is M_INVALID_PARAM; what is below lo is raised to it.
func (c *Call) QueryInt(name string, def, lo, hi int) (int, error) {
	s := c.Query(name)
	if s == "" {
		return def, nil
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, matrix.InvalidParam("%s must be a non-negative integer", name)
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil { // only digits: too large for an int
		return hi, nil
	}
	return min(max(n, lo), hi), nil
}

// QueryBool reports whether the parameter is "true". Clients write booleans in no other way.
func (c *Call) QueryBool(name string) bool { return c.Query(name) == "true" }

// ClientAddr is the address of the connection, without its port.
func (c *Call) ClientAddr() string {
	host, _, err := net.SplitHostPort(c.Request.RemoteAddr)
	if err != nil {
		return c.Request.RemoteAddr
	}
	return host
}

// requestID names the call in the log and in 5xx answers.
func (c *Call) requestID() string {
	return c.server.epoch + "-" + strconv.FormatUint(c.seq, 36)
}

// callContext is the handler's context. It is part of the Call, so that it costs nothing to make.
type callContext struct {
	context.Context
	call *Call
}

type callKey struct{}

func (c *callContext) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return c.call
	}
	return c.Context.Value(key)
}

// Log returns a logger that knows the request: its id, route and user.
func Log(ctx context.Context) *slog.Logger {
	c, ok := ctx.Value(callKey{}).(*Call)
	if !ok {
		return slog.Default()
	}
	return c.logger()
}

func (c *Call) logger() *slog.Logger {
	l := c.server.log.With("request", c.requestID(), "method", c.methodLabel(), "route", c.routeLabel())
	if c.Requester != nil {
		l = l.With("user", string(c.Requester.User))
	}
	return l
}

// methodLabel keeps invented methods out of the log.
func (c *Call) methodLabel() string {
	if methodBit(c.Request.Method) == 0 {
		return "other"
	}
	return c.Request.Method
}

func (c *Call) routeLabel() string {
	if c.route == nil {
		return "none"
	}
	return c.route.Path
}

// queryValues yields the decoded values of one parameter without building a map of all. The query has passed checkQuery.
func queryValues(raw, name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for pair := range strings.SplitSeq(raw, "&") {
			key, value, _ := strings.Cut(pair, "=")
			if key != name {
				if !strings.ContainsAny(key, "%+") {
					continue
				}
				if k, err := url.QueryUnescape(key); err != nil || k != name {
					continue
				}
			}
			v, err := url.QueryUnescape(value)
			if err == nil && !yield(v) {
				return
			}
		}
	}
}

// checkQuery refuses what no handler should have to think of: broken escapes, NUL, invalid UTF-8.
func checkQuery(raw string) error {
	if len(raw) > limits.Query {
		return matrix.NewError(http.StatusRequestURITooLong, matrix.ErrTooLarge, "the query string is longer than %d bytes", limits.Query)
	}
	plain := true
	for i := range len(raw) {
		if c := raw[i]; c == '%' || c >= utf8.RuneSelf || c == 0 {
			plain = false
			break
		}
	}
	if plain {
		return nil
	}
	text, err := url.QueryUnescape(raw)
	if err != nil {
		return matrix.InvalidParam("the query string has a broken %%-escape")
	}
	if !storable(text) {
		return matrix.InvalidParam("the query string must be valid UTF-8 without NUL")
	}
	return nil
}

// storable reports text that PostgreSQL can hold.
func storable(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}
