// Package delayed keeps events that are to be sent later, and sends them when their time has come, once in the whole deployment.
//
// Spec: MSC4140 (cancellable delayed events)
//
// A scheduled event is a row of delayed_events. Every process looks for rows whose time has come (run.go): it sleeps until the next one,
// and never longer than pollInterval, because the process that scheduled an event may have died. A process that schedules an event
// wakes itself. Times are the database's, so that the clocks of processes need not agree.
//
// Invariants:
//   - Whoever sends an event holds its row locked until what became of it is stored. Others pass over locked rows, and who wants
//     to cancel or restart the event waits. A process that dies gives its locks back, and with them the events.
//   - The delay id is the transaction id of the append. A process that died between append and commit leaves an event that is sent
//     again, and the room server answers with the event that is there already.
//   - Whether the sender may send is judged when the event is sent, by the same door that every event goes through.
//   - The delay id is a secret: whoever knows it may manage the event, with or without an access token. It is in no log.
//
// Logging out leaves scheduled events alone: in a call they say that the device is gone, which is true then. Deactivating the account
// deletes them.
//
// Start reading at Schedule, then run.go, then manage.go.
package delayed

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// Config of a Server. Store, Send and Log are required.
type Config struct {
	Store *store.Store
	Log   *slog.Logger
	// Send appends an event to its room, the same one however often it is called. A *matrix.Error is a refusal.
	Send func(ctx context.Context, e *store.DelayedEvent) (matrix.EventID, error)
	// Limiter holds back those who manage or send too much; nil lets everything through.
	Limiter *ratelimit.Limiter
	// Rand is crypto/rand if nil.
	Rand io.Reader
	// MaxDelay and MaxScheduled bound the delay and the scheduled events of a user. Without one of them nothing can be scheduled.
	MaxDelay     time.Duration
	MaxScheduled int
}

// Server is delayed events. It is safe for concurrent use.
type Server struct {
	cfg  Config
	wake chan struct{}
	// sleepsUntil is when Run looks again, in ns since the epoch of this process's clock.
	sleepsUntil atomic.Int64
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Server{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Capability is what clients are told of the bounds.
type Capability struct {
	MaxDelayMS   int64 `json:"max_delay_ms"`
	MaxScheduled int   `json:"max_scheduled"`
}

// Capability says what can be scheduled.
func (s *Server) Capability() Capability {
	return Capability{MaxDelayMS: s.cfg.MaxDelay.Milliseconds(), MaxScheduled: s.cfg.MaxScheduled}
}

// CheckDelay refuses a delay that is none or too long. Clients look for the cause and the bound in fields of the proposal's own, and older
// ones, who give the delay in the query, for M_UNKNOWN.
func (s *Server) CheckDelay(delay time.Duration, inQuery bool) error {
	switch {
	case s.cfg.MaxScheduled == 0 || s.cfg.MaxDelay == 0:
		return matrix.Forbidden("this server does not delay events")
	case delay <= 0:
		return matrix.InvalidParam("the delay must be a positive number of milliseconds")
	case delay <= s.cfg.MaxDelay:
		return nil
	}
	e := matrix.Forbidden("the delay is longer than %d ms", s.cfg.MaxDelay.Milliseconds())
	if inQuery {
		e = matrix.NewError(400, matrix.ErrUnknown, "the delay is longer than %d ms", s.cfg.MaxDelay.Milliseconds())
	}
	return e.With("org.matrix.msc4140.errcode", "M_MAX_DELAY_EXCEEDED").With("org.matrix.msc4140.max_delay", s.cfg.MaxDelay.Milliseconds())
}

// delayIDBytes is the length of a delay id before it is spelled.
const delayIDBytes = 24

// Schedule keeps an event to be sent after e.Delay and returns its delay id. The same transaction gives the same id.
func (s *Server) Schedule(ctx context.Context, e store.DelayedEvent) (string, error) {
	secret := make([]byte, delayIDBytes)
	if _, err := io.ReadFull(s.cfg.Rand, secret); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	e.DelayID = base64.RawURLEncoding.EncodeToString(secret)
	id := e.DelayID
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		id = e.DelayID
		// The lock keeps parallel requests from passing the bound together.
		if _, err := tx.LockUser(ctx, e.User); err != nil {
			return err
		}
		if e.TxnID != "" {
			known, err := tx.GetDelayedTransaction(ctx, e.User, e.Device, e.Scope, e.TxnID)
			if !errors.Is(err, store.ErrNotFound) {
				id = known
				return err
			}
		}
		count, next, err := tx.CountDelayedEvents(ctx, e.User)
		if err != nil {
			return err
		}
		if count >= s.cfg.MaxScheduled {
			full := matrix.LimitExceeded(next)
			full.Message = "the maximum number of delayed events has been reached"
			return full
		}
		return tx.InsertDelayedEvent(ctx, e)
	})
	if err != nil {
		return "", fmt.Errorf("schedule an event: %w", err)
	}
	s.due(e.Delay)
	return id, nil
}

// due tells Run of an event that is due in so long, if that is before it looks anyway.
func (s *Server) due(in time.Duration) {
	if time.Now().Add(in).UnixNano() < s.sleepsUntil.Load() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
