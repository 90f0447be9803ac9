// Package contacts is address books on phones: CardDAV at /_roomline/dav/, and what an app needs around it.
//
// Spec: RFC 6352 (CardDAV), RFC 4918 (WebDAV), RFC 6578 (sync-collection), RFC 6764 (discovery), RFC 7617 (Basic)
//
// A user has two address books. The organisation's has the people whom the user may see, own and linked ones, field by field as the link
// says; it can't be written. The personal one is the user's alone.
//
// What holds:
//   - Private contacts are in the database in sealed form only (seal.go), and no route gives them to anybody but their owner, administrators
//     included. Somebody else's path is answered as one that does not exist.
//   - What a client stores is given back byte for byte, unless it asks for another version of vCard.
//   - An entity tag changes with every change, and a sync token names a moment: what was sent once is not sent again until it changes. Personal
//     books count in the transaction that writes; those of organisations by the table directory_entries.
//   - CardDAV is used with app passwords, which are random, one for each device, and end at once on every process: nothing is remembered of them.
//
// Why not go-webdav's handler: it encodes vCards anew, which loses what its decoder does not understand, has no sync-collection, matches with
// case, fetches the objects of a multiget one by one, and its properties can't be added to. Tests use its client, and vdirsyncer.
//
// Start reading at routes.go, then propfind.go and report.go; book.go is what both kinds of address book have in common.
package contacts

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log/slog"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// Config is what a Server is made of. Store, Clock and Log are required.
type Config struct {
	Store *store.Store
	Clock matrix.Clock
	Log   *slog.Logger
	// Rand is crypto/rand if nil.
	Rand io.Reader
	// SealKey encrypts the keys of organisations in the database.
	SealKey [32]byte
	// Limiter counts wrong app passwords; nil counts nothing.
	Limiter *ratelimit.Limiter
	// Domain completes user names without one.
	Domain matrix.ServerName
	// BaseURL is where phones reach the server.
	BaseURL string
	// Certificate signs profiles for phones; without one there are none, unless UnsignedProfiles, which is for trying out.
	Certificate      func() (*tls.Certificate, error)
	UnsignedProfiles bool
}

// Server serves address books.
type Server struct {
	cfg   Config
	store *store.Store
	vault *vault
	cache *cache
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Server{cfg: cfg, store: cfg.Store, vault: &vault{store: cfg.Store, sealKey: cfg.SealKey, rand: cfg.Rand, clock: cfg.Clock}, cache: newCache()}
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// forPeople keeps out those who have no address book: guests, and application services. Suspended people may read.
func forPeople(changes bool, handle httpapi.Handler) httpapi.Handler {
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		switch {
		case c.Requester.Guest || c.Requester.Appservice != "":
			return nil, matrix.Forbidden("only people have address books")
		case changes && c.Requester.Suspended:
			return nil, matrix.UserSuspended()
		}
		return handle(ctx, c)
	}
}
