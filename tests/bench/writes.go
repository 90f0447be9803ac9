package main

import (
	"fmt"
	"slices"
	"time"
)

// rounds is how often a yardstick and what is measured beside it take turns; turns is the same of rates of writing, in as much time: how fast a disk
// is changes from one second to the next.
const (
	rounds = 3
	turns  = 12
)

func (b *bench) sendManyRooms() ([]figure, error) {
	people, err := b.people(64)
	if err != nil {
		return nil, err
	}
	targets := make([]string, len(people))
	for i, a := range people {
		room, err := a.createRoom("own")
		if err != nil {
			return nil, err
		}
		targets[i] = sendTarget(room)
	}
	return b.sendRate("send, 64 senders in 64 rooms", people, targets, 0.4)
}

func (b *bench) sendOneRoom() ([]figure, error) {
	room, err := b.busyRoom()
	if err != nil {
		return nil, err
	}
	targets := make([]string, 64)
	for i := range targets {
		targets[i] = sendTarget(room)
	}
	return b.sendRate("send, 64 senders in one room", b.accounts[:64], targets, 0.3)
}

func (b *bench) sendAlone() ([]figure, error) {
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	room, err := people[0].createRoom("alone")
	if err != nil {
		return nil, err
	}
	return b.sendRate("send, one sender", people, []string{sendTarget(room)}, 0.3)
}

// sendRate compares senders, each with a connection of its own, with as many connections to the database.
func (b *bench) sendRate(what string, people []*account, targets []string, goal float64) ([]figure, error) {
	send := func(i int) error { return people[i].send(targets[i]) }
	if _, err := rate(len(people), b.slice/2, send); err != nil { // warm up
		return nil, err
	}
	turn := b.slice * rounds / turns
	yard, got, err := compared(turns,
		func() (float64, error) { return b.insertRate(len(people), turn) },
		func() (float64, error) { return rate(len(people), turn, send) })
	if err != nil {
		return nil, err
	}
	return []figure{atLeast(what, got, "/s", yard, "INSERT+COMMIT/s", goal)}, nil
}

// atLeast is a rate that must be a part of its yardstick.
func atLeast(what string, got float64, unit string, yard float64, yardUnit string, goal float64) figure {
	ratio := got / yard
	return figure{
		what: what, measured: fmt.Sprintf("%.0f%s", got, unit), yardstick: fmt.Sprintf("%.0f %s", yard, yardUnit),
		ratio: fmt.Sprintf("%.2f ×", ratio), goal: fmt.Sprintf("≥ %g ×", goal), met: ratio >= goal,
	}
}

// atMost is a time that must not be longer than a multiple of its yardstick.
func atMost(what string, got, yard time.Duration, yardWhat string, goal float64) figure {
	ratio := float64(got) / float64(yard)
	return figure{
		what: what, measured: short(got), yardstick: short(yard) + " " + yardWhat,
		ratio: fmt.Sprintf("%.2f ×", ratio), goal: fmt.Sprintf("≤ %g ×", goal), met: ratio <= goal,
	}
}

// short prints a time with three digits.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// percentile of times, which it sorts.
func percentile(times []time.Duration, p float64) time.Duration {
	slices.Sort(times)
	return times[min(int(p*float64(len(times))), len(times)-1)]
}

func (b *bench) joins() ([]figure, error) {
	const members, joining = 1000, 20
	people, err := b.people(members + joining)
	if err != nil {
		return nil, err
	}
	room, err := b.roomOf(people[:members], "big")
	if err != nil {
		return nil, err
	}
	target := sendTarget(room)
	var joins, sends []time.Duration
	for _, a := range people[members:] {
		began := time.Now()
		if err := a.join(room); err != nil {
			return nil, err
		}
		joins = append(joins, time.Since(began))
		for range 3 {
			began = time.Now()
			if err := a.send(target); err != nil {
				return nil, err
			}
			sends = append(sends, time.Since(began))
		}
	}
	return []figure{atMost("join a room of 1,000 members", percentile(joins, 0.5), percentile(sends, 0.5), "a send in it", 10)}, nil
}
