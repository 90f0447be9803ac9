package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
)

// putDirectory makes an account be found by its user id and display name. It is called by whatever changes one of the two, in the
// same transaction.
func (tx *Tx) putDirectory(ctx context.Context, user matrix.UserID, displayName []byte) error {
	var name string
	if displayName != nil && json.Unmarshal(displayName, &name) != nil {
		name = "" // a name that is not a string is not shown either
	}
	words := people.IndexWords(user.Localpart()+" "+name, limits.UserWords)
	if user.Localpart() == matrix.ServerNoticesLocalpart {
		words = nil
	}
	if _, err := tx.exec(ctx, `DELETE FROM user_directory WHERE user_id = $1 AND word <> ALL ($2)`, string(user), pq.Array(nonNil(words))); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `
		INSERT INTO user_directory (user_id, word, organisation_id)
		SELECT user_id, x.word, organisation_id FROM users CROSS JOIN unnest($2::text[]) AS x (word) WHERE user_id = $1
		ON CONFLICT DO NOTHING`, string(user), pq.Array(nonNil(words)))
	return err
}

// FoundUser is a user as a search finds it. Name and Avatar are the JSON of the profile's fields, or nil.
type FoundUser struct {
	UserID       matrix.UserID
	Name, Avatar []byte
}

func scanFound(rows *sql.Rows) (FoundUser, error) {
	var u FoundUser
	err := rows.Scan(&u.UserID, &u.Name, &u.Avatar)
	return u, err
}

const (
	foundColumns = `u.user_id,
		(SELECT value FROM profiles WHERE profiles.user_id = u.user_id AND key = 'displayname'),
		(SELECT value FROM profiles WHERE profiles.user_id = u.user_id AND key = 'avatar_url')`
	// findable leaves out those who can't be met, and the one who asks ($1).
	findable = `u.user_id <> $1 AND u.deactivated_ts IS NULL AND NOT u.locked AND NOT u.guest`
	// otherTerms wants a word for each of the terms $4 that begins with it.
	otherTerms = `NOT EXISTS (
			SELECT FROM unnest($4::text[]) AS t (term) WHERE NOT EXISTS (
				SELECT FROM user_directory x
				WHERE x.user_id = w.user_id AND x.word >= t.term AND x.word < t.term || chr(1114111)))`
	// firstWord looks at a user once, whatever the number of words that begin with $2.
	firstWord = `NOT EXISTS (SELECT FROM user_directory y WHERE y.user_id = w.user_id AND y.word >= $2 AND y.word < w.word)`
)

// UserQuery is a search for users.
type UserQuery struct {
	By           matrix.UserID
	Organisation int64
	// Term is the beginning of a word, Others are those of further words. The rarer Term is the less work the search is.
	Term   string
	Others []string
	Limit  int
}

// SearchUsers finds the users of an organisation who have a word for each term that begins with it, in the order of the words.
func (s *Store) SearchUsers(ctx context.Context, q UserQuery) ([]FoundUser, error) {
	rows, err := s.query(ctx, `
		SELECT `+foundColumns+`
		FROM user_directory w JOIN users u USING (user_id)
		WHERE w.organisation_id = $5 AND w.word >= $2 AND w.word < $3 AND `+firstWord+` AND `+otherTerms+` AND `+findable+`
			AND u.organisation_id = $5
		ORDER BY w.word, w.user_id LIMIT $6`,
		string(q.By), q.Term, above(q.Term), pq.Array(nonNil(q.Others)), q.Organisation, q.Limit)
	return scanAll(rows, err, scanFound)
}

// SearchAcquaintances is SearchUsers for users of other organisations who share a room with the one who asks. scan bounds the members
// that are looked at.
func (s *Store) SearchAcquaintances(ctx context.Context, q UserQuery, scan int) ([]FoundUser, error) {
	rows, err := s.query(ctx, `
		SELECT `+foundColumns+`
		FROM (
			SELECT DISTINCT w.user_id, w.word
			FROM (
				SELECT other.user_id
				FROM memberships mine JOIN mixed_rooms USING (room_nid)
				JOIN memberships other ON other.room_nid = mine.room_nid AND other.membership = 'join'
				WHERE mine.user_id = $1 AND mine.membership = 'join'
				LIMIT $7
			) known
			JOIN user_directory w ON w.user_id = known.user_id
			WHERE w.word >= $2 AND w.word < $3 AND `+firstWord+` AND `+otherTerms+`
		) w
		JOIN users u USING (user_id)
		WHERE `+findable+` AND u.organisation_id <> $5
		ORDER BY w.word, w.user_id LIMIT $6`,
		string(q.By), q.Term, above(q.Term), pq.Array(nonNil(q.Others)), q.Organisation, q.Limit, scan)
	return scanAll(rows, err, scanFound)
}

// SearchUserIDs finds the users of an organisation whose user id begins with prefix, in the order of their ids.
func (s *Store) SearchUserIDs(ctx context.Context, by matrix.UserID, organisation int64, prefix string, limit int) ([]FoundUser, error) {
	rows, err := s.query(ctx, `
		SELECT `+foundColumns+` FROM users u
		WHERE `+findable+` AND u.organisation_id = $2 AND u.user_id >= $3 AND u.user_id < $4 AND EXISTS (
			SELECT FROM user_directory w WHERE w.user_id = u.user_id)
		ORDER BY u.user_id LIMIT $5`, string(by), organisation, prefix, above(prefix), limit)
	return scanAll(rows, err, scanFound)
}

// InsertMixedRooms notes rooms in which users of more than one organisation are.
func (s *Store) InsertMixedRooms(ctx context.Context, rooms []int64) error {
	_, err := s.exec(ctx, `INSERT INTO mixed_rooms (room_nid) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING`, pq.Array(rooms))
	return err
}

// ListMutualRooms returns the rooms that both users are joined to, in the order of their ids, from the one that follows after, at
// most limit.
func (s *Store) ListMutualRooms(ctx context.Context, a, b matrix.UserID, after matrix.RoomID, limit int) ([]matrix.RoomID, error) {
	rows, err := s.query(ctx, `
		SELECT rooms.room_id
		FROM memberships x JOIN memberships y ON y.room_nid = x.room_nid AND y.user_id = $2 AND y.membership = 'join'
		JOIN rooms ON rooms.room_nid = x.room_nid
		WHERE x.user_id = $1 AND x.membership = 'join' AND rooms.room_id > $3
		ORDER BY rooms.room_id LIMIT $4`, string(a), string(b), string(after), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (matrix.RoomID, error) {
		var id matrix.RoomID
		err := rows.Scan(&id)
		return id, err
	})
}

// CountMutualRooms counts the rooms that both users are joined to.
func (s *Store) CountMutualRooms(ctx context.Context, a, b matrix.UserID) (int, error) {
	var n int
	err := s.queryRow(ctx, `
		SELECT count(*) FROM memberships x JOIN memberships y ON y.room_nid = x.room_nid AND y.user_id = $2 AND y.membership = 'join'
		WHERE x.user_id = $1 AND x.membership = 'join'`, string(a), string(b)).Scan(&n)
	return n, err
}

// above is more than every text that begins with prefix, in the order of bytes.
func above(prefix string) string { return prefix + "\U0010FFFF" }
