// Package push decides which events a user is notified of, counts the unread ones, and tells push gateways.
//
// Spec: client-server v1.19 §push-notifications, §receiving-notifications, §threaded-read-receipts; push-gateway v1.19; MSC3881, MSC3930,
// MSC4028, MSC4076
//
// What a message costs must not depend on how many are in the room. So nothing is kept per event and member. An event is looked at
// once (facts.go): which of the predefined rules match it (a mask of bits), its thread, its sender, whom it mentions. Nearly all
// that a user's rules say follows from these facts and the room's id: the predefined rules with the user's switches and
// actions, mutes, settings of rooms. A count is a number of facts that are alike, judged by the user's rules once for each
// kind (program.go). Only rules that a user made about content, senders and the like need the event itself; what they decide is kept
// for that user and that event, which is rare (push_own).
//
//   - The follower (follower.go) runs on one process at a time and stores facts, the decisions of users' own rules and what is to be pushed,
//     each part of the journal in one transaction together with how far it has come.
//   - Counts (counts.go; reader.go has a user's rules, standing.go how far the user has read a room, unread.go does the sum) are in memory for those
//     who sync. Facts of recent events are made by each process from what the journal's observer sees, so that no count waits for the
//     follower and a new event costs no query per receiver. What lies before is an indexed range of push_facts, grouped, read once.
//   - The sender (gateway.go) tells gateways what waits in push_queue, each pusher for itself.
//
// Consequence: what predefined rules and settings of a room say of unread events follows the present rules, so that muting a room clears
// its count; what a rule of the user's own decided stays as it was when the event came.
//
// Roads not taken: a row per event and member (10,000 rows a message); groups of members with equal rules, whose verdicts are stored
// (a user who changes rules changes the group, and old events have no verdict for it).
//
// Start reading at counts.go.
package push

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Config of a Server. Store, Journal, Clock and Log are required.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Clock   matrix.Clock
	Log     *slog.Logger
	// Gateways reaches push gateways; without it nothing is pushed.
	Gateways *http.Client
	// Inside reaches gateways whose URL is not https. It must reach the operator's own network only; without it such a URL is refused.
	Inside *http.Client
}

// Server is push rules, counts and pushers. It is safe for concurrent use.
type Server struct {
	cfg    Config
	counts *counts
	// queued says that something may wait for the gateways.
	queued chan struct{}
	// programs are the rules of those whom the follower looked at last.
	programs programCache
	// follower is what the follower remembers while it has the lease.
	follower atomic.Pointer[followerMemory]
}

// New returns a Server; it must be made before the journal runs, and before whoever asks it from an observer of the journal.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, queued: make(chan struct{}, 1)}
	s.counts = newCounts(cfg)
	cfg.Journal.Observe(s.counts.observe)
	return s
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }
