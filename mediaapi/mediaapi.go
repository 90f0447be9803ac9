// Package mediaapi is the content repository: files, voice messages, pictures and what is made of them.
//
// Spec: client-server v1.19 §content-repository; MSC3911, MSC4335, MSC4452
//
// Three things are kept apart. An object (media_objects) is bytes in the store, under a key that says nothing; it is noted in the database
// before its first byte is written and forgotten after its last one is removed, so that whatever a crash leaves is found again. Media
// (media) is what an mxc:// URI stands for: an object, who uploaded it, and what it is called; several may have one object, within an
// organisation. Links (media_links) say what media hangs on: events and profiles.
//
// Links are the law. Whoever may see an event may see its media, and nobody else (roomserver.MaySeeMedia); when the last link goes, by a
// redaction or a new avatar, the media goes, and with the last media the bytes, their thumbnails, and everything that was kept of them.
// Redactions take links away in the transaction that stores them; the sweeper (sweep.go), which runs on one process at a time, does the
// rest within seconds and leaves a signed receipt of each deletion. What was uploaded and never linked expires.
//
// Invariants:
//   - No URI is given out before its bytes are durable (except those of POST create, which say so).
//   - The row of media goes before the bytes do, so that all processes stop serving it at once: nothing of media is cached in memory.
//   - Content is shared within an organisation, never across: that somebody has the same file is told to nobody.
//   - "There is no such media" and "it is not yours" are one answer.
//
// Start reading at routes.go, then upload.go and download.go.
package mediaapi

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi/blob"
	"github.com/roomline/roomline/mediaapi/preview"
	"github.com/roomline/roomline/mediaapi/scan"
	"github.com/roomline/roomline/roomserver"
)

// Config of a Server. Store, Journal, Blobs, Rooms, Sign, Clock and Log are required.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Blobs   blob.Store
	Rooms   *roomserver.Server
	// Sign signs canonical JSON with the present key of a hosted domain.
	Sign  func(domain matrix.ServerName, canonical []byte) (signed []byte, err error)
	Clock matrix.Clock
	Log   *slog.Logger

	// Defaults are for organisations that have decided nothing else.
	Defaults Policy
	// GuestLimits bound what a guest of an organisation uploads; nil for as much as others.
	GuestLimits func(ctx context.Context, org int64) (GuestLimits, error)
	// Retention is how long media is kept, by its kind, where an organisation has not decided; kinds that are missing are kept.
	Retention map[string]time.Duration
	// Previews says for whom pages are fetched; Fetcher fetches them, and may be nil if that is for nobody.
	Previews PreviewMode
	Fetcher  *preview.Fetcher
	// PreviewDomains are those of the deployment; an organisation can only add to what is left out.
	PreviewDomains Domains
	// Scanner judges uploads, if there is one. AcceptOversize takes files that are too large for it unjudged.
	Scanner        *scan.Clamd
	AcceptOversize bool
	// UnusedFor is how long media is kept that hangs on nothing.
	UnusedFor time.Duration
	// UnauthenticatedUntil: media from before may be fetched without an access token. 0: none.
	UnauthenticatedUntil matrix.Timestamp
	// Presigned sends clients that allow it to the store itself.
	Presigned bool
	// QuotaInfoURL is where users are sent who have used their quota up.
	QuotaInfoURL string
}

// GuestLimits bound a file of a guest, all files of a guest in bytes, and their number; 0 is no bound beyond those for others.
type GuestLimits struct {
	Upload, Bytes, Files int64
}

// Server is the content repository. It is safe for concurrent use.
type Server struct {
	cfg Config
	// thumbnails lets one request make a thumbnail that several ask for.
	thumbnails singleflight.Group
	// swept says that there may be something for the sweeper.
	swept chan struct{}
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, swept: make(chan struct{}, 1)}
	cfg.Journal.Observe(s.observe)
	return s
}

// Run sweeps and follows the journal until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { s.runSweeper(ctx) })
	parts.Go(func() { s.runFollower(ctx) })
	parts.Wait()
	return nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// wakeSweeper tells the sweeper of this process, if it runs here; elsewhere it looks by itself.
func (s *Server) wakeSweeper() {
	select {
	case s.swept <- struct{}{}:
	default:
	}
}

// newID is a random name of 32 letters and digits: 160 bits.
func newID() string {
	var b [20]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// newKey is the key of a new object.
func newKey(org int64) string { return "o/" + strconv.FormatInt(org, 10) + "/" + newID() }

// noSuchMedia is also said of media that the asker may not see.
func noSuchMedia() *matrix.Error { return matrix.NotFound("there is no such media") }

// storeError turns an error of the store into what a client is told.
func storeError(err error) error {
	if _, ok := matrix.AsError(err); ok || err == nil {
		return err
	}
	if errors.Is(err, blob.ErrFull) {
		return matrix.NewError(http.StatusInsufficientStorage, matrix.ErrUnknown, "the media store is full")
	}
	u, ok := errors.AsType[interface {
		error
		Unavailable() bool
	}](err)
	if ok && u.Unavailable() && !store.IsUnavailable(err) {
		e := matrix.Unavailable(storeRetry)
		e.Message = "the media store is not reachable; try again"
		return e
	}
	return err
}

// storeRetry is when to come back to a store that is away.
const storeRetry = 5 * time.Second

// viewer is who sends the request, as the room server wants to know it.
func viewer(c *httpapi.Call) roomserver.Viewer {
	if c.Requester == nil {
		return roomserver.Viewer{}
	}
	return roomserver.Viewer{User: c.Requester.User, OrganisationID: c.Requester.Org, Guest: c.Requester.Guest}
}
