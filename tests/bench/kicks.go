package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest/caller"
)

const (
	// kicks is how often somebody is kicked who is in a call, by kickedAtOnce members in rooms of their own.
	kicks        = 100
	kickedAtOnce = 4
	kickP99      = 2 * time.Second
	// kickPatience is when somebody who was kicked counts as still there.
	kickPatience = 20 * time.Second
)

// kicking measures how long the media of somebody lasts who is kicked out of the room: from the request until the connection is over.
func (b *bench) kicking() ([]figure, error) {
	if err := b.meetings(); err != nil {
		return nil, err
	}
	people, err := b.people(2 * kickedAtOnce)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var times []time.Duration
	stayed := 0
	err = inParallel(kickedAtOnce, kickedAtOnce, func(i int) error {
		host, member := people[2*i], people[2*i+1]
		room, err := b.roomOf(people[2*i:2*i+2], "kicks")
		if err != nil {
			return err
		}
		for range kicks / kickedAtOnce {
			took, out, err := b.kick(host, member, room)
			if err != nil {
				return err
			}
			mu.Lock()
			times = append(times, took)
			if !out {
				stayed++
			}
			mu.Unlock()
			if err := member.join(room); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p99, median := percentile(times, 0.99), percentile(times, 0.5)
	return []figure{{
		what: fmt.Sprintf("kick → media gone, %d cycles, p99", kicks), measured: p99.Round(time.Millisecond).String(),
		yardstick: fmt.Sprintf("median %v, %d stayed", median.Round(time.Millisecond), stayed), goal: "≤ " + kickP99.String(), met: p99 <= kickP99 && stayed == 0,
	}}, nil
}

// kick has a member enter the call and kicks it.
func (b *bench) kick(host, member *account, room string) (took time.Duration, out bool, err error) {
	answer, err := member.client.do("POST", "/_matrix/client/v1/rtc/livekit/get_token",
		fmt.Appendf(nil, `{"room_id":%q,"slot_id":"m.call#ROOM","member":{"id":"kicked","claimed_device_id":%q}}`, room, member.device))
	if err != nil {
		return 0, false, err
	}
	in, err := caller.Connect(b.liveKitURL, gjson.GetBytes(answer, "jwt").String())
	if err != nil {
		return 0, false, err
	}
	defer in.Leave()
	body, err := json.Marshal(map[string]string{"user_id": member.id})
	if err != nil {
		return 0, false, err
	}
	began := time.Now()
	if _, err := host.client.do("POST", "/_matrix/client/v3/rooms/"+room+"/kick", body); err != nil {
		return 0, false, err
	}
	select {
	case <-in.Gone:
		return time.Since(began), true, nil
	case <-time.After(kickPatience):
		return kickPatience, false, nil
	}
}
