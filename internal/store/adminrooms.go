package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// AdminRoom is a room as administrators see it. Texts are empty where the room does not say.
type AdminRoom struct {
	NID                                            int64
	ID                                             matrix.RoomID
	Version                                        string
	OrganisationID                                 int64
	Creator                                        string
	Name, Topic, Avatar, CanonicalAlias            string
	Encryption, JoinRules, GuestAccess, Visibility string
	Type                                           string
	Federatable, Public                            bool
	Joined, JoinedLocal, StateEvents               int64
}

// roomSays is a text of the content of a room's present state.
func roomSays(typ, path string) string {
	return `coalesce((SELECT convert_from(e.json, 'UTF8')::json #>> '{content,` + path + `}' FROM room_state s JOIN events e ON e.position = s.event_position
		WHERE s.room_nid = r.room_nid AND s.type = '` + typ + `' AND s.state_key = '' AND s.until = 9223372036854775807), '')`
}

var (
	roomName  = roomSays("m.room.name", "name")
	roomAlias = roomSays("m.room.canonical_alias", "alias")

	roomCreator     = `coalesce((SELECT e.sender FROM events e WHERE e.room_nid = r.room_nid ORDER BY e.position LIMIT 1), '')`
	roomFederatable = roomSays("m.room.create", "m.federate") + ` <> 'false'`
	roomPublic      = `EXISTS (SELECT FROM published_rooms p WHERE p.room_nid = r.room_nid AND p.public)`
	roomJoined      = `(SELECT count(*) FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join')`
	roomJoinedLocal = `(SELECT count(*) FROM memberships m JOIN users USING (user_id) WHERE m.room_nid = r.room_nid AND m.membership = 'join')`
	roomStates      = `(SELECT count(*) FROM room_state s WHERE s.room_nid = r.room_nid AND s.until = 9223372036854775807)`

	adminRoomColumns = `r.room_nid, r.room_id, r.room_version, r.organisation_id, ` + roomCreator + `, ` + roomName + `, ` + roomSays("m.room.topic", "topic") + `, ` +
		roomSays("m.room.avatar", "url") + `, ` + roomAlias + `, ` + roomSays("m.room.encryption", "algorithm") + `, ` + roomSays("m.room.join_rules", "join_rule") + `, ` +
		roomSays("m.room.guest_access", "guest_access") + `, ` + roomSays("m.room.history_visibility", "history_visibility") + `, ` +
		roomSays("m.room.create", "type") + `, ` + roomFederatable + `, ` + roomPublic + `, ` + roomJoined + `, ` + roomJoinedLocal + `, ` + roomStates
)

// AdminRoomOrders are the orders of a list of rooms, as existing tools name them. Those of numbers begin with the largest.
var AdminRoomOrders = map[string]string{
	"": roomName, "name": roomName, "alphabetical": roomName, "canonical_alias": roomAlias, "version": "r.room_version", "creator": roomCreator,
	"encryption": roomSays("m.room.encryption", "algorithm"), "federatable": roomFederatable, "public": roomPublic,
	"join_rules": roomSays("m.room.join_rules", "join_rule"), "guest_access": roomSays("m.room.guest_access", "guest_access"),
	"history_visibility": roomSays("m.room.history_visibility", "history_visibility"), "joined_members": roomJoined, "size": roomJoined,
	"joined_local_members": roomJoinedLocal, "state_events": roomStates,
}

var largestFirst = map[string]bool{"joined_members": true, "size": true, "joined_local_members": true, "state_events": true, "version": true}

func scanAdminRoom(scan func(...any) error) (AdminRoom, error) {
	var r AdminRoom
	err := scan(&r.NID, &r.ID, &r.Version, &r.OrganisationID, &r.Creator, &r.Name, &r.Topic, &r.Avatar, &r.CanonicalAlias, &r.Encryption, &r.JoinRules,
		&r.GuestAccess, &r.Visibility, &r.Type, &r.Federatable, &r.Public, &r.Joined, &r.JoinedLocal, &r.StateEvents)
	return r, err
}

// GetAdminRoom returns a room of an organisation (0: of any) by its id or an alias, or ErrNotFound.
func (s *Store) GetAdminRoom(ctx context.Context, org int64, idOrAlias string) (AdminRoom, error) {
	return scanAdminRoom(s.queryRow(ctx, `SELECT `+adminRoomColumns+` FROM rooms r WHERE ($1::bigint = 0 OR r.organisation_id = $1) AND (
		r.room_id = $2 OR r.room_nid = (SELECT room_nid FROM room_aliases WHERE alias = $2))`, org, idOrAlias).Scan)
}

// AdminRoomQuery chooses rooms of an organisation, of all if it is 0.
type AdminRoomQuery struct {
	OrganisationID int64
	// Search is a part of the name or of the alias, or of the room id.
	Search        string
	Public, Empty *bool
	OrderBy       string
	Reversed      bool
}

// ListAdminRooms returns the rooms that a query chooses, and how many there are.
func (s *Store) ListAdminRooms(ctx context.Context, q AdminRoomQuery, from, limit int) (list []AdminRoom, total int64, err error) {
	where := ` FROM rooms r WHERE ($1::bigint = 0 OR r.organisation_id = $1)
		AND ($2 = '' OR strpos(lower(` + roomName + `), lower($2)) > 0 OR strpos(split_part(` + roomAlias + `, ':', 1), lower($2)) > 0 OR strpos(r.room_id, $2) > 0)
		AND ($3::boolean IS NULL OR ` + roomPublic + ` = $3) AND ($4::boolean IS NULL OR (` + roomJoined + ` = 0) = $4)`
	args := []any{q.OrganisationID, q.Search, q.Public, q.Empty}
	if err := s.queryRow(ctx, `SELECT count(*)`+where, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	order, ok := AdminRoomOrders[q.OrderBy]
	if !ok {
		return nil, 0, fmt.Errorf("no such order: %q", q.OrderBy)
	}
	if largestFirst[q.OrderBy] != q.Reversed {
		order += " DESC"
	}
	rows, err := s.query(ctx, `SELECT `+adminRoomColumns+where+fmt.Sprintf(` ORDER BY %s, r.room_id OFFSET %d LIMIT %d`, order, from, limit), args...)
	list, err = scanAll(rows, err, func(rows *sql.Rows) (AdminRoom, error) { return scanAdminRoom(rows.Scan) })
	return list, total, err
}

// CountJoinedDevices returns how many devices of ours are in a room.
func (s *Store) CountJoinedDevices(ctx context.Context, room int64) (n int64, err error) {
	err = s.queryRow(ctx, `SELECT count(*) FROM devices d JOIN memberships m USING (user_id) WHERE m.room_nid = $1 AND m.membership = 'join'`, room).Scan(&n)
	return n, err
}

// GetRoomBlock returns who has blocked a room for an organisation, or ErrNotFound.
func (s *Store) GetRoomBlock(ctx context.Context, room matrix.RoomID, org int64) (by string, err error) {
	err = s.queryRow(ctx, `SELECT blocked_by FROM blocked_rooms WHERE room_id = $1 AND organisation_id = $2`, string(room), org).Scan(&by)
	return by, err
}

// IsBlocked reports whether nobody may come into a room of an organisation: it or the operator has blocked it.
func (s *Store) IsBlocked(ctx context.Context, room matrix.RoomID, org int64) (blocked bool, err error) {
	err = s.queryRow(ctx, `SELECT EXISTS (SELECT FROM blocked_rooms WHERE room_id = $1 AND organisation_id IN ($2, $3))`,
		string(room), org, DefaultOrganisation).Scan(&blocked)
	return blocked, err
}

// PutRoomBlock blocks a room for an organisation, or lets people in again.
func (tx *Tx) PutRoomBlock(ctx context.Context, room matrix.RoomID, org int64, by string, now matrix.Timestamp, block bool) error {
	if !block {
		_, err := tx.exec(ctx, `DELETE FROM blocked_rooms WHERE room_id = $1 AND organisation_id = $2`, string(room), org)
		return err
	}
	_, err := tx.exec(ctx, `
		INSERT INTO blocked_rooms (room_id, organisation_id, blocked_by, blocked_ts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		string(room), org, by, int64(now))
	return err
}

// RoomDeletion is the removal of a room, on its way. Request and Status are JSON.
type RoomDeletion struct {
	ID              string
	OrganisationID  int64
	RoomID          matrix.RoomID
	RequestedBy     string
	RequestedTS     matrix.Timestamp
	Request, Status []byte
	Error           string
	DoneTS          matrix.Timestamp
}

const roomDeletionColumns = `delete_id, organisation_id, room_id, requested_by, requested_ts, request, status, coalesce(error, ''), coalesce(done_ts, 0)`

func scanRoomDeletion(scan func(...any) error) (RoomDeletion, error) {
	var d RoomDeletion
	err := scan(&d.ID, &d.OrganisationID, &d.RoomID, &d.RequestedBy, &d.RequestedTS, &d.Request, &d.Status, &d.Error, &d.DoneTS)
	return d, err
}

// InsertRoomDeletion stores that a room is to be removed.
func (tx *Tx) InsertRoomDeletion(ctx context.Context, d RoomDeletion) error {
	_, err := tx.exec(ctx, `
		INSERT INTO room_deletions (delete_id, organisation_id, room_id, requested_by, requested_ts, request) VALUES ($1, $2, $3, $4, $5, $6)`,
		d.ID, d.OrganisationID, string(d.RoomID), d.RequestedBy, int64(d.RequestedTS), d.Request)
	return err
}

// ListRoomDeletions returns the deletions of an organisation (0: of any) with an id, or of a room; the newest first.
func (s *Store) ListRoomDeletions(ctx context.Context, org int64, id string, room matrix.RoomID) ([]RoomDeletion, error) {
	rows, err := s.query(ctx, `
		SELECT `+roomDeletionColumns+` FROM room_deletions
		WHERE ($1::bigint = 0 OR organisation_id = $1) AND (delete_id = $2 OR room_id = $3) ORDER BY requested_ts DESC LIMIT 100`, org, id, string(room))
	return scanAll(rows, err, func(rows *sql.Rows) (RoomDeletion, error) { return scanRoomDeletion(rows.Scan) })
}

// roomDeletionDue is the condition that a deletion is not done, of a room that is not held, and that nobody is at it.
const roomDeletionDue = `d.done_ts IS NULL AND d.leased_until < now()
	AND NOT EXISTS (SELECT FROM legal_holds h JOIN rooms r USING (room_nid) WHERE r.room_id = d.room_id)`

// ClaimRoomDeletion returns a deletion that is not done, of a room that is not held, and keeps others from it for a while; or ErrNotFound.
func (s *Store) ClaimRoomDeletion(ctx context.Context, lease time.Duration) (RoomDeletion, error) {
	return scanOnce(ctx, s, scanRoomDeletion, `
		UPDATE room_deletions SET leased_until = now() + $1 * interval '1 millisecond'
		WHERE delete_id = (
			SELECT delete_id FROM room_deletions d WHERE `+roomDeletionDue+` ORDER BY leased_until LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING `+roomDeletionColumns, lease.Milliseconds())
}

// PutRoomDeletion notes how far a deletion has come, and keeps the lease; with a DoneTS it is done.
func (s *Store) PutRoomDeletion(ctx context.Context, d RoomDeletion, lease time.Duration) error {
	_, err := s.exec(ctx, `
		UPDATE room_deletions SET status = $2, error = nullif($3, ''), done_ts = nullif($4::bigint, 0), leased_until = now() + $5 * interval '1 millisecond'
		WHERE delete_id = $1`, d.ID, d.Status, d.Error, int64(d.DoneTS), lease.Milliseconds())
	return err
}

// purgeAtOnce is how many of a room's events go in one transaction.
const purgeAtOnce = 2000

// PurgeRoom removes everything that there is of a room in which nobody is any more, a portion at a time. done is false when there is more.
func (s *Store) PurgeRoom(ctx context.Context, room int64, now matrix.Timestamp) (done bool, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		rows, err := tx.query(ctx, `SELECT position FROM events WHERE room_nid = $1 ORDER BY position LIMIT $2`, room, purgeAtOnce)
		positions, err := scanAll(rows, err, scanInt)
		if err != nil {
			return err
		}
		done = len(positions) < purgeAtOnce
		for _, q := range []string{
			`WITH lost AS (DELETE FROM media_links WHERE position = ANY ($1) RETURNING server_name, media_id)
				INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
				SELECT DISTINCT server_name, media_id, '', '', 0 FROM lost ON CONFLICT DO NOTHING`,
			`DELETE FROM search_documents WHERE position = ANY ($1)`,
			`DELETE FROM push_own WHERE position = ANY ($1)`,
			`DELETE FROM sticky_events WHERE position = ANY ($1)`,
			`DELETE FROM event_deletions WHERE event_id IN (SELECT event_id FROM events WHERE position = ANY ($1))`,
			`DELETE FROM events WHERE position = ANY ($1)`,
		} {
			if _, err := tx.exec(ctx, q, pq.Array(positions)); err != nil {
				return err
			}
		}
		if !done {
			return nil
		}
		for _, table := range []string{
			"relations", "threads", "push_facts", "room_state", "memberships", "room_aliases", "published_rooms", "mixed_rooms", "space_walks",
			"server_notice_rooms", "updates", "rooms",
		} {
			if _, err := tx.exec(ctx, `DELETE FROM `+table+` WHERE room_nid = $1`, room); err != nil {
				return err
			}
		}
		return nil
	})
	return done, err
}

// GetRoomNID returns the number of a room, 0 if there is no such room any more.
func (s *Store) GetRoomNID(ctx context.Context, room matrix.RoomID) (int64, error) {
	r, err := s.GetRoom(ctx, room)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return r.NID, err
}
