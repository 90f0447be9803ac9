package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Kind says what an Update is about.
type Kind int16

const (
	// KindAccountData is a user's account data: room 0 is global, the key is the event type, the body its content. An empty
	// body was deleted.
	KindAccountData Kind = 1
	// KindReceipt is a user's read receipt in a room: the key is the receipt type, "|" and the thread ("" if unthreaded);
	// the body is {"event_id", "ts", "position"}, the position being the event's.
	KindReceipt Kind = 2
	// KindTyping says until when a user is typing in a room: {"until": ms since the epoch}, 0 when the user stopped.
	KindTyping Kind = 3
	// KindPresence is a user's presence: the content of m.presence.
	KindPresence Kind = 4
	// KindSession says that a user's account or sessions changed, so that cached tokens have to be looked up again. The key is
	// the device, or empty for all.
	KindSession Kind = 5
	// KindDeviceList says that a user's devices or identity keys changed. With a key it says so of the user whom the key names, and
	// to UserID alone, who signed that user's key.
	KindDeviceList Kind = 6
	// KindToDevice says that messages wait for the device that the key names.
	KindToDevice Kind = 7
	// KindProfile says that a user's profile changed.
	KindProfile Kind = 8
	// KindThreadSubscription is what a user last said of a thread: the key is its root, the body {"automatic": …} or
	// {"unsubscribed": true}.
	KindThreadSubscription Kind = 9
	// KindKeyCount says that the one-time or fallback keys changed that the device has on offer whom the key names; without user
	// and key, that those of every device did.
	KindKeyCount Kind = 11
	// KindOrganisation says that an organisation, or its domains or application services, changed: the key is its number.
	KindOrganisation Kind = 12
	// KindAppservice says that an application service was registered or removed, so that every process reads them again.
	KindAppservice Kind = 23
)

// Update is a fact with a position that is not an event. The last one for each (Kind, RoomNID, UserID, Key) counts.
type Update struct {
	Position int64
	Kind     Kind
	RoomNID  int64
	UserID   matrix.UserID
	Key      string
	Body     []byte
	// Replaces makes a write conditional: it is stored only if the key's present value has this position (ReplacesNone: if
	// there is none). 0 replaces whatever there is. For units without events.
	Replaces int64
}

// ReplacesNone is the Replaces of an update that is only stored if its key has no value yet.
const ReplacesNone = -1

const updateColumns = `position, kind, room_nid, user_id, key, body`

func scanUpdate(rows *sql.Rows) (Update, error) {
	var u Update
	err := rows.Scan(&u.Position, &u.Kind, &u.RoomNID, &u.UserID, &u.Key, &u.Body)
	return u, err
}

// GetUpdate returns the present value for one key, or ErrNotFound.
func (s *Store) GetUpdate(ctx context.Context, kind Kind, room int64, user matrix.UserID, key string) (Update, error) {
	u := Update{Kind: kind, RoomNID: room, UserID: user, Key: key}
	err := s.queryRow(ctx, `
		SELECT position, body FROM updates WHERE kind = $1 AND room_nid = $2 AND user_id = $3 AND key = $4`,
		kind, room, string(user), key).Scan(&u.Position, &u.Body)
	return u, err
}

// ListUserUpdates returns the user's updates of one kind with after < position <= upTo, oldest first.
func (s *Store) ListUserUpdates(ctx context.Context, user matrix.UserID, kind Kind, after, upTo int64) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE user_id = $1 AND kind = $2 AND position > $3 AND position <= $4
		ORDER BY position`, string(user), kind, after, upTo)
	return scanAll(rows, err, scanUpdate)
}

// ListRoomUpdates returns the updates of one kind in the rooms with after < position <= upTo, oldest first.
func (s *Store) ListRoomUpdates(ctx context.Context, rooms []int64, kind Kind, after, upTo int64) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE room_nid = ANY ($1) AND kind = $2 AND position > $3 AND position <= $4
		ORDER BY position`, pq.Array(rooms), kind, after, upTo)
	return scanAll(rows, err, scanUpdate)
}

// ListUsersUpdates returns the updates of one kind of many users with after < position <= upTo, oldest first.
func (s *Store) ListUsersUpdates(ctx context.Context, users []matrix.UserID, kind Kind, after, upTo int64) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates
		WHERE user_id = ANY ($1) AND kind = $2 AND position > $3 AND position <= $4
		ORDER BY position`, stringArray(users), kind, after, upTo)
	return scanAll(rows, err, scanUpdate)
}

// ListKindUpdates returns the updates of one kind, oldest first, at most limit.
func (s *Store) ListKindUpdates(ctx context.Context, kind Kind, after int64, limit int) ([]Update, error) {
	rows, err := s.query(ctx, `
		SELECT `+updateColumns+` FROM updates WHERE kind = $1 AND position > $2 ORDER BY position LIMIT $3`,
		kind, after, limit)
	return scanAll(rows, err, scanUpdate)
}

// CountUserUpdates counts the keys that a user holds of one kind, for the bounds on what a user may store.
func (s *Store) CountUserUpdates(ctx context.Context, user matrix.UserID, kind Kind) (int, error) {
	var n int
	err := s.queryRow(ctx, `SELECT count(*) FROM updates WHERE user_id = $1 AND kind = $2`, string(user), kind).Scan(&n)
	return n, err
}

// stringArray hands a slice of any string type to PostgreSQL.
func stringArray[T ~string](list []T) any {
	strings := make([]string, len(list))
	for i, s := range list {
		strings[i] = string(s)
	}
	return pq.Array(strings)
}
