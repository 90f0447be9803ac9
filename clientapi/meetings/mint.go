package meetings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
)

// MintRequest asks for a token. Whoever asks has made sure that it is this user, and this device.
type MintRequest struct {
	Room   matrix.RoomID
	Slot   string
	User   matrix.UserID
	Device string
	// MemberID is what the client calls its membership. Legacy clients have none: they are known by user and device.
	MemberID string
	Legacy   bool
	// Name is told to the SFU, and by it to everybody in the call; empty for none.
	Name string
}

// Token lets into a room of the SFU.
type Token struct {
	URL, JWT, Identity, Alias string
}

// identity is what the SFU knows the participant by.
//
// Spec: MSC4195, pseudonymous-livekit-participant-identity
func (r *MintRequest) identity() string {
	if r.Legacy {
		return string(r.User) + ":" + r.Device
	}
	return hashOf(string(r.User), r.Device, r.MemberID)
}

// Unavailable says that the SFU is away, or does not answer in time.
func Unavailable() *matrix.Error {
	e := matrix.NewError(http.StatusServiceUnavailable, errUnavailable, "meetings are not available at the moment; messages are")
	e.RetryAfter = 5 * time.Second
	return e
}

const errUnavailable matrix.ErrCode = "ORG.ROOMLINE.MEETINGS_UNAVAILABLE"

// Mint gives a token to who may be in the call: see the package comment.
func (s *Server) Mint(ctx context.Context, r MintRequest) (Token, error) {
	if s.cfg.SFU == nil {
		return Token{}, matrix.Unrecognized()
	}
	alias, identity := s.AliasOf(r.Room, r.Slot), r.identity()
	for range 3 {
		left := s.alive.left(alias, s.cfg.Clock.Now())
		if left <= 0 {
			if err := s.open(ctx, &r, alias); err != nil {
				return Token{}, err
			}
		}
		rights, err := s.take(ctx, &place{MintRequest: r, alias: alias, identity: identity})
		if errors.Is(err, errNoRoom) {
			s.alive.forget(alias)
			continue
		}
		if err != nil {
			return Token{}, err
		}
		if left > 0 && left < limits.CallRoomKnown/2 {
			go s.renew(context.WithoutCancel(ctx), alias)
		}
		jwt, err := s.cfg.SFU.Token(sfu.TokenRequest{Room: alias, Identity: identity, Name: r.Name, Rights: rights, TTL: limits.CallToken})
		if err != nil {
			return Token{}, fmt.Errorf("sign a token: %w", err)
		}
		return Token{URL: s.cfg.SFU.PublicURL(), JWT: jwt, Identity: identity, Alias: alias}, nil
	}
	return Token{}, Unavailable()
}

// open makes the room at the SFU for somebody who may be there.
func (s *Server) open(ctx context.Context, r *MintRequest, alias string) error {
	q := store.RTCQuestion{Room: r.Room, User: r.User, Device: matrix.DeviceID(r.Device)}
	facts, err := s.cfg.Store.GetRTCFacts(ctx, []store.RTCQuestion{q}, s.now())
	if err != nil {
		return fmt.Errorf("ask who may be in a call: %w", err)
	}
	if _, err := s.decide(ctx, q, facts[0], false); err != nil {
		return err
	}
	if err := s.cfg.Store.PutRTCRoom(ctx, store.RTCRoom{Alias: alias, RoomNID: facts[0].RoomNID, SlotID: r.Slot, CreatedTS: s.now()}); err != nil {
		return fmt.Errorf("note a room of the SFU: %w", err)
	}
	return s.makeRoom(ctx, alias, facts[0].OrganisationID)
}

// makeRoom makes a room at the SFU, unless it is there for sure. Those who want the same share one answer, which does not end with the request
// that asked first.
func (s *Server) makeRoom(ctx context.Context, alias string, org int64) error {
	_, err, _ := s.making.Do(alias, func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		now := s.cfg.Clock.Now()
		allowed, err := s.limitsOf(ctx, org)
		if err != nil {
			return nil, err
		}
		_, err = s.cfg.SFU.CreateRoom(ctx, alias, sfu.RoomOptions{
			MaxParticipants: uint32(max(allowed.MaxParticipants, 0)), EmptyTimeout: limits.CallRoomIdle, DepartureTimeout: limits.CallRoomIdle,
		})
		if err != nil {
			s.cfg.Log.Warn("the SFU made no room", "error", err)
			return nil, Unavailable()
		}
		s.alive.note(alias, now.Add(limits.CallRoomKnown))
		return nil, nil
	})
	return err
}

// renew asks the SFU for a room before those who want in have to wait for it.
func (s *Server) renew(ctx context.Context, alias string) {
	if !s.alive.renewing(alias) {
		return
	}
	if err := s.ensureRoom(ctx, alias); err != nil {
		s.alive.forget(alias)
	}
}

// ensureRoom makes a room at the SFU again that it has lost.
func (s *Server) ensureRoom(ctx context.Context, alias string) error {
	room, err := s.cfg.Store.GetRTCRoom(ctx, alias)
	if err != nil {
		return err
	}
	infos, err := s.cfg.Rooms.RoomsByNID(ctx, []int64{room.RoomNID})
	if err != nil || len(infos) == 0 {
		return err
	}
	return s.makeRoom(ctx, alias, infos[0].OrganisationID)
}

// alive is which rooms the SFU has for sure, and until when.
type alive struct {
	mu    sync.Mutex
	rooms map[string]aliveRoom
}

type aliveRoom struct {
	until    time.Time
	renewing bool
}

// left is for how long a room is known to be there.
func (a *alive) left(alias string, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rooms[alias].until.Sub(now)
}

// renewing reports whether nobody renews the room, and says that the caller does.
func (a *alive) renewing(alias string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	room, ok := a.rooms[alias]
	if !ok || room.renewing {
		return false
	}
	room.renewing = true
	a.rooms[alias] = room
	return true
}

func (a *alive) note(alias string, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rooms == nil || len(a.rooms) >= maxRules {
		a.rooms = make(map[string]aliveRoom)
	}
	a.rooms[alias] = aliveRoom{until: until}
}

func (a *alive) forget(alias string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.rooms, alias)
}

// place is one who wants to be let in.
type place struct {
	MintRequest
	alias, identity string

	rights Rights
	err    error
	done   chan struct{}
}

func (p *place) question() store.RTCQuestion {
	return store.RTCQuestion{Room: p.Room, User: p.User, Device: matrix.DeviceID(p.Device), Alias: p.alias, Identity: p.identity}
}

// errNoRoom says that the room of the SFU is not known any more.
var errNoRoom = errors.New("meetings: the room of the SFU is not known")

// take gives a place. Those who ask while others are given theirs are served together.
func (s *Server) take(ctx context.Context, p *place) (Rights, error) {
	p.done = make(chan struct{})
	s.minters.Put(p)
	select {
	case <-p.done:
		return p.rights, p.err
	case <-ctx.Done():
		return Rights{}, ctx.Err()
	}
}

// batchPatience bounds a transaction of the minter.
const batchPatience = 10 * time.Second

func (s *Server) giveAll(batch []*place) {
	ctx, cancel := context.WithTimeout(context.Background(), batchPatience)
	defer cancel()
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return s.give(ctx, tx, batch) })
	for _, p := range batch {
		if err != nil {
			p.err = fmt.Errorf("give places in calls: %w", err)
		}
		close(p.done)
	}
}

// give judges each of the batch and gives places to those who may have one. It may run several times.
func (s *Server) give(ctx context.Context, tx *store.Tx, batch []*place) error {
	questions := make([]store.RTCQuestion, len(batch))
	for i, p := range batch {
		p.err, p.rights = nil, Rights{}
		questions[i] = p.question()
	}
	now := s.now()
	allowed, most := s.limitsFor(ctx, batch)
	facts, err := tx.TakeRTCFacts(ctx, questions, most, now)
	if err != nil {
		return err
	}
	c := counting{s: s, tx: tx, now: now, allowed: allowed, places: map[string]int{}, held: map[[2]string]bool{}, calls: map[int64]int{}}
	var list []store.RTCParticipant
	for i, p := range batch {
		row, err := c.give(ctx, p, facts[i])
		if err != nil {
			return err
		}
		if row != nil {
			list = append(list, *row)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return tx.PutRTCParticipants(ctx, list)
}

// counting is what a batch has given so far.
type counting struct {
	s   *Server
	tx  *store.Tx
	now matrix.Timestamp
	// allowed are the limits by which places were counted.
	allowed map[int64]Limits
	places  map[string]int
	held    map[[2]string]bool
	calls   map[int64]int
}

// limitsFor are the limits of the organisations of a batch, and how many places have to be counted to heed them. A room that cannot be looked
// up is no reason to refuse the others: its own places are counted to the end.
func (s *Server) limitsFor(ctx context.Context, batch []*place) (allowed map[int64]Limits, most int) {
	allowed = make(map[int64]Limits)
	most = 1
	for _, p := range batch {
		room, err := s.cfg.Rooms.Room(ctx, p.Room)
		if err != nil {
			most = math.MaxInt32
			continue
		}
		l, known := allowed[room.OrganisationID]
		if !known {
			if l, err = s.limitsOf(ctx, room.OrganisationID); err != nil {
				most = math.MaxInt32
				continue
			}
			allowed[room.OrganisationID] = l
		}
		most = max(most, l.MaxParticipants)
	}
	return allowed, most
}

// give judges one; an error is ours, what is wrong with the one is p.err. It returns what has to be stored, nil for nothing.
func (c *counting) give(ctx context.Context, p *place, f store.RTCFacts) (*store.RTCParticipant, error) {
	if p.rights, p.err = c.s.decide(ctx, p.question(), f, false); p.err != nil {
		return nil, nil
	}
	if !f.There {
		p.err = errNoRoom
		return nil, nil
	}
	allowed, known := c.allowed[f.OrganisationID]
	if !known {
		var err error
		if allowed, err = c.s.limitsOf(ctx, f.OrganisationID); err != nil {
			return nil, err
		}
	}
	var err error
	if p.err, err = c.count(ctx, p, f, allowed); p.err != nil || err != nil {
		return nil, err
	}
	key := [2]string{p.alias, p.identity}
	if c.held[key] {
		return nil, nil // twice in a batch, with the same rights
	}
	c.held[key] = true
	rights, err := json.Marshal(p.rights)
	if err != nil {
		return nil, err
	}
	expires := c.now + matrix.Timestamp(limits.CallToken.Milliseconds())
	if f.HeldUntil >= expires && bytes.Equal(f.HeldRights, rights) {
		return nil, nil // what is noted says so already
	}
	return &store.RTCParticipant{
		Alias: p.alias, Identity: p.identity, UserID: p.User, DeviceID: matrix.DeviceID(p.Device), MemberID: p.MemberID, Rights: rights,
		TokenExpiresTS: expires + matrix.Timestamp(limits.CallTokenNoted.Milliseconds()),
	}, nil
}

// count takes a place within the organisation's limits.
func (c *counting) count(ctx context.Context, p *place, f store.RTCFacts, allowed Limits) (refusal, err error) {
	if f.EndsTS != 0 && f.EndsTS <= c.now {
		return refused(ReasonOver, "the meeting has used up its time"), nil
	}
	if f.Holds || c.held[[2]string{p.alias, p.identity}] {
		return nil, nil
	}
	n, seen := c.places[p.alias]
	if !seen {
		n = f.Places
	}
	if allowed.MaxParticipants > 0 && n >= allowed.MaxParticipants {
		return refused(ReasonFull, "the meeting is full: %d may take part", allowed.MaxParticipants), nil
	}
	if n == 0 && !f.Started && allowed.MaxConcurrent > 0 {
		calls, seen := c.calls[f.OrganisationID]
		if !seen {
			if err := c.tx.LockCallsOf(ctx, f.OrganisationID); err != nil {
				return nil, err
			}
			if calls, err = c.tx.CountCallsOf(ctx, f.OrganisationID, c.now); err != nil {
				return nil, err
			}
		}
		if c.calls[f.OrganisationID] = calls; calls >= allowed.MaxConcurrent {
			return refused(ReasonTooMany, "the organisation has %d meetings at the moment, which is all that it may have", calls), nil
		}
		c.calls[f.OrganisationID]++
	}
	c.places[p.alias] = n + 1
	return nil, nil
}
