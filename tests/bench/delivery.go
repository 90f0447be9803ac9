package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// receiver is a client in a long poll that looks for numbered messages. One goroutine runs it.
type receiver struct {
	client *client
	room   string
	since  string
	// got is told of the number of each message, in the order of arrival.
	got func(number int)
	// gaps is how often the timeline was limited and had to be filled.
	gaps int
}

// mark stands before the number in the text of a numbered message, and nowhere else in an event.
const mark = "number-"

// syncFilter is what receivers sync with.
const syncFilter = `{"room":{"timeline":{"limit":100},"state":{"lazy_load_members":true}},"presence":{"types":[]}}`

func newReceiver(b *bench, a *account, room string, got func(int)) (*receiver, error) {
	r := &receiver{client: newClient(b.server.address, a.token), room: room, got: got}
	answer, err := r.client.do("GET", r.target(0), nil)
	if err != nil {
		return nil, fmt.Errorf("first sync: %w", err)
	}
	r.since = field(answer, "next_batch")
	return r, nil
}

func (r *receiver) target(timeout time.Duration) string {
	t := "/_matrix/client/v3/sync?set_presence=offline&filter=" + url.QueryEscape(syncFilter) + "&timeout=" + strconv.FormatInt(timeout.Milliseconds(), 10)
	if r.since != "" {
		t += "&since=" + r.since
	}
	return t
}

// poll waits for news once.
func (r *receiver) poll() error {
	answer, err := r.client.do("GET", r.target(10*time.Second), nil)
	if err != nil {
		return err
	}
	since := r.since
	r.since = nextBatch(answer)
	limited := bytes.Contains(answer, []byte(`"limited":true`))
	var prev string
	if limited {
		prev = field(answer, "prev_batch")
	}
	r.scan(answer)
	if limited {
		r.gaps++
		return r.fill(prev, since)
	}
	return nil
}

// nextBatch is the token after an answer. It is looked for from either end: its place among the keys is the server's choice.
func nextBatch(answer []byte) string {
	if i := bytes.LastIndex(answer, []byte(`"next_batch":"`)); i >= 0 {
		return field(answer[i:], "next_batch")
	}
	return ""
}

// fill reads what a limited timeline has left out.
func (r *receiver) fill(from, to string) error {
	for from != "" {
		answer, err := r.client.do("GET", "/_matrix/client/v3/rooms/"+url.PathEscape(r.room)+"/messages?dir=b&limit=100&from="+from+"&to="+to, nil)
		if err != nil {
			return err
		}
		r.scan(answer)
		from = field(answer, "end")
	}
	return nil
}

func (r *receiver) scan(answer []byte) {
	for {
		i := bytes.Index(answer, []byte(mark))
		if i < 0 {
			return
		}
		answer = answer[i+len(mark):]
		n := 0
		for k := 0; k < len(answer) && answer[k] >= '0' && answer[k] <= '9'; k++ {
			n = 10*n + int(answer[k]-'0')
		}
		r.got(n)
	}
}

// sendNumber sends a numbered message.
func (a *account) sendNumber(target string, n int) error {
	a.txn++
	_, err := a.client.do("PUT", fmt.Sprintf("%sb%d", target, a.txn), fmt.Appendf(nil, `{"msgtype":"m.text","body":"This is %s%d of the bench."}`, mark, n))
	return err
}

func (b *bench) latency() ([]figure, error) {
	const receivers, messages, pause = 10, 500, 15 * time.Millisecond
	people, err := b.people(receivers + 1)
	if err != nil {
		return nil, err
	}
	room, err := b.roomOf(people, "latency")
	if err != nil {
		return nil, err
	}
	var arrived [receivers][messages]time.Time
	var left, failed atomic.Int64
	left.Store(receivers)
	var wg sync.WaitGroup
	for i := range receivers {
		count := 0
		r, err := newReceiver(b, people[i+1], room, func(n int) {
			arrived[i][n] = time.Now()
			count++
		})
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			defer r.client.close()
			deadline := time.Now().Add(messages*pause + 30*time.Second)
			for count < messages && time.Now().Before(deadline) {
				if err := r.poll(); err != nil {
					failed.Add(1)
					return
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	target := sendTarget(room)
	var sends []time.Duration
	var began [messages]time.Time
	for n := range messages {
		began[n] = time.Now()
		if err := people[0].sendNumber(target, n); err != nil {
			return nil, err
		}
		sends = append(sends, time.Since(began[n]))
		time.Sleep(pause - min(pause, time.Since(began[n])))
	}
	wg.Wait()
	var deliveries []time.Duration
	for i := range receivers {
		for n := range messages {
			if arrived[i][n].IsZero() {
				return nil, fmt.Errorf("message %d did not reach receiver %d (%d receivers failed)", n, i, failed.Load())
			}
			deliveries = append(deliveries, arrived[i][n].Sub(began[n]))
		}
	}
	return []figure{
		atMost("send to sync, 10 receivers, p50", percentile(deliveries, 0.5), percentile(sends, 0.5), "the send's own p50", 1.5),
		atMost("send to sync, 10 receivers, p99", percentile(deliveries, 0.99), percentile(sends, 0.99), "the send's own p99", 3),
	}, nil
}

// audience is receivers of the same numbered messages, each by itself.
type audience struct {
	all    []*receiver
	seen   [][]bool
	counts []int
	errs   []error
	twice  atomic.Int64
}

func (b *bench) newAudience(people []*account, room string, messages int) (*audience, error) {
	n := len(people)
	a := &audience{all: make([]*receiver, n), seen: make([][]bool, n), counts: make([]int, n), errs: make([]error, n)}
	for i := range a.all {
		a.seen[i] = make([]bool, messages)
		var err error
		a.all[i], err = newReceiver(b, people[i], room, func(n int) {
			if a.seen[i][n] {
				a.twice.Add(1)
				return
			}
			a.seen[i][n] = true
			a.counts[i]++
		})
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// receive lets all of them wait until they have every message.
func (a *audience) receive(messages int, deadline time.Time) *sync.WaitGroup {
	var receiving sync.WaitGroup
	for i, r := range a.all {
		receiving.Go(func() {
			defer r.client.close()
			for a.counts[i] < messages && time.Now().Before(deadline) {
				if a.errs[i] = r.poll(); a.errs[i] != nil {
					return
				}
			}
		})
	}
	return &receiving
}

// total is how many messages they have got, and how many gaps they had to fill.
func (a *audience) total() (messages, gaps int, err error) {
	for i, r := range a.all {
		if a.errs[i] != nil {
			return 0, 0, a.errs[i]
		}
		messages += a.counts[i]
		gaps += r.gaps
	}
	return messages, gaps, nil
}

func (b *bench) fanOut() ([]figure, error) {
	const receivers, senders, each = 200, 8, 100
	const messages = senders * each
	people, err := b.people(receivers + senders)
	if err != nil {
		return nil, err
	}
	room, err := b.roomOf(people, "crowd")
	if err != nil {
		return nil, err
	}
	all, err := b.newAudience(people[senders:], room, messages)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	receiving := all.receive(messages, began.Add(time.Minute))
	target := sendTarget(room)
	sendErr := inParallel(senders, senders, func(s int) error {
		for n := range each {
			if err := people[s].sendNumber(target, s*each+n); err != nil {
				return err
			}
		}
		return nil
	})
	sent := time.Since(began)
	receiving.Wait()
	took := time.Since(began)
	if sendErr != nil {
		return nil, sendErr
	}
	total, gaps, err := all.total()
	if err != nil {
		return nil, err
	}
	perSecond := float64(total) / took.Seconds()
	complete := total == receivers*messages && all.twice.Load() == 0
	return []figure{
		{
			what: "200 receivers, 8 senders, deliveries", measured: fmt.Sprintf("%.0f/s", perSecond),
			yardstick: fmt.Sprintf("sent in %s, all in %s", short(sent), short(took)), goal: "≥ 5000/s", met: perSecond >= 5000,
		},
		{
			what: "200 receivers, 8 senders, complete", measured: fmt.Sprintf("%d of %d", total, receivers*messages),
			yardstick: fmt.Sprintf("%d twice, %d gaps filled", all.twice.Load(), gaps), goal: "all", met: complete,
		},
	}, nil
}

// idlers are clients that are up to date, and ask whether there is anything new.
type idlers struct {
	clients []*client
	targets []string
}

func (b *bench) newIdlers(people []*account) (*idlers, error) {
	l := &idlers{}
	for _, a := range people {
		answer, err := a.ask("GET", "/_matrix/client/v3/sync?timeout=0", nil)
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, newClient(b.server.address, a.token))
		l.targets = append(l.targets, "/_matrix/client/v3/sync?timeout=0&since="+nextBatch(answer))
	}
	return l, nil
}

func (l *idlers) sync(i int) error {
	answer, err := l.clients[i].do("GET", l.targets[i], nil)
	if err == nil {
		if next := nextBatch(answer); next != "" {
			l.targets[i] = "/_matrix/client/v3/sync?timeout=0&since=" + next
		}
	}
	return err
}

func (b *bench) idleSync() ([]figure, error) {
	const clients = 32
	people, err := b.people(64)
	if err != nil {
		return nil, err
	}
	if _, err := b.busyRoom(); err != nil {
		return nil, err
	}
	address, stop, err := startEcho()
	if err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	defer stop()
	echoers := make([]*client, clients)
	for i := range echoers {
		echoers[i] = newClient(address, people[i].token)
	}
	idle, err := b.newIdlers(people[:clients])
	if err != nil {
		return nil, err
	}
	ping, err := json.Marshal(map[string]any{"next_batch": "s123456", "device_one_time_keys_count": map[string]any{}})
	if err != nil {
		return nil, err
	}
	// The first requests may write presence, and tell everybody of it.
	if _, err := rate(clients, b.slice, idle.sync); err != nil {
		return nil, err
	}
	var count float64
	queries, err := b.queriesDuring(func() error {
		perSecond, err := rate(clients, 4*time.Second, idle.sync)
		count = 4 * perSecond
		return err
	})
	if err != nil {
		return nil, err
	}
	yard, got, err := compared(rounds,
		func() (float64, error) {
			return rate(clients, b.slice, func(i int) error {
				_, err := echoers[i].do("POST", "/", ping)
				return err
			})
		},
		func() (float64, error) { return rate(clients, b.slice, idle.sync) })
	if err != nil {
		return nil, err
	}
	return []figure{
		atLeast("sync with nothing new, 32 clients", got, "/s", yard, "bare JSON echo/s", 0.4),
		{
			what: "sync with nothing new, queries", measured: fmt.Sprintf("%.0f more than idle", queries),
			yardstick: fmt.Sprintf("during %.0f syncs", count), goal: "0", met: queries < count/1000 && queries < 20,
			details: b.lastQueries,
		},
	}, nil
}
