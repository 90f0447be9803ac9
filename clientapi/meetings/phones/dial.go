package phones

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// moderator is the power that hanging up other people's calls needs.
const moderator = 50

type callRequest struct {
	// Number is whom to call, in any notation; InviteeID an invitee of the room's meeting: with a number, or one whose number is known.
	Number    string `json:"number"`
	InviteeID string `json:"invitee_id"`
	// Name is what the person is called in the meeting, Language what they hear.
	Name     string `json:"name"`
	Language string `json:"language"`
}

type callResponse struct {
	CallID string `json:"call_id"`
}

func notInRoom() *matrix.Error { return matrix.Forbidden("you are not in this room") }

// roomOf is the room of a request whose requester has a part in it: is in it or, unless joined, invited to it.
func (s *Server) roomOf(ctx context.Context, c *httpapi.Call, joined bool) (roomserver.Info, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return roomserver.Info{}, err
	}
	return s.roomWith(ctx, c.Requester.User, id, joined)
}

func (s *Server) roomWith(ctx context.Context, user matrix.UserID, id matrix.RoomID, joined bool) (roomserver.Info, error) {
	room, err := s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return room, notInRoom()
	}
	if err != nil {
		return room, err
	}
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return room, fmt.Errorf("load a membership: %w", err)
	}
	if m.Membership == spec.Join || !joined && m.Membership == spec.Invite {
		return room, nil
	}
	return room, notInRoom()
}

// call has somebody called. See guards.go for what is refused.
func (s *Server) call(ctx context.Context, c *httpapi.Call, req *callRequest) (any, error) {
	if c.Requester.Guest { // who is in the room or not
		return nil, noGuests()
	}
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	call, err := s.callFor(ctx, &caller{c.Requester, c.ClientAddr()}, id, req)
	if err != nil {
		return nil, err
	}
	return callResponse{call.ID}, nil
}

// CallFor has a number called for somebody who asks the bot, and returns it.
func (s *Server) CallFor(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, number string) (string, error) {
	call, err := s.callFor(ctx, &caller{who, ""}, room, &callRequest{Number: number})
	if err != nil {
		return "", err
	}
	return call.Number, nil
}

// caller is who has somebody called.
type caller struct {
	*httpapi.Requester
	ip string
}

func noGuests() *matrix.Error {
	return matrix.NewError(http.StatusForbidden, matrix.ErrGuestAccessForbidden, "guests have nobody called")
}

func (s *Server) callFor(ctx context.Context, who *caller, id matrix.RoomID, req *callRequest) (*store.PhoneCall, error) {
	if who.Guest {
		return nil, noGuests()
	}
	if who.Suspended {
		return nil, matrix.UserSuspended()
	}
	room, err := s.roomWith(ctx, who.User, id, true)
	if err != nil {
		return nil, err
	}
	if s.cfg.Mint == nil {
		return nil, matrix.Unrecognized()
	}
	r, err := s.rulesFor(ctx, s.cfg.Store, who.Org)
	if err != nil {
		return nil, err
	}
	trunk, err := s.outTrunk(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	if !r.dialOut || trunk == nil || r.organisation.State != store.OrganisationActive {
		return nil, matrix.Forbidden("the organisation has nobody called: its policy %q says so", PolicyName)
	}
	if encrypted, err := s.isEncrypted(ctx, room.NID); err != nil {
		return nil, err
	} else if encrypted {
		return nil, matrix.Forbidden("what is said in this room is encrypted from end to end, and a phone can't be").With("org.roomline.reason", "encrypted")
	}
	if err := s.checkSIP(ctx, trunk); err != nil {
		return nil, err
	}
	call, err := s.draft(ctx, who, room, &r, req)
	if err != nil {
		return nil, err
	}
	call.Trunk = trunk.Name
	if err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return s.queue(ctx, tx, who, call, &r, room, req.InviteeID != "") }); err != nil {
		return nil, err
	}
	return call, nil
}

// outTrunk is the first trunk over which an organisation calls out, or nil.
func (s *Server) outTrunk(ctx context.Context, org int64) (*Trunk, error) {
	trunks, err := s.trunksOf(ctx, s.cfg.Store, org)
	if err != nil {
		return nil, fmt.Errorf("look up an organisation's trunks: %w", err)
	}
	for _, t := range trunks {
		if t.Out {
			return t, nil
		}
	}
	return nil, nil
}

// draft is the call that is asked for, with its number checked.
func (s *Server) draft(ctx context.Context, who *caller, room roomserver.Info, r *rules, req *callRequest) (*store.PhoneCall, error) {
	call := &store.PhoneCall{
		ID: newCallID(), OrganisationID: who.Org, RoomNID: room.NID, RoomID: room.ID, Direction: "out", RequestedBy: who.User,
		State: stateQueued, CreatedTS: s.now(),
	}
	number, name := req.Number, req.Name
	if req.InviteeID != "" {
		i, err := s.cfg.Store.GetPhoneInvitee(ctx, room.NID, req.InviteeID)
		if errors.Is(err, store.ErrNotFound) {
			return nil, matrix.NotFound("there is no such invitee")
		}
		if err != nil {
			return nil, fmt.Errorf("look up an invitee: %w", err)
		}
		if number == "" && i.Medium == "msisdn" {
			number = "+" + i.Address
		}
		if i.UserID != "" && i.Name == "" {
			if i.Name, err = s.nameOf(ctx, i.UserID); err != nil {
				return nil, err
			}
		}
		name, call.InvitationID, call.Language = cmp.Or(name, i.Name), i.InvitationID, i.Language
	}
	if number == "" {
		return nil, matrix.MissingParam("number is missing, and the invitee has none")
	}
	if len(name) > limits.PhoneName {
		return nil, matrix.TooLarge("name is longer than %d bytes", limits.PhoneName)
	}
	digits, ok := people.PublicPhone(number, r.organisation.DefaultRegion)
	if !ok {
		return nil, denied("this is not the number of a phone")
	}
	if err := s.checkNumber(r, digits); err != nil {
		return nil, err
	}
	call.Language = language(cmp.Or(req.Language, call.Language))
	call.Number = "+" + digits
	call.Name = shownAs(name, invitations.Mask("msisdn", digits)) + suffixes[call.Language]
	return call, nil
}

// queue stores a call that may be made, with what is set aside for it.
func (s *Server) queue(ctx context.Context, tx *store.Tx, who *caller, call *store.PhoneCall, r *rules, room roomserver.Info, invitee bool) error {
	if !invitee {
		meets, err := tx.IsMeetingOn(ctx, room.NID)
		if err != nil {
			return fmt.Errorf("look whether a meeting is on: %w", err)
		}
		if !meets {
			return matrix.Forbidden("people who are not invited are called into a meeting that is on only").With("org.roomline.reason", "no_meeting")
		}
	}
	spent, err := tx.LockPhoneSpending(ctx, call.OrganisationID, call.CreatedTS)
	if err != nil {
		return fmt.Errorf("lock the spending of an organisation: %w", err)
	}
	counts, err := tx.CountPhoneCalls(ctx, *call)
	if err != nil {
		return fmt.Errorf("count calls: %w", err)
	}
	if err := s.allow(r, call, counts, spent); err != nil {
		return err
	}
	if err := s.insert(ctx, tx, call, room); err != nil {
		return fmt.Errorf("store a call: %w", err)
	}
	if err := tx.AddPhoneSpending(ctx, call.OrganisationID, call.CreatedTS, int64(call.SecondsAllowed), call.Cost); err != nil {
		return fmt.Errorf("set money aside: %w", err)
	}
	detail, err := json.Marshal(map[string]any{"call_id": call.ID, "country_code": countryCode(call.Number), "seconds_allowed": call.SecondsAllowed})
	if err != nil {
		return err
	}
	if err := tx.AppendAudit(ctx, store.AuditEntry{
		OrganisationID: call.OrganisationID, TS: call.CreatedTS, Actor: who.Actor(), IP: who.ip, Action: "phones.call", Target: string(room.ID),
		Detail: detail,
	}); err != nil {
		return err
	}
	return s.alert(ctx, tx, r, call, spent)
}

// takeCalls gives a bridge calls to make.
func (s *Server) takeCalls(ctx context.Context, req *phone.Lease) ([]phone.Call, error) {
	rows, err := s.cfg.Store.LeasePhoneCalls(ctx, req.Bridge, req.Trunks, s.now().Add(-limits.PhoneQueued), req.Max, limits.PhoneLease)
	if err != nil {
		return nil, fmt.Errorf("lease calls: %w", err)
	}
	list := make([]phone.Call, 0, len(rows))
	for i := range rows {
		c := &rows[i]
		t := s.trunk(c.Trunk)
		if t == nil {
			continue // not configured any more: the call lapses
		}
		by, err := s.nameOf(ctx, c.RequestedBy)
		if err != nil {
			return nil, err
		}
		o, err := s.cfg.Store.GetOrganisation(ctx, c.OrganisationID)
		if err != nil {
			return nil, fmt.Errorf("load an organisation: %w", err)
		}
		const margin = 5 // seconds, so that no minute begins that is not paid for
		list = append(list, phone.Call{
			CallID: c.ID, Trunk: c.Trunk, Number: c.Number, Caller: t.caller(), Language: c.Language, Organisation: o.Name, By: by, Title: s.titleOf(ctx, c.RoomNID),
			SecondsAllowed: c.SecondsAllowed - margin, RingSeconds: int(limits.PhoneRinging.Seconds()),
		})
	}
	return list, nil
}

func (t *Trunk) caller() string {
	if t.Caller != "" || len(t.Numbers) == 0 {
		return t.Caller
	}
	return t.Numbers[0].Number
}

// hangUp ends a call that somebody had made, or that a moderator does not want.
func (s *Server) hangUp(ctx context.Context, c *httpapi.Call) (any, error) {
	room, err := s.roomOf(ctx, c, true)
	if err != nil {
		return nil, err
	}
	call, err := s.cfg.Store.GetPhoneCall(ctx, c.Path("callId"))
	if errors.Is(err, store.ErrNotFound) || err == nil && call.RoomNID != room.NID {
		return nil, noCall()
	}
	if err != nil {
		return nil, fmt.Errorf("load a call: %w", err)
	}
	if call.RequestedBy != c.Requester.User {
		rules, err := s.cfg.Rooms.Rules(ctx, room)
		if err != nil {
			return nil, err
		}
		if c.Requester.Guest || c.Requester.Suspended || rules.UserLevel(c.Requester.User) < moderator {
			return nil, matrix.Forbidden("hanging up other people's calls needs power level %d", moderator)
		}
	}
	return nil, s.order(ctx, &call, phone.CauseCancelled)
}

// order has a call hung up. One that nobody has taken is over at once.
func (s *Server) order(ctx context.Context, call *store.PhoneCall, cause phone.Cause) error {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		c, err := tx.LockPhoneCall(ctx, call.ID)
		if err != nil || !on(&c) || c.HangupTS != 0 {
			return err
		}
		c.HangupTS, c.Cause = s.now(), string(cause)
		return tx.PutPhoneCall(ctx, c)
	})
	if err == nil && call.State == stateQueued {
		err = s.end(ctx, call.ID, stateEnded, string(cause), true)
	}
	return err
}

// countryCode is the beginning of a number that tells nothing of whose it is.
func countryCode(number string) string {
	digits := strings.TrimPrefix(number, "+")
	return "+" + digits[:min(len(digits), 2)]
}
