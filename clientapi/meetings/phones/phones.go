// Package phones is meetings by phone: PINs that let a caller in, calls that a member has made, and what all of it may cost.
//
// The telephony bridge knows SIP and the SFU (internal/phone has what is said between it and the server); this package knows who a caller is, and
// where. A phone is in a room as a ghost: a user of the room's organisation without any session, with a membership of the room and of its call like
// anybody else's, so that every client shows it by its name.
//
// Invariants:
//   - A PIN is one invitee's. Of its digits the database has a keyed hash, and a sealed copy for whom it belongs to. No log has a PIN or a number.
//   - Wrong PINs are counted for all processes together, by the call, the caller's number, the trunk, and at all; a PIN that never was and one that is over are
//     answered the same.
//   - A call out is made at most once. What it may cost is set aside before it is made, in the transaction in which it is stored, so that a day's budget is
//     never gone beyond; what was not used is given back when it ends.
//   - Guests have nobody called.
//   - A call belongs to the bridge that has it while that asks for it. When it does not, the call ends: the ghost's membership of the call, then that
//     of the room.
//
// Start reading at bridge.go, then enter.go; dial.go has calls out, guards.go what keeps them from costing too much.
package phones

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/seal"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
)

// Token lets a ghost into a room of the SFU.
type Token struct{ URL, JWT, Identity string }

// Config of a Server. Everything up to SealKey is required.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Rooms   *roomserver.Server
	Clock   matrix.Clock
	Log     *slog.Logger
	// SealKey hashes PINs, and encrypts them for those to whom they belong.
	SealKey [32]byte

	// Limiter counts wrong PINs; nil counts nothing.
	Limiter *ratelimit.Limiter
	Trunks  []Trunk
	Limits  Limits
	// SIP is LiveKit, for trunks that LiveKit SIP has; nil: there are none.
	SIP *sfu.Client
	// Focus is the livekit_service_url that memberships of calls name.
	Focus string
	// Mint gives a ghost a token; nil: there are no meetings.
	Mint func(ctx context.Context, room matrix.RoomID, ghost matrix.UserID, device matrix.DeviceID, name string) (Token, error)
	// Wait lets a ghost knock where those who come from outside wait in a lobby, WaitInside where members do, and says whether it has to wait. nil: nobody
	// waits.
	Wait, WaitInside func(ctx context.Context, room roomserver.Info, ghost matrix.UserID) (bool, error)
	// Consent stores what a ghost answers to a recording; nil: nothing is recorded.
	Consent func(ctx context.Context, room matrix.RoomID, ghost matrix.UserID, answer, means string) error
	// OnPhone is told of users whose own phone has come into a meeting, or left it; it may be nil.
	OnPhone func(matrix.UserID)
	// CloseGhost closes the account of a ghost that calls no more.
	CloseGhost func(ctx context.Context, ghost matrix.UserID) error
}

// Trunk is a connection to a telephone network, as far as the server knows it.
type Trunk struct {
	Name string
	// Domains are of the organisations that it is for; none for all.
	Domains []matrix.ServerName
	Numbers []Number
	// Caller is what called people see. Out: calls go out over it.
	Caller string
	Out    bool
	// LiveKit says that LiveKit SIP has it (sip.go): OutboundTrunk and InboundTrunk are its ids there, InboundTrunk is "create" for one that is made, with
	// the addresses Allowed; empty: no calls go out, or come in.
	LiveKit                     bool
	InboundTrunk, OutboundTrunk string
	Allowed                     []string
}

// Number is one that people call.
type Number struct{ Number, Country, Language string }

// Server is meetings by phone. It is safe for concurrent use.
type Server struct {
	cfg   Config
	pins  seal.Sealer
	calls seal.Sealer
	hash  []byte
	bell  wake.Bell
	// changed says that a ghost's membership has.
	changed  chan struct{}
	cleaning chan struct{} // has an entry for each ghost that is being taken out
	stop     chan struct{}
	stopOnce sync.Once
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Journal == nil || cfg.Rooms == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("phones: a field of Config is missing")
	}
	s := &Server{cfg: cfg, changed: make(chan struct{}, 1), cleaning: make(chan struct{}, cleaners), stop: make(chan struct{})}
	var err error
	if s.pins, err = seal.New(cfg.SealKey, "roomline phone PINs"); err != nil {
		return nil, err
	}
	if s.calls, err = seal.New(cfg.SealKey, "roomline phone calls"); err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, cfg.SealKey[:])
	mac.Write([]byte("hashes of phone PINs"))
	s.hash = mac.Sum(nil)
	cfg.Journal.Observe(s.observe)
	return s, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// since is the time between two moments.
func since(from, to matrix.Timestamp) time.Duration { return time.Duration(to-from) * time.Millisecond }

// trunk is the one with a name, or nil.
func (s *Server) trunk(name string) *Trunk {
	for i := range s.cfg.Trunks {
		if s.cfg.Trunks[i].Name == name {
			return &s.cfg.Trunks[i]
		}
	}
	return nil
}

// serves reports whether a trunk is for an organisation with these domains.
func (t *Trunk) serves(domains []store.HostedDomain) bool {
	return len(t.Domains) == 0 || slices.ContainsFunc(domains, func(d store.HostedDomain) bool { return slices.Contains(t.Domains, d.ServerName) })
}

// trunksOf are the trunks that an organisation has.
func (s *Server) trunksOf(ctx context.Context, from reader, org int64) ([]*Trunk, error) {
	if len(s.cfg.Trunks) == 0 {
		return nil, nil
	}
	domains, err := from.ListOrganisationDomains(ctx, org)
	if err != nil {
		return nil, err
	}
	var list []*Trunk
	for i := range s.cfg.Trunks {
		if t := &s.cfg.Trunks[i]; t.serves(domains) {
			list = append(list, t)
		}
	}
	return list, nil
}

// tooMany says when there may be one more.
func tooMany(after time.Duration, format string, a ...any) *matrix.Error {
	e := matrix.LimitExceeded(after)
	e.Message = matrix.Forbidden(format, a...).Message
	return e
}
