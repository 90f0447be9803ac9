package tests

import (
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
	"github.com/roomline/roomline/internal/store/storetest"
)

// callersAtOnce are killed at the same time, and lost is how long LiveKit itself may take to find that they are gone.
const (
	callersAtOnce = 10
	lost          = 4 * time.Minute
)

// TestGhosts kills clients that are in a call, and processes of the server with them: who is gone is not said to be in the call, who came back is.
func TestGhosts(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: caller.Configure(lk)})
	lk.WebhookTo(t, dep.BaseURL(0)+"/_roomline/livekit/webhook")
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	users := dep.Users(t, "ghost", callersAtOnce)
	for _, u := range users {
		u.MustJoin(t, room)
	}
	cycles := times(callersAtOnce, 200)
	ghosts := 0
	for done := 0; done < cycles; done += callersAtOnce {
		ghosts += killed(t, dep, alice, room, users, done/callersAtOnce%2 == 1)
	}
	t.Logf("%d ghosts in %d kill cycles", ghosts, cycles)
	if ghosts > 0 {
		t.Errorf("%d ghosts in %d kill cycles", ghosts, cycles)
	}
	// Who comes back by the same device stays.
	caller.Start(t, dep, users[0], room).Kill()
	back := caller.Enter(t, dep, users[0], room)
	select {
	case reason := <-back.Gone:
		t.Errorf("who came back is out again: %s", reason)
	case <-time.After(5 * time.Second):
	}
	// LiveKit tells of it by its time.
	hstest.Eventually(t, "the one who came back being in the call alone", func() bool { return inCalls(t, dep) == 1 })
	if !caller.Said(t, alice, users[0], room) {
		t.Error("who came back is not said to be in the call")
	}
}

// killed kills callers, and a process of the server, and counts those who are still said to be in the call.
func killed(t *testing.T, dep *hstest.Deployment, alice *hstest.User, room string, users []*hstest.User, process bool) (ghosts int) {
	var callers []*caller.Process
	for _, u := range users {
		callers = append(callers, caller.Start(t, dep, u, room))
	}
	for _, c := range callers {
		c.Kill()
	}
	if process {
		dep.Kill9(t, 0)
		dep.Restart(t, 0)
	}
	deadline := time.Now().Add(lost)
	for _, u := range users {
		for caller.Said(t, alice, u, room) {
			if time.Now().After(deadline) {
				ghosts++
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	hstest.Eventually(t, "nobody being in calls whose clients were killed", func() bool { return inCalls(t, dep) == 0 })
	return ghosts
}

// inCalls is how many devices are in calls, as the database knows.
func inCalls(t *testing.T, dep *hstest.Deployment) (n int) {
	t.Helper()
	db := storetest.DB(t, dep.DSN)
	if err := db.QueryRow(`SELECT count(*) FROM rtc_participants WHERE joined_ts IS NOT NULL AND left_ts IS NULL`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
