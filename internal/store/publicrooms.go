package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/limits"
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

// InsertPublishedRoom publishes a room; what is listed of it comes with PutPublishedRooms. It is false when the room was published.
func (s *Store) InsertPublishedRoom(ctx context.Context, room, organisation int64) (bool, error) {
	n, err := s.execOnce(ctx, `INSERT INTO published_rooms (room_nid, organisation_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, room, organisation)
	return n == 1, err
}

// DeletePublishedRoom takes a room out of the directory.
func (s *Store) DeletePublishedRoom(ctx context.Context, room int64) error {
	_, err := s.exec(ctx, `DELETE FROM published_rooms WHERE room_nid = $1`, room)
	return err
}

// IsPublished reports whether the room is in the directory.
func (s *Store) IsPublished(ctx context.Context, room int64) (published bool, err error) {
	err = s.queryRow(ctx, `SELECT EXISTS (SELECT FROM published_rooms WHERE room_nid = $1)`, room).Scan(&published)
	return published, err
}

// ListPublished returns those of the rooms that are in the directory.
func (s *Store) ListPublished(ctx context.Context, rooms []int64) ([]int64, error) {
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
			r.RoomNID, r.Position, r.Listed, -r.Joined, r.Type, r.Entry, pq.Array(nonNil(indexWords(r.Text, limits.PublicRoomWords))))
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

// MovePublished publishes a room in the place of another one, if that is published.
func (tx *Tx) MovePublished(ctx context.Context, from, to, organisation int64) error {
	n, err := tx.exec(ctx, `DELETE FROM published_rooms WHERE room_nid = $1`, from)
	if err != nil || n == 0 {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO published_rooms (room_nid, organisation_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, to, organisation)
	return err
}

// DirectoryPlace is where a page of the directory begins: behind the room, or before it.
type DirectoryPlace struct {
	Joined  int
	RoomNID int64
	Before  bool
}

// DirectoryQuery says which published rooms are wanted.
type DirectoryQuery struct {
	Organisation int64
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
	where, order := []string{"organisation_id = $1", "listed"}, "rank, room_nid"
	args := []any{q.Organisation, q.Limit}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where = append(where, condition)
	}
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

// CountPublicRooms counts the listed rooms of an organisation, up to limit.
func (s *Store) CountPublicRooms(ctx context.Context, organisation int64, limit int) (int, error) {
	var n int
	err := s.queryRow(ctx, `
		SELECT count(*) FROM (SELECT FROM published_rooms WHERE organisation_id = $1 AND listed LIMIT $2) x`, organisation, limit).Scan(&n)
	return n, err
}
