// Package roomserver is what a room is: its events, its state, who may do what in it and who may see it. It knows nothing
// of HTTP.
//
// Every event enters a room through one function, append (append.go). It builds the event on the room's head, checks it
// against the room's state, signs it and hands it to the journal. No other code stores or signs events.
//
// Rooms are optimistic. A process keeps the head of each active room in memory together with the state that it came across
// (tip.go), and builds on that. The journal's transaction compares the head: when another process has moved it, the
// unit is built again on the new head. Nothing else is locked across processes, and a handler holds no lock while it waits.
//
// The state of a room at any position is a range of the table room_state: since <= position < until. A room's history made
// here is one line, so a snapshot is a position, and a state change costs one row whatever the size of the room. Chains of
// deltas with snapshots in between were considered: with 100,000 members each snapshot is 100,000 rows, or each read walks
// the chain. An event from a fork (federation) differs from the line at its position by a handful of entries; these
// are stored with the event when federation comes.
//
// Start reading at append.go, then tip.go.
package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
	"github.com/roomline/roomline/roomserver/signing"
)

// Config of a Server. All fields are required.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Keys    *signing.Keys
	Clock   matrix.Clock
	Log     *slog.Logger
	// Profile is what a user's membership events say of the user.
	Profile func(ctx context.Context, user matrix.UserID) (Profile, error)
	// Deletion is who may delete what, where neither the organisation nor the room has decided. All its fields are required.
	Deletion DeletionPolicy
}

// Profile is the part of a user's profile that stands in membership events.
type Profile struct {
	DisplayName, AvatarURL string
	// Guest is the mark of a guest, as JSON, or nil.
	Guest json.RawMessage
}

// GuestKey is the key of a guest's mark, in profiles and in the content of member events.
const GuestKey = "org.roomline.guest"

// Server is the room server. It is safe for concurrent use.
type Server struct {
	cfg Config

	mu    sync.Mutex
	infos map[matrix.RoomID]Info
	tips  *tips
	// parents and roots are what is remembered of relations between events.
	parents *parents
	roots   roots
	// locked holds a place for each room that is locked in the database.
	locked chan struct{}
}

// New returns a room server; it must be made before the journal runs.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, infos: make(map[matrix.RoomID]Info), tips: newTips(), locked: make(chan struct{}, maxLocked)}
	s.parents = newParents(cfg.Journal)
	cfg.Journal.Observe(s.tips.observe)
	cfg.Journal.Observe(s.parents.observe)
	return s
}

// Info is what never changes about a room.
type Info struct {
	NID            int64
	ID             matrix.RoomID
	Version        event.Version
	OrganisationID int64
}

// maxInfos bounds the memory of rooms that were looked up; it is emptied when full.
const maxInfos = 50_000

// Room returns a room, or M_NOT_FOUND.
func (s *Server) Room(ctx context.Context, id matrix.RoomID) (Info, error) {
	s.mu.Lock()
	info, ok := s.infos[id]
	s.mu.Unlock()
	if ok {
		return info, nil
	}
	row, err := s.cfg.Store.GetRoom(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Info{}, matrix.NotFound("room not found")
	}
	if err != nil {
		return Info{}, fmt.Errorf("load room %s: %w", id, err)
	}
	if info, err = infoOf(row); err != nil {
		return Info{}, err
	}
	s.remember(info)
	return info, nil
}

func infoOf(row store.Room) (Info, error) {
	version, ok := event.Lookup(row.Version)
	if !ok {
		return Info{}, fmt.Errorf("room %s has the unknown version %q", row.ID, row.Version)
	}
	return Info{NID: row.NID, ID: row.ID, Version: version, OrganisationID: row.OrganisationID}, nil
}

func (s *Server) remember(info Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.infos) >= maxInfos {
		clear(s.infos)
	}
	s.infos[info.ID] = info
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }
