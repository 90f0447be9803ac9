package tests

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// sendMany has users send so many messages in a room, each in order, and returns the event ids of each user.
func sendMany(t *testing.T, room string, users []*hstest.User, each int) [][]string {
	t.Helper()
	ids := make([][]string, len(users))
	var wg sync.WaitGroup
	for i, u := range users {
		wg.Go(func() {
			for n := range each {
				r, err := u.Do(t.Context(), "PUT", hstest.Path("rooms", room, "send", "m.room.message", "n"+strconv.Itoa(n)), map[string]any{"msgtype": "m.text", "body": fmt.Sprint(n)})
				if err != nil || r.Status != 200 {
					t.Errorf("send: %v %s", err, r)
					return
				}
				ids[i] = append(ids[i], r.JSON().Get("event_id").String())
			}
		})
	}
	wg.Wait()
	return ids
}

// TestEventsReachAServiceThatFailsOnceEachInOrder is REL-15: a service that fails every third time, in turn with an error, with silence after
// it has processed a transaction, and with nonsense.
func TestEventsReachAServiceThatFailsOnceEachInOrder(t *testing.T) {
	t.Parallel()
	each, senders := 125, 4
	if os.Getenv("ROOMLINE_ENDURANCE") != "" {
		each = 25_000
	}
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	s := startService(t, "hs-token-of-faults")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("faults", s, nil))
	s.setFault(func(n int, w http.ResponseWriter) bool {
		switch {
		case n%3 != 0:
			return false
		case n%9 == 0:
			w.WriteHeader(500)
			io.WriteString(w, "cut") // processed, and the answer is lost
		case n%9 == 3:
			w.WriteHeader(502)
		default:
			w.WriteHeader(404)
			io.WriteString(w, `{"errcode":"M_FORBIDDEN"}`)
		}
		return true
	})
	users := dep.Users(t, "sender", senders)
	room := users[0].MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	for i, u := range users[1:] {
		users[i+1] = u.On((i + 1) % 2)
		u.MustJoin(t, room)
	}
	as.must("", "POST", hstest.Path("rooms", room, "join"), map[string]any{})
	ids := sendMany(t, room, users, each)

	s.wait(t, "all events", func() bool { return s.messages() >= each*senders })
	seen := map[string]int{}
	for _, e := range s.told("events") {
		if e.Get("type").String() == "m.room.message" {
			seen[e.Get("event_id").String()]++
		}
	}
	if len(seen) != each*senders {
		t.Errorf("the service was told %d of %d events", len(seen), each*senders)
	}
	for id, n := range seen {
		if n != 1 {
			t.Fatalf("%s came in %d transactions", id, n)
		}
	}
	// What one user sent is told in order, and altogether it is the order of the room.
	var told []string
	for _, e := range s.told("events") {
		if e.Get("type").String() == "m.room.message" {
			told = append(told, e.Get("event_id").String())
		}
	}
	if !slices.Equal(told, timeline(t, users[0], room)) {
		t.Error("the service was told the events in another order than that of the room")
	}
	at := map[string]int{}
	for i, id := range told {
		at[id] = i
	}
	for _, list := range ids {
		if !slices.IsSortedFunc(list, func(a, b string) int { return at[a] - at[b] }) {
			t.Error("what a user sent was told out of order")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.order, s.taken) {
		t.Error("transactions overtook each other")
	}
	if s.attempts == len(s.order) {
		t.Error("nothing failed: the test is none")
	}
	t.Logf("%d events in %d transactions, %d attempts", len(told), len(s.order), s.attempts)
}

// timeline is the messages of a room, oldest first.
func timeline(t *testing.T, u *hstest.User, room string) (ids []string) {
	t.Helper()
	from := ""
	for {
		page := u.MustDo(t, "GET", hstest.Path("rooms", room, "messages")+"?dir=f&limit=1000&from="+from, nil)
		for _, e := range page.Get("chunk").Array() {
			if e.Get("type").String() == "m.room.message" {
				ids = append(ids, e.Get("event_id").String())
			}
		}
		if from = page.Get("end").String(); from == "" {
			return ids
		}
	}
}

func TestOneServiceThatIsAwayDelaysNobodyAndCatchesUp(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	operator := dep.Operator(t)
	quick, away := startService(t, "hs-token-of-quick"), startService(t, "hs-token-of-away")
	away.setFault(func(_ int, w http.ResponseWriter) bool { w.WriteHeader(503); return true })
	one := register(t, dep, operator, ownServices, registrationOf("quick", quick, nil))
	other := register(t, dep, operator, ownServices, registrationOf("away", away, nil))
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	for _, a := range []actor{one, other} {
		a.must("", "POST", hstest.Path("rooms", room, "join"), map[string]any{})
	}
	var last string
	for range 30 {
		last = alice.MustSendText(t, room, "x")
	}
	quick.hasEvent(t, last)
	if len(away.transactions()) != 0 {
		t.Fatal("the service that is away took something")
	}
	var state gjson.Result
	hstest.Eventually(t, "a failure being noted", func() bool {
		state = operator.MustDo(t, "GET", ownServices+"/away", nil).Get("delivery")
		return state.Get("failures").Int() > 0
	})
	if state.Get("last_error").String() != "status 503" || state.Get("failing_since_ts").Int() == 0 {
		t.Errorf("the state of what can't be delivered: %s", state.Raw)
	}
	// All processes go, and come back: what was to be sent is sent, the very same bytes.
	dep.Kill9(t, 0)
	dep.Kill9(t, 1)
	last = ""
	dep.Restart(t, 1)
	for range 5 {
		last = alice.On(1).MustSendText(t, room, "y")
	}
	away.setFault(nil)
	away.hasEvent(t, last)
	quick.hasEvent(t, last)
	ids := func(s *service) (list []string) {
		for _, e := range s.told("events") {
			if e.Get("type").String() == "m.room.message" {
				list = append(list, e.Get("event_id").String())
			}
		}
		return list
	}
	want := timeline(t, alice.On(1), room)
	if !slices.Equal(ids(away), want) || !slices.Equal(ids(quick), want) {
		t.Errorf("the one was told %d, the other %d of %d messages", len(ids(quick)), len(ids(away)), len(want))
	}
	dep.Restart(t, 0)
}

// TestAStoppedProcessLosesItsDeliveries stops the process that delivers: another takes over, and the first does no harm when it goes on.
func TestAStoppedProcessLosesItsDeliveries(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	s := startService(t, "hs-token-of-fence")
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("fence", s, nil))
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	as.must("", "POST", hstest.Path("rooms", room, "join"), map[string]any{})
	s.hasEvent(t, alice.MustSendText(t, room, "before"))

	// The process that made the account registered it, and delivers.
	holder, other := 0, 1
	signal := func(sig syscall.Signal) {
		if err := syscall.Kill(dep.PID(holder), sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	ids := []string{alice.On(other).MustSendText(t, room, "meanwhile")}
	s.hasEvent(t, ids[0])
	signal(syscall.SIGCONT)
	for i := range 40 {
		ids = append(ids, alice.On(i%2).MustSendText(t, room, strconv.Itoa(i)))
	}
	for _, id := range ids {
		s.hasEvent(t, id)
	}
	counts := map[string]int{}
	for _, e := range s.told("events") {
		counts[e.Get("event_id").String()]++
	}
	for id, n := range counts {
		if n != 1 {
			t.Errorf("%s came in %d transactions", id, n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.order, s.taken) {
		t.Error("transactions overtook each other")
	}
}

func TestServicesOfOldGetTransactionsAtTheOldPath(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	old := startService(t, "hs-token-of-old")
	got := make(chan string, 100)
	old.setFault(func(_ int, w http.ResponseWriter) bool {
		w.WriteHeader(404)
		return true
	})
	old.setAsk(func(w http.ResponseWriter, r *http.Request) {
		got <- r.URL.Path
		io.WriteString(w, "{}")
	})
	as := register(t, dep, dep.Operator(t), ownServices, registrationOf("old", old, nil))
	room := as.must("", "POST", hstest.Path("createRoom"), map[string]any{}).Get("room_id").String()
	select {
	case path := <-got:
		if !strings.HasPrefix(path, "/transactions/") || room == "" {
			t.Errorf("told at %s", path)
		}
	case <-time.After(servicePatience):
		t.Error("told nothing")
	}
}
