package presence

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

const alice, bob = matrix.UserID("@alice:one.test"), matrix.UserID("@bob:one.test")

// clock is that of all processes. It is ahead of the machine's by what a test has let pass.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// process is one process's presence.
type process struct {
	*Server
	t     *testing.T
	clock *clock
	db    *sql.DB
	stop  func()

	mu      sync.Mutex
	changes map[matrix.UserID][]string // as the journal tells them
	told    map[matrix.UserID]int      // how many of them the test has waited for
}

var processIDs = []string{"00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"}

// start runs presence on n processes of one deployment. What they do by themselves they do all the time; what has a duration lasts longer than
// any test, unless the test lets the time pass.
func start(t *testing.T, n int, change func(*Config)) []*process {
	t.Helper()
	dsn := storetest.DSN(t)
	raw := storetest.DB(t, dsn)
	list, now := make([]*process, n), new(clock)
	for i := range list {
		p := &process{t: t, clock: now, db: raw, changes: make(map[matrix.UserID][]string), told: make(map[matrix.UserID]int)}
		db := storetest.Open(t, dsn)
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		j, err := journal.New(t.Context(), journal.Config{
			Store: db, Log: log, Clock: matrix.SystemClock{}, ServerName: "one.test", ProcessID: processIDs[i], PollInterval: 20 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{
			Store: db, Journal: j, Clock: now, Log: log, Tick: 10 * time.Millisecond, Refresh: 100 * time.Millisecond, Sweep: 10 * time.Millisecond,
			GoneAfter: time.Hour, IdleAfter: 1000 * time.Hour, Pause: time.Millisecond,
		}
		change(&cfg)
		p.Server = New(cfg)
		j.Observe(p.record)
		run := func(f func(context.Context) error) (stop func()) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				f(ctx)
			}()
			stop = sync.OnceFunc(func() { cancel(); <-done })
			t.Cleanup(stop)
			return stop
		}
		run(j.Run)
		p.stop = run(p.Run)
		list[i] = p
	}
	return list
}

func (p *process) record(entries []journal.Entry, _ bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		if e.Update != nil && e.Update.Kind == store.KindPresence {
			p.changes[e.Update.UserID] = append(p.changes[e.Update.UserID], parse(e.Update.Body).Presence)
		}
	}
}

func (p *process) heard(id matrix.UserID) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.changes[id]...)
}

// becomes waits until the user's presence is as wanted, for this process, at some time after what was waited for before.
func (p *process) becomes(id matrix.UserID, want string) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		heard := p.heard(id)
		if n := slices.Index(heard[p.told[id]:], want); n >= 0 {
			p.told[id] += n + 1
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s never became %s: %v", id, want, heard)
		}
	}
}

// pass lets so much time go by, for the processes and for what the database has of devices.
func (p *process) pass(d time.Duration) {
	p.t.Helper()
	p.clock.ahead.Add(int64(d))
	if _, err := p.db.Exec(`UPDATE presence_seen SET seen_at = seen_at - $1 * interval '1 millisecond'`, d.Milliseconds()); err != nil {
		p.t.Fatal(err)
	}
}

// holds reports whether the database has rows of devices for which a condition is true.
func (p *process) holds(condition string) (yes bool) {
	p.t.Helper()
	if err := p.db.QueryRow(`SELECT EXISTS (SELECT FROM presence_seen WHERE ` + condition + `)`).Scan(&yes); err != nil {
		p.t.Fatal(err)
	}
	return yes
}

// wait waits until ok.
func (p *process) wait(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// sweptAway lets time pass until a device is forgotten that no process sees any more. Those that are there are written again meanwhile, before
// they would be forgotten as well.
func (p *process) sweptAway(device string, there ...string) {
	p.t.Helper()
	p.wait(device+" is forgotten", func() bool {
		p.pass(p.cfg.GoneAfter * 6 / 10)
		for _, other := range there {
			p.wait(other+" is written again", func() bool { return p.holds(`device_id = '` + other + `' AND seen_at > now() - interval '10 minutes'`) })
		}
		return !p.holds(`device_id = '` + device + `'`)
	})
}

func TestUserIsOnlineWhileADeviceIsThere(t *testing.T) {
	t.Parallel()
	ps := start(t, 2, func(*Config) {})
	done := ps[0].Connected(alice, "PHONE", Online)
	ps[0].becomes(alice, Online)
	ps[1].becomes(alice, Online)
	// A second device, on another process, is no news; the first one leaves, and the user stays.
	laptop := ps[1].Connected(alice, "LAPTOP", Online)
	ps[1].wait("the laptop is written", func() bool { return ps[1].holds(`device_id = 'LAPTOP'`) })
	done()
	ps[0].sweptAway("PHONE", "LAPTOP")
	if err := ps[0].cfg.Journal.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if heard := ps[0].heard(alice); len(heard) != 1 {
		t.Errorf("alice's presence changed: %v", heard)
	}
	laptop()
	ps[0].sweptAway("LAPTOP")
	ps[0].becomes(alice, Offline)
	ps[0].Seen(alice, "PHONE", Unavailable)
	ps[1].becomes(alice, Unavailable)
	ps[0].Seen(alice, "PHONE", Offline)
	ps[1].becomes(alice, Offline)
	if heard := ps[0].heard(alice); len(heard) != 4 {
		t.Errorf("alice's presence changed: %v", heard)
	}
}

func TestWhoWantsNoPresenceHasNone(t *testing.T) {
	t.Parallel()
	p := start(t, 1, func(*Config) {})[0]
	p.Seen(alice, "PHONE", Offline)
	p.Seen(bob, "PHONE", Online)
	p.becomes(bob, Online)
	if heard := p.heard(alice); len(heard) != 0 {
		t.Errorf("alice's presence changed: %v", heard)
	}
}

func TestUserOfADeadProcessGoesOffline(t *testing.T) {
	t.Parallel()
	ps := start(t, 2, func(*Config) {})
	ps[0].Connected(alice, "PHONE", Online) // never done
	ps[1].becomes(alice, Online)
	ps[0].stop()
	ps[1].sweptAway("PHONE")
	ps[1].becomes(alice, Offline)
}

func TestIdleUserIsUnavailable(t *testing.T) {
	t.Parallel()
	p := start(t, 1, func(c *Config) { c.IdleAfter = 5 * time.Minute })[0]
	p.Connected(alice, "PHONE", Online)
	p.becomes(alice, Online)
	p.pass(6 * time.Minute)
	p.becomes(alice, Unavailable)
	p.Active(alice, "PHONE")
	p.becomes(alice, Online)
}

// TestChangesKeepTheirDistance has a client that says it is unavailable and forgets to say so in the next request.
func TestChangesKeepTheirDistance(t *testing.T) {
	t.Parallel()
	p := start(t, 1, func(c *Config) { c.Pause = time.Hour })[0]
	p.Seen(alice, "PHONE", "")
	p.becomes(alice, Online)
	p.Seen(alice, "PHONE", Unavailable)
	p.becomes(alice, Unavailable)
	for n := range 99 {
		p.Seen(alice, "PHONE", []string{"", Unavailable}[n%2])
		time.Sleep(p.cfg.Tick)
	}
	// Who is told of after this was looked at after alice, or with her.
	p.Seen(bob, "PHONE", Online)
	p.becomes(bob, Online)
	// What was asked for came at once, what was forgotten waits.
	if heard := p.heard(alice); !slices.Equal(heard, []string{Online, Unavailable}) {
		t.Errorf("changes during one pause: %v", heard)
	}
}

func TestTheLastWordCountsAfterAPause(t *testing.T) {
	t.Parallel()
	p := start(t, 1, func(c *Config) { c.Pause = 100 * time.Millisecond })[0]
	p.Seen(alice, "PHONE", "")
	p.becomes(alice, Online)
	p.Seen(alice, "PHONE", Unavailable)
	p.becomes(alice, Unavailable)
	p.Seen(alice, "PHONE", "")
	p.becomes(alice, Online)
}

func TestWhatIsAskedForDoesNotWait(t *testing.T) {
	t.Parallel()
	p := start(t, 1, func(c *Config) { c.Pause = time.Hour })[0]
	for n, state := range []string{Online, Unavailable, BusyUnstable, Online, Busy, Offline} {
		p.Seen(alice, "PHONE", state)
		p.becomes(alice, state)
		if heard := p.heard(alice); len(heard) != n+1 {
			t.Errorf("alice's presence changed: %v", heard)
		}
	}
}

func TestBusyUserStaysBusy(t *testing.T) {
	t.Parallel()
	ps := start(t, 2, func(c *Config) { c.IdleAfter = time.Minute })
	ps[0].Seen(alice, "PHONE", BusyUnstable)
	ps[0].becomes(alice, BusyUnstable)
	ps[1].becomes(alice, BusyUnstable)
	// The same device goes on at another process that does not know it, another device comes, and nobody touches either.
	for range 10 {
		ps[1].Seen(alice, "PHONE", "")
		ps[1].Seen(alice, "LAPTOP", Online)
		ps[0].Seen(alice, "PHONE", "")
		time.Sleep(50 * time.Millisecond)
		ps[0].pass(2 * time.Minute)
	}
	ps[1].Seen(alice, "PHONE", Unavailable)
	ps[0].becomes(alice, Unavailable)
	if heard := ps[0].heard(alice); len(heard) != 2 {
		t.Errorf("alice's presence changed: %v", heard)
	}
}

func TestDisabledPresenceSaysNothing(t *testing.T) {
	t.Parallel()
	ps := start(t, 1, func(c *Config) { c.Disabled = true })
	ps[0].Connected(alice, "PHONE", Online)()
	ps[0].Active(alice, "PHONE")
	time.Sleep(10 * ps[0].cfg.Tick)
	if len(ps[0].heard(alice)) != 0 || len(ps[0].users) != 0 || ps[0].Enabled() {
		t.Error("presence that is switched off notes something")
	}
}

func TestSumOfDevices(t *testing.T) {
	const now = 1_000_000
	device := func(state string, ago matrix.Timestamp) store.PresenceDevice {
		return store.PresenceDevice{State: state, ActiveTS: now - ago}
	}
	for _, test := range []struct {
		want    string
		devices []store.PresenceDevice
	}{
		{Offline, nil},
		{Offline, []store.PresenceDevice{device(Offline, 0)}},
		{Online, []store.PresenceDevice{device(Unavailable, 0), device(Online, 5), device(Offline, 0)}},
		{Unavailable, []store.PresenceDevice{device(Offline, 0), device(Unavailable, 0)}},
		{Unavailable, []store.PresenceDevice{device(Online, 301_000)}},
		{Online, []store.PresenceDevice{device(Online, 301_000), device(Online, 299_000)}},
		{BusyUnstable, []store.PresenceDevice{device(Online, 0), device(BusyUnstable, 999_000), device(Unavailable, 0)}},
		{Busy, []store.PresenceDevice{device(Busy, 0), device(Offline, 0), device(Online, 0)}},
	} {
		if got, _ := sum(test.devices, now, 5*time.Minute); got != test.want {
			t.Errorf("%v: %s, not %s", test.devices, got, test.want)
		}
	}
}

func TestEventContentCountsFromNow(t *testing.T) {
	for _, test := range [][2]string{
		{`{"presence":"online","last_active_ts":1000,"currently_active":true,"changed_ts":1000}`, `{"presence":"online","last_active_ago":500,"currently_active":true}`},
		{`{"presence":"unavailable","status_msg":"<b>","last_active_ts":9999}`, `{"presence":"unavailable","last_active_ago":0,"status_msg":"\u003cb\u003e"}`},
		{`{"presence":"offline","last_active_ts":0}`, `{"presence":"offline"}`},
		{`broken`, `{"presence":"offline"}`},
	} {
		if got := string(EventContent([]byte(test[0]), 1500)); got != test[1] {
			t.Errorf("%s\nbecame %s\nnot    %s", test[0], got, test[1])
		}
	}
}
