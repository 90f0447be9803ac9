package tests

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// gateway is a push gateway.
type gateway struct {
	t   *testing.T
	url string

	mu sync.Mutex
	// got is what it took, oldest first; tries counts what it was told, taken or not.
	got   []gjson.Result
	tries int
	// status is what it answers, reject the push keys that it does not want.
	status int
	reject map[string]bool
	// held are push keys whose requests wait.
	held map[string]chan struct{}
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{t: t, status: http.StatusOK, reject: map[string]bool{}, held: map[string]chan struct{}{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.url = server.URL + "/_matrix/push/v1/notify"
	return g
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the process was killed meanwhile
	}
	if r.Method != http.MethodPost || !gjson.ValidBytes(body) {
		g.t.Errorf("a gateway was sent %s %q", r.Method, body)
	}
	n := gjson.GetBytes(body, "notification")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tries++
	if held := g.held[n.Get("devices.0.pushkey").String()]; held != nil {
		g.mu.Unlock()
		<-held
		w.WriteHeader(http.StatusBadGateway)
		g.mu.Lock()
		return
	}
	if g.status != http.StatusOK {
		w.WriteHeader(g.status)
		return
	}
	g.got = append(g.got, n)
	answer := `{"rejected":[]}`
	if key := n.Get("devices.0.pushkey").String(); g.reject[key] {
		answer = `{"rejected":["` + key + `"]}`
	}
	_, _ = io.WriteString(w, answer)
}

func (g *gateway) answer(status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = status
}

func (g *gateway) tried() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tries
}

// events are the ids of what was pushed for a key.
func (g *gateway) events(key string) (ids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.got {
		if n.Get("devices.0.pushkey").String() == key && n.Get("event_id").Exists() {
			ids = append(ids, n.Get("event_id").String())
		}
	}
	return ids
}

// last is the newest notification for a key.
func (g *gateway) last(key string) gjson.Result {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := len(g.got) - 1; i >= 0; i-- {
		if g.got[i].Get("devices.0.pushkey").String() == key {
			return g.got[i]
		}
	}
	return gjson.Result{}
}

// waitFor waits for the push of an event. A badge may have come after it.
func (g *gateway) waitFor(key, event string) (found gjson.Result) {
	g.t.Helper()
	hstest.Eventually(g.t, "the push of "+event+" for "+key, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		i := slices.IndexFunc(g.got, func(n gjson.Result) bool {
			return n.Get("devices.0.pushkey").String() == key && n.Get("event_id").String() == event
		})
		if i >= 0 {
			found = g.got[i]
		}
		return i >= 0
	})
	return found
}

// hold lets the gateway take its time over a push key, until the returned function is called: then it fails.
func (g *gateway) hold(key string) (release func()) {
	held := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[key] = held
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.held, key)
		close(held)
	})
}

func pusher(key, url string, more map[string]any) map[string]any {
	p := map[string]any{
		"kind": "http", "app_id": "org.example.app", "pushkey": key, "app_display_name": "App", "device_display_name": "Phone",
		"lang": "en", "data": map[string]any{"url": url},
	}
	for k, v := range more {
		p[k] = v
	}
	return p
}

func setPusher(t *testing.T, u *hstest.User, p map[string]any) {
	t.Helper()
	u.MustDo(t, http.MethodPost, hstest.Path("pushers", "set"), p)
}

func pushKeys(t *testing.T, u *hstest.User) string {
	t.Helper()
	var keys []string
	for _, p := range u.MustDo(t, http.MethodGet, hstest.Path("pushers"), nil).Get("pushers").Array() {
		keys = append(keys, p.Get("pushkey").String())
	}
	return strings.Join(keys, " ")
}

// retryNow waits until a failure of a pusher is noted, and has it tried again at once, unless it is over.
func retryNow(t *testing.T, dep *hstest.Deployment, key string, over func() bool) {
	t.Helper()
	db := storetest.DB(t, dep.DSN)
	hstest.Eventually(t, "the end of the failures of "+key, func() bool {
		done, err := db.Exec(`UPDATE pushers SET retry_ts = 1 WHERE pushkey = $1 AND failures > 0 AND retry_ts > 1`, key)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := done.RowsAffected()
		return n > 0 || over()
	})
}
