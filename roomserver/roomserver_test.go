package roomserver_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
	"github.com/roomline/roomline/roomserver/signing"
)

const domain matrix.ServerName = "example.org"

// process is a room server with its own journal, as one process has it.
type process struct {
	t     testing.TB
	store *store.Store
	rooms *roomserver.Server
}

func newProcess(t testing.TB, st *store.Store, id string, change ...func(*journal.Config)) *process {
	t.Helper()
	ctx := context.Background()
	cfg := journal.Config{
		Store: st, Log: slog.New(slog.DiscardHandler), Clock: matrix.SystemClock{}, ServerName: string(domain), ProcessID: id,
	}
	for _, f := range change {
		f(&cfg)
	}
	j, err := journal.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signing.Open(ctx, signing.Config{
		Store: st, Domains: []matrix.ServerName{domain}, Clock: matrix.SystemClock{}, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	rooms := roomserver.New(roomserver.Config{
		Store: st, Journal: j, Keys: keys, Clock: matrix.SystemClock{}, Log: slog.New(slog.DiscardHandler),
		Profile: func(context.Context, matrix.UserID) (roomserver.Profile, error) { return roomserver.Profile{}, nil },
	})
	runCtx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); j.Run(runCtx) }()
	t.Cleanup(func() { stop(); <-done })
	return &process{t: t, store: st, rooms: rooms}
}

const (
	processA = "00000000-0000-4000-8000-00000000000a"
	processB = "00000000-0000-4000-8000-00000000000b"
	alice    = matrix.UserID("@alice:example.org")
	bob      = matrix.UserID("@bob:example.org")
)

func (p *process) create(c roomserver.CreateRoom) matrix.RoomID {
	p.t.Helper()
	if c.Creator == "" {
		c.Creator = alice
	}
	c.OrganisationID = 1
	id, err := p.rooms.CreateRoom(context.Background(), c)
	if err != nil {
		p.t.Fatalf("create room: %v", err)
	}
	return id
}

func message(body string) []byte {
	return fmt.Appendf(nil, `{"body":%q,"msgtype":"m.text"}`, body)
}

func (p *process) send(room matrix.RoomID, sender matrix.UserID, body string, txn *roomserver.Txn) matrix.EventID {
	p.t.Helper()
	id, err := p.rooms.Send(context.Background(), roomserver.NewEvent{
		Room: room, Sender: sender, Type: "m.room.message", Content: message(body), Txn: txn,
	})
	if err != nil {
		p.t.Fatalf("send: %v", err)
	}
	return id
}

func (p *process) events(room matrix.RoomID) []store.Event {
	p.t.Helper()
	info, err := p.rooms.Room(context.Background(), room)
	if err != nil {
		p.t.Fatal(err)
	}
	events, _, err := p.store.ListRoomEvents(context.Background(), info.NID, 0, store.CurrentState, 100_000)
	if err != nil {
		p.t.Fatal(err)
	}
	return events
}

func TestEveryVersionMakesARoomOfCompleteEvents(t *testing.T) {
	t.Parallel()
	p := newProcess(t, storetest.New(t), processA)
	for _, version := range event.All() {
		room := p.create(roomserver.CreateRoom{
			Version: version.ID, Name: "Room", Topic: "Topic", Preset: roomserver.PresetPublic, Invite: []matrix.UserID{bob},
		})
		if err := p.rooms.Join(context.Background(), roomserver.Membership{Room: room, Sender: bob}); err != nil {
			t.Fatalf("version %s: join: %v", version.ID, err)
		}
		id := p.send(room, bob, "hello", nil)
		if version.ID != "1" && version.ID != "2" {
			if _, err := p.rooms.Send(context.Background(), roomserver.NewEvent{
				Room: room, Sender: bob, Type: "m.call", Content: []byte(`{}`), Sticky: time.Minute,
			}); err != nil {
				t.Fatalf("version %s: sticky event: %v", version.ID, err)
			}
		}
		if _, err := p.rooms.Send(context.Background(), roomserver.NewEvent{
			Room: room, Sender: alice, Type: "m.room.redaction", Content: []byte(`{}`), Redacts: id,
		}); err != nil {
			t.Fatalf("version %s: redact: %v", version.ID, err)
		}
		for _, e := range p.events(room) {
			pdu, err := version.Library.NewEventFromUntrustedJSON(e.JSON)
			if err != nil {
				t.Fatalf("version %s: %s is not a valid event: %v", version.ID, e.Type, err)
			}
			if e.RedactedBy == "" && pdu.Redacted() {
				t.Fatalf("version %s: the hash of %s does not match its content", version.ID, e.Type)
			}
			if pdu.EventID() != string(e.EventID) {
				t.Fatalf("version %s: %s has id %s, stored as %s", version.ID, e.Type, pdu.EventID(), e.EventID)
			}
		}
	}
}

func TestTwoProcessesWriteOneOrder(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	processes := []*process{newProcess(t, st, processA), newProcess(t, st, processB)}
	room := processes[0].create(roomserver.CreateRoom{Preset: roomserver.PresetPublic})
	const each, writers = 25, 4
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			p := processes[w%2]
			for i := range each {
				if i%5 == 0 {
					_, err := p.rooms.Send(context.Background(), roomserver.NewEvent{
						Room: room, Sender: alice, Type: "org.example.state", StateKey: new(string),
						Content: fmt.Appendf(nil, `{"n":%d,"w":%d}`, i, w),
					})
					if err != nil {
						t.Errorf("state: %v", err)
					}
					continue
				}
				p.send(room, alice, fmt.Sprintf("%d/%d", w, i), nil)
			}
		})
	}
	wg.Wait()
	events := processes[0].events(room)
	if want := 6 + each*writers; len(events) != want {
		t.Fatalf("the room has %d events, want %d", len(events), want)
	}
	for i := 1; i < len(events); i++ {
		pdu, err := event.Lookup("12")
		if !err {
			t.Fatal("no version 12")
		}
		parsed, perr := event.Parse(pdu, events[i].EventID, events[i].JSON)
		if perr != nil {
			t.Fatal(perr)
		}
		if prev := parsed.PrevEventIDs(); len(prev) != 1 || prev[0] != string(events[i-1].EventID) {
			t.Fatalf("event %d is built on %v, not on the event before it", i, prev)
		}
	}
}

func TestSameTransactionIsOneEvent(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	processes := []*process{newProcess(t, st, processA), newProcess(t, st, processB)}
	room := processes[0].create(roomserver.CreateRoom{})
	for i := range 20 {
		ids := make([]matrix.EventID, 6)
		var wg sync.WaitGroup
		for k := range ids {
			wg.Go(func() {
				ids[k] = processes[k%2].send(room, alice, "once", &roomserver.Txn{Device: "D", Scope: "s", ID: fmt.Sprint(i)})
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("one transaction made %v", ids)
			}
		}
	}
	other := processes[0].send(room, alice, "once", &roomserver.Txn{Device: "E", Scope: "s", ID: "0"})
	first := processes[1].send(room, alice, "once", &roomserver.Txn{Device: "D", Scope: "s", ID: "0"})
	if other == first {
		t.Fatal("another device's transaction gave this device's event")
	}
	if n := len(processes[0].events(room)); n != 6+20+1 {
		t.Fatalf("the room has %d events, want %d", n, 6+20+1)
	}
}

func TestRoomsMadeAtTheSameMomentAreDifferent(t *testing.T) {
	t.Parallel()
	p := newProcess(t, storetest.New(t), processA)
	const n = 40
	rooms := make([]matrix.RoomID, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { rooms[i] = p.create(roomserver.CreateRoom{}) })
	}
	wg.Wait()
	seen := map[matrix.RoomID]bool{}
	for _, r := range rooms {
		if seen[r] {
			t.Fatalf("two rooms have the id %s", r)
		}
		seen[r] = true
		p.send(r, alice, "hello", nil)
	}
}

func TestSecondCreateEventIsRefused(t *testing.T) {
	t.Parallel()
	p := newProcess(t, storetest.New(t), processA)
	for _, version := range []string{"1", "11", "12"} {
		room := p.create(roomserver.CreateRoom{Version: version})
		for _, key := range []*string{nil, new(string)} {
			_, err := p.rooms.Send(context.Background(), roomserver.NewEvent{
				Room: room, Sender: alice, Type: "m.room.create", StateKey: key, Content: []byte(`{}`),
			})
			if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrInvalidParam {
				t.Errorf("version %s: a second m.room.create: %v, want M_INVALID_PARAM", version, err)
			}
		}
	}
}

func TestAliasOfARoomThatNeverCameIsFreeAgain(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	p := newProcess(t, st, processA)
	now := matrix.TimestampOf(matrix.SystemClock{}.Now())
	for name, age := range map[string]matrix.Timestamp{"stale": 120_000, "fresh": -3_600_000} {
		ok, err := st.InsertAlias(context.Background(), store.Alias{
			Alias: matrix.RoomAlias("#" + name + ":example.org"), RoomNID: 1 << 40, Creator: bob,
		}, now-age)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	p.create(roomserver.CreateRoom{AliasLocalpart: "stale"})
	for _, taken := range []string{"stale", "fresh"} {
		_, err := p.rooms.CreateRoom(context.Background(), roomserver.CreateRoom{Creator: alice, OrganisationID: 1, AliasLocalpart: taken})
		if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrRoomInUse {
			t.Errorf("a room with the alias %s, which is taken: %v", taken, err)
		}
	}
}

// TestProcessThatHeardNothingDecidesByTheDatabase lets one process change a room while the other one hears nothing of it.
func TestProcessThatHeardNothingDecidesByTheDatabase(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	st := storetest.New(t)
	deaf := newProcess(t, st, processA, func(c *journal.Config) { c.NoNotify, c.PollInterval = true, time.Hour })
	other := newProcess(t, st, processB, func(c *journal.Config) { c.NoNotify = true })
	room := deaf.create(roomserver.CreateRoom{Preset: roomserver.PresetPublic})
	deaf.send(room, alice, "hello", nil)
	if _, err := deaf.rooms.Send(ctx, roomserver.NewEvent{Room: room, Sender: bob, Type: "m.room.message", Content: message("x")}); err == nil {
		t.Fatal("somebody who is not in the room sent")
	}
	if err := other.rooms.Join(ctx, roomserver.Membership{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	deaf.send(room, bob, "I joined elsewhere", nil)
	if err := other.rooms.Kick(ctx, roomserver.Membership{Room: room, Sender: alice, Target: bob}); err != nil {
		t.Fatal(err)
	}
	if err := deaf.rooms.Join(ctx, roomserver.Membership{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	info, err := deaf.rooms.Room(ctx, room)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := st.GetMembership(ctx, info.NID, bob); err != nil || m.Membership != "join" {
		t.Fatalf("after joining again: %v %v", m.Membership, err)
	}
	if err := other.rooms.Ban(ctx, roomserver.Membership{Room: room, Sender: alice, Target: bob}); err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.rooms.Send(ctx, roomserver.NewEvent{Room: room, Sender: bob, Type: "m.room.message", Content: message("x")}); err == nil {
		t.Fatal("a banned user sent through a process that had not heard of the ban")
	}
}
