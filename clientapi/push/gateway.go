package push

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	// gatewayPatience is how long one request to a gateway may take; stopPatience is what is left of it when the process ends, so that
	// what was said is also noted and not said again.
	gatewayPatience = 10 * time.Second
	stopPatience    = 3 * time.Second
	// maxSending bounds the pushers that are served at the same time, maxPerGateway those of one gateway: gateways that do not answer
	// leave room for the others.
	maxSending    = 256
	maxPerGateway = 32
	// sendAtOnce is how many notifications of a pusher are read at once.
	sendAtOnce = 50
	// retryCheck is how often pushers are looked for whose time has come; dropCheck how often what is too old is dropped.
	retryCheck = time.Second
	dropCheck  = time.Minute
	dropAtOnce = 10_000
	// firstRetry doubles with each failure in a row, up to lastRetry.
	firstRetry = time.Second
	lastRetry  = time.Hour
)

func (s *Server) wakeSender() {
	select {
	case s.queued <- struct{}{}:
	default:
	}
}

// sender tells gateways what waits for them. Each pusher is served by itself, in order, by one goroutine at a time.
type sender struct {
	s    *Server
	work sync.WaitGroup

	mu   sync.Mutex
	busy map[int64]string // the pushers that are being served, and the hosts of their gateways
}

// send tells gateways what waits in the queue until ctx ends. One process does.
func (s *Server) send(ctx context.Context) {
	if s.cfg.Gateways == nil {
		<-ctx.Done()
		return
	}
	q := &sender{s: s, busy: make(map[int64]string)}
	defer q.work.Wait()
	tick := time.NewTicker(retryCheck)
	defer tick.Stop()
	var dropped time.Time
	for ctx.Err() == nil {
		if now := s.cfg.Clock.Now(); now.Sub(dropped) > dropCheck {
			dropped = now
			if _, err := s.cfg.Store.DeletePushQueueBefore(ctx, matrix.TimestampOf(now.Add(-limits.PushKept)), dropAtOnce); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("drop old notifications", "error", err)
			}
		}
		more, err := q.start(ctx)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("look for what is to be pushed", "error", err)
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.queued:
		case <-tick.C:
		}
	}
}

// start begins to serve pushers for which something waits, as many as may be served at once. more is true when there may be others.
func (q *sender) start(ctx context.Context) (more bool, err error) {
	q.mu.Lock()
	room := maxSending - len(q.busy)
	ids := make([]int64, 0, len(q.busy))
	perHost := make(map[string]int)
	for id, host := range q.busy {
		ids = append(ids, id)
		perHost[host]++
	}
	q.mu.Unlock()
	var full []string
	for host, n := range perHost {
		if n >= maxPerGateway {
			full = append(full, host)
		}
	}
	if room <= 0 {
		return false, nil
	}
	due, err := q.s.cfg.Store.ListDuePushers(ctx, q.s.now(), ids, full, room)
	if err != nil {
		return false, err
	}
	started := 0
	for _, p := range due {
		host := hostOf(p.URL)
		if perHost[host] >= maxPerGateway {
			continue
		}
		perHost[host]++
		started++
		q.mu.Lock()
		q.busy[p.ID] = host
		q.mu.Unlock()
		q.work.Go(func() {
			done := q.serve(ctx, p)
			q.mu.Lock()
			delete(q.busy, p.ID)
			q.mu.Unlock()
			if done {
				q.s.wakeSender() // a place is free, and something may have come meanwhile
			}
		})
	}
	return len(due) == room && started > 0, nil
}

// hostOf is the host of a gateway as the store sees it: what is between the second and the third slash.
func hostOf(gateway string) string {
	u, err := url.Parse(gateway)
	if err != nil {
		return gateway
	}
	return u.Host
}

// serve tells a gateway what waits for one pusher, oldest first, until nothing is left or it fails. It reports false when it
// is for the database, or the end of the process, that something is left.
func (q *sender) serve(parent context.Context, p store.Pusher) (done bool) {
	// What was said has to be noted although the process ends.
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	defer context.AfterFunc(parent, func() { time.AfterFunc(stopPatience, cancel) })()
	log := q.s.cfg.Log.With("user", p.UserID, "app", p.AppID)
	waiting, err := q.s.cfg.Store.ListPushQueue(ctx, p.ID, sendAtOnce)
	if err != nil {
		log.Error("read what is to be pushed", "error", err)
		return false
	}
	// The badge alone comes last: whatever is said before tells of it too.
	if len(waiting) > 0 && waiting[0].Position == 0 {
		waiting = append(waiting[1:], waiting[0])
	}
	for _, w := range waiting {
		if parent.Err() != nil {
			return false
		}
		said, err := q.s.tell(ctx, &p, w)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return false // the process ends, and the next one tries at once
		case errors.Is(err, errGateway):
			q.failed(ctx, &p, err)
			return true
		default: // the gateway has done nothing wrong: it is tried again at the next look
			if !store.IsUnavailable(err) {
				log.Error("push", "error", err)
			}
			return false
		}
		if said.rejected {
			if err := q.s.cfg.Store.DeletePushersOf(ctx, p.AppID, p.PushKey, p.URL, said.asked); err != nil {
				log.Error("remove a rejected pusher", "error", err)
				return false
			}
			return true
		}
		if err := q.s.cfg.Store.PutPushed(ctx, w, said.badge); err != nil {
			log.Error("note a notification", "error", err)
			return false
		}
		if said.badge >= 0 {
			p.Badge = said.badge
		}
		p.Failures = 0
	}
	return true
}

// failed notes when to try again.
func (q *sender) failed(ctx context.Context, p *store.Pusher, cause error) {
	wait := lastRetry
	if p.Failures < 12 {
		wait = min(firstRetry<<p.Failures, lastRetry)
	}
	wait += rand.N(wait/4 + 1)
	q.s.cfg.Log.Info("a push gateway failed", "user", p.UserID, "app", p.AppID, "gateway", hostOf(p.URL), "failures", p.Failures+1,
		"retry_in", wait.Round(time.Millisecond).String(), "error", cause)
	err := q.s.cfg.Store.PutPushFailure(ctx, p.ID, p.Failures+1, matrix.TimestampOf(q.s.cfg.Clock.Now().Add(wait)), limits.PushQueue)
	if err != nil {
		q.s.cfg.Log.Error("note a failed notification", "error", err)
	}
}
