package sfu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/roomline/roomline/internal/limits"
)

// LiveKit SIP is a program beside LiveKit that brings phones into its rooms. It is asked by LiveKit's API.

// ErrNoSIP is in the chain of the error when LiveKit has no SIP service, or that does not answer.
var ErrNoSIP = errors.New("sfu: LiveKit SIP does not answer")

// askSIP asks LiveKit SIP one question.
func askSIP[Q, A any](ctx context.Context, c *Client, right auth.SIPGrant, question func(context.Context, Q) (A, error), q Q) (A, error) {
	answer, err := askAs(ctx, c, limits.SFUSIP, func(t *auth.AccessToken) { t.SetSIPGrant(&right) }, question, q)
	if err == nil {
		return answer, nil
	}
	code := twirpCode(err)
	// LiveKit without redis has no SIP, and says so as a fault of its own.
	without := code == twirp.Internal && strings.Contains(err.Error(), "sip not connected")
	if without || errors.Is(err, ErrUnavailable) || code == twirp.BadRoute || code == twirp.Unimplemented {
		err = fmt.Errorf("%w: %w", ErrNoSIP, err)
	}
	return answer, err
}

var govern = auth.SIPGrant{Admin: true}

// CheckSIPTrunk asks whether LiveKit SIP has a trunk that calls go out over.
func (c *Client) CheckSIPTrunk(ctx context.Context, id string) error {
	list, err := askSIP(ctx, c, govern, c.sip.ListSIPOutboundTrunk, &livekit.ListSIPOutboundTrunkRequest{TrunkIds: []string{id}})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list.GetItems(), func(t *livekit.SIPOutboundTrunkInfo) bool { return t.GetSipTrunkId() == id }) {
		return fmt.Errorf("%w: it has no outbound trunk %s", ErrNoSIP, id)
	}
	return nil
}

// SIPTrunk brings calls.
type SIPTrunk struct {
	Name             string
	Numbers, Allowed []string
}

// EnsureSIPTrunk makes a trunk that brings calls, unless there is one with this name and these numbers, and returns its id. One with this name and other
// numbers, or other addresses, is changed.
func (c *Client) EnsureSIPTrunk(ctx context.Context, t SIPTrunk) (id string, err error) {
	list, err := askSIP(ctx, c, govern, c.sip.ListSIPInboundTrunk, &livekit.ListSIPInboundTrunkRequest{})
	if err != nil {
		return "", err
	}
	for _, one := range list.GetItems() {
		if one.GetName() != t.Name {
			continue
		}
		if slices.Equal(one.Numbers, t.Numbers) && slices.Equal(one.AllowedAddresses, t.Allowed) {
			return one.SipTrunkId, nil
		}
		one.Numbers, one.AllowedAddresses = t.Numbers, t.Allowed
		_, err := askSIP(ctx, c, govern, c.sip.UpdateSIPInboundTrunk, &livekit.UpdateSIPInboundTrunkRequest{
			SipTrunkId: one.SipTrunkId, Action: &livekit.UpdateSIPInboundTrunkRequest_Replace{Replace: one},
		})
		return one.SipTrunkId, err
	}
	made, err := askSIP(ctx, c, govern, c.sip.CreateSIPInboundTrunk, &livekit.CreateSIPInboundTrunkRequest{
		Trunk: &livekit.SIPInboundTrunkInfo{Name: t.Name, Numbers: t.Numbers, AllowedAddresses: t.Allowed},
	})
	return made.GetSipTrunkId(), err
}

// SIPRule lets callers of trunks who type the PIN into a room.
type SIPRule struct {
	ID, Name, Room, PIN string
	Trunks              []string
}

// SIPRules are all whose names begin so.
func (c *Client) SIPRules(ctx context.Context, begin string) ([]SIPRule, error) {
	list, err := askSIP(ctx, c, govern, c.sip.ListSIPDispatchRule, &livekit.ListSIPDispatchRuleRequest{})
	var all []SIPRule
	for _, r := range list.GetItems() {
		if direct := r.GetRule().GetDispatchRuleDirect(); strings.HasPrefix(r.GetName(), begin) {
			all = append(all, SIPRule{ID: r.SipDispatchRuleId, Name: r.Name, Room: direct.GetRoomName(), PIN: direct.GetPin(), Trunks: r.TrunkIds})
		}
	}
	return all, err
}

// CreateSIPRule makes a rule.
func (c *Client) CreateSIPRule(ctx context.Context, r SIPRule) error {
	_, err := askSIP(ctx, c, govern, c.sip.CreateSIPDispatchRule, &livekit.CreateSIPDispatchRuleRequest{DispatchRule: &livekit.SIPDispatchRuleInfo{
		Name: r.Name, TrunkIds: r.Trunks,
		Rule: &livekit.SIPDispatchRule{Rule: &livekit.SIPDispatchRule_DispatchRuleDirect{
			DispatchRuleDirect: &livekit.SIPDispatchRuleDirect{RoomName: r.Room, Pin: r.PIN},
		}},
	}})
	return err
}

// DeleteSIPRule removes a rule, if it is there.
func (c *Client) DeleteSIPRule(ctx context.Context, id string) error {
	_, err := askSIP(ctx, c, govern, c.sip.DeleteSIPDispatchRule, &livekit.DeleteSIPDispatchRuleRequest{SipDispatchRuleId: id})
	return found(err)
}

// SIPCall is what LiveKit SIP says of a phone that it has brought: what it calls the call, and the numbers as the network wrote them.
func (p *Participant) SIPCall() (reference, called, caller string) {
	return p.Attributes[livekit.AttrSIPCallID], p.Attributes[livekit.AttrSIPTrunkNumber], p.Attributes[livekit.AttrSIPPhoneNumber]
}

// SIPCall is a call to make.
type SIPCall struct {
	// Trunk is the id of the trunk that it goes out over, Number whom to call, Caller what they see.
	Trunk, Number, Caller string
	// Room is where the phone comes to, by the Identity.
	Room, Identity, Name string
	// Ringing is how long it may ring, Longest how long the call may last.
	Ringing, Longest time.Duration
}

// CallBySIP begins to call somebody. What becomes of the call is what becomes of the participant.
func (c *Client) CallBySIP(ctx context.Context, s SIPCall) error {
	_, err := askSIP(ctx, c, auth.SIPGrant{Call: true}, c.sip.CreateSIPParticipant, &livekit.CreateSIPParticipantRequest{
		SipTrunkId: s.Trunk, SipCallTo: s.Number, SipNumber: s.Caller, RoomName: s.Room, ParticipantIdentity: s.Identity, ParticipantName: s.Name,
		HidePhoneNumber: true, RingingTimeout: durationpb.New(s.Ringing), MaxCallDuration: durationpb.New(s.Longest),
	})
	return err
}
