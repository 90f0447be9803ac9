package tests

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// TestKilledProcessesLoseNoMessagesToDevices kills processes while messages go from one device to another. The sender tries again with the
// same transaction, the receiver with the same token, each wherever a process answers. Every message comes once, in order.
func TestKilledProcessesLoseNoMessagesToDevices(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	since := bob.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	var sent, broken atomic.Int64
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			body := map[string]any{"messages": map[string]any{bob.ID: map[string]any{"*": map[string]any{"n": n}}}}
			for try := n; ; try++ {
				select {
				case <-quit:
					return
				default:
				}
				path := hstest.Path("sendToDevice", "org.example.note", fmt.Sprint("n", n))
				r, err := alice.On(try%2).Do(t.Context(), http.MethodPut, path, body)
				if err == nil && r.Status == http.StatusOK {
					break
				}
				if err == nil && r.Status < 500 {
					t.Errorf("send: %s", r)
					return
				}
				broken.Add(1)
			}
			sent.Add(1)
		}
	}()
	received := int64(0)
	// take asks once, and checks that what comes continues what came. An answer is lost now and then: it comes again.
	take := func(n int) {
		r, err := bob.On(n%2).Sync(t.Context(), hstest.Sync{Since: since})
		if err != nil || r.Status >= 500 {
			broken.Add(1)
			return
		}
		if r.Status != http.StatusOK {
			t.Fatalf("sync: %s", r)
		}
		if n%5 == 4 {
			return
		}
		for _, e := range r.JSON().Get("to_device.events").Array() {
			if got := e.Get("content.n").Int(); got != received {
				t.Fatalf("message %d came where %d is due", got, received)
			}
			received++
		}
		since = r.JSON().Get("next_batch").String()
	}
	n := 0
	for cycle := range times(5, 50) {
		before, at := sent.Load(), received
		hstest.Eventually(t, "messages going through", func() bool {
			take(n)
			n++
			return sent.Load() >= before+20 && received > at
		})
		dep.Kill9(t, cycle%2)
		between := sent.Load()
		hstest.Eventually(t, "messages through the process that is left", func() bool {
			take(n)
			n++
			return sent.Load() >= between+20
		})
		dep.Restart(t, cycle%2)
	}
	close(quit)
	<-done
	// One more may have been stored whose answer nobody waited for.
	hstest.Eventually(t, "the last messages", func() bool {
		take(n)
		n++
		return received >= sent.Load()
	})
	if received > sent.Load()+1 {
		t.Errorf("%d messages came, %d were sent", received, sent.Load())
	}
	if broken.Load() == 0 {
		t.Error("no request was broken off: there was no load")
	}
	t.Logf("%d messages, %d requests broken off", received, broken.Load())
}
