package tests

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"sort"
	"strconv"
	"strings"
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
		// Longer than a request takes on a busy machine: else none is refused.
		"send": map[string]any{"burst": 100, "every": "7s"}, "account": map[string]any{"burst": 2, "every": "7s"},
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

// LIM-01: the largest event is one of 65,536 bytes with hashes and signatures, counted in bytes and not in letters. LIM-03: a body
// is what it is; nothing is unpacked.
func TestSizesAreCountedInBytes(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	send := func(text string) int {
		path := hstest.Path("rooms", room, "send", "m.room.message", alice.TxnID())
		r, err := alice.Do(context.Background(), "PUT", path, map[string]any{"msgtype": "m.text", "body": text})
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != http.StatusOK && (r.Status != http.StatusRequestEntityTooLarge || r.ErrCode() != "M_TOO_LARGE") {
			t.Fatalf("%d bytes: %s", len(text), r)
		}
		return r.Status
	}
	// The largest that is taken; what is around it in the event always has the same size.
	largest := sort.Search(65_536, func(n int) bool { return send(strings.Repeat("x", n+1)) != http.StatusOK })
	if largest < 64_000 || largest >= 65_536 {
		t.Fatalf("the largest body has %d bytes", largest)
	}
	if ducks := largest / 4; send(strings.Repeat("🦆", ducks)) != http.StatusOK || send(strings.Repeat("🦆", ducks+1)) != http.StatusRequestEntityTooLarge {
		t.Error("letters of four bytes are not counted as four")
	}
	for n, want := range map[int]int{255: http.StatusOK, 256: http.StatusRequestEntityTooLarge} {
		for _, letter := range []string{"k", "é"} {
			key := strings.Repeat(letter, n/len(letter)) + strings.Repeat("k", n%len(letter))
			for name, path := range map[string]string{
				"state key": hstest.Path("rooms", room, "state", "org.example.test", key), "type": hstest.Path("rooms", room, "state", key, ""),
			} {
				r, err := alice.Do(context.Background(), "PUT", path, map[string]any{})
				if err != nil || r.Status != want && (want == http.StatusOK || r.Status != http.StatusBadRequest) {
					t.Errorf("a %s of %d bytes of %s: %s, %v; want %d", name, n, letter, r, err, want)
				}
			}
		}
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"typing":false}`))
	_ = w.Close()
	alice.MustFail(t, http.StatusBadRequest, "M_NOT_JSON", "PUT", hstest.Path("rooms", room, "typing", alice.ID), packed.Bytes())
}

// LIM-14: a user's devices are bounded, on all processes together; the ones that were not used for longest go.
func TestDevicesOfAUserAreBounded(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	alice := dep.User(t, "alice")
	for i := range 110 {
		alice.On(i % 2).NewSession(t)
	}
	last := alice.NewSession(t)
	if n := len(last.MustDo(t, "GET", hstest.Path("devices"), nil).Get("devices").Array()); n != 100 {
		t.Errorf("alice has %d devices, not 100", n)
	}
	hstest.Eventually(t, "the oldest session ends", func() bool {
		r, err := alice.Do(context.Background(), "GET", hstest.Path("account", "whoami"), nil)
		return err == nil && r.Status == http.StatusUnauthorized
	})
}

// LIM-16, LIM-20: what makes rooms, memberships and accounts, and what asks for names and tokens, has a limit that holds everywhere.
func TestAccountsAndRoomsAreNotMadeWithoutEnd(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 3, Configure: limited(map[string]any{
		"room": map[string]any{"burst": 5, "every": "1h"}, "probe": map[string]any{"burst": 5, "every": "1h"},
		"register": map[string]any{"burst": 5, "every": "1h"},
	})})
	alice := dep.User(t, "alice")
	for _, test := range []struct {
		name, method string
		path         func(int) string
		body         any
		spent        int
	}{
		{"joins", "POST", func(int) string { return hstest.Path("rooms", "!none:hs.test", "join") }, map[string]any{}, 0},
		{"names", "GET", func(i int) string { return hstest.Path("register", "available") + "?username=x" + strconv.Itoa(i) }, nil, 0},
		{"accounts", "POST", func(int) string { return hstest.Path("register") }, map[string]any{}, 1},
	} {
		if n := offer(t, dep, []*hstest.User{alice}, 50, test.method, test.path, test.body) + test.spent; n != 5 {
			t.Errorf("%s: %d of 50 were admitted, not 5", test.name, n)
		}
	}
}
