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

// absentee is an application service that is away at first.
type absentee struct {
	*httptest.Server
	away atomic.Bool
	// told counts the messages that it was told of, last is when it was told of the last one that waits.
	told atomic.Int64
	last chan time.Time
}

func newAbsentee() *absentee {
	s := &absentee{last: make(chan time.Time, 1)}
	s.away.Store(true)
	s.Server = httptest.NewServer(http.HandlerFunc(s.hear))
	return s
}

func (s *absentee) hear(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || s.away.Load() {
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
	n := s.told.Add(int64(bytes.Count(body, []byte(`"type":"m.room.message"`))))
	if n >= appserviceEvents {
		select {
		case s.last <- time.Now():
		default:
		}
	}
	_, _ = io.WriteString(w, "{}")
}

// back lets it be there, and returns how long it takes until it has been told of everything.
func (s *absentee) back() (time.Duration, error) {
	began := time.Now()
	s.away.Store(false)
	// The first attempt comes when the pause after the last one is over: time counts from there.
	for s.told.Load() == 0 {
		if time.Since(began) > 90*time.Second {
			return 0, fmt.Errorf("the application service is told nothing")
		}
		time.Sleep(time.Millisecond)
	}
	began = time.Now()
	select {
	case at := <-s.last:
		return at.Sub(began), nil
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("the application service was told %d of %d events", s.told.Load(), appserviceEvents)
	}
}

// registerService has the server know an application service that is interested in all rooms. unregister takes it away again: the rows that follow are
// measured without it.
func (b *bench) registerService(url string) (unregister func() error, err error) {
	file := filepath.Join(b.dir, "appservice.yaml")
	err = os.WriteFile(file, []byte(`{id: bench, url: "`+url+`", as_token: as-token-of-bench, hs_token: hs-token-of-bench, sender_localpart: _bench,
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
	return func() error {
		err := b.server.configure(map[string]any{"appservices": map[string]any{"registrations": []string{}}})
		_, restartErr := b.server.restart()
		return errors.Join(err, restartErr)
	}, nil
}

// appserviceDelivery has an application service be away while events are sent, and measures how fast it is told of them once it is back; then
// how long a single message takes to reach it.
func (b *bench) appserviceDelivery() (figures []figure, err error) {
	people, err := b.people(64)
	if err != nil {
		return nil, err
	}
	service := newAbsentee()
	defer service.Close()
	unregister, err := b.registerService(service.URL)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unregister()) }()
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
	took, err := service.back()
	if err != nil {
		return nil, err
	}
	rate := appserviceEvents / took.Seconds()
	single, err := b.tellOne(people[0], target, &service.told)
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
