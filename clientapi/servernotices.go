package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// tagServerNotice marks the room in which the server speaks to a user.
const tagServerNotice = "m.server_notice"

// ServerNoticesConfig is how the server looks to users whom it writes to.
type ServerNoticesConfig struct {
	// DisplayName and AvatarURL are the sender's, RoomName is what the room is called.
	DisplayName, AvatarURL, RoomName string
}

type serverNoticeRequest struct {
	UserID   *string         `json:"user_id"`
	Content  json.RawMessage `json:"content"`
	Type     string          `json:"type"`
	StateKey *string         `json:"state_key"`
}

// sendServerNotice writes to a user in the name of the server, for an administrator of the user's organisation. It is what existing
// tools use.
//
// Spec: client-server v1.19 §server-notices
func (s *Server) sendServerNotice(ctx context.Context, c *httpapi.Call, req *serverNoticeRequest) (any, error) {
	return s.serverNotice(ctx, c, req, nil)
}

// sendServerNoticeOnce is sendServerNotice with a transaction id: repeated, it sends nothing more.
//
// Spec: client-server v1.19 §server-notices
func (s *Server) sendServerNoticeOnce(ctx context.Context, c *httpapi.Call, req *serverNoticeRequest) (any, error) {
	txn, err := transaction(c, "server_notice|"+string(c.Requester.User))
	if err != nil {
		return nil, err
	}
	return s.serverNotice(ctx, c, req, txn)
}

func (s *Server) serverNotice(ctx context.Context, c *httpapi.Call, req *serverNoticeRequest, txn *roomserver.Txn) (any, error) {
	if err := mustManagePeople(c); err != nil {
		return nil, err
	}
	if req.UserID == nil {
		return nil, matrix.MissingParam("user_id is missing")
	}
	if isAbsent(req.Content) {
		return nil, matrix.MissingParam("content is missing")
	}
	id, err := matrix.ParseUserID(*req.UserID)
	if err != nil {
		return nil, matrix.InvalidParam("user_id is not a user id")
	}
	user, err := s.store.GetUser(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	if err != nil || user.Deactivated() || user.OrganisationID != c.Requester.Org || id == serverNoticesUser(id) {
		return nil, matrix.NotFound("user %s not found", id)
	}
	room, err := s.noticeRoom(ctx, user)
	if err != nil {
		return nil, err
	}
	e := roomserver.NewEvent{Room: room.ID, Sender: serverNoticesUser(id), Type: req.Type, StateKey: req.StateKey, Txn: txn}
	if e.Type == "" {
		e.Type = "m.room.message"
	}
	if err := checkEventType(e.Type); err != nil {
		return nil, err
	}
	if e.StateKey != nil {
		if err := checkStateKey(e.Type, *e.StateKey); err != nil {
			return nil, err
		}
	}
	if e.Content, err = readObject("content", req.Content, room.Version); err != nil {
		return nil, err
	}
	event, err := s.rooms.Send(ctx, e)
	if err != nil {
		return nil, err
	}
	return eventResponse{event}, s.store.AppendAudit(ctx, s.entry(c, "server_notice.send", string(id)))
}

// serverNoticesUser is the account in whose name the server writes to a user.
func serverNoticesUser(user matrix.UserID) matrix.UserID {
	return matrix.ServerNoticesUser(user.Domain())
}

// noticeRoom is the room in which the server speaks to the user, who is invited unless the user is there.
func (s *Server) noticeRoom(ctx context.Context, user store.User) (roomserver.Info, error) {
	row, err := s.store.GetServerNoticeRoom(ctx, user.UserID)
	if errors.Is(err, store.ErrNotFound) {
		if err := s.makeNoticeRoom(ctx, user); err != nil {
			return roomserver.Info{}, err
		}
		row, err = s.store.GetServerNoticeRoom(ctx, user.UserID)
	}
	if err != nil {
		return roomserver.Info{}, fmt.Errorf("look up the notices room of %s: %w", user.UserID, err)
	}
	room, err := s.rooms.Room(ctx, row.ID)
	if err != nil {
		return room, err
	}
	m, err := s.store.GetMembership(ctx, room.NID, user.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return room, fmt.Errorf("load membership of %s: %w", room.ID, err)
	}
	if m.Membership == joined || m.Membership == "invite" {
		return room, nil
	}
	err = s.rooms.Invite(ctx, roomserver.Membership{Room: room.ID, Sender: serverNoticesUser(user.UserID), Target: user.UserID})
	if err != nil {
		return room, err
	}
	return room, s.editTags(ctx, user.UserID, room.NID, func(tags map[string]json.RawMessage) (bool, error) {
		_, there := tags[tagServerNotice]
		tags[tagServerNotice] = json.RawMessage(`{}`)
		return !there, nil
	})
}

// makeNoticeRoom makes the user's room, if nobody else does meanwhile: the second room that two processes make at once stays
// empty and unknown.
func (s *Server) makeNoticeRoom(ctx context.Context, user store.User) error {
	sender := serverNoticesUser(user.UserID)
	if err := s.ensureNoticesAccount(ctx, sender, user.OrganisationID); err != nil {
		return err
	}
	id, err := s.rooms.CreateRoom(ctx, roomserver.CreateRoom{
		Creator: sender, OrganisationID: user.OrganisationID, Preset: roomserver.PresetPrivate, Name: s.cfg.ServerNotices.RoomName,
		// The user reads, and does not answer.
		PowerLevelOverride: []byte(`{"users_default":-10}`),
	})
	if err != nil {
		return err
	}
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return err
	}
	if _, err := s.store.InsertServerNoticeRoom(ctx, user.UserID, room.NID); err != nil {
		return fmt.Errorf("keep the notices room of %s: %w", user.UserID, err)
	}
	return nil
}

// ensureNoticesAccount makes the account, which has no password and no devices, and gives it its name.
func (s *Server) ensureNoticesAccount(ctx context.Context, id matrix.UserID, organisation int64) error {
	profile := map[string]string{fieldDisplayname: s.cfg.ServerNotices.DisplayName, fieldAvatarURL: s.cfg.ServerNotices.AvatarURL}
	err := s.store.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.InsertUser(ctx, store.User{UserID: id, OrganisationID: organisation, Machine: true, CreatedTS: s.now()}); err != nil {
			return err
		}
		for key, value := range profile {
			if value == "" {
				continue
			}
			raw, err := json.Marshal(value)
			if err != nil {
				return err
			}
			if err := tx.PutProfileField(ctx, store.ProfileField{UserID: id, Key: key, Value: raw}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make the account %s: %w", id, err)
	}
	return nil
}

// mayReject refuses to turn down the invite to the room in which the server speaks to the user. Who has joined it may leave.
//
// Spec: client-server v1.19 §server-notices
func (s *Server) mayReject(ctx context.Context, user matrix.UserID, room matrix.RoomID) error {
	invited, err := s.store.IsInvitedToServerNotices(ctx, user, room)
	if err != nil {
		return fmt.Errorf("look up the notices room of %s: %w", user, err)
	}
	if invited {
		return matrix.NewError(http.StatusForbidden, matrix.ErrCannotLeaveServerNoticeRoom, "this is where the server writes to you; the invite cannot be rejected")
	}
	return nil
}
