package phones

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/guests"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// Prefix is how the localpart of every ghost begins.
const Prefix = "phone_"

// mark says in a ghost's member events what it is.
var mark = []byte(`{"role":"phone"}`)

// owner is whom a phone is in a meeting for.
type owner struct {
	invitation string
	user       matrix.UserID
	// number is that of somebody who was called.
	number string
	name   string
}

func (o *owner) key() string {
	switch {
	case o.invitation != "":
		return "invitation " + o.invitation
	case o.user != "":
		return "user " + string(o.user)
	}
	return "number " + o.number
}

// ownerOf is whom a stored call is for.
func ownerOf(c *store.PhoneCall) *owner {
	if c.Direction == "in" {
		return &owner{invitation: c.InvitationID, user: c.RequestedBy, name: c.Name}
	}
	return &owner{invitation: c.InvitationID, number: c.Number, name: c.Name}
}

// admit stores the call of a caller whose PIN was right.
func (s *Server) admit(ctx context.Context, in *incoming, p *store.PhonePIN, reference string) (store.PhoneCall, phone.Problem, error) {
	rooms, err := s.cfg.Rooms.RoomsByNID(ctx, []int64{p.RoomNID})
	if err != nil || len(rooms) == 0 {
		return store.PhoneCall{}, phone.NotAllowed, err
	}
	now := s.now()
	call := store.PhoneCall{
		ID: in.ID, Reference: reference, OrganisationID: p.OrganisationID, RoomNID: p.RoomNID, RoomID: rooms[0].ID, Direction: "in", Trunk: in.Trunk, Number: in.Caller,
		RequestedBy: p.UserID, InvitationID: p.InvitationID, State: stateWaiting, Lease: in.Bridge, CreatedTS: now, AnsweredTS: now,
	}
	if call.Name, call.Language, err = s.describe(ctx, in, p); err != nil {
		return call, "", err
	}
	if encrypted, err := s.isEncrypted(ctx, p.RoomNID); err != nil || encrypted {
		return call, phone.EncryptedMeeting, err
	}
	var problem phone.Problem
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		// Others of the organisation wait here.
		if _, err := tx.LockPhoneSpending(ctx, call.OrganisationID, now); err != nil {
			return err
		}
		n, err := tx.CountPhoneCallsIn(ctx, call.OrganisationID)
		if err != nil {
			return err
		}
		if n >= s.cfg.Limits.ConcurrentIn {
			problem = phone.Full
			return nil
		}
		return s.insert(ctx, tx, &call, rooms[0])
	})
	if errors.Is(err, store.ErrNotActive) {
		return call, phone.WrongPIN, nil
	}
	if err != nil {
		return call, "", fmt.Errorf("store a call: %w", err)
	}
	return call, problem, nil
}

// insert stores a call with its ghost: the one that came for the same owner before, so that what a moderator did to it holds. A call of the same ghost ends.
func (s *Server) insert(ctx context.Context, tx *store.Tx, call *store.PhoneCall, room roomserver.Info) error {
	who := ownerOf(call)
	if err := tx.LockPhoneOwner(ctx, room.NID, who.key()); err != nil {
		return err
	}
	ghost, err := tx.GetPhoneGhost(ctx, room.NID, who.invitation, who.user, who.number)
	if errors.Is(err, store.ErrNotFound) {
		ghost, err = s.newGhost(ctx, tx, room.OrganisationID)
	}
	if err != nil {
		return err
	}
	name, err := json.Marshal(who.name)
	if err != nil {
		return err
	}
	for _, f := range []store.ProfileField{{UserID: ghost, Key: "displayname", Value: name}, {UserID: ghost, Key: roomserver.GuestKey, Value: mark}} {
		if err := tx.PutProfileField(ctx, f); err != nil {
			return err
		}
	}
	call.UserID, call.Identity = ghost, string(ghost)+":"+string(device)
	if err := tx.HangUpPhoneOf(ctx, room.NID, ghost, call.ID, string(phone.CauseRemoved), call.CreatedTS); err != nil {
		return err
	}
	return tx.InsertPhoneCall(ctx, *call, limits.PhoneLease)
}

// newGhost makes a ghost. Nobody signs in as it.
func (s *Server) newGhost(ctx context.Context, tx *store.Tx, org int64) (matrix.UserID, error) {
	if err := tx.AdmitActive(ctx, org); err != nil {
		return "", err
	}
	domains, err := tx.ListOrganisationDomains(ctx, org)
	if err != nil || len(domains) == 0 {
		return "", fmt.Errorf("look up a domain: %w", cmp.Or(err, store.ErrNotFound))
	}
	const letters = 16 // 80 bits
	ghost, err := matrix.NewUserID(Prefix+strings.ToLower(rand.Text()[:letters]), domains[0].ServerName)
	if err != nil {
		return "", err
	}
	_, err = tx.InsertUser(ctx, store.User{UserID: ghost, OrganisationID: org, Machine: true, CreatedTS: s.now()})
	return ghost, err
}

// suffixes say in a name that it is a phone's.
var suffixes = map[string]string{"en": " (phone)", "fr": " (téléphone)", "nl": " (telefoon)", "de": " (Telefon)"}

// describe is what a caller is called in the meeting, and what they speak.
func (s *Server) describe(ctx context.Context, in *incoming, p *store.PhonePIN) (name, speaks string, err error) {
	for _, n := range s.trunk(in.Trunk).Numbers {
		if n.Number == in.Called {
			speaks = language(n.Language)
		}
	}
	if p.UserID != "" {
		name, err := s.nameOf(ctx, p.UserID)
		return name + suffixes[speaks], speaks, err
	}
	i, err := s.cfg.Store.GetInvitation(ctx, p.InvitationID)
	if err != nil {
		return "", "", fmt.Errorf("load an invitation: %w", err)
	}
	if name, err = s.cfg.Store.GetPhoneInviteeName(ctx, p.InvitationID); err != nil {
		return "", "", fmt.Errorf("look up an invitee: %w", err)
	}
	speaks = language(i.Language)
	return shownAs(name, invitations.Mask(i.Medium, i.Address)) + suffixes[speaks], speaks, nil
}

// shownAs is a name that somebody else gave to a person, or what stands for the person if that will not do.
func shownAs(name, otherwise string) string {
	if name, err := guests.DisplayName(name); err == nil {
		return strings.TrimSuffix(name, guests.Suffix)
	}
	if otherwise == "" {
		return "…"
	}
	return otherwise
}

// nameOf is what a user is called.
func (s *Server) nameOf(ctx context.Context, user matrix.UserID) (string, error) {
	fields, err := s.cfg.Store.ListProfiles(ctx, []matrix.UserID{user}, []string{"displayname"})
	if err != nil {
		return "", fmt.Errorf("load a name: %w", err)
	}
	var name string
	if len(fields) > 0 && json.Unmarshal(fields[0].Value, &name) == nil && name != "" {
		return name, nil
	}
	return user.Localpart(), nil
}

// enter brings a phone into its meeting, as far as it gets: asked again it does what is left. The ghost is in the room, then in the room's call, and then
// gets a token.
func (s *Server) enter(ctx context.Context, call store.PhoneCall) (any, error) {
	if !on(&call) || call.HangupTS != 0 || call.AnsweredTS == 0 {
		return phone.Join{Problem: phone.NotAllowed}, nil
	}
	answer := phone.Join{
		Name: call.Name, UserID: string(call.UserID), Language: call.Language, SecondsAllowed: s.secondsLeft(&call),
	}
	if encrypted, err := s.isEncrypted(ctx, call.RoomNID); err != nil || encrypted {
		return phone.Join{Problem: phone.EncryptedMeeting, Language: call.Language}, err
	}
	room, err := s.cfg.Rooms.Room(ctx, call.RoomID)
	if err != nil {
		return nil, err
	}
	waiting, problem, err := s.intoRoom(ctx, room, &call)
	if err == nil && problem == "" {
		err = s.came(ctx, call.ID, waiting)
	}
	if err != nil || problem != "" {
		return phone.Join{Problem: problem, Language: call.Language}, err
	}
	if answer.Waiting = waiting; waiting {
		return answer, nil
	}
	token, problem, err := s.intoCall(ctx, &call)
	if err != nil || problem != "" {
		return phone.Join{Problem: problem, Language: call.Language}, err
	}
	answer.URL, answer.JWT, answer.Identity = token.URL, token.JWT, token.Identity
	answer.Title = s.titleOf(ctx, room.NID)
	all, err := s.statuses(ctx, []store.PhoneCall{call})
	answer.Recording = all[call.ID].Recording
	return answer, err
}

// secondsLeft is what a call may last from now.
func (s *Server) secondsLeft(c *store.PhoneCall) int {
	if c.SecondsAllowed == 0 {
		return 0
	}
	return max(c.SecondsAllowed-int(since(c.AnsweredTS, s.now())/time.Second), 1)
}

// titleOf is what a room is called, for a screen; "" when it is called nothing.
func (s *Server) titleOf(ctx context.Context, room int64) string {
	e, err := s.cfg.Store.GetStateEvent(ctx, room, store.CurrentState, spec.MRoomName, "")
	if err != nil {
		return ""
	}
	var whole struct {
		Content struct {
			Name string `json:"name"`
		} `json:"content"`
	}
	_ = json.Unmarshal(e.JSON, &whole) // a name that is none
	return whole.Content.Name
}

// intoRoom makes the ghost a member, or lets it wait to be let in. Whom somebody has put out, or not let in, stays out.
func (s *Server) intoRoom(ctx context.Context, room roomserver.Info, call *store.PhoneCall) (waiting bool, problem phone.Problem, err error) {
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, call.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, "", fmt.Errorf("load a membership: %w", err)
	}
	switch {
	case m.Membership == spec.Join:
		return false, "", nil
	case m.Membership == spec.Knock:
		return true, "", nil
	case m.Membership == spec.Ban, m.Membership == spec.Leave && m.Sender != call.UserID:
		return false, phone.NotAllowed, nil
	case m.Membership != spec.Invite:
		if waiting, err = s.wait(ctx, room, call); err != nil || waiting {
			problem, err = problemOf(err)
			return waiting && problem == "", problem, err
		}
	}
	problem, err = problemOf(s.cfg.Rooms.Enrol(ctx, room.ID, call.UserID))
	return false, problem, err
}

// wait lets the ghost knock, where it has to. A member's own phone waits where members do.
func (s *Server) wait(ctx context.Context, room roomserver.Info, call *store.PhoneCall) (bool, error) {
	ask := s.cfg.Wait
	if call.Direction == "in" && call.InvitationID == "" {
		ask = s.cfg.WaitInside
	}
	if ask == nil {
		return false, nil
	}
	return ask(ctx, room, call.UserID)
}

// problemOf is what a caller hears of a refusal; other errors stay errors.
func problemOf(err error) (phone.Problem, error) {
	e, refused := matrix.AsError(err)
	switch {
	case err == nil:
		return "", nil
	case !refused:
		return "", err
	case e.Status == http.StatusServiceUnavailable, e.Code == matrix.ErrUnrecognized:
		return phone.Unavailable, nil
	case e.Status >= http.StatusInternalServerError:
		return "", err
	}
	reason, _ := e.Fields["org.roomline.reason"].(string)
	switch strings.TrimPrefix(reason, "org.roomline.") {
	case "meeting_full", "too_many_meetings", "lobby_full":
		return phone.Full, nil
	case "meeting_locked":
		return phone.LockedMeeting, nil
	}
	return phone.NotAllowed, nil
}

// came notes how far the ghost has come.
func (s *Server) came(ctx context.Context, id string, waiting bool) error {
	var c store.PhoneCall
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if c, err = tx.LockPhoneCall(ctx, id); err != nil {
			return err
		}
		state := stateAnswered
		if waiting {
			state = stateWaiting
		}
		if !on(&c) || c.State == state && c.DeviceID == device {
			return nil
		}
		c.State, c.DeviceID = state, device
		return tx.PutPhoneCall(ctx, c)
	})
	if err != nil {
		return fmt.Errorf("note that a phone has come in: %w", err)
	}
	s.tellOwner(&c)
	return nil
}

// tellOwner has it noticed that a member is on the phone, or not any more.
func (s *Server) tellOwner(c *store.PhoneCall) {
	if s.cfg.OnPhone != nil && c.Direction == "in" && c.InvitationID == "" && c.RequestedBy != "" {
		s.cfg.OnPhone(c.RequestedBy)
	}
}

// memberType is the membership of a call as clients of today have it.
const memberType = "org.matrix.msc3401.call.member"

// memberKey is the state key of a ghost's.
func memberKey(ghost matrix.UserID) string {
	return "_" + string(ghost) + "_" + string(device) + "_m.call"
}

// intoCall makes the ghost a member of the room's call, and gives it a token. The membership comes first: whoever hears a voice sees whose it is.
func (s *Server) intoCall(ctx context.Context, call *store.PhoneCall) (Token, phone.Problem, error) {
	const day = 24 * 3600 * 1000
	content := map[string]any{
		"application": "m.call", "call_id": "", "scope": "m.room", "device_id": device, "expires": day, "m.call.intent": "audio",
		"created_ts":   call.AnsweredTS,
		"focus_active": map[string]any{"type": "livekit", "focus_selection": "oldest_membership"},
		"foci_preferred": []any{map[string]any{
			"type": "livekit", "livekit_service_url": s.cfg.Focus, "livekit_alias": call.RoomID,
		}},
	}
	token, err := s.cfg.Mint(ctx, call.RoomID, call.UserID, device, call.Name)
	if err == nil {
		err = s.putMembership(ctx, call, content)
	}
	problem, err := problemOf(err)
	return token, problem, err
}

func (s *Server) putMembership(ctx context.Context, call *store.PhoneCall, content map[string]any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	if raw, err = strictjson.Canonical(raw); err != nil {
		return err
	}
	key := memberKey(call.UserID)
	_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: call.RoomID, Sender: call.UserID, Type: memberType, StateKey: &key, Content: raw})
	return err
}

// Restrict takes everything from a ghost but listening and speaking.
func Restrict(_ context.Context, _ int64, user matrix.UserID, r *meetings.Rights) error {
	if !IsGhost(user) {
		return nil
	}
	r.Publish = slices.DeleteFunc(slices.Clone(r.Publish), func(s sfu.Source) bool { return s != sfu.Microphone })
	r.Data, r.Moderate = false, false
	return nil
}
