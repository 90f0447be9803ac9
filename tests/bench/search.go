package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
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
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	me := people[0]
	var rooms []string
	for i := range 20 {
		id, err := me.createRoom(fmt.Sprintf("Archive %d", i))
		if err != nil {
			return nil, err
		}
		rooms = append(rooms, id)
	}
	if err := b.fillArchive(me, rooms); err != nil {
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

// archiveWords is how many words a message of the archive has.
const archiveWords = 12

// fillArchive stores messages while the server is not there to see it: as it would have stored them, but for their signatures.
func (b *bench) fillArchive(me *account, rooms []string) error {
	const body = "the first message of the archive"
	answer, err := me.ask("PUT", sendTarget(rooms[0])+"archive", map[string]any{"msgtype": "m.text", "body": body})
	if err != nil {
		return err
	}
	if err := b.server.stop(); err != nil {
		return err
	}
	var like string
	err = b.data.QueryRow(`SELECT convert_from(json, 'UTF8') FROM events WHERE event_id = $1`, field(answer, "event_id")).Scan(&like)
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	bodies := make([]string, 50_000)
	for done := 0; done < searched; done += len(bodies) {
		for i := range bodies {
			bodies[i] = archived(rnd)
		}
		if _, err := b.data.Exec(`
			WITH place AS (UPDATE clock SET position = position + cardinality($1::text[]) RETURNING position - cardinality($1::text[]) AS base)
			INSERT INTO events (position, room_nid, event_id, type, sender, origin_server_ts, depth, json)
			SELECT base + n, room_nid, '$' || translate(rtrim(encode(sha256(int8send(base + n)), 'base64'), '='), '+/', '-_'), 'm.room.message', $2,
			       1700000000000 + base + n, 10 + base + n, convert_to(replace($3, $4, body), 'UTF8')
			FROM place, unnest($1::text[]) WITH ORDINALITY AS x (body, n)
			JOIN rooms ON rooms.room_id = ($5::text[])[1 + (x.n * 7919 % cardinality($5::text[]))]`,
			pq.Array(bodies), me.id, like, body, pq.Array(rooms)); err != nil {
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

func archived(rnd *rand.Rand) string {
	words := make([]string, archiveWords)
	for i := range words {
		words[i] = searchWord(rnd)
	}
	return strings.Join(words, " ")
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
