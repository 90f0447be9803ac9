package httpapi

import (
	"io"
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/limits"
)

// paced moves the connection's deadline along as long as the client takes what it is sent.
type paced struct {
	w       http.ResponseWriter
	control *http.ResponseController
	renewed time.Time
}

func (p *paced) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(p.renewed) > time.Second {
		_ = p.control.SetWriteDeadline(now.Add(limits.AnswerWrite))
		p.renewed = now
	}
	return p.w.Write(b)
}

// Paced is the answer of a handler that writes for long: a client that takes nothing for limits.AnswerWrite is given up. The connection is not
// used again.
func (c *Call) Paced() io.Writer {
	c.W.Header().Set("Connection", "close")
	return &paced{w: c.W, control: http.NewResponseController(c.writer.ResponseWriter)}
}
