// Package sync answers GET /sync and keeps the filters that clients store.
//
// Spec: client-server v1.19 §syncing, §filtering, §lazy-loading-room-members; MSC4222 (state_after), MSC4115 (unsigned.membership)
//
// A token is a position of the journal: everything up to it has been told. A request with since answers for what lies in
// since < position <= now, and next_batch is now. Messages to the device have a position of their own in the token (todevice.go).
//
//   - The hub (hub.go) observes the journal. Of each user who syncs with this process it remembers the rooms and the last
//     position that concerns the user. A request with nothing new is answered, or waits, without any query; a
//     waiting request is woken only by what concerns its user.
//   - A build (build.go) makes one answer. What happened in the window comes from the journal's ring, and from the database when
//     the ring does not go back far enough (gather.go). Both ways give the same answer; a test compares them.
//     Everything else is the same code for both: rooms.go (which rooms, since when), timeline.go, state.go, members.go
//     (lazy loading), summary.go, ephemeral.go, account.go, presence.go, invited.go; write.go puts the bytes together.
//   - Queries are made for all rooms at once, never one per room.
//
// Invariants. Whoever reads hub.now first and a user's touched second misses nothing up to now: the hub stores them in the other
// order. An answer holds what the user may see at its position, or something newer where only the present value exists
// (typing, counts, presence); what is newer comes again.
//
// Sliding sync is another way to tell the same: sliding.go. It shares the hub and what reads the database.
//
// Not done: a cache of the events' bytes. Rendering a stored event copies its content and costs about a microsecond; what
// many receivers would ask the database for at the same moment (replaced state, counts) is asked once (flights).
//
// Start reading at sync in this file.
package sync

import (
	"context"
	"errors"
	"log/slog"
	stdsync "sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/clientapi/push"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Presence is told which devices sync. It must not block.
type Presence interface {
	// Connected notes that a device syncs, and counts it as there until done is called.
	Connected(user matrix.UserID, device matrix.DeviceID, state string) (done func())
	// Enabled is false where everybody is offline.
	Enabled() bool
}

// Config of a Server. All but Presence are required.
type Config struct {
	Store    *store.Store
	Journal  *journal.Journal
	Rooms    *roomserver.Server
	Presence Presence
	// Push counts what is unread; one of its own if nil.
	Push  *push.Server
	Clock matrix.Clock
	Log   *slog.Logger
}

// Server is /sync. It is safe for concurrent use.
type Server struct {
	cfg     Config
	hub     *hub
	filters *recent[filterKey, *filter.Filter]
	members *memberCache
	// replaced has, by the positions of member events, the memberships that they replaced.
	replaced *recent[int64, string]
	flights  singleflight.Group

	slidingConfigs *recent[slidingKey, *slidingConfig]
	connections    *recent[connectionKey, *connection]

	// large has room for the builds of whole states that may run at a time: the others' queries must get through.
	large chan struct{}

	stop     chan struct{}
	stopping stdsync.Once
	// noRing makes every answer come from the database. Tests only.
	noRing bool
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) *Server {
	if cfg.Push == nil {
		cfg.Push = push.New(push.Config{Store: cfg.Store, Journal: cfg.Journal, Clock: cfg.Clock, Log: cfg.Log})
	}
	s := &Server{
		cfg:     cfg,
		filters: newRecent[filterKey, *filter.Filter](maxFilters),
		members: newMemberCache(), replaced: newRecent[int64, string](maxReplaced),
		large: make(chan struct{}, maxLargeBuilds),
		stop:  make(chan struct{}),

		slidingConfigs: newRecent[slidingKey, *slidingConfig](maxSlidingConfigs),
		connections:    newRecent[connectionKey, *connection](maxConnections),
	}
	s.hub = newHub(cfg.Store, cfg.Journal, cfg.Clock, s.members)
	cfg.Journal.Observe(s.hub.observe)
	return s
}

// Routes are the endpoints of this package.
func (s *Server) Routes() []httpapi.Route {
	const v3 = "/_matrix/client/v3"
	const unstable = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
	return []httpapi.Route{
		{Method: "GET", Path: v3 + "/sync", Auth: httpapi.AccessToken, Handle: s.sync},
		{Method: "GET", Path: threadSubscriptionsPath, Auth: httpapi.AccessToken, Limit: "read", Handle: s.listThreadSubscriptions},
		{Method: "POST", Path: "/_matrix/client/v4/sync", Auth: httpapi.AccessToken, Handle: httpapi.OptionalJSON(s.slidingSync)},
		{Method: "POST", Path: unstable, Auth: httpapi.AccessToken, Handle: httpapi.OptionalJSON(s.slidingSyncUnstable)},
		{Method: "POST", Path: v3 + "/user/{userId}/filter", Auth: httpapi.AccessToken, Limit: "read", Handle: s.defineFilter},
		{Method: "GET", Path: v3 + "/user/{userId}/filter/{filterId}", Auth: httpapi.AccessToken, Limit: "read", Handle: s.getFilter},
	}
}

// Stop answers all waiting requests with nothing new, and lets none wait from now on.
func (s *Server) Stop() {
	s.stopping.Do(func() { close(s.stop) })
	s.hub.close()
}

// sync tells a client what happened since it last asked, and waits for it if nothing did.
//
// Spec: client-server v1.19 §syncing, GET /_matrix/client/v3/sync
func (s *Server) sync(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.parse(ctx, c)
	if err != nil {
		return nil, err
	}
	if s.cfg.Presence != nil {
		defer s.cfg.Presence.Connected(r.user, r.device, r.presence)()
	}
	if r.incremental() {
		if err := s.reach(ctx, r); err != nil {
			return nil, err
		}
		if err := s.acknowledgeToDevice(ctx, r.user, r.device, r.toDevice); err != nil {
			return nil, err
		}
	}
	return s.answer(ctx, r)
}

// aheadPatience is how long a request waits at least for a position that another process gave out.
const aheadPatience = 2 * time.Second

// reach waits until this process has seen the request's since. A position that does not exist, as after a database was restored
// from an older copy, is replaced by the present one.
func (s *Server) reach(ctx context.Context, r *request) error {
	if r.since <= s.hub.now() {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, max(aheadPatience, min(r.timeout, 2*aheadPatience)))
	defer cancel()
	if err := s.cfg.Journal.WaitFor(wait, r.since); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// It may be that this process is slow. Whether there is such a position the database knows.
	if err := s.cfg.Journal.CatchUp(ctx); err != nil {
		return matrix.Unavailable(time.Second)
	}
	if r.since <= s.hub.now() {
		return nil
	}
	r.since = min(r.since, s.hub.now())
	r.toDevice = min(r.toDevice, r.since)
	return s.dropKeys(ctx, r.user, r.device)
}

// answer builds answers until one has something in it or the time is over.
func (s *Server) answer(ctx context.Context, r *request) (any, error) {
	var p *poll
	var timeout <-chan time.Time
	defer func() { s.hub.leave(p) }()
	since, toDevice := r.since, r.toDevice
	for {
		e, err := s.hub.user(ctx, r.user)
		if err != nil {
			return nil, err
		}
		now := s.hub.now()
		if r.immediate() || !s.hub.quiet(e, since) || s.hub.messagesWait(e, r.device, toDevice) {
			b := &build{s: s, ctx: ctx, r: r, e: e, since: since, toDeviceAfter: toDevice}
			body, err := s.run(b)
			if errors.Is(err, errForgotten) {
				continue
			}
			if err != nil || body != nil {
				return body, err
			}
			now, toDevice = b.now, b.toDeviceReached
		}
		since = max(since, now)
		if r.timeout == 0 {
			return s.nothing(ctx, e, r, since, toDevice)
		}
		if p == nil || p.entry != e {
			// Nothing may slip through between the look and the wait: look again as one who waits.
			s.hub.leave(p)
			p = s.hub.wait(e, r.device)
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
		return s.nothing(ctx, e, r, since, toDevice)
	}
}

// nothing is the answer that there is nothing new.
func (s *Server) nothing(ctx context.Context, e *user, r *request, next, toDevice int64) (any, error) {
	counts, err := s.keyCounts(ctx, e, r.device)
	if err != nil {
		return nil, err
	}
	body := appendEncryption(appendStart(make([]byte, 0, 256), next, toDevice, nil), nil, nil, counts)
	return httpapi.Raw(append(body, '}')), nil
}

// maxLargeBuilds bounds the answers with whole states that are made at a time.
const maxLargeBuilds = 6

// run runs a build; one of a whole state waits until there are not too many of them.
func (s *Server) run(b *build) (any, error) {
	if b.r.immediate() {
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-b.ctx.Done():
			return nil, b.ctx.Err()
		}
	}
	return b.run()
}
