package httpapi

import (
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/limits"
)

// Paced is the answer of a handler that writes for long. It moves the connection's deadline along as long as the client takes what it is
// sent; a client that takes nothing for limits.AnswerWrite is given up.
type Paced struct {
	http.ResponseWriter
	control *http.ResponseController
	renewed time.Time
}

// Paced is the answer to the call. Whoever is done writing calls Release.
func (c *Call) Paced() *Paced {
	return &Paced{ResponseWriter: c.W, control: http.NewResponseController(c.W)}
}

func (p *Paced) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(p.renewed) > time.Second {
		_ = p.control.SetWriteDeadline(now.Add(limits.AnswerWrite))
		p.renewed = now
	}
	return p.ResponseWriter.Write(b)
}

// Release takes the deadline off the connection, which is used again.
func (p *Paced) Release() { _ = p.control.SetWriteDeadline(time.Time{}) }
