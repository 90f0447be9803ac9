package accounts

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// directoryLocalpart is the account that makes the rooms of groups. It has no password and no devices; such names are kept for bridges,
// so that nobody can register it.
const directoryLocalpart = "_directory"

// How groups are worked on: for how long a process has a group before others may take it, and how many people at a time.
const (
	groupLease = 15 * time.Second
	groupBatch = 200
)

// CreateGroup makes a group of people. Its room, unless it names one, is made afterwards.
func (s *Server) CreateGroup(ctx context.Context, a Actor, g store.ScimGroup, users []matrix.UserID) (store.ScimGroup, error) {
	g.OrganisationID = a.Org
	switch {
	case g.Kind == "":
		g.Kind = "room"
	case g.Kind == "none" && g.RoomID != "":
		return g, matrix.InvalidParam("kind: none has no room")
	}
	if g.RoomID != "" {
		room, err := s.cfg.Rooms.Room(ctx, g.RoomID)
		if err == nil && room.OrganisationID != a.Org {
			err = matrix.NotFound("room not found")
		}
		if e, ok := matrix.AsError(err); ok {
			return g, matrix.InvalidParam("roomId: %s", e.Message)
		}
		if err != nil {
			return g, err
		}
	}
	g.GroupID, g.CreatedTS = rand.Text(), s.now()
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.InsertScimGroup(ctx, g); err != nil {
			return err
		}
		if err := putMembers(ctx, tx, g, users); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, "group.create", g.GroupID, map[string]any{"members": len(users), "kind": g.Kind})
	})
	if err != nil {
		return g, fmt.Errorf("make a group: %w", err)
	}
	s.work.Ring()
	return g, nil
}

func putMembers(ctx context.Context, tx *store.Tx, g store.ScimGroup, users []matrix.UserID) error {
	unknown, err := tx.PutScimMembers(ctx, g, users)
	if err == nil && len(unknown) > 0 {
		err = matrix.InvalidParam("members: %d of them are not people of the organisation, the first is %s", len(unknown), unknown[0])
	}
	return err
}

// UpdateGroup changes a group as to says.
func (s *Server) UpdateGroup(
	ctx context.Context, a Actor, id string, to func(g store.ScimGroup, present []store.ScimMember) (store.ScimGroup, []matrix.UserID, error),
) error {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		before, err := tx.LockScimGroup(ctx, a.Org, id)
		if err != nil {
			return err
		}
		present, err := tx.ListScimMembers(ctx, []string{id})
		if err != nil {
			return err
		}
		g, users, err := to(before, present)
		if err != nil || g == before && sameMembers(present, users) {
			return err
		}
		g.ModifiedTS = max(s.now(), before.ModifiedTS+1)
		if err := putMembers(ctx, tx, g, users); err != nil {
			return err
		}
		if err := tx.PutScimGroup(ctx, g); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, "group.change", id, map[string]any{"members": len(users)})
	})
	if err != nil {
		return fmt.Errorf("change a group: %w", err)
	}
	s.work.Ring()
	return nil
}

// sameMembers compares lists that are both in order.
func sameMembers(present []store.ScimMember, users []matrix.UserID) bool {
	if len(present) != len(users) {
		return false
	}
	for i := range users {
		if present[i].UserID != users[i] {
			return false
		}
	}
	return true
}

// DeleteGroup takes everybody out of the group's room, and then forgets the group. The room stays.
func (s *Server) DeleteGroup(ctx context.Context, a Actor, id string) error {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		g, err := tx.LockScimGroup(ctx, a.Org, id)
		if err != nil {
			return err
		}
		if err := tx.DeleteScimGroup(ctx, id, max(s.now(), g.ModifiedTS+1)); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, "group.delete", id, nil)
	})
	if err != nil {
		return fmt.Errorf("delete a group: %w", err)
	}
	s.work.Ring()
	return nil
}

// runGroups makes rooms follow their groups.
func (s *Server) runGroups(ctx context.Context) {
	s.workOff(ctx, "make a room follow its group", func(ctx context.Context) error {
		g, err := s.cfg.Store.ClaimScimGroup(ctx, groupLease)
		if err != nil {
			return err
		}
		return s.followGroup(ctx, g)
	})
}

// followGroup makes the room what the group says, as far as it comes within the lease.
func (s *Server) followGroup(ctx context.Context, g store.ScimGroup) error {
	ctx, cancel := context.WithTimeout(ctx, groupLease*2/3)
	defer cancel()
	if g.RoomID == "" && g.Kind != "none" && !g.Deleted {
		var err error
		if g.RoomID, err = s.makeGroupRoom(ctx, g); err != nil {
			return err
		}
	}
	for _, leave := range []bool{true, false} {
		if err := s.enrol(ctx, g, leave); err != nil {
			return err
		}
	}
	return s.cfg.Store.FinishScimGroup(ctx, g)
}

// enrol puts people into the room, or takes them out.
func (s *Server) enrol(ctx context.Context, g store.ScimGroup, leave bool) error {
	for {
		users, err := s.cfg.Store.ListScimEnrolments(ctx, g.GroupID, leave, groupBatch)
		if err != nil || len(users) == 0 {
			return err
		}
		for _, user := range users {
			if g.RoomID != "" {
				move := s.cfg.Rooms.Enrol
				if leave {
					move = s.cfg.Rooms.Expel
				}
				err := move(ctx, g.RoomID, user)
				if e, refused := matrix.AsError(err); refused {
					// Who is banned stays out.
					s.cfg.Log.Info("the room of a group does not take a change", "group", g.GroupID, "user", string(user), "why", e.Message)
				} else if err != nil {
					return err
				}
			}
			if err := s.cfg.Store.PutScimEnrolled(ctx, g.GroupID, user, leave); err != nil {
				return err
			}
		}
	}
}

// makeGroupRoom makes the room or space of a group.
func (s *Server) makeGroupRoom(ctx context.Context, g store.ScimGroup) (matrix.RoomID, error) {
	domain, err := s.cfg.Store.GetOrganisationDomain(ctx, g.OrganisationID)
	if err != nil {
		return "", fmt.Errorf("look up the organisation's domain: %w", err)
	}
	creator := matrix.UserID("@" + directoryLocalpart + ":" + string(domain))
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.InsertUser(ctx, store.User{UserID: creator, OrganisationID: g.OrganisationID, Machine: true, CreatedTS: s.now()})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make the account %s: %w", creator, err)
	}
	c := roomserver.CreateRoom{Creator: creator, OrganisationID: g.OrganisationID, Preset: roomserver.PresetPrivate, Name: g.DisplayName[:min(len(g.DisplayName), limits.DisplayName)]}
	if g.Kind == "space" {
		c.CreationContent = []byte(`{"type":"m.space"}`)
	}
	room, err := s.cfg.Rooms.CreateRoom(ctx, c)
	if err != nil {
		return "", fmt.Errorf("make a group's room: %w", err)
	}
	return room, s.cfg.Store.PutScimGroupRoom(ctx, g.GroupID, room)
}
