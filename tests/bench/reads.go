package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"
)

// statisticsDelay is how long PostgreSQL's processes may keep for themselves what they have done.
const statisticsDelay = 11 * time.Second

// queriesDuring counts the transactions on the server's database while f runs, less those of an idle server in that time. A
// query outside a transaction is one.
func (b *bench) queriesDuring(f func() error) (queries float64, err error) {
	// What PostgreSQL tidies up by itself counts as transactions too.
	if err := b.setAutovacuum("off"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.setAutovacuum("on")) }()
	var counts [3]int64
	var times [3]time.Time
	for i := range counts {
		if i == 2 {
			stop := b.watchQueries()
			err := f()
			b.lastQueries = stop()
			if err != nil {
				return 0, err
			}
		}
		time.Sleep(statisticsDelay)
		err := b.db.QueryRow(`SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'roomline'`).Scan(&counts[i])
		if err != nil {
			return 0, err
		}
		times[i] = time.Now()
	}
	idle := float64(counts[1]-counts[0]) / times[1].Sub(times[0]).Seconds()
	return max(0, float64(counts[2]-counts[1])-idle*times[2].Sub(times[1]).Seconds()), nil
}

func (b *bench) setAutovacuum(value string) error {
	if _, err := b.db.Exec(`ALTER SYSTEM SET autovacuum = ` + value); err != nil {
		return err
	}
	_, err := b.db.Exec(`SELECT pg_reload_conf()`)
	return err
}

// watchQueries looks at what the server's connections do, again and again, until it is stopped. Then it tells which queries it
// has seen how often, most frequent first.
func (b *bench) watchQueries() (stop func() []string) {
	quit, done := make(chan struct{}), make(chan struct{})
	seen := map[string]bool{}
	counts := map[string]int{}
	go func() {
		defer close(done)
		for first := true; ; first = false {
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
			rows, err := b.db.Query(`SELECT pid::text || ' ' || query_start::text, query FROM pg_stat_activity WHERE datname = 'roomline' AND query <> ''`)
			if err != nil {
				return
			}
			for rows.Next() {
				var id, query string
				if rows.Scan(&id, &query) == nil && !seen[id] {
					seen[id] = true
					if !first {
						counts[strings.Join(strings.Fields(query), " ")]++
					}
				}
			}
			rows.Close()
		}
	}()
	return func() []string {
		close(quit)
		<-done
		var list []string
		for query, n := range counts {
			list = append(list, fmt.Sprintf("%6d × %.150s", n, query))
		}
		slices.Sort(list)
		slices.Reverse(list)
		return list
	}
}

// readAll runs a query and reads everything, as the server would have to, and says how much it was.
func readAll(db *sql.DB, query string, args ...any) (rows, bytes int, err error) {
	result, err := db.Query(query, args...)
	if err != nil {
		return 0, 0, err
	}
	defer result.Close()
	for result.Next() {
		var body []byte
		if err := result.Scan(&body); err != nil {
			return 0, 0, err
		}
		rows++
		bytes += len(body)
	}
	return rows, bytes, result.Err()
}

// manyRooms is how many rooms one account is in; each has members, of whom the talkers have written some lines.
const manyRooms, members, talkers, lines = 500, 20, 3, 4

// firstSync is where a client asks for everything that it needs of its rooms.
var firstSync = "/_matrix/client/v3/sync?timeout=0&filter=" + url.QueryEscape(`{"room":{"state":{"lazy_load_members":true}}}`)

// manyRooms returns an account that is in many rooms, and who else is in them.
func (b *bench) manyRooms() (me *account, others []*account, err error) {
	people, err := b.people(64)
	if err != nil {
		return nil, nil, err
	}
	me, others = people[0], people[1:members]
	if !b.rooms.many {
		err = b.fillRooms(manyRooms, me, others, talkers, lines)
		b.rooms.many = err == nil
	}
	return me, others, err
}

func (b *bench) initialSync() ([]figure, error) {
	me, others, err := b.manyRooms()
	if err != nil {
		return nil, err
	}
	var syncs, queries []time.Duration
	var answered, read int
	speakers := make([]string, 0, talkers+1)
	for _, a := range append([]*account{me}, others[:talkers]...) {
		speakers = append(speakers, a.id)
	}
	c := newClient(b.server.address, me.token)
	defer c.close()
	for range 7 {
		began := time.Now()
		answer, err := c.do("GET", firstSync, nil)
		if err != nil {
			return nil, err
		}
		syncs = append(syncs, time.Since(began))
		if answered, err = stateEvents(answer, manyRooms); err != nil {
			return nil, err
		}
		began = time.Now()
		read, _, err = readAll(b.data, `
			SELECT e.json
			FROM memberships m
			JOIN room_state s ON s.room_nid = m.room_nid AND s.until = 9223372036854775807
			JOIN events e ON e.position = s.event_position
			WHERE m.user_id = $1 AND m.membership = 'join' AND (s.type <> 'm.room.member' OR s.state_key = ANY ($2))`,
			me.id, pq.Array(speakers))
		if err != nil {
			return nil, err
		}
		queries = append(queries, time.Since(began))
	}
	f := atMost("initial sync, 500 rooms of 20", percentile(syncs, 0.5), percentile(queries, 0.5),
		fmt.Sprintf("SQL, %d rows for %d", read, answered), 5)
	return []figure{f}, nil
}

// fillRooms makes rooms of all people in which some have spoken, so that the end of each timeline is theirs.
func (b *bench) fillRooms(rooms int, me *account, others []*account, talkers, lines int) error {
	return inParallel(24, rooms, func(n int) error {
		// Accounts have one connection; this needs them in many goroutines.
		as := func(a *account) *account {
			return &account{id: a.id, token: a.token, client: newClient(b.server.address, a.token)}
		}
		mine := as(me)
		defer mine.client.close()
		room, err := mine.createRoom(fmt.Sprintf("Room %d", n))
		if err != nil {
			return err
		}
		for i, other := range others {
			a := as(other)
			err := a.join(room)
			a.client.close()
			if err != nil {
				return fmt.Errorf("user %d: %w", i, err)
			}
		}
		for i := range talkers {
			a := as(others[i])
			for line := range lines {
				a.txn = 1_000_000 + 1000*n + line
				if err := a.send(sendTarget(room)); err != nil {
					return err
				}
			}
			a.client.close()
		}
		return nil
	})
}

// stateEvents counts the state events of an initial sync, and fails when it lacks rooms.
func stateEvents(answer []byte, rooms int) (int, error) {
	var r struct {
		Rooms struct {
			Join map[string]struct {
				State struct {
					Events []json.RawMessage `json:"events"`
				} `json:"state"`
			} `json:"join"`
		} `json:"rooms"`
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return 0, err
	}
	if len(r.Rooms.Join) < rooms {
		return 0, fmt.Errorf("the answer has %d rooms, want at least %d", len(r.Rooms.Join), rooms)
	}
	n := 0
	for _, room := range r.Rooms.Join {
		n += len(room.State.Events)
	}
	return n, nil
}

func (b *bench) history() ([]figure, error) {
	const events, page = 10_000, 100
	room, err := b.busyRoom()
	if err != nil {
		return nil, err
	}
	target := sendTarget(room)
	if err := inParallel(64, 64, func(i int) error {
		for range events/64 + 1 {
			if err := b.accounts[i].send(target); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var nid int64
	if err := b.data.QueryRow(`SELECT room_nid FROM rooms WHERE room_id = $1`, room).Scan(&nid); err != nil {
		return nil, err
	}
	reader := b.accounts[0]
	var api, queries []time.Duration
	for range 3 {
		took, err := pageBack(reader.client, room, events, page)
		if err != nil {
			return nil, err
		}
		api = append(api, took)
		if took, err = b.pageBackSQL(nid, events, page); err != nil {
			return nil, err
		}
		queries = append(queries, took)
	}
	return []figure{atMost("messages back through 10,000 events", percentile(api, 0.5), percentile(queries, 0.5), "the SQL alone", 3)}, nil
}

func pageBack(c *client, room string, events, page int) (time.Duration, error) {
	base := fmt.Sprintf("/_matrix/client/v3/rooms/%s/messages?dir=b&limit=%d", url.PathEscape(room), page)
	from := ""
	began := time.Now()
	for range events / page {
		target := base
		if from != "" {
			target += "&from=" + from
		}
		answer, err := c.do("GET", target, nil)
		if err != nil {
			return 0, err
		}
		if from = field(answer, "end"); from == "" {
			return 0, errors.New("the history ended early")
		}
	}
	return time.Since(began), nil
}

func (b *bench) pageBackSQL(nid int64, events, page int) (time.Duration, error) {
	before := int64(1) << 62
	began := time.Now()
	for range events / page {
		rows, err := b.data.Query(`
			SELECT position, event_id, type, state_key, sender, origin_server_ts, json
			FROM events WHERE room_nid = $1 AND position < $2 ORDER BY position DESC LIMIT $3`, nid, before, page)
		if err != nil {
			return 0, err
		}
		for rows.Next() {
			var id, kind, sender string
			var key sql.NullString
			var ts int64
			var body []byte
			if err := rows.Scan(&before, &id, &kind, &key, &sender, &ts, &body); err != nil {
				rows.Close()
				return 0, err
			}
		}
		if err := rows.Err(); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}
