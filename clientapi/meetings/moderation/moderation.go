// Package moderation is how a meeting is led: who has to wait to be let in (the lobby), and what its moderators do to those who are in it.
//
// A meeting is a room, and a moderator is whoever has power level 50 in it. What a moderator does is an event of the room wherever there is
// one for it (a knock that is answered, a kick, power levels, org.roomline.meeting); the SFU is told what follows from it.
//
// Invariants:
//   - Nobody acts on somebody with as much power, and nobody gives more than they have.
//   - Whoever waits has knocked, as the specification has it, and is told nothing but what it tells those who knock. A client that answers a
//     knock by inviting lets people in as the lobby's own endpoints do.
//   - An action that is asked for again does what is left of it.
//
// Start reading at lobby.go, then act.go and people.go.
package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

// ModeratorLevel is the power that leading a meeting needs.
const ModeratorLevel = 50

// SFU is what is asked of the media server.
type SFU interface {
	Participants(ctx context.Context, alias string) ([]sfu.Participant, error)
	Mute(ctx context.Context, alias, identity string, source sfu.Source, muted bool) error
	Update(ctx context.Context, alias, identity string, rights sfu.Rights) error
}

// Config of a Server. Everything up to CheckUser is required but SFU.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Rooms   *roomserver.Server
	Clock   matrix.Clock
	Log     *slog.Logger
	// IsLocal says whether the users of a domain are ours.
	IsLocal func(matrix.ServerName) bool

	Calls *meetings.Server
	// SFU is nil where there are no meetings.
	SFU SFU
	// EndRoom has the calls of a room ended, CheckUser the rights of a user in calls looked at: the SFU is told when it answers.
	EndRoom   func(ctx context.Context, roomNID int64) error
	CheckUser func(ctx context.Context, user matrix.UserID) error
	// Meeting and Recording are what the meeting is, and whether it is recorded.
	Meeting, Recording func(ctx context.Context, c *httpapi.Call, room roomserver.Info) (any, error)
	// BeforeEnd is done before a meeting is ended for all.
	BeforeEnd []func(ctx context.Context, room roomserver.Info, actor string) error
}

// Server leads meetings. It is safe for concurrent use.
type Server struct {
	cfg Config
	// woken says that somebody who knocked was invited.
	woken chan struct{}
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Journal == nil || cfg.Rooms == nil || cfg.Clock == nil || cfg.Log == nil || cfg.IsLocal == nil || cfg.Calls == nil || cfg.EndRoom == nil || cfg.CheckUser == nil {
		return nil, errors.New("moderation: a field of Config is missing")
	}
	s := &Server{cfg: cfg, woken: make(chan struct{}, 1)}
	cfg.Journal.Observe(s.observe)
	return s, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// hall is a room with somebody in it who does something.
type hall struct {
	roomserver.Info
	rules *event.Rules
	// user acts, with this power.
	user  matrix.UserID
	level int64
	actor string
	ip    string
}

func notInRoom() *matrix.Error { return matrix.Forbidden("you are not in this room") }

// enter is the room of a request whose requester is in it.
func (s *Server) enter(ctx context.Context, c *httpapi.Call) (*hall, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	room, err := s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return nil, notInRoom()
	}
	if err != nil {
		return nil, err
	}
	m, err := s.membership(ctx, room, c.Requester.User)
	if err != nil {
		return nil, err
	}
	if m.Membership != spec.Join {
		return nil, notInRoom()
	}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return nil, err
	}
	return &hall{
		Info: room, rules: rules, user: c.Requester.User, level: rules.UserLevel(c.Requester.User), actor: c.Requester.Actor(), ip: c.ClientAddr(),
	}, nil
}

// lead is enter for a moderator.
func (s *Server) lead(ctx context.Context, c *httpapi.Call) (*hall, error) {
	if err := c.Requester.MayAct(); err != nil {
		return nil, err
	}
	h, err := s.enter(ctx, c)
	if err != nil {
		return nil, err
	}
	if h.level < ModeratorLevel {
		return nil, matrix.Forbidden("leading a meeting needs power level %d", ModeratorLevel)
	}
	return h, nil
}

// over refuses to act on whoever has as much power.
func (h *hall) over(user matrix.UserID) error {
	if user != h.user && h.rules.UserLevel(user) >= h.level {
		return matrix.Forbidden("%s has as much power as you", user)
	}
	return nil
}

// membership is the zero value for who never had one.
func (s *Server) membership(ctx context.Context, room roomserver.Info, user matrix.UserID) (store.Membership, error) {
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return m, fmt.Errorf("load membership of %s: %w", room.ID, err)
	}
	return m, nil
}

// content is the content of a state event, an empty object if there is none.
func (s *Server) content(ctx context.Context, room roomserver.Info, typ string) (map[string]any, error) {
	e, err := s.cfg.Store.GetStateEvent(ctx, room.NID, store.CurrentState, typ, "")
	if errors.Is(err, store.ErrNotFound) {
		return map[string]any{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load %s of %s: %w", typ, room.ID, err)
	}
	var whole struct {
		Content map[string]any `json:"content"`
	}
	if err := json.Unmarshal(e.JSON, &whole); err != nil {
		return nil, fmt.Errorf("stored %s of %s: %w", typ, room.ID, err)
	}
	if whole.Content == nil {
		whole.Content = map[string]any{}
	}
	return whole.Content, nil
}

// change changes how the meeting is held.
func (s *Server) change(ctx context.Context, h *hall, change func(content map[string]any) error) error {
	return s.cfg.Rooms.ChangeState(ctx, roomserver.StateChange{Room: h.ID, Sender: h.user, Type: meetings.StateType, Change: change})
}

// userOf reads whom an action is about.
func userOf(text string) (matrix.UserID, error) {
	if text == "" {
		return "", matrix.MissingParam("user_id is missing")
	}
	user, err := matrix.ParseUserID(text)
	if err != nil {
		return "", matrix.InvalidParam("user_id is not a user id")
	}
	return user, nil
}
