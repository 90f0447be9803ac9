package clientapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/clientapi/push"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Types of account data that the server has a part in.
const (
	typeFullyRead = "m.fully_read"
	typePushRules = push.TypeRules
	typeTag       = "m.tag"
)

// setAccountData sets account data of the requester.
//
// Spec: client-server v1.19 §client-config, PUT /_matrix/client/v3/user/{userId}/account_data/{type}
func (s *Server) setAccountData(ctx context.Context, c *httpapi.Call) (any, error) {
	if _, err := ownUser(c); err != nil {
		return nil, err
	}
	return nil, s.putAccountData(ctx, c.Requester, 0, c.Path("type"), c.Body)
}

// getAccountData answers account data of the requester.
//
// Spec: client-server v1.19 §client-config, GET /_matrix/client/v3/user/{userId}/account_data/{type}
func (s *Server) getAccountData(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := ownUser(c)
	if err != nil {
		return nil, err
	}
	return s.readAccountData(ctx, user, 0, c.Path("type"))
}

// setAccountDataPerRoom sets account data of the requester for a room.
//
// Spec: client-server v1.19 §client-config, PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
func (s *Server) setAccountDataPerRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	_, room, err := s.ownRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.putAccountData(ctx, c.Requester, room, c.Path("type"), c.Body)
}

// getAccountDataPerRoom answers account data of the requester for a room.
//
// Spec: client-server v1.19 §client-config, GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
func (s *Server) getAccountDataPerRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	user, room, err := s.ownRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.readAccountData(ctx, user, room, c.Path("type"))
}

// ownUser is the path's user, who must be the requester.
func ownUser(c *httpapi.Call) (matrix.UserID, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return "", err
	}
	if user != c.Requester.User {
		return "", matrix.Forbidden("userId is not yours")
	}
	return user, nil
}

// ownRoom is the path's user, who must be the requester, and its room, with which the user must have had to do: to everybody
// else a room that exists is as one that doesn't.
func (s *Server) ownRoom(ctx context.Context, c *httpapi.Call) (matrix.UserID, int64, error) {
	user, err := ownUser(c)
	if err != nil {
		return "", 0, err
	}
	room, err := c.RoomID("roomId")
	if err != nil {
		return "", 0, err
	}
	nid, _, err := s.store.GetRoomMembership(ctx, room, user)
	if errors.Is(err, store.ErrNotFound) {
		return "", 0, matrix.NotFound("room not found")
	}
	if err != nil {
		return "", 0, fmt.Errorf("read membership: %w", err)
	}
	return user, nid, nil
}

func (s *Server) putAccountData(ctx context.Context, who *httpapi.Requester, room int64, typ string, content []byte) error {
	user := who.User
	if typ == typeFullyRead || typ == typePushRules {
		// Spec: client-server v1.19 §client-config
		return matrix.NewError(http.StatusMethodNotAllowed, matrix.ErrBadJSON, "%s can't be set here: the server manages it", typ)
	}
	if err := checkAccountData(typ, content); err != nil {
		return err
	}
	use, err := s.store.GetAccountDataUse(ctx, user, room, typ)
	if err != nil {
		return fmt.Errorf("count account data: %w", err)
	}
	keys, most := limits.AccountDataKeys, int64(limits.AccountDataBytes)
	if who.Guest {
		keys, most = limits.GuestAccountDataKeys, limits.GuestAccountDataBytes
	}
	if use.KeyBytes < 0 && use.Count >= keys {
		return matrix.TooLarge("you keep %d keys of account data; more are not possible", use.Count)
	}
	if grows := int64(len(content)) - max(use.KeyBytes, 0); grows > 0 && use.Bytes+grows > most {
		return matrix.TooLarge("your account data would be larger than %d bytes", most)
	}
	// What a user's own data names is kept, such as the pictures of a pack of stickers.
	if named := matrix.FindContentURIs(content, limits.MediaPerEvent); len(named) > 0 {
		if err := s.store.KeepMedia(ctx, user, named); err != nil {
			return fmt.Errorf("keep the media of account data: %w", err)
		}
	}
	_, err = s.journal.Put(ctx, store.Update{Kind: store.KindAccountData, RoomNID: room, UserID: user, Key: typ, Body: content})
	if err != nil {
		return fmt.Errorf("store account data: %w", err)
	}
	return nil
}

func checkAccountData(typ string, content []byte) error {
	if typ == "" || len(typ) > limits.EventType {
		return matrix.InvalidParam("type must have 1 to %d bytes", limits.EventType)
	}
	content = bytes.TrimSpace(content)
	if len(content) == 0 {
		return matrix.NotJSON("the body is empty; a JSON object is expected")
	}
	if content[0] != '{' {
		return matrix.BadJSON("the body must be a JSON object")
	}
	if len(content) > limits.AccountDataValue {
		return matrix.TooLarge("account data of one type must not be larger than %d bytes", limits.AccountDataValue)
	}
	return nil
}

func (s *Server) readAccountData(ctx context.Context, user matrix.UserID, room int64, typ string) (any, error) {
	value, err := s.store.GetUpdate(ctx, store.KindAccountData, room, user, typ)
	if room == 0 && typ == typePushRules && (err == nil || errors.Is(err, store.ErrNotFound)) {
		body, err := push.Content(user, value.Body)
		return httpapi.Raw(body), err
	}
	if errors.Is(err, store.ErrNotFound) || err == nil && len(value.Body) == 0 {
		return nil, matrix.NotFound("no account data of this type")
	}
	if err != nil {
		return nil, fmt.Errorf("read account data: %w", err)
	}
	return httpapi.Raw(value.Body), nil
}
