package httpapi

import (
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/limits"
)

// Download is where a long answer is written piece by piece. It goes on as long as the client takes a piece within limits.AnswerWrite.
// Close puts the connection's deadline back; it does not end the answer.
func (c *Call) Download() *Download {
	return &Download{w: &c.writer, control: http.NewResponseController(c.writer.ResponseWriter)}
}

// Download is an answer that is being written.
type Download struct {
	w       *writer
	control *http.ResponseController
	renewed time.Time
}

// Write writes a piece.
func (d *Download) Write(p []byte) (int, error) {
	if now := time.Now(); now.Sub(d.renewed) > renewEvery {
		_ = d.control.SetWriteDeadline(now.Add(limits.AnswerWrite))
		d.renewed = now
	}
	return d.w.Write(p)
}

// Close ends writing.
func (d *Download) Close() { _ = d.control.SetWriteDeadline(time.Time{}) }
