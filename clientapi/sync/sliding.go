package sync

import (
	"context"
	"errors"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// Simplified sliding sync: the client says which rooms it looks at, by lists and subscriptions, and is told of those.
//
// There is one engine for two wire forms (slidingrequest.go, slidingwrite.go). A request goes through these steps:
//
//   - Its pos says up to which position of the journal everything was told, and which version of the connection's state says
//     what "everything" is (slidingstate.go): the rooms that were told of, and what of them.
//   - While nothing concerns the user, and the client asks for what it asked for before, it waits as in /sync, without a query.
//   - Otherwise a slide makes an answer: it finds the rooms (slidinglists.go), decides what is to be told of each
//     (slidingrooms.go), reads it (slidingtimeline.go, slidingmembers.go, slidingextensions.go) and writes it.
//   - When the answer tells something that the state must say, a new version of the state is stored before the answer is given.
//
// The usual answer, with news of a room that the client knows, changes nothing in the state: rooms in the window are live, told
// up to the token's position, and so are those outside as long as nothing happens in them.

// slidingSync tells a client what it looks at and has not been told.
//
// Spec: MSC4186, POST /_matrix/client/v4/sync
func (s *Server) slidingSync(ctx context.Context, c *httpapi.Call, body *slidingBody) (any, error) {
	return s.slideOn(ctx, c, body, true)
}

// slidingSyncUnstable is slidingSync in the form that clients use today.
//
// Spec: MSC4186 §unstable-prefix, POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync
func (s *Server) slidingSyncUnstable(ctx context.Context, c *httpapi.Call, body *slidingBody) (any, error) {
	return s.slideOn(ctx, c, body, false)
}

func (s *Server) slideOn(ctx context.Context, c *httpapi.Call, body *slidingBody, stable bool) (any, error) {
	r, err := s.parseSliding(c, body, stable)
	if err != nil {
		return nil, err
	}
	if s.cfg.Presence != nil {
		defer s.cfg.Presence.Connected(r.conn.User, r.conn.Device, r.presence)()
	}
	if !r.initial {
		if err := s.reachSliding(ctx, r); err != nil {
			return nil, err
		}
	}
	base, err := s.connection(ctx, r)
	if err != nil {
		return nil, err
	}
	toDevice, err := s.toDeviceAfter(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.slideUntil(ctx, r, base, toDevice)
}

// reachSliding waits until this process has seen the position that the request begins at. One that does not exist, as after a
// database was restored from an older copy, is not known.
func (s *Server) reachSliding(ctx context.Context, r *slidingRequest) error {
	at := &request{since: r.pos.position, timeout: r.timeout, user: r.conn.User, device: r.conn.Device}
	if err := s.reach(ctx, at); err != nil {
		return err
	}
	if at.since != r.pos.position {
		return matrix.UnknownPos()
	}
	return nil
}

// slideUntil builds answers until one has something in it or the time is over.
//
// toDevice is up to where the device has been sent its messages.
func (s *Server) slideUntil(ctx context.Context, r *slidingRequest, base *connection, toDevice int64) (any, error) {
	var p *poll
	var timeout <-chan time.Time
	defer func() { s.hub.leave(p) }()
	next := r.pos
	// seen is up to where there is nothing to tell: what is seen need not be told, as when it happened outside the windows.
	seen := r.since()
	settled := !r.initial && r.pos.config == r.hash
	for {
		e, err := s.hub.user(ctx, r.conn.User)
		if err != nil {
			return nil, err
		}
		now := s.hub.now()
		counts, counted := s.hub.counts(e, r.hash)
		if settled && counted && s.hub.quiet(e, seen) && !s.messagesWait(e, r, toDevice) {
			if seen == next.position {
				next.position = max(now, seen)
			}
			seen = max(now, seen)
		} else {
			b := &slide{s: s, ctx: ctx, r: r, e: e, base: base, since: r.since(), toDeviceAfter: toDevice}
			answer, err := s.runSlide(b)
			if errors.Is(err, errForgotten) {
				continue
			}
			if err != nil || answer != nil {
				return answer, err
			}
			seen, next, counts, settled, toDevice = b.now, b.next, b.counts, true, b.extensions.reached
		}
		if r.timeout == 0 {
			return s.nothingSliding(ctx, e, r, next, counts, toDevice)
		}
		if p == nil || p.entry != e {
			// Nothing may slip through between the look and the wait: look again as one who waits.
			s.hub.leave(p)
			p = s.hub.wait(e, r.conn.Device)
			continue
		}
		if timeout == nil {
			timer := time.NewTimer(r.timeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-p.news:
			if !p.ended.Load() {
				continue
			}
		case <-timeout:
		case <-s.stop:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return s.nothingSliding(ctx, e, r, next, counts, toDevice)
	}
}

// since is the position up to which the client knows what concerns it, -1 if it knows nothing.
func (r *slidingRequest) since() int64 {
	if r.initial {
		return -1
	}
	return r.pos.position
}

// runSlide runs a build; a first one waits until there are not too many of them.
func (s *Server) runSlide(b *slide) (any, error) {
	if b.r.initial {
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-b.ctx.Done():
			return nil, b.ctx.Err()
		}
	}
	return b.run()
}
