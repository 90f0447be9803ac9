package delayed

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

const (
	// pollInterval is how late an event may be whose process died, and how often an idle process asks the database.
	pollInterval = 2 * time.Second
	// busyPause is how long a process waits while another one sends what is due; failurePause follows an error.
	busyPause    = 50 * time.Millisecond
	failurePause = time.Second
	// atOnce bounds the events of one transaction, roomsAtOnce those that are sent at the same time.
	atOnce      = 64
	roomsAtOnce = 8
	// sendPatience bounds the transaction: locked rows can't be cancelled.
	sendPatience = 20 * time.Second
)

// Run sends events when their time has come, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		pause, err := s.untilNext(ctx)
		if err == nil && pause == 0 {
			var sent int
			if sent, err = s.sendDue(ctx); sent == 0 {
				pause = busyPause
			}
		}
		if err != nil && ctx.Err() == nil {
			pause = failurePause
			if !isUnavailable(err) {
				s.cfg.Log.Error("send delayed events", "error", err)
			}
		}
		s.sleep(ctx, pause)
	}
	return nil
}

// untilNext is how long there is nothing to do.
func (s *Server) untilNext(ctx context.Context) (time.Duration, error) {
	// Whoever schedules something from here on wakes the sleep that follows.
	s.sleepsUntil.Store(time.Now().Add(pollInterval).UnixNano())
	return s.cfg.Store.NextDelayedEvent(ctx, pollInterval)
}

func (s *Server) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	s.sleepsUntil.Store(time.Now().Add(d).UnixNano())
	wake.PauseUntil(ctx, s.wake, d)
}

// sendDue sends events whose time has come and stores what became of them, in one transaction. It returns how many it took.
func (s *Server) sendDue(ctx context.Context) (int, error) {
	taken := 0
	// What has begun is brought to its end when the process stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendPatience)
	defer cancel()
	var failed error
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		due, err := tx.LockDueDelayedEvents(ctx, atOnce)
		taken = len(due)
		if err != nil || taken == 0 {
			return err
		}
		var done []store.DelayedEvent
		done, failed = s.sendAll(ctx, due)
		if len(done) == 0 {
			return failed
		}
		return tx.PutDelayedOutcomes(ctx, done)
	})
	if err == nil {
		err = failed // what could not be sent for now keeps its time, and is tried again
	}
	return taken, err
}

// sendAll sends events: those of a room one after the other, rooms side by side. It returns those that are finalised, and an error
// that kept others from it.
func (s *Server) sendAll(ctx context.Context, due []store.DueDelayedEvent) (done []store.DelayedEvent, failed error) {
	byRoom := make(map[matrix.RoomID][]*store.DueDelayedEvent)
	for i := range due {
		byRoom[due[i].RoomID] = append(byRoom[due[i].RoomID], &due[i])
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, roomsAtOnce)
	for _, events := range byRoom {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			for _, e := range events {
				err := s.finalise(ctx, e)
				mu.Lock()
				if err != nil {
					failed = err
					mu.Unlock()
					return // what follows in the room keeps its order
				}
				done = append(done, e.DelayedEvent)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return done, failed
}

// finalise sends an event, or notes why it can't be sent. An error means that nothing is known, and that it is to be tried again.
func (s *Server) finalise(ctx context.Context, e *store.DueDelayedEvent) error {
	id, err := s.send(ctx, &e.DelayedEvent, e.SenderLocked, e.SenderSuspended)
	if err == nil {
		e.EventID = id
		return nil
	}
	if isUnavailable(err) || ctx.Err() != nil {
		return err
	}
	refusal, refused := matrix.AsError(err)
	if !refused {
		s.cfg.Log.Error("a delayed event could not be sent", "room", string(e.RoomID), "user", string(e.User), "error", err)
		refusal = matrix.NewError(http.StatusInternalServerError, matrix.ErrUnknown, "the event could not be sent")
	}
	e.Error, err = json.Marshal(map[string]string{"errcode": string(refusal.Code), "error": refusal.Message})
	return err
}

// send sends an event now, in the name of its sender.
func (s *Server) send(ctx context.Context, e *store.DelayedEvent, locked, suspended bool) (matrix.EventID, error) {
	switch {
	case locked:
		return "", matrix.NewError(http.StatusForbidden, matrix.ErrUserLocked, "the account has been locked")
	case suspended:
		return "", matrix.NewError(http.StatusForbidden, matrix.ErrUserSuspended, "the account has been suspended")
	}
	if wait, err := s.cfg.Limiter.Allow(ctx, ratelimit.Send, string(e.User)); err != nil || wait > 0 {
		if err == nil {
			err = matrix.LimitExceeded(wait)
		}
		return "", err
	}
	return s.cfg.Send(ctx, e)
}

// isUnavailable reports an error after which the same thing may succeed: of the database or of the room's load.
func isUnavailable(err error) bool {
	if e, ok := matrix.AsError(err); ok {
		return e.Status == http.StatusServiceUnavailable
	}
	var u interface{ Unavailable() bool }
	return errors.As(err, &u) && u.Unavailable() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
