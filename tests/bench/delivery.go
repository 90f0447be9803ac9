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
	all := make([]*receiver, receivers)
	seen := make([][messages]bool, receivers)
	counts := make([]int, receivers)
	var twice atomic.Int64
	for i := range all {
		all[i], err = newReceiver(b, people[senders+i], room, func(n int) {
			if seen[i][n] {
				twice.Add(1)
				return
			}
			seen[i][n] = true
			counts[i]++
		})
		if err != nil {
			return nil, err
		}
	}
	began := time.Now()
	deadline := began.Add(time.Minute)
	var receiving sync.WaitGroup
	errs := make([]error, receivers)
	for i, r := range all {
		receiving.Go(func() {
			defer r.client.close()
			for counts[i] < messages && time.Now().Before(deadline) {
				if errs[i] = r.poll(); errs[i] != nil {
					return
				}
			}
		})
	}
	target := sendTarget(room)
	var sendErr error
	var once sync.Once
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for n := range each {
				if err := people[s].sendNumber(target, s*each+n); err != nil {
					once.Do(func() { sendErr = err })
					return
				}
			}
		})
	}
	sending.Wait()
	sent := time.Since(began)
	receiving.Wait()
	took := time.Since(began)
	if sendErr != nil {
		return nil, sendErr
	}
	total, gaps := 0, 0
	for i := range all {
		if errs[i] != nil {
			return nil, errs[i]
		}
		total += counts[i]
		gaps += all[i].gaps
	}
	perSecond := float64(total) / took.Seconds()
	complete := total == receivers*messages && twice.Load() == 0
	return []figure{
		{
			what: "200 receivers, 8 senders, deliveries", measured: fmt.Sprintf("%.0f/s", perSecond),
			yardstick: fmt.Sprintf("sent in %s, all in %s", short(sent), short(took)), goal: "≥ 5000/s", met: perSecond >= 5000,
		},
		{
			what: "200 receivers, 8 senders, complete", measured: fmt.Sprintf("%d of %d", total, receivers*messages),
			yardstick: fmt.Sprintf("%d twice, %d gaps filled", twice.Load(), gaps), goal: "all", met: complete,
		},
	}, nil
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
	pollers, echoers := make([]*client, clients), make([]*client, clients)
	targets := make([]string, clients)
	for i := range clients {
		a := people[i]
		answer, err := a.ask("GET", "/_matrix/client/v3/sync?timeout=0", nil)
		if err != nil {
			return nil, err
		}
		pollers[i], echoers[i] = newClient(b.server.address, a.token), newClient(address, a.token)
		targets[i] = "/_matrix/client/v3/sync?timeout=0&since=" + nextBatch(answer)
	}
	ping, err := json.Marshal(map[string]any{"next_batch": "s123456", "device_one_time_keys_count": map[string]any{}})
	if err != nil {
		return nil, err
	}
	sync := func(i int) error {
		answer, err := pollers[i].do("GET", targets[i], nil)
		if err == nil {
			if next := nextBatch(answer); next != "" {
				targets[i] = "/_matrix/client/v3/sync?timeout=0&since=" + next
			}
		}
		return err
	}
	// The first requests may write presence, and tell everybody of it.
	if _, err := rate(clients, b.slice, sync); err != nil {
		return nil, err
	}
	var count float64
	queries, err := b.queriesDuring(func() error {
		perSecond, err := rate(clients, 4*time.Second, sync)
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
		func() (float64, error) { return rate(clients, b.slice, sync) })
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
