package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// crowd are the members of the large room, of whom online are in a long poll; away are some of the others who look afterwards.
	crowd  = 10_000
	online = 100
	away   = 10
	// crowdRules is how many members have rules of their own: each of their rules is asked about each message.
	crowdRules = 20
	crowdTold  = 40
)

// crowdedRoom compares the time from a message to sync in a room of 10,000 with that in a room of 10, and looks whether all have the
// right counts afterwards.
func (b *bench) crowdedRoom() ([]figure, error) {
	people, err := b.people(1 + online + away)
	if err != nil {
		return nil, err
	}
	small, err := b.roomOf(people[:10], "ten")
	if err != nil {
		return nil, err
	}
	large, err := people[0].createRoom("ten thousand")
	if err != nil {
		return nil, err
	}
	// Most members are there in the database alone: with a membership, and in the room's state like its first member.
	for _, statement := range []string{
		`INSERT INTO memberships (user_id, room_nid, membership, sender, position)
		 SELECT '@crowd' || n || ':bench.test', room_nid, 'join', '@crowd' || n || ':bench.test', m.position
		 FROM memberships m JOIN rooms USING (room_nid), generate_series(1, $2) n WHERE room_id = $1`,
		`INSERT INTO room_state (room_nid, type, state_key, since, event_position, event_id, membership)
		 SELECT room_nid, s.type, '@crowd' || n || ':bench.test', s.since, s.event_position, s.event_id, 'join'
		 FROM room_state s JOIN rooms USING (room_nid), generate_series(1, $2) n WHERE room_id = $1 AND s.type = 'm.room.member'`,
	} {
		if _, err := b.data.Exec(statement, large, crowd-len(people)); err != nil {
			return nil, err
		}
	}
	if _, err := b.data.Exec(`ANALYZE memberships, room_state`); err != nil {
		return nil, err
	}
	if err := inParallel(16, len(people)-1, func(i int) error { return people[i+1].join(large) }); err != nil {
		return nil, err
	}
	for i := range crowdRules {
		if _, err := people[1+i].ask("PUT", "/_matrix/client/v3/pushrules/global/content/word", map[string]any{
			"pattern": "bench", "actions": []any{"notify", map[string]any{"set_tweak": "highlight"}},
		}); err != nil {
			return nil, err
		}
	}
	few, err := b.tell(small, people[:10])
	if err != nil {
		return nil, err
	}
	many, err := b.tell(large, people[:1+online])
	if err != nil {
		return nil, err
	}
	if err := b.checkUnread(large, people[1:], crowdTold); err != nil {
		return nil, err
	}
	return []figure{
		atMost("message in a room of 10,000, 100 online, p50", percentile(many, 0.5), percentile(few, 0.5), "in a room of 10", 3),
	}, nil
}

// tell has the first of the people send messages, and returns how long each took to reach each of the others.
func (b *bench) tell(room string, people []*account) ([]time.Duration, error) {
	var began [crowdTold]time.Time
	arrived := make([][crowdTold]time.Time, len(people)-1)
	var failed sync.Map
	var wg sync.WaitGroup
	for i, a := range people[1:] {
		count := 0
		r, err := newReceiver(b, a, room, func(n int) { arrived[i][n], count = time.Now(), count+1 })
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			defer r.client.close()
			for end := time.Now().Add(time.Minute); count < crowdTold && time.Now().Before(end); {
				if err := r.poll(); err != nil {
					failed.Store(i, err)
					return
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	for n := range crowdTold {
		began[n] = time.Now()
		if err := people[0].sendNumber(sendTarget(room), n); err != nil {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	wg.Wait()
	var all []time.Duration
	for i := range arrived {
		for n := range crowdTold {
			if arrived[i][n].IsZero() {
				err, _ := failed.Load(i)
				return nil, fmt.Errorf("message %d did not reach receiver %d: %v", n, i, err)
			}
			all = append(all, arrived[i][n].Sub(began[n]))
		}
	}
	return all, nil
}

// checkUnread looks whether sync tells people that so many messages of a room are unread.
func (b *bench) checkUnread(room string, people []*account, want int) error {
	for i, a := range people {
		answer, err := a.ask("GET", "/_matrix/client/v3/sync?filter="+url.QueryEscape(`{"room":{"rooms":["`+room+`"],"timeline":{"limit":1},"state":{"lazy_load_members":true}}}`), nil)
		if err != nil {
			return err
		}
		if got := number(answer, "notification_count"); got != strconv.Itoa(want) {
			return fmt.Errorf("member %d has %s unread messages, not %d", i, got, want)
		}
	}
	return nil
}

// number is the first number of a name in an answer.
func number(answer []byte, name string) string {
	_, rest, _ := strings.Cut(string(answer), `"`+name+`":`)
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	return rest[:digits]
}
