package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Backups of room keys. Keys are written to the latest version only; who writes to another one has missed that somebody began
// a new backup, and is told which.
//
// Spec: client-server v1.19 §server-side-key-backups

type backupVersionRequest struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Version   *string         `json:"version"`
}

type backupVersionResponse struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Count     int64           `json:"count"`
	ETag      string          `json:"etag"`
	Version   string          `json:"version"`
}

// backupChanged says what a backup holds after a change.
type backupChanged struct {
	Count int64  `json:"count"`
	ETag  string `json:"etag"`
}

func changed(b store.KeyBackup) backupChanged {
	return backupChanged{b.Keys, strconv.FormatInt(b.ETag, 10)}
}

func (r *backupVersionRequest) check() error {
	switch {
	case r.Algorithm == "":
		return matrix.MissingParam("algorithm is missing")
	case len(r.Algorithm) > limits.KeyAlgorithm:
		return matrix.InvalidParam("algorithm has more than %d bytes", limits.KeyAlgorithm)
	case r.AuthData == nil:
		return matrix.MissingParam("auth_data is missing")
	case r.AuthData[0] != '{':
		return matrix.BadJSON("auth_data must be an object")
	case len(r.AuthData) > limits.KeyBackupAuthData:
		return matrix.TooLarge("auth_data has more than %d bytes", limits.KeyBackupAuthData)
	}
	return nil
}

// PostRoomKeysVersion begins a new backup.
//
// Spec: client-server v1.19 §server-side-key-backups, POST /_matrix/client/v3/room_keys/version
func (s *Server) PostRoomKeysVersion(ctx context.Context, c *httpapi.Call, req *backupVersionRequest) (any, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	user := c.Requester.User
	var version int64
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		// Two processes must not give out the same number.
		if _, err := tx.LockUser(ctx, user); err != nil {
			return err
		}
		versions, _, _, err := tx.CountKeyBackups(ctx, user)
		if err != nil {
			return err
		}
		if versions >= limits.KeyBackupVersions {
			return matrix.Forbidden("there are %d backups already; delete one first", limits.KeyBackupVersions)
		}
		version, err = tx.InsertKeyBackup(ctx, store.KeyBackup{UserID: user, Algorithm: req.Algorithm, AuthData: req.AuthData})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("begin a key backup of %s: %w", user, err)
	}
	return map[string]string{"version": strconv.FormatInt(version, 10)}, nil
}

// GetRoomKeysVersionCurrent describes the latest backup.
//
// Spec: client-server v1.19 §server-side-key-backups, GET /_matrix/client/v3/room_keys/version
func (s *Server) GetRoomKeysVersionCurrent(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.describeBackup(ctx, c.Requester.User, 0)
}

// GetRoomKeysVersion describes a backup.
//
// Spec: client-server v1.19 §server-side-key-backups, GET /_matrix/client/v3/room_keys/version/{version}
func (s *Server) GetRoomKeysVersion(ctx context.Context, c *httpapi.Call) (any, error) {
	version, err := parseVersion(c.Path("version"))
	if err != nil {
		return nil, err
	}
	return s.describeBackup(ctx, c.Requester.User, version)
}

func (s *Server) describeBackup(ctx context.Context, user matrix.UserID, version int64) (any, error) {
	b, err := s.backup(ctx, user, version)
	if err != nil {
		return nil, err
	}
	return backupVersionResponse{b.Algorithm, b.AuthData, b.Keys, strconv.FormatInt(b.ETag, 10), strconv.FormatInt(b.Version, 10)}, nil
}

// PutRoomKeysVersion replaces a backup's auth_data.
//
// Spec: client-server v1.19 §server-side-key-backups, PUT /_matrix/client/v3/room_keys/version/{version}
func (s *Server) PutRoomKeysVersion(ctx context.Context, c *httpapi.Call, req *backupVersionRequest) (any, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	if req.Version != nil && *req.Version != c.Path("version") {
		return nil, matrix.InvalidParam("version differs from the one in the path")
	}
	return nil, s.changeBackup(ctx, c.Requester.User, c.Path("version"), func(tx *store.Tx, b store.KeyBackup) error {
		if b.Algorithm != req.Algorithm {
			return matrix.InvalidParam("algorithm differs from the backup's, which is %s", b.Algorithm)
		}
		return tx.PutKeyBackupAuthData(ctx, b.UserID, b.Version, req.AuthData)
	})
}

// DeleteRoomKeysVersion deletes a backup. Deleting one that was deleted before succeeds.
//
// Spec: client-server v1.19 §server-side-key-backups, DELETE /_matrix/client/v3/room_keys/version/{version}
func (s *Server) DeleteRoomKeysVersion(ctx context.Context, c *httpapi.Call) (any, error) {
	user := c.Requester.User
	err := s.changeBackup(ctx, user, c.Path("version"), func(tx *store.Tx, b store.KeyBackup) error {
		return tx.DeleteKeyBackup(ctx, user, b.Version)
	})
	if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrNotFound {
		return nil, err
	}
	version, parseErr := parseVersion(c.Path("version"))
	last, lastErr := s.cfg.Store.GetLastKeyBackupVersion(ctx, user)
	if lastErr != nil {
		return nil, fmt.Errorf("look up key backups of %s: %w", user, lastErr)
	}
	if parseErr == nil && version <= last {
		return nil, nil
	}
	return nil, err
}

// parseVersion reads a version's number. Clients take versions for opaque strings, so that a strange one is unknown, not wrong.
func parseVersion(text string) (int64, error) {
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil || version < 1 || strconv.FormatInt(version, 10) != text {
		return 0, noSuchBackup()
	}
	return version, nil
}

func noSuchBackup() *matrix.Error { return matrix.NotFound("there is no such backup") }

// backup returns a version, 0 for the latest.
func (s *Server) backup(ctx context.Context, user matrix.UserID, version int64) (store.KeyBackup, error) {
	b, err := s.cfg.Store.GetKeyBackup(ctx, user, version)
	if errors.Is(err, store.ErrNotFound) {
		return b, noSuchBackup()
	}
	if err != nil {
		return b, fmt.Errorf("get a key backup of %s: %w", user, err)
	}
	return b, nil
}

// changeBackup does something to a version that nobody else changes meanwhile.
func (s *Server) changeBackup(ctx context.Context, user matrix.UserID, text string, change func(tx *store.Tx, b store.KeyBackup) error) error {
	version, err := parseVersion(text)
	if err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		b, err := tx.LockKeyBackup(ctx, user, version)
		if errors.Is(err, store.ErrNotFound) {
			return noSuchBackup()
		}
		if err != nil {
			return err
		}
		return change(tx, b)
	})
	if err != nil {
		return fmt.Errorf("change a key backup of %s: %w", user, err)
	}
	return nil
}

// backupVersion is the version that the query names, as the endpoints for keys have it.
func backupVersion(c *httpapi.Call) (string, error) {
	if version := c.Query("version"); version != "" {
		return version, nil
	}
	return "", matrix.MissingParam("version is missing")
}

type backedUpKey struct {
	FirstMessageIndex *int64          `json:"first_message_index"`
	ForwardedCount    *int64          `json:"forwarded_count"`
	IsVerified        *bool           `json:"is_verified"`
	SessionData       json.RawMessage `json:"session_data"`
}

type backedUpRoom struct {
	Sessions map[string]*backedUpKey `json:"sessions"`
}

type backedUpRooms struct {
	Rooms map[matrix.RoomID]*backedUpRoom `json:"rooms"`
}

// PutRoomKeyBySessionID stores the key of one session.
//
// Spec: client-server v1.19 §server-side-key-backups, PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
func (s *Server) PutRoomKeyBySessionID(ctx context.Context, c *httpapi.Call, req *backedUpKey) (any, error) {
	room := backedUpRoom{Sessions: map[string]*backedUpKey{c.Path("sessionId"): req}}
	return s.PutRoomKeysByRoomID(ctx, c, &room)
}

// PutRoomKeysByRoomID stores keys of a room.
//
// Spec: client-server v1.19 §server-side-key-backups, PUT /_matrix/client/v3/room_keys/keys/{roomId}
func (s *Server) PutRoomKeysByRoomID(ctx context.Context, c *httpapi.Call, req *backedUpRoom) (any, error) {
	rooms := backedUpRooms{Rooms: map[matrix.RoomID]*backedUpRoom{matrix.RoomID(c.Path("roomId")): req}}
	return s.PutRoomKeys(ctx, c, &rooms)
}

// PutRoomKeys stores keys of many rooms.
//
// Spec: client-server v1.19 §server-side-key-backups, PUT /_matrix/client/v3/room_keys/keys
func (s *Server) PutRoomKeys(ctx context.Context, c *httpapi.Call, req *backedUpRooms) (any, error) {
	version, err := backupVersion(c)
	if err != nil {
		return nil, err
	}
	keys, err := req.keys()
	if err != nil {
		return nil, err
	}
	user := c.Requester.User
	var b store.KeyBackup
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		b, err = tx.LockKeyBackup(ctx, user, 0)
		if errors.Is(err, store.ErrNotFound) {
			return noSuchBackup()
		}
		if err != nil {
			return err
		}
		if current := strconv.FormatInt(b.Version, 10); current != version {
			return matrix.NewError(http.StatusForbidden, matrix.ErrWrongRoomKeysVersion, "keys are stored in the latest backup only").
				With("current_version", current)
		}
		if b, err = tx.PutBackedUpKeys(ctx, b, keys); err != nil {
			return err
		}
		_, count, bytes, err := tx.CountKeyBackups(ctx, user)
		if err == nil && (count > limits.KeyBackupKeys || bytes > limits.KeyBackupBytes) {
			return matrix.TooLarge("backups may have %d keys and %d bytes in all", limits.KeyBackupKeys, limits.KeyBackupBytes)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store keys in the backup of %s: %w", user, err)
	}
	return changed(b), nil
}

// keys checks what is to be stored.
func (r *backedUpRooms) keys() ([]store.BackedUpKey, error) {
	if r.Rooms == nil {
		return nil, matrix.MissingParam("rooms is missing")
	}
	var keys []store.BackedUpKey
	for id, room := range r.Rooms {
		if _, err := matrix.ParseRoomID(string(id)); err != nil {
			return nil, matrix.InvalidParam("a room id is not valid")
		}
		if room == nil || room.Sessions == nil {
			return nil, matrix.MissingParam("sessions is missing")
		}
		for session, k := range room.Sessions {
			if err := k.check(session); err != nil {
				return nil, err
			}
			keys = append(keys, store.BackedUpKey{
				RoomID: id, SessionID: session, FirstMessageIndex: *k.FirstMessageIndex, ForwardedCount: *k.ForwardedCount,
				IsVerified: *k.IsVerified, SessionData: k.SessionData,
			})
		}
	}
	return keys, nil
}

func (k *backedUpKey) check(session string) error {
	switch {
	case session == "" || len(session) > limits.KeyBackupSessionID:
		return matrix.InvalidParam("a session id must have 1 to %d bytes", limits.KeyBackupSessionID)
	case k == nil || k.FirstMessageIndex == nil || k.ForwardedCount == nil || k.IsVerified == nil || k.SessionData == nil:
		return matrix.MissingParam("a key must have first_message_index, forwarded_count, is_verified and session_data")
	case *k.FirstMessageIndex < 0 || *k.ForwardedCount < 0:
		return matrix.InvalidParam("first_message_index and forwarded_count must not be negative")
	case k.SessionData[0] != '{':
		return matrix.BadJSON("session_data must be an object")
	case len(k.SessionData) > limits.KeyBackupSessionData:
		return matrix.TooLarge("session_data has more than %d bytes", limits.KeyBackupSessionData)
	}
	return nil
}

// DeleteRoomKeys deletes all keys of a backup.
//
// Spec: client-server v1.19 §server-side-key-backups, DELETE /_matrix/client/v3/room_keys/keys
func (s *Server) DeleteRoomKeys(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.deleteBackedUp(ctx, c)
}

// DeleteRoomKeysByRoomID deletes the keys of a room.
//
// Spec: client-server v1.19 §server-side-key-backups, DELETE /_matrix/client/v3/room_keys/keys/{roomId}
func (s *Server) DeleteRoomKeysByRoomID(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.deleteBackedUp(ctx, c)
}

// DeleteRoomKeyBySessionID deletes the key of a session.
//
// Spec: client-server v1.19 §server-side-key-backups, DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
func (s *Server) DeleteRoomKeyBySessionID(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.deleteBackedUp(ctx, c)
}

// deleteBackedUp deletes the keys that the path names.
func (s *Server) deleteBackedUp(ctx context.Context, c *httpapi.Call) (any, error) {
	version, err := backupVersion(c)
	if err != nil {
		return nil, err
	}
	var after store.KeyBackup
	err = s.changeBackup(ctx, c.Requester.User, version, func(tx *store.Tx, b store.KeyBackup) (err error) {
		after, err = tx.DeleteBackedUpKeys(ctx, b, keyRange(c))
		return err
	})
	if err != nil {
		return nil, err
	}
	return changed(after), nil
}

// keyRange is the keys that the path names.
func keyRange(c *httpapi.Call) store.KeyRange {
	return store.KeyRange{RoomID: matrix.RoomID(c.Path("roomId")), SessionID: c.Path("sessionId")}
}
