// Package keys is what devices that encrypt need of a server: their public keys, one-time keys to claim, cross-signing, backups of
// room keys, and dehydrated devices. The server reads none of what they protect.
//
// Spec: client-server v1.19 §end-to-end-encryption
//
// A file is a section of that chapter. Start reading there.
package keys

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Config of a Server. All fields are required.
type Config struct {
	Store       *store.Store
	Journal     *journal.Journal
	Interactive *auth.Interactive
	Clock       matrix.Clock
	Log         *slog.Logger
}

// Server is the keys of users and devices. It is safe for concurrent use.
type Server struct {
	cfg Config
	// named is how the database's incarnation is named, once that is known.
	named atomic.Pointer[store.Incarnation]
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Journal": cfg.Journal == nil, "Interactive": cfg.Interactive == nil, "Clock": cfg.Clock == nil, "Log": cfg.Log == nil,
	} {
		if missing {
			return nil, errors.New("keys: Config." + name + " is missing")
		}
	}
	return &Server{cfg: cfg}, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }
