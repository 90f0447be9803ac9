// Package guests is people from outside who came by an invitation: how they open its link and get an account, what marks them, who may
// extend and remove them, and how they end. The page that they see is in web/.
//
// Invariants:
//   - An invitation is used, and the guest's account and session are made, in one transaction (make.go): of those who redeem an invitation at
//     the same time on any processes as many win as it allows. What the room is told follows the commit; a crash in between is mended when the
//     page asks again.
//   - Device and access token follow from the link's secret and from the page's attempt, by a key that only the server has: whoever repeats an
//     attempt whose answer was lost is given the same answer, and nobody else is.
//   - A secret that nobody has is answered with one answer, whatever is wrong with it. Why an invitation does not work any more is told to those
//     who have its 128 bits. Nothing but POST changes anything.
//   - The access token ends with the guest (guests.expires_ts): nobody has to do anything at that moment for every process to refuse. What is left,
//     ending the sessions and leaving the rooms, is done by the one process that has the lease, as often as it takes (expiry.go).
//   - A guest is marked, in the profile and in member events, by what the server alone may set, and by the end of the name.
//
// What guests may do is a table in clientapi/guests.go.
//
// Start reading at redeem.go.
package guests

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/batch"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Config of a Server. Everything up to Key is required.
type Config struct {
	Store       *store.Store
	Journal     *journal.Journal
	Accounts    *auth.Accounts
	Sessions    *auth.Sessions
	People      *accounts.Server
	Rooms       *roomserver.Server
	Invitations *invitations.Server
	Clock       matrix.Clock
	Log         *slog.Logger
	// Key makes devices and tokens of secrets and attempts.
	Key []byte

	// Answer notes whether the addressee of an invitation comes to its meeting, Answered is what was said; nil where there are no meetings.
	Answer   func(ctx context.Context, invitation, answer string) error
	Answered func(ctx context.Context, invitation string) (string, error)
	// Codes sends codes to addresses; nil where none can be sent.
	Codes *verify.Verifier
	// BaseURL is where clients reach the server.
	BaseURL string
	// Page is what is served below /i; nil for nothing.
	Page fs.FS
	// SFU is where the page reaches the media server of meetings; empty where there are none.
	SFU string
}

// Server serves guests. It is safe for concurrent use.
type Server struct {
	cfg    Config
	page   *page
	makers *batch.Queue[*comer]
	// woken says that somebody may have to go.
	woken chan struct{}

	mu sync.Mutex
	// noticed is what the journal said since the worker looked last.
	noticed noticed
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Journal == nil || cfg.Accounts == nil || cfg.Sessions == nil || cfg.People == nil || cfg.Rooms == nil ||
		cfg.Invitations == nil || cfg.Clock == nil || cfg.Log == nil || len(cfg.Key) == 0 {
		return nil, errors.New("guests: a field of Config is missing")
	}
	s := &Server{cfg: cfg, woken: make(chan struct{}, 1)}
	s.makers = batch.New(limits.GuestBatch, s.makeAll)
	if cfg.Page != nil {
		allowed, err := connections(cfg.SFU)
		if err != nil {
			return nil, err
		}
		if s.page, err = loadPage(cfg.Page); err != nil {
			return nil, err
		}
		s.page.headers = pageHeaders(allowed)
	}
	cfg.Journal.Observe(s.observe)
	return s, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }
