package event

import (
	"encoding/json"

	"github.com/roomline/roomline/internal/matrix"
)

// StateKey is the place of an event in the state of a room.
type StateKey struct{ Type, Key string }

// AuthKeys says which events of the current state are the auth events of an event. Those that are missing in the state are left out
// by the caller. From room version 12 on the create event is not among them; [Check] needs it all the same.
//
// Spec: server-server v1.19 §auth-events-selection
func AuthKeys(p *Proto) []StateKey {
	if p.isCreate() {
		return nil
	}
	keys := make([]StateKey, 0, 6)
	if !p.Version.DomainlessRoomIDs {
		keys = append(keys, StateKey{typeCreate, ""})
	}
	keys = append(keys, StateKey{typePowerLevels, ""}, StateKey{typeMember, string(p.Sender)})
	if p.Type != typeMember || p.StateKey == nil {
		return keys
	}
	return p.appendMemberAuthKeys(keys)
}

func (p *Proto) appendMemberAuthKeys(keys []StateKey) []StateKey {
	if *p.StateKey != string(p.Sender) {
		keys = append(keys, StateKey{typeMember, *p.StateKey})
	}
	switch membership := stringMember(p.Content, "membership"); membership {
	case "join", "invite", "knock":
		keys = append(keys, StateKey{typeJoinRules, ""})
		if membership == "invite" {
			if token := inviteToken(p.Content); token != "" {
				keys = append(keys, StateKey{typeThirdPartyInvite, token})
			}
		}
		if membership == "join" && p.Version.RestrictedAllowed {
			by := stringMember(p.Content, "join_authorised_via_users_server")
			if by != "" && by != string(p.Sender) && by != *p.StateKey {
				keys = append(keys, StateKey{typeMember, by})
			}
		}
	}
	return keys
}

// inviteToken is third_party_invite.signed.token of the content of m.room.member.
func inviteToken(content []byte) string {
	invite, _ := memberOf(content, "third_party_invite")
	signed, _ := memberOf(invite, "signed")
	return stringMember(signed, "token")
}

// stringMember is the string under a key of an object, "" when there is none.
func stringMember(object []byte, key string) string {
	raw, ok := memberOf(object, key)
	if !ok || len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	for _, c := range raw {
		if c == '\\' {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				return ""
			}
			return s
		}
	}
	return string(raw[1 : len(raw)-1])
}

// Membership is content.membership of an m.room.member event, "" when it is not a string.
func Membership(content []byte) string { return stringMember(content, "membership") }

// AuthorisedVia is the user whose server vouches for a join to a restricted room, "" when the content names none.
func AuthorisedVia(content []byte) matrix.UserID {
	return matrix.UserID(stringMember(content, "join_authorised_via_users_server"))
}
