// Package ratelimit holds requests back. Its limits hold for the deployment: the buckets are rows in PostgreSQL, so it makes no
// difference which process is asked, and nothing is forgotten when one is killed. Limits of cheap reads are kept in
// memory, per process, because a row per request would cost more than what it protects (class.local).
//
// A limit is a token bucket: a burst, then one request per interval. It is stored as one number, the moment at which the bucket
// will be full again (generic cell rate algorithm), which one statement reads and advances.
//
// Who is limited is the key: a user, a device, an address. Only its hash is stored. An IPv6 address counts as its /64, since
// that is what one customer gets.
//
// Spec: client-server v1.19 §rate-limiting
//
// Start reading at the table in classes.go, then Allow.
package ratelimit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Config of a Limiter. All fields are required.
type Config struct {
	Store *store.Store
	Clock matrix.Clock
	Log   *slog.Logger
}

// Limiter answers whether a request may be made now. A nil *Limiter allows everything.
type Limiter struct {
	cfg Config

	mu    sync.Mutex
	local map[localKey]time.Time
}

type localKey struct {
	class string
	key   [sha256.Size]byte
}

// New returns a Limiter with the classes of classes.go.
func New(cfg Config) *Limiter {
	return &Limiter{cfg: cfg, local: make(map[localKey]time.Time)}
}

// Allow spends one request of the class for the key. When there is none left it returns how long to wait for one, and spends
// nothing.
func (l *Limiter) Allow(ctx context.Context, class, key string) (time.Duration, error) {
	if l == nil {
		return 0, nil
	}
	c, ok := classes[class]
	if !ok {
		return 0, fmt.Errorf("rate limit class %q is not in the table", class)
	}
	now := l.cfg.Clock.Now()
	if c.local {
		return l.allowLocal(c, localKey{class, hashKey(key)}, now), nil
	}
	b := c.bucket(class, key)
	busyUntil, ok, err := l.cfg.Store.TakeFromBucket(ctx, b, now.UnixMicro())
	switch {
	case errors.Is(err, store.ErrNotFound):
		// The row was made after the statement began to look: somebody else got the only request of a burst of one.
		return c.every, nil
	case err != nil:
		return 0, fmt.Errorf("rate limit %s: %w", class, err)
	case ok:
		return 0, nil
	}
	wait := time.Duration(busyUntil+b.Interval-b.Capacity-now.UnixMicro()) * time.Microsecond
	return max(wait, time.Millisecond), nil
}

// PutBack returns a request that Allow has spent and that turned out not to count, such as a login with the right password.
func (l *Limiter) PutBack(ctx context.Context, class, key string) error {
	if l == nil {
		return nil
	}
	if err := l.cfg.Store.PutBackIntoBucket(ctx, classes[class].bucket(class, key)); err != nil {
		return fmt.Errorf("rate limit %s: %w", class, err)
	}
	return nil
}

// Reset gives the key its whole burst again.
func (l *Limiter) Reset(ctx context.Context, class, key string) error {
	if l == nil {
		return nil
	}
	hash := hashKey(key)
	if err := l.cfg.Store.DeleteBucket(ctx, class, hash[:]); err != nil {
		return fmt.Errorf("rate limit %s: %w", class, err)
	}
	return nil
}

const (
	sweepInterval = time.Minute
	sweepAtOnce   = 10_000
	// localKeys bounds the buckets in memory. When they are full the fullest buckets are forgotten, in favour of strangers.
	localKeys = 100_000
)

// Run forgets buckets that are full again, until ctx ends.
func (l *Limiter) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := l.cfg.Clock.Now()
		l.mu.Lock()
		l.sweepLocal(now)
		l.mu.Unlock()
		if _, err := l.cfg.Store.DeleteFullBuckets(ctx, now.UnixMicro(), sweepAtOnce); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			l.cfg.Log.Error("forget full rate limits", "error", err)
		}
	}
}

func (l *Limiter) allowLocal(c class, key localKey, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	busyUntil, known := l.local[key]
	if !known && len(l.local) >= localKeys {
		l.sweepLocal(now)
	}
	if busyUntil.Before(now) {
		busyUntil = now
	}
	busyUntil = busyUntil.Add(c.every)
	if wait := busyUntil.Sub(now) - c.capacity(); wait > 0 {
		return wait
	}
	l.local[key] = busyUntil
	return 0
}

func (l *Limiter) sweepLocal(now time.Time) {
	for key, busyUntil := range l.local {
		if !busyUntil.After(now) {
			delete(l.local, key)
		}
	}
	if len(l.local) >= localKeys {
		clear(l.local)
	}
}

func (c class) capacity() time.Duration { return c.every * time.Duration(c.burst) }

func (c class) bucket(name, key string) store.Bucket {
	hash := hashKey(key)
	return store.Bucket{Class: name, Key: hash[:], Interval: c.every.Microseconds(), Capacity: c.capacity().Microseconds()}
}

// hashKey is what of a key is stored. An IPv6 address counts as its /64.
func hashKey(key string) [sha256.Size]byte {
	if address, err := netip.ParseAddr(key); err == nil && address.Is6() && !address.Is4In6() {
		prefix, _ := address.WithZone("").Prefix(64)
		key = prefix.String()
	}
	return sha256.Sum256([]byte(key))
}
