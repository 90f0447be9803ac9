package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Room is a room's row.
type Room struct {
	NID            int64
	ID             matrix.RoomID
	Version        string
	OrganisationID int64
	Head           matrix.EventID
	Extremities    []matrix.EventID
	Depth          int64
}

// NextRoomNID reserves a number for a room that is about to begin.
func (s *Store) NextRoomNID(ctx context.Context) (int64, error) {
	var nid int64
	err := s.queryRow(ctx, `SELECT nextval('room_nids')`).Scan(&nid)
	return nid, err
}

const roomColumns = `room_nid, room_id, room_version, organisation_id, head_event_id, extremities, depth`

func scanRoom(scan func(...any) error) (Room, error) {
	var r Room
	var extremities []string
	err := scan(&r.NID, &r.ID, &r.Version, &r.OrganisationID, &r.Head, pq.Array(&extremities), &r.Depth)
	for _, e := range extremities {
		r.Extremities = append(r.Extremities, matrix.EventID(e))
	}
	return r, err
}

// GetRoom returns a room, or ErrNotFound.
func (s *Store) GetRoom(ctx context.Context, id matrix.RoomID) (Room, error) {
	return scanRoom(s.queryRow(ctx, `SELECT `+roomColumns+` FROM rooms WHERE room_id = $1`, string(id)).Scan)
}

// LockRoom returns a room and keeps everybody else from appending to it until the transaction ends.
func (tx *Tx) LockRoom(ctx context.Context, nid int64) (Room, error) {
	return scanRoom(tx.queryRow(ctx, `SELECT `+roomColumns+` FROM rooms WHERE room_nid = $1 FOR UPDATE`, nid).Scan)
}

// ListRoomsByNID returns the rooms with the given numbers, in no order.
func (s *Store) ListRoomsByNID(ctx context.Context, nids []int64) ([]Room, error) {
	rows, err := s.query(ctx, `SELECT `+roomColumns+` FROM rooms WHERE room_nid = ANY ($1)`, pq.Array(nids))
	return scanAll(rows, err, func(rows *sql.Rows) (Room, error) { return scanRoom(rows.Scan) })
}

// Membership is a user's present membership of a room.
type Membership struct {
	UserID     matrix.UserID
	RoomNID    int64
	RoomID     matrix.RoomID
	Membership string
	// Sender made the present membership.
	Sender    matrix.UserID
	Position  int64
	Forgotten bool
}

const membershipColumns = `m.user_id, m.room_nid, rooms.room_id, m.membership, m.sender, m.position, m.forgotten`

func scanMembership(rows *sql.Rows) (Membership, error) {
	var m Membership
	err := rows.Scan(&m.UserID, &m.RoomNID, &m.RoomID, &m.Membership, &m.Sender, &m.Position, &m.Forgotten)
	return m, err
}

// GetMembership returns a user's present membership of a room, or ErrNotFound when the user never had one.
func (s *Store) GetMembership(ctx context.Context, room int64, user matrix.UserID) (Membership, error) {
	rows, err := s.query(ctx, `
		SELECT `+membershipColumns+` FROM memberships m JOIN rooms USING (room_nid)
		WHERE m.user_id = $1 AND m.room_nid = $2`, string(user), room)
	return one(scanAll(rows, err, scanMembership))
}

// ListMemberships returns a user's present memberships, without forgotten rooms.
func (s *Store) ListMemberships(ctx context.Context, user matrix.UserID) ([]Membership, error) {
	rows, err := s.query(ctx, `
		SELECT `+membershipColumns+` FROM memberships m JOIN rooms USING (room_nid)
		WHERE m.user_id = $1 AND NOT m.forgotten`, string(user))
	return scanAll(rows, err, scanMembership)
}

// ListRoomMembers returns a room's present members with one of the memberships.
func (s *Store) ListRoomMembers(ctx context.Context, room int64, memberships []string) ([]Membership, error) {
	rows, err := s.query(ctx, `
		SELECT `+membershipColumns+` FROM memberships m JOIN rooms USING (room_nid)
		WHERE m.room_nid = $1 AND m.membership = ANY ($2)`, room, pq.Array(memberships))
	return scanAll(rows, err, scanMembership)
}

// GetFirstMember returns the position of the first membership event of a room, or ErrNotFound.
func (s *Store) GetFirstMember(ctx context.Context, room int64) (int64, error) {
	var position int64
	err := s.queryRow(ctx, `
		SELECT since FROM room_state WHERE room_nid = $1 AND type = 'm.room.member' ORDER BY since LIMIT 1`, room).Scan(&position)
	return position, err
}

// ListSomeMembers returns joined members of a room, whichever come first, at most limit.
func (s *Store) ListSomeMembers(ctx context.Context, room int64, limit int) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT user_id FROM memberships WHERE room_nid = $1 AND membership = 'join' LIMIT $2`, room, limit)
	return scanAll(rows, err, scanUserID)
}

// ListJoinedOf returns those of the users who are joined to the room, in the order of their ids.
func (s *Store) ListJoinedOf(ctx context.Context, room int64, users []matrix.UserID) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT user_id FROM memberships WHERE room_nid = $1 AND user_id = ANY ($2) AND membership = 'join' ORDER BY user_id`,
		room, stringArray(users))
	return scanAll(rows, err, scanUserID)
}

func scanUserID(rows *sql.Rows) (matrix.UserID, error) {
	var u matrix.UserID
	err := rows.Scan(&u)
	return u, err
}

// CountRoomEntries counts who is in a room or has another membership than leave, or the other state events of it, up to limit.
func (s *Store) CountRoomEntries(ctx context.Context, room int64, members bool, limit int) (int, error) {
	from := `room_state WHERE room_nid = $1 AND until = 9223372036854775807 AND type <> 'm.room.member'`
	if members {
		from = `memberships WHERE room_nid = $1 AND membership <> 'leave'`
	}
	var n int
	err := s.queryRow(ctx, `SELECT count(*) FROM (SELECT FROM `+from+` LIMIT $2) entries`, room, limit).Scan(&n)
	return n, err
}

// MemberCount is how many members of each kind a room has.
type MemberCount struct {
	RoomNID         int64
	Joined, Invited int
}

// CountMembers counts the joined and invited members of each room.
func (s *Store) CountMembers(ctx context.Context, rooms []int64) ([]MemberCount, error) {
	rows, err := s.query(ctx, `
		SELECT room_nid, count(*) FILTER (WHERE membership = 'join'), count(*) FILTER (WHERE membership = 'invite')
		FROM memberships WHERE room_nid = ANY ($1) AND membership IN ('join', 'invite')
		GROUP BY room_nid`, pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (MemberCount, error) {
		var c MemberCount
		err := rows.Scan(&c.RoomNID, &c.Joined, &c.Invited)
		return c, err
	})
}

// ListUsersSharingRooms returns the users who are joined to a room that user is joined to, at most limit, without user.
func (s *Store) ListUsersSharingRooms(ctx context.Context, user matrix.UserID, limit int) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT DISTINCT other.user_id
		FROM memberships mine JOIN memberships other ON other.room_nid = mine.room_nid AND other.membership = 'join'
		WHERE mine.user_id = $1 AND mine.membership = 'join' AND other.user_id <> $1
		LIMIT $2`, string(user), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (matrix.UserID, error) {
		var u matrix.UserID
		err := rows.Scan(&u)
		return u, err
	})
}

// SharesRoom reports whether two users are joined to one room.
func (s *Store) SharesRoom(ctx context.Context, a, b matrix.UserID) (bool, error) {
	var shares bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (
			SELECT 1 FROM memberships x JOIN memberships y ON y.room_nid = x.room_nid
			WHERE x.user_id = $1 AND x.membership = 'join' AND y.user_id = $2 AND y.membership = 'join')`,
		string(a), string(b)).Scan(&shares)
	return shares, err
}

// PutForgotten marks a room that the user has left as forgotten; it is false when the user is still in it.
func (s *Store) PutForgotten(ctx context.Context, room int64, user matrix.UserID) (bool, error) {
	n, err := s.exec(ctx, `
		UPDATE memberships SET forgotten = true
		WHERE room_nid = $1 AND user_id = $2 AND membership IN ('leave', 'ban')`, room, string(user))
	return n == 1, err
}

// Alias is a name of a room.
type Alias struct {
	Alias   matrix.RoomAlias
	RoomNID int64
	RoomID  matrix.RoomID
	Creator matrix.UserID
}

// aliasClaim is how long an alias is kept for a room that is about to be stored, in milliseconds.
const aliasClaim = 60_000

// InsertAlias stores a room's alias; it is false when the alias is taken. The room may be stored a moment later: an alias whose
// room has not come in time is free, because the process that wanted it is gone.
func (s *Store) InsertAlias(ctx context.Context, a Alias, now matrix.Timestamp) (bool, error) {
	n, err := s.execOnce(ctx, `
		INSERT INTO room_aliases (alias, room_nid, creator, created_ts) VALUES ($1, $2, $3, $4)
		ON CONFLICT (alias) DO UPDATE
		SET room_nid = excluded.room_nid, creator = excluded.creator, created_ts = excluded.created_ts
		WHERE room_aliases.created_ts < $4 - $5
			AND NOT EXISTS (SELECT FROM rooms WHERE rooms.room_nid = room_aliases.room_nid)`,
		string(a.Alias), a.RoomNID, string(a.Creator), int64(now), aliasClaim)
	return n == 1, err
}

// GetAlias returns an alias that a user may know of, or ErrNotFound.
func (s *Store) GetAlias(ctx context.Context, alias matrix.RoomAlias, user matrix.UserID) (Alias, error) {
	a := Alias{Alias: alias}
	err := s.queryRow(ctx, `
		SELECT room_nid, room_id, creator FROM room_aliases JOIN rooms USING (room_nid) WHERE alias = $1 AND may_know_room(room_nid, $2)`, string(alias), string(user)).
		Scan(&a.RoomNID, &a.RoomID, &a.Creator)
	return a, err
}

// ListAliases returns a room's aliases, at most limit.
func (s *Store) ListAliases(ctx context.Context, room int64, limit int) ([]matrix.RoomAlias, error) {
	rows, err := s.query(ctx, `SELECT alias FROM room_aliases WHERE room_nid = $1 ORDER BY alias LIMIT $2`, room, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (matrix.RoomAlias, error) {
		var a matrix.RoomAlias
		err := rows.Scan(&a)
		return a, err
	})
}

// MoveAliases gives all of a room's aliases to another room.
func (tx *Tx) MoveAliases(ctx context.Context, from, to int64) error {
	_, err := tx.exec(ctx, `UPDATE room_aliases SET room_nid = $2 WHERE room_nid = $1`, from, to)
	return err
}

// DeleteAlias removes an alias; it is false when there was none.
func (s *Store) DeleteAlias(ctx context.Context, alias matrix.RoomAlias) (bool, error) {
	n, err := s.execOnce(ctx, `DELETE FROM room_aliases WHERE alias = $1`, string(alias))
	return n == 1, err
}

// IsRoomEncrypted reports whether a room is encrypted.
func (s *Store) IsRoomEncrypted(ctx context.Context, room int64) (bool, error) {
	return isRoomEncrypted(ctx, s, room)
}

// IsRoomEncrypted reports whether a room is encrypted.
func (tx *Tx) IsRoomEncrypted(ctx context.Context, room int64) (bool, error) {
	return isRoomEncrypted(ctx, tx, room)
}

func isRoomEncrypted(ctx context.Context, q querier, room int64) (bool, error) {
	var encrypted bool
	err := q.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM room_state WHERE room_nid = $1 AND type = 'm.room.encryption' AND state_key = '' AND until = 9223372036854775807)`, room).Scan(&encrypted)
	return encrypted, err
}
