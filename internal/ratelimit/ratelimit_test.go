package ratelimit

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// still is a clock that stands until it is moved.
type still struct{ now atomic.Int64 }

func (s *still) Now() time.Time          { return time.Unix(1_700_000_000, s.now.Load()) }
func (s *still) advance(d time.Duration) { s.now.Add(int64(d)) }

func newLimiter(s *store.Store, clock *still) *Limiter {
	l := New(Config{Store: s, Clock: clock, Log: slog.New(slog.DiscardHandler)})
	// The clock stands: once the database counted as away, it would for ever.
	l.hot.patience = time.Hour
	return l
}

func allow(t *testing.T, l *Limiter, class, key string) time.Duration {
	t.Helper()
	wait, err := l.Allow(t.Context(), class, key)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func TestBurstThenOneAnInterval(t *testing.T) {
	t.Parallel()
	for _, class := range []string{Probe, Read} {
		clock := new(still)
		l := newLimiter(storetest.New(t), clock)
		c := defaults[class]
		for n := range c.Burst {
			if wait := allow(t, l, class, "k"); wait != 0 {
				t.Fatalf("%s: request %d of the burst has to wait %v", class, n, wait)
			}
		}
		for range 3 {
			if wait := allow(t, l, class, "k"); wait != c.Every {
				t.Fatalf("%s: the request after the burst has to wait %v, not %v", class, wait, c.Every)
			}
		}
		if wait := allow(t, l, class, "other"); wait != 0 {
			t.Errorf("%s: another key has to wait %v", class, wait)
		}
		clock.advance(c.Every - time.Millisecond)
		if wait := allow(t, l, class, "k"); wait != time.Millisecond {
			t.Errorf("%s: too early by a millisecond, and has to wait %v", class, wait)
		}
		// Waiting exactly as long as told is enough.
		clock.advance(time.Millisecond)
		if wait := allow(t, l, class, "k"); wait != 0 {
			t.Errorf("%s: after waiting as told one has to wait %v", class, wait)
		}
		clock.advance(time.Duration(c.Burst) * c.Every)
		for range c.Burst {
			if wait := allow(t, l, class, "k"); wait != 0 {
				t.Errorf("%s: the bucket did not fill up again: %v", class, wait)
			}
		}
	}
}

func TestLimitHoldsForAllProcessesTogether(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	clock := new(still)
	limiters := []*Limiter{newLimiter(storetest.Open(t, dsn), clock), newLimiter(storetest.Open(t, dsn), clock), newLimiter(storetest.Open(t, dsn), clock)}
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for i := range 120 {
		wg.Go(func() {
			wait, err := limiters[i%3].Allow(t.Context(), Register, "203.0.113.7")
			if err != nil {
				t.Error(err)
			}
			if wait == 0 {
				admitted.Add(1)
			}
		})
	}
	wg.Wait()
	if n := admitted.Load(); n != int64(defaults[Register].Burst) {
		t.Errorf("%d of 120 parallel requests on three processes were admitted, not %d", n, defaults[Register].Burst)
	}
	// The next process knows it too.
	if wait := allow(t, newLimiter(storetest.Open(t, dsn), clock), Register, "203.0.113.7"); wait == 0 {
		t.Error("a new process has forgotten")
	}
}

func TestPutBackAndReset(t *testing.T) {
	t.Parallel()
	l := newLimiter(storetest.New(t), new(still))
	for range 3 * defaults[LoginFailure].Burst {
		if wait := allow(t, l, LoginFailure, "@alice:one.test"); wait != 0 {
			t.Fatalf("a request that was put back counts: wait %v", wait)
		}
		if err := l.PutBack(t.Context(), LoginFailure, "@alice:one.test"); err != nil {
			t.Fatal(err)
		}
	}
	for range defaults[LoginFailure].Burst {
		allow(t, l, LoginFailure, "@alice:one.test")
	}
	if wait := allow(t, l, LoginFailure, "@alice:one.test"); wait == 0 {
		t.Fatal("the bucket has no end")
	}
	if err := l.Reset(t.Context(), LoginFailure, "@alice:one.test"); err != nil {
		t.Fatal(err)
	}
	if wait := allow(t, l, LoginFailure, "@alice:one.test"); wait != 0 {
		t.Errorf("after a reset one has to wait %v", wait)
	}
}

func TestIPv6CountsByNetwork(t *testing.T) {
	t.Parallel()
	if hashKey("2001:db8:1:2::1") != hashKey("2001:db8:1:2:ffff::9") || hashKey("fe80::1%eth0") != hashKey("fe80::2%eth1") {
		t.Error("two addresses of one /64 count apart")
	}
	if hashKey("2001:db8:1:2::1") == hashKey("2001:db8:1:3::1") || hashKey("192.0.2.1") == hashKey("192.0.2.2") || hashKey("@a:b") == hashKey("@a:c") {
		t.Error("two networks count as one")
	}
}

func TestFullBucketsAreForgotten(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	clock := new(still)
	l := newLimiter(s, clock)
	allow(t, l, Probe, "a")
	clock.advance(defaults[Probe].Every / 2)
	allow(t, l, Probe, "b")
	clock.advance(defaults[Probe].Every / 2)
	if n, err := s.DeleteFullBuckets(t.Context(), clock.Now().UnixMicro(), 100); err != nil || n != 1 {
		t.Errorf("%d buckets were forgotten, %v; one is full", n, err)
	}
}

func TestWithoutALimiterAllIsAllowed(t *testing.T) {
	t.Parallel()
	var l *Limiter
	if wait := allow(t, l, "anything", "k"); wait != 0 {
		t.Errorf("no limiter asks to wait %v", wait)
	}
	if _, err := newLimiter(nil, new(still)).Allow(t.Context(), "unknown class", "k"); err == nil {
		t.Error("an unknown class is allowed")
	}
}
