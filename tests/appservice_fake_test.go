package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/limits"
)

// service is an application service that notes everything that it is told, and does to it what a test wants.
type service struct {
	*httptest.Server
	hsToken string

	mu sync.Mutex
	// fault decides about the nth attempt, from 1: it may answer itself, and then returns true. The body was read, and noted as received if
	// the answer is a success.
	fault func(n int, w http.ResponseWriter) bool
	// ask answers what is no transaction; nil is 404.
	ask func(w http.ResponseWriter, r *http.Request)

	attempts int
	bodies   map[string]string // by transaction id, as it came first
	order    []string          // ids, as they came first
	taken    []string          // ids, as they were first acknowledged
	at       map[string]bool
	running  int
	texts    int // events of the type m.room.message in what was acknowledged
	problems []string
	more     chan struct{}
}

func startService(t *testing.T, hsToken string) *service {
	t.Helper()
	s := &service{hsToken: hsToken, bodies: map[string]string{}, at: map[string]bool{}, more: make(chan struct{}, 1)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.problems {
			t.Error(p)
		}
	})
	return s
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+s.hsToken || strings.Contains(r.URL.RawQuery, "token") {
		s.problem("%s came with %q and the query %q", r.URL.Path, got, r.URL.RawQuery)
	}
	id, isTransaction := strings.CutPrefix(r.URL.Path, "/_matrix/app/v1/transactions/")
	if !isTransaction {
		s.mu.Lock()
		ask := s.ask
		s.mu.Unlock()
		if ask == nil {
			http.Error(w, `{"errcode":"M_NOT_FOUND"}`, 404)
			return
		}
		ask(w, r)
		return
	}
	s.mu.Lock()
	s.attempts++
	n, fault := s.attempts, s.fault
	if s.running++; s.running > 1 {
		s.problems = append(s.problems, "two transactions were sent at the same time")
	}
	if before, known := s.bodies[id]; known && before != string(body) {
		s.problems = append(s.problems, "transaction "+id+" came with other bytes")
	} else if !known {
		s.bodies[id] = string(body)
		s.order = append(s.order, id)
	}
	s.mu.Unlock()
	recorded := httptest.NewRecorder()
	handled := fault != nil && fault(n, recorded)
	s.mu.Lock()
	s.running--
	if (!handled || recorded.Code == 200) && !s.at[id] {
		s.at[id] = true
		s.taken = append(s.taken, id)
		s.texts += strings.Count(string(body), `"type":"m.room.message"`)
	}
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	if handled {
		if recorded.Code == 0 || recorded.Body.String() == "cut" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(recorded.Code)
		w.Write(recorded.Body.Bytes())
		return
	}
	io.WriteString(w, "{}")
}

func (s *service) problem(format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, fmt.Sprintf(format, a...))
}

func (s *service) setFault(f func(n int, w http.ResponseWriter) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *service) setAsk(f func(w http.ResponseWriter, r *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask = f
}

// transactions are the bodies that were acknowledged, in order.
func (s *service) transactions() []gjson.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]gjson.Result, len(s.taken))
	for i, id := range s.taken {
		list[i] = gjson.Parse(s.bodies[id])
	}
	return list
}

func (s *service) messages() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.texts
}

// told are the things under a key of all acknowledged transactions.
func (s *service) told(key string) []gjson.Result {
	var all []gjson.Result
	for _, t := range s.transactions() {
		all = append(all, t.Get(gjson.Escape(key)).Array()...)
	}
	return all
}

// servicePatience is how long a test waits for what a service is told: the longest pause after failures, and more.
const servicePatience = limits.AppserviceRetryMost + 2*time.Minute

// wait waits until check is satisfied.
func (s *service) wait(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.After(servicePatience)
	for !check() {
		select {
		case <-s.more:
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("%s: not within %s, after %d attempts", what, servicePatience, s.attempts)
		}
	}
}

// hasEvent waits until an event was told, and returns it.
func (s *service) hasEvent(t *testing.T, id string) gjson.Result {
	t.Helper()
	var found gjson.Result
	s.wait(t, "event "+id, func() bool {
		for _, e := range s.told("events") {
			if e.Get("event_id").String() == id {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// hasNot wants an event not to have been told.
func (s *service) hasNot(t *testing.T, id, what string) {
	t.Helper()
	for _, e := range s.told("events") {
		if e.Get("event_id").String() == id {
			t.Errorf("%s: was told %s", what, e.Raw)
		}
	}
}

// registration of a test: fields replaces what is not as usual.
func registrationOf(id string, s *service, fields map[string]any) map[string]any {
	r := map[string]any{
		"id": id, "url": s.URL, "as_token": "as-token-of-" + id, "hs_token": s.hsToken, "sender_localpart": "_" + id + "_bot",
		"namespaces": map[string]any{"users": []any{map[string]any{"exclusive": true, "regex": "@_" + id + "_.*"}}},
	}
	for k, v := range fields {
		if v == nil {
			delete(r, k)
		} else {
			r[k] = v
		}
	}
	return r
}

// actor acts with the token of an application service.
type actor struct {
	t     *testing.T
	dep   *hstest.Deployment
	token string
}

func (a actor) do(process int, user, method, path string, body any) hstest.Response {
	a.t.Helper()
	if user != "" {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + "user_id=" + user
	}
	r, err := a.dep.Do(a.t.Context(), process, a.token, method, path, body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (a actor) must(user, method, path string, body any) gjson.Result {
	a.t.Helper()
	r := a.do(0, user, method, path, body)
	if r.Status != 200 && r.Status != 201 {
		a.t.Fatalf("%s %s: %s", method, path, r)
	}
	return r.JSON()
}

func (a actor) fail(user, method, path string, body any, status int, code string) {
	a.t.Helper()
	if r := a.do(0, user, method, path, body); r.Status != status || r.ErrCode() != code {
		a.t.Errorf("%s %s: %s, want %d %s", method, path, r, status, code)
	}
}

// ghost makes a user of the application service.
func (a actor) ghost(name string) {
	a.t.Helper()
	a.must("", "POST", hstest.Path("register"), map[string]any{"type": "m.login.application_service", "username": name, "inhibit_login": true})
}

const (
	ownServices      = "/_roomline/admin/v1/appservices"
	operatorServices = "/_roomline/operator/v1/appservices"
)

// register registers an application service as somebody.
func register(t *testing.T, dep *hstest.Deployment, who *hstest.User, path string, registration map[string]any) actor {
	t.Helper()
	text, err := json.Marshal(registration)
	if err != nil {
		t.Fatal(err)
	}
	answer := who.MustDo(t, "POST", path, text)
	token, _ := registration["as_token"].(string)
	if token == "" {
		token = answer.Get("as_token").String()
	}
	dep.Secret(token, "an as_token")
	return actor{t, dep, token}
}
