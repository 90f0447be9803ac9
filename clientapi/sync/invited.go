package sync

import (
	"context"
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

// invite takes a room into the answer if the client has not heard of the invitation.
func (b *build) invite(m roomMembership) {
	if b.changed(&m) && !isHidden(b.policy, &m) {
		b.invites = append(b.invites, &invitation{roomMembership: m})
	}
}

// isHidden reports whether a membership is an invitation that is not told, because who invites is ignored, or blocked by now.
//
// Spec: client-server v1.19 §ignoring-users, §invite-permission
func isHidden(policy invites.Policy, m *roomMembership) bool {
	return m.value == memberInvite && policy.Decide(m.sender) != invites.Allow
}

// endBefore makes hidden invitations the end of what was before them, if that was a membership of which the client may know: who
// was put out of a room and then invited by somebody ignored has left it, as far as the client is concerned.
func (s *Server) endBefore(ctx context.Context, user matrix.UserID, hidden []*roomMembership) error {
	nids := make([]int64, len(hidden))
	for i, m := range hidden {
		nids[i] = m.nid
	}
	visible, err := s.cfg.Rooms.Visibilities(ctx, nids, user)
	if err != nil {
		return fmt.Errorf("load what was before invitations: %w", err)
	}
	for _, m := range hidden {
		value, since := visible[m.nid].Before(m.position)
		if since > 0 && (value == memberLeave || value == memberBan) {
			m.value, m.position = value, since
		}
	}
	return nil
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
