package voice

import (
	"context"
	"net/url"
	"time"

	"github.com/roomline/roomline/internal/phone"
)

// server is what the bridge asks the server. answered bounds each question.
type server struct {
	// post sends a request below /_roomline/telephony/v1/.
	post   func(ctx context.Context, path string, request, answer any) error
	bridge string
}

const answered = 10 * time.Second

func (s *server) ask(ctx context.Context, path string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, answered)
	defer cancel()
	return s.post(ctx, "calls/"+path, request, answer)
}

func (s *server) start(ctx context.Context, start phone.Start) (started phone.Started, err error) {
	start.Bridge = s.bridge
	return started, s.ask(ctx, "start", start, &started)
}

func (s *server) pin(ctx context.Context, call, pin string) (j phone.Join, err error) {
	return j, s.ask(ctx, url.PathEscape(call)+"/pin", phone.PIN{Bridge: s.bridge, PIN: pin}, &j)
}

// room asks for the way in of who was brought into a room of LiveKit by the PIN that the room is for.
func (s *server) room(ctx context.Context, call, room string) (j phone.Join, err error) {
	return j, s.ask(ctx, url.PathEscape(call)+"/pin", phone.PIN{Bridge: s.bridge, Room: room}, &j)
}

func (s *server) token(ctx context.Context, call string) (j phone.Join, err error) {
	return j, s.ask(ctx, url.PathEscape(call)+"/token", phone.Token{Bridge: s.bridge}, &j)
}

func (s *server) event(ctx context.Context, call string, e phone.Event) (status phone.Status, err error) {
	e.Bridge = s.bridge
	return status, s.ask(ctx, url.PathEscape(call)+"/event", e, &status)
}
