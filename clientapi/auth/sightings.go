package auth

import (
	"context"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	// sightingInterval is how late a device's last_seen_ts may be; the spec allows "a few minutes".
	sightingInterval = 10 * time.Minute
	flushInterval    = 15 * time.Second
	// sightingsAtOnce bounds one statement; maxSightings what waits while the database is away.
	sightingsAtOnce = 1000
	maxSightings    = 100_000
)

// sight notes that a device made a request. It is written later, with others.
func (s *Sessions) sight(ctx context.Context, r *httpapi.Requester, now matrix.Timestamp) {
	key := deviceKey{r.User, r.Device}
	address := ""
	if call, ok := httpapi.CallOf(ctx); ok {
		address = call.ClientAddr()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.sighted[key]; ok && now < last+matrix.Timestamp(sightingInterval.Milliseconds()) {
		return
	}
	if len(s.seen) >= maxSightings {
		return
	}
	s.sighted[key] = now
	s.seen[key] = store.Sighting{UserID: r.User, DeviceID: r.Device, TS: now, IP: address}
}

// Run writes when devices were seen, until ctx ends; the last ones are written then.
func (s *Sessions) Run(ctx context.Context) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.Flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.Flush(last)
			return nil
		}
	}
}

// Flush writes what was noted. What can't be written is lost: it is not worth more than that.
func (s *Sessions) Flush(ctx context.Context) {
	batch := s.takeSightings()
	for len(batch) > 0 {
		n := min(len(batch), sightingsAtOnce)
		if err := s.cfg.Store.PutSightings(ctx, batch[:n]); err != nil {
			if !store.IsUnavailable(err) && ctx.Err() == nil {
				s.cfg.Log.Error("write when devices were seen", "error", err)
			}
			return
		}
		batch = batch[n:]
	}
}

func (s *Sessions) takeSightings() []store.Sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := make([]store.Sighting, 0, len(s.seen))
	for _, sighting := range s.seen {
		batch = append(batch, sighting)
	}
	clear(s.seen)
	old := matrix.TimestampOf(s.cfg.Clock.Now().Add(-sightingInterval))
	for key, at := range s.sighted {
		if at <= old {
			delete(s.sighted, key)
		}
	}
	return batch
}
