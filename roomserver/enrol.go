package roomserver

import (
	"context"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/matrix"
)

// Enrol makes a local user a member of a room because the organisation says so: somebody in the room who may invites, and the user
// joins. A member stays one.
func (s *Server) Enrol(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	present, err := s.cfg.Store.ListMembershipsOf(ctx, user, []matrix.RoomID{id})
	if err != nil {
		return fmt.Errorf("load membership: %w", err)
	}
	if len(present) > 0 && present[0].Membership == spec.Join {
		return nil
	}
	if len(present) == 0 || present[0].Membership != spec.Invite {
		if err := s.inviteForOrganisation(ctx, room, user); err != nil {
			return err
		}
	}
	return s.Join(ctx, Membership{Room: id, Sender: user})
}

// inviteForOrganisation lets somebody invite who may. Where nobody is, the room may be one that everybody can join.
func (s *Server) inviteForOrganisation(ctx context.Context, room Info, user matrix.UserID) error {
	rules, err := s.Rules(ctx, room)
	if err != nil {
		return err
	}
	able, err := s.joinedLocals(ctx, room, rules, rules.Levels.Invite)
	if err != nil || len(able) == 0 {
		return err
	}
	return s.Invite(ctx, Membership{Room: room.ID, Sender: able[0], Target: user})
}

// Expel ends a local user's membership because the organisation says so: somebody in the room who may kicks the user; where nobody may, the
// user leaves.
func (s *Server) Expel(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	present, err := s.cfg.Store.ListMembershipsOf(ctx, user, []matrix.RoomID{id})
	if err != nil {
		return fmt.Errorf("load membership: %w", err)
	}
	if len(present) == 0 || present[0].Membership == spec.Leave || present[0].Membership == spec.Ban {
		return nil
	}
	rules, err := s.Rules(ctx, room)
	if err != nil {
		return err
	}
	able, err := s.joinedLocals(ctx, room, rules, max(rules.Levels.Kick, rules.UserLevel(user)+1))
	if err != nil {
		return err
	}
	for _, who := range able {
		err := s.Kick(ctx, Membership{Room: id, Sender: who, Target: user})
		if _, refused := matrix.AsError(err); !refused {
			return err
		}
	}
	return s.Leave(ctx, Membership{Room: id, Sender: user})
}
