package store

import (
	"context"
	"database/sql"
	"slices"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
)

// PeopleQuery is a search for people.
type PeopleQuery struct {
	By           matrix.UserID
	Organisation int64
	// Own is what the own organisation lets its people see of each other; nil: everything.
	Own *Sharing
	// Links are what linked organisations give: whoever is not shown by e-mail is not found by it.
	Links []OrganisationSharing
	Query people.Query
	// MetOf, if not 0, leaves out those of the own organisation with whom By shares no room and who are in none that is open. So many of those
	// who are found otherwise are looked at.
	MetOf int
	Limit int
}

// candidates is how many are looked at.
func (q *PeopleQuery) candidates() int { return max(q.MetOf, q.Limit) }

// FoundPerson is somebody whom a search has found.
type FoundPerson struct {
	UserID matrix.UserID
	// Key is what they were found by.
	Key people.Key
}

func scanFound(rows *sql.Rows) (FoundPerson, error) {
	var f FoundPerson
	err := rows.Scan(&f.UserID, &f.Key.Kind, &f.Key.Text)
	return f, err
}

// kinds is a set of kinds of keys, a bit each.
type kinds int32

func kindsOf(list ...people.Kind) kinds {
	var k kinds
	for _, kind := range list {
		k |= 1 << kind
	}
	return k
}

func (k kinds) has(kind people.Kind) bool { return k&(1<<kind) != 0 }

// Kinds by which people are found: those of the own organisation by all, those whom one shares a room with by name.
var (
	allKinds  = ^kinds(0)
	nameKinds = kindsOf(people.KindName, people.KindKeypad)
)

// kindsGiven are those by which people of a linked organisation are found.
func kindsGiven(g Sharing) kinds {
	var k kinds
	if g.Name {
		k |= nameKinds
	}
	if g.Email {
		k |= kindsOf(people.KindEmail, people.KindAddress)
	}
	if g.Phone {
		k |= kindsOf(people.KindPhone, people.KindPhoneEnd)
	}
	if g.Work {
		k |= kindsOf(people.KindWork)
	}
	return k
}

// ownKinds are those by which people of the own organisation are found.
func (q *PeopleQuery) ownKinds() kinds {
	if q.Own == nil || *q.Own == everything {
		return allKinds
	}
	return kindsGiven(*q.Own)
}

// keyRanges are the beginnings of a query's terms as ranges of keys.
type keyRanges struct {
	terms, kinds []int16
	lows, highs  []string
}

func (r *keyRanges) add(term int, key people.Key) {
	high := above(key.Text)
	if key.Whole {
		high = key.Text + "\x01"
	}
	r.terms, r.kinds = append(r.terms, int16(term)), append(r.kinds, int16(key.Kind))
	r.lows, r.highs = append(r.lows, key.Text), append(r.highs, high)
}

// split takes one term out, by which candidates are found; the others are what each of them has to meet. The longer the beginnings of a term
// are the fewer people have them, as a rule.
func split(q people.Query) (first people.Term, others keyRanges) {
	best, length := 0, -1
	for i, term := range q.Terms {
		shortest := len(slices.MinFunc(term, func(a, b people.Key) int { return len(a.Text) - len(b.Text) }).Text)
		if shortest > length {
			best, length = i, shortest
		}
	}
	for i, term := range q.Terms {
		if i == best {
			continue
		}
		for _, key := range term {
			others.add(i, key)
		}
	}
	return q.Terms[best], others
}

const (
	// findable leaves out those who can't be met, and the one who asks ($1).
	findable = `u.user_id <> $1 AND u.deactivated_ts IS NULL AND NOT u.locked AND NOT u.guest`
	// otherTerms wants a key for each further term ($2 to $5), of the kinds that d allows.
	otherTerms = `NOT EXISTS (
			SELECT FROM unnest($2::smallint[]) AS t (term) WHERE NOT EXISTS (
				SELECT FROM unnest($2::smallint[], $3::smallint[], $4::text[], $5::text[]) AS a (term, kind, low, high)
				JOIN person_keys x ON x.user_id = w.user_id AND x.kind = a.kind AND x.key >= a.low AND x.key < a.high
				WHERE a.term = t.term AND d.allowed >> a.kind & 1 = 1))`
	// met says whether $1 shares a room with user w.user_id, or might find the user in a room of the organisation that anybody may join or read.
	met = `EXISTS (
			SELECT FROM memberships theirs WHERE theirs.user_id = w.user_id AND theirs.membership = 'join' AND (
				EXISTS (SELECT FROM memberships mine WHERE mine.user_id = $1 AND mine.room_nid = theirs.room_nid AND mine.membership = 'join')
				OR EXISTS (
					SELECT FROM published_rooms p JOIN users me ON me.user_id = $1 AND me.organisation_id = p.organisation_id
					WHERE p.room_nid = theirs.room_nid AND p.listed AND p.public)
				OR EXISTS (
					SELECT FROM rooms r JOIN users me ON me.user_id = $1 AND me.organisation_id = r.organisation_id
					JOIN (VALUES ('m.room.join_rules', 'join_rule', '"public"'), ('m.room.history_visibility', 'history_visibility', '"world_readable"'))
						AS open (type, key, value) ON true
					JOIN room_state s ON s.room_nid = r.room_nid AND s.type = open.type AND s.state_key = '' AND s.until = 9223372036854775807
					JOIN events e ON e.position = s.event_position
					WHERE r.room_nid = theirs.room_nid AND (convert_from(e.json, 'UTF8')::json -> 'content' -> open.key)::text = open.value)))`
	// firstKey looks at a person once, whatever the number of keys in the range.
	firstKey = `NOT EXISTS (SELECT FROM person_keys y WHERE y.user_id = w.user_id AND y.kind = d.kind AND y.key >= d.low AND y.key < w.key)`
)

// SearchPeople finds people of the own organisation and of linked ones who have for each term a key that begins with it, in the order of
// the kinds and the keys. One person may be found by more than one key.
func (s *Store) SearchPeople(ctx context.Context, q PeopleQuery) ([]FoundPerson, error) {
	first, others := split(q.Query)
	var driving keyRanges
	var orgs, allowed []int64
	look := func(org int64, by kinds) {
		for _, key := range first {
			if by.has(key.Kind) {
				driving.add(0, key)
				orgs, allowed = append(orgs, org), append(allowed, int64(by))
			}
		}
	}
	look(q.Organisation, q.ownKinds())
	for _, l := range q.Links {
		look(l.OwnerID, kindsGiven(l.Sharing))
	}
	if len(orgs) == 0 {
		return nil, nil
	}
	rows, err := s.query(ctx, `
		SELECT found.user_id, found.kind, found.key
		FROM unnest($6::bigint[], $7::smallint[], $8::text[], $9::text[], $10::int[]) AS d (org, kind, low, high, allowed)
		CROSS JOIN LATERAL (
			SELECT w.user_id, w.kind, w.key
			FROM (
				SELECT w.user_id, w.kind, w.key
				FROM person_keys w JOIN users u USING (user_id)
				WHERE w.organisation_id = d.org AND w.kind = d.kind AND w.key >= d.low AND w.key < d.high
					AND `+firstKey+` AND `+otherTerms+` AND `+findable+` AND u.organisation_id = d.org
				ORDER BY w.key, w.user_id LIMIT $12
			) w
			WHERE NOT $13 OR d.org <> $14 OR `+met+`
			ORDER BY w.key, w.user_id LIMIT $11
		) found
		ORDER BY found.kind, found.key, found.user_id`,
		string(q.By), pq.Array(others.terms), pq.Array(others.kinds), pq.Array(nonNil(others.lows)), pq.Array(nonNil(others.highs)),
		pq.Array(orgs), pq.Array(driving.kinds), pq.Array(driving.lows), pq.Array(driving.highs), pq.Array(allowed), q.Limit,
		q.candidates(), q.MetOf > 0, q.Organisation)
	return scanAll(rows, err, scanFound)
}

// SearchAcquaintances finds people of other organisations who share a room with the one who asks, by their names. scan bounds the members that
// are looked at.
func (s *Store) SearchAcquaintances(ctx context.Context, q PeopleQuery, scan int) ([]FoundPerson, error) {
	first, others := split(q.Query)
	var driving keyRanges
	for _, key := range first {
		if nameKinds.has(key.Kind) {
			driving.add(0, key)
		}
	}
	if len(driving.kinds) == 0 {
		return nil, nil
	}
	rows, err := s.query(ctx, `
		SELECT w.user_id, w.kind, w.key
		FROM (
			SELECT DISTINCT other.user_id
			FROM (
				SELECT other.user_id
				FROM memberships mine JOIN mixed_rooms USING (room_nid)
				JOIN memberships other ON other.room_nid = mine.room_nid AND other.membership = 'join'
				WHERE mine.user_id = $1 AND mine.membership = 'join'
				LIMIT $12
			) other
		) known
		JOIN users u ON u.user_id = known.user_id
		CROSS JOIN unnest($7::smallint[], $8::text[], $9::text[], ARRAY_FILL($10::int, ARRAY[cardinality($7::smallint[])])) AS d (kind, low, high, allowed)
		JOIN person_keys w ON w.user_id = u.user_id AND w.kind = d.kind AND w.key >= d.low AND w.key < d.high
		WHERE `+findable+` AND u.organisation_id <> $6 AND `+firstKey+` AND `+otherTerms+`
		ORDER BY w.kind, w.key, w.user_id LIMIT $11`,
		string(q.By), pq.Array(others.terms), pq.Array(others.kinds), pq.Array(nonNil(others.lows)), pq.Array(nonNil(others.highs)),
		q.Organisation, pq.Array(driving.kinds), pq.Array(driving.lows), pq.Array(driving.highs), int64(nameKinds), q.Limit, scan)
	return scanAll(rows, err, scanFound)
}

// SearchUserIDs finds the users of an organisation, and of those linked ones that give names, whose user id begins with prefix, in the order of
// their ids.
func (s *Store) SearchUserIDs(ctx context.Context, q PeopleQuery, prefix string) ([]FoundPerson, error) {
	orgs := []int64{q.Organisation}
	for _, l := range q.Links {
		if l.Name {
			orgs = append(orgs, l.OwnerID)
		}
	}
	rows, err := s.query(ctx, `
		SELECT w.user_id, 1, w.user_id
		FROM (
			SELECT u.user_id, u.organisation_id FROM users u
			WHERE `+findable+` AND u.organisation_id = ANY ($2) AND u.user_id >= $3 AND u.user_id < $4 AND EXISTS (
				SELECT FROM person_keys w WHERE w.user_id = u.user_id)
			ORDER BY u.user_id LIMIT $6
		) w
		WHERE NOT $7 OR w.organisation_id <> $8 OR `+met+`
		ORDER BY w.user_id LIMIT $5`,
		string(q.By), pq.Array(orgs), prefix, above(prefix), q.Limit, q.candidates(), q.MetOf > 0, q.Organisation)
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
