package sync

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// BenchmarkFirstSync is a first sync with lazy members in 500 rooms of 20 members, beside the query that reads the same state.
func BenchmarkFirstSync(b *testing.B) {
	const rooms, members = 500, 20
	p := startOne(b)
	var group errgroup.Group
	group.SetLimit(32)
	nids := make([]int64, rooms)
	for i := range rooms {
		group.Go(func() error {
			ctx := context.Background()
			id, err := p.rooms.CreateRoom(ctx, roomserver.CreateRoom{
				Creator: alice, OrganisationID: 1, Preset: roomserver.PresetPublic, Name: fmt.Sprint("Room ", i),
			})
			if err != nil {
				return err
			}
			nids[i] = p.nid(id)
			for m := range members - 1 {
				user := matrix.UserID(fmt.Sprintf("@user%d:example.org", m))
				if err := p.rooms.Join(ctx, p.member(user, id)); err != nil {
					return err
				}
			}
			for m := range 20 {
				p.say(matrix.UserID(fmt.Sprintf("@user%d:example.org", m%3)), id, "hello, this is a message of a usual length, more or less")
			}
			return nil
		})
	}
	p.must(group.Wait())
	windows := make([]store.StateWindow, rooms)
	var keys []store.KeyAt
	for i, nid := range nids {
		windows[i] = store.StateWindow{RoomNID: nid, Start: store.CurrentState, UpTo: store.CurrentState}
		for _, user := range []string{"@alice:example.org", "@user0:example.org", "@user1:example.org", "@user2:example.org"} {
			keys = append(keys, store.KeyAt{RoomNID: nid, Type: typeMember, Key: user, At: store.CurrentState})
		}
	}
	b.Run("sync", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, body := p.request(context.Background(), "GET", query("filter", `{"room":{"state":{"lazy_load_members":true}}}`), alice, "D", "")
			b.SetBytes(int64(len(body)))
		}
	})
	b.Run("sql", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.store.ListStateWindows(context.Background(), windows, true, true); err != nil {
				b.Fatal(err)
			}
			if _, err := p.store.ListStateAt(context.Background(), keys); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkNothingNew is an incremental sync with nothing new, without the network.
func BenchmarkNothingNew(b *testing.B) {
	p := startOne(b)
	p.create(alice, roomserver.PresetPublic)
	path := query("since", p.get(alice).Get("next_batch").String(), "filter", lazyFilter)
	b.ReportAllocs()
	for b.Loop() {
		p.request(context.Background(), "GET", path, alice, "D", "")
	}
}

// BenchmarkDelivery is what one message costs when 200 members sync after it.
func BenchmarkDelivery(b *testing.B) {
	const members = 200
	p := startOne(b)
	room := p.create(alice, roomserver.PresetPublic)
	users := make([]matrix.UserID, members)
	next := make([]string, members)
	for i := range users {
		users[i] = matrix.UserID(fmt.Sprintf("@user%d:example.org", i))
		p.join(users[i], room)
	}
	for i, user := range users {
		next[i] = p.get(user, "filter", lazyFilter).Get("next_batch").String()
	}
	for b.Loop() {
		b.StopTimer()
		p.say(alice, room, "hello")
		b.StartTimer()
		for i, user := range users {
			next[i] = p.get(user, "since", next[i], "filter", lazyFilter).Get("next_batch").String()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/members, "µs/delivery")
}

// BenchmarkWaiting is the memory of a waiting request, without its connection.
func BenchmarkWaiting(b *testing.B) {
	const polls = 2000
	p := startOne(b)
	next := make([]string, polls)
	users := make([]matrix.UserID, polls)
	var setup errgroup.Group
	setup.SetLimit(32)
	for i := range polls {
		users[i] = matrix.UserID(fmt.Sprintf("@user%d:example.org", i))
		setup.Go(func() error {
			p.create(users[i], roomserver.PresetPublic)
			next[i] = p.get(users[i]).Get("next_batch").String()
			return nil
		})
	}
	p.must(setup.Wait())
	for b.Loop() {
		before := memory()
		ctx, cancel := context.WithCancel(context.Background())
		var group errgroup.Group
		for i := range polls {
			group.Go(func() error {
				p.request(ctx, "GET", query("since", next[i], "timeout", "200000"), users[i], "D", "")
				return nil
			})
		}
		for waiting := 0; waiting < polls; {
			waiting = 0
			for _, user := range users {
				waiting += p.polls(user)
			}
			time.Sleep(10 * time.Millisecond)
		}
		b.ReportMetric(float64(memory()-before)/polls, "B/poll")
		cancel()
		p.must(group.Wait())
	}
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
