package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// listed is the size of the directories that are searched, and listedWithin how long a search may take.
const (
	listed       = 100_000
	listedWithin = 50 * time.Millisecond
)

// roomDirectory measures the room directory with many published rooms: pages, searches for words that many rooms have, few or none.
func (b *bench) roomDirectory() ([]figure, error) {
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	_, err = b.data.Exec(`
		INSERT INTO rooms (room_nid, room_id, room_version, organisation_id, head_event_id, extremities, depth)
		SELECT 10000000 + n, '!listed' || n || ':bench.test', '12', 1, '', '{}', 1 FROM generate_series(1, $1) n
		ON CONFLICT DO NOTHING`, listed)
	if err != nil {
		return nil, err
	}
	// Larger rooms are fewer; every room has the words "room" and "about", its number, and one of a thousand towns.
	_, err = b.data.Exec(`
		INSERT INTO published_rooms (room_nid, organisation_id, position, listed, rank, room_type, entry, words)
		SELECT 10000000 + n, 1, 0, true, -(1 + 20000 / n), CASE WHEN n % 50 = 0 THEN 'm.space' ELSE '' END,
		       convert_to('{"room_id":"!listed' || n || ':bench.test","name":"Room ' || n || '","topic":"About town' || n % 1000
		           || '","num_joined_members":' || 1 + 20000 / n || ',"world_readable":false,"guest_can_join":false}', 'UTF8'),
		       array_to_tsvector(ARRAY['room', 'number' || n, 'about', 'town' || n % 1000])
		FROM generate_series(1, $1) n
		ON CONFLICT DO NOTHING`, listed)
	if err != nil {
		return nil, err
	}
	if _, err := b.data.Exec(`VACUUM ANALYZE published_rooms`); err != nil {
		return nil, err
	}
	search := func(term string) request {
		return post("/_matrix/client/v3/publicRooms", map[string]any{"limit": 20, "filter": map[string]any{"generic_search_term": term}})
	}
	requests := []request{
		{"GET", "/_matrix/client/v3/publicRooms?limit=20", nil},
		{"GET", "/_matrix/client/v3/publicRooms?limit=100&since=" + url.QueryEscape("n1.10080000"), nil},
		{"GET", "/_matrix/client/v3/publicRooms?limit=100&since=" + url.QueryEscape("p1.10080000"), nil},
		post("/_matrix/client/v3/publicRooms", map[string]any{"limit": 20, "filter": map[string]any{"room_types": []string{"m.space"}}}),
		search("r"), search("room"), search("about town7"), search("town77"), search("town777 number77777"), search("number4242"), search("nothing of the kind"),
	}
	f, err := b.within("room directory of 100,000", people[0], requests, `SELECT entry FROM published_rooms WHERE room_nid = 10000001`)
	return []figure{f}, errors.Join(err, b.forget(`DELETE FROM published_rooms WHERE room_nid > 10000000`, `DELETE FROM rooms WHERE room_nid > 10000000`))
}

// userDirectory measures searches for people among many, six of ten in the own organisation and the others in a linked one: by the beginnings of
// frequent names and rare ones, by e-mail addresses, by numbers in several notations and their ends, and by the digits of a keypad.
func (b *bench) userDirectory() ([]figure, error) {
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{
		`INSERT INTO organisations (organisation_id, name, created_ts) VALUES (900, 'linked', 0) ON CONFLICT DO NOTHING`,
		`UPDATE organisations SET default_region = 'DE'`,
		`INSERT INTO organisation_links (organisation_id, domain, other_id, state, offer, message, proposed_ts, since_ts)
		 VALUES (900, 'bench.test', 1, 'active', '{}', '', 0, 0)`,
		`INSERT INTO organisation_sharings (viewer_id, owner_id, link_id, name, avatar, email, phone, presence, phone_presence, invite)
		 SELECT 1, 900, link_id, true, true, true, true, true, true, true FROM organisation_links WHERE organisation_id = 900`,
		listedPeople + `INSERT INTO users (user_id, organisation_id, created_ts) SELECT id, org, 0 FROM listed`,
		listedPeople + `INSERT INTO profiles (user_id, key, value)
		 SELECT id, 'displayname', convert_to('"' || initcap(given || ' ' || family) || '"', 'UTF8') FROM listed`,
		listedPeople + `INSERT INTO user_threepids (organisation_id, medium, address, user_id, added_ts, validated_ts)
		 SELECT org, k.medium, k.address, id, 0, 0 FROM listed, LATERAL (VALUES ('email', email), ('msisdn', phone)) k (medium, address)`,
		listedPeople + `INSERT INTO person_keys (user_id, kind, key, organisation_id)
		 SELECT id, k.kind, k.key, org FROM listed, LATERAL (VALUES
		     (1, 'listed' || n), (1, given), (1, family), (2, email), (2, substr(email, strpos(email, '.') + 1)), (2, 'example.org'), (2, 'org'), (7, email),
		     (3, phone), (4, reverse(phone)), (5, translate(given || family, 'abcdefghijklmnopqrstuvwxyz', '22233344455566677778889999')),
		     (5, translate(family || given, 'abcdefghijklmnopqrstuvwxyz', '22233344455566677778889999'))) k (kind, key) ON CONFLICT DO NOTHING`,
	} {
		if _, err := b.data.Exec(statement); err != nil {
			return nil, err
		}
	}
	if _, err := b.data.Exec(`VACUUM ANALYZE users, profiles, user_threepids, person_keys`); err != nil {
		return nil, err
	}
	var requests []request
	for _, term := range []string{
		"l", "g", "given7", "fam", "family7000", "given12 family12", "given299 family", "g f", "l g f", "given1 family99999", "listed4242", "@listed42", "nobody",
		"given12.family12", "given12.family12.12@example.org", "family7000.7", "example.org given7", "org",
		"4242", "+4930 1000 4242", "0049 30 10004242", "+49301", "30 100", "given42 4242", "99", "44836", "4483612", "3264597", "2",
	} {
		requests = append(requests, post("/_matrix/client/v3/user_directory/search", map[string]any{"search_term": term, "limit": 10}))
	}
	f, err := b.within("user directory of 100,000", people[0], requests, `SELECT value FROM profiles WHERE user_id = '@listed1:bench.test'`)
	return []figure{f}, errors.Join(err, b.forget(
		`DELETE FROM person_keys WHERE user_id LIKE '@listed%'`, `DELETE FROM profiles WHERE user_id LIKE '@listed%'`,
		`DELETE FROM user_threepids WHERE user_id LIKE '@listed%'`, `DELETE FROM users WHERE user_id LIKE '@listed%'`,
		`DELETE FROM organisation_sharings WHERE owner_id = 900`, `DELETE FROM organisation_links WHERE organisation_id = 900`,
		`DELETE FROM organisations WHERE organisation_id = 900`))
}

// listedPeople are those that the directory has.
var listedPeople = fmt.Sprintf(`
	WITH listed AS (
		SELECT n, CASE WHEN n %% 10 < 6 THEN 1 ELSE 900 END AS org, '@listed' || n || ':bench' || CASE WHEN n %% 10 < 6 THEN '' ELSE '2' END || '.test' AS id,
		       'given' || n %% 300 AS given, 'family' || n %% 7001 AS family,
		       'given' || n %% 300 || '.family' || n %% 7001 || '.' || n || '@example.org' AS email, '493010' || lpad(n::text, 6, '0') AS phone
		FROM generate_series(1, %d) n
	) `, listed)

func (b *bench) forget(statements ...string) error {
	for _, s := range statements {
		if _, err := b.data.Exec(s); err != nil {
			return err
		}
	}
	return nil
}

// request is one of those that are asked in turn.
type request struct {
	method, target string
	body           []byte
}

func post(target string, body any) request {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return request{"POST", target, raw}
}

// within asks every request many times, in turn, and compares the time that one in a hundred takes longer than with what is allowed.
// The yardstick is one row by its key.
func (b *bench) within(what string, who *account, requests []request, yardstick string) (figure, error) {
	const rounds = 30
	var all, yard []time.Duration
	worst := make([]time.Duration, len(requests))
	for round := range rounds {
		for i, r := range requests {
			began := time.Now()
			if _, err := who.client.do(r.method, r.target, r.body); err != nil {
				return figure{}, fmt.Errorf("%s %s %s: %w", r.method, r.target, r.body, err)
			}
			took := time.Since(began)
			if round > 0 { // the first round warms up connections and caches
				all = append(all, took)
				worst[i] = max(worst[i], took)
			}
			began = time.Now()
			if _, _, err := readAll(b.data, yardstick); err != nil {
				return figure{}, err
			}
			yard = append(yard, time.Since(began))
		}
	}
	p99, median := percentile(all, 0.99), percentile(all, 0.5)
	f := figure{
		what: what, measured: fmt.Sprintf("p50 %s p99 %s", short(median), short(p99)), yardstick: short(percentile(yard, 0.5)) + " one row by its key",
		ratio: fmt.Sprintf("%.0f ×", float64(p99)/float64(percentile(yard, 0.5))), goal: "p99 ≤ " + short(listedWithin), met: p99 <= listedWithin,
	}
	for i, r := range requests {
		f.details = append(f.details, fmt.Sprintf("%10s at most: %s %s %s", short(worst[i]), r.method, r.target, r.body))
	}
	return f, nil
}
