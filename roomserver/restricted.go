package roomserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// voucher returns the user who authorises a join that the room's join rule restricts to members of other rooms; "" when no
// voucher is needed or helps: the room's rules then have the last word.
//
// Spec: client-server v1.19 §restricted-rooms
func (s *Server) voucher(ctx context.Context, room Info, user matrix.UserID) (matrix.UserID, error) {
	if !room.Version.RestrictedAllowed {
		return "", nil
	}
	state, err := s.cfg.Store.ListStateEventsFor(ctx, room.NID, store.CurrentState, []store.StateKey{
		{Type: spec.MRoomJoinRules}, {Type: spec.MRoomCreate}, {Type: spec.MRoomPowerLevels},
		{Type: spec.MRoomMember, Key: string(user)},
	})
	if err != nil {
		return "", fmt.Errorf("load join rules: %w", err)
	}
	byType := make(map[string]*store.Event, len(state))
	for i := range state {
		byType[state[i].Type] = &state[i]
	}
	if m := byType[spec.MRoomMember]; m != nil {
		switch gjson.GetBytes(m.JSON, "content.membership").String() {
		case spec.Join, spec.Invite, spec.Ban:
			return "", nil
		}
	}
	rules := byType[spec.MRoomJoinRules]
	if rules == nil {
		return "", nil
	}
	if rule := gjson.GetBytes(rules.JSON, "content.join_rule").String(); rule != spec.Restricted && rule != spec.KnockRestricted {
		return "", nil
	}
	allowed, err := s.inAllowedRoom(ctx, rules.JSON, user)
	if err != nil || !allowed {
		return "", err
	}
	return s.inviter(ctx, room, byType[spec.MRoomCreate], byType[spec.MRoomPowerLevels], user.Domain())
}

// inAllowedRoom reports whether the user is joined to a room that the join rule names.
func (s *Server) inAllowedRoom(ctx context.Context, joinRules []byte, user matrix.UserID) (bool, error) {
	list, err := s.cfg.Store.ListMembershipsOf(ctx, user, allowedRooms(joinRules))
	if err != nil {
		return false, fmt.Errorf("load memberships: %w", err)
	}
	return slices.ContainsFunc(list, func(m store.Membership) bool { return m.Membership == spec.Join }), nil
}

// inviter finds a joined local user with the power to invite, of the given domain if there is one.
func (s *Server) inviter(ctx context.Context, room Info, create, levels *store.Event, domain matrix.ServerName) (matrix.UserID, error) {
	rules, err := parseRules(room, create, levels)
	if err != nil {
		return "", err
	}
	able, err := s.joinedLocals(ctx, room, rules, rules.Levels.Invite)
	if err != nil {
		return "", err
	}
	var found matrix.UserID
	for _, user := range able {
		if user.Domain() == domain {
			return user, nil
		}
		found = user
	}
	return found, nil
}

// joinedLocals finds joined local users who have at least this power. Who has more power than others stands in the power levels or is a
// creator; where everybody has enough, some members are asked.
func (s *Server) joinedLocals(ctx context.Context, room Info, rules *event.Rules, level int64) ([]matrix.UserID, error) {
	var candidates []matrix.UserID
	var err error
	if rules.Levels.UsersDefault >= level {
		if candidates, err = s.cfg.Store.ListSomeMembers(ctx, room.NID, limits.Vouchers); err != nil {
			return nil, fmt.Errorf("list members: %w", err)
		}
	}
	candidates = append(candidates, rules.Powerful(limits.Vouchers)...)
	joined, err := s.cfg.Store.ListJoinedOf(ctx, room.NID, candidates)
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	return slices.DeleteFunc(joined, func(user matrix.UserID) bool {
		return !s.cfg.Keys.IsLocal(user.Domain()) || rules.UserLevel(user) < level
	}), nil
}

// parseRules reads stored create and power level events.
func parseRules(room Info, create, levels *store.Event) (*event.Rules, error) {
	if create == nil {
		return nil, fmt.Errorf("room %s has no create event", room.ID)
	}
	createPDU, err := event.Parse(room.Version, create.EventID, create.JSON)
	if err != nil {
		return nil, fmt.Errorf("parse create event: %w", err)
	}
	if levels == nil {
		return event.NewRules(createPDU, nil)
	}
	levelsPDU, err := event.Parse(room.Version, levels.EventID, levels.JSON)
	if err != nil {
		return nil, fmt.Errorf("parse power levels: %w", err)
	}
	return event.NewRules(createPDU, levelsPDU)
}

// Rules returns the room's present power levels.
func (s *Server) Rules(ctx context.Context, room Info) (*event.Rules, error) {
	state, err := s.cfg.Store.ListStateEventsFor(ctx, room.NID, store.CurrentState,
		[]store.StateKey{{Type: spec.MRoomCreate}, {Type: spec.MRoomPowerLevels}})
	if err != nil {
		return nil, fmt.Errorf("load power levels: %w", err)
	}
	var create, levels *store.Event
	for i := range state {
		if state[i].Type == spec.MRoomCreate {
			create = &state[i]
		} else {
			levels = &state[i]
		}
	}
	return parseRules(room, create, levels)
}
