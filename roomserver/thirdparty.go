package roomserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Third-party invites: somebody who has no account yet, or whose account is not known, is asked into the room with a key. Whoever shows the
// token of the invite, signed with that key for their user id, is invited by it.
//
// Spec: client-server v1.19 §third-party-invites, §mroomthird_party_invite

const (
	// ThirdPartyInviteType is the type of third-party invites.
	ThirdPartyInviteType = spec.MRoomThirdPartyInvite
	// InvitationType is state that says how far an invitation of somebody outside has come. Whoever may invite may send it.
	InvitationType = "org.roomline.invitation"
)

// ThirdPartyInvite is an invite to whoever can show a signature of the token.
type ThirdPartyInvite struct {
	Room   matrix.RoomID
	Sender matrix.UserID
	Token  string
	// DisplayName stands for who is invited. It must not be the address, which everybody in the room would learn.
	DisplayName string
	// PublicKey is the key that the token is signed with, in unpadded base64; KeyValidityURL says whether it still holds.
	PublicKey      string
	KeyValidityURL string
}

// InviteThirdParty puts a third-party invite into the room.
func (s *Server) InviteThirdParty(ctx context.Context, i ThirdPartyInvite) error {
	content, err := canonical(map[string]any{
		"display_name": i.DisplayName, "public_key": i.PublicKey, "key_validity_url": i.KeyValidityURL,
		"public_keys": []any{map[string]any{"public_key": i.PublicKey, "key_validity_url": i.KeyValidityURL}},
	})
	if err != nil {
		return err
	}
	_, err = s.Send(ctx, NewEvent{Room: i.Room, Sender: i.Sender, Type: spec.MRoomThirdPartyInvite, StateKey: &i.Token, Content: content})
	return err
}

// ThirdPartyStatus is what the room's state says of a third-party invite.
type ThirdPartyStatus struct {
	// Known: the room has had such an invite. Holds: it has one whose only key is the one asked for.
	Known, Holds bool
	// InviterJoined: the user who is asked about is in the room.
	InviterJoined bool
}

// ThirdParty says what has become of a third-party invite with a token and a key, that inviter has sent.
func (s *Server) ThirdParty(ctx context.Context, room Info, inviter matrix.UserID, token, publicKey string) (ThirdPartyStatus, error) {
	state, err := s.cfg.Store.ListStateEventsFor(ctx, room.NID, store.CurrentState, []store.StateKey{
		{Type: spec.MRoomThirdPartyInvite, Key: token}, {Type: spec.MRoomMember, Key: string(inviter)},
	})
	if err != nil {
		return ThirdPartyStatus{}, fmt.Errorf("load third-party invite: %w", err)
	}
	var status ThirdPartyStatus
	for i := range state {
		if state[i].Type == spec.MRoomMember {
			status.InviterJoined = gjson.GetBytes(state[i].JSON, "content.membership").String() == spec.Join
			continue
		}
		status.Known = true
		status.Holds = state[i].Sender == inviter && SignedWith(contentOf(state[i].JSON), publicKey)
	}
	return status, nil
}

// SignedWith reports whether the content of m.room.third_party_invite names this key and no other.
func SignedWith(content []byte, publicKey string) bool {
	keys := gjson.GetBytes(content, "public_keys.#.public_key").Array()
	return len(keys) == 1 && keys[0].String() == publicKey && gjson.GetBytes(content, "public_key").String() == publicKey
}

// WithdrawThirdParty empties a third-party invite, so that nobody is invited by it any more: in the name of the user if the user may, otherwise
// of somebody in the room who may. Where nobody may it stays.
func (s *Server) WithdrawThirdParty(ctx context.Context, id matrix.RoomID, user matrix.UserID, token string) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	present, err := s.cfg.Store.GetStateEvent(ctx, room.NID, store.CurrentState, spec.MRoomThirdPartyInvite, token)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load third-party invite: %w", err)
	}
	empty := []byte("{}")
	if bytes.Equal(contentOf(present.JSON), empty) {
		return nil
	}
	e := NewEvent{Room: id, Sender: user, Type: spec.MRoomThirdPartyInvite, StateKey: &token, Content: empty}
	_, err = s.Send(ctx, e)
	if refusal, ok := matrix.AsError(err); !ok || refusal.Code != matrix.ErrForbidden {
		return err
	}
	rules, err := s.Rules(ctx, room)
	if err != nil {
		return err
	}
	able, err := s.joinedLocals(ctx, room, rules, rules.Levels.Invite)
	if err != nil || len(able) == 0 {
		return err
	}
	e.Sender = able[0]
	_, err = s.Send(ctx, e)
	return err
}

// InviteBySignature invites who has a signature of the token of a third-party invite: signed has mxid, token and signatures. Whoever is invited
// or in the room already stays so.
func (s *Server) InviteBySignature(ctx context.Context, m Membership, signed json.RawMessage) error {
	room, err := s.Room(ctx, m.Room)
	if err != nil {
		return err
	}
	content, err := s.memberContent(ctx, m, spec.Invite, true)
	if err != nil {
		return err
	}
	token := gjson.GetBytes(signed, "token").String()
	invite, err := s.cfg.Store.GetStateEvent(ctx, room.NID, store.CurrentState, spec.MRoomThirdPartyInvite, token)
	if errors.Is(err, store.ErrNotFound) {
		return matrix.Forbidden("the room has no such third-party invite")
	}
	if err != nil {
		return fmt.Errorf("load third-party invite: %w", err)
	}
	content["third_party_invite"] = map[string]any{
		"display_name": gjson.GetBytes(invite.JSON, "content.display_name").String(), "signed": signed,
	}
	return s.change(ctx, room, m, content, func(_ *view, present string) (bool, error) {
		return present == spec.Join || present == spec.Invite, nil
	})
}
