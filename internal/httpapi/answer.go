package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Header values are shared by all answers: assigning a slice that exists costs nothing. Nobody writes into them;
// Header.Set and Header.Add make new ones.
var (
	jsonType     = []string{"application/json"}
	anyOrigin    = []string{"*"}
	allowMethods = []string{"GET, POST, PUT, DELETE, OPTIONS"}
	allowHeaders = []string{"X-Requested-With, Content-Type, Authorization"}
	exposed      = []string{"Retry-After"}
	preflightAge = []string{"86400"}
	noSniff      = []string{"nosniff"}
	noReferrer   = []string{"no-referrer"}
	noStore      = []string{"no-store"}
	noContent    = []string{"default-src 'none'; frame-ancestors 'none'"}
	askBasic     = []string{`Basic realm="Roomline", charset="UTF-8"`}
)

// clientClosed is the status under which requests are counted whose client has gone (nginx's number for it).
const clientClosed = 499

// writeHeaders sets what every answer carries. A handler may change its own, such as Cache-Control.
//
// Spec: client-server v1.19 §web-browser-clients. Access-Control-Expose-Headers comes on top: without it a browser could
// not read the Retry-After that §rate-limiting asks for.
func writeHeaders(h http.Header) {
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Access-Control-Allow-Methods"] = allowMethods
	h["Access-Control-Allow-Headers"] = allowHeaders
	h["Access-Control-Expose-Headers"] = exposed
	h["X-Content-Type-Options"] = noSniff
	h["Referrer-Policy"] = noReferrer
	h["Content-Security-Policy"] = noContent
	h["Cache-Control"] = noStore
}

// writePreflight answers OPTIONS, for every path: to a browser a failed preflight would hide the real answer.
func writePreflight(c *Call) {
	c.writer.Header()["Access-Control-Max-Age"] = preflightAge
	c.writer.WriteHeader(http.StatusNoContent)
}

// writer notes the status, so that the call can be counted and no second answer is written after a first.
type writer struct {
	http.ResponseWriter
	status int
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// encoder is a buffer with the encoder that writes into it.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}}

// release gives the buffer back, unless one large answer would keep its memory forever.
func (e *encoder) release() {
	if e.buf.Cap() <= 256<<10 {
		e.buf.Reset()
		encoders.Put(e)
	}
}

// writeResult writes what a handler returned.
func writeResult(c *Call, result any) {
	status := http.StatusOK
	if s, ok := result.(Status); ok {
		status, result = s.Code, s.Body
	}
	switch v := result.(type) {
	case nil:
		if c.writer.status == 0 { // else the handler has answered itself
			writeBody(c, status, []byte("{}"))
		}
		return
	case Raw:
		if len(v) == 0 {
			v = Raw("{}")
		}
		writeBody(c, status, v)
		return
	case Content:
		c.writer.Header()["Content-Type"] = []string{v.Type}
		writeBody(c, status, v.Bytes)
		return
	}
	e := encoders.Get().(*encoder)
	defer e.release()
	if err := e.enc.Encode(result); err != nil {
		writeError(c, fmt.Errorf("encode the answer: %w", err))
		return
	}
	body := bytes.TrimSuffix(e.buf.Bytes(), []byte("\n"))
	if string(body) == "null" { // a nil pointer of some result type
		body = []byte("{}")
	}
	writeBody(c, status, body)
}

// writeBody sends a complete answer. A client that has gone is no event: the error of Write is dropped.
func writeBody(c *Call, status int, body []byte) {
	h := c.writer.Header()
	if h["Content-Type"] == nil {
		h["Content-Type"] = jsonType
	}
	const buffered = 2048 // net/http adds Content-Length to shorter bodies itself
	const socket = 64 << 10
	if len(body) > buffered {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if len(body) > socket {
		control := http.NewResponseController(c.writer.ResponseWriter)
		_ = control.SetWriteDeadline(time.Now().Add(limits.AnswerWrite))
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	}
	c.writer.WriteHeader(status)
	_, _ = c.writer.Write(body)
}

// writeError is the one place that turns an error into an answer, and the one that logs it.
//
// Spec: client-server v1.19 §standard-error-response
func writeError(c *Call, err error) {
	e, ok := matrix.AsError(err)
	switch {
	case c.writer.status != 0:
		// What was sent cannot be taken back, but the client must not take half an answer for a whole one.
		if c.Request.Context().Err() == nil {
			c.logger().Error("handler failed after its answer had begun; the connection is cut", "err", err)
		}
		panic(http.ErrAbortHandler)
	case !ok && c.Request.Context().Err() != nil:
		// The client has gone, or the server is stopping: there is hardly anyone to read this, and it is no fault.
		writeErrorBody(c, matrix.Unavailable(time.Second))
		if errors.Is(c.Request.Context().Err(), context.Canceled) {
			c.writer.status = clientClosed
		}
		return
	case !ok && isUnavailable(err):
		c.logger().Warn("request failed: database unavailable", "err", err)
		e = matrix.Unavailable(time.Second)
		e.Message = "the database is not reachable; try again"
	case !ok:
		c.logger().Error("request failed", "err", err)
		writeInternalError(c)
		return
	case e.Status >= 500:
		c.logger().Warn("request failed", "err", err)
	}
	writeErrorBody(c, e)
}

// writeInternalError answers 500 without detail. The request id leads an administrator to the log line.
func writeInternalError(c *Call) {
	writeErrorBody(c, matrix.NewError(http.StatusInternalServerError, matrix.ErrUnknown, "internal server error, request %s", c.requestID()))
}

// isUnavailable reports an error of the database connection, without knowing the store.
func isUnavailable(err error) bool {
	u, ok := errors.AsType[interface {
		error
		Unavailable() bool
	}](err)
	return ok && u.Unavailable()
}

// errorBody is the usual error answer.
type errorBody struct {
	Code    matrix.ErrCode `json:"errcode"`
	Message string         `json:"error"`
	// Spec: client-server v1.19 §rate-limiting: deprecated, yet what older clients read.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
}

func writeErrorBody(c *Call, e *matrix.Error) {
	if e.RetryAfter > 0 {
		seconds := int64((e.RetryAfter + time.Second - 1) / time.Second)
		c.writer.Header()["Retry-After"] = []string{strconv.FormatInt(seconds, 10)}
	}
	if e.Status == http.StatusUnauthorized && c.route != nil && c.route.Auth == AppPassword {
		c.writer.Header()["Www-Authenticate"] = askBasic
	}
	body := errorBody{Code: e.Code, Message: e.Message}
	if e.Code == matrix.ErrLimitExceeded {
		// Rounded up: who waits for exactly so long must not come too early.
		body.RetryAfterMS = int64((e.RetryAfter + time.Millisecond - 1) / time.Millisecond)
	}
	if e.Status == http.StatusRequestTimeout {
		c.writer.Header()["Connection"] = []string{"close"}
	}
	if len(e.Fields) == 0 {
		writeResult(c, Status{e.Status, body})
		return
	}
	all := map[string]any{"errcode": body.Code, "error": body.Message}
	if body.RetryAfterMS > 0 {
		all["retry_after_ms"] = body.RetryAfterMS
	}
	extra := maps.Clone(e.Fields)
	delete(extra, "errcode")
	delete(extra, "error")
	maps.Copy(all, extra)
	writeResult(c, Status{e.Status, all})
}
