package meetings

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// reasonKey is where a refusal says why, for those who may know.
const reasonKey = "org.roomline.reason"

// Reasons of refusals.
const (
	ReasonDisabled  = "meetings_disabled"
	ReasonSuspended = "suspended"
	ReasonWaiting   = "waiting"
	ReasonLocked    = "meeting_locked"
	ReasonFull      = "meeting_full"
	ReasonTooMany   = "too_many_meetings"
	ReasonOver      = "too_long"
)

func refused(reason, format string, a ...any) *matrix.Error {
	return matrix.Forbidden(format, a...).With(reasonKey, reason)
}

// notThere is for everybody who is not in the room, whether there is one or not.
func notThere() *matrix.Error { return matrix.Forbidden("you are not in this room") }

// Entitled says whether a device of a user may enter the calls of a room at this moment, and with which rights; a *matrix.Error says why not.
// device is empty for whoever has none. How many may be there is not asked: Mint does, with the place that it gives.
func (s *Server) Entitled(ctx context.Context, room matrix.RoomID, user matrix.UserID, device string) (Rights, error) {
	return s.judge(ctx, room, user, device, false)
}

// judge is Entitled for somebody who enters, or who is present: what keeps people from entering puts nobody out.
func (s *Server) judge(ctx context.Context, room matrix.RoomID, user matrix.UserID, device string, present bool) (Rights, error) {
	facts, err := s.cfg.Store.GetRTCFacts(ctx, []store.RTCQuestion{{Room: room, User: user, Device: matrix.DeviceID(device)}}, s.now())
	if err != nil {
		return Rights{}, fmt.Errorf("ask who may be in a call: %w", err)
	}
	return s.decide(ctx, store.RTCQuestion{Room: room, User: user, Device: matrix.DeviceID(device)}, facts[0], present)
}

// decide judges by what the database says.
func (s *Server) decide(ctx context.Context, q store.RTCQuestion, f store.RTCFacts, present bool) (Rights, error) {
	if err := s.admitAccount(q.User, string(q.Device), f); err != nil {
		return Rights{}, err
	}
	if f.Membership == "knock" {
		return Rights{}, refused(ReasonWaiting, "somebody in the meeting has to let you in")
	}
	if f.RoomNID != 0 && f.Membership != "join" {
		return s.attending(ctx, f, q.User)
	}
	if f.RoomNID == 0 {
		return Rights{}, notThere()
	}
	allowed, err := s.limitsOf(ctx, f.OrganisationID)
	if err != nil {
		return Rights{}, err
	}
	if !allowed.Enabled { // nobody is refused for what was so a moment ago
		if allowed, err = s.limitsNow(ctx, f.OrganisationID); err != nil {
			return Rights{}, err
		}
	}
	if !allowed.Enabled {
		return Rights{}, refused(ReasonDisabled, "there are no meetings in this organisation")
	}
	says, err := s.rules.of(ctx, s.cfg.Store, q.Room, f)
	if err != nil {
		return Rights{}, err
	}
	level := says.levels.UserLevel(q.User)
	if says.state.Locked && !present && !f.InCall && level < Moderator {
		return Rights{}, refused(ReasonLocked, "the meeting is locked")
	}
	r := rightsOf(level, says.state.Publish, f, allowed)
	if isPhone(q.User, f) {
		keep(&r, sfu.Microphone)
		r.Data = false
	}
	for _, restrict := range s.restrict {
		if err := restrict(ctx, f.RoomNID, q.User, &r); err != nil {
			return Rights{}, err
		}
	}
	return r, nil
}

// admitAccount refuses accounts and devices that may do nothing, whatever the room says.
func (s *Server) admitAccount(user matrix.UserID, device string, f store.RTCFacts) error {
	if !f.Known {
		if s.cfg.IsLocal(user.Domain()) {
			return notThere()
		}
		return nil // somebody of another server, which has its own accounts
	}
	switch {
	case f.Deactivated || f.Locked:
		return notThere()
	case f.Suspended:
		return refused(ReasonSuspended, "this account is suspended")
	case f.Guest && (f.GuestEndedTS != 0 || f.GuestExpiresTS <= s.now()):
		return notThere()
	case device != "" && !f.Machine && !f.SignedIn:
		return notThere()
	}
	return nil
}

// rightsOf are the rights that a power level gives, and to guests what the organisation lets them do.
func rightsOf(level int64, need Publish, f store.RTCFacts, allowed Limits) Rights {
	if f.GuestRole == store.GuestObserver {
		return Rights{Subscribe: true}
	}
	r := Rights{Subscribe: true, Data: true, Moderate: level >= Moderator}
	if level >= need.Microphone {
		r.Publish = append(r.Publish, sfu.Microphone)
	}
	if level >= need.Camera {
		r.Publish = append(r.Publish, sfu.Camera)
	}
	if level >= need.ScreenShare && (!f.Guest || allowed.GuestsShareScreen) {
		r.Publish = append(r.Publish, sfu.ScreenShare, sfu.ScreenShareAudio)
	}
	return r
}

// PhonePrefix begins the localpart of those who are in a room for a phone.
const PhonePrefix = "phone_"

func isPhone(user matrix.UserID, f store.RTCFacts) bool {
	return f.Machine && strings.HasPrefix(user.Localpart(), PhonePrefix)
}

// limitsOf are an organisation's limits, as of a moment ago: everybody who enters asks for them.
func (s *Server) limitsOf(ctx context.Context, org int64) (Limits, error) {
	if s.cfg.Limits == nil {
		return Limits{Enabled: true, GuestsShareScreen: true}, nil
	}
	if known, ok := s.allowed.get(org); ok && s.cfg.Clock.Now().Before(known.asked.Add(limits.CallPolicyKnown)) {
		return known.Limits, nil
	}
	return s.limitsNow(ctx, org)
}

// limitsNow are an organisation's limits as of now: who is looked at again because they have changed is judged by them.
func (s *Server) limitsNow(ctx context.Context, org int64) (Limits, error) {
	if s.cfg.Limits == nil {
		return s.limitsOf(ctx, org)
	}
	asked := s.cfg.Clock.Now()
	l, err := s.cfg.Limits(ctx, org)
	if err == nil {
		s.allowed.put(org, allowance{l, asked})
	}
	return l, err
}

// allowance is an organisation's limits, and when they were asked for.
type allowance struct {
	Limits
	asked time.Time
}

type allowances struct {
	mu   sync.Mutex
	orgs map[int64]allowance
}

func (a *allowances) get(org int64) (allowance, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.orgs[org]
	return known, ok
}

func (a *allowances) put(org int64, known allowance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.orgs == nil || len(a.orgs) >= maxRules {
		a.orgs = make(map[int64]allowance)
	}
	if !a.orgs[org].asked.After(known.asked) { // an older answer may come later
		a.orgs[org] = known
	}
}

// rules keeps what the state of rooms says, parsed. What is kept is known by the positions of its events, so that it is never old.
type rules struct {
	mu    sync.Mutex
	rooms map[int64]roomRules
}

type roomRules struct {
	create, power, meeting int64
	levels                 *event.Rules
	state                  State
}

// maxRules bounds the rooms that are kept; they are forgotten all at once.
const maxRules = 10_000

func (r *rules) of(ctx context.Context, st *store.Store, room matrix.RoomID, f store.RTCFacts) (roomRules, error) {
	r.mu.Lock()
	kept, ok := r.rooms[f.RoomNID]
	r.mu.Unlock()
	if ok && kept.create == f.Create && kept.power == f.Levels && kept.meeting == f.Meeting {
		return kept, nil
	}
	fresh, err := loadRules(ctx, st, f)
	if err != nil {
		return roomRules{}, fmt.Errorf("who may do what in %s: %w", room, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rooms == nil || len(r.rooms) >= maxRules {
		r.rooms = make(map[int64]roomRules)
	}
	r.rooms[f.RoomNID] = fresh
	return fresh, nil
}

func loadRules(ctx context.Context, st *store.Store, f store.RTCFacts) (roomRules, error) {
	r := roomRules{create: f.Create, power: f.Levels, meeting: f.Meeting, state: readState(nil)}
	version, ok := event.Lookup(f.RoomVersion)
	if !ok {
		return r, fmt.Errorf("unknown room version %q", f.RoomVersion)
	}
	events, err := st.ListEventsAt(ctx, []int64{f.Create, f.Levels, f.Meeting})
	if err != nil {
		return r, err
	}
	var create, levels gomatrixserverlib.PDU
	for _, e := range events {
		if e.Position == f.Meeting {
			r.state = readState([]byte(gjson.GetBytes(e.JSON, "content").Raw))
			continue
		}
		pdu, err := event.Parse(version, e.EventID, e.JSON)
		if err != nil {
			return r, err
		}
		if e.Position == f.Create {
			create = pdu
		} else {
			levels = pdu
		}
	}
	if create == nil {
		return r, errors.New("the room has no create event")
	}
	r.levels, err = event.NewRules(create, levels)
	return r, err
}
