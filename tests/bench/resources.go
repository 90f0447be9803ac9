package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

func (b *bench) startUp() ([]figure, error) {
	var times []time.Duration
	for range 5 {
		took, err := b.server.restart()
		if err != nil {
			return nil, err
		}
		times = append(times, took)
	}
	b.reconnect()
	var events int64
	if err := b.data.QueryRow(`SELECT count(*) FROM events`).Scan(&events); err != nil {
		return nil, err
	}
	worst := percentile(times, 1)
	return []figure{{
		what: "ready after start", measured: short(worst), yardstick: fmt.Sprintf("worst of %d, %d events stored", len(times), events),
		goal: "≤ 0.5 s", met: worst <= 500*time.Millisecond,
	}}, nil
}

// reconnect forgets connections to a process that is gone.
func (b *bench) reconnect() {
	for _, a := range b.accounts {
		a.client.close()
	}
}

func (b *bench) idle() ([]figure, error) {
	const polls = 2000
	people, err := b.people(200)
	if err != nil {
		return nil, err
	}
	if _, err := b.server.restart(); err != nil {
		return nil, err
	}
	b.reconnect()
	time.Sleep(3 * time.Second)
	started, err := b.server.memory()
	if err != nil {
		return nil, err
	}
	before, err := b.server.cpu()
	if err != nil {
		return nil, err
	}
	const watch = 10 * time.Second
	time.Sleep(watch)
	after, err := b.server.cpu()
	if err != nil {
		return nil, err
	}
	share := float64(after-before) / float64(watch) * 100
	each, err := b.pollMemory(people, polls, started)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "memory, started and idle", measured: fmt.Sprintf("%.1f MB", float64(started)/1e6), goal: "≤ 80 MB", met: started <= 80e6},
		{what: "CPU while idle", measured: fmt.Sprintf("%.2f %% of a core", share), yardstick: fmt.Sprintf("over %s", watch), goal: "≤ 1 %", met: share <= 1},
		{what: "memory of an idle long poll", measured: fmt.Sprintf("%.1f KB", each/1e3), yardstick: fmt.Sprintf("of %d", polls), goal: "≤ 40 KB", met: each <= 40e3},
	}, nil
}

// pollMemory is how much memory each of many idle long polls takes.
func (b *bench) pollMemory(people []*account, polls int, started int64) (float64, error) {
	tokens := make([]string, len(people))
	for i, a := range people {
		answer, err := a.ask("GET", "/_matrix/client/v3/sync?timeout=0&set_presence=offline&filter=%7B%22room%22%3A%7B%22rooms%22%3A%5B%5D%7D%7D", nil)
		if err != nil {
			return 0, err
		}
		tokens[i] = nextBatch(answer)
		a.client.close()
	}
	var waiting sync.WaitGroup
	var answered atomic.Int64
	clients := make([]*client, polls)
	for i := range clients {
		a := people[i%len(people)]
		clients[i] = newClient(b.server.address, a.token)
		waiting.Go(func() {
			if _, err := clients[i].do("GET", "/_matrix/client/v3/sync?timeout=120000&set_presence=offline&since="+tokens[i%len(people)], nil); err == nil {
				answered.Add(1)
			}
		})
		if i%50 == 49 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	time.Sleep(3 * time.Second)
	early := answered.Load()
	now, err := b.server.memory()
	for _, c := range clients {
		if c.conn != nil {
			c.conn.Close()
		}
	}
	waiting.Wait()
	if err == nil && early > 0 {
		err = fmt.Errorf("%d of %d long polls were answered though nothing happened", early, polls)
	}
	return float64(now-started) / float64(polls), err
}
