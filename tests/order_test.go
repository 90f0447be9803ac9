package tests

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/tests/auditor"
)

// TestSameTransactionInParallelIsOneEvent sends the same transaction to two processes at once (REL-05).
func TestSameTransactionInParallelIsOneEvent(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	room, users := publicRoom(t, dep, 4)
	other, _ := publicRoom(t, dep, 0, users...)
	for n := range times(50, 5000) {
		u := users[n%len(users)]
		txn := fmt.Sprintf("parallel%d", n)
		ids := make([]string, 6)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() { ids[i] = sendTxn(t, u.On(i%2), room, txn) })
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] || id == "" {
				t.Fatalf("transaction %s was given the events %q", txn, ids)
			}
		}
	}
	u := users[0]
	first := sendTxn(t, u, room, "again")
	if id := sendTxn(t, u.On(1), room, "again"); id != first {
		t.Error("the same transaction, later and on another process, is another event")
	}
	if id := sendTxn(t, u.On(1), other, "again"); id == first {
		t.Error("the transaction of another room is the same event")
	}
	if id := sendTxn(t, u.NewSession(t), room, "again"); id == first {
		t.Error("the transaction of another device is the same event")
	}
	dep.Kill9(t, 0)
	dep.Restart(t, 0)
	if id := sendTxn(t, u, room, "again"); id != first {
		t.Error("the same transaction after a restart is another event")
	}
	bodies := map[string]int{}
	for _, e := range auditor.ReadEvents(t, u, room, "f") {
		if e.Get("type").String() == "m.room.message" {
			bodies[e.Get("content.body").String()]++
		}
	}
	for body, n := range bodies {
		if want := map[bool]int{true: 2, false: 1}[body == "again"]; n != want { // two devices sent "again"
			t.Errorf("%q is in the room %d times, want %d", body, n, want)
		}
	}
}

func sendTxn(t *testing.T, u *hstest.User, room, txn string) string {
	r, err := u.Do(t.Context(), http.MethodPut, hstest.Path("rooms", room, "send", "m.room.message", txn), map[string]any{"msgtype": "m.text", "body": txn})
	if err != nil || r.Status != http.StatusOK {
		t.Errorf("send %s: %v %s", txn, err, r)
		return ""
	}
	return r.JSON().Get("event_id").String()
}

// TestTwoProcessesWriteOneRoomInOneOrder has many writers of messages and state in one room (REL-06, REL-07).
func TestTwoProcessesWriteOneRoomInOneOrder(t *testing.T) {
	t.Parallel()
	const writers = 10
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	room, users := publicRoom(t, dep, writers)
	audit := auditor.New(t, dep)
	for process := range 2 {
		audit.Watch(t, fmt.Sprintf("watcher at process %d", process), users[process], room, process)
	}
	wandering := audit.Watch(t, "wandering watcher", users[2], room, -1)
	each := times(1000, 10_000) / writers
	for i, u := range users {
		kind := auditor.Mixed
		if i%5 == 4 {
			kind = auditor.States
		}
		audit.Writer(u, room, kind, each)
	}
	stop := flipPowerLevels(t, users[0], room)
	audit.WaitWriters()
	stop()
	audit.Finish(t, users[3])
	if n := audit.Acknowledged(); n != writers*each {
		t.Errorf("%d writes were acknowledged, want %d", n, writers*each)
	}
	if audit.Broken.Load()+audit.Refused.Load() > 0 {
		t.Errorf("%d requests were broken off and %d refused without any fault", audit.Broken.Load(), audit.Refused.Load())
	}
	requireStateRecomputes(t, dep, users[0], room)
	t.Logf("the wandering watcher filled %d gaps", wandering.Gaps())
}

// TestNoTokenSkipsAPosition has writers of many rooms commit in every order on two processes, while watchers of each room
// follow on either process and on both by turns (REL-06). The database is durable: that gives commits the time to overtake
// each other.
func TestNoTokenSkipsAPosition(t *testing.T) {
	t.Parallel()
	const rooms = 8
	dep := hstest.Start(t, hstest.Options{Processes: 2, DSN: hstest.StartCluster(t).DSN()})
	users := dep.Users(t, "user", rooms)
	audit := auditor.New(t, dep)
	for i, u := range users {
		room, _ := publicRoom(t, dep, 0, u)
		audit.Watch(t, fmt.Sprintf("watcher %d", i), u, room, i%2)
		audit.Watch(t, fmt.Sprintf("wandering watcher %d", i), u, room, -1)
		for range 2 {
			audit.Writer(u, room, auditor.Messages, times(60, 2000))
		}
	}
	audit.WaitWriters()
	audit.Finish(t, users...)
}

// flipPowerLevels changes the room's power levels, on alternating processes, until it is stopped.
func flipPowerLevels(t *testing.T, admin *hstest.User, room string) (stop func()) {
	levels := admin.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.power_levels", ""), nil).Value().(map[string]any)
	ended, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-quit:
				return
			case <-time.After(30 * time.Millisecond):
			}
			levels["notifications"] = map[string]any{"room": 50 + n%50}
			r, err := admin.On(n%2).Do(t.Context(), http.MethodPut, hstest.Path("rooms", room, "state", "m.room.power_levels", ""), levels)
			if err != nil || r.Status != http.StatusOK {
				t.Errorf("change power levels: %v %s", err, r)
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

// requireStateRecomputes plays all state events of the room's history and compares with what each process says is the state.
func requireStateRecomputes(t *testing.T, dep *hstest.Deployment, u *hstest.User, room string) {
	t.Helper()
	want := map[[2]string]string{}
	for _, e := range auditor.ReadEvents(t, u, room, "f") {
		if key := e.Get("state_key"); key.Exists() {
			want[[2]string{e.Get("type").String(), key.String()}] = e.Get("event_id").String()
		}
	}
	for process := range dep.Processes() {
		got := map[[2]string]string{}
		for _, e := range u.On(process).MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state"), nil).Array() {
			got[[2]string{e.Get("type").String(), e.Get("state_key").String()}] = e.Get("event_id").String()
		}
		if len(got) != len(want) {
			t.Errorf("process %d has %d state events, the history gives %d", process, len(got), len(want))
		}
		for key, id := range want {
			if got[key] != id {
				t.Errorf("process %d has %q as state %q, the history gives %s", process, got[key], key, id)
			}
		}
	}
}

// pollLimit is the five seconds within which polling must deliver, and what a busy machine adds. longPoll is longer: what comes only when it
// is over comes too late.
const (
	pollLimit = time.Minute
	longPoll  = pollLimit + 20*time.Second
)

// TestDeliveryWithoutNotifications blocks the notifications between processes (REL-09): a proxy drops them, so that
// only polling tells a process what the others have stored.
func TestDeliveryWithoutNotifications(t *testing.T) {
	t.Parallel()
	proxy := hstest.NewProxy(t, storetest.EmptyDSN(t))
	proxy.DropNotifications()
	dep := hstest.Start(t, hstest.Options{Processes: 2, DSN: proxy.DSN()})
	room, users := publicRoom(t, dep, 2)
	alice, bob := users[0], users[1].On(1)
	since := bob.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	longest := time.Duration(0)
	for n := range times(10, 300) {
		// Sent at different moments of the polling interval, while bob is in a long poll.
		time.Sleep(time.Duration(n*37%400) * time.Millisecond)
		arrived := make(chan time.Time, 1)
		sent := make(chan string, 1)
		go func() {
			since = waitForEvent(t, bob, room, since, sent)
			arrived <- time.Now()
		}()
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		sent <- alice.MustSendText(t, room, "without a notification")
		took := (<-arrived).Sub(began)
		if took > pollLimit {
			t.Fatalf("message %d was delivered after %s", n, took)
		}
		longest = max(longest, took)
	}
	t.Logf("the slowest of the messages took %s", longest.Round(time.Millisecond))
	if longest < 5*time.Millisecond {
		t.Error("every message was there at once: notifications are not blocked")
	}
}

// waitForEvent stays in long polls until the event whose id comes through sent is there, and returns the token after it.
func waitForEvent(t *testing.T, u *hstest.User, room, since string, sent <-chan string) string {
	var answers []gjson.Result
	var want string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		r, err := u.Sync(t.Context(), hstest.Sync{Since: since, Timeout: longPoll})
		if err != nil || r.Status != http.StatusOK {
			t.Errorf("sync: %v %s", err, r)
			return since
		}
		since = r.JSON().Get("next_batch").String()
		answers = append(answers, r.JSON())
		select {
		case want = <-sent:
		case <-time.After(time.Second): // the poll was answered for another reason, or before the send was
		}
		for _, a := range answers {
			if want != "" && hstest.TimelineHas(room, want)(a) {
				return since
			}
		}
	}
	t.Errorf("the event was not delivered within %s", patience)
	return since
}
