package ratelimit

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store/storetest"
)

// flood offers n requests to the limiters in turn, in parallel, and returns how many were admitted.
func flood(t *testing.T, limiters []*Limiter, class, key string, n int) int {
	t.Helper()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := worker; i < n; i += 16 {
				wait, err := limiters[i%len(limiters)].Allow(context.Background(), class, key)
				if err != nil {
					t.Error(err)
				}
				if wait == 0 {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(admitted.Load())
}

// The clock stands, so that nothing but the burst can be admitted, however long the test takes.
func TestCreditStaysWithinATwentieth(t *testing.T) {
	t.Parallel()
	for _, processes := range []int{1, 3} {
		dsn := storetest.DSN(t)
		clock := new(still)
		var limiters []*Limiter
		for range processes {
			limiters = append(limiters, newLimiter(storetest.Open(t, dsn), clock))
		}
		burst := defaults[Send].Burst
		got := flood(t, limiters, Send, "@alice:one.test", 10*burst)
		if got < burst || got > burst+burst/20 {
			t.Fatalf("%d processes admitted %d of %d requests; the limit is %d", processes, got, 10*burst, burst)
		}
		// As time goes on: what was admitted too much is paid back, not granted again.
		steps := 40
		for range steps {
			clock.advance(10 * defaults[Send].Every)
			got += flood(t, limiters, Send, "@alice:one.test", 100)
		}
		if limit := burst + 10*steps; got < limit || got > limit+limit/20 {
			t.Errorf("%d processes admitted %d requests in all; the limit is %d", processes, got, limit)
		}
		if processes == 1 && got != burst+10*steps {
			t.Errorf("one process by itself admitted %d requests, not exactly %d", got, burst+10*steps)
		}
		// A process that comes after them knows what they have written, whether they are still there or not.
		late := newLimiter(storetest.Open(t, dsn), clock)
		if n := flood(t, []*Limiter{late}, Send, "@alice:one.test", burst); n > burst/20 {
			t.Errorf("a new process admits %d more", n)
		}
	}
}

func TestWaitingAsToldIsEnough(t *testing.T) {
	t.Parallel()
	clock := new(still)
	l := newLimiter(storetest.New(t), clock)
	for _, class := range []string{Send, Read, Probe} {
		flood(t, []*Limiter{l}, class, "k", 2*defaults[class].Burst)
		for range 20 {
			wait := allow(t, l, class, "k")
			if wait == 0 {
				t.Fatalf("%s: admitted without waiting", class)
			}
			clock.advance(wait)
			if again := allow(t, l, class, "k"); again != 0 {
				t.Fatalf("%s: after waiting %v one is told to wait %v", class, wait, again)
			}
		}
	}
}

func TestQuietKeysLeaveNoRows(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	clock := new(still)
	l := newLimiter(s, clock)
	for range 10 {
		allow(t, l, Send, "@alice:one.test")
		clock.advance(time.Second)
		l.hot.settle(t.Context())
	}
	if n, err := s.DeleteFullBuckets(t.Context(), clock.Now().Add(time.Hour).UnixMicro(), 100); err != nil || n != 0 {
		t.Errorf("one request a second has left %d rows, %v", n, err)
	}
	l.hot.forget(clock.Now().UnixMicro())
	if len(l.hot.accounts) != 0 {
		t.Errorf("%d accounts are in memory for nothing", len(l.hot.accounts))
	}
	// What matters is written.
	flood(t, []*Limiter{l}, Send, "@alice:one.test", 3)
	l.hot.settle(t.Context())
	if n, err := s.DeleteFullBuckets(t.Context(), clock.Now().Add(time.Hour).UnixMicro(), 100); err != nil || n != 1 {
		t.Errorf("three requests at once have left %d rows, %v", n, err)
	}
}

func TestAdmitCountsGroupsAndNothingThatIsRefused(t *testing.T) {
	t.Parallel()
	clock := new(still)
	config := Config{Store: storetest.New(t), Clock: clock, Log: slog.New(slog.DiscardHandler), Classes: map[string]Class{
		Send: {Burst: 3, Every: time.Second}, ByDevice: {Burst: 4, Every: 10 * time.Second},
		ByOrganisation: {Burst: 5, Every: 100 * time.Second}, ByAddress: {Burst: 200, Every: time.Second},
	}, ExemptUsers: []string{"@bot:one.test"}, ExemptAppservices: []string{"bridge"}}
	l := New(config)
	admit := func(who *httpapi.Requester, address string) time.Duration {
		t.Helper()
		wait, err := l.Admit(t.Context(), Send, who, address)
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	alice := &httpapi.Requester{User: "@alice:one.test", Device: "A", Org: 1}
	for range 3 {
		if wait := admit(alice, "192.0.2.1"); wait != 0 {
			t.Fatalf("alice has to wait %v", wait)
		}
	}
	for range 10 {
		if wait := admit(alice, "192.0.2.1"); wait != time.Second {
			t.Fatalf("the fourth request has to wait %v", wait)
		}
	}
	clock.advance(time.Second)
	// The refused ones have not used up the device's four, nor the organisation's five.
	if wait := admit(alice, "192.0.2.1"); wait != 0 {
		t.Fatalf("after waiting as told alice has to wait %v", wait)
	}
	clock.advance(time.Second)
	if wait := admit(alice, "192.0.2.1"); wait != 8*time.Second {
		t.Errorf("the device's fifth request has to wait %v", wait)
	}
	other := &httpapi.Requester{User: "@alice:one.test", Device: "B", Org: 1}
	if wait := admit(other, "192.0.2.1"); wait != 0 {
		t.Errorf("another device of hers has to wait %v", wait)
	}
	if wait := admit(&httpapi.Requester{User: "@carol:one.test", Device: "C", Org: 1}, "192.0.2.9"); wait != 98*time.Second {
		t.Errorf("the organisation's sixth request has to wait %v", wait)
	}
	if wait := admit(&httpapi.Requester{User: "@carol:two.test", Device: "C", Org: 2}, "192.0.2.9"); wait != 0 {
		t.Errorf("another organisation has to wait %v", wait)
	}
	// Application services count as one, whoever they act for; two are exempt in name.
	for n := range 5 {
		wait := admit(&httpapi.Requester{User: "@ghost:one.test", Appservice: "irc", Org: int64(10 + n)}, "192.0.2.5")
		if (n >= 3) != (wait > 0) {
			t.Errorf("request %d of an application service has to wait %v", n+1, wait)
		}
	}
	for range 20 {
		for _, who := range []*httpapi.Requester{{User: "@bot:one.test", Org: 1}, {User: "@ghost:one.test", Appservice: "bridge", Org: 1}} {
			if wait := admit(who, "192.0.2.5"); wait != 0 {
				t.Fatalf("%s is exempt and has to wait %v", who.User, wait)
			}
		}
	}
}

func TestAnOfficeBehindOneAddressIsNotLockedOut(t *testing.T) {
	t.Parallel()
	l := newLimiter(storetest.New(t), new(still))
	for n := range 500 {
		who := &httpapi.Requester{User: matrix.UserID("@u" + number(n)), Device: "D", Org: 1}
		for range 20 {
			if wait, err := l.Admit(t.Context(), Send, who, "2001:db8::"+number(n)); err != nil || wait != 0 {
				t.Fatalf("user %d has to wait %v, %v", n, wait, err)
			}
		}
	}
}

func number(n int) string {
	return string([]byte{'a' + byte(n/100), '0' + byte(n/10%10), '0' + byte(n%10)})
}

// Rate limits of what clients of Element Call do, as its documentation asks for.
func TestCallsFitIntoTheLimits(t *testing.T) {
	t.Parallel()
	if c := defaults[Send]; c.Burst < 30 || c.Every > 2*time.Second {
		t.Errorf("send is %+v", c)
	}
	if c := defaults[Delayed]; c.Burst < 20 || c.Every > time.Second {
		t.Errorf("delayed is %+v", c)
	}
}

func TestWithoutTheDatabaseHotLimitsHoldByProcess(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l := newLimiter(s, new(still))
	if n := flood(t, []*Limiter{l}, Send, "@alice:one.test", 2000); n != defaults[Send].Burst {
		t.Errorf("%d of 2000 requests were admitted, not %d", n, defaults[Send].Burst)
	}
	for _, class := range []string{Login, Register, Probe, Refresh, LoginFailureRow, LoginFailureAll} {
		if _, err := l.Allow(t.Context(), class, "192.0.2.1"); err == nil {
			t.Errorf("%s was admitted, and counted nowhere", class)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l := newLimiter(nil, new(still))
	for i := range localKeys {
		l.hot.accounts[localKey{Read, strconv.Itoa(i)}] = &account{}
	}
	if _, first := l.hot.try(defaults[Read], localKey{Read, "one more"}, 5); first != askDatabase || len(l.hot.accounts) > localKeys {
		t.Errorf("%d accounts are in memory", len(l.hot.accounts))
	}
}

func TestCheckNamesTheClass(t *testing.T) {
	t.Parallel()
	err := Check(map[string]Class{"sned": {Burst: 1, Every: time.Second}, Send: {Burst: 1, Every: time.Second}})
	if err == nil || len(err.Error()) < 40 || err.Error()[:len("rate_limits.classes.sned: ")] != "rate_limits.classes.sned: " {
		t.Errorf("%v", err)
	}
}
