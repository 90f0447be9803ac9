// Package accounts is what an organisation does to its people's accounts: it makes and changes them, locks them, erases and
// exports them, and keeps the rooms of its groups. SCIM, the admin API and Synapse's admin API are three ways to ask for it.
//
// Invariants:
//   - Whatever changes an account is one transaction: the account, its addresses, its profile, what a directory says of it, and the
//     entry in the audit log. What has to be told to rooms comes after it, and is repeated by the next change if it fails.
//   - Locking ends everything that the account's devices wait for, on every process, with the commit (store.KindSession).
//   - What takes long (groups, erasure, exports) is a row that some process works on under a lease: a process that dies leaves it to
//     another one, which goes on where the first one stopped.
//
// Start reading at people.go.
package accounts

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
)

// Config of a Server. Everything up to OpenMedia is required.
type Config struct {
	Store    *store.Store
	Journal  *journal.Journal
	Accounts *auth.Accounts
	Rooms    *roomserver.Server
	Clock    matrix.Clock
	Log      *slog.Logger
	// StorePicture stores a picture of a person among the media.
	StorePicture func(ctx context.Context, user store.User, contentType string, content []byte) (matrix.ContentURI, error)
	// OpenMedia reads the bytes of media.
	OpenMedia func(ctx context.Context, m *store.Media) (io.ReadCloser, error)
	// HandOver gives what others go on with to somebody else, before an account is erased that has left its rooms; it may be nil.
	HandOver func(ctx context.Context, user matrix.UserID) error
	// What holds where an organisation's Policy does not decide.
	SelfDeactivate, EraseMessages, EraseMedia bool
}

// Server works on accounts. It is safe for concurrent use.
type Server struct {
	cfg Config
	// work rings when there is something to work on.
	work wake.Bell
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Journal == nil || cfg.Accounts == nil || cfg.Rooms == nil || cfg.Clock == nil || cfg.Log == nil || cfg.StorePicture == nil || cfg.OpenMedia == nil {
		return nil, errors.New("accounts: a field of Config is missing")
	}
	return &Server{cfg: cfg}, nil
}

// Run does what takes long, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { s.look(ctx) })
	parts.Go(func() { s.runGroups(ctx) })
	parts.Go(func() { s.runErasures(ctx) })
	parts.Go(func() { s.runRoomDeletions(ctx) })
	parts.Wait()
	return nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }
