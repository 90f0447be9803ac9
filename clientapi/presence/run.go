package presence

import (
	"context"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// atOnce bounds the users looked at in one go, and the devices swept.
const atOnce = 500

// Run writes and sweeps until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Disabled {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	// Processes sweep at different moments; it is harmless if they don't.
	sweepAt := time.Now().Add(rand.N(s.cfg.Sweep))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s.lookLater()
		s.logged(ctx, "write", s.write(ctx))
		if time.Now().After(sweepAt) {
			s.forget()
			s.logged(ctx, "sweep", s.sweep(ctx))
			sweepAt = time.Now().Add(s.cfg.Sweep)
		}
	}
}

func (s *Server) logged(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
		s.cfg.Log.Error("presence: "+what, "error", err)
	}
}

// write stores the devices with news and publishes the presence that follows from them.
func (s *Server) write(ctx context.Context) error {
	for {
		users, devices, asked := s.take()
		if len(users) == 0 {
			return nil
		}
		if err := s.writeSome(ctx, users, devices, asked); err != nil {
			s.putBack(users, devices, asked)
			return err
		}
		if len(users) < atOnce {
			return nil
		}
	}
}

// take removes up to atOnce users from dirty, with their devices that have to be written, and says who of them asked for a change.
func (s *Server) take() (users []matrix.UserID, devices []store.PresenceDevice, asked map[matrix.UserID]matrix.DeviceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked = make(map[matrix.UserID]matrix.DeviceID)
	now := s.cfg.Clock.Now()
	for id, from := range s.dirty {
		if len(users) == atOnce {
			break
		}
		if now.Before(from) {
			continue
		}
		delete(s.dirty, id)
		users = append(users, id)
		if dev, ok := s.asked[id]; ok {
			delete(s.asked, id)
			asked[id] = dev
		}
		u := s.users[id]
		if u == nil {
			continue
		}
		for dev, d := range u.devices {
			if d.unsaved {
				d.unsaved, d.written = false, now
				devices = append(devices, store.PresenceDevice{UserID: id, DeviceID: dev, State: d.state, Automatic: d.automatic, ActiveTS: d.active})
			}
		}
	}
	return users, devices, asked
}

func (s *Server) putBack(users []matrix.UserID, devices []store.PresenceDevice, asked map[matrix.UserID]matrix.DeviceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pd := range devices {
		if u := s.users[pd.UserID]; u != nil && u.devices[pd.DeviceID] != nil {
			u.devices[pd.DeviceID].unsaved = true
		}
	}
	for _, id := range users {
		s.look(id)
	}
	maps.Copy(s.asked, asked)
}

func (s *Server) writeSome(ctx context.Context, users []matrix.UserID, devices []store.PresenceDevice, asked map[matrix.UserID]matrix.DeviceID) error {
	if len(devices) > 0 {
		if err := s.cfg.Store.PutPresenceDevices(ctx, devices); err != nil {
			return err
		}
	}
	there, err := s.cfg.Store.ListPresenceDevices(ctx, users, s.cfg.GoneAfter)
	if err != nil {
		return err
	}
	published, err := s.cfg.Store.ListPresence(ctx, users)
	if err != nil {
		return err
	}
	s.stillTalking(there)
	updates, waiting := s.changes(users, there, published, func(id matrix.UserID) time.Duration {
		if _, ok := asked[id]; ok {
			return 0
		}
		return s.cfg.Pause
	})
	stored, err := s.cfg.Journal.Replace(ctx, updates...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, from := range waiting {
		if _, ok := s.dirty[id]; !ok {
			s.dirty[id] = from
		}
	}
	for i, ok := range stored {
		if !ok { // another process changed it at the same time
			s.look(updates[i].UserID)
			if dev, ok := asked[updates[i].UserID]; ok {
				s.asked[updates[i].UserID] = dev
			}
		}
	}
	return err
}

// stillTalking has those looked at again later who are in a call: nobody may tell when it ends.
func (s *Server) stillTalking(there []store.PresenceDevice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range there {
		if _, soon := s.later[d.UserID]; d.DeviceID == "" && !soon {
			s.later[d.UserID] = s.cfg.Clock.Now().Add(talking)
		}
	}
}

// changes computes the updates that make what is published agree with the devices, and whose changes come less than pause
// after the last one.
func (s *Server) changes(users []matrix.UserID, there []store.PresenceDevice, published []store.Update, pause func(matrix.UserID) time.Duration) ([]store.Update, map[matrix.UserID]time.Time) {
	devices := make(map[matrix.UserID][]store.PresenceDevice, len(users))
	for _, d := range there {
		devices[d.UserID] = append(devices[d.UserID], d)
	}
	have := make(map[matrix.UserID]store.Update, len(published))
	for _, p := range published {
		have[p.UserID] = p
	}
	now := s.cfg.Clock.Now()
	var updates []store.Update
	waiting := make(map[matrix.UserID]time.Time)
	for _, id := range users {
		b := body{Presence: Offline}
		if p, ok := have[id]; ok {
			b = parse(p.Body)
		}
		after, wait := b.next(devices[id], matrix.TimestampOf(now), s.cfg.IdleAfter, pause(id))
		switch {
		case wait > 0:
			waiting[id] = now.Add(wait)
		case after != b:
			updates = append(updates, after.update(id, have[id].Position))
		}
	}
	return updates, waiting
}
