package tests

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// limited switches rate limits on. Tokens come back so slowly that a test can't wait for one by accident.
func limited(classes map[string]any, exempt ...string) func(int, map[string]any) {
	return func(_ int, config map[string]any) {
		config["rate_limits"] = map[string]any{"enabled": true, "classes": classes, "exempt_users": exempt}
	}
}

// offer sends n requests of a kind to all processes in turn, many at a time, and counts those that were not refused.
func offer(t *testing.T, dep *hstest.Deployment, users []*hstest.User, n int, method string, path func(i int) string, body any) int {
	t.Helper()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for worker := range 12 {
		wg.Go(func() {
			for i := worker; i < n; i += 12 {
				u := users[i%len(users)].On(i % dep.Processes())
				r, err := u.Do(context.Background(), method, path(i), body)
				switch {
				case err != nil:
					t.Error(err)
				case r.Status != http.StatusTooManyRequests:
					admitted.Add(1)
				case r.ErrCode() != "M_LIMIT_EXCEEDED":
					t.Errorf("refused with %s", r)
				default:
					seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
					ms := r.JSON().Get("retry_after_ms").Int()
					if err != nil || seconds < 1 || ms < 1 || int64(seconds) < (ms+999)/1000 {
						t.Errorf("Retry-After is %q, retry_after_ms %d", r.Header.Get("Retry-After"), ms)
					}
				}
			}
		})
	}
	wg.Wait()
	return int(admitted.Load())
}

// LIM-05, LIM-06: ten times the load on one process and on three, and one of them is killed.
func TestRateLimitsHoldForTheDeployment(t *testing.T) {
	t.Parallel()
	for _, processes := range []int{1, 3} {
		t.Run(strconv.Itoa(processes), func(t *testing.T) {
			t.Parallel()
			dep := hstest.Start(t, hstest.Options{Processes: processes, Configure: limited(map[string]any{
				"send": map[string]any{"burst": 200, "every": "1h"}, "read": map[string]any{"burst": 200, "every": "1h"},
				"room": map[string]any{"burst": 10, "every": "1h"},
			}, "@robot:hs.test")})
			alice, robot := dep.User(t, "alice"), dep.User(t, "robot")
			room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
			robot.MustJoin(t, room)
			total := 0
			for _, test := range []struct {
				name, method string
				path         func(int) string
				body         any
				burst, spent int
			}{
				{"send", "PUT", func(int) string { return hstest.Path("rooms", room, "typing", alice.ID) }, map[string]any{"typing": false}, 200, 0},
				{"read", "GET", func(int) string { return hstest.Path("capabilities") }, nil, 200, 0},
				{"room", "POST", func(int) string { return hstest.Path("createRoom") }, map[string]any{"preset": "nonsense"}, 10, 1},
			} {
				n := offer(t, dep, []*hstest.User{alice}, 10*test.burst, test.method, test.path, test.body) + test.spent
				if n < test.burst || n > test.burst+test.burst/20 {
					t.Errorf("%s: %d requests were admitted; the limit is %d", test.name, n, test.burst)
				}
				if test.name == "send" {
					total = n
				}
			}
			// What a process knew is not gone with it.
			dep.Kill9(t, 0)
			dep.Restart(t, 0)
			typing := func(int) string { return hstest.Path("rooms", room, "typing", alice.ID) }
			total += offer(t, dep, []*hstest.User{alice}, 300, "PUT", typing, map[string]any{"typing": false})
			if total > 200+200/20 {
				t.Errorf("after kill -9 %d requests were admitted in all; the limit is 200", total)
			}
			// Others are not held back by alice, and who is exempt by nobody.
			typing = func(int) string { return hstest.Path("rooms", room, "typing", robot.ID) }
			if n := offer(t, dep, []*hstest.User{robot}, 300, "PUT", typing, map[string]any{"typing": false}); n != 300 {
				t.Errorf("%d of 300 requests of an exempt user were admitted", n)
			}
		})
	}
}

// LIM-05: who waits exactly as long as told is let in.
func TestWaitingForRetryAfterIsEnough(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: limited(map[string]any{
		"send": map[string]any{"burst": 100, "every": "3s"}, "account": map[string]any{"burst": 2, "every": "3s"},
	})})
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	for name, path := range map[string]string{
		"send": hstest.Path("rooms", room, "typing", alice.ID), "account": hstest.Path("profile", alice.ID, "displayname"),
	} {
		body := map[string]any{"typing": false}
		if name == "account" {
			body = map[string]any{"displayname": "Alice"}
		}
		for refused := 0; refused < 2; {
			r, err := alice.On(refused).Do(context.Background(), "PUT", path, body)
			if err != nil {
				t.Fatal(err)
			}
			if r.Status == http.StatusOK {
				continue
			}
			wait := time.Duration(r.JSON().Get("retry_after_ms").Int()) * time.Millisecond
			if r.Status != http.StatusTooManyRequests || wait <= 0 {
				t.Fatalf("%s: %s", name, r)
			}
			time.Sleep(wait)
			alice.On(refused).MustDo(t, "PUT", path, body)
			refused++
		}
	}
}
