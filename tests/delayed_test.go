package tests

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// TestDelayedEventsOutliveTheirProcess kills processes around the moment when delayed events are due: each is sent, and once.
func TestDelayedEventsOutliveTheirProcess(t *testing.T) {
	t.Parallel()
	for _, processes := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d processes", processes), func(t *testing.T) {
			t.Parallel()
			dep := hstest.Start(t, hstest.Options{Processes: processes})
			room, users := publicRoom(t, dep, 1)
			alice := users[0].On(processes - 1)
			const each = 20
			cycles := times(3, 30)
			for cycle := range cycles {
				scheduler := users[0].On(cycle % processes)
				for n := range each {
					scheduler.MustDo(t, http.MethodPut, fmt.Sprintf("/_matrix/client/unstable/org.matrix.msc4140/rooms/%s/delayed_event/org.example.later/c%dn%d",
						url.PathEscape(room), cycle, n),
						map[string]any{"delay_ms": 300 + 10*n, "content": map[string]any{"which": fmt.Sprintf("%d of %d", n, cycle)}})
				}
				time.Sleep(time.Duration(200+rand.IntN(300)) * time.Millisecond)
				dep.Kill9(t, cycle%processes)
				dep.Restart(t, cycle%processes)
			}
			hstest.Eventually(t, "all delayed events", func() bool {
				return len(alice.MustDo(t, http.MethodGet, "/_matrix/client/unstable/org.matrix.msc4140/delayed_events", nil).Get("delayed_events").Array()) == 0
			})
			seen := map[string]int{}
			for _, e := range alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=1000", nil).Get("chunk").Array() {
				if e.Get("type").String() == "org.example.later" {
					seen[e.Get("content.which").String()]++
				}
			}
			if len(seen) != each*cycles {
				t.Errorf("%d of %d events were sent", len(seen), each*cycles)
			}
			for which, n := range seen {
				if n != 1 {
					t.Errorf("%s was sent %d times", which, n)
				}
			}
		})
	}
}
