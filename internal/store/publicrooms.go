package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/people"
)

// PublishedRoom is a room as the room directory shows it.
type PublishedRoom struct {
	RoomNID int64
	// Position is the clock's when the room was read.
	Position int64
	// Listed is false for a room that everybody has left.
	Listed bool
	Joined int
	Type   string
	// Entry is the room as JSON, Text what it is searched by.
	Entry []byte
	Text  string
}

// InsertPublishedRoom publishes a room in its organisation's list; what is listed of it comes with PutPublishedRooms. It is false when
// the room was published.
func (s *Store) InsertPublishedRoom(ctx context.Context, room, organisation int64) (bool, error) {
	n, err := s.execOnce(ctx, `
		INSERT INTO published_rooms (room_nid, organisation_id) VALUES ($1, $2)
		ON CONFLICT (room_nid) DO UPDATE SET public = true WHERE NOT published_rooms.public`, room, organisation)
	return n == 1, err
}

// DeletePublishedRoom takes a room out of its organisation's list. Those of networks keep it.
func (s *Store) DeletePublishedRoom(ctx context.Context, room int64) error {
	return s.unlist(ctx, room, `UPDATE published_rooms SET public = false WHERE room_nid = $1`)
}

// InsertNetworkRoom publishes a room in the list of a network, as InsertPublishedRoom does. It is false, and the room is not published,
// when the room is in most lists of networks already.
func (s *Store) InsertNetworkRoom(ctx context.Context, room, organisation int64, network string, most int) (bool, error) {
	n, err := s.execOnce(ctx, `
		INSERT INTO published_rooms AS r (room_nid, organisation_id, public, networks) VALUES ($1, $2, false, ARRAY[$3::text])
		ON CONFLICT (room_nid) DO UPDATE SET networks = array_remove(r.networks, $3::text) || $3::text
		WHERE $3::text = ANY (r.networks) OR cardinality(r.networks) < $4`, room, organisation, network, most)
	return n == 1, err
}

// DeleteNetworkRoom takes a room out of the list of a network.
func (s *Store) DeleteNetworkRoom(ctx context.Context, room int64, network string) error {
	return s.unlist(ctx, room, `UPDATE published_rooms SET networks = array_remove(networks, $2::text) WHERE room_nid = $1`, network)
}

// unlist takes a room out of a list, and out of the directory when that was its last one.
func (s *Store) unlist(ctx context.Context, room int64, update string, args ...any) error {
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(ctx, update, append([]any{room}, args...)...); err != nil {
			return err
		}
		_, err := tx.exec(ctx, `DELETE FROM published_rooms WHERE room_nid = $1 AND NOT public AND networks = '{}'`, room)
		return err
	})
}

// IsPublished reports whether the room is in its organisation's list.
func (s *Store) IsPublished(ctx context.Context, room int64) (published bool, err error) {
	err = s.queryRow(ctx, `SELECT EXISTS (SELECT FROM published_rooms WHERE room_nid = $1 AND public)`, room).Scan(&published)
	return published, err
}

// ListPublished returns those of the rooms that are in their organisation's list.
func (s *Store) ListPublished(ctx context.Context, rooms []int64) ([]int64, error) {
	rows, err := s.query(ctx, `SELECT room_nid FROM published_rooms WHERE room_nid = ANY ($1) AND public`, pq.Array(rooms))
	return scanAll(rows, err, scanInt)
}

// ListInDirectory returns those of the rooms that are in any list.
func (s *Store) ListInDirectory(ctx context.Context, rooms []int64) ([]int64, error) {
	rows, err := s.query(ctx, `SELECT room_nid FROM published_rooms WHERE room_nid = ANY ($1)`, pq.Array(rooms))
	return scanAll(rows, err, scanInt)
}

func scanInt(rows *sql.Rows) (int64, error) {
	var n int64
	err := rows.Scan(&n)
	return n, err
}

// PutPublishedRooms stores what is listed of published rooms. Rooms that are not published stay so, and an older reading of a room
// replaces no newer one.
func (s *Store) PutPublishedRooms(ctx context.Context, list []PublishedRoom) error {
	for _, r := range list {
		_, err := s.exec(ctx, `
			UPDATE published_rooms
			SET position = $2, listed = $3, rank = $4, room_type = $5, entry = $6, words = array_to_tsvector($7::text[])
			WHERE room_nid = $1 AND position <= $2`,
			r.RoomNID, r.Position, r.Listed, -r.Joined, r.Type, r.Entry, pq.Array(nonNil(people.IndexWords(r.Text, limits.PublicRoomWords))))
		if err != nil {
			return err
		}
	}
	return nil
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// MovePublished puts a room in the place of another one, in all lists that have it. Networks are those of an organisation.
func (tx *Tx) MovePublished(ctx context.Context, from, to, organisation int64) error {
	_, err := tx.exec(ctx, `
		WITH old AS (DELETE FROM published_rooms WHERE room_nid = $1 RETURNING organisation_id, public, networks)
		INSERT INTO published_rooms (room_nid, organisation_id, public, networks)
		SELECT $2, $3, public, CASE WHEN organisation_id = $3 THEN networks ELSE '{}' END FROM old WHERE public OR organisation_id = $3
		ON CONFLICT DO NOTHING`, from, to, organisation)
	return err
}

// DirectoryPlace is where a page of the directory begins: behind the room, or before it.
type DirectoryPlace struct {
	Joined  int
	RoomNID int64
	Before  bool
}

// DirectoryList is a list of published rooms: that of an organisation, that of one of its networks, or all of them.
type DirectoryList struct {
	Organisation int64
	// Network is the instance id of a network, empty for the organisation's own list.
	Network string
	// All is every list of the organisation.
	All bool
}

// conditions select the rooms of a list: $1 is the organisation, ? the network.
func (l DirectoryList) conditions() (where []string, args []any) {
	where = []string{"organisation_id = $1", "listed"}
	switch {
	case l.All:
		return where, nil
	case l.Network != "":
		return append(where, "networks @> ARRAY[?::text]"), []any{l.Network}
	}
	return append(where, "public"), nil
}

// DirectoryQuery says which published rooms are wanted.
type DirectoryQuery struct {
	DirectoryList
	// Terms are words of which every one has to be the beginning of a word of the room's.
	Terms []string
	// Types are the room types wanted, "" for rooms without one; nil for all.
	Types []string
	// Place is nil for the first page.
	Place *DirectoryPlace
	Limit int
}

// ListPublicRooms returns listed rooms, those with most members first; before a place, the ones nearest to it.
func (s *Store) ListPublicRooms(ctx context.Context, q DirectoryQuery) ([]PublishedRoom, error) {
	where, order := []string(nil), "rank, room_nid"
	args := []any{q.Organisation, q.Limit}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where = append(where, condition)
	}
	conditions, network := q.conditions()
	add(strings.Join(conditions, " AND "), network...)
	if q.Types != nil {
		add("room_type = ANY (?)", pq.Array(q.Types))
	}
	if len(q.Terms) > 0 {
		add("words @@ ?::tsquery", prefixQuery(q.Terms))
	}
	if p := q.Place; p != nil && p.Before {
		add("(rank, room_nid) < (?, ?)", -p.Joined, p.RoomNID)
		order = "rank DESC, room_nid DESC"
	} else if p != nil {
		add("(rank, room_nid) > (?, ?)", -p.Joined, p.RoomNID)
	}
	rows, err := s.query(ctx, `
		SELECT room_nid, position, listed, -rank, room_type, entry FROM published_rooms
		WHERE `+strings.Join(where, " AND ")+` ORDER BY `+order+` LIMIT $2`, args...)
	return scanAll(rows, err, func(rows *sql.Rows) (PublishedRoom, error) {
		var r PublishedRoom
		err := rows.Scan(&r.RoomNID, &r.Position, &r.Listed, &r.Joined, &r.Type, &r.Entry)
		return r, err
	})
}

// prefixQuery asks for texts that have a word for each term that begins with it. Terms are letters and digits only.
func prefixQuery(terms []string) string {
	quoted := make([]string, len(terms))
	for i, t := range terms {
		quoted[i] = "'" + t + "':*"
	}
	return strings.Join(quoted, " & ")
}

// CountPublicRooms counts the rooms of a list, up to limit.
func (s *Store) CountPublicRooms(ctx context.Context, l DirectoryList, limit int) (int, error) {
	where, network := l.conditions()
	var n int
	err := s.queryRow(ctx, `
		SELECT count(*) FROM (
			SELECT FROM published_rooms WHERE `+strings.ReplaceAll(strings.Join(where, " AND "), "?", "$3")+` LIMIT $2
		) x`, append([]any{l.Organisation, limit}, network...)...).Scan(&n)
	return n, err
}
