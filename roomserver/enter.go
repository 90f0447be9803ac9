package roomserver

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
)

// Entry is somebody who comes into a room by a third-party invite.
type Entry struct {
	Room          matrix.RoomID
	Inviter, User matrix.UserID
	// Token is the third-party invite's. PublicKey is the only key that it may have, and Signed is signed with it.
	Token, PublicKey string
	Signed           json.RawMessage
	// Profile is the user's, nil if it has to be looked up.
	Profile *Profile
	// Note gives, from the content of the state of InvitationType that there is, what the inviter says now; nil says nothing.
	Note func(present []byte) []byte
}

// Enter makes the invite of a third-party invite, and the join that follows it: one unit, so that many who come at once are
// stored in few commits. It returns the membership from before, "" for none. Whoever has left, or was removed, does not come in again.
func (s *Server) Enter(ctx context.Context, e Entry) (before string, err error) {
	room, err := s.Room(ctx, e.Room)
	if err != nil {
		return "", err
	}
	if e.Profile == nil {
		p, err := s.cfg.Profile(ctx, e.User)
		if err != nil {
			return "", fmt.Errorf("load profile: %w", err)
		}
		e.Profile = &p
	}
	if err := s.mayComeIn(ctx, room); err != nil {
		return "", err
	}
	if err := s.mayGrow(ctx, room, spec.MRoomMember, string(e.User)); err != nil {
		return "", err
	}
	_, err = s.append(ctx, room, nil, func(v *view) (drafts []draft, err error) {
		before, drafts, err = v.entry(&e)
		return drafts, err
	})
	return before, err
}

// entry is what has to be sent for somebody who comes in.
func (v *view) entry(e *Entry) (before string, drafts []draft, err error) {
	key := string(e.User)
	if v.get(spec.MRoomMember, key) != nil {
		before = v.membership(e.User)
	}
	third, inviter, told := v.get(spec.MRoomThirdPartyInvite, e.Token), v.membership(e.Inviter), v.content(InvitationType, e.Token)
	rules, err := v.rules()
	if err != nil || len(v.missing) > 0 {
		return before, nil, err
	}
	switch before {
	case spec.Join:
		return before, nil, nil
	case spec.Leave, spec.Ban:
		return before, nil, matrix.Forbidden("whoever has left the room, or was removed, needs another invite")
	case spec.Invite:
	default:
		if third == nil || inviter != spec.Join || !third.heldBy(e) {
			return before, nil, matrix.Forbidden("the room has no such third-party invite")
		}
		invite, err := e.content(spec.Invite, map[string]any{
			"display_name": gjson.GetBytes(third.json, "content.display_name").String(), "signed": e.Signed,
		})
		if err != nil {
			return before, nil, err
		}
		drafts = append(drafts, draft{Type: spec.MRoomMember, StateKey: &key, Sender: e.Inviter, Content: invite})
	}
	join, err := e.content(spec.Join, nil)
	if err != nil {
		return before, nil, err
	}
	drafts = append(drafts, draft{Type: spec.MRoomMember, StateKey: &key, Sender: e.User, Content: join})
	if note := e.Note(told); note != nil && rules.MaySend(e.Inviter, inviter, InvitationType) {
		drafts = append(drafts, draft{Type: InvitationType, StateKey: &e.Token, Sender: e.Inviter, Content: note})
	}
	return before, drafts, nil
}

// heldBy reports whether a third-party invite is the one that an entry names: its inviter's, and with no other key.
func (third *stateEvent) heldBy(e *Entry) bool {
	return gjson.GetBytes(third.json, "sender").String() == string(e.Inviter) && SignedWith(contentOf(third.json), e.PublicKey)
}

func (e *Entry) content(membership string, third map[string]any) ([]byte, error) {
	content := map[string]any{"membership": membership}
	if third != nil {
		content["third_party_invite"] = third
	}
	e.Profile.into(content)
	return canonical(content)
}
