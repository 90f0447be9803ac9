package main

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/tidwall/gjson"
)

const (
	// calls go on at once, each with callers people, of whom each says something callEvery to all the others: what hands, reactions and shared
	// pointers come to.
	calls     = 20
	callers   = 5
	callEvery = 200 * time.Millisecond
	callsLate = 500 * time.Millisecond
)

// inCall is somebody in a call.
type inCall struct {
	room  *lksdk.Room
	heard atomic.Int64
	mu    sync.Mutex
	took  []time.Duration
}

func (c *inCall) hear(d lksdk.DataPacket, _ lksdk.DataReceiveParams) {
	u, ok := d.(*lksdk.UserDataPacket)
	if !ok || len(u.Payload) < 8 {
		return
	}
	c.heard.Add(1)
	took := time.Duration(time.Now().UnixNano() - int64(binary.BigEndian.Uint64(u.Payload)))
	c.mu.Lock()
	c.took = append(c.took, took)
	c.mu.Unlock()
}

// enter brings somebody into the call of a room, by a token of ours.
func (b *bench) enter(a *account, room string) (*inCall, error) {
	answer, err := a.client.do("POST", "/_matrix/client/v1/rtc/livekit/get_token",
		fmt.Appendf(nil, `{"room_id":%q,"slot_id":"m.call#ROOM","member":{"id":"in","claimed_device_id":%q}}`, room, a.device))
	if err != nil {
		return nil, err
	}
	c := &inCall{}
	c.room, err = lksdk.ConnectToRoomWithToken(b.liveKitURL, gjson.GetBytes(answer, "jwt").String(), &lksdk.RoomCallback{
		ParticipantCallback: lksdk.ParticipantCallback{OnDataPacket: c.hear},
	})
	return c, err
}

// talk has everybody say something, again and again, and waits until the others have heard it: how much they have, of what they should.
func talk(in []*inCall) (heard, want int64, err error) {
	const rounds = 25
	sent := 0
	for range rounds {
		for _, c := range in {
			if err := c.room.LocalParticipant.PublishDataPacket(lksdk.UserData(binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))), lksdk.WithDataPublishReliable(true)); err != nil {
				return 0, 0, err
			}
			sent++
		}
		time.Sleep(callEvery)
	}
	want = int64(sent * (callers - 1))
	for deadline := time.Now().Add(10 * time.Second); heard < want && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		heard = 0
		for _, c := range in {
			heard += c.heard.Load()
		}
	}
	return heard, want, nil
}

// manyCalls measures calls that go on at once: how long it takes until all are in, and whether everybody hears everything in time.
func (b *bench) manyCalls() ([]figure, error) {
	lksdk.SetLogger(logger.GetDiscardLogger())
	if err := b.meetings(); err != nil {
		return nil, err
	}
	people, err := b.people(calls * callers)
	if err != nil {
		return nil, err
	}
	in := make([]*inCall, len(people))
	defer func() {
		for _, c := range in {
			if c != nil && c.room != nil {
				c.room.Disconnect()
			}
		}
	}()
	rooms := make([]string, calls)
	for i := range rooms {
		if rooms[i], err = b.roomOf(people[i*callers:(i+1)*callers], "call"); err != nil {
			return nil, err
		}
	}
	entered := make([]time.Duration, len(people))
	began := time.Now()
	err = inParallel(16, len(people), func(i int) error {
		from := time.Now()
		var err error
		in[i], err = b.enter(people[i], rooms[i/callers])
		entered[i] = time.Since(from)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := time.Since(began)

	heard, want, err := talk(in)
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for _, c := range in {
		c.mu.Lock()
		took = append(took, c.took...)
		c.mu.Unlock()
	}
	late := percentile(took, 0.99)
	return []figure{
		{what: fmt.Sprintf("%d calls of %d at once", calls, callers), measured: fmt.Sprintf("all in within %v", all.Round(10*time.Millisecond)),
			yardstick: fmt.Sprintf("one: p50 %v", percentile(entered, 0.5).Round(time.Millisecond)), goal: "all in", met: true},
		{what: "  what one says, the others hear", measured: fmt.Sprintf("%d of %d, p99 %v", heard, want, late.Round(time.Millisecond)),
			yardstick: fmt.Sprintf("p50 %v", percentile(took, 0.5).Round(100*time.Microsecond)), goal: "all, p99 ≤ " + callsLate.String(), met: heard == want && late <= callsLate},
	}, nil
}
