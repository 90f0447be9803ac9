package keys

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// restorePage is how many keys are read at a time: about a megabyte.
const restorePage = 1000

// GetRoomKeyBySessionID gives the key of one session.
//
// Spec: client-server v1.19 §server-side-key-backups, GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
func (s *Server) GetRoomKeyBySessionID(ctx context.Context, c *httpapi.Call) (any, error) {
	b, err := s.queriedBackup(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListBackedUpKeys(ctx, b.UserID, b.Version, keyRange(c), store.BackedUpKey{}, 1)
	if err != nil {
		return nil, fmt.Errorf("get a backed-up key of %s: %w", b.UserID, err)
	}
	if len(list) == 0 {
		return nil, matrix.NotFound("the backup has no key for this session")
	}
	return httpapi.Raw(appendBackedUpKey(nil, &list[0])), nil
}

// GetRoomKeysByRoomID gives the keys of a room.
//
// Spec: client-server v1.19 §server-side-key-backups, GET /_matrix/client/v3/room_keys/keys/{roomId}
func (s *Server) GetRoomKeysByRoomID(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.restore(ctx, c)
}

// GetRoomKeys gives all keys of a backup.
//
// Spec: client-server v1.19 §server-side-key-backups, GET /_matrix/client/v3/room_keys/keys
func (s *Server) GetRoomKeys(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.restore(ctx, c)
}

// queriedBackup is the backup that the query names.
func (s *Server) queriedBackup(ctx context.Context, c *httpapi.Call) (store.KeyBackup, error) {
	text, err := backupVersion(c)
	if err != nil {
		return store.KeyBackup{}, err
	}
	version, err := parseVersion(text)
	if err != nil {
		return store.KeyBackup{}, err
	}
	return s.backup(ctx, c.Requester.User, version)
}

// restore gives the keys that the path names, which may be many: it reads and writes them page by page. Between the pages it
// holds no connection to the database, because the client may be slow.
func (s *Server) restore(ctx context.Context, c *httpapi.Call) (any, error) {
	b, err := s.queriedBackup(ctx, c)
	if err != nil {
		return nil, err
	}
	w := &restoreWriter{r: keyRange(c)}
	var last store.BackedUpKey
	for {
		page, err := s.cfg.Store.ListBackedUpKeys(ctx, b.UserID, b.Version, w.r, last, restorePage)
		if err != nil {
			return nil, fmt.Errorf("list backed-up keys of %s: %w", b.UserID, err)
		}
		for i := range page {
			w.add(&page[i])
		}
		if len(page) < restorePage {
			break
		}
		last = page[len(page)-1]
		if err := w.flush(c); err != nil {
			return nil, nil // the client has gone
		}
	}
	w.end()
	if !w.flushed {
		return httpapi.Raw(w.dst), nil
	}
	_ = w.flush(c)
	return nil, nil
}

// restoreWriter forms {"rooms": {…: {"sessions": {…}}}}, or {"sessions": {…}} for one room.
type restoreWriter struct {
	r       store.KeyRange
	dst     []byte
	flushed bool
	// begun is set once there is anything; room is the one that the last key was of.
	begun bool
	room  matrix.RoomID
}

func (w *restoreWriter) begin() {
	w.begun = true
	if w.r.RoomID == "" {
		w.dst = append(w.dst, `{"rooms":{`...)
	} else {
		w.dst = append(w.dst, `{"sessions":{`...)
	}
}

func (w *restoreWriter) add(k *store.BackedUpKey) {
	first := !w.begun
	if first {
		w.begin()
	}
	switch {
	case w.r.RoomID != "" || k.RoomID == w.room:
		if !first {
			w.dst = append(w.dst, ',')
		}
	default:
		if !first {
			w.dst = append(w.dst, `}},`...)
		}
		w.dst = append(appendString(w.dst, string(k.RoomID)), `:{"sessions":{`...)
		w.room = k.RoomID
	}
	w.dst = appendBackedUpKey(append(appendString(w.dst, k.SessionID), ':'), k)
}

func (w *restoreWriter) end() {
	if !w.begun {
		w.begin()
	}
	if w.room != "" {
		w.dst = append(w.dst, `}}`...)
	}
	w.dst = append(w.dst, `}}`...)
}

// flush sends what there is.
func (w *restoreWriter) flush(c *httpapi.Call) error {
	if !w.flushed {
		c.W.Header().Set("Content-Type", "application/json")
		w.flushed = true
	}
	// A ResponseWriter without deadlines (in tests) is as good.
	control := http.NewResponseController(c.W)
	_ = control.SetWriteDeadline(time.Now().Add(limits.AnswerWrite))
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	_, err := c.W.Write(w.dst)
	w.dst = w.dst[:0]
	return err
}

func appendBackedUpKey(dst []byte, k *store.BackedUpKey) []byte {
	dst = strconv.AppendInt(append(dst, `{"first_message_index":`...), k.FirstMessageIndex, 10)
	dst = strconv.AppendInt(append(dst, `,"forwarded_count":`...), k.ForwardedCount, 10)
	dst = strconv.AppendBool(append(dst, `,"is_verified":`...), k.IsVerified)
	dst = append(append(dst, `,"session_data":`...), k.SessionData...)
	return append(dst, '}')
}

// appendString appends a JSON string.
func appendString(dst []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("keys: a string can always be encoded: %v", err))
	}
	return append(dst, text...)
}
