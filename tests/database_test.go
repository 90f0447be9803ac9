package tests

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/tests/auditor"
)

// TestDatabaseStopsAndComesBack stops PostgreSQL, and kills it, while it is written to (REL-03).
func TestDatabaseStopsAndComesBack(t *testing.T) {
	t.Parallel()
	cluster := hstest.StartCluster(t)
	dep := hstest.Start(t, hstest.Options{Processes: 2, DSN: cluster.DSN()})
	room, users := publicRoom(t, dep, 4)
	audit := auditor.New(t, dep)
	audit.Watch(t, "watcher", users[0], room, -1)
	for _, u := range users {
		audit.Writer(u, room, auditor.Mixed, 0)
	}
	for cycle := range times(2, 20) {
		before := audit.Acknowledged()
		hstest.Eventually(t, "writes", func() bool { return audit.Acknowledged() >= before+30 })
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		if cycle%2 == 1 {
			cluster.Kill9(t)
			requireRecovery(t, dep, users[1], room)
			continue
		}
		cluster.Stop(t)
		requireUnavailable(t, users[1], room)
		cluster.Start(t)
		requireRecovery(t, dep, users[1], room)
	}
	audit.Finish(t, users[2])
	t.Logf("%d acknowledged writes, %d refused, %d broken off", audit.Acknowledged(), audit.Refused.Load(), audit.Broken.Load())
}

// TestDatabaseOutOfReach cuts the network between the server and PostgreSQL (REL-03).
func TestDatabaseOutOfReach(t *testing.T) {
	t.Parallel()
	cluster := hstest.StartCluster(t)
	proxy := hstest.NewProxy(t, cluster.DSN())
	dep := hstest.Start(t, hstest.Options{DSN: proxy.DSN()})
	room, users := publicRoom(t, dep, 2)
	audit := auditor.New(t, dep)
	audit.Watch(t, "watcher", users[0], room, 0)
	audit.Writer(users[1], room, auditor.Mixed, 0)
	for range times(2, 20) {
		before := audit.Acknowledged()
		hstest.Eventually(t, "writes", func() bool { return audit.Acknowledged() >= before+20 })
		proxy.Cut()
		requireUnavailable(t, users[0], room)
		proxy.Restore()
		requireRecovery(t, dep, users[0], room)
	}
	audit.Finish(t, users[0])
}

// TestUnknownCommits loses the database's answers, so that the server cannot know whether it has stored something, and
// requests to the database (REL-04).
func TestUnknownCommits(t *testing.T) {
	t.Parallel()
	cluster := hstest.StartCluster(t)
	proxy := hstest.NewProxy(t, cluster.DSN())
	dep := hstest.Start(t, hstest.Options{Processes: 2, DSN: proxy.DSN()})
	room, users := publicRoom(t, dep, 6)
	audit := auditor.New(t, dep)
	audit.Watch(t, "watcher", users[0], room, -1)
	for i, u := range users {
		kind := auditor.Messages
		if i == 0 {
			kind = auditor.States
		}
		audit.Writer(u, room, kind, 0)
	}
	cuts := times(40, 2000)
	for n := range cuts {
		before := audit.Acknowledged()
		if n%3 == 2 {
			proxy.LoseNextRequest()
		} else {
			proxy.LoseNextAnswer()
		}
		hstest.Eventually(t, "writes after a loss", func() bool { return proxy.Losses() == 0 && audit.Acknowledged() >= before+3 })
	}
	audit.Finish(t, users[1])
	t.Logf("%d cuts, %d acknowledged writes, %d refused", cuts, audit.Acknowledged(), audit.Refused.Load())
}

// hangLimit is how long a request may take while the database is away.
const hangLimit = 80 * time.Second

// requireUnavailable expects every kind of request to be refused properly while the database is away.
func requireUnavailable(t *testing.T, u *hstest.User, room string) {
	t.Helper()
	for _, request := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPut, hstest.Path("rooms", room, "send", "m.room.message", u.TxnID()), map[string]any{"body": "x", "msgtype": "m.text"}},
		{http.MethodGet, hstest.Path("rooms", room, "messages") + "?dir=b", nil},
		{http.MethodPost, hstest.Path("createRoom"), map[string]any{}},
		{http.MethodGet, hstest.Path("sync"), nil},
		{http.MethodPut, hstest.Path("user", u.ID, "account_data", "org.roomline.test"), map[string]any{"a": 1}},
		{http.MethodPost, hstest.Path("login"), map[string]any{
			"type": "m.login.password", "password": "wrong password", "identifier": map[string]any{"type": "m.id.user", "user": u.ID},
		}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
		r, err := u.Do(ctx, request.method, request.path, request.body)
		cancel()
		switch {
		case err != nil:
			t.Errorf("database away: %s %s: %v", request.method, request.path, err)
		case r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || r.ErrCode() == "":
			t.Errorf("database away: %s %s: got %s with Retry-After %q, want 503 with Retry-After", request.method, request.path, r, r.Header.Get("Retry-After"))
		}
	}
}

// recoveryLimit is the five seconds that recovery may take, and what a busy machine adds.
const recoveryLimit = 3 * time.Minute

// requireRecovery expects every process to write again soon.
func requireRecovery(t *testing.T, dep *hstest.Deployment, u *hstest.User, room string) {
	t.Helper()
	began := time.Now()
	for process := range dep.Processes() {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
			r, err := u.On(process).Do(ctx, http.MethodPut, hstest.Path("rooms", room, "send", "m.room.message", u.TxnID()),
				map[string]any{"body": "back?", "msgtype": "m.text"})
			cancel()
			if err == nil && r.Status == http.StatusOK {
				break
			}
			if time.Since(began) > recoveryLimit {
				t.Fatalf("process %d did not recover within %s: %v %s", process, recoveryLimit, err, r)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Logf("recovered after %s", time.Since(began).Round(time.Millisecond))
}
