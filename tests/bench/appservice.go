package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

const (
	// appserviceEvents is how many events wait for the application service, appserviceRate how many a second it has to be told.
	appserviceEvents = 20_000
	appserviceRate   = 2000
)

// appserviceDelivery has an application service be away while events are sent, and measures how fast it is told of them once it is back; then
// how long a single message takes to reach it.
func (b *bench) appserviceDelivery() (figures []figure, err error) {
	people, err := b.people(64)
	if err != nil {
		return nil, err
	}
	var away atomic.Bool
	var told atomic.Int64
	last := make(chan time.Time, 1)
	away.Store(true)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var transaction struct {
			Events []json.RawMessage `json:"events"`
		}
		if json.Unmarshal(body, &transaction) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		n := told.Add(int64(bytes.Count(body, []byte(`"type":"m.room.message"`))))
		if n >= appserviceEvents {
			select {
			case last <- time.Now():
			default:
			}
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer web.Close()
	file := filepath.Join(b.dir, "appservice.yaml")
	err = os.WriteFile(file, []byte(`{id: bench, url: "`+web.URL+`", as_token: as-token-of-bench, hs_token: hs-token-of-bench, sender_localpart: _bench,
		namespaces: {rooms: [{exclusive: false, regex: ".*"}]}}`), 0o600)
	if err != nil {
		return nil, err
	}
	err = b.server.configure(map[string]any{
		"appservices": map[string]any{"registrations": []string{file}}, "outbound": map[string]any{"allowed_addresses": []string{"127.0.0.0/8"}},
	})
	if err != nil {
		return nil, err
	}
	if _, err := b.server.restart(); err != nil {
		return nil, err
	}
	defer func() {
		// The rows that follow are measured without it.
		err = errors.Join(err, b.server.configure(map[string]any{"appservices": map[string]any{"registrations": []string{}}}))
		_, restartErr := b.server.restart()
		err = errors.Join(err, restartErr)
	}()
	room, err := b.busyRoom()
	if err != nil {
		return nil, err
	}
	target := sendTarget(room)
	if err := inParallel(len(people), len(people), func(i int) error {
		for range appserviceEvents/len(people) + 1 {
			if err := people[i].send(target); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	began := time.Now()
	away.Store(false)
	// The first attempt comes when the pause after the last one is over: time counts from there.
	for told.Load() == 0 {
		if time.Since(began) > 90*time.Second {
			return nil, fmt.Errorf("the application service is told nothing")
		}
		time.Sleep(time.Millisecond)
	}
	began = time.Now()
	var took time.Duration
	select {
	case at := <-last:
		took = at.Sub(began)
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("the application service was told %d of %d events", told.Load(), appserviceEvents)
	}
	rate := appserviceEvents / took.Seconds()
	single, err := b.tellOne(people[0], target, &told)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "20,000 events to an application service", measured: fmt.Sprintf("%.0f events/s", rate), goal: fmt.Sprintf(">= %d/s", appserviceRate), met: rate >= appserviceRate},
		{what: "message to an application service, p50", measured: fmt.Sprint(percentile(single, 0.5).Round(10 * time.Microsecond)), goal: "<= 50ms", met: percentile(single, 0.5) <= 50*time.Millisecond},
	}, nil
}

// tellOne sends messages, each after the last one has been told, and returns how long each took.
func (b *bench) tellOne(sender *account, target string, told *atomic.Int64) ([]time.Duration, error) {
	var times []time.Duration
	for range 50 {
		time.Sleep(50 * time.Millisecond)
		before, began := told.Load(), time.Now()
		if err := sender.send(target); err != nil {
			return nil, err
		}
		for told.Load() == before {
			if time.Since(began) > 10*time.Second {
				return nil, fmt.Errorf("a message was not told")
			}
			time.Sleep(100 * time.Microsecond)
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}
