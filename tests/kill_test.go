package tests

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/tests/auditor"
)

// TestKilledProcessesLoseNothing kills server processes with SIGKILL while they are written to (REL-01, REL-02).
func TestKilledProcessesLoseNothing(t *testing.T) {
	t.Parallel()
	for _, processes := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d processes", processes), func(t *testing.T) {
			t.Parallel()
			dep := hstest.Start(t, hstest.Options{Processes: processes})
			room, users := publicRoom(t, dep, 6)
			other, _ := publicRoom(t, dep, 0, users...)
			audit := auditor.New(t, dep)
			audit.Watch(t, "watcher at process 0", users[0], room, 0)
			audit.Watch(t, "wandering watcher", users[1].NewSession(t), room, -1)
			for i, u := range users {
				audit.Writer(u, []string{room, other}[i%3/2], auditor.Mixed, 0)
			}
			receipts := disturb(t, dep, users[0], room)
			cycles := times(5, 50)
			for cycle := range cycles {
				before := audit.Acknowledged()
				hstest.Eventually(t, "writes", func() bool { return audit.Acknowledged() >= before+30 })
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
				victim := cycle % processes
				dep.Kill9(t, victim)
				if processes > 1 {
					between := audit.Acknowledged()
					hstest.Eventually(t, "writes through the processes that are left", func() bool { return audit.Acknowledged() >= between+30 })
				}
				dep.Restart(t, victim)
			}
			receipts()
			audit.Finish(t, users[2])
			if audit.Broken.Load() == 0 {
				t.Errorf("no request was broken off in %d kills: there was no load", cycles)
			}
			t.Logf("%d kills, %d acknowledged writes, %d requests broken off", cycles, audit.Acknowledged(), audit.Broken.Load())
		})
	}
}

// publicRoom makes a room that its first user has made and all have joined. Without users it makes count of them.
func publicRoom(t *testing.T, dep *hstest.Deployment, count int, users ...*hstest.User) (string, []*hstest.User) {
	t.Helper()
	if count > 0 {
		users = append(users, dep.Users(t, "user", count)...)
	}
	room := users[0].MustCreateRoom(t, map[string]any{
		"preset":                       "public_chat",
		"power_level_content_override": map[string]any{"state_default": 0, "users_default": 0},
	})
	for _, u := range users[1:] {
		u.MustJoin(t, room)
	}
	return room, users
}

// disturb sends what is not audited, receipts and typing, from everywhere until the returned function is called.
func disturb(t *testing.T, dep *hstest.Deployment, u *hstest.User, room string) (stop func()) {
	first := u.MustSendText(t, room, "read me")
	ended, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
			// Whether these arrive while processes die is not what is audited.
			at := u.On(n % dep.Processes())
			_, _ = at.Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "receipt", "m.read", first), map[string]any{})
			_, _ = at.Do(t.Context(), http.MethodPut, hstest.Path("rooms", room, "typing", u.ID), map[string]any{"typing": n%2 == 0, "timeout": 2000})
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}
