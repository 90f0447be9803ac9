package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/lib/pq"
)

// searched is how many messages lie in the rooms of the user who searches, vocabulary how many words they have: the k-th most frequent
// one stands in them k times less often than the first, as in a language.
const (
	searched   = 1_000_000
	vocabulary = 50_000
)

// search fills rooms with messages as if they had been sent long ago, lets the server index them, and searches for words of all
// frequencies, most of them for two at a time.
func (b *bench) search() ([]figure, error) {
	people, err := b.people(2)
	if err != nil {
		return nil, err
	}
	me := people[0]
	var nids []int64
	for i := range 20 {
		id, err := me.createRoom(fmt.Sprintf("Archive %d", i))
		if err != nil {
			return nil, err
		}
		var nid int64
		if err := b.data.QueryRow(`SELECT room_nid FROM rooms WHERE room_id = $1`, id).Scan(&nid); err != nil {
			return nil, err
		}
		nids = append(nids, nid)
	}
	if err := b.fillArchive(nids, people[1].id); err != nil {
		return nil, err
	}
	indexed, err := b.awaitIndex()
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	var slowest string
	found := 0
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		term := searchWord(rnd)
		if i%3 > 0 {
			term += " " + searchWord(rnd)
		}
		order := []string{"rank", "recent"}[i%2]
		body := fmt.Appendf(nil, `{"search_categories":{"room_events":{"search_term":%q,"order_by":%q,"event_context":{"include_profile":true}}}}`, term, order)
		began := time.Now()
		answer, err := me.client.do("POST", "/_matrix/client/v3/search", body)
		if err != nil {
			return nil, err
		}
		took := time.Since(began)
		n, err := searchCount(answer)
		if err != nil {
			return nil, err
		}
		if found += min(n, 1); len(times) == 0 || took > percentile(times, 1) {
			slowest = fmt.Sprintf("slowest: %s by %s, %d found, %s", term, order, n, short(took))
		}
		times = append(times, took)
	}
	if found < 100 {
		return nil, fmt.Errorf("of 400 searches %d found something", found)
	}
	p99 := percentile(times, 0.99)
	return []figure{{
		what: "search, 1,000,000 messages, p99", measured: short(p99), yardstick: "p50 " + short(percentile(times, 0.5)),
		ratio: fmt.Sprintf("%.0f/s indexed", indexed), goal: "≤ 200 ms", met: p99 <= 200*time.Millisecond, details: []string{slowest},
	}}, nil
}

// searchWord is a word of the archive: the logarithms of the ranks are spread evenly. Words are spelt so that few begin alike.
func searchWord(rnd *rand.Rand) string {
	return spelt(int(math.Exp(rnd.Float64() * math.Log(vocabulary))))
}

func spelt(rank int) string {
	word := make([]byte, 0, 8)
	for n := uint32(rank) * 2654435761; len(word) < 7; n /= 26 {
		word = append(word, 'a'+byte(n%26))
	}
	return string(word)
}

// fillArchive stores messages while the server is not there to see it.
func (b *bench) fillArchive(rooms []int64, sender string) error {
	if err := b.server.stop(); err != nil {
		return err
	}
	names := make([]string, vocabulary+1)
	for i := range names {
		names[i] = spelt(i)
	}
	const batch = 50_000
	for done := 0; done < searched; done += batch {
		_, err := b.data.Exec(`
			WITH place AS (UPDATE clock SET position = position + $1 RETURNING position - $1 AS base)
			INSERT INTO events (position, room_nid, event_id, type, sender, origin_server_ts, depth, json)
			SELECT base + n, ($2::bigint[])[1 + (random() * (cardinality($2::bigint[]) - 1))::int], '$archive' || (base + n), 'm.room.message', $3::text,
			       1700000000000 + base + n, 1, convert_to('{"content":{"body":"' || (
			           SELECT string_agg(($4::text[])[1 + exp(random() * ln(cardinality($4::text[]) - 1))::int], ' ')
			           FROM generate_series(1, 12 + 0 * n)
			       ) || '","msgtype":"m.text"}}', 'UTF8')
			FROM place, generate_series(1, $1::bigint) n`, batch, pq.Array(rooms), sender, pq.Array(names))
		if err != nil {
			return err
		}
	}
	if _, err := b.data.Exec(`ANALYZE events`); err != nil {
		return err
	}
	if _, err := b.server.start(); err != nil {
		return err
	}
	b.reconnect()
	return nil
}

// awaitIndex waits until the server has indexed everything, and says how many messages a second it did.
func (b *bench) awaitIndex() (float64, error) {
	began := time.Now()
	for {
		var done bool
		err := b.data.QueryRow(`SELECT coalesce((SELECT position >= (SELECT position FROM clock) FROM followers WHERE name = 'search'), false)`).Scan(&done)
		if err != nil {
			return 0, err
		}
		if done {
			return searched / time.Since(began).Seconds(), nil
		}
		if time.Since(began) > 15*time.Minute {
			return 0, fmt.Errorf("not everything is indexed after %s", time.Since(began).Round(time.Second))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func searchCount(answer []byte) (int, error) {
	var r struct {
		Categories struct {
			RoomEvents struct {
				Count int `json:"count"`
			} `json:"room_events"`
		} `json:"search_categories"`
	}
	err := json.Unmarshal(answer, &r)
	return r.Categories.RoomEvents.Count, err
}
