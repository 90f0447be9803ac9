// Package clientapi is /_matrix/client and what else a person's client speaks.
//
// Spec: client-server v1.19
//
// routes.go lists every endpoint in the spec's order: start reading there. A file is a chapter of the spec: request and response
// structs, handlers, and what they alone need. Handlers parse and check what came in, ask auth, the store or the roomserver, and
// form the answer; a rule about rooms is never here.
package clientapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/delayed"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/keys"
	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/clientapi/push"
	"github.com/roomline/roomline/clientapi/search"
	"github.com/roomline/roomline/clientapi/sso"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

// Config is what a Server is made of. Everything up to LeaveRooms is required.
type Config struct {
	Store       *store.Store
	Journal     *journal.Journal
	Rooms       *roomserver.Server
	Accounts    *auth.Accounts
	Sessions    *auth.Sessions
	Interactive *auth.Interactive
	Clock       matrix.Clock
	Log         *slog.Logger

	// PropagateProfile puts a user's new display name and avatar into the member events of the rooms the user has joined.
	PropagateProfile func(ctx context.Context, user matrix.UserID) error
	// LeaveRooms takes a user out of every room, and turns down every invitation.
	LeaveRooms func(ctx context.Context, user matrix.UserID) error

	// MayKnock refuses whom the lobby of a room has no place for; nil refuses nobody.
	MayKnock func(ctx context.Context, user matrix.UserID, room matrix.RoomID) error
	// RegisterGuest makes a guest whom nobody has invited, or refuses to; MayVisit says whether a guest may join a room without an invite. nil where
	// there are no such guests.
	RegisterGuest func(ctx context.Context, c *httpapi.Call, deviceName string) (any, error)
	MayVisit      func(ctx context.Context, who *httpapi.Requester, room matrix.RoomID) (bool, error)
	// Presence is shared with sync; one of its own if nil.
	Presence *presence.Server
	// Push is shared with sync; one of its own if nil.
	Push *push.Server
	// Rand is crypto/rand if nil.
	Rand         io.Reader
	Registration RegistrationConfig
	WellKnown    WellKnownConfig
	// SSO is signing in through OpenID providers. Providers, Allowed and HTTP are set; the rest comes from this Config.
	SSO sso.Config
	// Limiter holds back what routes can't count; nil lets everything through.
	Limiter *ratelimit.Limiter
	// SearchPatience is how long a search waits for the index: 1 s if zero. Longer in tests only.
	SearchPatience time.Duration
	// MaxDelay and MaxScheduled bound delayed events (MSC4140). Without them there are none.
	MaxDelay     time.Duration
	MaxScheduled int
	// DefaultRoomVersion is that of rooms for which the client names none; the spec's default if empty.
	DefaultRoomVersion string
	// Appservice says what the application service called id may do with accounts; nil where there are none.
	Appservice func(id string) (domain matrix.ServerName, covers func(matrix.UserID) bool, ok bool)
	// MaySignIn reports whether the application service called id may sign a user in.
	MaySignIn func(ctx context.Context, id string, user matrix.UserID) (bool, error)
	// QueryUser asks the application service that a user id belongs to for a user whom nobody has made, as somebody of an organisation;
	// QueryAlias does so for an alias, and reports whether it was made.
	QueryUser  func(ctx context.Context, org int64, user matrix.UserID) error
	QueryAlias func(ctx context.Context, alias matrix.RoomAlias) (bool, error)
	// MayName reports whether the application service called id, or somebody else when id is empty, may make an alias; nil where there is
	// no application service.
	MayName func(id string, alias matrix.RoomAlias) bool
	// Serves reports whether a user is an application service's that is there for people of all organisations: everybody may invite it. Nil where
	// there is none.
	Serves func(user matrix.UserID) bool
	// PrivateContacts finds people in a user's own address book; nil where there are none.
	PrivateContacts func(ctx context.Context, user matrix.UserID, query people.Query, limit int) ([]people.Card, error)
	// MayPreview reports whether an organisation's members may ask what is behind a link; nil if nobody may.
	MayPreview func(ctx context.Context, org int64) (bool, error)
	// TURN relays calls between two.
	TURN          TURNConfig
	ServerNotices ServerNoticesConfig
	// Invitations asks people outside into rooms; nil where nobody may.
	Invitations *invitations.Server
	// MayDeactivate reports whether an organisation lets people close their own accounts; nil if none does.
	MayDeactivate func(ctx context.Context, org int64) (bool, error)
	// DeleteOwn closes the requester's account and erases what was the requester's; if nil, it is only noted that this was asked for.
	DeleteOwn func(ctx context.Context, c *httpapi.Call) error
	// Verifier sends codes to addresses; one that sends none if nil. MayChangeThreePIDs reports whether somebody of an organisation may add
	// and remove addresses; nil if nobody may.
	Verifier           *verify.Verifier
	MayChangeThreePIDs func(ctx context.Context, org int64, user matrix.UserID) (bool, error)
	// PublicProfiles lets anybody look up profiles, without an access token.
	PublicProfiles bool
	// DirectoryOfRooms lets the user directory have of the own organisation only those whom one shares a room with, or who are in rooms that are published
	// or that anybody of it may join or read.
	DirectoryOfRooms bool
}

// Server serves the client-server API.
type Server struct {
	cfg         Config
	store       *store.Store
	journal     *journal.Journal
	rooms       *roomserver.Server
	accounts    *auth.Accounts
	sessions    *auth.Sessions
	interactive *auth.Interactive
	verifier    *verify.Verifier
	presence    *presence.Server
	keys        *keys.Server
	search      *search.Server
	delayed     *delayed.Server
	sso         *sso.Server
	push        *push.Server
	typists     *typists
	// directorySizes is shared by the requests.
	directorySizes directorySizes
	clock          matrix.Clock
	rand           io.Reader
	log            *slog.Logger
}

// complete says what is missing, and fills in what has a default.
func (cfg *Config) complete() error {
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Journal": cfg.Journal == nil, "Accounts": cfg.Accounts == nil, "Sessions": cfg.Sessions == nil,
		"Interactive": cfg.Interactive == nil, "Clock": cfg.Clock == nil, "Log": cfg.Log == nil,
		"PropagateProfile": cfg.PropagateProfile == nil, "LeaveRooms": cfg.LeaveRooms == nil,
	} {
		if missing {
			return errors.New("clientapi: Config." + name + " is missing")
		}
	}
	if cfg.DefaultRoomVersion == "" {
		cfg.DefaultRoomVersion = event.Default
	}
	if _, ok := event.Lookup(cfg.DefaultRoomVersion); !ok {
		return fmt.Errorf("default_room_version: there is no room version %q", cfg.DefaultRoomVersion)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if err := cfg.Registration.check(); err != nil {
		return err
	}
	if cfg.Presence == nil {
		cfg.Presence = presence.New(presence.Config{Store: cfg.Store, Journal: cfg.Journal, Clock: cfg.Clock, Log: cfg.Log})
	}
	if cfg.Push == nil {
		cfg.Push = push.New(push.Config{Store: cfg.Store, Journal: cfg.Journal, Clock: cfg.Clock, Log: cfg.Log})
	}
	if cfg.Verifier == nil {
		key := make([]byte, 32)
		if _, err := io.ReadFull(cfg.Rand, key); err != nil {
			return fmt.Errorf("make a key: %w", err)
		}
		var err error
		if cfg.Verifier, err = verify.New(verify.Config{Store: cfg.Store, Clock: cfg.Clock, Key: key}); err != nil {
			return err
		}
	}
	return nil
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	deviceKeys, err := keys.New(keys.Config{Store: cfg.Store, Journal: cfg.Journal, Interactive: cfg.Interactive, Clock: cfg.Clock, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	s := &Server{
		keys: deviceKeys, presence: cfg.Presence, push: cfg.Push, typists: newTypists(cfg.Store, cfg.Journal, cfg.Clock, cfg.Log),
		cfg: cfg, store: cfg.Store, journal: cfg.Journal, rooms: cfg.Rooms, accounts: cfg.Accounts, sessions: cfg.Sessions, interactive: cfg.Interactive, verifier: cfg.Verifier,
		clock: cfg.Clock, rand: cfg.Rand, log: cfg.Log,
	}
	s.delayed = delayed.New(delayed.Config{
		Store: cfg.Store, Log: cfg.Log, Send: s.sendDelayed, Limiter: cfg.Limiter, Rand: cfg.Rand, MaxDelay: cfg.MaxDelay, MaxScheduled: cfg.MaxScheduled,
	})
	cfg.SSO.Store, cfg.SSO.Accounts, cfg.SSO.Clock, cfg.SSO.Log = cfg.Store, cfg.Accounts, cfg.Clock, cfg.Log
	cfg.SSO.BaseURL = cfg.WellKnown.BaseURL
	cfg.SSO.LoginToken = func(ctx context.Context, user matrix.UserID) (string, error) {
		return s.newLoginToken(ctx, user, 0, limits.SSOLoginToken)
	}
	if s.sso, err = sso.New(cfg.SSO); err != nil {
		return nil, err
	}
	s.search = search.New(search.Config{
		Store: cfg.Store, Journal: cfg.Journal, Rooms: cfg.Rooms, Clock: cfg.Clock, Log: cfg.Log, Ignored: s.ignored, IndexPatience: cfg.SearchPatience,
	})
	return s, nil
}

// SendDelayedEvent sends a delayed event now.
func (s *Server) SendDelayedEvent(ctx context.Context, delayID string) error {
	return s.delayed.SendNow(ctx, delayID)
}

// Run does what has its time, until ctx ends: it stops typing notifications that are over, sends delayed events, and keeps the
// directories and the index of messages up to date.
func (s *Server) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	var errs [5]error
	for i, part := range []func(context.Context) error{s.typists.run, s.delayed.Run, s.runDirectory, s.keys.Run, s.search.Run} {
		parts.Go(func() { errs[i] = part(ctx) })
	}
	parts.Wait()
	return errors.Join(errs[:]...)
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.clock.Now()) }

// empty is an answer that says nothing but that it worked.
type empty struct{}
