package sync

import (
	"fmt"

	"github.com/roomline/roomline/clientapi/invites"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// invitation is a room that the user is invited to, or has knocked on.
type invitation struct {
	roomMembership
	stripped []*store.Event
}

// invite takes a room into the answer if the client has not heard of the invitation. Invitations by users who are
// ignored, or blocked by now, are not told.
//
// Spec: client-server v1.19 §ignoring-users, §invite-permission
func (b *build) invite(m roomMembership) {
	if !b.changed(&m) {
		return
	}
	if m.value == memberInvite && b.policy.Decide(m.sender) != invites.Allow {
		return
	}
	b.invites = append(b.invites, &invitation{roomMembership: m})
}

// loadInvites reads what may be shown of the rooms: their stripped state, who invited, and the invitation itself.
//
// Spec: client-server v1.19 §stripped-state
func (b *build) loadInvites() error {
	if len(b.invites) == 0 {
		return nil
	}
	type place struct {
		nid int64
		key stateKey
	}
	var keys []store.KeyAt
	for _, inv := range b.invites {
		for _, k := range b.strippedKeys(inv) {
			keys = append(keys, store.KeyAt{RoomNID: inv.nid, Type: k.typ, Key: k.key, At: inv.position})
		}
	}
	list, err := b.s.cfg.Store.ListStateAt(b.ctx, keys)
	if err != nil {
		return fmt.Errorf("load invitations: %w", err)
	}
	found := make(map[place]*store.Event, len(list))
	for i := range list {
		found[place{list[i].RoomNID, keyOf(&list[i])}] = &list[i]
	}
	for _, inv := range b.invites {
		for _, k := range b.strippedKeys(inv) {
			if e := found[place{inv.nid, k}]; e != nil {
				inv.stripped = append(inv.stripped, e)
			}
		}
	}
	return nil
}

// strippedKeys are the parts of a room's state that an invited or knocking user is shown, the own membership last.
func (b *build) strippedKeys(inv *invitation) []stateKey {
	keys := make([]stateKey, 0, len(event.StrippedKeys)+2)
	for _, k := range event.StrippedKeys {
		keys = append(keys, stateKey{k.Type, k.Key})
	}
	if inv.sender != b.e.id {
		keys = append(keys, memberStateKey(inv.sender))
	}
	return append(keys, memberStateKey(b.e.id))
}

func memberStateKey(id matrix.UserID) stateKey { return stateKey{typeMember, string(id)} }
