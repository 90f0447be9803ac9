package auditor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

const (
	// patience is how long a write is tried, and how long a view may take to become complete.
	patience = 4 * time.Minute
	// requestTimeout is how long one request may hang. Without a fault none does, however busy the machine is: it is less than what the
	// client waits.
	requestTimeout = 80 * time.Second
	// pause between two attempts.
	pause = 20 * time.Millisecond
	// markKey is where a write's mark stands in its content.
	markKey = "mark"
)

// Audit is writers and watchers on one deployment.
type Audit struct {
	dep     *hstest.Deployment
	history History
	marks   atomic.Int64

	// Refused counts answers 503, Broken the requests without an answer.
	Refused, Broken atomic.Int64

	// ctx ends everything, writing the writers.
	ctx, writing      context.Context
	stop, stopWriting context.CancelFunc

	mu       sync.Mutex
	problems []string
	writers  sync.WaitGroup
	watchers []*Watcher
	watching sync.WaitGroup
}

// New returns an audit without writers and watchers. The test ends them, if Finish has not.
func New(t testing.TB, dep *hstest.Deployment) *Audit {
	a := &Audit{dep: dep}
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.writing, a.stopWriting = context.WithCancel(a.ctx)
	t.Cleanup(func() {
		a.stop()
		a.writers.Wait()
		a.watching.Wait()
	})
	return a
}

// Acknowledged is how many writes have been acknowledged so far.
func (a *Audit) Acknowledged() int { return a.history.Len() }

// problem notes something that must not happen.
func (a *Audit) problem(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.problems) < maxProblems {
		a.problems = append(a.problems, fmt.Sprintf(format, args...))
	}
}

// Kind of writes that a writer makes.
type Kind int

const (
	// Messages have transaction ids, and are asked for again with the same one.
	Messages Kind = iota
	// States are state events under a key of the writer's own. They have no transaction id, so that an attempt without an
	// answer is given up, and the next is another write.
	States
	// Mixed is mostly messages, and some state.
	Mixed
)

// Writer writes until the audit is finished, or count writes if that is not 0. Each of its writes waits for the one before.
func (a *Audit) Writer(u *hstest.User, room string, kind Kind, count int) {
	a.writers.Go(func() {
		process := int(a.marks.Add(1)) % a.dep.Processes()
		for n := 0; (count == 0 || n < count) && a.writing.Err() == nil; n++ {
			state := kind == States || kind == Mixed && n%7 == 6
			if !a.write(u, room, state, &process) {
				return
			}
		}
	})
}

// WaitWriters waits for the writers that have a count.
func (a *Audit) WaitWriters() { a.writers.Wait() }

// write makes one write, on another process after each failure, until it is acknowledged.
func (a *Audit) write(u *hstest.User, room string, state bool, process *int) bool {
	mark := "m" + strconv.FormatInt(a.marks.Add(1), 10)
	txn := mark
	asked := time.Now()
	for a.ctx.Err() == nil {
		if time.Since(asked) > patience {
			a.problem("write %s was not acknowledged within %s", mark, patience)
			return false
		}
		content := map[string]any{"msgtype": "m.text", "body": "audited " + mark, markKey: mark}
		path := hstest.Path("rooms", room, "send", "m.room.message", txn)
		if state {
			path = hstest.Path("rooms", room, "state", "org.roomline.audit", u.ID[1:])
		}
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		r, err := u.On(*process).Do(ctx, http.MethodPut, path, content)
		cancel()
		if err == nil && r.Status == http.StatusOK {
			a.history.Add(Write{Room: room, Mark: mark, EventID: r.JSON().Get("event_id").String(), Asked: asked, Acknowledged: time.Now()})
			return true
		}
		if !a.mayTryAgain("write "+mark, r, err) {
			return false
		}
		*process = (*process + 1) % a.dep.Processes()
		if state {
			mark = "m" + strconv.FormatInt(a.marks.Add(1), 10)
			asked = time.Now()
		}
		time.Sleep(pause)
	}
	return false
}

// mayTryAgain judges an answer that is not 200: a process may be gone, and the database may be away, nothing else.
func (a *Audit) mayTryAgain(what string, r hstest.Response, err error) bool {
	if err != nil {
		a.Broken.Add(1)
		return true
	}
	if r.Status == http.StatusServiceUnavailable {
		a.Refused.Add(1)
		if r.Header.Get("Retry-After") == "" || r.ErrCode() == "" {
			a.problem("%s: 503 without Retry-After or errcode: %s", what, r)
		}
		return true
	}
	a.problem("%s: got %s", what, r)
	return false
}

// Watcher is a client that stays in long polls and keeps what it is told.
type Watcher struct {
	name  string
	room  string
	audit *Audit
	user  *hstest.User

	mu     sync.Mutex
	events []Event
	seen   map[string]bool
	lags   []time.Duration
	gaps   int
}

// Watch starts a watcher of one room, beginning at its present end. If process is negative it goes to another one for each
// poll.
func (a *Audit) Watch(t testing.TB, name string, u *hstest.User, room string, process int) *Watcher {
	t.Helper()
	w := &Watcher{name: name, room: room, audit: a, user: u, seen: map[string]bool{}}
	first := u.On(max(process, 0)).MustSync(t, hstest.Sync{Filter: w.filter()})
	since := first.Get("next_batch").String()
	a.watchers = append(a.watchers, w)
	a.watching.Go(func() { w.run(since, process) })
	return w
}

// filter asks for this room only, with a timeline so short that gaps are common.
func (w *Watcher) filter() string {
	return `{"room":{"rooms":["` + w.room + `"],"timeline":{"limit":20}},"presence":{"types":[]}}`
}

func (w *Watcher) run(since string, process int) {
	at := max(process, 0)
	for w.audit.ctx.Err() == nil {
		next, err := w.poll(since, at)
		if err == nil {
			since = next
		} else {
			time.Sleep(pause)
		}
		if err != nil || process < 0 {
			at = (at + 1) % w.audit.dep.Processes()
		}
	}
}

// poll makes one request and takes its answer in, or leaves everything as it was.
func (w *Watcher) poll(since string, process int) (next string, err error) {
	ctx, cancel := context.WithTimeout(w.audit.ctx, requestTimeout)
	defer cancel()
	r, err := w.user.On(process).Sync(ctx, hstest.Sync{Since: since, Filter: w.filter(), Timeout: 5 * time.Second})
	if err == nil && r.Status != http.StatusOK {
		w.audit.mayTryAgain(w.name+": sync", r, nil)
		err = fmt.Errorf("sync: %s", r)
	}
	if err != nil {
		return "", err
	}
	answer := r.JSON()
	room := answer.Get("rooms.join").Get(gjson.Escape(w.room))
	events := room.Get("timeline.events").Array()
	if room.Get("timeline.limited").Bool() {
		missed, err := w.fill(ctx, room.Get("timeline.prev_batch").String(), since, process)
		if err != nil {
			return "", err
		}
		events = append(missed, events...)
	}
	w.take(events)
	return answer.Get("next_batch").String(), nil
}

// fill reads what lies between two tokens, oldest first.
func (w *Watcher) fill(ctx context.Context, from, to string, process int) ([]gjson.Result, error) {
	w.mu.Lock()
	w.gaps++
	w.mu.Unlock()
	var newestFirst []gjson.Result
	for from != "" {
		q := url.Values{"dir": {"b"}, "from": {from}, "to": {to}, "limit": {"100"}}
		r, err := w.user.On(process).Do(ctx, http.MethodGet, hstest.Path("rooms", w.room, "messages")+"?"+q.Encode(), nil)
		if err != nil {
			return nil, err
		}
		if r.Status != http.StatusOK {
			w.audit.mayTryAgain(w.name+": messages", r, nil)
			return nil, fmt.Errorf("messages: %s", r)
		}
		page := r.JSON()
		newestFirst = append(newestFirst, page.Get("chunk").Array()...)
		from = page.Get("end").String()
	}
	oldestFirst := make([]gjson.Result, len(newestFirst))
	for i, e := range newestFirst {
		oldestFirst[len(newestFirst)-1-i] = e
	}
	return oldestFirst, nil
}

func (w *Watcher) take(events []gjson.Result) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		if mark := e.Get("content." + markKey).String(); mark != "" {
			id := e.Get("event_id").String()
			w.events = append(w.events, Event{ID: id, Mark: mark})
			w.seen[id] = true
			w.lags = append(w.lags, now.Sub(time.UnixMilli(e.Get("origin_server_ts").Int())))
		}
	}
}

// View is what the watcher was told so far.
func (w *Watcher) View() View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return View{Name: w.name, Room: w.room, Events: append([]Event(nil), w.events...)}
}

// Gaps is how many gaps the watcher has filled.
func (w *Watcher) Gaps() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gaps
}

// LongestLag is the longest time from an event's origin_server_ts until the watcher had it.
func (w *Watcher) LongestLag() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := time.Duration(0)
	for _, l := range w.lags {
		longest = max(longest, l)
	}
	return longest
}

// complete reports whether the watcher has all of the writes to its room, and one that it has not.
func (w *Watcher) complete(writes []Write) (missing Write, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, write := range writes {
		if write.Room == w.room && !w.seen[write.EventID] {
			return write, false
		}
	}
	return Write{}, true
}

// Read reads a whole room through /messages, forwards or backwards, on one process. The view is oldest first either way.
func Read(t testing.TB, u *hstest.User, room, dir string) View {
	t.Helper()
	v := View{Name: "/messages dir=" + dir, Room: room}
	for _, e := range ReadEvents(t, u, room, dir) {
		if mark := e.Get("content." + markKey).String(); mark != "" {
			v.Events = append(v.Events, Event{ID: e.Get("event_id").String(), Mark: mark})
		}
	}
	return v
}

// ReadEvents reads all events of a room through /messages, forwards or backwards, and returns them oldest first.
func ReadEvents(t testing.TB, u *hstest.User, room, dir string) []gjson.Result {
	t.Helper()
	var all []gjson.Result
	from := ""
	for {
		q := url.Values{"dir": {dir}, "limit": {"500"}}
		if from != "" {
			q.Set("from", from)
		}
		page := u.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?"+q.Encode(), nil)
		all = append(all, page.Get("chunk").Array()...)
		end := page.Get("end").String()
		if end == "" || end == from {
			break
		}
		from = end
	}
	if dir == "b" {
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
	}
	return all
}

// Finish ends the writers, waits until the watchers have everything, reads every room in both directions on every process,
// and fails the test for whatever is wrong. Each room must have one of the readers as a member.
func (a *Audit) Finish(t testing.TB, readers ...*hstest.User) {
	t.Helper()
	// Writers look at it between two writes, so that no write is left unknown.
	a.stopWriting()
	a.writers.Wait()
	writes := a.history.Writes()
	deadline := time.Now().Add(patience)
	for _, w := range a.watchers {
		for {
			missing, ok := w.complete(writes)
			if ok {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s was not told of %s (%s) within %s", w.name, missing.EventID, missing.Mark, patience)
				break
			}
			time.Sleep(pause)
		}
	}
	a.stop()
	a.watching.Wait()
	views := a.readRooms(t, writes, readers)
	for _, w := range a.watchers {
		views = append(views, w.View())
	}
	if len(writes) == 0 {
		t.Error("nothing was acknowledged: nothing was audited")
	}
	for _, p := range append(a.problems, Check(writes, views)...) {
		t.Errorf("audit: %s", p)
	}
}

// readRooms reads every room that was written to.
func (a *Audit) readRooms(t testing.TB, writes []Write, readers []*hstest.User) []View {
	t.Helper()
	memberOf := map[string]*hstest.User{}
	for _, u := range readers {
		for _, room := range u.MustDo(t, http.MethodGet, hstest.Path("joined_rooms"), nil).Get("joined_rooms").Array() {
			memberOf[room.String()] = u
		}
	}
	var views []View
	read := map[string]bool{}
	for _, w := range writes {
		if read[w.Room] || memberOf[w.Room] == nil {
			continue
		}
		read[w.Room] = true
		for p := range a.dep.Processes() {
			for _, dir := range []string{"f", "b"} {
				v := Read(t, memberOf[w.Room].On(p), w.Room, dir)
				v.Name += fmt.Sprintf(" on process %d", p)
				views = append(views, v)
			}
		}
	}
	return views
}
