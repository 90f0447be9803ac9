package accounts

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// RoomDeletion is what is to become of a room that an organisation removes.
type RoomDeletion struct {
	// NewRoomUser makes a room into which those of the old one are moved, if it is not empty; RoomName and Message say what it is for.
	NewRoomUser matrix.UserID `json:"new_room_user_id,omitempty"`
	RoomName    string        `json:"room_name,omitempty"`
	Message     string        `json:"message,omitempty"`
	// Block keeps people from coming into the room, Purge removes all that there is of it.
	Block bool `json:"block,omitempty"`
	Purge bool `json:"purge,omitempty"`
}

// ShutdownStatus is what was done, in the form that existing tools know.
type ShutdownStatus struct {
	KickedUsers  []matrix.UserID    `json:"kicked_users"`
	FailedUsers  []matrix.UserID    `json:"failed_to_kick_users"`
	LocalAliases []matrix.RoomAlias `json:"local_aliases"`
	NewRoomID    *matrix.RoomID     `json:"new_room_id"`
}

// BlockRoom keeps people from coming into a room, or lets them in again.
func (s *Server) BlockRoom(ctx context.Context, a Actor, room matrix.RoomID, block bool) error {
	action := map[bool]string{true: "room.block", false: "room.unblock"}[block]
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.PutRoomBlock(ctx, room, a.Org, a.Name, s.now(), block); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, action, string(room), nil)
	})
}

// DeleteRoom removes a room of the organisation by and by, and returns the id of the deletion.
func (s *Server) DeleteRoom(ctx context.Context, a Actor, room matrix.RoomID, d RoomDeletion) (string, error) {
	request, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	row := store.RoomDeletion{ID: rand.Text(), OrganisationID: a.Org, RoomID: room, RequestedBy: a.Name, RequestedTS: s.now(), Request: request}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if held, err := tx.IsRoomHeld(ctx, room); err != nil || held {
			if err == nil {
				err = Held("the room")
			}
			return err
		}
		if err := tx.InsertRoomDeletion(ctx, row); err != nil {
			return err
		}
		if d.Block {
			if err := tx.PutRoomBlock(ctx, room, a.Org, a.Name, s.now(), true); err != nil {
				return err
			}
		}
		return s.audit(ctx, tx, a, "room.delete", string(room), map[string]any{"block": d.Block, "purge": d.Purge})
	})
	if err != nil {
		return "", fmt.Errorf("delete room %s: %w", room, err)
	}
	s.work.Ring()
	return row.ID, nil
}

// DeleteRoomAndWait removes a room with all that is in it, for an organisation that is removed, and returns when that is done.
func (s *Server) DeleteRoomAndWait(ctx context.Context, organisation int64, room matrix.RoomID) error {
	nid, err := s.cfg.Store.GetRoomNID(ctx, room)
	if err != nil || nid == 0 {
		return err
	}
	id, err := s.DeleteRoom(ctx, Actor{Org: organisation, Name: "operator", Owner: true}, room, RoomDeletion{Purge: true})
	if err != nil {
		return err
	}
	return s.await(ctx, func() (bool, error) {
		list, err := s.cfg.Store.ListRoomDeletions(ctx, organisation, id, "")
		return err == nil && (len(list) == 0 || list[0].DoneTS != 0), err
	})
}

// MakeRoomAdmin gives somebody the most power in a room that somebody there can give.
func (s *Server) MakeRoomAdmin(ctx context.Context, room matrix.RoomID, user matrix.UserID) error {
	return s.cfg.Rooms.Promote(ctx, room, user)
}

// roomLease is for how long a process has a deletion before others may take it.
const roomLease = 15 * time.Second

// runRoomDeletions removes rooms.
func (s *Server) runRoomDeletions(ctx context.Context) {
	s.workOff(ctx, "delete a room", func(ctx context.Context) error {
		d, err := s.cfg.Store.ClaimRoomDeletion(ctx, roomLease)
		if err != nil {
			return err
		}
		return s.removeRoom(ctx, d)
	})
}

// removeRoom empties a room and removes it. It may be begun anew at any time.
func (s *Server) removeRoom(ctx context.Context, d store.RoomDeletion) error {
	var request RoomDeletion
	var status ShutdownStatus
	if err := json.Unmarshal(d.Request, &request); err != nil {
		return err
	}
	if err := json.Unmarshal(d.Status, &status); err != nil {
		return err
	}
	nid, err := s.cfg.Store.GetRoomNID(ctx, d.RoomID)
	if err != nil {
		return err
	}
	if nid != 0 {
		if err := s.shutDown(ctx, &d, nid, &request, &status); err != nil {
			return err
		}
	}
	for gone := !request.Purge || nid == 0; !gone; {
		if gone, err = s.cfg.Store.PurgeRoom(ctx, nid, s.now()); err != nil {
			return fmt.Errorf("purge %s: %w", d.RoomID, err)
		}
		if err := s.cfg.Store.PutRoomDeletion(ctx, d, roomLease); err != nil {
			return err
		}
	}
	d.DoneTS = s.now()
	return s.cfg.Store.PutRoomDeletion(ctx, d, 0)
}

// shutDown takes everybody out of the room, and its aliases.
func (s *Server) shutDown(ctx context.Context, d *store.RoomDeletion, nid int64, request *RoomDeletion, status *ShutdownStatus) error {
	save := func() (err error) {
		if d.Status, err = json.Marshal(status); err != nil {
			return err
		}
		return s.cfg.Store.PutRoomDeletion(ctx, *d, roomLease)
	}
	if request.NewRoomUser != "" && status.NewRoomID == nil {
		room, err := s.newRoomInstead(ctx, d.OrganisationID, request)
		if err != nil {
			return err
		}
		status.NewRoomID = &room
		if err := save(); err != nil {
			return err
		}
	}
	aliases, err := s.cfg.Store.ListAliases(ctx, nid, 1000)
	if err != nil {
		return err
	}
	for _, alias := range aliases {
		if _, err := s.cfg.Store.DeleteAlias(ctx, alias); err != nil {
			return err
		}
		status.LocalAliases = append(status.LocalAliases, alias)
	}
	members, err := s.cfg.Store.ListRoomMembers(ctx, nid, []string{"join", "invite", "knock"})
	if err != nil {
		return err
	}
	for i, m := range members {
		if err := s.takeOut(ctx, d.RoomID, m.UserID, status); err != nil {
			return err
		}
		if i%100 == 99 {
			if err := save(); err != nil {
				return err
			}
		}
	}
	return save()
}

// takeOut ends somebody's membership, and moves whoever was in the room into the one instead of it.
func (s *Server) takeOut(ctx context.Context, room matrix.RoomID, user matrix.UserID, status *ShutdownStatus) error {
	_, err := s.cfg.Store.GetUser(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return nil // of another server
	}
	if err == nil {
		err = s.cfg.Rooms.Leave(ctx, roomserver.Membership{Room: room, Sender: user})
	}
	if _, refused := matrix.AsError(err); refused {
		status.FailedUsers = append(status.FailedUsers, user)
		return nil
	}
	if err != nil {
		return err
	}
	status.KickedUsers = append(status.KickedUsers, user)
	if status.NewRoomID != nil {
		if err := s.cfg.Rooms.Enrol(ctx, *status.NewRoomID, user); err != nil {
			if _, refused := matrix.AsError(err); !refused {
				return err
			}
		}
	}
	return nil
}

func (s *Server) newRoomInstead(ctx context.Context, org int64, request *RoomDeletion) (matrix.RoomID, error) {
	name, message := request.RoomName, request.Message
	if name == "" {
		name = "Room closed"
	}
	if message == "" {
		message = "The organisation has closed the room that you were in."
	}
	room, err := s.cfg.Rooms.CreateRoom(ctx, roomserver.CreateRoom{
		Creator: request.NewRoomUser, OrganisationID: org, Preset: roomserver.PresetPrivate, Name: name, PowerLevelOverride: []byte(`{"users_default":-10}`),
	})
	if err != nil {
		return "", fmt.Errorf("make a room instead: %w", err)
	}
	content, err := json.Marshal(map[string]string{"body": message, "msgtype": "m.text"})
	if err != nil {
		return "", err
	}
	_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: room, Sender: request.NewRoomUser, Type: "m.room.message", Content: content})
	return room, err
}
