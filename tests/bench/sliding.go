package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// slidingBody is what clients ask for to show a list of rooms.
const slidingBody = `{"conn_id":%q,"lists":{"all":{"ranges":[[0,19]],"timeline_limit":1,"required_state":[
	["m.room.name",""],["m.room.avatar",""],["m.room.encryption",""],["m.room.create",""],["m.room.topic",""],["m.room.canonical_alias",""],
	["m.room.power_levels",""],["m.room.join_rules",""],["m.room.tombstone",""],["m.room.member","$LAZY"],["m.room.member","$ME"]]}},
	"extensions":{"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true},"e2ee":{"enabled":true},
	"to_device":{"enabled":true%s}}}`

// slider is a connection of sliding sync. One goroutine uses it.
type slider struct {
	client *client
	name   string
	body   []byte
	// pos is of the connection, messages up to where the device has its messages.
	pos, messages string
}

func (b *bench) slider(a *account, name string) *slider {
	return &slider{client: newClient(b.server.address, a.token), name: name, body: fmt.Appendf(nil, slidingBody, name, "")}
}

func (s *slider) ask(timeout time.Duration) ([]byte, error) {
	target := fmt.Sprintf("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?set_presence=offline&timeout=%d", timeout.Milliseconds())
	if s.pos != "" {
		target += "&pos=" + s.pos
	}
	answer, err := s.client.do("POST", target, s.body)
	if err == nil {
		s.pos = field(answer, "pos")
		if next := field(answer, "next_batch"); next != s.messages {
			s.messages = next
			s.body = fmt.Appendf(nil, slidingBody, s.name, fmt.Sprintf(`,"since":%q`, next))
		}
	}
	return answer, err
}

// firstWindow measures what a client with many rooms gets first, beside everything that /sync would have given it.
func (b *bench) firstWindow() ([]figure, error) {
	const times = 20
	me, _, err := b.manyRooms()
	if err != nil {
		return nil, err
	}
	var firsts, syncs []time.Duration
	var first, whole int
	window := func(i int) error {
		s := b.slider(me, fmt.Sprint("window ", i))
		s.client = me.client
		began := time.Now()
		answer, err := s.ask(0)
		if err != nil {
			return err
		}
		firsts, first = append(firsts, time.Since(began)), len(answer)
		var r struct{ Rooms map[string]json.RawMessage }
		if err := json.Unmarshal(answer, &r); err != nil {
			return err
		}
		if len(r.Rooms) != 20 {
			return fmt.Errorf("the window has %d rooms", len(r.Rooms))
		}
		return nil
	}
	before, err := b.server.cpu()
	if err != nil {
		return nil, err
	}
	for i := range times {
		if err := window(i); err != nil {
			return nil, err
		}
	}
	after, err := b.server.cpu()
	if err != nil {
		return nil, err
	}
	each := (after - before) / times
	for range 5 {
		began := time.Now()
		answer, err := me.client.do("GET", firstSync, nil)
		if err != nil {
			return nil, err
		}
		syncs, whole = append(syncs, time.Since(began)), len(answer)
	}
	share := float64(first) / float64(whole)
	return []figure{
		{
			what: "first window of 20 of 500 rooms, CPU", measured: short(each), yardstick: fmt.Sprintf("mean of %d", times),
			goal: "≤ 50 ms", met: each <= 50*time.Millisecond,
		},
		atMost("first window of 20 of 500 rooms", percentile(firsts, 0.5), percentile(syncs, 0.5), "first /sync", 0.1),
		{
			what: "first window of 20 of 500 rooms, size", measured: fmt.Sprintf("%d bytes", first),
			yardstick: fmt.Sprintf("%d first /sync", whole), ratio: fmt.Sprintf("%.2f ×", share), goal: "≤ 0.1 ×", met: share <= 0.1,
		},
	}, nil
}

func (b *bench) idleSliding() ([]figure, error) {
	const clients = 32
	people, err := b.people(64)
	if err != nil {
		return nil, err
	}
	if _, err := b.busyRoom(); err != nil {
		return nil, err
	}
	address, stop, err := startEcho()
	if err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	defer stop()
	sliders, echoers := make([]*slider, clients), make([]*client, clients)
	for i := range clients {
		sliders[i], echoers[i] = b.slider(people[i], "idle"), newClient(address, "")
		defer sliders[i].client.close()
		defer echoers[i].close()
	}
	sync := func(i int) error {
		_, err := sliders[i].ask(0)
		return err
	}
	if _, err := rate(clients, b.slice, sync); err != nil {
		return nil, err
	}
	ping, err := sliders[0].ask(0)
	if err != nil {
		return nil, err
	}
	ping = slices.Clone(ping)
	yard, got, err := compared(rounds,
		func() (float64, error) {
			return rate(clients, b.slice, func(i int) error {
				_, err := echoers[i].do("POST", "/", ping)
				return err
			})
		},
		func() (float64, error) { return rate(clients, b.slice, sync) })
	if err != nil {
		return nil, err
	}
	return []figure{atLeast("sliding sync with nothing new", got, "/s", yard, "bare JSON echo/s", 0.3)}, nil
}

// slidingLatency measures how long a message takes to a client that waits.
func (b *bench) slidingLatency() ([]figure, error) {
	const messages = 300
	people, err := b.people(2)
	if err != nil {
		return nil, err
	}
	room, err := b.roomOf(people, "sliding")
	if err != nil {
		return nil, err
	}
	s := b.slider(people[1], "latency")
	defer s.client.close()
	// The second answer is the first one that comes with nothing to load.
	for range 2 {
		if _, err := s.ask(0); err != nil {
			return nil, err
		}
	}
	arrived := make(chan time.Time, 1)
	ended := make(chan error, 1)
	go func() {
		defer close(arrived)
		for n := 0; n < messages; {
			answer, err := s.ask(10 * time.Second)
			if err != nil {
				ended <- err
				return
			}
			if bytes.Contains(answer, fmt.Appendf(nil, `%s%d of`, mark, n)) {
				arrived <- time.Now()
				n++
			}
		}
	}()
	target := sendTarget(room)
	var sends, deliveries []time.Duration
	for n := range messages {
		time.Sleep(5 * time.Millisecond)
		began := time.Now()
		if err := people[0].sendNumber(target, n); err != nil {
			return nil, err
		}
		sends = append(sends, time.Since(began))
		select {
		case at, ok := <-arrived:
			if !ok {
				return nil, fmt.Errorf("message %d: %w", n, <-ended)
			}
			deliveries = append(deliveries, at.Sub(began))
		case <-time.After(30 * time.Second):
			return nil, fmt.Errorf("message %d did not arrive", n)
		}
	}
	return []figure{atMost("send to sliding sync, p50", percentile(deliveries, 0.5), percentile(sends, 0.5), "the send's own p50", 1.5)}, nil
}
