package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Upload is the body of a route whose bodies are streamed. It fails when the body is longer than MaxBody, stands still for
// limits.UploadIdle or takes longer than limits.UploadTime. Close puts the connection's deadlines back.
func (c *Call) Upload() io.ReadCloser {
	now := time.Now()
	return &upload{call: c, control: http.NewResponseController(c.writer.ResponseWriter), left: c.route.MaxBody, end: now.Add(limits.UploadTime)}
}

type upload struct {
	call    *Call
	control *http.ResponseController
	left    int64 // bytes that may still come
	end     time.Time
	renewed time.Time
}

// renewEvery is how often the deadline is moved: not at every read.
const renewEvery = time.Second

func (u *upload) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(u.renewed) > renewEvery {
		deadline := now.Add(limits.UploadIdle)
		if u.end.Before(deadline) {
			deadline = u.end
		}
		_ = u.control.SetReadDeadline(deadline)
		u.renewed = now
	}
	n, err := u.call.Request.Body.Read(p)
	u.left -= int64(n)
	switch {
	case u.left < 0:
		return 0, bodyTooLarge(u.call.route.MaxBody)
	case err == nil || err == io.EOF:
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, matrix.NewError(http.StatusRequestTimeout, matrix.ErrUnknown, "the body did not arrive in time")
	}
	return n, matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "the body ended early or is badly framed")
}

func (u *upload) Close() error {
	_ = u.control.SetReadDeadline(time.Time{})
	return nil
}
