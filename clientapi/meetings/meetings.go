// Package meetings lets people into calls: the server itself is what authorises them at the SFU (LiveKit), so that who may be in the call is
// who may be in the room.
//
// Invariants:
//   - There is one function that says whether a device may be in the calls of a room, and with which rights: Entitled (entitled.go). Whoever
//     mints a token or looks again later asks it.
//   - What it is asked before a token, and the place that the token takes, are one transaction (mint.go): of those who ask at the same time on
//     any processes as many get in as the organisation's limits allow.
//   - The SFU makes no rooms by itself. Its room is made before a token for it is given, and outlives every token.
//   - A token holds for limits.CallToken, for one room, one identity, and what the person may do there; the identity names user and device.
//   - Who is not in the room is told the same as of a room that does not exist.
//
// Start reading at entitled.go, then mint.go.
package meetings

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/roomline/roomline/internal/batch"
	"github.com/roomline/roomline/internal/fedclient"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// CallDefaultSlot is the slot of a room's call. Clients that know of no slots mean this one.
const CallDefaultSlot = "m.call#ROOM"

// Limits are what an organisation allows its calls; 0 is no limit.
type Limits struct {
	// Enabled says that there are calls in the organisation's rooms.
	Enabled bool
	// MaxParticipants is for one call, MaxConcurrent how many calls there may be at a time, MaxMinutes how long one may take.
	MaxParticipants, MaxConcurrent, MaxMinutes int
	// Lobby is who waits in meetings that do not say it themselves.
	Lobby string
	// GuestsShareScreen says that guests may share their screens.
	GuestsShareScreen bool
}

// Config of a Server. Everything up to Key is required.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Rooms   *roomserver.Server
	Clock   matrix.Clock
	Log     *slog.Logger
	// Key makes the aliases of rooms at the SFU: who runs the SFU cannot tell which rooms they are.
	Key []byte

	// SFU is where the media goes; nil switches meetings off.
	SFU *sfu.Client
	// BaseURL is where clients reach the server.
	BaseURL string
	// IsLocal says which domains are ours.
	IsLocal func(matrix.ServerName) bool
	// Limits are an organisation's; nil where everything is allowed.
	Limits func(ctx context.Context, org int64) (Limits, error)
	// Others reaches other servers; nil where they are not asked.
	Others *fedclient.Client
	// SendDelayed sends a delayed event now (delegate.go).
	SendDelayed func(ctx context.Context, delayID string) error
	// OnEgress is told what the SFU says of recordings; nil where nobody listens.
	OnEgress func(ctx context.Context, e sfu.Egress) error
	// OnPhone is told of phones that LiveKit SIP has brought; nil where nobody listens.
	OnPhone func(room string, p sfu.Participant)
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Server authorises participants of calls. It is safe for concurrent use.
type Server struct {
	cfg  Config
	bits string
	// attend are asked of who is not in the room.
	attend []Attendance

	rules    rules
	allowed  allowances
	alive    alive
	minters  *batch.Queue[*place]
	making   singleflight.Group
	restrict []Restriction
	// delegate takes over the delayed event that ends a membership; nil takes over none.
	delegate func(ctx context.Context, r MintRequest, t Token, delayID string, timeout time.Duration) error
	live     live
	webhooks webhooks
}

// Restriction takes rights away that a person would have, or refuses with a *matrix.Error.
type Restriction func(ctx context.Context, room int64, user matrix.UserID, r *Rights) error

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Journal == nil || cfg.Rooms == nil || cfg.Clock == nil || cfg.Log == nil || len(cfg.Key) == 0 {
		return nil, errors.New("meetings: a field of Config is missing")
	}
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	s := &Server{cfg: cfg, bits: base64.RawStdEncoding.EncodeToString(cfg.Key)}
	s.minters = batch.New(limits.CallBatch, s.giveAll)
	s.live.init()
	s.delegate = s.takeOver
	if cfg.Metrics != nil && s.On() {
		if err := cfg.Metrics.Register(newCollector(s)); err != nil {
			return nil, fmt.Errorf("meetings: %w", err)
		}
	}
	return s, nil
}

// On reports whether there are meetings.
func (s *Server) On() bool { return s.cfg.SFU != nil }

// Restrict adds a restriction that Entitled heeds. It is called before anything is served.
func (s *Server) Restrict(r Restriction) { s.restrict = append(s.restrict, r) }

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// AliasOf is what the SFU calls a slot of a room.
//
// Spec: MSC4195, livekit-room-alias
func (s *Server) AliasOf(room matrix.RoomID, slot string) string {
	return hashOf(string(room), slot, s.bits)
}

// Alias is AliasOf for the number of a room.
func (s *Server) Alias(ctx context.Context, roomNID int64, slot string) (string, error) {
	rooms, err := s.cfg.Rooms.RoomsByNID(ctx, []int64{roomNID})
	if err != nil {
		return "", err
	}
	if len(rooms) == 0 {
		return "", matrix.NotFound("room not found")
	}
	return s.AliasOf(rooms[0].ID, slot), nil
}

// Present is who is in the calls of a room, by the SFU's word.
func (s *Server) Present(ctx context.Context, roomNID int64) ([]store.RTCParticipant, error) {
	return s.cfg.Store.ListRTCPresent(ctx, roomNID)
}

// hashOf is the unpadded base64 of the SHA-256 of a list of strings in canonical JSON.
//
// Spec: MSC4195, canonical-json-serialization
func hashOf(parts ...string) string {
	raw, err := json.Marshal(parts)
	if err == nil {
		raw, err = strictjson.Canonical(append(append([]byte(`{"a":`), raw...), '}'))
	}
	if err != nil {
		panic("meetings: a list of strings is no JSON: " + err.Error()) // the strings have been through the strict decoder
	}
	sum := sha256.Sum256(raw[len(`{"a":`) : len(raw)-1])
	return base64.RawStdEncoding.EncodeToString(sum[:])
}
