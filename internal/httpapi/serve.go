package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
)

// server is the http.Handler that New returns.
type server struct {
	log      *slog.Logger
	clock    matrix.Clock
	auth     Authenticator
	basic    PasswordAuthenticator
	identity Authenticator
	limiter  Limiter
	metrics  *metrics
	none     *figures // of requests without a route
	root     node
	epoch    string // first half of request ids
	guests   func(method, path string) GuestAccess
	calls    atomic.Uint64
}

// newEpoch tells the request ids of one run of the process from those of the next.
func newEpoch(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 36) }

// ServeHTTP serves one request, from the match to the metrics.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.clock.Now()
	c := &Call{Request: r, server: s, seq: s.calls.Add(1)}
	c.writer.ResponseWriter = w
	c.W = &c.writer
	c.ctx = callContext{Context: r.Context(), call: c}

	s.metrics.inFlight.Inc()
	defer s.finish(c, start)
	writeHeaders(w.Header())
	if r.Method == http.MethodOptions && s.isPreflight(c) {
		writePreflight(c)
		return
	}
	if allowed, err := s.match(c); err != nil {
		if allowed != 0 {
			w.Header().Set("Allow", allowed.String())
		}
		writeError(c, err)
		return
	}
	result, err := s.run(c)
	if err != nil {
		writeError(c, err)
		return
	}
	writeResult(c, result)
}

// isPreflight reports whether a browser asks for leave: every OPTIONS request does, but those to the few paths with an answer of their
// own, which say what a WebDAV server can do.
func (s *server) isPreflight(c *Call) bool {
	if c.Request.Header.Get("Access-Control-Request-Method") != "" {
		return true
	}
	_, err := s.match(c)
	return err != nil
}

// finish counts the call, and turns a panic into a 500: one broken handler must not take the process with it.
func (s *server) finish(c *Call, start time.Time) {
	s.metrics.inFlight.Dec()
	p := recover()
	if p != nil && p != http.ErrAbortHandler {
		s.metrics.panics.Inc()
		c.logger().Error("panic in a handler", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if c.writer.status == 0 {
			writeInternalError(c)
		} else {
			p = http.ErrAbortHandler // half an answer has left: cut the connection rather than end it as if it were whole
		}
	}
	f := s.none
	if c.route != nil {
		f = c.route.figures
	}
	f.observe(c.writer.status, s.clock.Now().Sub(start))
	if p == http.ErrAbortHandler {
		panic(p)
	}
}

// run does what comes before the handler, cheapest first, and then the handler.
func (s *server) run(c *Call) (any, error) {
	if err := checkQuery(c.Request.URL.RawQuery); err != nil {
		return nil, err
	}
	if c.Request.ContentLength > c.route.MaxBody {
		return nil, bodyTooLarge(c.route.MaxBody)
	}
	if err := s.authenticate(c); err != nil {
		return nil, err
	}
	if err := s.limit(c); err != nil {
		return nil, err
	}
	if err := readBody(c); err != nil {
		return nil, err
	}
	result, err := c.route.Handle(&c.ctx, c)
	if err == nil && c.Requester != nil && c.Requester.Scope != nil && c.writer.status == 0 {
		return c.Requester.Scope.Answer(c, result)
	}
	return result, err
}

// authenticate fills c.Requester as the route's AuthClass asks for.
//
// Spec: client-server v1.19 §using-access-tokens
func (s *server) authenticate(c *Call) error {
	switch class := c.route.Auth; class {
	case NoAuth, SharedSecret:
		return nil
	case AppPassword:
		return s.identifyBasic(c)
	case IdentityToken:
		return s.identifyForIdentity(c)
	default:
		return s.identify(c, class)
	}
}

// identifyBasic is identify for a user name and an app password. An access token is of no use there.
//
// Spec: RFC 7617 §2
func (s *server) identifyBasic(c *Call) error {
	user, password, ok := c.Request.BasicAuth()
	if !ok || len(user)+len(password) > limits.AccessToken || !storable(user) || !storable(password) {
		return matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "a user name and an app password are needed")
	}
	requester, err := s.basic.AuthenticatePassword(&c.ctx, user, password)
	if err != nil {
		return err
	}
	if requester == nil {
		return errors.New("the authenticator returned neither a requester nor an error")
	}
	c.Requester = requester
	return nil
}

// identifyForIdentity is identify for a token of the identity service.
//
// Spec: identity v1.19 §authentication
func (s *server) identifyForIdentity(c *Call) error {
	token := c.Token()
	if token == "" || len(token) > limits.AccessToken {
		return matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "a token of the identity service is needed")
	}
	requester, err := s.identity.Authenticate(&c.ctx, token)
	if err != nil {
		return err
	}
	if requester == nil {
		return errors.New("the authenticator returned neither a requester nor an error")
	}
	c.Requester = requester
	return nil
}

// Token is the token that the request carries, "" for none.
func (c *Call) Token() string { return accessToken(c) }

func (s *server) identify(c *Call, class AuthClass) error {
	token := accessToken(c)
	if token == "" {
		if class == OptionalToken {
			return nil
		}
		return matrix.MissingToken()
	}
	if len(token) > limits.AccessToken {
		return matrix.UnknownToken(false)
	}
	requester, err := s.auth.Authenticate(&c.ctx, token)
	if err != nil {
		return err
	}
	if requester == nil {
		return errors.New("the authenticator returned neither a requester nor an error")
	}
	c.Requester = requester
	if requester.Guest && !c.route.guests.includes(requester) {
		return matrix.NewError(http.StatusForbidden, matrix.ErrGuestAccessForbidden, "guests may not do this")
	}
	if class == AppserviceToken && requester.Appservice == "" {
		return matrix.Forbidden("only application services may do this")
	}
	if requester.Scope != nil {
		return requester.Scope.Admit(c)
	}
	return nil
}

// accessToken takes the token from the Authorization header, else from the query, "" when there is none.
func accessToken(c *Call) string {
	const scheme = "Bearer "
	if h := c.Request.Header["Authorization"]; len(h) > 0 {
		if v := h[0]; len(v) > len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) {
			return strings.TrimSpace(v[len(scheme):])
		}
	}
	if c.Request.URL.RawQuery == "" {
		return ""
	}
	return c.Query("access_token")
}

// limit asks the limiter.
func (s *server) limit(c *Call) error {
	if s.limiter == nil || c.route.Limit == "" {
		return nil
	}
	after, err := s.limiter.Admit(&c.ctx, c.route.Limit, c.Requester, c.ClientAddr())
	if err != nil {
		return fmt.Errorf("count against rate limit %s: %w", c.route.Limit, err)
	}
	if after > 0 {
		return matrix.LimitExceeded(after)
	}
	return nil
}

func bodyTooLarge(limit int64) error {
	return matrix.TooLarge("the body is larger than %d bytes", limit)
}

// readBody reads and checks the body. GET and HEAD have none; a body of white space counts as empty.
func readBody(c *Call) error {
	r := c.Request
	if c.route.Stream || r.Method == http.MethodGet || r.Method == http.MethodHead || r.ContentLength == 0 {
		return nil
	}
	body, err := readAll(c)
	if err != nil {
		return err
	}
	if c.route.AnyBody {
		c.Body = body
		return nil
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	c.Body = body
	return strictjson.Check(body)
}

// readAll reads at most MaxBody bytes, and gives the client limits.BodyRead to send them.
//
// Why the deadline is set here and not as http.Server.ReadTimeout: that one would also end long polls.
func readAll(c *Call) ([]byte, error) {
	// A ResponseWriter without deadlines (in tests) is as good.
	control := http.NewResponseController(c.writer.ResponseWriter)
	_ = control.SetReadDeadline(time.Now().Add(limits.BodyRead))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()

	const first = 64 << 10 // Content-Length is only a claim; memory beyond this follows what arrives
	maxBody := c.route.MaxBody
	size := int64(512)
	if n := c.Request.ContentLength; n > 0 {
		size = min(n, maxBody, first)
	}
	buf := make([]byte, 0, size+1)
	for {
		n, err := c.Request.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > maxBody:
			return nil, bodyTooLarge(maxBody)
		case err == io.EOF:
			return buf, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, matrix.NewError(http.StatusRequestTimeout, matrix.ErrUnknown, "the body did not arrive in time")
		case err != nil:
			return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "the body ended early or is badly framed")
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// JSON makes a handler of a function that takes a decoded body. An empty body is refused.
func JSON[R any](f func(ctx context.Context, c *Call, req *R) (any, error)) Handler {
	return func(ctx context.Context, c *Call) (any, error) {
		if len(c.Body) == 0 {
			return nil, matrix.NotJSON("the body is empty; a JSON object is expected")
		}
		return decodeAndCall(ctx, c, f)
	}
}

// OptionalJSON is JSON for endpoints where an empty body counts as {}.
func OptionalJSON[R any](f func(ctx context.Context, c *Call, req *R) (any, error)) Handler {
	return func(ctx context.Context, c *Call) (any, error) {
		if len(c.Body) == 0 {
			return f(ctx, c, new(R))
		}
		return decodeAndCall(ctx, c, f)
	}
}

func decodeAndCall[R any](ctx context.Context, c *Call, f func(ctx context.Context, c *Call, req *R) (any, error)) (any, error) {
	if bytes.Equal(bytes.TrimSpace(c.Body), []byte("null")) {
		return nil, matrix.BadJSON("the body must not be null")
	}
	req := new(R)
	if err := strictjson.Decode(c.Body, req); err != nil {
		return nil, err
	}
	return f(ctx, c, req)
}
