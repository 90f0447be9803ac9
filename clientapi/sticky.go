package clientapi

import (
	"context"
	"strconv"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
)

// stickyQuery makes an event sticky: whoever is in the room, or comes, is told of it for so many ms.
const stickyQuery = "org.matrix.msc4354.sticky_duration_ms"

// stickyFor is for how long the request's event is to be sticky, 0 for not at all. It counts towards the sender's rate.
//
// Spec: MSC4354, proposal
func (s *Server) stickyFor(ctx context.Context, c *httpapi.Call) (time.Duration, error) {
	if c.Request.URL.RawQuery == "" || !c.HasQuery(stickyQuery) {
		return 0, nil
	}
	ms, err := strconv.ParseInt(c.Query(stickyQuery), 10, 64)
	if err != nil || ms < 0 || ms > limits.StickyFor.Milliseconds() {
		return 0, matrix.InvalidParam("%s must be a whole number from 0 to %d", stickyQuery, limits.StickyFor.Milliseconds())
	}
	if ms == 0 {
		return 0, nil
	}
	wait, err := s.cfg.Limiter.Allow(ctx, ratelimit.Sticky, string(c.Requester.User))
	if err == nil && wait > 0 {
		err = matrix.LimitExceeded(wait)
	}
	return time.Duration(ms) * time.Millisecond, err
}
