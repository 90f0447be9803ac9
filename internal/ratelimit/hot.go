package ratelimit

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/store"
)

// localKeys bounds the buckets in memory. Who finds no place asks the database.
const localKeys = 200_000

// settleAtOnce bounds one statement.
const settleAtOnce = 200

// settlePatience is how long a settlement may take before the database counts as away.
const settlePatience = 5 * time.Second

// away is for how long the database is left alone after it could not be reached.
const away = time.Second

type localKey struct{ class, key string }

// account is what a process knows of a bucket, and what it has spent of it without saying so yet. Times are in microseconds.
type account struct {
	key   localKey
	every int64
	// busyUntil is never later than the truth: what the row said last, and what was spent here since.
	busyUntil int64
	// owed is how many requests the row does not know of. It is negative when some were put back that were settled already.
	owed int64
	// settling is how many of those are being written now; the answer may still say that they were too many.
	settling int64
	// listed says that the account is in hot.owing.
	listed bool
}

// hot are the buckets that are spent on credit.
type hot struct {
	l        *Limiter
	due      chan struct{}
	patience time.Duration

	mu       sync.Mutex
	accounts map[localKey]*account
	owing    []*account
	// round is closed when the settlement that is under way has ended; nil while there is none.
	round chan struct{}
	// awayUntil is until when the database is not asked, because it was not reached.
	awayUntil time.Time
}

func (h *hot) init(l *Limiter) {
	h.l, h.due, h.patience, h.accounts = l, make(chan struct{}, 1), settlePatience, make(map[localKey]*account)
}

// allow spends one request on credit. It waits for a settlement only when the credit is used up before Run could settle.
func (h *hot) allow(ctx context.Context, c Class, key localKey, credit int) (time.Duration, error) {
	for {
		wait, round := h.try(c, key, int64(credit))
		if round == nil {
			return wait, nil
		}
		if round == settleYourself {
			h.settle(ctx)
		} else if round == askDatabase {
			return h.l.take(ctx, c, key.class, key.key)
		} else {
			select {
			case <-round:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	}
}

// What try may ask for in place of a round to wait for.
var settleYourself, askDatabase = make(chan struct{}), make(chan struct{})

// try spends one request if the bucket and the credit allow it. Otherwise it says how long the bucket needs, or what has to
// happen first.
func (h *hot) try(c Class, key localKey, credit int64) (wait time.Duration, first chan struct{}) {
	now := h.l.cfg.Clock.Now()
	micro, every := now.UnixMicro(), c.Every.Microseconds()
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.accounts[key]
	if a == nil {
		if len(h.accounts) >= localKeys {
			return 0, askDatabase
		}
		a = &account{key: key, every: every}
		h.accounts[key] = a
	}
	busyUntil := max(a.busyUntil, micro) + every
	if over := busyUntil - micro - c.capacity().Microseconds(); over > 0 {
		return max(time.Duration(over)*time.Microsecond, time.Millisecond), nil
	}
	if a.owed+a.settling >= credit && now.After(h.awayUntil) {
		if h.round != nil {
			return 0, h.round
		}
		return 0, settleYourself
	}
	a.busyUntil = busyUntil
	h.owe(a, 1)
	if 2*(a.owed+a.settling) > credit {
		select {
		case h.due <- struct{}{}:
		default:
		}
	}
	return 0, nil
}

// putBack undoes allow.
func (h *hot) putBack(c Class, key localKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.accounts[key]; a != nil {
		a.busyUntil -= c.Every.Microseconds()
		h.owe(a, -1)
	}
}

func (h *hot) owe(a *account, n int64) {
	a.owed += n
	if !a.listed {
		a.listed = true
		h.owing = append(h.owing, a)
	}
}

// settle writes what is owed. One settlement is under way at a time; who comes during one waits for it.
func (h *hot) settle(ctx context.Context) {
	h.mu.Lock()
	if round := h.round; round != nil {
		h.mu.Unlock()
		<-round
		return
	}
	owing := h.owing
	h.owing = nil
	round := make(chan struct{})
	h.round = round
	h.mu.Unlock()

	// What others wait for must not end with the request that happened to come first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.patience)
	defer cancel()
	var err error
	for batch := range slices.Chunk(owing, settleAtOnce) {
		if err = h.settleBatch(ctx, batch, err); err != nil && !store.IsUnavailable(err) && ctx.Err() == nil {
			h.l.cfg.Log.Error("settle rate limits", "error", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.awayUntil = h.l.cfg.Clock.Now().Add(away)
	}
	h.round = nil
	close(round)
}

// settleBatch writes what some accounts owe, unless an earlier batch failed. What could not be written is still owed.
func (h *hot) settleBatch(ctx context.Context, batch []*account, failed error) error {
	debts := make([]store.Debt, len(batch))
	h.mu.Lock()
	for i, a := range batch {
		key := hashKey(a.key.key)
		debts[i] = store.Debt{Class: a.key.class, Key: key[:], Amount: a.owed * a.every, From: a.busyUntil - a.owed*a.every}
		a.settling, a.owed, a.listed = a.owed, 0, false
	}
	h.mu.Unlock()
	var busyUntil []int64
	err := failed
	if err == nil {
		busyUntil, err = h.l.cfg.Store.SettleBuckets(ctx, debts, h.l.cfg.Clock.Now().UnixMicro())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, a := range batch {
		if err != nil {
			h.owe(a, a.settling)
		} else if busyUntil[i] != 0 {
			a.busyUntil = max(a.busyUntil, busyUntil[i]+a.owed*a.every)
		}
		a.settling = 0
	}
	return err
}

// forget drops the accounts of which there is nothing to know.
func (h *hot) forget(now int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, a := range h.accounts {
		if !a.listed && a.busyUntil <= now {
			delete(h.accounts, key)
		}
	}
}
