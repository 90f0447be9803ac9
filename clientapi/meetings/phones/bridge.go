package phones

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/store"
)

// What telephony bridges ask: internal/phone says what each request is for.

const grantTelephony = "telephony"

// device is a ghost's, in the membership of a call.
const device matrix.DeviceID = "PHONE"

func (s *Server) bridgeRoutes() []httpapi.Route {
	routes := []httpapi.Route{
		{Path: "start", Handle: httpapi.JSON(s.start)},
		{Path: "lease", Handle: httpapi.JSON(s.lease), MaxBody: limits.PhoneCallsAtOnce * 1024},
		{Path: "{callId}/pin", Handle: httpapi.JSON(s.pin)},
		{Path: "{callId}/token", Handle: httpapi.JSON(s.token)},
		{Path: "{callId}/event", Handle: httpapi.JSON(s.event)},
	}
	for i := range routes {
		routes[i].Method, routes[i].Path, routes[i].Auth = http.MethodPost, phone.Path+routes[i].Path, httpapi.AppserviceToken
		handle := routes[i].Handle
		routes[i].Handle = func(ctx context.Context, c *httpapi.Call) (any, error) {
			if !c.Requester.May(grantTelephony) {
				return nil, matrix.Forbidden("the application service's registration does not have the grant %s", grantTelephony)
			}
			return handle(ctx, c)
		}
	}
	return routes
}

var (
	bridgeName = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)
	e164       = regexp.MustCompile(`^\+[1-9][0-9]{4,14}$`)
)

func checkBridge(name string) error {
	if !bridgeName.MatchString(name) {
		return matrix.InvalidParam("bridge must be 8 to 64 letters, digits, - and _")
	}
	return nil
}

// incoming is a call in whose caller has typed no good PIN yet. It is not stored: it is what its id says, sealed.
type incoming struct {
	ID      string           `json:"id"`
	Bridge  string           `json:"b"`
	Trunk   string           `json:"t"`
	Called  string           `json:"n"`
	Caller  string           `json:"c"`
	BeganTS matrix.Timestamp `json:"at"`
}

// incomingBound is what the ids are bound to; those that are longer than idLetters are such.
const (
	incomingBound = "incoming"
	idLetters     = 32
)

func newCallID() string {
	const bytes = 16
	var b [bytes]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func noCall() *matrix.Error { return matrix.NotFound("there is no such call") }

// idOf is what the database calls a call, and what is known of one that came in.
func (s *Server) idOf(text string) (string, *incoming, error) {
	if len(text) <= idLetters {
		return text, nil, nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", nil, noCall()
	}
	plain, err := s.calls.Open(sealed, incomingBound)
	if err != nil {
		return "", nil, noCall()
	}
	var c incoming
	if err := json.Unmarshal(plain, &c); err != nil {
		return "", nil, fmt.Errorf("decode the id of a call: %w", err)
	}
	return c.ID, &c, nil
}

// start begins a call in.
func (s *Server) start(_ context.Context, _ *httpapi.Call, req *phone.Start) (any, error) {
	if err := checkBridge(req.Bridge); err != nil {
		return nil, err
	}
	if len(req.Reference) > limits.PhoneReference || strings.ContainsFunc(req.Reference, unicode.IsControl) {
		return nil, matrix.InvalidParam("reference is too long")
	}
	caller := req.Caller
	if !e164.MatchString(caller) {
		caller = ""
	}
	answer := phone.Started{Language: "en", PINDigits: phone.PINDigits, Tries: limits.PhoneTries}
	t := s.trunk(req.Trunk)
	if t == nil {
		answer.Problem = phone.NoService
		return answer, nil
	}
	known := false
	for _, n := range t.Numbers {
		if n.Number == req.Called {
			known, answer.Language = true, language(n.Language)
		}
	}
	switch {
	case !known:
		answer.Problem = phone.NoService
		return answer, nil
	case s.cfg.Mint == nil:
		answer.Problem = phone.Unavailable
		return answer, nil
	}
	plain, err := json.Marshal(incoming{newCallID(), req.Bridge, t.Name, req.Called, caller, s.now()})
	if err != nil {
		return nil, err
	}
	answer.CallID = base64.RawURLEncoding.EncodeToString(s.calls.Seal(plain, incomingBound))
	return answer, nil
}

// language is one that there are words for.
func language(text string) string {
	switch text {
	case "fr", "nl", "de":
		return text
	}
	return "en"
}

// pin lets a caller in.
func (s *Server) pin(ctx context.Context, c *httpapi.Call, req *phone.PIN) (any, error) {
	if err := checkBridge(req.Bridge); err != nil {
		return nil, err
	}
	id, in, err := s.idOf(c.Path("callId"))
	if err != nil {
		return nil, err
	}
	if in == nil || in.Bridge != req.Bridge {
		return nil, noCall()
	}
	call, err := s.cfg.Store.GetPhoneCall(ctx, id)
	if err == nil { // the answer to the right PIN was lost
		return s.enter(ctx, call)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("load a call: %w", err)
	}
	if since(in.BeganTS, s.now()) > callLifetime {
		return nil, noCall()
	}
	hash := s.pinHash(req.PIN)
	if req.Room != "" {
		hash = pinIn(req.Room)
	}
	p, problem, err := s.guess(ctx, in, hash)
	if err != nil {
		return nil, err
	}
	if problem != "" {
		answer := phone.Join{Problem: problem}
		if problem == phone.WrongPIN {
			answer.Tries = 1
		}
		return answer, nil
	}
	call, problem, err = s.admit(ctx, in, &p, c.Path("callId"))
	if err != nil || problem != "" {
		return phone.Join{Problem: problem, Language: call.Language}, err
	}
	return s.enter(ctx, call)
}

// mine is a call that a bridge has.
func (s *Server) mine(ctx context.Context, c *httpapi.Call, bridge string) (store.PhoneCall, error) {
	if err := checkBridge(bridge); err != nil {
		return store.PhoneCall{}, err
	}
	id, _, err := s.idOf(c.Path("callId"))
	if err != nil {
		return store.PhoneCall{}, err
	}
	call, err := s.cfg.Store.GetPhoneCall(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && call.Lease != bridge {
		return call, noCall()
	}
	return call, err
}

// token gives the way in once more, or for the first time to who was called, or let in.
func (s *Server) token(ctx context.Context, c *httpapi.Call, req *phone.Token) (any, error) {
	call, err := s.mine(ctx, c, req.Bridge)
	if err != nil {
		return nil, err
	}
	return s.enter(ctx, call)
}

// on reports whether a call is not over.
func on(c *store.PhoneCall) bool { return c.State != stateEnded && c.State != stateFailed }

// The states of calls in the database.
const (
	stateQueued   = "queued"
	stateDialling = "dialling"
	stateRinging  = string(phone.Ringing)
	stateWaiting  = "waiting"
	stateAnswered = string(phone.Answered)
	stateEnded    = string(phone.Ended)
	stateFailed   = string(phone.Failed)
)

// event takes what happened at the phone's end.
func (s *Server) event(ctx context.Context, c *httpapi.Call, req *phone.Event) (any, error) {
	if err := checkEvent(req); err != nil {
		return nil, err
	}
	call, err := s.mine(ctx, c, req.Bridge)
	if e, unknown := matrix.AsError(err); unknown && e.Code == matrix.ErrNotFound {
		if _, in, err := s.idOf(c.Path("callId")); err == nil && in != nil && in.Bridge == req.Bridge {
			return phone.Status{CallID: c.Path("callId")}, nil // a call in that ends before a PIN
		}
	}
	if err != nil {
		return nil, err
	}
	switch req.State {
	case phone.Ended, phone.Failed:
		if err := s.end(ctx, call.ID, string(req.State), string(req.Cause), false); err != nil {
			return nil, err
		}
		s.clean(context.WithoutCancel(ctx), call)
	case phone.Ringing, phone.Answered:
		if err := s.progress(ctx, call.ID, req.State); err != nil {
			return nil, err
		}
	}
	if req.Hand != nil && on(&call) {
		if err := s.hand(ctx, &call, *req.Hand); err != nil {
			return nil, err
		}
	}
	if req.Consent != "" && s.cfg.Consent != nil && on(&call) {
		if err := s.cfg.Consent(ctx, call.RoomID, call.UserID, req.Consent, "key"); err != nil {
			return nil, err
		}
	}
	if call, err = s.cfg.Store.GetPhoneCall(ctx, call.ID); err != nil {
		return nil, fmt.Errorf("load a call: %w", err)
	}
	all, err := s.statuses(ctx, []store.PhoneCall{call})
	if err != nil {
		return nil, err
	}
	st := all[call.ID]
	st.CallID = c.Path("callId")
	return st, nil
}

var causeWord = regexp.MustCompile(`^[a-z_]{0,32}$`)

func checkEvent(e *phone.Event) error {
	switch {
	case e.State != "" && e.State != phone.Ringing && e.State != phone.Answered && e.State != phone.Ended && e.State != phone.Failed:
		return matrix.InvalidParam("state must be ringing, answered, ended or failed")
	case !causeWord.MatchString(string(e.Cause)):
		return matrix.InvalidParam("cause must be a word")
	case e.Consent != "" && e.Consent != "yes" && e.Consent != "no":
		return matrix.InvalidParam("consent must be yes or no")
	}
	return nil
}

// statuses are how calls stand, by their ids in the database.
func (s *Server) statuses(ctx context.Context, calls []store.PhoneCall) (map[string]phone.Status, error) {
	ids := make([]string, len(calls))
	for i := range calls {
		ids[i] = calls[i].ID
	}
	recordings, err := s.cfg.Store.ListPhoneRecordings(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up recordings: %w", err)
	}
	all := make(map[string]phone.Status, len(calls))
	for i := range calls {
		c := &calls[i]
		st := phone.Status{CallID: c.ID, Waiting: c.State == stateWaiting, Recording: recordingOf(recordings[c.ID])}
		switch {
		case c.HangupTS != 0:
			st.Hangup = phone.Cause(c.Cause)
		case !on(c):
			st.Hangup = phone.CauseLost
		}
		all[c.ID] = st
	}
	return all, nil
}

func recordingOf(r store.PhoneRecording) phone.Recording {
	switch {
	case r.State == "" || r.State == "asking" && r.Answer != "":
		if r.Answer == "no" {
			return phone.Withheld
		}
		return ""
	case r.Answer == "":
		return phone.Asking
	case r.Answer == "no":
		return phone.Withheld
	}
	return phone.Recorded
}

// polled is how often somebody who waits looks for what no notification told of.
const polled = time.Second

// lease holds a bridge's calls, and gives it what is new: calls to make, and calls that stand otherwise than it knows.
func (s *Server) lease(ctx context.Context, _ *httpapi.Call, req *phone.Lease) (any, error) {
	if err := checkBridge(req.Bridge); err != nil {
		return nil, err
	}
	if len(req.Calls) > limits.PhoneCallsAtOnce || len(req.Trunks) > 100 || req.Max < 0 || req.Max > limits.PhoneCallsAtOnce {
		return nil, matrix.InvalidParam("calls and max must be at most %d, and trunks 100", limits.PhoneCallsAtOnce)
	}
	told, err := s.toldOf(req)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Store.RenewPhoneCalls(ctx, req.Bridge, told.ids(), limits.PhoneLease); err != nil {
		return nil, fmt.Errorf("renew calls: %w", err)
	}
	until := time.Now().Add(min(max(time.Duration(req.WaitMS)*time.Millisecond, 0), limits.PhoneWait))
	for {
		woken := s.bell.Next()
		answer, err := s.news(ctx, req, told)
		left := time.Until(until)
		if err != nil || len(answer.Calls)+len(answer.Orders) > 0 || left <= 0 {
			return answer, err
		}
		select {
		case <-woken:
		case <-time.After(min(left, polled)):
		case <-s.stop:
			return answer, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// known is what a bridge knows of its calls, by their ids in the database.
type known map[string]knownCall

type knownCall struct {
	// path is what the bridge calls it.
	path   string
	status phone.Status
	// incoming: no PIN has been typed yet.
	incoming bool
}

func (k known) ids() []string {
	ids := make([]string, 0, len(k))
	for id := range k {
		ids = append(ids, id)
	}
	return ids
}

// toldOf reads what the bridge says of its calls.
func (s *Server) toldOf(req *phone.Lease) (known, error) {
	k := known{}
	for _, c := range req.Calls {
		id, in, err := s.idOf(c.CallID)
		if _, unknown := matrix.AsError(err); unknown {
			id, err = c.CallID, nil // it is told that the call is not its own
		}
		if err != nil {
			return nil, err
		}
		fresh := in != nil && in.Bridge == req.Bridge && since(in.BeganTS, s.now()) <= callLifetime
		path := c.CallID
		c.CallID = id
		k[id] = knownCall{path, c, fresh}
	}
	return k, nil
}

// news is what a bridge has to know or do. What it did not name is compared with how it stood when the bridge began to ask.
func (s *Server) news(ctx context.Context, req *phone.Lease, k known) (phone.Leased, error) {
	answer := phone.Leased{Calls: []phone.Call{}, Orders: []phone.Status{}}
	calls, err := s.cfg.Store.ListPhoneCallsOf(ctx, req.Bridge)
	if err != nil {
		return answer, fmt.Errorf("list a bridge's calls: %w", err)
	}
	all, err := s.statuses(ctx, calls)
	if err != nil {
		return answer, err
	}
	refs := make(map[string]string, len(calls))
	for i := range calls {
		refs[calls[i].ID] = cmp.Or(calls[i].Reference, calls[i].ID)
	}
	for id, st := range all {
		before, named := k[id]
		if !named {
			before = knownCall{path: refs[id], status: st}
			before.status.Hangup = ""
			k[id] = before
		}
		if before.status != st {
			st.CallID = before.path
			answer.Orders = append(answer.Orders, st)
		}
	}
	var missing []string
	for id := range k {
		if _, has := all[id]; !has {
			missing = append(missing, id)
		}
	}
	over, err := s.cfg.Store.ListKnownPhoneCalls(ctx, missing)
	if err != nil {
		return answer, fmt.Errorf("look for calls: %w", err)
	}
	for _, id := range missing {
		// One that was never stored has typed no PIN yet.
		if c := k[id]; !c.incoming || slices.Contains(over, id) {
			answer.Orders = append(answer.Orders, phone.Status{CallID: c.path, Hangup: phone.CauseLost})
		}
	}
	if req.Max > 0 && len(req.Trunks) > 0 {
		answer.Calls, err = s.takeCalls(ctx, req)
	}
	return answer, err
}
