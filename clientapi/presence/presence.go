// Package presence knows who is there: client-server §presence.
//
// Each process remembers the devices that sync with it (Seen, Connected, Active). Once a second it writes what is new about
// them to the table presence_seen, at most once a minute for a device whose state stays the same, and computes the
// presence of their users from all their devices on all processes. Only a change becomes an update of the journal, and so
// an event that others see. A device that no process has seen for 90 seconds is gone (sweep.go).
//
// What a user's presence is: busy if a device says so (MSC3026); else online if a device is online and its person did something within the last five minutes;
// else unavailable if a device is there; else offline. A device is what its last sync (set_presence) or PUT …/status said.
//
// Invariants. Seen costs a map entry, no I/O. A user's presence changes by itself at most once a minute; a change that
// comes earlier waits, and is forgotten if it is undone meanwhile. What a client asks for, by set_presence or PUT …/status, waits for
// the next tick only. A sync that asks for nothing leaves a busy device busy. Changes of two processes at once can't undo each other:
// each replaces the value that it was computed from (store.Update.Replaces). Times of different processes are not compared: rows
// carry the database's time.
//
// Start reading at Seen, then run.go.
package presence

import (
	"log/slog"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The states of §presence.
const (
	Online      = "online"
	Unavailable = "unavailable"
	Offline     = "offline"
	// Busy is MSC3026: there, and not to be disturbed. Clients know it by either name, and get the one that was set.
	Busy         = "busy"
	BusyUnstable = "org.matrix.msc3026.busy"
)

func isBusy(state string) bool { return state == Busy || state == BusyUnstable }

// Config of a Server. Store, Journal, Clock and Log are required; the durations are for tests.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Clock   matrix.Clock
	Log     *slog.Logger

	// Disabled makes everybody offline: nothing is noted, stored or told.
	Disabled bool

	// Tick is how often what is new is written: 1 s if zero.
	Tick time.Duration
	// Refresh is how often a device that stays as it is is written again: 60 s if zero.
	Refresh time.Duration
	// GoneAfter is how long a device may be silent: 90 s if zero. It must be longer than Refresh.
	GoneAfter time.Duration
	// Sweep is how often devices are looked for that are gone: a sixth of GoneAfter if zero.
	Sweep time.Duration
	// IdleAfter is how long a person may do nothing and be online: 5 min if zero.
	IdleAfter time.Duration
	// Pause is the least time between two changes that a user did not ask for: 60 s if zero.
	Pause time.Duration
}

// Server is presence. It is safe for concurrent use.
type Server struct {
	cfg Config

	mu    sync.Mutex
	users map[matrix.UserID]*user
	// dirty has the users whose presence has to be looked at, and from when on.
	dirty map[matrix.UserID]time.Time
	// later has users who came into a call, or left one, lately: what is known of calls comes a little after what clients say.
	later map[matrix.UserID]time.Time
	// asked has those of them who asked for their change, so that it does not wait, and by which device.
	asked map[matrix.UserID]matrix.DeviceID
}

// user is a user with a device that this process has seen lately.
type user struct {
	devices map[matrix.DeviceID]*device
}

// device is a device as this process has seen it.
type device struct {
	state   string
	seen    time.Time
	active  matrix.Timestamp
	open    int       // requests that wait
	written time.Time // when presence_seen got it
	unsaved bool
	// automatic says that state follows from a sync that did not ask for any.
	automatic bool
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) *Server {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&cfg.Tick, time.Second)
	set(&cfg.Refresh, time.Minute)
	set(&cfg.GoneAfter, 90*time.Second)
	set(&cfg.Sweep, cfg.GoneAfter/6)
	set(&cfg.IdleAfter, 5*time.Minute)
	set(&cfg.Pause, time.Minute)
	s := &Server{
		cfg:   cfg,
		users: make(map[matrix.UserID]*user),
		dirty: make(map[matrix.UserID]time.Time),
		asked: make(map[matrix.UserID]matrix.DeviceID),
		later: make(map[matrix.UserID]time.Time),
	}
	if !cfg.Disabled {
		cfg.Journal.Observe(s.observe)
	}
	return s
}

// Valid reports whether state is one of the spec's, or busy.
func Valid(state string) bool {
	return state == Online || state == Unavailable || state == Offline || isBusy(state)
}

// Enabled reports whether there is any presence but offline.
func (s *Server) Enabled() bool { return !s.cfg.Disabled }

// Seen notes that a device syncs; state is the request's set_presence, "" if it had none.
//
// Spec: client-server v1.19 §presence
func (s *Server) Seen(id matrix.UserID, dev matrix.DeviceID, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(id, dev, state)
}

// Connected is Seen for a request that may wait: the device counts as there until the returned function is called.
func (s *Server) Connected(id matrix.UserID, dev matrix.DeviceID, state string) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.note(id, dev, state)
	if d == nil {
		return func() {}
	}
	d.open++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.open--
		d.seen = s.cfg.Clock.Now()
	})
}

// Active notes that a person did something on a device: sent a message, typed, read. It brings an idle user back.
//
// Spec: client-server v1.19 §last-active-ago
func (s *Server) Active(id matrix.UserID, dev matrix.DeviceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[id]
	if u == nil || u.devices[dev] == nil {
		return // does not sync with this process; the process that it syncs with learns nothing, which costs an idle mark
	}
	d := u.devices[dev]
	now := s.cfg.Clock.Now()
	idle := now.Sub(d.active.Time()) > s.cfg.IdleAfter
	d.active = matrix.TimestampOf(now)
	if idle {
		s.save(id, d)
	}
}

// note is called with mu held. It returns nil for a device that wants no presence and had none.
func (s *Server) note(id matrix.UserID, dev matrix.DeviceID, state string) *device {
	if s.cfg.Disabled {
		return nil
	}
	automatic := state == ""
	if automatic {
		state = Online
	}
	u := s.users[id]
	if u == nil {
		if state == Offline {
			return nil
		}
		u = &user{devices: make(map[matrix.DeviceID]*device)}
		s.users[id] = u
	}
	now := s.cfg.Clock.Now()
	d := u.devices[dev]
	if d == nil {
		if state == Offline {
			return nil
		}
		d = &device{}
		u.devices[dev] = d
	}
	d.seen = now
	if automatic && isBusy(d.state) {
		state = d.state
	}
	if d.state != state {
		d.state, d.automatic = state, automatic
		if !automatic {
			s.asked[id] = dev
		} else if by, ok := s.asked[id]; ok && by == dev {
			delete(s.asked, id) // undone before it was told
		}
		// Changing to online is something that a person does.
		if state == Online {
			d.active = matrix.TimestampOf(now)
		}
		s.save(id, d)
	} else if now.Sub(d.written) >= s.cfg.Refresh {
		s.save(id, d)
	}
	return d
}

// save has the device written at the next tick.
func (s *Server) save(id matrix.UserID, d *device) {
	d.unsaved = true
	s.look(id)
}

// look has the user's presence computed at the next tick.
func (s *Server) look(id matrix.UserID) { s.dirty[id] = time.Time{} }

// inCall are the types of events that say who is in a call.
var inCall = map[string]bool{"org.matrix.msc3401.call.member": true, "m.rtc.member": true, "org.matrix.msc4143.rtc.member": true}

// onPhone is how soon a user is looked at again who came into a call, or left one, and talking how often as long as the call is on.
const (
	onPhone = 5 * time.Second
	talking = 30 * time.Second
)

// OnPhone has a user's presence looked at who may be on the phone now, or not any more: what changes by that is told at once.
func (s *Server) OnPhone(id matrix.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onPhone(id)
}

func (s *Server) onPhone(id matrix.UserID) {
	if s.cfg.Disabled {
		return
	}
	s.look(id)
	if _, asked := s.asked[id]; !asked {
		s.asked[id] = ""
	}
	s.later[id] = s.cfg.Clock.Now().Add(onPhone)
}

// lookLater looks at those in calls whose time has come.
func (s *Server) lookLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	for id, at := range s.later {
		if now.Before(at) {
			continue
		}
		s.onPhone(id)
		delete(s.later, id)
	}
}

// observe looks again at users who are here when another process said less of them, and at those who come into calls or leave them.
func (s *Server) observe(entries []journal.Entry, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		if e.Event != nil && inCall[e.Event.Type] {
			s.onPhone(e.Event.Sender)
		}
		if e.Update == nil || e.Update.Kind != store.KindPresence {
			continue
		}
		if u := s.users[e.Update.UserID]; u != nil && u.isMore(parse(e.Update.Body).Presence) {
			s.look(e.Update.UserID)
		}
	}
	if lost {
		for id := range s.users {
			s.look(id)
		}
	}
}

// isMore reports whether a device here is more present than the user is said to be.
func (u *user) isMore(than string) bool {
	for _, d := range u.devices {
		if isBusy(d.state) && !isBusy(than) || d.state == Online && than != Online && !isBusy(than) || d.state == Unavailable && than == Offline {
			return true
		}
	}
	return false
}

// forget drops devices that are gone, and keeps those there whose requests wait.
func (s *Server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	for id, u := range s.users {
		for dev, d := range u.devices {
			switch {
			case d.open > 0:
				d.seen = now
				if now.Sub(d.written) >= s.cfg.Refresh {
					s.save(id, d)
				}
			case now.Sub(d.seen) >= s.cfg.GoneAfter:
				delete(u.devices, dev)
			}
		}
		if len(u.devices) == 0 {
			delete(s.users, id)
		}
	}
}
